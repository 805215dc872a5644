//! The outer layers of a datagram: RMCP, ASF, IPMI 1.5 without session, RMCP+ (IPMI 2.0 §13.1, §13.6).

use super::asf::Presence;
use super::bytes::{DecodeError, Reader, expect_value};

const RMCP_VERSION: u8 = 0x06;
/// RMCP sequence number that asks for no acknowledgement; IPMI uses nothing else.
const RMCP_NO_ACK: u8 = 0xff;
const CLASS_ASF: u8 = 0x06;
const CLASS_IPMI: u8 = 0x07;
const AUTH_NONE: u8 = 0x00;
const AUTH_RMCP_PLUS: u8 = 0x06;

/// One received datagram, split into its layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Datagram<'a> {
    /// Presence ping or pong.
    Asf(Presence),
    /// IPMI 1.5 format with authentication type *none*: what is asked before there is a session.
    Ipmi15(Ipmi15<'a>),
    /// IPMI 2.0 format.
    RmcpPlus(RmcpPlus<'a>),
}

impl<'a> Datagram<'a> {
    /// Splits a datagram. MACs are not checked here: that takes a session's keys.
    pub fn decode(datagram: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("RMCP header", datagram);
        let [version, _reserved, _sequence, class] = reader.array()?;
        expect_value("RMCP version", version, RMCP_VERSION)?;
        let rest = reader.rest();
        match class {
            CLASS_ASF => Presence::decode(rest).map(Self::Asf),
            CLASS_IPMI => match rest.first() {
                Some(&AUTH_RMCP_PLUS) => RmcpPlus::decode(rest).map(Self::RmcpPlus),
                _ => Ipmi15::decode(rest).map(Self::Ipmi15),
            },
            other => Err(DecodeError::Value {
                what: "RMCP class",
                value: other.into(),
            }),
        }
    }
}

/// An IPMI 1.5 packet of authentication type *none* (IPMI 2.0 §13.6, left column).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipmi15<'a> {
    /// Session sequence number; 0 outside a session.
    pub sequence: u32,
    /// Session id; 0 outside a session.
    pub session_id: u32,
    /// The IPMI message.
    pub payload: &'a [u8],
}

impl<'a> Ipmi15<'a> {
    /// The whole datagram. A payload longer than 255 bytes is cut: there is one byte for its length.
    pub fn encode(&self) -> Vec<u8> {
        let payload = &self.payload[..self.payload.len().min(255)];
        let mut out = vec![RMCP_VERSION, 0, RMCP_NO_ACK, CLASS_IPMI, AUTH_NONE];
        out.extend(self.sequence.to_le_bytes());
        out.extend(self.session_id.to_le_bytes());
        out.push(payload.len() as u8);
        out.extend(payload);
        out
    }

    fn decode(data: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("IPMI 1.5 packet", data);
        expect_value("authentication type", reader.u8()?, AUTH_NONE)?;
        let sequence = reader.u32()?;
        let session_id = reader.u32()?;
        let length = reader.u8()?;
        Ok(Self {
            sequence,
            session_id,
            payload: reader.take(length.into())?,
        })
    }
}

/// What an RMCP+ packet carries (IPMI 2.0 table 13-16).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayloadType {
    /// An IPMI message.
    Ipmi,
    /// RMCP+ Open Session Request.
    OpenSessionRequest,
    /// RMCP+ Open Session Response.
    OpenSessionResponse,
    /// RAKP Message 1.
    Rakp1,
    /// RAKP Message 2.
    Rakp2,
    /// RAKP Message 3.
    Rakp3,
    /// RAKP Message 4.
    Rakp4,
}

impl PayloadType {
    const ALL: [(Self, u8); 7] = [
        (Self::Ipmi, 0x00),
        (Self::OpenSessionRequest, 0x10),
        (Self::OpenSessionResponse, 0x11),
        (Self::Rakp1, 0x12),
        (Self::Rakp2, 0x13),
        (Self::Rakp3, 0x14),
        (Self::Rakp4, 0x15),
    ];

    fn number(self) -> u8 {
        Self::ALL
            .iter()
            .find(|(kind, _)| *kind == self)
            .map_or(0, |(_, number)| *number)
    }

    fn from_number(number: u8) -> Result<Self, DecodeError> {
        let known = Self::ALL
            .iter()
            .find(|(_, known)| *known == number)
            .map(|(kind, _)| *kind);
        known.ok_or(DecodeError::Value {
            what: "RMCP+ payload type",
            value: number.into(),
        })
    }
}

/// An RMCP+ packet (IPMI 2.0 table 13-8, right column), its session trailer not yet taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RmcpPlus<'a> {
    /// The payload is encrypted.
    pub encrypted: bool,
    /// A session trailer with a MAC follows the payload.
    pub authenticated: bool,
    /// What the payload is.
    pub payload_type: PayloadType,
    /// Session id of the receiver; 0 outside a session.
    pub session_id: u32,
    /// Session sequence number; 0 outside a session.
    pub sequence: u32,
    /// The payload as it travels.
    pub payload: &'a [u8],
    /// What the MAC covers, and the MAC: from the authentication type to the datagram's end.
    pub signed: &'a [u8],
    /// What follows the payload: integrity pad, pad length, next header, MAC.
    pub trailer: &'a [u8],
}

impl<'a> RmcpPlus<'a> {
    /// A datagram outside a session: neither encrypted nor authenticated.
    pub fn plain(payload_type: PayloadType, payload: &[u8]) -> Vec<u8> {
        let mut out = rmcp_plus_header(payload_type.number(), 0, 0, payload.len());
        out.extend(payload);
        out
    }

    fn decode(signed: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("RMCP+ packet", signed);
        expect_value("authentication type", reader.u8()?, AUTH_RMCP_PLUS)?;
        let kind = reader.u8()?;
        let payload_type = PayloadType::from_number(kind & 0x3f)?;
        let session_id = reader.u32()?;
        let sequence = reader.u32()?;
        let length = reader.u16()?;
        Ok(Self {
            encrypted: kind & 0x80 != 0,
            authenticated: kind & 0x40 != 0,
            payload_type,
            session_id,
            sequence,
            payload: reader.take(length.into())?,
            signed,
            trailer: reader.rest(),
        })
    }
}

/// RMCP and session header; `kind` is the payload type with its *encrypted* and *authenticated* bits.
pub(crate) fn rmcp_plus_header(kind: u8, session_id: u32, sequence: u32, length: usize) -> Vec<u8> {
    let mut out = vec![RMCP_VERSION, 0, RMCP_NO_ACK, CLASS_IPMI, AUTH_RMCP_PLUS, kind];
    out.extend(session_id.to_le_bytes());
    out.extend(sequence.to_le_bytes());
    out.extend((length as u16).to_le_bytes());
    out
}
