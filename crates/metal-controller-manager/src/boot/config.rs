//! Machine configs, by live reads of all who have a say in them; and the record of each that goes out.

use agent_protocol::Token;
use boot_services::TOLD_ENVIRONMENT;
use controller_runtime::telemetry::causes;
use controller_runtime::writer::WriteError;
use crd_types::cluster_api::{Machine, owner};
use crd_types::infrastructure::{MetalMachine, ServedConfig, ServerBinding};
use crd_types::metal::{Server, ServerClass};
use crd_types::names::annotations::RELEASE;
use crd_types::names::{conditions as names, events};
use crd_types::{Condition, ConditionStatus, ConfigPatch};
use hardware_types::ServerId;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{Api, ResourceExt as _};
use lifecycle::claim::Claim;
use lifecycle::facts::Purpose;
use lifecycle::hands_off;
use lifecycle::server::MAX_CONFIG_BOOTS;
use metadata_server::{ConfigSource, Material, Patches, Refusal};
use serde_json::json;

use super::directory::{Machines, TRIES};
use crate::claim::{Look, look};
use crate::server::facts::{Bond, boot_view};

/// What a config that goes out is recorded with.
pub(super) struct Found {
    binding: ServerBinding,
    /// When the machine asked for the boot in which it fetches it.
    boot: Option<Time>,
}

impl ConfigSource for Machines {
    type Found = Found;

    async fn find(&self, uuid: &str, token: Option<&str>) -> Result<(Material, Found), Refusal> {
        let Ok(id) = uuid.parse::<ServerId>() else {
            return Err(not_allocated(uuid));
        };
        // as its Server is named, whatever case it was asked in
        let name = id.to_string();
        let look = look(&self.client, &name).await.map_err(|error| failed(&error))?;
        let Some(binding) = look.binding.clone() else {
            return Err(not_allocated(uuid));
        };
        let server = self.server_of(&name).await?;
        let boot = boot_of(&server);
        if let Err(refusal) = self.permit(id, &server, &look, token, boot.as_ref()) {
            let note = format!("Machine config refused: {}", refusal.text);
            self.events
                .warning(&server, events::SERVER_ALLOCATION, "ServeConfig", &note)
                .await;
            return Err(refusal);
        }
        let config = self.bootstrap(&look).await?;
        let mut patches = Vec::new();
        if let Some(class) = self.class_of(&binding).await? {
            let of = format!("ServerClass {}", class.name_any());
            patches.push(patches_of(
                of,
                &class.spec.config_patches,
                &class.spec.strategic_patches,
            )?);
        }
        let of = format!("Server {name}");
        patches.push(patches_of(
            of,
            &server.spec.config_patches,
            &server.spec.strategic_patches,
        )?);
        Ok((Material { config, patches }, Found { binding, boot }))
    }

    /// Counted once for each boot: a machine asks again until it has its config whole.
    async fn record(&self, found: Found) -> Result<(), Refusal> {
        let mut binding = found.binding;
        for _ in 0..TRIES {
            let status = recorded(&binding, found.boot.clone(), Timestamp::now());
            match self.metadata.transition(&binding, &status).await {
                Ok(_) => return Ok(()),
                Err(WriteError::Stale { .. }) => {}
                Err(error) => return Err(Refusal::new(500, causes(&error))),
            }
            let bindings = Api::<ServerBinding>::all(self.client.clone());
            let present = bindings.get_opt(&binding.name_any()).await;
            let present = present.map_err(|error| failed(&error))?;
            binding = match present.filter(|present| present.uid() == binding.uid() && is_kept(present)) {
                Some(present) => present,
                None => return Err(Refusal::new(403, "the ServerBinding is given back meanwhile")),
            };
        }
        Err(Refusal::new(
            500,
            "the ServerBinding changes all the time: ask again",
        ))
    }
}

