//! Tokens of boot windows: every replica can make and check one, nothing is stored but the key.

use agent_protocol::Token;
use anyhow::Context as _;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use crd_types::names::labels;
use hardware_types::ServerId;
use hmac::{Hmac, KeyInit as _, Mac as _};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use kube::{Api, Client};
use lifecycle::facts::Window;
use sha2::Sha256;

/// The Secret that holds the keys, in the manager's namespace.
const SECRET: &str = "metal-boot-token-keys";
/// Makes and checks tokens.
const PRESENT: &str = "present";
/// Checks tokens only: those that were made before a human put another key in place of this one.
const PREVIOUS: &str = "previous";
/// Least and usual length of a key, in bytes (RFC 2104 §3: no shorter than the hash).
const KEY: usize = 32;

/// The keys of this installation.
pub(super) struct Keys {
    present: Hmac<Sha256>,
    previous: Option<Hmac<Sha256>>,
}

impl Keys {
    /// Reads them; makes them where there are none yet.
    pub(super) async fn of(client: &Client, namespace: &str) -> anyhow::Result<Self> {
        let secrets = Api::<Secret>::namespaced(client.clone(), namespace);
        let what = || format!("Secret {namespace}/{SECRET}, the keys of boot tokens");
        if let Some(secret) = secrets.get_opt(SECRET).await.with_context(what)? {
            return Self::read(&secret).with_context(what);
        }
        match secrets.create(&PostParams::default(), &fresh(namespace)).await {
            Ok(secret) => Self::read(&secret),
            // another replica was first
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                Self::read(&secrets.get(SECRET).await.with_context(what)?)
            }
            Err(error) => Err(error.into()),
        }
        .with_context(what)
    }

    fn read(secret: &Secret) -> anyhow::Result<Self> {
        let data = secret.data.as_ref();
        let key = |name: &str| {
            let value = data.and_then(|data| data.get(name))?;
            let long = value.0.len() >= KEY;
            let key = Hmac::new_from_slice(&value.0).ok().filter(|_| long);
            Some(key.with_context(|| format!("key {name:?} is shorter than {KEY} bytes")))
        };
        Ok(Self {
            present: key(PRESENT).with_context(|| format!("has no key {PRESENT:?}"))??,
            previous: key(PREVIOUS).transpose()?,
        })
    }

    /// The token of a machine's window.
    pub(super) fn make(&self, server: ServerId, window: &Window) -> Option<Token> {
        let digest = signed(&self.present, server, window).finalize().into_bytes();
        Token::new(&BASE64_URL_SAFE_NO_PAD.encode(digest))
    }

    /// Whether this is the token of the machine's window. Compared in constant time.
    pub(super) fn fits(&self, token: &Token, server: ServerId, window: &Window) -> bool {
        let Ok(digest) = BASE64_URL_SAFE_NO_PAD.decode(token.secret()) else {
            return false;
        };
        let mut keys = [Some(&self.present), self.previous.as_ref()]
            .into_iter()
            .flatten();
        keys.any(|key| signed(key, server, window).verify_slice(&digest).is_ok())
    }
}

/// The token is bound to all three: another machine's, another window's or one for another purpose fits nothing. None of
/// them has a blank in it.
fn signed(key: &Hmac<Sha256>, server: ServerId, window: &Window) -> Hmac<Sha256> {
    let text = format!("{server} {} {}", window.id, window.purpose.word());
    key.clone().chain_update(text)
}

fn fresh(namespace: &str) -> Secret {
    let key: [u8; KEY] = rand::random();
    let mut secret = Secret {
        data: Some([(PRESENT.to_owned(), ByteString(key.into()))].into()),
        ..Secret::default()
    };
    secret.metadata.name = Some(SECRET.into());
    secret.metadata.namespace = Some(namespace.into());
    // a machine that boots while its objects move keeps its window
    let label = (labels::MOVE.to_owned(), String::new());
    secret.metadata.labels = Some([label].into());
    secret
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(present: &[u8], previous: Option<&[u8]>) -> Secret {
        let mut secret = fresh("ns");
        let data = secret.data.as_mut().unwrap();
        data.insert(PRESENT.into(), ByteString(present.into()));
        if let Some(previous) = previous {
            data.insert(PREVIOUS.into(), ByteString(previous.into()));
        }
        secret
    }

    fn window(text: &str) -> Window {
        text.parse().unwrap()
    }

    #[test]
    fn a_token_fits_its_machine_its_window_and_its_purpose_only() {
        let keys = Keys::read(&fresh("ns")).unwrap();
        let server: ServerId = "4c4c4544-0039-3010-8048-b7c04f384432".parse().unwrap();
        let other: ServerId = "4c4c4544-0039-3010-8048-b7c04f384433".parse().unwrap();
        let ours = window("w-1 agent 1800000000");
        let token = keys.make(server, &ours).unwrap();
        assert!(keys.fits(&token, server, &ours));
        assert!(!keys.fits(&token, other, &ours));
        assert!(!keys.fits(&token, server, &window("w-2 agent 1800000000")));
        assert!(!keys.fits(&token, server, &window("w-1 environment 1800000000")));
        for text in ["x", &token.secret()[1..], &format!("{}A", token.secret())] {
            assert!(!keys.fits(&Token::new(text).unwrap(), server, &ours), "{text}");
        }
    }

    #[test]
    fn a_key_that_was_replaced_still_checks_and_makes_nothing() {
        let server: ServerId = "4c4c4544-0039-3010-8048-b7c04f384432".parse().unwrap();
        let ours = window("w-1 agent 1800000000");
        let old = Keys::read(&secret(&[1; KEY], None)).unwrap();
        let new = Keys::read(&secret(&[2; KEY], Some(&[1; KEY]))).unwrap();
        let token = old.make(server, &ours).unwrap();
        assert!(new.fits(&token, server, &ours));
        assert!(!old.fits(&new.make(server, &ours).unwrap(), server, &ours));
    }

    #[test]
    fn a_short_or_missing_key_is_named() {
        let short = Keys::read(&secret(&[1; KEY - 1], None));
        let error = short.err().unwrap().to_string();
        assert!(error.contains("present") && error.contains("32"), "{error}");
        assert!(Keys::read(&Secret::default()).is_err());
    }
}
