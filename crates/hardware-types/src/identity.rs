//! What names a machine: its SMBIOS UUID and its MAC addresses.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The name of a machine: its SMBIOS system UUID (SMBIOS 3.7 §7.2.1), lower case with dashes.
///
/// A `Server` object, its `ServerBinding` and its node label carry this text. The bytes are in the order
/// that SMBIOS ≥ 2.6, iPXE's `${uuid}` and Talos print (the first three fields little-endian in the table).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServerId(Uuid);

/// A text that is no machine name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} does not name a machine: want an SMBIOS UUID such as 4c4c4544-0039-3010-8048-b7c04f384432 (all zeros and all ones name none)"
)]
pub struct ParseServerIdError(String);

impl ServerId {
    /// The machine with this UUID, or `None` for the two values that firmware uses for "not set".
    pub fn new(uuid: Uuid) -> Option<Self> {
        (!uuid.is_nil() && !uuid.is_max()).then_some(Self(uuid))
    }

    /// The UUID itself.
    pub fn uuid(self) -> Uuid {
        self.0
    }
}

impl FromStr for ServerId {
    type Err = ParseServerIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::try_parse(text)
            .ok()
            .and_then(Self::new)
            .ok_or_else(|| ParseServerIdError(text.into()))
    }
}

impl TryFrom<String> for ServerId {
    type Error = ParseServerIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ServerId> for String {
    fn from(id: ServerId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

impl fmt::Debug for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An Ethernet MAC address (EUI-48). Prints lower case with colons; reads colons or dashes in either case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac([u8; 6]);

/// A text that is no MAC address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a MAC address: want six hexadecimal bytes such as 52:54:00:12:34:56")]
pub struct ParseMacError(String);

impl Mac {
    /// The address with these bytes, in transmission order.
    pub const fn new(bytes: [u8; 6]) -> Self {
        Self(bytes)
    }

    /// The bytes in transmission order.
    pub const fn bytes(self) -> [u8; 6] {
        self.0
    }
}

impl FromStr for Mac {
    type Err = ParseMacError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseMacError(text.into());
        let separator = if text.contains('-') { '-' } else { ':' };
        let mut bytes = [0; 6];
        let mut parts = text.split(separator);
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(error)?;
            // from_str_radix alone would take "+1"
            if !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(error());
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| error())?;
        }
        if parts.next().is_some() {
            Err(error())
        } else {
            Ok(Self(bytes))
        }
    }
}

impl TryFrom<String> for Mac {
    type Error = ParseMacError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> Self {
        mac.to_string()
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn server_id_prints_lower_case_with_dashes() {
        let id: ServerId = "4C4C454400393010 8048B7C04F384432"
            .replace(' ', "")
            .parse()
            .unwrap();
        assert_eq!(id.to_string(), "4c4c4544-0039-3010-8048-b7c04f384432");
    }

    #[test]
    fn unset_uuids_name_no_machine() {
        for text in [
            "00000000-0000-0000-0000-000000000000",
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
            "",
            "x",
        ] {
            let error = text.parse::<ServerId>().unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
    }

    #[test]
    fn mac_reads_colons_and_dashes_in_either_case() {
        let mac = Mac::new([0x52, 0x54, 0, 0xab, 0xcd, 0xef]);
        for text in ["52:54:00:ab:cd:ef", "52-54-00-AB-CD-EF"] {
            assert_eq!(text.parse(), Ok(mac));
        }
        assert_eq!(serde_json::to_string(&mac).unwrap(), "\"52:54:00:ab:cd:ef\"");
    }

    #[test]
    fn texts_that_are_no_mac_are_refused_by_name() {
        for text in [
            "",
            "52:54:00:ab:cd",
            "52:54:00:ab:cd:ef:00",
            "52:54:00:ab:cd:e",
            "+2:54:00:ab:cd:ef",
            "52:54-00:ab:cd:ef",
        ] {
            let error = text.parse::<Mac>().unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
    }

    proptest! {
        #[test]
        fn mac_survives_its_text(bytes: [u8; 6]) {
            prop_assert_eq!(Mac::new(bytes).to_string().parse(), Ok(Mac::new(bytes)));
        }

        #[test]
        fn any_text_parses_or_is_refused(text in ".{0,40}") {
            if let Ok(id) = text.parse::<ServerId>() {
                prop_assert_eq!(id.to_string().parse(), Ok(id));
            }
            if let Ok(mac) = text.parse::<Mac>() {
                prop_assert_eq!(mac.to_string().parse(), Ok(mac));
            }
        }
    }
}
