//! Completion codes: how a BMC says what became of a command (IPMI 2.0 §5.2).

use std::fmt;

/// First byte of every response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CompletionCode(pub u8);

/// What a completion code means for the sender, one answer per way of going on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Completion {
    /// Done, or accepted.
    Ok,
    /// Not now: busy, out of space, initializing, the answer took too long. Worth another try later.
    Busy,
    /// This BMC will not learn it: unknown command, parameter or option.
    Unsupported,
    /// The session's privilege is too low.
    Privilege,
    /// Not in the machine's present state (for example off while off).
    WrongState,
    /// Refused for another reason.
    Failed,
}

impl CompletionCode {
    /// Command completed normally.
    pub const OK: Self = Self(0x00);
    /// First command-specific code. Boot options: parameter not supported; Set User Password: test failed;
    /// Set Session Privilege Level: level not available to this user.
    pub const SPECIFIC_80: Self = Self(0x80);
    /// Second command-specific code. Boot options: set already in progress; Set User Password: wrong size; Set
    /// Session Privilege Level: level exceeds the limit.
    pub const SPECIFIC_81: Self = Self(0x81);
    /// Third command-specific code. Boot options: read-only parameter.
    pub const SPECIFIC_82: Self = Self(0x82);
    /// Node busy.
    pub const NODE_BUSY: Self = Self(0xc0);
    /// Invalid command.
    pub const INVALID_COMMAND: Self = Self(0xc1);
    /// Command invalid for the given LUN.
    pub const INVALID_FOR_LUN: Self = Self(0xc2);
    /// Timeout while processing.
    pub const TIMEOUT: Self = Self(0xc3);
    /// Out of space.
    pub const OUT_OF_SPACE: Self = Self(0xc4);
    /// Request data length invalid.
    pub const DATA_LENGTH: Self = Self(0xc7);
    /// Parameter out of range.
    pub const OUT_OF_RANGE: Self = Self(0xc9);
    /// Requested sensor, data or record not present.
    pub const NOT_PRESENT: Self = Self(0xcb);
    /// Invalid data field in the request.
    pub const INVALID_FIELD: Self = Self(0xcc);
    /// The response could not be provided.
    pub const NO_RESPONSE: Self = Self(0xce);
    /// SDR repository, firmware or BMC in update mode.
    pub const UPDATING: Self = Self(0xd1);
    /// BMC initialization in progress.
    pub const INITIALIZING: Self = Self(0xd2);
    /// Insufficient privilege level, or other security restriction.
    pub const INSUFFICIENT_PRIVILEGE: Self = Self(0xd4);
    /// Not supported in the present state.
    pub const WRONG_STATE: Self = Self(0xd5);
    /// Command or parameter disabled.
    pub const DISABLED: Self = Self(0xd6);
    /// Unspecified error.
    pub const UNSPECIFIED: Self = Self(0xff);

    /// What it means for the sender.
    pub fn meaning(self) -> Completion {
        match self.0 {
            0x00 => Completion::Ok,
            0xc0 | 0xc3 | 0xc4 | 0xce | 0xcf | 0xd0 | 0xd1 | 0xd2 => Completion::Busy,
            0xc1 | 0xc2 | 0xd6 => Completion::Unsupported,
            0xd4 => Completion::Privilege,
            0xd5 => Completion::WrongState,
            _ => Completion::Failed,
        }
    }

    fn text(self) -> &'static str {
        match self.0 {
            0x00 => "completed",
            0x01..=0x7e => "OEM code",
            0x80..=0xbe => "command-specific code",
            0xc0 => "node busy",
            0xc1 => "invalid command",
            0xc2 => "command invalid for this LUN",
            0xc3 => "timeout while processing",
            0xc4 => "out of space",
            0xc5 => "reservation cancelled",
            0xc6 => "request data truncated",
            0xc7 => "request data length invalid",
            0xc8 => "request data field length limit exceeded",
            0xc9 => "parameter out of range",
            0xca => "cannot return that many bytes",
            0xcb => "requested data not present",
            0xcc => "invalid data field in request",
            0xcd => "command illegal for this record type",
            0xce => "response could not be provided",
            0xcf => "duplicated request",
            0xd0 => "SDR repository in update mode",
            0xd1 => "device in firmware update mode",
            0xd2 => "BMC initialization in progress",
            0xd3 => "destination unavailable",
            0xd4 => "insufficient privilege level",
            0xd5 => "not supported in present state",
            0xd6 => "command disabled",
            _ => "unspecified error",
        }
    }
}

impl fmt::Display for CompletionCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:#04x})", self.text(), self.0)
    }
}
