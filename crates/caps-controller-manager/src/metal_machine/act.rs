//! Carries out the one step that `lifecycle::machine::plan` says.

use crd_types::infrastructure::{MetalMachine, ServerBinding};
use crd_types::metal::{Server, ServerClass};
use crd_types::names::annotations::RELEASE;
use crd_types::names::annotations::machine::ALLOCATION;
use crd_types::names::{PROVIDER_ID_PREFIX, events, finalizers};
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::{Api, Resource as _, ResourceExt as _};
use lifecycle::machine::{Act, Wants, Why, may_rebuild, may_take};
use serde_json::{Value, json};
use uuid::Uuid;

use super::look::Look;
use super::{MetalMachineError, MetalMachines};

/// What became of a step.
pub(super) enum Done {
    /// It was written; what comes next is seen.
    Written,
    /// A live look spoke against it, or somebody was first.
    Refused(String),
}

impl MetalMachines {
    pub(super) async fn carry_out(
        &self,
        machine: &MetalMachine,
        look: &Look,
        act: &Act,
    ) -> Result<Done, MetalMachineError> {
        match act {
            Act::Hold => {
                self.writer
                    .finalizer(machine, finalizers::METAL_MACHINE, true)
                    .await?;
            }
            Act::Claim => {
                let id = Uuid::new_v4().to_string();
                self.writer.annotate(machine, &[(ALLOCATION, Some(&id))]).await?;
            }
            // each is tried until one can be made; the look comes with the next step
            Act::Bind(_) => {
                for server in &look.observed.candidates {
                    if self.bind(machine, look, server).await? {
                        return self.look_and_take(machine, look, server).await;
                    }
                }
                return Ok(Done::Refused(
                    "others were first at all Servers that could be taken".into(),
                ));
            }
            Act::Look(server) => return self.look_and_take(machine, look, server).await,
            Act::Rebuild(server) => {
                let found = self.found(machine, look, server).await?;
                if !may_rebuild(&found) {
                    return Ok(Done::Refused(format!(
                        "ServerBinding {server} is missing and is not made again: {}",
                        objection(&found)
                    )));
                }
                self.bind(machine, look, server).await?;
            }
            Act::Mark(server) => self.mark(machine, server).await?,
            Act::Release(server) => self.delete(server).await?,
            Act::LetGo => {
                self.writer
                    .finalizer(machine, finalizers::METAL_MACHINE, false)
                    .await?;
            }
        }
        Ok(Done::Written)
    }

