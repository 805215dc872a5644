//! LAN configuration: the BMC's own address (IPMI 2.0 §23.2).

use std::net::Ipv4Addr;

use super::{Command, NetFn, Wire};
use crate::codec::{DecodeError, Reader};
use crate::types::Privilege;

/// Parameter selector (IPMI 2.0 table 23-4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LanParameter(pub u8);

impl LanParameter {
    /// IPv4 address.
    pub const IP_ADDRESS: Self = Self(3);
    /// Where the address comes from: 1 static, 2 DHCP, 3 BIOS, 4 other.
    pub const IP_SOURCE: Self = Self(4);
    /// MAC address.
    pub const MAC_ADDRESS: Self = Self(5);
    /// IPv4 subnet mask.
    pub const SUBNET_MASK: Self = Self(6);
    /// Primary RMCP port, little endian.
    pub const PRIMARY_PORT: Self = Self(8);
    /// IPv4 address of the default gateway.
    pub const GATEWAY: Self = Self(12);
}

/// Get LAN Configuration Parameters (IPMI 2.0 §23.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GetLanConfig {
    /// Channel number, four bits.
    pub channel: u8,
    /// Only the parameter's revision, not its data.
    pub revision_only: bool,
    /// Which parameter.
    pub parameter: LanParameter,
    /// Set selector, 0 for parameters without sets.
    pub set: u8,
    /// Block selector, 0 for parameters without blocks.
    pub block: u8,
}

impl GetLanConfig {
    /// Asks for a parameter that has no sets and blocks.
    pub fn new(channel: u8, parameter: LanParameter) -> Self {
        Self {
            channel,
            revision_only: false,
            parameter,
            set: 0,
            block: 0,
        }
    }
}

impl Wire for GetLanConfig {
    fn encode(&self) -> Vec<u8> {
        let channel = self.channel & 0x0f | u8::from(self.revision_only) << 7;
        vec![channel, self.parameter.0, self.set, self.block]
    }

    fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        let [channel, parameter, set, block] =
            Reader::new("Get LAN Configuration Parameters", data).array()?;
        Ok(Self {
            channel: channel & 0x0f,
            revision_only: channel & 0x80 != 0,
            parameter: LanParameter(parameter),
            set,
            block,
        })
    }
}

impl Command for GetLanConfig {
    const NET_FN: NetFn = NetFn::TRANSPORT;
    const NUMBER: u8 = 0x02;
    const PRIVILEGE: Option<Privilege> = Some(Privilege::Operator);
    type Response = LanConfig;
}

/// A parameter's data. The response does not say which parameter it is: the sender knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LanConfig {
    /// Parameter revision, 0x11 in IPMI 2.0.
    pub revision: u8,
    /// The data.
    pub data: Vec<u8>,
}

impl LanConfig {
    /// The data as an IPv4 address or mask.
    pub fn ipv4(&self) -> Result<Ipv4Addr, DecodeError> {
        Reader::new("IPv4 address", &self.data)
            .array::<4>()
            .map(Ipv4Addr::from)
    }

    /// The data as a MAC address.
    pub fn mac(&self) -> Result<[u8; 6], DecodeError> {
        Reader::new("MAC address", &self.data).array()
    }

    /// The data as a port.
    pub fn port(&self) -> Result<u16, DecodeError> {
        Reader::new("port", &self.data).u16()
    }
}

impl Wire for LanConfig {
    fn encode(&self) -> Vec<u8> {
        let mut out = vec![self.revision];
        out.extend(&self.data);
        out
    }

    fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("LAN configuration parameter", data);
        Ok(Self {
            revision: reader.u8()?,
            data: reader.rest().to_vec(),
        })
    }
}
