//! Carries out the one step that `lifecycle::server::plan` says. Each is one write of the API server.

use crd_types::infrastructure::{MetalMachine, ServerBinding};
use crd_types::metal::{PxeMode, Server};
use crd_types::names::annotations::machine::ALLOCATION;
use crd_types::names::annotations::server::{
    BOOT_WINDOW, INSTALLATION, POWERED, QUARANTINED, WIPE_DONE, WIPE_DUE,
};
use crd_types::names::annotations::{RELEASE, request};
use crd_types::names::{PROVIDER_ID_PREFIX, events, finalizers};
use hardware_types::{BootMode, BootTarget};
use kube::api::{DeleteParams, ListParams, Preconditions};
use kube::core::PartialObjectMeta;
use kube::{Api, Client, ResourceExt as _};
use lifecycle::HandsOff;
use lifecycle::claim::Claim;
use lifecycle::facts::{Purpose, Window, WipeDue};
use lifecycle::power::{BootOrder, Intent};
use lifecycle::server::{Act, Driver, WINDOW_PREFIX, Why};

use super::request::new_id;
use super::{ServerError, Servers};
use crate::claim;

/// Objects of one list call.
const PAGE: u32 = 500;

impl Servers {
    /// Does it. `None` is done; a reason is why not.
    pub(super) async fn carry_out(
        &self,
        server: &Server,
        act: &Act,
        previous: Option<&Intent>,
    ) -> Result<Option<Why>, ServerError> {
        match act {
            Act::Claim => {
                let here = self.bmcs.site.installation.as_str();
                self.writer
                    .annotate(server, &[(INSTALLATION, Some(here))])
                    .await?;
            }
            Act::RaiseWipe {
                generation,
                allocation,
            } => {
                let due = WipeDue {
                    generation: *generation,
                    allocation: allocation.clone(),
                };
                let due = due.to_string();
                let mut facts = vec![(WIPE_DUE, Some(due.as_str()))];
                if allocation.is_some() && server.spec.bmc.is_none() {
                    // It is clean, so what it was on for is over; without a driver nothing says so.
                    facts.push((POWERED, None));
                }
                self.writer.annotate(server, &facts).await?;
            }
            Act::OpenWindow(purpose) => return self.open_window(server, *purpose).await,
            Act::CloseWindow => {
                self.writer.annotate(server, &[(BOOT_WINDOW, None)]).await?;
            }
            Act::WipeDone(generation) => {
                let done = generation.to_string();
                let facts = [(WIPE_DONE, Some(done.as_str())), (BOOT_WINDOW, None)];
                self.writer.annotate(server, &facts).await?;
                self.events
                    .normal(server, events::SERVER_WIPE, "Wipe", "Server wiped via agent.")
                    .await;
            }
            Act::Power {
                id,
                action,
                network_boot,
            } => {
                let boot = network_boot.then(|| BootOrder {
                    target: BootTarget::Pxe,
                    mode: boot_mode(server),
                });
                let now = self.bmcs.clock().now();
                let intent = Intent::new(id, *action, boot, now, previous);
                self.intents.begin(server, &intent).await?;
            }
            Act::ConfirmOff => {
                let facts = [(POWERED, None), (QUARANTINED, None)];
                self.writer.annotate(server, &facts).await?;
            }
            Act::Unbind => self.unbind(server).await?,
            Act::Quarantine(quarantine) => {
                let text = quarantine.to_string();
                self.writer
                    .annotate(server, &[(QUARANTINED, Some(&text))])
                    .await?;
                let note = format!(
                    "Release of allocation {} ended at its deadline before the machine was confirmed off: it may run still.",
                    quarantine.allocation
                );
                self.events
                    .warning(server, events::SERVER_ALLOCATION, "Release", &note)
                    .await;
            }
            Act::LetGo => self.let_go(server).await?,
        }
        Ok(None)
    }

    /// The wipe is due by now, so whoever takes the machine from here on sees that. Whoever took it before is found (I-2).
    async fn open_window(&self, server: &Server, purpose: Purpose) -> Result<Option<Why>, ServerError> {
        let name = server.name_any();
        match purpose {
            Purpose::Agent => {
                if let Some(claim) = claimed_by(&self.client, &name).await? {
                    return Ok(Some(Why::Named(claim)));
                }
            }
            // just looked at; once more: it is as destructive
            Purpose::Environment => {
                let look = claim::look(&self.client, &name).await?;
                if look.paused || !matches!(look.claim, Claim::Confirmed { installed: false, .. }) {
                    return Ok(Some(Why::Provisions));
                }
            }
        }
        let window = Window {
            id: format!("{WINDOW_PREFIX}{}", new_id()),
            purpose,
            opened: self.bmcs.clock().now(),
        };
        let text = window.to_string();
        // A machine that is on for its cluster keeps the record by which it is: nothing is sent for this window then.
        let before = server.annotations().get(POWERED);
        let powered = before.filter(|_| purpose == Purpose::Environment);
        let powered = powered.unwrap_or(&window.id);
        let facts = [(POWERED, Some(powered.as_str())), (BOOT_WINDOW, Some(&text))];
        self.writer.annotate(server, &facts).await?;
        Ok(None)
    }

    /// The machine was never on for this claim, or is confirmed off: its binding goes, and the Server is free to be wiped.
    async fn let_go(&self, server: &Server) -> Result<(), ServerError> {
        let look = claim::look(&self.client, &server.name_any()).await?;
        let (Some(binding), Claim::Released { .. }) = (&look.binding, &look.claim) else {
            return Ok(());
        };
        self.writer.finalizer(binding, finalizers::RELEASE, false).await?;
        let note = "Server marked as unallocated.";
        self.events
            .normal(server, events::SERVER_ALLOCATION, "Release", note)
            .await;
        Ok(())
    }

