//! Words that messages, sessions and commands share: privilege, names, secrets, cipher suites.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Session privilege level (IPMI 2.0 §6.8), in rising order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Privilege {
    /// May only initiate a callback.
    Callback,
    /// Reads.
    User,
    /// Reads, power and boot options.
    Operator,
    /// Everything.
    Administrator,
    /// Everything, and the vendor's own.
    Oem,
}

impl Privilege {
    /// Every level, in rising order.
    pub const ALL: [Self; 5] = [
        Self::Callback,
        Self::User,
        Self::Operator,
        Self::Administrator,
        Self::Oem,
    ];

    /// The level's number on the wire, 1 to 5.
    pub fn number(self) -> u8 {
        match self {
            Self::Callback => 1,
            Self::User => 2,
            Self::Operator => 3,
            Self::Administrator => 4,
            Self::Oem => 5,
        }
    }

    /// The level with this number, if there is one.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.number() == number)
    }
}

impl fmt::Display for Privilege {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Callback => "callback",
            Self::User => "user",
            Self::Operator => "operator",
            Self::Administrator => "administrator",
            Self::Oem => "OEM",
        })
    }
}

/// A value that is longer than its field on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a {what} may have at most {limit} bytes, not {length}")]
pub struct TooLong {
    what: &'static str,
    limit: usize,
    length: usize,
}

fn padded<const N: usize>(what: &'static str, value: &[u8]) -> Result<[u8; N], TooLong> {
    let mut out = [0; N];
    let head = out.get_mut(..value.len()).ok_or(TooLong {
        what,
        limit: N,
        length: value.len(),
    })?;
    head.copy_from_slice(value);
    Ok(out)
}

/// A user's name: up to 16 bytes, empty for the anonymous user (IPMI 2.0 §22.28).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct UserName {
    bytes: [u8; 16],
    length: u8,
}

impl UserName {
    /// Checks the length.
    pub fn new(name: impl AsRef<[u8]>) -> Result<Self, TooLong> {
        let name = name.as_ref();
        Ok(Self {
            bytes: padded("user name", name)?,
            length: name.len() as u8,
        })
    }

    /// A name as it is stored: 16 bytes, zeros at its end.
    pub fn from_padded(bytes: [u8; 16]) -> Self {
        let length = bytes
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last + 1);
        Self {
            bytes,
            length: length as u8,
        }
    }

    /// The name without padding.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    /// The name with zeros up to 16 bytes.
    pub fn to_padded(self) -> [u8; 16] {
        self.bytes
    }

    /// Whether this is the anonymous user's name.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_bytes().escape_ascii())
    }
}

impl fmt::Debug for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// A password or a Kg key: up to 20 bytes, padded with zeros (IPMI 2.0 §13.31). Wiped from memory when
/// dropped, compared in constant time, never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret([u8; 20]);

impl Secret {
    /// Checks the length.
    pub fn new(secret: impl AsRef<[u8]>) -> Result<Self, TooLong> {
        padded("password", secret.as_ref()).map(Self)
    }

    /// The bytes with their padding. For the wire and for keys, never for a text.
    pub fn expose(&self) -> &[u8; 20] {
        &self.0
    }

    /// Whether it fits into the 16 bytes that IPMI 1.5 has for a password.
    pub fn fits_16(&self) -> bool {
        self.0[16..] == [0; 4]
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The cipher suites that are spoken (IPMI 2.0 table 22-20). All others, suite 0 first of all, are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CipherSuite {
    /// RAKP-HMAC-SHA1, HMAC-SHA1-96, AES-CBC-128.
    Suite3,
    /// RAKP-HMAC-SHA256, HMAC-SHA256-128, AES-CBC-128.
    Suite17,
}

impl CipherSuite {
    /// Every suite, best first.
    pub const ALL: [Self; 2] = [Self::Suite17, Self::Suite3];

    /// The suite's number.
    pub fn number(self) -> u8 {
        match self {
            Self::Suite3 => 3,
            Self::Suite17 => 17,
        }
    }

    /// The suite with this number, if it is one of ours.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.number() == number)
    }
}

impl fmt::Display for CipherSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cipher suite {}", self.number())
    }
}
