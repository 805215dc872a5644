//! Typed commands: what is sent, what comes back, and which privilege each needs. Used by both roles.

mod app;
mod boot;
mod channel;
mod chassis;
mod completion;
mod lan;
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

/// What a session needs for this command: the table that a BMC enforces. Commands that are not listed need
/// Administrator.
pub fn required_privilege(net_fn: NetFn, number: u8) -> Option<Privilege> {
    const fn row<C: Command>() -> (NetFn, u8, Option<Privilege>) {
        (C::NET_FN, C::NUMBER, C::PRIVILEGE)
    }
    const TABLE: [(NetFn, u8, Option<Privilege>); 19] = [
        row::<GetDeviceId>(),
        row::<GetSystemGuid>(),
        row::<GetChannelAuthCapabilities>(),
        row::<GetChannelCipherSuites>(),
        row::<SetSessionPrivilegeLevel>(),
        row::<CloseSession>(),
        row::<GetChassisStatus>(),
        row::<ChassisControl>(),
        row::<ChassisIdentify>(),
        row::<GetRestartCause>(),
        row::<SetBootOption>(),
        row::<GetBootOption>(),
        row::<GetUserAccess>(),
        row::<SetUserAccess>(),
        row::<GetUserName>(),
        row::<SetUserName>(),
        row::<SetUserPassword>(),
        row::<GetLanConfig>(),
        (NetFn::TRANSPORT, 0x01, Some(Privilege::Administrator)), // Set LAN Configuration Parameters
    ];
    let row = TABLE.iter().find(|row| (row.0, row.1) == (net_fn, number));
    row.map_or(Some(Privilege::Administrator), |row| row.2)
}
