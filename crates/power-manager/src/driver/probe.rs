//! What a host speaks that says nothing of it.

use ipmi::client::{Options, ping};
use ipmi::session::console::{Timing, Withheld};
use redfish_client::{Cause, Client, Credentials, Endpoint, Secret, Transport};

use super::redfish::{before_send, failed};
use crate::{BmcError, Gate};

/// The driver that was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// There is a Redfish service, and its certificate is trusted.
    Redfish(Endpoint),
    /// There is none, and something answers IPMI's presence ping.
    Ipmi,
}

/// Why nothing could be chosen. The machine waits; nothing was logged in to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Undecided {
    /// There is a Redfish service, and its certificate is not trusted: the user decides.
    #[error(
        "{host} has a Redfish service whose certificate is not trusted: {text}; compare its SHA-256 fingerprint and set bmc.tls.fingerprint: {fingerprint}, or pick IPMI by ipmi://{host}"
    )]
    NotTrusted {
        /// The host.
        host: String,
        /// What is wrong with the certificate.
        text: String,
        /// The fingerprint that it has.
        fingerprint: String,
    },
    /// Nothing answered, or not now.
    #[error("cannot find out what the BMC {host} speaks: {error}")]
    Failed {
        /// The host.
        host: String,
        /// The last failure.
        error: BmcError,
    },
}

/// Asks `GET /redfish/v1/` without credentials, and where there is no such service IPMI's presence ping.
///
/// `redfish` is the endpoint to ask, `ipmi` the address; both are the host's, with their default ports.
pub async fn probe(
    host: &str,
    redfish: Endpoint,
    ipmi: std::net::SocketAddr,
    transport: Transport,
    options: redfish_client::Options,
    timing: Timing,
    gate: &Gate,
) -> Result<Choice, Undecided> {
    let nobody = Credentials {
        username: String::new(),
        password: Secret::new(""),
    };
    let client = Client::new(transport, redfish.clone(), nobody, options, before_send(gate));
    let failed_with = |error| Undecided::Failed {
        host: host.to_owned(),
        error,
    };
    let error = match client.service_root().await {
        Ok(root) if root.value.systems.is_some() => return Ok(Choice::Redfish(redfish)),
        Ok(_) => None,
        Err(error) => Some(error),
    };
    match error.as_ref().map(|error| (&*error.cause, error)) {
        Some((Cause::Certificate { reason, fingerprint }, _)) => {
            return Err(Undecided::NotTrusted {
                host: host.to_owned(),
                text: reason.clone(),
                fingerprint: fingerprint.map(|f| f.to_string()).unwrap_or_default(),
            });
        }
        // It is there, but cannot say now; choosing IPMI by that would stick.
        Some((Cause::Busy { .. } | Cause::Fenced(_), error)) => return Err(failed_with(failed(error))),
        Some((Cause::Failed { status, .. }, error)) if *status >= 500 => {
            return Err(failed_with(failed(error)));
        }
        _ => {}
    }
    let asked = gate.clone();
    let options = Options {
        timing,
        before_send: std::sync::Arc::new(move || asked.check().map_err(|fenced| Withheld(fenced.0))),
        ..Options::default()
    };
    match ping(ipmi, &options).await {
        Ok(true) => Ok(Choice::Ipmi),
        Ok(false) => Err(failed_with(error.as_ref().map_or_else(
            || BmcError::Failed {
                trouble: lifecycle::Trouble::Unreachable,
                text: "its service root names no Systems, and nothing answers by IPMI".into(),
            },
            failed,
        ))),
        Err(error) => Err(failed_with(BmcError::new(
            lifecycle::Trouble::Unreachable,
            &error,
        ))),
    }
}
