//! With which credentials a BMC is approached, as the spec and its Secrets have them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use crd_types::metal::{Bmc, CredentialSource, SecretKeyRef};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, ResourceExt as _};

/// Whom we are at a BMC.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Login {
    pub(crate) user: String,
    pub(crate) password: Vec<u8>,
    /// Where both came from, with its version: another text is another pair.
    pub(crate) source: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("user", &self.user)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

/// Why there are no credentials.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoginError {
    /// The user has to do something. Holds no secret.
    #[error("{0}")]
    Missing(String),
    /// The API server did not answer.
    #[error("reading Secret {name}: {source}")]
    Api { name: String, source: kube::Error },
}

/// The Secrets that `bmc` refers to.
pub(crate) fn references(bmc: &Bmc) -> impl Iterator<Item = &SecretKeyRef> {
    // A text in the spec goes before a reference beside it.
    let user = bmc.user.is_none().then_some(bmc.user_from.as_ref()).flatten();
    let password = bmc.pass.is_none().then_some(bmc.pass_from.as_ref()).flatten();
    [user, password]
        .into_iter()
        .flatten()
        .filter_map(|source| source.secret_key_ref.as_ref())
}

/// Reads the credentials, live.
pub(crate) async fn resolve(client: &Client, bmc: &Bmc, generation: i64) -> Result<Login, LoginError> {
    let mut secrets = BTreeMap::new();
    for reference in references(bmc) {
        let name = format!("{}/{}", reference.namespace, reference.name);
        if let Entry::Vacant(entry) = secrets.entry(name) {
            let api: Api<Secret> = Api::namespaced(client.clone(), &reference.namespace);
            let secret = api.get_opt(&reference.name).await;
            let secret = secret.map_err(|source| LoginError::Api {
                name: entry.key().clone(),
                source,
            })?;
            entry.insert(secret);
        }
    }
    read(bmc, generation, &secrets)
}

fn read(bmc: &Bmc, generation: i64, secrets: &BTreeMap<String, Option<Secret>>) -> Result<Login, LoginError> {
    let user = match &bmc.user {
        Some(user) => user.clone().into_bytes(),
        None => key("user", bmc.user_from.as_ref(), secrets)?,
    };
    let user = String::from_utf8(user).map_err(|_| {
        LoginError::Missing("the user name in the Secret of spec.bmc.userFrom is no UTF-8".into())
    })?;
    let password = match &bmc.pass {
        Some(password) => password.0.clone().into_bytes(),
        None => key("pass", bmc.pass_from.as_ref(), secrets)?,
    };
    let mut source: Vec<String> = secrets
        .iter()
        .filter_map(|(name, secret)| Some(format!("{name}@{}", secret.as_ref()?.resource_version()?)))
        .collect();
    if bmc.user.is_some() || bmc.pass.is_some() {
        source.push(format!("spec@{generation}"));
    }
    Ok(Login {
        user,
        password,
        source: source.join("+"),
    })
}

/// The value of the key that `spec.bmc.<field>From` names.
fn key(
    field: &str,
    source: Option<&CredentialSource>,
    secrets: &BTreeMap<String, Option<Secret>>,
) -> Result<Vec<u8>, LoginError> {
    let missing = |text: String| LoginError::Missing(text);
    let Some(reference) = source.and_then(|source| source.secret_key_ref.as_ref()) else {
        return Err(missing(format!(
            "neither spec.bmc.{field} nor spec.bmc.{field}From is set"
        )));
    };
    let name = format!("{}/{}", reference.namespace, reference.name);
    let Some(secret) = secrets.get(&name).and_then(Option::as_ref) else {
        return Err(missing(format!(
            "Secret {name} does not exist: create it, or correct spec.bmc.{field}From"
        )));
    };
    let value = secret.data.as_ref().and_then(|data| data.get(&reference.key));
    value.map(|value| value.0.clone()).ok_or_else(|| {
        missing(format!(
            "Secret {name} has no key {:?}: add it, or correct spec.bmc.{field}From",
            reference.key
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bmc(json: &str) -> Bmc {
        serde_json::from_str(json).unwrap()
    }

    fn secrets() -> BTreeMap<String, Option<Secret>> {
        let secret = serde_json::json!({
            "metadata": { "name": "s", "namespace": "n", "resourceVersion": "7" },
            "data": { "user": "cm9vdA==", "pass": "Y2Fsdmlu" },
        });
        BTreeMap::from([("n/s".into(), serde_json::from_value(secret).unwrap())])
    }

    const FROM_SECRET: &str = r#"{"endpoint": "b",
        "userFrom": {"secretKeyRef": {"namespace": "n", "name": "s", "key": "user"}},
        "passFrom": {"secretKeyRef": {"namespace": "n", "name": "s", "key": "pass"}}}"#;

    #[test]
    fn credentials_from_one_secret_carry_its_version() {
        let login = read(&bmc(FROM_SECRET), 3, &secrets()).unwrap();
        assert_eq!(
            (login.user.as_str(), login.password.as_slice()),
            ("root", &b"calvin"[..])
        );
        assert_eq!(login.source, "n/s@7");
        assert!(!format!("{login:?}").contains("calvin"));
    }

    #[test]
    fn a_text_in_the_spec_goes_before_a_reference() {
        let mut mixed = bmc(FROM_SECRET);
        mixed.user = Some("admin".into());
        let login = read(&mixed, 3, &secrets()).unwrap();
        assert_eq!(
            (login.user.as_str(), login.source.as_str()),
            ("admin", "n/s@7+spec@3")
        );
        mixed.pass = Some(crd_types::metal::Password("x".into()));
        assert_eq!(references(&mixed).count(), 0);
        assert_eq!(read(&mixed, 3, &BTreeMap::new()).unwrap().source, "spec@3");
    }

    #[test]
    fn what_is_missing_is_named() {
        let bare = read(&bmc(r#"{"endpoint": "b"}"#), 1, &BTreeMap::new())
            .unwrap_err()
            .to_string();
        assert!(
            bare.contains("spec.bmc.user ") && bare.contains("spec.bmc.userFrom"),
            "{bare}"
        );
        let gone = BTreeMap::from([("n/s".to_owned(), None)]);
        let gone = read(&bmc(FROM_SECRET), 1, &gone).unwrap_err().to_string();
        assert!(gone.contains("Secret n/s does not exist"), "{gone}");
        let other = FROM_SECRET.replace(r#""key": "pass""#, r#""key": "password""#);
        let other = read(&bmc(&other), 1, &secrets()).unwrap_err().to_string();
        assert!(other.contains("Secret n/s has no key \"password\""), "{other}");
    }
}
