//! The closed set of ways in which a BMC fails us.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a BMC did not do what was asked. Each is a condition reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Trouble {
    /// No answer: wrong address, network, BMC down or within its own reset.
    Unreachable,
    /// It refused user or password.
    CredentialsRefused,
    /// It answers but cannot now (5xx, node busy, session table full, machine in POST).
    Busy,
    /// It cannot do this at all.
    Unsupported,
    /// Its answer breaks the protocol.
    Protocol,
    /// Its TLS certificate is not trusted.
    Certificate,
}

impl Trouble {
    /// Every value, in declaration order.
    pub const ALL: &[Self] = &[
        Self::Unreachable,
        Self::CredentialsRefused,
        Self::Busy,
        Self::Unsupported,
        Self::Protocol,
        Self::Certificate,
    ];

    /// The condition reason.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Unreachable => "Unreachable",
            Self::CredentialsRefused => "CredentialsRefused",
            Self::Busy => "Busy",
            Self::Unsupported => "Unsupported",
            Self::Protocol => "ProtocolError",
            Self::Certificate => "CertificateNotTrusted",
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Unreachable => "the BMC does not answer",
            Self::CredentialsRefused => "the BMC refused the credentials",
            Self::Busy => "the BMC is busy",
            Self::Unsupported => "the BMC does not support it",
            Self::Protocol => "the BMC's answer breaks its protocol",
            Self::Certificate => "the BMC's certificate is not trusted",
        })
    }
}
