//! What an installed node keeps on its disk: its configuration, and a nonce that tells one installation from the next.

use sha2::{Digest as _, Sha256};

/// What a state begins with.
const MAGIC: &[u8; 16] = b"LAB NODE STATE 1";
const NONCE: usize = 8;
const DIGEST: usize = 32;
/// Magic, nonce, length of the configuration, SHA-256 of nonce, length and configuration.
const HEADER: usize = MAGIC.len() + NONCE + 4 + DIGEST;

/// Most bytes that a state takes on a disk, and so bytes of its partition.
pub const MAX_SIZE: usize = 1 << 20;

/// An installation.
#[derive(Clone, PartialEq, Eq)]
pub struct State {
    /// Random at each installation.
    pub nonce: [u8; NONCE],
    /// The machine's configuration, as it was fetched. It has secrets.
    pub config: String,
}

/// Why bytes of a disk are no state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// No node was installed there.
    #[error("there is no state")]
    Missing,
    /// One was, and what it wrote is damaged.
    #[error("the state is damaged: {0}")]
    Damaged(&'static str),
    /// More than the partition takes.
    #[error("a configuration of {0} bytes does not fit: at most {max} do", max = MAX_SIZE - HEADER)]
    TooLarge(usize),
}

impl State {
    /// Bytes for the state's partition.
    pub fn encode(&self) -> Result<Vec<u8>, StateError> {
        if HEADER + self.config.len() > MAX_SIZE {
            return Err(StateError::TooLarge(self.config.len()));
        }
        let length = (self.config.len() as u32).to_le_bytes();
        let digest = digest(&self.nonce, length, self.config.as_bytes());
        Ok([MAGIC, &self.nonce[..], &length, &digest, self.config.as_bytes()].concat())
    }

    /// Reads what stands at the begin of the state's partition; what comes after the state does not count.
    pub fn decode(bytes: &[u8]) -> Result<Self, StateError> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(StateError::Missing)?;
        let cut = StateError::Damaged("it is cut off");
        let (nonce, rest) = rest.split_first_chunk::<NONCE>().ok_or(cut.clone())?;
        let (length, rest) = rest.split_first_chunk::<4>().ok_or(cut.clone())?;
        let (expected, rest) = rest.split_first_chunk::<DIGEST>().ok_or(cut.clone())?;
        let config = rest.get(..u32::from_le_bytes(*length) as usize).ok_or(cut)?;
        if digest(nonce, *length, config) != *expected {
            return Err(StateError::Damaged("its checksum is wrong"));
        }
        let config = std::str::from_utf8(config).map_err(|_| StateError::Damaged("it is no text"))?;
        Ok(Self {
            nonce: *nonce,
            config: config.into(),
        })
    }

    /// The nonce as the console shows it.
    pub fn nonce_text(&self) -> String {
        format!("{:016x}", u64::from_be_bytes(self.nonce))
    }
}

fn digest(nonce: &[u8], length: [u8; 4], config: &[u8]) -> [u8; DIGEST] {
    let mut hash = Sha256::new();
    hash.update(nonce);
    hash.update(length);
    hash.update(config);
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        State {
            nonce: [0xab; NONCE],
            config: "version: v1alpha1\n".into(),
        }
    }

    #[test]
    fn a_state_is_read_back_from_a_partition_that_is_larger() {
        let mut bytes = state().encode().unwrap();
        bytes.resize(4096, 0xff);
        assert!(State::decode(&bytes).unwrap() == state());
        assert_eq!(state().nonce_text(), "abababababababab");
    }

    #[test]
    fn zeros_are_no_state_and_no_damage_goes_unnoticed() {
        assert_eq!(State::decode(&[0; 4096]).err(), Some(StateError::Missing));
        let good = state().encode().unwrap();
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 1;
            assert!(State::decode(&bytes).is_err(), "byte {at}");
            assert!(State::decode(&good[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_configuration_that_does_not_fit_is_refused_with_its_size() {
        let sized = |size| State {
            config: "x".repeat(size),
            ..state()
        };
        assert!(sized(MAX_SIZE - HEADER).encode().is_ok());
        let size = MAX_SIZE - HEADER + 1;
        assert_eq!(sized(size).encode(), Err(StateError::TooLarge(size)));
    }
}
