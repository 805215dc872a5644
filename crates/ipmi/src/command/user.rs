//! User slots: names, passwords, access per channel (IPMI 2.0 §22.26 to §22.30).

use super::{Command, NetFn, Wire};
use crate::codec::{DecodeError, Reader};
use crate::types::{Privilege, Secret, UserName};

const ID_MASK: u8 = 0x3f;
/// Privilege limit that means "no access by this channel".
const NO_ACCESS: u8 = 0x0f;

fn limit_from_bits(bits: u8) -> Option<Privilege> {
    Privilege::from_number(bits & 0x0f)
}

fn limit_bits(limit: Option<Privilege>) -> u8 {
    limit.map_or(NO_ACCESS, Privilege::number)
}

/// Get User Access (IPMI 2.0 §22.27).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GetUserAccess {
    /// Channel number, four bits.
    pub channel: u8,
    /// User id, 1 to 63.
    pub user: u8,
}

impl Wire for GetUserAccess {
    fn encode(&self) -> Vec<u8> {
        vec![self.channel & 0x0f, self.user & ID_MASK]
    }

    fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        let [channel, user] = Reader::new("Get User Access", data).array()?;
        Ok(Self {
            channel: channel & 0x0f,
            user: user & ID_MASK,
        })
    }
}

impl Command for GetUserAccess {
    const NET_FN: NetFn = NetFn::APP;
    const NUMBER: u8 = 0x44;
    const PRIVILEGE: Option<Privilege> = Some(Privilege::Operator);
    type Response = UserAccess;
}

/// Whether a user is enabled; older BMCs do not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UserState {
    /// The BMC does not say.
    Unspecified,
    /// Enabled by Set User Password.
    Enabled,
    /// Disabled by Set User Password.
    Disabled,
}

/// The table's sizes, and one user's access by one channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UserAccess {
    /// Number of slots, 1 to 63; slot 1 is the anonymous user's.
    pub max_users: u8,
    /// Number of enabled users.
    pub enabled_users: u8,
    /// Number of users whose name cannot be changed.
    pub fixed_names: u8,
    /// State of this user.
    pub state: UserState,
    /// Only callback.
    pub callback_only: bool,
    /// May authenticate a link.
    pub link_auth: bool,
    /// May send IPMI messages.
    pub messaging: bool,
    /// Highest privilege; `None` is no access.
    pub limit: Option<Privilege>,
}

impl Wire for UserAccess {
    fn encode(&self) -> Vec<u8> {
        let state = match self.state {
            UserState::Unspecified => 0x00,
            UserState::Enabled => 0x40,
            UserState::Disabled => 0x80,
        };
        vec![
            self.max_users & ID_MASK,
            self.enabled_users & ID_MASK | state,
            self.fixed_names & ID_MASK,
            limit_bits(self.limit)
                | u8::from(self.messaging) << 4
                | u8::from(self.link_auth) << 5
                | u8::from(self.callback_only) << 6,
        ]
    }

    fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        let [max, enabled, fixed, access] = Reader::new("user access", data).array()?;
        Ok(Self {
            max_users: max & ID_MASK,
            enabled_users: enabled & ID_MASK,
            fixed_names: fixed & ID_MASK,
            state: match enabled >> 6 {
                1 => UserState::Enabled,
                2 => UserState::Disabled,
                _ => UserState::Unspecified,
            },
            callback_only: access & 0x40 != 0,
            link_auth: access & 0x20 != 0,
            messaging: access & 0x10 != 0,
            limit: limit_from_bits(access),
        })
    }
}

/// Set User Access (IPMI 2.0 §22.26).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetUserAccess {
    /// Channel number, four bits.
    pub channel: u8,
    /// User id, 1 to 63.
    pub user: u8,
    /// Change the three flags below; else they are ignored.
    pub change_flags: bool,
    /// Only callback.
    pub callback_only: bool,
    /// May authenticate a link.
    pub link_auth: bool,
    /// May send IPMI messages.
    pub messaging: bool,
    /// Highest privilege; `None` is no access.
    pub limit: Option<Privilege>,
    /// How many sessions at a time, four bits, 0 for no limit; optional.
    pub session_limit: Option<u8>,
}

impl Wire for SetUserAccess {
    fn encode(&self) -> Vec<u8> {
        let mut out = vec![
            self.channel & 0x0f
                | u8::from(self.messaging) << 4
                | u8::from(self.link_auth) << 5
                | u8::from(self.callback_only) << 6
                | u8::from(self.change_flags) << 7,
            self.user & ID_MASK,
            limit_bits(self.limit),
        ];
        out.extend(self.session_limit.map(|limit| limit & 0x0f));
        out
    }

    fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("Set User Access", data);
        let [flags, user, limit] = reader.array()?;
        Ok(Self {
            channel: flags & 0x0f,
            user: user & ID_MASK,
            change_flags: flags & 0x80 != 0,
            callback_only: flags & 0x40 != 0,
            link_auth: flags & 0x20 != 0,
            messaging: flags & 0x10 != 0,
            limit: limit_from_bits(limit),
            session_limit: reader.u8().ok().map(|limit| limit & 0x0f),
        })
    }
}

impl Command for SetUserAccess {
    const NET_FN: NetFn = NetFn::APP;
    const NUMBER: u8 = 0x43;
    const PRIVILEGE: Option<Privilege> = Some(Privilege::Administrator);
    type Response = ();
}

/// Get User Name (IPMI 2.0 §22.29).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GetUserName(
    /// User id, 1 to 63.
    pub u8,
);

impl Wire for GetUserName {
    fn encode(&self) -> Vec<u8> {
        vec![self.0 & ID_MASK]
    }

    fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        Ok(Self(Reader::new("Get User Name", data).u8()? & ID_MASK))
    }
}

impl Command for GetUserName {
    const NET_FN: NetFn = NetFn::APP;
    const NUMBER: u8 = 0x46;
    const PRIVILEGE: Option<Privilege> = Some(Privilege::Operator);
    type Response = UserName;
}

impl Wire for UserName {
    fn encode(&self) -> Vec<u8> {
        self.to_padded().to_vec()
    }

    fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        Ok(Self::from_padded(Reader::new("user name", data).array()?))
    }
}

/// Set User Name (IPMI 2.0 §22.28).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetUserName {
    /// User id, 1 to 63.
    pub user: u8,
    /// Its name; empty frees the slot.
    pub name: UserName,
}

impl Wire for SetUserName {
    fn encode(&self) -> Vec<u8> {
        let mut out = vec![self.user & ID_MASK];
        out.extend(self.name.to_padded());
        out
    }

    fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("Set User Name", data);
        Ok(Self {
            user: reader.u8()? & ID_MASK,
            name: UserName::decode(reader.rest())?,
        })
    }
}

impl Command for SetUserName {
    const NET_FN: NetFn = NetFn::APP;
    const NUMBER: u8 = 0x45;
    const PRIVILEGE: Option<Privilege> = Some(Privilege::Administrator);
    type Response = ();
}

/// What Set User Password does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PasswordOperation {
    /// The user can no longer log in.
    Disable,
    /// The user can log in.
    Enable,
    /// A new password. Send it once: an answer lost is an outcome unknown.
    Set(Secret),
    /// Is this the password? Completion code 0x80 says no.
    Test(Secret),
}

/// Set User Password (IPMI 2.0 §22.30).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetUserPassword {
    /// User id, 1 to 63.
    pub user: u8,
    /// Use the 20-byte form; else the password is cut to 16 bytes, so ask [`Secret::fits_16`] first.
    pub long: bool,
    /// What to do.
    pub operation: PasswordOperation,
}

impl Wire for SetUserPassword {
    fn encode(&self) -> Vec<u8> {
        let (number, secret) = match &self.operation {
            PasswordOperation::Disable => (0, None),
            PasswordOperation::Enable => (1, None),
            PasswordOperation::Set(secret) => (2, Some(secret)),
            PasswordOperation::Test(secret) => (3, Some(secret)),
        };
        let mut out = vec![self.user & ID_MASK | u8::from(self.long) << 7, number];
        let length = if self.long { 20 } else { 16 };
        out.extend(
            secret
                .map(|secret| &secret.expose()[..length])
                .unwrap_or_default(),
        );
        out
    }

    fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("Set User Password", data);
        let [user, number] = reader.array()?;
        let long = user & 0x80 != 0;
        let mut secret = || {
            let bytes = reader.take(if long { 20 } else { 16 })?;
            Secret::new(bytes).map_err(|_| DecodeError::Short {
                what: "password",
                need: 20,
                got: bytes.len(),
            })
        };
        let operation = match number & 3 {
            0 => PasswordOperation::Disable,
            1 => PasswordOperation::Enable,
            2 => PasswordOperation::Set(secret()?),
            _ => PasswordOperation::Test(secret()?),
        };
        Ok(Self {
            user: user & ID_MASK,
            long,
            operation,
        })
    }
}

impl Command for SetUserPassword {
    const NET_FN: NetFn = NetFn::APP;
    const NUMBER: u8 = 0x47;
    const PRIVILEGE: Option<Privilege> = Some(Privilege::Administrator);
    type Response = ();
}
