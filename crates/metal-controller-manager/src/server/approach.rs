//! Which BMC a Server has, how it is spoken to and as whom, and the actor that does.

use std::sync::Arc;

use crd_types::metal::{Bmc, Server};
use crd_types::names::conditions;
use hardware_types::ServerId;
use kube::ResourceExt as _;
use power_manager::driver::Choice;
use power_manager::{Endpoint, EndpointSpec};
use redfish_client::TlsPolicy;

use super::login::{self, LoginError};
use super::status::{self, Contact};
use super::{ServerError, Servers};
use crate::bmcs::{Actor, Approach};

/// A BMC as the spec and the Secrets describe it.
pub(super) enum Target {
    /// None is configured.
    None,
    /// The user has to do something, or what the host speaks is not known yet.
    Not(Contact),
    /// This one, by this driver for this reason.
    Approach(Box<Approach>, String),
}

impl Servers {
    /// Which BMC, by which protocol, as whom.
    pub(super) async fn target(&self, server: &Server) -> Result<Target, ServerError> {
        let Some(bmc) = &server.spec.bmc else {
            self.bmcs.stop_asking(server);
            return Ok(Target::None);
        };
        let broken = |reason, message: String| Ok(Target::Not(Contact::Broken { reason, message }));
        let (endpoint, tls) = match (server_id(server), endpoint(bmc), tls(bmc)) {
            (Some(_), Ok(endpoint), Ok(tls)) => (endpoint, tls),
            (None, _, _) => {
                let name = server.name_any();
                let why = format!(
                    "the Server's name {name:?} is no SMBIOS UUID in canonical form, so no BMC can be told to be its"
                );
                return broken(conditions::INVALID_SPEC, why);
            }
            (_, Err(why), _) | (_, _, Err(why)) => return broken(conditions::INVALID_SPEC, why),
        };
        let login =
            match login::resolve(&self.client, bmc, server.metadata.generation.unwrap_or_default()).await {
                Ok(login) => login,
                Err(LoginError::Missing(why)) => return broken(conditions::CREDENTIALS_MISSING, why),
                Err(error) => return Err(error.into()),
            };
        let (endpoint, reason) = match endpoint {
            Endpoint::Undecided { host } => match self.decide(server, &host, &tls) {
                Ok(decided) => decided,
                Err(contact) => return Ok(Target::Not(*contact)),
            },
            explicit => {
                self.bmcs.stop_asking(server);
                (explicit, "spec.bmc says so".into())
            }
        };
        let approach = Approach { endpoint, tls, login };
        Ok(Target::Approach(Box::new(approach), reason))
    }

    /// The driver for a host that says nothing of it: as it was chosen before, else by asking.
    fn decide(
        &self,
        server: &Server,
        host: &str,
        tls: &TlsPolicy,
    ) -> Result<(Endpoint, String), Box<Contact>> {
        let broken = |reason, message| Box::new(Contact::Broken { reason, message });
        let bracketed = if host.contains(':') {
            format!("[{host}]")
        } else {
            host.to_owned()
        };
        let redfish = || format!("redfish://{bracketed}").parse().map(Endpoint::Redfish);
        let ipmi = Endpoint::Ipmi {
            host: host.into(),
            port: 623,
        };
        let stored = server.status.as_ref().and_then(|status| status.bmc.as_ref());
        if let Some((stored, reason)) = stored.and_then(|bmc| bmc.endpoint.as_ref().zip(bmc.reason.as_ref()))
        {
            let chosen = [Ok(ipmi.clone()), redfish()].into_iter().flatten();
            if let Some(endpoint) = chosen
                .into_iter()
                .find(|endpoint| endpoint.to_string() == *stored)
            {
                self.bmcs.stop_asking(server);
                return Ok((endpoint, reason.clone()));
            }
        }
        match self.bmcs.choice(server, host, tls) {
            Err(error) => Err(broken(conditions::INVALID_SPEC, error.to_string())),
            Ok(None) => Err(broken(
                conditions::CONNECTING,
                format!("asking {host} what it speaks"),
            )),
            Ok(Some(Err(undecided))) => {
                let reason = match &undecided {
                    power_manager::driver::Undecided::NotTrusted { .. } => lifecycle::Trouble::Certificate,
                    power_manager::driver::Undecided::Failed { error, .. } => {
                        error.trouble().unwrap_or(lifecycle::Trouble::Unreachable)
                    }
                };
                Err(broken(reason.reason(), undecided.to_string()))
            }
            Ok(Some(Ok(Choice::Redfish(endpoint)))) => Ok((
                Endpoint::Redfish(endpoint),
                "it has a Redfish service that is trusted".into(),
            )),
            Ok(Some(Ok(Choice::Ipmi))) => Ok((ipmi, "it has no Redfish service and answers IPMI".into())),
        }
    }

    /// The actor for the target, and what there is to say of it.
    pub(super) fn contact(&self, server: &Server, target: Target) -> (Contact, Option<Arc<Actor>>) {
        let (approach, reason) = match target {
            Target::None => return (Contact::None, None),
            Target::Not(contact) => return (contact, None),
            Target::Approach(approach, reason) => (*approach, reason),
        };
        let Some(id) = server_id(server) else {
            return (Contact::None, None);
        };
        let endpoint = approach.endpoint.clone();
        let verdict = status::verdict(server, &approach.key());
        match self.bmcs.start(server, id, approach, verdict) {
            Ok(actor) => {
                let report = Box::new(actor.report());
                (
                    Contact::Actor {
                        endpoint,
                        reason,
                        report,
                    },
                    Some(actor),
                )
            }
            Err(error) => {
                let message = error.to_string();
                (
                    Contact::Broken {
                        reason: conditions::INVALID_SPEC,
                        message,
                    },
                    None,
                )
            }
        }
    }
}

/// The machine's UUID, if the Server is named as every part finds it again.
fn server_id(server: &Server) -> Option<ServerId> {
    let name = server.name_any();
    name.parse().ok().filter(|id: &ServerId| id.to_string() == name)
}

fn endpoint(bmc: &Bmc) -> Result<Endpoint, String> {
    let port = bmc.port.map(|port| {
        u32::try_from(port).map_err(|_| format!("spec.bmc.port {port} cannot be used: it is below 0"))
    });
    let spec = EndpointSpec {
        endpoint: bmc.endpoint.clone(),
        port: port.transpose()?,
        interface: bmc.interface.clone(),
    };
    spec.parse().map_err(|error| error.to_string())
}

fn tls(bmc: &Bmc) -> Result<TlsPolicy, String> {
    let Some(tls) = &bmc.tls else {
        return Ok(TlsPolicy::Undecided);
    };
    match (&tls.fingerprint, tls.insecure_skip_verify) {
        (Some(text), _) => {
            text.parse()
                .map(TlsPolicy::Pinned)
                .map_err(|error: redfish_client::ParseFingerprintError| {
                    format!("spec.bmc.tls.fingerprint: {error}")
                })
        }
        (None, Some(true)) => Ok(TlsPolicy::Insecure),
        (None, _) => Ok(TlsPolicy::Undecided),
    }
}
