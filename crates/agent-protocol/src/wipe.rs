//! The wipe in messages: the order, the heartbeats, the certificate.

use std::fmt;
use std::time::Duration;

use hardware_types::wipe::{Certificate, DiskResult, DiskWipe, Erased, WipeOrder};

use crate::api;
use crate::registration::{Invalid, bounded, text};

/// Most bytes of a reason why a disk was refused or failed.
const MAX_REASON: usize = 1024;

/// Proves that a machine may have orders. Whoever has it is the machine, so its `Debug` form hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// A token as it was given; none if it is empty or no word of visible ASCII, which no token is.
    pub fn new(text: &str) -> Option<Self> {
        let plain = !text.is_empty() && text.len() <= 256 && text.bytes().all(|byte| byte.is_ascii_graphic());
        plain.then(|| Self(text.into()))
    }

    /// The token itself, to be sent or compared, never shown.
    pub fn secret(&self) -> &str {
        &self.0
    }

    /// The value of the metadata `authorization` (RFC 6750 §2.1).
    pub fn bearer(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// Reads the value of the metadata `authorization`.
    pub fn from_bearer(value: &str) -> Option<Self> {
        Self::new(value.strip_prefix("Bearer ")?)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

impl From<WipeOrder> for api::WipeOrder {
    fn from(order: WipeOrder) -> Self {
        Self {
            generation: order.generation,
            include_wwids: order.include_wwids,
            heartbeat_seconds: u32::try_from(order.heartbeat.as_secs()).unwrap_or(u32::MAX),
        }
    }
}

impl From<api::WipeOrder> for WipeOrder {
    fn from(order: api::WipeOrder) -> Self {
        Self {
            generation: order.generation,
            include_wwids: order.include_wwids,
            heartbeat: Duration::from_secs(order.heartbeat_seconds.into()),
        }
    }
}

/// The certificate of a report, checked.
pub fn certificate(request: api::MarkServerAsWipedRequest) -> Result<Certificate, Invalid> {
    bounded("disks", request.disks.len())?;
    let disks = request.disks.into_iter().map(DiskWipe::try_from);
    Ok(Certificate {
        generation: request.generation,
        disks: disks.collect::<Result<_, _>>()?,
    })
}

impl TryFrom<api::WipedDisk> for DiskWipe {
    type Error = Invalid;

    fn try_from(disk: api::WipedDisk) -> Result<Self, Invalid> {
        let result = match disk.result() {
            api::DiskResult::Unknown => return Err(Invalid::Missing("disks.result")),
            api::DiskResult::Wiped => DiskResult::Wiped(Erased {
                discarded: disk.discarded,
                zeroed_bytes: disk.zeroed_bytes,
                partitions: disk.partitions,
            }),
            api::DiskResult::Refused => DiskResult::Refused(reason(&disk.reason)),
            api::DiskResult::Failed => DiskResult::Failed(reason(&disk.reason)),
        };
        Ok(Self {
            device_name: text("disks.device_name", disk.device_name)?,
            model: text("disks.model", disk.model)?,
            serial: text("disks.serial", disk.serial)?,
            wwid: text("disks.wwid", disk.wwid)?,
            size: disk.size,
            result,
        })
    }
}

impl From<DiskWipe> for api::WipedDisk {
    fn from(disk: DiskWipe) -> Self {
        let mut message = Self {
            device_name: disk.device_name,
            model: disk.model,
            serial: disk.serial,
            wwid: disk.wwid,
            size: disk.size,
            ..Self::default()
        };
        match disk.result {
            DiskResult::Wiped(erased) => {
                message.set_result(api::DiskResult::Wiped);
                message.discarded = erased.discarded;
                message.zeroed_bytes = erased.zeroed_bytes;
                message.partitions = erased.partitions;
            }
            DiskResult::Refused(reason) => {
                message.set_result(api::DiskResult::Refused);
                message.reason = reason;
            }
            DiskResult::Failed(reason) => {
                message.set_result(api::DiskResult::Failed);
                message.reason = reason;
            }
        }
        message
    }
}

/// A reason is for people: a long one is cut rather than refused, and a disk's name cannot bring control characters in.
fn reason(text: &str) -> String {
    let plain: String = text.chars().filter(|char| !char.is_control()).collect();
    plain[..plain.floor_char_boundary(MAX_REASON)].into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disks() -> Vec<DiskWipe> {
        let disk = |name: &str, result| DiskWipe {
            device_name: name.into(),
            model: "Model".into(),
            serial: "S-1".into(),
            wwid: "naa.1".into(),
            size: 1 << 30,
            result,
        };
        let erased = Erased {
            discarded: true,
            zeroed_bytes: 6 << 20,
            partitions: 2,
        };
        vec![
            disk("/dev/sda", DiskResult::Wiped(erased)),
            disk("/dev/sdb", DiskResult::Refused("it is removable".into())),
            disk("/dev/sdc", DiskResult::Failed("cannot read at byte 0".into())),
        ]
    }

    #[test]
    fn a_certificate_comes_out_of_its_message_as_it_went_in() {
        let request = api::MarkServerAsWipedRequest {
            uuid: String::new(),
            generation: 3,
            disks: disks().into_iter().map(Into::into).collect(),
        };
        let certificate = certificate(request).unwrap();
        assert_eq!((certificate.generation, certificate.disks), (3, disks()));
    }

    #[test]
    fn a_disk_without_a_result_is_none_that_was_wiped() {
        let request = api::MarkServerAsWipedRequest {
            disks: vec![api::WipedDisk::default()],
            ..Default::default()
        };
        assert_eq!(certificate(request), Err(Invalid::Missing("disks.result")));
    }

    #[test]
    fn a_long_reason_is_cut_and_plain() {
        let mut disk = api::WipedDisk::from(disks().remove(2));
        disk.reason = format!("\u{1b}[2J{}", "é".repeat(MAX_REASON));
        let DiskResult::Failed(reason) = DiskWipe::try_from(disk).unwrap().result else {
            panic!()
        };
        assert!(
            reason.len() <= MAX_REASON && reason.starts_with("[2Jé"),
            "{}",
            reason.len()
        );
    }

    #[test]
    fn a_token_is_hidden_and_a_word() {
        let token = Token::from_bearer("Bearer abc-DEF_1").unwrap();
        assert_eq!(
            (token.secret(), token.bearer().as_str()),
            ("abc-DEF_1", "Bearer abc-DEF_1")
        );
        assert!(!format!("{token:?}").contains("abc"));
        for value in [
            "",
            "Bearer ",
            "Basic abc",
            "Bearer a b",
            "Bearer a\n",
            "bearer abc",
        ] {
            assert_eq!(Token::from_bearer(value), None, "{value:?}");
        }
    }
}
