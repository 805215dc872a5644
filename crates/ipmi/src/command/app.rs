//! The BMC itself and its sessions (IPMI 2.0 §20, §22).

use super::{Command, NetFn, Wire, no_data};
use crate::codec::{DecodeError, Reader};
use crate::types::Privilege;

/// Get Device ID (IPMI 2.0 §20.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GetDeviceId;

no_data!(GetDeviceId);

impl Command for GetDeviceId {
    const NET_FN: NetFn = NetFn::APP;
    const NUMBER: u8 = 0x01;
    const PRIVILEGE: Option<Privilege> = Some(Privilege::User);
    type Response = DeviceId;
}

/// What a BMC is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceId {
    /// Chosen by the vendor.
    pub device_id: u8,
    /// Device revision, four bits.
    pub device_revision: u8,
    /// It provides Device SDRs.
    pub provides_sdrs: bool,
    /// It is updating its firmware or initializing; other commands may be refused.
    pub initializing: bool,
    /// Major firmware revision, seven bits.
    pub firmware_major: u8,
    /// Minor firmware revision, BCD as it is sent: 0x15 reads ".15".
    pub firmware_minor: u8,
    /// IPMI version as it is sent: 0x02 is 2.0, 0x51 is 1.5.
    pub ipmi_version: u8,
    /// Additional device support, a bit mask; bit 7 is chassis support.
    pub support: u8,
    /// IANA enterprise number of the vendor, 24 bits (the upper four reserved).
    pub manufacturer: u32,
    /// Chosen by the vendor.
    pub product: u16,
    /// Auxiliary firmware revision; some BMCs leave it out.
    pub auxiliary: Option<[u8; 4]>,
}

impl DeviceId {
    /// Firmware revision as vendors print it, for example `2.15`.
    pub fn firmware(&self) -> String {
        format!("{}.{:02x}", self.firmware_major, self.firmware_minor)
    }
}

impl Wire for DeviceId {
    fn encode(&self) -> Vec<u8> {
        let mut out = vec![
            self.device_id,
            self.device_revision & 0x0f | u8::from(self.provides_sdrs) << 7,
            self.firmware_major & 0x7f | u8::from(self.initializing) << 7,
            self.firmware_minor,
            self.ipmi_version,
            self.support,
        ];
        out.extend(&self.manufacturer.to_le_bytes()[..3]);
        out.extend(self.product.to_le_bytes());
        out.extend(self.auxiliary.iter().flatten());
        out
    }

    fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("device id", data);
        let [device_id, revision, major, firmware_minor, ipmi_version, support] = reader.array()?;
        Ok(Self {
            device_id,
            device_revision: revision & 0x0f,
            provides_sdrs: revision & 0x80 != 0,
            initializing: major & 0x80 != 0,
            firmware_major: major & 0x7f,
            firmware_minor,
            ipmi_version,
            support,
            manufacturer: reader.u24()?,
            product: reader.u16()?,
            auxiliary: reader.array().ok(),
        })
    }
}

/// Get System GUID (IPMI 2.0 §22.14).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GetSystemGuid;

no_data!(GetSystemGuid);

impl Command for GetSystemGuid {
    const NET_FN: NetFn = NetFn::APP;
    const NUMBER: u8 = 0x37;
    const PRIVILEGE: Option<Privilege> = None;
    type Response = SystemGuid;
}

/// The 16 bytes of a GUID as they were sent. The standard wants the reverse of RFC 4122's order, BMCs also send
/// that of RFC 4122 and of SMBIOS: whoever compares must try all three.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SystemGuid(pub [u8; 16]);

impl Wire for SystemGuid {
    fn encode(&self) -> Vec<u8> {
        self.0.to_vec()
    }

    fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        Ok(Self(Reader::new("system GUID", data).array()?))
    }
}

/// Set Session Privilege Level (IPMI 2.0 §22.18), the level to have from now on; `None` only asks. The response is
/// the level that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetSessionPrivilegeLevel(pub Option<Privilege>);

impl Wire for SetSessionPrivilegeLevel {
    fn encode(&self) -> Vec<u8> {
        vec![self.0.map_or(0, Privilege::number)]
    }

    fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        match Reader::new("Set Session Privilege Level", data).u8()? & 0x0f {
            0 => Ok(Self(None)),
            number => Ok(Self(Some(privilege(number)?))),
        }
    }
}

impl Command for SetSessionPrivilegeLevel {
    const NET_FN: NetFn = NetFn::APP;
    const NUMBER: u8 = 0x3b;
    const PRIVILEGE: Option<Privilege> = Some(Privilege::Callback);
    type Response = Privilege;
}

impl Wire for Privilege {
    fn encode(&self) -> Vec<u8> {
        vec![self.number()]
    }

    fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        privilege(Reader::new("privilege level", data).u8()? & 0x0f)
    }
}

fn privilege(number: u8) -> Result<Privilege, DecodeError> {
    Privilege::from_number(number).ok_or(DecodeError::Value {
        what: "privilege level",
        value: number.into(),
    })
}

/// Close Session (IPMI 2.0 §22.19): the BMC's id of the session to close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CloseSession(pub u32);

impl Wire for CloseSession {
    fn encode(&self) -> Vec<u8> {
        self.0.to_le_bytes().to_vec()
    }

    fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        Ok(Self(Reader::new("Close Session", data).u32()?))
    }
}

impl Command for CloseSession {
    const NET_FN: NetFn = NetFn::APP;
    const NUMBER: u8 = 0x3c;
    const PRIVILEGE: Option<Privilege> = Some(Privilege::Callback);
    type Response = ();
}
