//! System boot options: what the machine boots next (IPMI 2.0 §28.12 to §28.14).

use super::{Command, NetFn, Wire};
use crate::codec::{DecodeError, Reader};
use crate::types::Privilege;

/// State of parameter 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SetInProgress {
    /// Nobody is writing.
    Complete,
    /// Somebody is writing.
    InProgress,
    /// Take over what was written; optional in the standard.
    CommitWrite,
}

/// Boot device selector of the boot flags, four bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BootDevice {
    /// No override.
    None,
    /// The network.
    Pxe,
    /// The first disk.
    Disk,
    /// The first disk, safe mode.
    DiskSafeMode,
    /// The diagnostic partition.
    Diagnostic,
    /// CD or DVD.
    Cdrom,
    /// The firmware's set-up menu.
    Setup,
    /// Another number: remote media, floppy.
    Other(u8),
}

impl BootDevice {
    const NAMED: [Self; 7] = [
        Self::None,
        Self::Pxe,
        Self::Disk,
        Self::DiskSafeMode,
        Self::Diagnostic,
        Self::Cdrom,
        Self::Setup,
    ];

    /// The selector's number.
    pub fn number(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Pxe => 1,
            Self::Disk => 2,
            Self::DiskSafeMode => 3,
            Self::Diagnostic => 4,
            Self::Cdrom => 5,
            Self::Setup => 6,
            Self::Other(number) => number & 0x0f,
        }
    }

    /// The selector with this number.
    pub fn from_number(number: u8) -> Self {
        let number = number & 0x0f;
        Self::NAMED
            .get(usize::from(number))
            .copied()
            .unwrap_or(Self::Other(number))
    }
}

/// Parameter 5, boot flags. All five bytes are kept, so that what is read can be written back unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct BootFlags(pub [u8; 5]);

impl BootFlags {
    /// A one-time, valid override.
    pub fn once(device: BootDevice, efi: bool) -> Self {
        Self([0x80 | u8::from(efi) << 5, device.number() << 2, 0, 0, 0])
    }

    /// The flags mean something. A BMC clears this bit after the boot, and 60 s after it was set without one.
    pub fn valid(&self) -> bool {
        self.0[0] & 0x80 != 0
    }

    /// For every boot, not only the next.
    pub fn persistent(&self) -> bool {
        self.0[0] & 0x40 != 0
    }

    /// Boot by UEFI, not by BIOS.
    pub fn efi(&self) -> bool {
        self.0[0] & 0x20 != 0
    }

    /// What to boot.
    pub fn device(&self) -> BootDevice {
        BootDevice::from_number(self.0[1] >> 2)
    }

    /// The same with the *valid* bit set or cleared.
    #[must_use]
    pub fn with_valid(mut self, valid: bool) -> Self {
        self.0[0] = self.0[0] & 0x7f | u8::from(valid) << 7;
        self
    }

    /// The same with the *persistent* bit set or cleared.
    #[must_use]
    pub fn with_persistent(mut self, persistent: bool) -> Self {
        self.0[0] = self.0[0] & 0xbf | u8::from(persistent) << 6;
        self
    }
}

/// A parameter and its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BootOption {
    /// Parameter 0.
    SetInProgress(SetInProgress),
    /// Parameter 3: which events do *not* clear the valid bit, five bits: 0 power by button, 1 reset by button,
    /// 2 watchdog, 3 the 60 s without a chassis command, 4 PEF.
    ValidBitClearing(u8),
    /// Parameter 4: who has handled the boot options (bit 0 is the BIOS), and which bits of that are written.
    InfoAcknowledge {
        /// Bits to write.
        write_mask: u8,
        /// Their values.
        data: u8,
    },
    /// Parameter 5.
    Flags(BootFlags),
    /// Another one.
    Other {
        /// Parameter selector, seven bits.
        parameter: u8,
        /// Its data.
        data: Vec<u8>,
    },
}

/// Names of the parameters that are spoken here, to ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BootParameter(pub u8);

impl BootParameter {
    /// Set in progress.
    pub const SET_IN_PROGRESS: Self = Self(0);
    /// Valid bit clearing.
    pub const VALID_BIT_CLEARING: Self = Self(3);
    /// Boot info acknowledge.
    pub const INFO_ACKNOWLEDGE: Self = Self(4);
    /// Boot flags.
    pub const FLAGS: Self = Self(5);
}

impl BootOption {
    /// Which parameter this is.
    pub fn parameter(&self) -> BootParameter {
        match self {
            Self::SetInProgress(_) => BootParameter::SET_IN_PROGRESS,
            Self::ValidBitClearing(_) => BootParameter::VALID_BIT_CLEARING,
            Self::InfoAcknowledge { .. } => BootParameter::INFO_ACKNOWLEDGE,
            Self::Flags(_) => BootParameter::FLAGS,
            Self::Other { parameter, .. } => BootParameter(*parameter),
        }
    }

