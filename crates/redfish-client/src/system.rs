//! What is done with Systems: finding the one, power, boot override.

use std::collections::BTreeMap;

use hardware_types::BootTarget;
use reqwest::Method;

use crate::client::{Client, Delivery, json_body};
use crate::endpoint::Link;
use crate::error::{Cause, Error};
use crate::resources::{ActionInfo, Override, Reset, ResetAction, Resource, System, target_word};
use crate::write::{Accepted, Patch};

impl Client {
    /// The links of all Systems.
    pub async fn systems(&self) -> Result<Vec<Link>, Error> {
        self.root_members("Systems", |root| root.systems).await
    }

    /// A System.
    pub async fn system(&self, link: &Link) -> Result<Resource<System>, Error> {
        self.read(link).await
    }

    /// The System to work with: the one that the endpoint names, or else the only one that can be reset, where
    /// those with a Boot object win over those without (a DPU or an accelerator tray is a System too).
    pub async fn pick_system(&self) -> Result<Resource<System>, Error> {
        let systems = self.systems().await?;
        if let Some(named) = self.endpoint.system() {
            let listed = systems.iter().find(|link| link.same(named));
            return self.system(listed.unwrap_or(named)).await;
        }
        let mut candidates = Vec::new();
        for link in &systems {
            // some BMCs list members that they do not have
            let system = match self.system(link).await {
                Err(error) if matches!(*error.cause, Cause::Unsupported(_)) => continue,
                other => other?,
            };
            if system.value.reset.is_some() && system.value.system_type.as_deref() != Some("DPU") {
                candidates.push(system);
            }
        }
        if candidates.iter().any(|system| system.value.boot.is_some()) {
            candidates.retain(|system| system.value.boot.is_some());
        }
        let names: Vec<_> = candidates.iter().map(|system| system.link.to_string()).collect();
        let cause = match candidates.len() {
            0 => Cause::Unsupported(format!("none of its {} Systems can be reset", systems.len())),
            _ => Cause::Unsupported(format!(
                "it has several Systems; name one in the endpoint: {}",
                names.join(", ")
            )),
        };
        match (candidates.pop(), candidates.is_empty()) {
            (Some(only), true) => Ok(only),
            _ => Err(self.error(&Method::GET, &Link::service_root(), cause)),
        }
    }

    /// Sends a power command, exactly once. The System is read again first: that renews the session if need be, and
    /// finds the link pointing to another machine than the one that the caller read. An answer means
    /// accepted, not done; a failure with `maybe_sent` means that only a reading can tell.
    pub async fn reset(&self, system: &Resource<System>, reset: Reset) -> Result<Accepted, Error> {
        let now = self.read_again(system).await?;
        let Some(action) = now.value.reset else {
            return Err(self.unsupported(&now.link, "it has no Reset action"));
        };
        let word = self.reset_word(&action, reset).await?;
        let body = json_body(&BTreeMap::from([("ResetType", word)]), word.len());
        self.act(&action.target, body).await
    }

    /// The value to send: from those listed beside the action, else from its ActionInfo, else the standard's.
    async fn reset_word(&self, action: &ResetAction, reset: Reset) -> Result<&'static str, Error> {
        let allowed = match (&action.allowed, &action.info) {
            (Some(allowed), _) => Some(allowed.clone()),
            (None, Some(info)) => match self.read::<ActionInfo>(info).await {
                Err(error) if matches!(*error.cause, Cause::Unsupported(_)) => None,
                info => info?.value.reset_types,
            },
            (None, None) => None,
        };
        reset.choose(allowed.as_deref()).ok_or_else(|| {
            let offered = allowed.unwrap_or_default().join(", ");
            self.unsupported(
                &action.target,
                &format!("it offers no {}, only: {offered}", reset.words().join(" or ")),
            )
        })
    }

    /// Makes the machine boot `target`, for the next boot or until cleared; `BootTarget::None` clears. The System
    /// is read again first; its mode is sent exactly as it reads, and left out where the BMC answers 400 to that.
    pub async fn set_boot_override(
        &self,
        system: &Resource<System>,
        target: BootTarget,
        enabled: Override,
    ) -> Result<Accepted, Error> {
        if target == BootTarget::None || enabled == Override::Disabled {
            return self.clear_boot_override(system).await;
        }
        let now = self.read_again(system).await?;
        let Some(boot) = &now.value.boot else {
            return Err(self.unsupported(&now.link, "it has no Boot object"));
        };
        let word = target_word(target);
        if let Some(allowed) = boot
            .allowed_targets
            .as_ref()
            .filter(|allowed| !allowed.iter().any(|each| each == word))
        {
            return Err(self.unsupported(
                &now.link,
                &format!("it cannot boot {word}, only: {}", allowed.join(", ")),
            ));
        }
        let mut change = BTreeMap::from([
            ("BootSourceOverrideTarget", word),
            ("BootSourceOverrideEnabled", enabled.as_str()),
        ]);
        change.extend(boot.mode.as_deref().map(|mode| ("BootSourceOverrideMode", mode)));
        let sent = match self.patch_boot(&now, &change, Delivery::Repeatable).await {
            Err(error) if error.is_bad_request() && change.remove("BootSourceOverrideMode").is_some() => {
                self.patch_boot(&now, &change, Delivery::Repeatable).await
            }
            other => other,
        };
        match sent {
            // some BMCs refuse a value that they already have
            Err(error) if error.is_bad_request() && boot.is(word, enabled) => Ok(Accepted::Done),
            other => other,
        }
    }

    /// Takes the boot override away, once. Sends nothing when there is none: some BMCs refuse a value that they
    /// already have, and some the disabling together with a target.
    pub async fn clear_boot_override(&self, system: &Resource<System>) -> Result<Accepted, Error> {
        let now = self.read_again(system).await?;
        match &now.value.boot {
            None => Err(self.unsupported(&now.link, "it has no Boot object")),
            Some(boot) if boot.enabled == Some(Override::Disabled) => Ok(Accepted::Done),
            Some(_) => {
                let change = BTreeMap::from([("BootSourceOverrideEnabled", Override::Disabled.as_str())]);
                self.patch_boot(&now, &change, Delivery::Once).await
            }
        }
    }

    async fn patch_boot(
        &self,
        system: &Resource<System>,
        boot: &BTreeMap<&str, &str>,
        delivery: Delivery,
    ) -> Result<Accepted, Error> {
        let size = boot.iter().map(|(name, value)| name.len() + value.len()).sum();
        let body = json_body(&BTreeMap::from([("Boot", boot)]), size);
        let patch = Patch {
            link: &system.link,
            etag: system.etag.as_deref(),
            body,
            delivery,
            secret: None,
        };
        self.finish(self.patch(patch).await?).await
    }

    /// The System as it is now; an error when its UUID is not the one that the caller knows.
    async fn read_again(&self, known: &Resource<System>) -> Result<Resource<System>, Error> {
        let now = self.system(&known.link).await?;
        match (known.value.uuid, now.value.uuid) {
            (Some(expected), Some(found)) if expected != found => {
                let cause = Cause::Identity {
                    expected: expected.to_string(),
                    found: found.to_string(),
                };
                Err(self.error(&Method::GET, &known.link, cause))
            }
            _ => Ok(now),
        }
    }
}
