//! What is asked before a session: what the channel can do (IPMI 2.0 §22.13, §22.15).

use super::{Command, NetFn, Wire};
use crate::codec::{DecodeError, Reader};
use crate::types::{CipherSuite, Privilege};

/// Channel number that means "the one this request came in by".
pub const CHANNEL_PRESENT: u8 = 0x0e;

/// Records of a suite list travel in pieces of this size (IPMI 2.0 §22.15).
const CHUNK: usize = 16;

/// Get Channel Authentication Capabilities (IPMI 2.0 §22.13).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GetChannelAuthCapabilities {
    /// Four bits; [`CHANNEL_PRESENT`] for this one.
    pub channel: u8,
    /// Ask for the IPMI 2.0 answer.
    pub extended: bool,
    /// The level that the session is meant to have.
    pub privilege: Privilege,
}

impl Wire for GetChannelAuthCapabilities {
    fn encode(&self) -> Vec<u8> {
        vec![
            self.channel & 0x0f | u8::from(self.extended) << 7,
            self.privilege.number(),
        ]
    }

    fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("Get Channel Authentication Capabilities", data);
        let [channel, privilege] = reader.array()?;
        Ok(Self {
            channel: channel & 0x0f,
            extended: channel & 0x80 != 0,
            privilege: Privilege::decode(&[privilege])?,
        })
    }
}

impl Command for GetChannelAuthCapabilities {
    const NET_FN: NetFn = NetFn::APP;
    const NUMBER: u8 = 0x38;
    const PRIVILEGE: Option<Privilege> = None;
    type Response = AuthCapabilities;
}

/// How one may log in on a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuthCapabilities {
    /// Channel number.
    pub channel: u8,
    /// IPMI 1.5 authentication types, six bits: bit 0 none, 2 MD5, 4 password.
    pub types_15: u8,
    /// A Kg key is set: login takes two keys.
    pub two_key: bool,
    /// Per-message authentication is disabled.
    pub per_message_disabled: bool,
    /// User-level authentication is disabled.
    pub user_level_disabled: bool,
    /// There are users with names.
    pub named_users: bool,
    /// There are users without a name but with a password.
    pub null_users: bool,
    /// There is a user without name and password.
    pub anonymous: bool,
    /// What the extended answer adds: `(speaks IPMI 1.5, speaks IPMI 2.0)`; `None` in an IPMI 1.5 answer.
    pub extended: Option<(bool, bool)>,
    /// IANA enterprise number for OEM authentication, 24 bits.
    pub oem: u32,
    /// Data for the same.
    pub oem_data: u8,
}

impl AuthCapabilities {
    /// Whether RMCP+ sessions can be opened.
    pub fn speaks_rmcp_plus(&self) -> bool {
        self.extended.is_some_and(|(_, v20)| v20)
    }
}

impl Wire for AuthCapabilities {
    fn encode(&self) -> Vec<u8> {
        let flags = [
            self.anonymous,
            self.null_users,
            self.named_users,
            self.user_level_disabled,
            self.per_message_disabled,
            self.two_key,
        ];
        let status = (0u8..)
            .zip(flags)
            .fold(0, |byte, (bit, flag)| byte | u8::from(flag) << bit);
        let (v15, v20) = self.extended.unwrap_or_default();
        let mut out = vec![
            self.channel & 0x0f,
            self.types_15 & 0x3f | u8::from(self.extended.is_some()) << 7,
            status,
            u8::from(v15) | u8::from(v20) << 1,
        ];
        out.extend(&self.oem.to_le_bytes()[..3]);
        out.push(self.oem_data);
        out
    }

    fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("channel authentication capabilities", data);
        let [channel, types, status, extended] = reader.array()?;
        Ok(Self {
            channel: channel & 0x0f,
            types_15: types & 0x3f,
            two_key: status & 0x20 != 0,
            per_message_disabled: status & 0x10 != 0,
            user_level_disabled: status & 0x08 != 0,
            named_users: status & 0x04 != 0,
            null_users: status & 0x02 != 0,
            anonymous: status & 0x01 != 0,
            extended: (types & 0x80 != 0).then_some((extended & 1 != 0, extended & 2 != 0)),
            oem: reader.u24()?,
            oem_data: reader.u8()?,
        })
    }
}

/// Get Channel Cipher Suites (IPMI 2.0 §22.15): one piece of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GetChannelCipherSuites {
    /// Four bits; [`CHANNEL_PRESENT`] for this one.
    pub channel: u8,
    /// Payload type, 0 is IPMI.
    pub payload_type: u8,
    /// List whole suites; else single algorithms.
    pub by_suite: bool,
    /// Which piece, six bits.
    pub index: u8,
}

impl Wire for GetChannelCipherSuites {
    fn encode(&self) -> Vec<u8> {
        vec![
            self.channel & 0x0f,
            self.payload_type & 0x3f,
            self.index & 0x3f | u8::from(self.by_suite) << 7,
        ]
    }

    fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        let [channel, payload_type, index] = Reader::new("Get Channel Cipher Suites", data).array()?;
        Ok(Self {
            channel: channel & 0x0f,
            payload_type: payload_type & 0x3f,
            by_suite: index & 0x80 != 0,
            index: index & 0x3f,
        })
    }
}

impl Command for GetChannelCipherSuites {
    const NET_FN: NetFn = NetFn::APP;
    const NUMBER: u8 = 0x54;
    const PRIVILEGE: Option<Privilege> = None;
    type Response = CipherSuiteChunk;
}

/// A piece of the suite list; a piece shorter than 16 bytes is the last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CipherSuiteChunk {
    /// Channel number.
    pub channel: u8,
    /// Up to 16 bytes of records.
    pub records: Vec<u8>,
}

impl CipherSuiteChunk {
    /// The piece with this index of `records`.
    pub fn of(channel: u8, records: &[u8], index: u8) -> Self {
        let piece = records.chunks(CHUNK).nth(index.into()).unwrap_or_default();
        Self {
            channel,
            records: piece.to_vec(),
        }
    }

    /// Whether no piece follows.
    pub fn is_last(&self) -> bool {
        self.records.len() < CHUNK
    }
}

impl Wire for CipherSuiteChunk {
    fn encode(&self) -> Vec<u8> {
        let mut out = vec![self.channel & 0x0f];
        out.extend(self.records.iter().take(CHUNK));
        out
    }

    fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("channel cipher suites", data);
        let channel = reader.u8()? & 0x0f;
        Ok(Self {
            channel,
            records: reader.rest().iter().take(CHUNK).copied().collect(),
        })
    }
}

/// The records of these suites (IPMI 2.0 table 22-18), to be sent in pieces.
pub fn cipher_suite_records(suites: &[CipherSuite]) -> Vec<u8> {
    let record = |suite: &CipherSuite| {
        let algorithms = suite.algorithms();
        let numbers = [
            algorithms.authentication,
            algorithms.integrity,
            algorithms.confidentiality,
        ];
        let tagged = [0x00, 0x40, 0x80]
            .into_iter()
            .zip(numbers)
            .map(|(tag, number)| tag | number.unwrap_or(0));
        [0xc0, suite.number()]
            .into_iter()
            .chain(tagged)
            .collect::<Vec<_>>()
    };
    suites.iter().flat_map(record).collect()
}

/// The suites among these records that are ours, in the order of the list. Unknown records are skipped.
pub fn suites_in_records(records: &[u8]) -> Vec<CipherSuite> {
    // A record starts with 0xc0 (standard) or 0xc1 (OEM: three more bytes); its other bytes have other tags.
    let known = |pair: &[u8; 2]| {
        if pair[0] == 0xc0 {
            CipherSuite::from_number(pair[1])
        } else {
            None
        }
    };
    records.array_windows().filter_map(known).collect()
}