    /// Makes the ServerBinding; `false` if there is one.
    async fn bind(
        &self,
        machine: &MetalMachine,
        look: &Look,
        server: &str,
    ) -> Result<bool, MetalMachineError> {
        let Some(allocation) = look.observed.allocation.as_deref() else {
            return Ok(false);
        };
        let mut object = json!({
            "apiVersion": ServerBinding::api_version(&()),
            "kind": ServerBinding::kind(&()),
            "metadata": {
                "name": server,
                "labels": machine.labels(),
                "annotations": { ALLOCATION: allocation },
                "finalizers": [finalizers::RELEASE],
            },
            "spec": { "metalMachineRef": machine.object_ref(&()) },
        });
        // what the original wrote, without the version, which is another one a moment later
        if let Some(reference) = object["spec"]["metalMachineRef"].as_object_mut() {
            reference.remove("resourceVersion");
        }
        if let Wants::Class(class) = &look.observed.wants {
            object["spec"]["serverClassRef"] = class_reference(class);
        }
        let binding: ServerBinding = serde_json::from_value(object)
            .map_err(|error| MetalMachineError::Api(kube::Error::SerdeError(error)))?;
        let parameters = PostParams {
            field_manager: Some("caps".into()),
            ..PostParams::default()
        };
        match Api::all(self.client.clone()).create(&parameters, &binding).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The ServerBinding is there: what is seen from now on counts.
    async fn look_and_take(
        &self,
        machine: &MetalMachine,
        look: &Look,
        server: &str,
    ) -> Result<Done, MetalMachineError> {
        let found = self.found(machine, look, server).await?;
        if !may_take(&found) {
            self.mark(machine, server).await?;
            self.delete(server).await?;
            return Ok(Done::Refused(format!(
                "Server {server} is given back: {}",
                objection(&found)
            )));
        }
        self.take(machine, server).await?;
        self.tell(machine, look, server).await?;
        Ok(Done::Written)
    }

    /// Both at once: who names a Server has it.
    async fn take(&self, machine: &MetalMachine, server: &str) -> Result<(), MetalMachineError> {
        let spec = json!({ "spec": {
            "providerID": format!("{PROVIDER_ID_PREFIX}{server}"),
            "serverRef": { "apiVersion": Server::api_version(&()), "kind": Server::kind(&()), "name": server },
        }});
        self.writer.merge(machine, &spec).await?;
        Ok(())
    }

    async fn mark(&self, machine: &MetalMachine, server: &str) -> Result<(), MetalMachineError> {
        let allocation = machine.annotations().get(ALLOCATION).map(String::as_str);
        let bindings = Api::<ServerBinding>::all(self.client.clone());
        let Some(binding) = bindings.get_opt(server).await? else {
            return Ok(());
        };
        if binding.annotations().get(ALLOCATION).map(String::as_str) == allocation {
            self.bindings.annotate(&binding, &[(RELEASE, allocation)]).await?;
        }
        Ok(())
    }

    /// Deletes the ServerBinding that was marked, and no namesake.
    async fn delete(&self, server: &str) -> Result<(), MetalMachineError> {
        let bindings = Api::<ServerBinding>::all(self.client.clone());
        let Some(binding) = bindings.get_opt(server).await? else {
            return Ok(());
        };
        if binding.annotations().get(RELEASE) != binding.annotations().get(ALLOCATION) {
            return Ok(());
        }
        let parameters = DeleteParams {
            preconditions: Some(Preconditions {
                uid: binding.uid(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        match bindings.delete(server, &parameters).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn tell(&self, machine: &MetalMachine, look: &Look, server: &str) -> Result<(), MetalMachineError> {
        let Some(object) = Api::<Server>::all(self.client.clone()).get_opt(server).await? else {
            return Ok(());
        };
        let name = machine.name_any();
        let (reason, note) = match &look.observed.wants {
            Wants::Class(class) => (
                events::SERVER_ALLOCATION,
                format!("Server was allocated via serverclass {class:?} for metal machine {name:?}."),
            ),
            Wants::Server(_) | Wants::Nothing => (
                events::SERVER_ASSIGNMENT,
                format!("Server was assigned via serverRef for metal machine {name:?}."),
            ),
        };
        self.events.normal(&object, reason, "Allocate", &note).await;
        Ok(())
    }
}

fn class_reference(class: &str) -> Value {
    json!({ "apiVersion": ServerClass::api_version(&()), "kind": ServerClass::kind(&()), "name": class })
}

fn objection(found: &lifecycle::machine::Found) -> &'static str {
    if !found.exists {
        "it does not exist, or is being deleted"
    } else if found.rival {
        "another MetalMachine names it"
    } else if found.due_for_another {
        "it is to be wiped after another machine"
    } else if !found.in_class {
        "it is not of the class any more"
    } else {
        "it is not Available"
    }
}

/// The reason as one word.
pub(super) fn reason(why: &Why) -> &'static str {
    match why {
        Why::Paused => "Paused",
        Why::Moving => "Moving",
        Why::Lacks(_) => "Waiting",
        Why::WantsNothing => "NothingNamed",
        Why::Takes => "Taking",
        Why::NotFound(..) => "NotFound",
        Why::NoServer(_) => "NoServerAvailable",
        Why::ServerTaken(_) => "ServerNotAvailable",
        Why::Has(_) => "Taken",
        Why::BindingMissing(_) => "BindingMissing",
        Why::BindingOfAnother(_) => "BindingOfAnother",
        Why::BindingDeleted(_) => "BindingDeleted",
        Why::RollsBack(_) => "RollsBack",
        Why::Releases(_) => "Releasing",
        Why::Free => "Free",
    }
}
