//! Keys and ciphers of RMCP+ sessions (IPMI 2.0 §13.28 to §13.32). Pure functions: random bytes are arguments.

use aes::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use hmac::{EagerHash, Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::codec::{Algorithms, DecodeError, PayloadType, RmcpPlus, Role, rmcp_plus_header};
use crate::types::{CipherSuite, Secret, UserName};

const AES_CBC_128: u8 = 1;
const BLOCK: usize = 16;
/// *Next header* of a session trailer (IPMI 2.0 table 13-8).
const NEXT_HEADER: u8 = 0x07;

impl CipherSuite {
    /// The suite's algorithm numbers: authentication, integrity, confidentiality.
    pub fn algorithms(self) -> Algorithms {
        let (authentication, integrity) = match self {
            Self::Suite3 => (1, 1),
            Self::Suite17 => (3, 4),
        };
        Algorithms {
            authentication: Some(authentication),
            integrity: Some(integrity),
            confidentiality: Some(AES_CBC_128),
        }
    }

    /// Length of the MAC in a session trailer and of the RAKP 4 check value.
    fn mac_length(self) -> usize {
        match self {
            Self::Suite3 => 12,
            Self::Suite17 => 16,
        }
    }

    /// HMAC over the concatenation of `parts`.
    fn hmac(self, key: &Key, parts: &[&[u8]]) -> Digest {
        match self {
            Self::Suite3 => hmac::<Sha1>(key, parts),
            Self::Suite17 => hmac::<Sha256>(key, parts),
        }
    }
}

/// A key of up to 32 bytes. HMAC pads keys with zeros, so the padding changes nothing.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
struct Key([u8; 32]);

impl From<&Secret> for Key {
    fn from(secret: &Secret) -> Self {
        let mut key = Self([0; 32]);
        key.0[..20].copy_from_slice(secret.expose());
        key
    }
}

struct Digest {
    bytes: [u8; 32],
    length: usize,
}

impl Digest {
    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    fn into_key(self) -> Key {
        Key(self.bytes)
    }
}

fn hmac<D: EagerHash>(key: &Key, parts: &[&[u8]]) -> Digest
where
    Hmac<D>: KeyInit + Mac,
{
    let mut block = hmac::digest::Key::<Hmac<D>>::default();
    block[..32].copy_from_slice(&key.0);
    let mut mac = <Hmac<D> as KeyInit>::new(&block);
    for part in parts {
        mac.update(part);
    }
    let out = mac.finalize().into_bytes();
    let mut digest = Digest {
        bytes: [0; 32],
        length: out.len(),
    };
    digest.bytes[..out.len()].copy_from_slice(&out);
    digest
}

/// What console and BMC learned of each other in Open Session and RAKP 1 and 2: the input of all three codes.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    pub(crate) suite: CipherSuite,
    pub(crate) console_id: u32,
    pub(crate) bmc_id: u32,
    pub(crate) console_random: [u8; 16],
    pub(crate) bmc_random: [u8; 16],
    pub(crate) guid: [u8; 16],
    pub(crate) role: Role,
    pub(crate) user: UserName,
}

impl Exchange {
    /// Key exchange authentication code of RAKP 2 (IPMI 2.0 §13.31).
    pub(crate) fn rakp2_code(&self, password: &Secret) -> Vec<u8> {
        let name = self.user.as_bytes();
        let parts: [&[u8]; 7] = [
            &self.console_id.to_le_bytes(),
            &self.bmc_id.to_le_bytes(),
            &self.console_random,
            &self.bmc_random,
            &self.guid,
            &[self.role.0, name.len() as u8],
            name,
        ];
        self.suite.hmac(&password.into(), &parts).as_slice().to_vec()
    }

    /// Key exchange authentication code of RAKP 3 (IPMI 2.0 §13.31).
    pub(crate) fn rakp3_code(&self, password: &Secret) -> Vec<u8> {
        let name = self.user.as_bytes();
        let parts: [&[u8]; 4] = [
            &self.bmc_random,
            &self.console_id.to_le_bytes(),
            &[self.role.0, name.len() as u8],
            name,
        ];
        self.suite.hmac(&password.into(), &parts).as_slice().to_vec()
    }