impl Machines {
    async fn server_of(&self, name: &str) -> Result<Server, Refusal> {
        Api::<Server>::all(self.client.clone())
            .get(name)
            .await
            .map_err(|error| failed(&error))
    }

    /// Whether this machine may fetch it now (I-9): inside the window of its environment, with the token of that.
    fn permit(
        &self,
        id: ServerId,
        server: &Server,
        look: &Look,
        token: Option<&str>,
        boot: Option<&Time>,
    ) -> Result<(), Refusal> {
        let mut view = boot_view(server, &self.site, Bond::Bound);
        view.observed.paused |= look.paused;
        view.observed.orphaned = look.is_orphaned();
        let refuse = |why: &str| {
            Err(Refusal::new(
                403,
                format!("no machine config for Server {id}: {why}"),
            ))
        };
        let window = view.window.as_ref();
        let window = window.filter(|window| window.purpose == Purpose::Environment);
        let token = token.and_then(Token::new);
        let fits = window
            .zip(token.as_ref())
            .is_some_and(|(window, token)| self.keys.fits(token, id, window));
        if !fits {
            return refuse(
                "the token is not that of the boot window that is open for it now; if it has to be installed again, delete its Machine",
            );
        }
        if let Some(reason) = hands_off(&view.observed) {
            return refuse(&format!("it is left alone, {reason}"));
        }
        if !view.observed.accepted {
            return refuse("it is not accepted");
        }
        match &look.claim {
            Claim::Confirmed {
                allocation,
                installed: false,
            } if view.wipe_due_for.as_ref() == Some(allocation) => {}
            Claim::Confirmed { .. } => return refuse("its system is installed"),
            Claim::Unconfirmed(why) => return refuse(&why.to_string()),
            Claim::None | Claim::Released { .. } | Claim::Abandoned => return refuse("it is given back"),
        }
        let is_present = look
            .binding
            .as_ref()
            .is_some_and(|binding| is_of_boot(binding, boot));
        if look.config_boots() >= MAX_CONFIG_BOOTS && !is_present {
            return refuse(&format!(
                "it fetched it in {MAX_CONFIG_BOOTS} boots, and its Node was not seen"
            ));
        }
        Ok(())
    }

    /// The config that the bootstrap provider made for the Machine.
    async fn bootstrap(&self, look: &Look) -> Result<String, Refusal> {
        let Some(metal) = &look.machine else {
            return Err(Refusal::new(500, "failure getting metalmachine: it is gone"));
        };
        let namespace = metal.namespace().unwrap_or_default();
        let machine = self.machine_of(metal, &namespace).await?;
        let name = format!("{namespace}/{}", machine.name_any());
        let Some(secret) = &machine.spec.bootstrap.data_secret_name else {
            let text = format!("no dataSecretName present for machine {name}");
            return Err(Refusal::new(404, text));
        };
        let secrets = Api::<Secret>::namespaced(self.client.clone(), &namespace);
        let found = secrets.get_opt(secret).await.map_err(|error| failed(&error))?;
        let Some(found) = found else {
            let text = format!("bootstrap secret {namespace}/{secret} not found");
            return Err(Refusal::new(404, text));
        };
        let value = found.data.and_then(|mut data| data.remove("value"));
        let Some(value) = value else {
            let text = format!("value key not found in bootstrap data: {namespace}/{secret}");
            return Err(Refusal::new(404, text));
        };
        String::from_utf8(value.0).map_err(|_| {
            Refusal::new(
                500,
                format!("the bootstrap data in {namespace}/{secret} is no text"),
            )
        })
    }

    async fn machine_of(&self, metal: &MetalMachine, namespace: &str) -> Result<Machine, Refusal> {
        let missing = |why: &str| {
            let name = metal.name_any();
            let text = format!("failure fetching owner machine from metal machine {namespace}/{name}: {why}");
            Refusal::new(500, text)
        };
        let owner = owner(metal, "Machine").ok_or_else(|| missing("it has none"))?;
        Api::<Machine>::namespaced(self.client.clone(), namespace)
            .get(&owner.name)
            .await
            .map_err(|error| missing(&text(&error)))
    }

