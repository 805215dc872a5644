//! The IPMI LAN message that RMCP payloads carry (IPMI 2.0 §13.8).

use std::fmt;

use zeroize::Zeroize;

use super::bytes::{DecodeError, Reader};
use crate::command::{Command, NetFn, SetUserPassword};

/// Slave address of a BMC.
pub const BMC_ADDRESS: u8 = 0x20;
/// Software id of a remote console.
pub const CONSOLE_ADDRESS: u8 = 0x81;

/// One end of a message: IPMB slave address or software id, and logical unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// Slave address, or software id with bit 0 set.
    pub id: u8,
    /// Logical unit number, two bits.
    pub lun: u8,
}

/// A request, or a response (then `net_fn` is odd and the first data byte is the completion code).
#[derive(Clone, PartialEq, Eq)]
pub struct LanMessage {
    /// Receiver.
    pub to: Address,
    /// Network function.
    pub net_fn: NetFn,
    /// Sender.
    pub from: Address,
    /// rqSeq, six bits: pairs a response with its request.
    pub sequence: u8,
    /// Command number.
    pub command: u8,
    /// Command data.
    pub data: Vec<u8>,
}

impl LanMessage {
    /// A console's request to the BMC.
    pub fn request(net_fn: NetFn, command: u8, sequence: u8, data: Vec<u8>) -> Self {
        Self {
            to: Address {
                id: BMC_ADDRESS,
                lun: 0,
            },
            net_fn,
            from: Address {
                id: CONSOLE_ADDRESS,
                lun: 0,
            },
            sequence,
            command,
            data,
        }
    }

    /// The response to this request; `data` begins with the completion code.
    #[must_use]
    pub fn response(&self, data: Vec<u8>) -> Self {
        Self {
            to: self.from,
            net_fn: self.net_fn.response(),
            from: self.to,
            sequence: self.sequence,
            command: self.command,
            data,
        }
    }

    /// The bytes of the message with both checksums.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(7 + self.data.len());
        out.extend([self.to.id, self.net_fn.number() << 2 | (self.to.lun & 3)]);
        out.push(checksum(&out));
        out.extend([
            self.from.id,
            self.sequence << 2 | (self.from.lun & 3),
            self.command,
        ]);
        out.extend(&self.data);
        out.push(checksum(&out[3..]));
        out
    }

    /// Reads a message and checks both checksums.
    pub fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("IPMI message", data);
        let [to, net_fn, head] = reader.array()?;
        if checksum(&[to, net_fn]) != head {
            return Err(DecodeError::Checksum {
                what: "IPMI message header",
            });
        }
        let body = reader.rest();
        if checksum(body) != 0 {
            return Err(DecodeError::Checksum {
                what: "IPMI message body",
            });
        }
        let mut reader = Reader::new("IPMI message body", body);
        let [from, sequence, command] = reader.array()?;
        let Some((_checksum, data)) = reader.rest().split_last() else {
            return Err(DecodeError::Short {
                what: "IPMI message body",
                need: 1,
                got: 0,
            });
        };
        Ok(Self {
            to: Address {
                id: to,
                lun: net_fn & 3,
            },
            net_fn: NetFn::new(net_fn >> 2),
            from: Address {
                id: from,
                lun: sequence & 3,
            },
            sequence: sequence >> 2,
            command,
            data: data.to_vec(),
        })
    }
}

/// The data may be a password.
impl Drop for LanMessage {
    fn drop(&mut self) {
        self.data.zeroize();
    }
}

impl fmt::Debug for LanMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("LanMessage");
        out.field("to", &self.to)
            .field("net_fn", &self.net_fn)
            .field("from", &self.from);
        out.field("sequence", &self.sequence)
            .field("command", &self.command);
        match (self.net_fn, self.command) {
            (SetUserPassword::NET_FN, SetUserPassword::NUMBER) => out.field("data", &"(password)"),
            _ => out.field("data", &self.data),
        };
        out.finish()
    }
}

/// Two's complement of the sum, so that the sum with it is zero.
fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0u8, |sum, byte| sum.wrapping_sub(*byte))
}
