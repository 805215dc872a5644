//! What the boot services know: Servers and ServerBindings of the API server, and the reports that become Servers.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agent_protocol::{Registration, Token};
use boot_protocols::ipxe::DiskMethod;
use boot_services::{
    Address, Directory, Environment, NoEnvironment, Progress, RegisterError, Sighting, Unavailable,
};
use controller_runtime::events::Events;
use controller_runtime::writer::{WriteError, Writer};
use crd_types::infrastructure::ServerBinding;
use crd_types::metal::{BootFromDiskMethod, NodeAddress, Server, ServerSpec};
use crd_types::names::events;
use futures::FutureExt as _;
use hardware_types::wipe::{Certificate, WipeOrder};
use hardware_types::{Mac, ServerId};
use jiff::Timestamp;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, Client};
use lifecycle::boot::{NotTaken, Taken, View, Why, take_addresses, take_report};
use lifecycle::facts::Window;
use tracing::{info, warn};

use super::evidence::Evidence;
use super::macs::Macs;
use super::token::Keys;
use super::{report, wipe};
use crate::server::facts::{Bond, Site, boot_view};

/// A Server is read, judged and written again so often when others write it meanwhile.
pub(super) const TRIES: u32 = 5;

/// The one implementation of [`Directory`].
pub(super) struct Machines {
    pub(super) client: Client,
    pub(super) site: Arc<Site>,
    pub(super) servers: Store<Server>,
    pub(super) bindings: Store<PartialObjectMeta<ServerBinding>>,
    /// Writes inventory and addresses, never a field of the spec that is a user's.
    pub(super) writer: Writer,
    /// Records the machine configs that go out.
    pub(super) metadata: Writer,
    pub(super) events: Events,
    pub(super) macs: Arc<Macs>,
    pub(super) evidence: Arc<Evidence>,
    /// Folder of what machines load.
    pub(super) data_dir: PathBuf,
    /// Keys of the tokens of boot windows.
    pub(super) keys: Keys,
    /// Pause between two heartbeats of an agent that wipes.
    pub(super) heartbeat: Duration,
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
        let bond = Bond::of(self.bindings.get(&ObjectRef::new(&name)).as_deref());
        match server {
            Some(server) => Some(boot_view(server, &self.site, bond)),
            None if bond == Bond::None => None,
            None => Some(boot_view(
                &Server::new(&name, ServerSpec::default()),
                &self.site,
                bond,
            )),
        }
    }

    fn cached(&self, id: ServerId) -> Option<Arc<Server>> {
        self.servers.get(&ObjectRef::new(&id.to_string()))
    }

    /// As the API server has it now: a cache may not know yet what the last call made.
    pub(super) async fn live(&self, id: ServerId) -> Result<Option<Server>, RegisterError> {
        let api = Api::<Server>::all(self.client.clone());
        api.get_opt(&id.to_string())
            .await
            .map_err(|error| failed(id, &error))
    }

    /// What is taken of the report about the machine as it is known now.
    async fn check(&self, report: &Registration, present: Option<&Server>) -> Result<Taken, RegisterError> {
        let Some(view) = self.known(report.id, present) else {
            return self.room().map(|()| Taken::Inventory);
        };
        let interfaces = report.hardware.interfaces.iter();
        let own = interfaces.map(|interface| interface.mac);
        let macs: Vec<Mac> = own.chain(report.boot_mac).collect();
        match take_report(&view, &macs) {
            Ok(taken) => Ok(taken),
            Err(refusal) => {
                self.tell_refusal(present, &refusal).await;
                Err(refusal.into())
            }
        }
    }

    async fn tell_registered(&self, id: ServerId, server: &Server) {
        info!(server = %id, "registered");
        let note = "Server auto-registered via API.";
        self.events
            .normal(server, events::SERVER_REGISTRATION, "Register", note)
            .await;
    }

    async fn tell_refusal(&self, server: Option<&Server>, refusal: &NotTaken) {
        if let Some(server) = server {
            let note = format!("Report of an agent not taken: {refusal}");
            self.events
                .warning(server, events::SERVER_REGISTRATION, "Register", &note)
                .await;
        }
    }

    fn room(&self) -> Result<(), RegisterError> {
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

/// Addresses as the status has them, each once.
fn sorted(mut addresses: Vec<Address>) -> Vec<NodeAddress> {
    addresses.sort();
    addresses.dedup();
    let addresses = addresses.into_iter().map(|address| NodeAddress {
        type_: address.kind,
        address: address.address.to_string(),
    });
    addresses.collect()
}

fn not_too_soon(id: ServerId, server: &Server, subresource: Option<&str>) -> Result<(), RegisterError> {
    if report::is_too_soon(server, subresource, Timestamp::now()) {
        return Err(RegisterError::TooSoon(id));
    }
    Ok(())
}

pub(super) fn changes_on(id: ServerId) -> RegisterError {
    let reason = format!("somebody else wrote it {TRIES} times in between: report again");
    RegisterError::Failed { id, reason }
}

pub(super) fn failed(id: ServerId, error: &dyn std::error::Error) -> RegisterError {
    let reason = controller_runtime::telemetry::causes(error);
    RegisterError::Failed { id, reason }
}

impl Directory for Machines {
    async fn view(&self, id: ServerId) -> Result<Option<View>, Unavailable> {
        self.synced()?;
        Ok(self.known(id, self.cached(id).as_deref()))
    }

    async fn environment(&self, id: ServerId) -> Result<Result<Environment, NoEnvironment>, Unavailable> {
        self.live_environment(id).await
    }

    fn disk_method(&self, id: ServerId) -> Option<DiskMethod> {
        match self.cached(id)?.spec.boot_from_disk_method {
            BootFromDiskMethod::IpxeExit => Some(DiskMethod::IpxeExit),
            BootFromDiskMethod::Http404 => Some(DiskMethod::Http404),
            BootFromDiskMethod::IpxeSanboot => Some(DiskMethod::IpxeSanboot),
            BootFromDiskMethod::Unset | BootFromDiskMethod::Other(_) => None,
        }
    }

    fn has_room(&self) -> bool {
        self.room().is_ok()
    }

    async fn register(&self, report: Registration) -> Result<(), RegisterError> {
        self.synced()?;
        let id = report.id;
        for _ in 0..TRIES {
            let present = self.live(id).await?;
            let wanted = match self.check(&report, present.as_ref()).await? {
                Taken::Nothing => return Ok(()),
                Taken::Interfaces => report::interfaces(present.as_ref(), &report),
                Taken::Inventory => report::wanted(present.as_ref(), &report),
            };
            let written = match &present {
                None => self.writer.create(&id.to_string(), &wanted.object()).await,
                Some(server) if wanted.is_said_by(server) => return Ok(()),
                Some(server) => {
                    not_too_soon(id, server, None)?;
                    self.writer.declare(server, &wanted.object()).await
                }
            };
            match written {
                Ok(written) => {
                    if present.is_none() {
                        self.tell_registered(id, &written).await;
                    }
                    return Ok(());
                }
                Err(WriteError::Stale { .. }) => {}
                Err(WriteError::Owned { what, source }) => {
                    warn!(server = %id, %source, "{what}: somebody else's inventory stays");
                    return Ok(());
                }
                Err(error) => return Err(failed(id, &error)),
            }
        }
        Err(changes_on(id))
    }

    async fn addresses(
        &self,
        id: ServerId,
        token: Option<Token>,
        addresses: Vec<Address>,
    ) -> Result<(), RegisterError> {
        self.synced()?;
        let addresses = sorted(addresses);
        for _ in 0..TRIES {
            let server = self.live(id).await?.ok_or(RegisterError::Unknown(id))?;
            if let Some(view) = self.known(id, Some(&server)) {
                let holds = self.holds(id, &view, token.as_ref());
                take_addresses(&view, holds)?;
            }
            let present = server.status.as_ref().map(|status| &status.addresses);
            if present.unwrap_or(&Vec::new()) == &addresses {
                return Ok(());
            }
            if token.is_none() {
                not_too_soon(id, &server, Some("status"))?;
            }
            let wipe = server.status.as_ref().and_then(|status| status.wipe.as_ref());
            let status = wipe::reported(&addresses, wipe);
            match self.writer.transition(&server, &status).await {
                Ok(_) => return Ok(()),
                Err(WriteError::Stale { .. }) => {}
                Err(error) => return Err(failed(id, &error)),
            }
        }
        Err(changes_on(id))
    }

    fn token(&self, id: ServerId, window: &Window) -> Option<Token> {
        self.keys.make(id, window)
    }

    fn is_token(&self, id: ServerId, window: &Window, token: &Token) -> bool {
        self.keys.fits(token, id, window)
    }

    async fn order_wipe(
        &self,
        id: ServerId,
        token: Token,
        generation: u64,
    ) -> Result<Result<WipeOrder, Why>, RegisterError> {
        self.live_order(id, token, generation).await
    }

    async fn wiping(
        &self,
        id: ServerId,
        token: Option<Token>,
        progress: Progress,
    ) -> Result<(), RegisterError> {
        self.record_progress(id, token, progress).await
    }

    async fn wiped(
        &self,
        id: ServerId,
        token: Option<Token>,
        certificate: Certificate,
    ) -> Result<Result<(), String>, RegisterError> {
        self.record_certificate(id, token, certificate).await
    }

    fn seen(&self, id: ServerId, sighting: Sighting) {
        self.evidence.note(id, &sighting, Timestamp::now());
    }
}