    /// Session keys (IPMI 2.0 §13.32). The session integrity key is made with Kg, where the BMC has one ("two-key
    /// login"), else with the user's password.
    pub(crate) fn keys(&self, password: &Secret, kg: Option<&Secret>) -> Keys {
        let name = self.user.as_bytes();
        let parts: [&[u8]; 4] = [
            &self.console_random,
            &self.bmc_random,
            &[self.role.0, name.len() as u8],
            name,
        ];
        let sik = self.suite.hmac(&kg.unwrap_or(password).into(), &parts).into_key();
        let parts: [&[u8]; 3] = [&self.console_random, &self.bmc_id.to_le_bytes(), &self.guid];
        let check = self.suite.hmac(&sik, &parts).as_slice()[..self.suite.mac_length()].to_vec();
        // The constants are 20 bytes long for SHA-256 as well.
        let integrity = self.suite.hmac(&sik, &[&[0x01; 20]]).into_key();
        let mut cipher = [0; BLOCK];
        cipher.copy_from_slice(&self.suite.hmac(&sik, &[&[0x02; 20]]).bytes[..BLOCK]);
        Keys {
            suite: self.suite,
            integrity,
            cipher,
            rakp4_code: check,
        }
    }
}

/// Whether two codes are equal, in constant time.
pub(crate) fn same(left: &[u8], right: &[u8]) -> bool {
    left.ct_eq(right).into()
}

/// Why a packet of a session cannot be trusted or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// It is not both encrypted and authenticated, as the cipher suite demands.
    #[error("the packet is not protected as the cipher suite demands")]
    Unprotected,
    /// The MAC is wrong.
    #[error("the packet's MAC is wrong")]
    Mac,
    /// Under a valid MAC the layout is wrong.
    #[error(transparent)]
    Layout(#[from] DecodeError),
}

/// The keys of one session.
#[derive(Clone)]
pub(crate) struct Keys {
    suite: CipherSuite,
    integrity: Key,
    cipher: [u8; BLOCK],
    rakp4_code: Vec<u8>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys")
            .field("suite", &self.suite)
            .finish_non_exhaustive()
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.cipher.zeroize();
    }
}

impl Keys {
    /// Integrity check value of RAKP 4 (IPMI 2.0 §13.28.1: truncated like the session's MACs).
    pub(crate) fn rakp4_code(&self) -> &[u8] {
        &self.rakp4_code
    }

    /// A whole datagram: `message` encrypted under `iv` and authenticated.
    pub(crate) fn seal(&self, receiver: u32, sequence: u32, message: &[u8], iv: [u8; 16]) -> Vec<u8> {
        let payload = self.encrypt(message, iv);
        let mut out = rmcp_plus_header(0xc0, receiver, sequence, payload.len());
        out.extend(payload);
        // The MAC covers from the authentication type on; pad, pad length and next header round it to 4 bytes.
        let covered = out.len() - 4;
        let pad = (4 - (covered + 2) % 4) % 4;
        out.extend(std::iter::repeat_n(0xff, pad));
        out.extend([pad as u8, NEXT_HEADER]);
        let mac = self.suite.hmac(&self.integrity, &[&out[4..]]);
        out.extend(&mac.as_slice()[..self.suite.mac_length()]);
        out
    }

    /// The message in a packet of this session, once its MAC is found right.
    pub(crate) fn open(&self, packet: &RmcpPlus<'_>) -> Result<Vec<u8>, SealError> {
        if !(packet.encrypted && packet.authenticated && packet.payload_type == PayloadType::Ipmi) {
            return Err(SealError::Unprotected);
        }
        let length = self.suite.mac_length();
        let Some(split) = packet.signed.len().checked_sub(length) else {
            return Err(SealError::Mac);
        };
        let (covered, mac) = packet.signed.split_at(split);
        let want = self.suite.hmac(&self.integrity, &[covered]);
        if packet.trailer.len() < length + 2 || !same(&want.as_slice()[..length], mac) {
            return Err(SealError::Mac);
        }
        Ok(self.decrypt(packet.payload)?)
    }