    /// Takes in a human's word: that the machine is off, or that it may be on. Returns whether that was written.
    pub(super) async fn take_word(
        &self,
        server: &Server,
        hands_off: Option<HandsOff>,
        driver: Driver,
    ) -> Result<bool, ServerError> {
        let Some(word) = server.annotations().get(request::RESUME) else {
            return Ok(false);
        };
        if word == HandsOff::Orphaned.reason() && hands_off == Some(HandsOff::Orphaned) {
            return self.release_orphan(server).await;
        }
        let ours = format!("{WINDOW_PREFIX}{}", new_id());
        let powered =
            if word == HandsOff::UnexpectedPower.reason() && hands_off == Some(HandsOff::UnexpectedPower) {
                // it is as if we had switched it on: it is switched off, and offered again
                Some(ours.as_str())
            } else if word == POWER_UNVERIFIED && hands_off.is_none() && driver == Driver::None {
                None
            } else if word == HandsOff::Conflict.reason() && hands_off == Some(HandsOff::Conflict) {
                return Ok(false); // settled with what the BMC says
            } else {
                return self.drop_word(server, word).await;
            };
        let facts = [(POWERED, powered), (request::RESUME, None)];
        Ok(self.writer.annotate(server, &facts).await?.is_some())
    }
}

impl Servers {
    /// A word that is not about what keeps the Server now would be taken for one about what keeps it some day.
    async fn drop_word(&self, server: &Server, word: &str) -> Result<bool, ServerError> {
        let consumed = [(request::RESUME, None)];
        let written = self.writer.annotate(server, &consumed).await?.is_some();
        let note = format!("Annotation resume is taken away: {word:?} is not what keeps the Server now.");
        self.events
            .normal(server, events::SERVER_MANAGEMENT, "Resume", &note)
            .await;
        Ok(written)
    }

    /// A human's mark: the ServerBinding whose MetalMachine vanished is given back.
    async fn release_orphan(&self, server: &Server) -> Result<bool, ServerError> {
        let look = claim::look(&self.client, &server.name_any()).await?;
        if let (Some(binding), true) = (&look.binding, look.is_orphaned()) {
            let allocation = binding.annotations().get(ALLOCATION).map(String::as_str);
            let marked = self.writer.annotate(binding, &[(RELEASE, allocation)]).await?;
            self.delete(marked.as_ref().unwrap_or(binding)).await?;
        }
        let consumed = [(request::RESUME, None)];
        Ok(self.writer.annotate(server, &consumed).await?.is_some())
    }

    /// Whoever marked the ServerBinding is gone: what was to come next is done here.
    async fn unbind(&self, server: &Server) -> Result<(), ServerError> {
        let look = claim::look(&self.client, &server.name_any()).await?;
        match (&look.binding, &look.claim) {
            (Some(binding), Claim::Abandoned) => self.delete(binding).await,
            _ => Ok(()),
        }
    }

    /// Deletes a ServerBinding as it was read, and no namesake.
    async fn delete(&self, binding: &ServerBinding) -> Result<(), ServerError> {
        let parameters = DeleteParams {
            preconditions: Some(Preconditions {
                uid: binding.uid(),
                resource_version: binding.resource_version(),
            }),
            ..DeleteParams::default()
        };
        let bindings = Api::<ServerBinding>::all(self.client.clone());
        bindings.delete(&binding.name_any(), &parameters).await?;
        Ok(())
    }

    /// A Server that somebody has is not gone before its ServerBinding is. Returns whether something was written.
    pub(super) async fn hold(&self, server: &Server, bound: bool) -> Result<bool, ServerError> {
        let is_deleted = server.metadata.deletion_timestamp.is_some();
        if bound && is_deleted {
            return Ok(false); // no finalizer can be added any more
        }
        let written = self.writer.finalizer(server, finalizers::SERVER, bound).await?;
        Ok(written.is_some())
    }
}

/// A human's word that a machine without a driver is off.
const POWER_UNVERIFIED: &str = "PowerUnverified";

/// As the spec says. Without a word of it the BMC's own default is right more often than a guess.
fn boot_mode(server: &Server) -> Option<BootMode> {
    match server.spec.pxe_mode {
        PxeMode::Bios => Some(BootMode::Bios),
        PxeMode::Uefi => Some(BootMode::Uefi),
        PxeMode::Unset | PxeMode::Other(_) => None,
    }
}

/// What claims the machine, by a live look: its ServerBinding, one being deleted included, or a MetalMachine.
pub(crate) async fn claimed_by(client: &Client, server: &str) -> Result<Option<String>, kube::Error> {
    if is_bound(client, server).await? {
        return Ok(Some(format!("ServerBinding {server}")));
    }
    let machines = Api::<MetalMachine>::all(client.clone());
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let list = machines.list(&page).await?;
        let named = list.items.iter().find(|machine| {
            let reference = machine.spec.server_ref.as_ref();
            let provider_id = machine.spec.provider_id.as_deref();
            reference.and_then(|reference| reference.name.as_deref()) == Some(server)
                || provider_id.and_then(|id| id.strip_prefix(PROVIDER_ID_PREFIX)) == Some(server)
        });
        if let Some(machine) = named {
            let namespace = machine.namespace().unwrap_or_default();
            return Ok(Some(format!("MetalMachine {namespace}/{}", machine.name_any())));
        }
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(None),
        }
    }
}

/// Whether a ServerBinding of the Server's name exists now, one being deleted included.
pub(crate) async fn is_bound(client: &Client, server: &str) -> Result<bool, kube::Error> {
    let bindings = Api::<PartialObjectMeta<ServerBinding>>::all(client.clone());
    Ok(bindings.get_metadata_opt(server).await?.is_some())
}
