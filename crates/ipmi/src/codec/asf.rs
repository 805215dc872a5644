//! RMCP presence: ASF ping and pong (IPMI 2.0 §13.2.3, ASF 2.0 §3.2.4).

use super::bytes::{DecodeError, Reader};

/// IANA enterprise number of the ASF itself.
const ASF_IANA: u32 = 4542;
const PING: u8 = 0x80;
const PONG: u8 = 0x40;
/// Supported entities of a pong: IPMI, ASF version 1.
const IPMI_AND_ASF1: u8 = 0x81;

/// The two ASF messages of presence detection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// "Who is there?"
    Ping {
        /// Chosen by the sender, returned in the pong.
        tag: u8,
    },
    /// "A managed system is."
    Pong {
        /// Tag of the ping.
        tag: u8,
        /// Whether it speaks IPMI.
        ipmi: bool,
    },
}

impl Presence {
    /// The whole datagram, RMCP header included.
    pub fn encode(self) -> Vec<u8> {
        let mut out = vec![0x06, 0x00, 0xff, 0x06];
        out.extend(ASF_IANA.to_be_bytes());
        match self {
            Self::Ping { tag } => out.extend([PING, tag, 0, 0]),
            Self::Pong { tag, ipmi } => {
                out.extend([PONG, tag, 0, 16]);
                out.extend(ASF_IANA.to_be_bytes());
                out.extend([0; 4]); // OEM-defined
                out.push(if ipmi { IPMI_AND_ASF1 } else { 0x01 });
                out.extend([0; 7]); // interactions, reserved
            }
        }
        out
    }

    /// Reads what follows the RMCP header.
    pub(super) fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("ASF message", data);
        let iana = u32::from_be_bytes(reader.array()?);
        if iana != ASF_IANA {
            return Err(DecodeError::Value {
                what: "ASF enterprise number",
                value: iana,
            });
        }
        let [kind, tag, _reserved, _length] = reader.array()?;
        match kind {
            PING => Ok(Self::Ping { tag }),
            PONG => {
                reader.take(8)?;
                Ok(Self::Pong {
                    tag,
                    ipmi: reader.u8()? & 0x80 != 0,
                })
            }
            other => Err(DecodeError::Value {
                what: "ASF message type",
                value: other.into(),
            }),
        }
    }
}