    fn data(&self) -> Vec<u8> {
        match self {
            Self::SetInProgress(SetInProgress::Complete) => vec![0],
            Self::SetInProgress(SetInProgress::InProgress) => vec![1],
            Self::SetInProgress(SetInProgress::CommitWrite) => vec![2],
            Self::ValidBitClearing(bits) => vec![bits & 0x1f],
            Self::InfoAcknowledge { write_mask, data } => vec![*write_mask, *data],
            Self::Flags(flags) => flags.0.to_vec(),
            Self::Other { data, .. } => data.clone(),
        }
    }

    fn read(parameter: u8, data: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("boot option", data);
        Ok(match BootParameter(parameter) {
            BootParameter::SET_IN_PROGRESS => Self::SetInProgress(match reader.u8()? & 3 {
                0 => SetInProgress::Complete,
                1 => SetInProgress::InProgress,
                2 => SetInProgress::CommitWrite,
                value => {
                    return Err(DecodeError::Value {
                        what: "set in progress",
                        value: value.into(),
                    });
                }
            }),
            BootParameter::VALID_BIT_CLEARING => Self::ValidBitClearing(reader.u8()? & 0x1f),
            BootParameter::INFO_ACKNOWLEDGE => {
                let [write_mask, data] = reader.array()?;
                Self::InfoAcknowledge { write_mask, data }
            }
            BootParameter::FLAGS => Self::Flags(BootFlags(reader.array()?)),
            BootParameter(parameter) => Self::Other {
                parameter,
                data: data.to_vec(),
            },
        })
    }
}

/// Set System Boot Options (IPMI 2.0 §28.12).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetBootOption {
    /// Mark the parameter invalid or locked.
    pub invalid: bool,
    /// The parameter; without data a request only changes the mark.
    pub option: BootOption,
}

impl From<BootOption> for SetBootOption {
    fn from(option: BootOption) -> Self {
        Self {
            invalid: false,
            option,
        }
    }
}

impl Wire for SetBootOption {
    fn encode(&self) -> Vec<u8> {
        encode_option(self.invalid, &self.option)
    }

    fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        let (invalid, option) = decode_option("Set System Boot Options", data)?;
        Ok(Self { invalid, option })
    }
}

impl Command for SetBootOption {
    const NET_FN: NetFn = NetFn::CHASSIS;
    const NUMBER: u8 = 0x08;
    const PRIVILEGE: Option<Privilege> = Some(Privilege::Operator);
    type Response = ();
}

/// Get System Boot Options (IPMI 2.0 §28.13).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GetBootOption {
    /// Which parameter, seven bits.
    pub parameter: BootParameter,
    /// Set selector, 0 for parameters without sets.
    pub set: u8,
    /// Block selector, 0 for parameters without blocks.
    pub block: u8,
}

impl From<BootParameter> for GetBootOption {
    fn from(parameter: BootParameter) -> Self {
        Self {
            parameter,
            set: 0,
            block: 0,
        }
    }
}

impl Wire for GetBootOption {
    fn encode(&self) -> Vec<u8> {
        vec![self.parameter.0 & 0x7f, self.set, self.block]
    }

    fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        let [parameter, set, block] = Reader::new("Get System Boot Options", data).array()?;
        Ok(Self {
            parameter: BootParameter(parameter & 0x7f),
            set,
            block,
        })
    }
}

impl Command for GetBootOption {
    const NET_FN: NetFn = NetFn::CHASSIS;
    const NUMBER: u8 = 0x09;
    const PRIVILEGE: Option<Privilege> = Some(Privilege::Operator);
    type Response = BootOptionResponse;
}

/// A parameter as the BMC has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootOptionResponse {
    /// The parameter is marked invalid or locked.
    pub invalid: bool,
    /// The parameter.
    pub option: BootOption,
}

impl Wire for BootOptionResponse {
    fn encode(&self) -> Vec<u8> {
        let mut out = vec![0x01]; // parameter version
        out.extend(encode_option(self.invalid, &self.option));
        out
    }

    fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("boot option", data);
        reader.u8()?; // parameter version
        let (invalid, option) = decode_option("boot option", reader.rest())?;
        Ok(Self { invalid, option })
    }
}

fn encode_option(invalid: bool, option: &BootOption) -> Vec<u8> {
    let mut out = vec![option.parameter().0 & 0x7f | u8::from(invalid) << 7];
    out.extend(option.data());
    out
}

fn decode_option(what: &'static str, data: &[u8]) -> Result<(bool, BootOption), DecodeError> {
    let mut reader = Reader::new(what, data);
    let parameter = reader.u8()?;
    Ok((
        parameter & 0x80 != 0,
        BootOption::read(parameter & 0x7f, reader.rest())?,
    ))
}
