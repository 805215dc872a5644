//! Typed commands: what is sent, what comes back, and which privilege each needs. Used by both roles.

mod app;
mod boot;
mod channel;
mod chassis;
mod completion;
mod lan;
#[cfg(test)]
mod tests;
mod user;

pub use app::{CloseSession, DeviceId, GetDeviceId, GetSystemGuid, SetSessionPrivilegeLevel, SystemGuid};
pub use boot::{
    BootDevice, BootFlags, BootOption, BootOptionResponse, BootParameter, GetBootOption, SetBootOption,
    SetInProgress,
};
pub use channel::{
    AuthCapabilities, CHANNEL_PRESENT, CipherSuiteChunk, GetChannelAuthCapabilities, GetChannelCipherSuites,
    cipher_suite_records, suites_in_records,
};
pub use chassis::{
    ChassisControl, ChassisIdentify, ChassisStatus, GetChassisStatus, GetRestartCause, LastPowerEvent,
    RestartCause, RestorePolicy,
};
pub use completion::{Completion, CompletionCode};
pub use lan::{GetLanConfig, LanConfig, LanParameter};
pub use user::{
    GetUserAccess, GetUserName, PasswordOperation, SetUserAccess, SetUserName, SetUserPassword, UserAccess,
    UserState,
};

use crate::codec::DecodeError;
use crate::types::Privilege;

/// Network function: six bits, even for requests, odd for responses (IPMI 2.0 §5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NetFn(u8);

impl NetFn {
    /// Chassis commands.
    pub const CHASSIS: Self = Self(0x00);
    /// Application commands: the BMC itself, users, sessions.
    pub const APP: Self = Self(0x06);
    /// LAN configuration.
    pub const TRANSPORT: Self = Self(0x0c);

    /// The network function of this number, its lower six bits.
    pub const fn new(number: u8) -> Self {
        Self(number & 0x3f)
    }

    /// Its number.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// The one that responses to this request have.
    #[must_use]
    pub const fn response(self) -> Self {
        Self(self.0 | 1)
    }

    /// Whether a message with it is a response.
    pub const fn is_response(self) -> bool {
        self.0 & 1 == 1
    }
}

/// Data of a request, or of a response after its completion code.
pub trait Wire: Sized {
    /// The data's bytes.
    fn encode(&self) -> Vec<u8>;

    /// Reads them. More bytes than needed are ignored, as later revisions of the standard add some.
    fn decode(data: &[u8]) -> Result<Self, DecodeError>;
}

impl Wire for () {
    fn encode(&self) -> Vec<u8> {
        Vec::new()
    }

    fn decode(_: &[u8]) -> Result<Self, DecodeError> {
        Ok(())
    }
}

/// [`Wire`] of a request that has no data.
macro_rules! no_data {
    ($request:ident) => {
        impl Wire for $request {
            fn encode(&self) -> Vec<u8> {
                Vec::new()
            }

            fn decode(_: &[u8]) -> Result<Self, DecodeError> {
                Ok(Self)
            }
        }
    };
}
use no_data;

/// A command with its request data.
pub trait Command: Wire {
    /// Its network function.
    const NET_FN: NetFn;
    /// Its number.
    const NUMBER: u8;
    /// What a session must have at least (IPMI 2.0 appendix G); `None`: allowed outside a session.
    const PRIVILEGE: Option<Privilege>;
    /// Data of its response.
    type Response: Wire;
}

struct Row {
    net_fn: NetFn,
    number: u8,
    name: &'static str,
    privilege: Option<Privilege>,
}

const fn row<C: Command>(name: &'static str) -> Row {
    Row {
        net_fn: C::NET_FN,
        number: C::NUMBER,
        name,
        privilege: C::PRIVILEGE,
    }
}

/// Every command known here.
const TABLE: [Row; 18] = [
    row::<GetDeviceId>("Get Device ID"),
    row::<GetSystemGuid>("Get System GUID"),
    row::<GetChannelAuthCapabilities>("Get Channel Authentication Capabilities"),
    row::<GetChannelCipherSuites>("Get Channel Cipher Suites"),
    row::<SetSessionPrivilegeLevel>("Set Session Privilege Level"),
    row::<CloseSession>("Close Session"),
    row::<GetChassisStatus>("Get Chassis Status"),
    row::<ChassisControl>("Chassis Control"),
    row::<ChassisIdentify>("Chassis Identify"),
    row::<GetRestartCause>("Get System Restart Cause"),
    row::<SetBootOption>("Set System Boot Options"),
    row::<GetBootOption>("Get System Boot Options"),
    row::<GetUserAccess>("Get User Access"),
    row::<SetUserAccess>("Set User Access"),
    row::<GetUserName>("Get User Name"),
    row::<SetUserName>("Set User Name"),
    row::<SetUserPassword>("Set User Password"),
    row::<GetLanConfig>("Get LAN Configuration Parameters"),
];

fn find(net_fn: NetFn, number: u8) -> Option<&'static Row> {
    TABLE
        .iter()
        .find(|row| (row.net_fn, row.number) == (net_fn, number))
}

/// What a session needs for this command: the table that a BMC enforces. A command that is not listed needs User:
/// whoever knows it asks for more, whoever does not says *invalid command*, as BMCs do.
pub fn required_privilege(net_fn: NetFn, number: u8) -> Option<Privilege> {
    find(net_fn, number).map_or(Some(Privilege::User), |row| row.privilege)
}

/// The standard's name of a command that is known here.
pub fn name(net_fn: NetFn, number: u8) -> Option<&'static str> {
    find(net_fn, number).map(|row| row.name)
}
