//! A BMC that speaks Redfish.

use hardware_types::BootTarget;
use lifecycle::power::{BootMark, BootOrder, Command, OverrideSeen};
use lifecycle::{BmcIdentity, Trouble};
use redfish_client::{
    BeforeSend, Boot, Cause, Client, Credentials, Endpoint, Error, Options, Override, Reset, Resource,
    System, Transport,
};
use std::sync::Arc;

use crate::bmc::compare_boot;
use crate::{Bmc, BmcError, BootSetting, Gate, Info, Status};

/// The driver.
pub struct RedfishBmc {
    client: Client,
    gate: Gate,
    /// The machine, as it was found when the BMC was described: one that shows another later is refused until it is described anew.
    system: Option<Resource<System>>,
}

impl RedfishBmc {
    /// A driver for the BMC at `endpoint`; nothing is sent yet.
    pub fn new(
        transport: Transport,
        endpoint: Endpoint,
        credentials: Credentials,
        options: Options,
        gate: Gate,
    ) -> Self {
        let client = Client::new(transport, endpoint, credentials, options, before_send(&gate));
        Self {
            client,
            gate,
            system: None,
        }
    }

    async fn system(&mut self) -> Result<&Resource<System>, BmcError> {
        let system = match self.system.take() {
            Some(system) => system,
            None => self.client.pick_system().await.map_err(|error| failed(&error))?,
        };
        Ok(self.system.insert(system))
    }

    async fn now(&mut self) -> Result<Resource<System>, BmcError> {
        let link = self.system().await?.link.clone();
        let now = self.client.system(&link).await.map_err(|error| failed(&error))?;
        if let Some(known) = &self.system
            && let (Some(expected), Some(found)) = (known.value.uuid, now.value.uuid)
            && expected != found
        {
            // I-13
            return Err(BmcError::replaced(format!(
                "GET {link}: another machine: expected UUID {expected}, the BMC now says {found}"
            )));
        }
        Ok(now)
    }
}

/// The gate as the client asks it.
pub(super) fn before_send(gate: &Gate) -> BeforeSend {
    let gate = gate.clone();
    Arc::new(move || gate.check().map_err(|fenced| fenced.0))
}

impl Bmc for RedfishBmc {
    async fn read(&mut self, want_mark: bool) -> Result<Status, BmcError> {
        let system = self.now().await?.value;
        let mark = system.last_reset_time.filter(|_| want_mark);
        Ok(Status {
            power: system.power_state,
            mark: mark.map(|time| BootMark(time.as_second().unsigned_abs())),
        })
    }

    async fn command(&mut self, command: Command) -> Result<(), BmcError> {
        let reset = match command {
            Command::On => Reset::On,
            Command::Off => Reset::ForceOff,
            Command::SoftOff => Reset::GracefulShutdown,
            Command::Reset => Reset::ForceRestart,
        };
        let system = self.system().await?.clone();
        let _writing = self.gate.writing();
        self.client
            .reset(&system, reset)
            .await
            .map(|_| ())
            .map_err(|error| failed(&error))
    }

    async fn set_boot(&mut self, order: BootOrder) -> Result<OverrideSeen, BmcError> {
        let system = self.now().await?;
        let set = {
            let _writing = self.gate.writing();
            self.client
                .set_boot_override(&system, order.target, Override::Once)
                .await
        };
        match set {
            Ok(_) => compare_boot(order, self.read_boot().await),
            Err(error) if matches!(*error.cause, Cause::Unsupported(_)) => Ok(OverrideSeen::Unsupported),
            // a BMC that has overrides and refuses this one keeps the command back
            Err(error) => Err(failed(&error)),
        }
    }

    async fn read_boot(&mut self) -> Result<BootSetting, BmcError> {
        let system = self.now().await?.value;
        Ok(setting(system.boot.as_ref()))
    }

    async fn clear_boot(&mut self) -> Result<(), BmcError> {
        let system = self.now().await?;
        let _writing = self.gate.writing();
        self.client
            .clear_boot_override(&system)
            .await
            .map(|_| ())
            .map_err(|error| failed(&error))
    }

    async fn describe(&mut self) -> Result<Info, BmcError> {
        self.system = None;
        let system = self.now().await?.value;
        let manager = match system.managed_by.first() {
            Some(link) => Some(self.client.manager(link).await),
            None => None,
        };
        let firmware = match manager {
            Some(Ok(manager)) => manager.value.firmware_version,
            Some(Err(error)) if matches!(*error.cause, Cause::Fenced(_)) => return Err(failed(&error)),
            // nothing to stop for
            Some(Err(error)) => {
                tracing::debug!(%error, "firmware version of a BMC");
                None
            }
            None => None,
        };
        Ok(Info {
            vendor: system.manufacturer,
            model: system.model,
            firmware,
            identity: system.uuid.map(|id| BmcIdentity::RedfishSystem(id.uuid())),
        })
    }

    async fn close(&mut self) {
        let _ = self.client.close().await;
    }
}

fn setting(boot: Option<&Boot>) -> BootSetting {
    let Some(boot) = boot else {
        return BootSetting::Unreadable;
    };
    let target = match boot.target.as_deref() {
        None => return BootSetting::Unreadable,
        Some("None") => BootTarget::None,
        Some("Pxe") => BootTarget::Pxe,
        Some("Hdd") => BootTarget::Disk,
        Some("BiosSetup") => BootTarget::Setup,
        Some(_) => return BootSetting::Other,
    };
    match boot.enabled {
        None => BootSetting::Unreadable,
        Some(Override::Disabled) => BootSetting::None,
        Some(_) if target == BootTarget::None => BootSetting::None,
        Some(Override::Once) => BootSetting::Once(BootOrder { target, mode: None }),
        Some(Override::Continuous) => BootSetting::Other,
    }
}

/// Puts a failure into its class.
pub(super) fn failed(error: &Error) -> BmcError {
    let trouble = match &*error.cause {
        Cause::Fenced(why) => return BmcError::Withheld(why.clone()),
        // another machine answers: ours is out of reach, and what was described is no longer so
        Cause::Unreachable { .. } | Cause::Identity { .. } => Trouble::Unreachable,
        Cause::Certificate { .. } => Trouble::Certificate,
        Cause::Refused { .. } => Trouble::CredentialsRefused,
        Cause::SessionEnded | Cause::Busy { .. } | Cause::Unfinished(_) => Trouble::Busy,
        Cause::Failed { status, .. } if *status >= 500 || *status == 409 => Trouble::Busy,
        Cause::Forbidden { .. } | Cause::Unsupported(_) | Cause::Failed { status: 400, .. } => {
            Trouble::Unsupported
        }
        Cause::Precondition { .. } | Cause::Protocol(_) | Cause::Failed { .. } => Trouble::Protocol,
    };
    BmcError::new(trouble, error)
}
