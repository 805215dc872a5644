//! What the boot services know: Servers and ServerBindings of the API server, and the reports that become Servers.

use std::sync::Arc;

use agent_protocol::Registration;
use boot_protocols::ipxe::DiskMethod;
use boot_services::{Address, Directory, RegisterError, Sighting, Unavailable};
use controller_runtime::events::Events;
use controller_runtime::writer::{WriteError, Writer};
use crd_types::infrastructure::ServerBinding;
use crd_types::metal::{BootFromDiskMethod, NodeAddress, Server, ServerSpec};
use crd_types::names::events;
use futures::FutureExt as _;
use hardware_types::{Mac, ServerId};
use jiff::Timestamp;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, Client};
use lifecycle::boot::{NotTaken, View, take_report};
use serde_json::json;
use tracing::{info, warn};

use super::evidence::Evidence;
use super::inventory;
use crate::server::facts::{Site, boot_view};

/// The one implementation of [`Directory`].
pub(super) struct Machines {
    pub(super) client: Client,
    pub(super) site: Arc<Site>,
    pub(super) servers: Store<Server>,
    pub(super) bindings: Store<PartialObjectMeta<ServerBinding>>,
    /// Writes inventory and addresses, never a field of the spec that is a user's.
    pub(super) writer: Writer,
    pub(super) events: Events,
    pub(super) evidence: Arc<Evidence>,
    /// Most Servers that nobody accepted.
    pub(super) unaccepted_limit: usize,
}

impl Machines {
    /// Refused until both caches have been filled once: an empty one would make every machine a stranger.
    fn synced(&self) -> Result<(), Unavailable> {
        let is_ready = |ready: Option<Result<(), _>>| matches!(ready, Some(Ok(())));
        if is_ready(self.servers.wait_until_ready().now_or_never())
            && is_ready(self.bindings.wait_until_ready().now_or_never())
        {
            Ok(())
        } else {
            Err(Unavailable("the API server has not been read yet".into()))
        }
    }

    /// What is known of the machine whose Server this is; nothing, if neither it nor a binding is there. A cluster has
    /// what is bound although its Server is gone: its node must not get the agent.
    fn known(&self, id: ServerId, server: Option<&Server>) -> Option<View> {
        let name = id.to_string();
        let bound = self.bindings.get(&ObjectRef::new(&name)).is_some();
        match server {
            Some(server) => Some(boot_view(server, &self.site, bound)),
            None => bound.then(|| boot_view(&Server::new(&name, ServerSpec::default()), &self.site, bound)),
        }
    }

    fn cached(&self, id: ServerId) -> Option<Arc<Server>> {
        self.servers.get(&ObjectRef::new(&id.to_string()))
    }

    /// As the API server has it now: a cache may not know yet what the last call made.
    async fn live(&self, id: ServerId) -> Result<Option<Server>, RegisterError> {
        let api = Api::<Server>::all(self.client.clone());
        api.get_opt(&id.to_string())
            .await
            .map_err(|error| failed(id, &error))
    }

    async fn tell_refusal(&self, server: Option<&Server>, refusal: &NotTaken) {
        if let Some(server) = server {
            let note = format!("Report of an agent not taken: {refusal}");
            self.events
                .warning(server, events::SERVER_REGISTRATION, "Register", &note)
                .await;
        }
    }

    fn has_room(&self) -> Result<(), RegisterError> {
        let all = self.servers.state();
        let count = all.iter().filter(|server| !server.spec.accepted).count();
        let limit = self.unaccepted_limit;
        if count < limit {
            Ok(())
        } else {
            Err(RegisterError::TooMany { count, limit })
        }
    }
}

fn failed(id: ServerId, error: &dyn std::error::Error) -> RegisterError {
    let reason = controller_runtime::telemetry::causes(error);
    RegisterError::Failed { id, reason }
}

impl Directory for Machines {
    async fn view(&self, id: ServerId) -> Result<Option<View>, Unavailable> {
        self.synced()?;
        Ok(self.known(id, self.cached(id).as_deref()))
    }

    fn disk_method(&self, id: ServerId) -> Option<DiskMethod> {
        match self.cached(id)?.spec.boot_from_disk_method {
            BootFromDiskMethod::IpxeExit => Some(DiskMethod::IpxeExit),
            BootFromDiskMethod::Http404 => Some(DiskMethod::Http404),
            BootFromDiskMethod::IpxeSanboot => Some(DiskMethod::IpxeSanboot),
            BootFromDiskMethod::Unset | BootFromDiskMethod::Other(_) => None,
        }
    }

    async fn register(&self, report: Registration) -> Result<(), RegisterError> {
        self.synced()?;
        let id = report.id;
        let server = self.live(id).await?;
        match self.known(id, server.as_ref()) {
            None => self.has_room()?,
            Some(view) => {
                let interfaces = report.hardware.interfaces.iter();
                let macs: Vec<Mac> = interfaces.map(|interface| interface.mac).collect();
                if let Err(refusal) = take_report(&view, &macs) {
                    self.tell_refusal(server.as_ref(), &refusal).await;
                    return Err(refusal.into());
                }
            }
        }
        let mut spec = json!({ "hardware": inventory::hardware(id, &report.hardware) });
        if !report.hostname.is_empty() {
            spec["hostname"] = report.hostname.into();
        }
        // Without `accepted`: the schema's default is false, and whoever sets it owns it.
        let written = match self
            .writer
            .declare::<Server>(&id.to_string(), &json!({ "spec": spec }))
            .await
        {
            Ok(written) => written,
            Err(WriteError::Owned { what, source }) if server.is_some() => {
                warn!(server = %id, %source, "{what}: somebody else's inventory stays");
                return Ok(());
            }
            Err(error) => return Err(failed(id, &error)),
        };
        if server.is_none() {
            info!(server = %id, "registered");
            self.events
                .normal(
                    &written,
                    events::SERVER_REGISTRATION,
                    "Register",
                    "Server auto-registered via API.",
                )
                .await;
        }
        Ok(())
    }

    async fn addresses(&self, id: ServerId, addresses: Vec<Address>) -> Result<(), RegisterError> {
        self.synced()?;
        let server = self.live(id).await?.ok_or(RegisterError::Unknown(id))?;
        if let Some(view) = self.known(id, Some(&server)) {
            take_report(&view, &view.macs)?;
        }
        let mut addresses = addresses;
        addresses.sort();
        addresses.dedup();
        let addresses: Vec<NodeAddress> = addresses
            .into_iter()
            .map(|address| NodeAddress {
                type_: address.kind,
                address: address.address.to_string(),
            })
            .collect();
        let status = json!({ "addresses": addresses });
        self.writer
            .status(&server, &status)
            .await
            .map_err(|error| failed(id, &error))?;
        Ok(())
    }

    fn seen(&self, id: ServerId, sighting: Sighting) {
        self.evidence.note(id, &sighting, Timestamp::now());
    }
}