    fn encrypt(&self, message: &[u8], iv: [u8; 16]) -> Vec<u8> {
        let pad = (BLOCK - (message.len() + 1) % BLOCK) % BLOCK;
        let mut text = message.to_vec();
        text.extend(1..=pad as u8);
        text.push(pad as u8);
        let mut cipher = cbc::Encryptor::<aes::Aes128>::new(&self.cipher.into(), &iv.into());
        for block in text.as_chunks_mut::<BLOCK>().0 {
            cipher.encrypt_block(block.into());
        }
        [&iv, text.as_slice()].concat()
    }

    fn decrypt(&self, payload: &[u8]) -> Result<Vec<u8>, DecodeError> {
        let short = DecodeError::Short {
            what: "encrypted payload",
            need: 2 * BLOCK,
            got: payload.len(),
        };
        let ([iv, blocks @ ..], []) = payload.as_chunks::<BLOCK>() else {
            return Err(short);
        };
        let mut blocks = blocks.to_vec();
        let mut cipher = cbc::Decryptor::<aes::Aes128>::new(&self.cipher.into(), iv.into());
        for block in &mut blocks {
            cipher.decrypt_block(block.into());
        }
        let mut text = blocks.concat();
        let pad = text.pop().ok_or(short)?;
        let bad = DecodeError::Value {
            what: "confidentiality pad length",
            value: pad.into(),
        };
        // Under a valid MAC this is no padding oracle. The pad's bytes are not compared: some BMCs fill it with zeros.
        let length = text
            .len()
            .checked_sub(pad.into())
            .filter(|_| usize::from(pad) < BLOCK)
            .ok_or(bad)?;
        text.truncate(length);
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Datagram;
    use crate::testdata;
    use crate::types::Privilege;
    use proptest::prelude::*;

    fn keys(suite: CipherSuite) -> Keys {
        let exchange = Exchange {
            suite,
            console_id: 1,
            bmc_id: 2,
            console_random: [3; 16],
            bmc_random: [4; 16],
            guid: [5; 16],
            role: Role::name_only(Privilege::Operator),
            user: UserName::new("admin").unwrap(),
        };
        exchange.keys(&Secret::new("secret").unwrap(), None)
    }

    fn open(keys: &Keys, datagram: &[u8]) -> Result<Vec<u8>, SealError> {
        match Datagram::decode(datagram)? {
            Datagram::RmcpPlus(packet) => keys.open(&packet),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn hmac_agrees_with_rfc_2202_and_rfc_4231() {
        let mut key = Key([0; 32]);
        key.0[..4].copy_from_slice(b"Jefe");
        let data: [&[u8]; 2] = [b"what do ya want ", b"for nothing?"];
        for (suite, hex) in [
            (CipherSuite::Suite3, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
            (
                CipherSuite::Suite17,
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
        ] {
            assert_eq!(suite.hmac(&key, &data).as_slice(), testdata::bytes(hex));
        }
    }

    proptest! {
        #[test]
        fn a_sealed_message_opens_and_its_length_is_a_multiple_of_four(
            message in proptest::collection::vec(any::<u8>(), 0..80), iv: [u8; 16], sequence: u32,
        ) {
            for suite in CipherSuite::ALL {
                let keys = keys(suite);
                let datagram = keys.seal(7, sequence, &message, iv);
                prop_assert_eq!((datagram.len() - 4) % 4, 0);
                prop_assert_eq!(open(&keys, &datagram), Ok(message.clone()));
            }
        }

        #[test]
        fn a_changed_bit_is_refused(byte in 4usize..100, bit in 0u8..8) {
            for suite in CipherSuite::ALL {
                let keys = keys(suite);
                let mut datagram = keys.seal(7, 1, &[1, 2, 3], [9; 16]);
                let byte = byte % datagram.len();
                datagram[byte] ^= 1 << bit;
                // The RMCP header is not covered by the MAC.
                prop_assert!(byte < 4 || open(&keys, &datagram).is_err());
            }
        }
    }
}