    async fn class_of(&self, binding: &ServerBinding) -> Result<Option<ServerClass>, Refusal> {
        let reference = binding.spec.server_class_ref.as_ref();
        let Some(name) = reference.and_then(|reference| reference.name.as_deref()) else {
            return Ok(None);
        };
        Api::<ServerClass>::all(self.client.clone())
            .get(name)
            .await
            .map(Some)
            .map_err(|error| failed(&error))
    }
}

fn not_allocated(uuid: &str) -> Refusal {
    let text = format!(
        "server is not allocated (missing serverbinding): serverbindings.infrastructure.cluster.x-k8s.io {uuid:?} not found"
    );
    Refusal::new(404, text)
}

fn failed(error: &kube::Error) -> Refusal {
    Refusal::new(500, text(error))
}

/// As the API server says it, else as it was found out here.
fn text(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        error => causes(error),
    }
}

fn patches_of(of: String, operations: &[ConfigPatch], strategic: &[String]) -> Result<Patches, Refusal> {
    let operations: Result<_, _> = operations.iter().map(serde_json::to_value).collect();
    let operations = operations.map_err(|_| Refusal::new(500, format!("failure loading patches of {of}")))?;
    Ok(Patches {
        of,
        operations,
        strategic: strategic.to_vec(),
    })
}

/// When the machine asked for the boot that it is in, if that is of its environment.
fn boot_of(server: &Server) -> Option<Time> {
    let asked = server.status.as_ref()?.boot.as_ref()?.ipxe.as_ref()?;
    (asked.what == TOLD_ENVIRONMENT).then(|| asked.at.clone())
}

fn is_of_boot(binding: &ServerBinding, boot: Option<&Time>) -> bool {
    let served = binding.status.as_ref().and_then(|status| status.config.as_ref());
    served.is_some_and(|served| served.boots > 0 && served.boot.as_ref() == boot)
}

fn is_kept(binding: &ServerBinding) -> bool {
    binding.metadata.deletion_timestamp.is_none() && !binding.annotations().contains_key(RELEASE)
}

/// What is written before a config goes out.
fn recorded(binding: &ServerBinding, boot: Option<Time>, now: Timestamp) -> serde_json::Value {
    let before = binding.status.as_ref().and_then(|status| status.config.clone());
    let before = before.unwrap_or_default();
    let is_same = is_of_boot(binding, boot.as_ref());
    let config = ServedConfig {
        boots: if is_same {
            before.boots
        } else {
            before.boots.saturating_add(1)
        },
        boot,
        served_at: Some(Time(now)),
    };
    let condition = Condition {
        type_: names::CONFIG_SERVED.into(),
        status: ConditionStatus::True,
        severity: None,
        observed_generation: binding.metadata.generation,
        last_transition_time: Time(now),
        reason: Some(names::CONFIG_SERVED.into()),
        message: Some("its machine config was fetched".into()),
    };
    json!({ "config": config, "conditions": [condition] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_is_counted_once_however_often_it_asks() {
        let at = |text: &str| Some(Time(text.parse().unwrap()));
        let mut binding = ServerBinding::default();
        let mut serve = |boot: Option<Time>| {
            let status = recorded(&binding, boot, Timestamp::now());
            binding.status = Some(serde_json::from_value(status).unwrap());
            binding.status.as_ref().unwrap().config.as_ref().unwrap().boots
        };
        assert_eq!(serve(at("2026-01-01T00:00:00Z")), 1);
        assert_eq!(serve(at("2026-01-01T00:00:00Z")), 1);
        assert_eq!(serve(at("2026-01-01T00:05:00Z")), 2);
        assert_eq!(serve(None), 3);
    }
}
