//! The MetalMachine controller: asks `lifecycle::machine` what is next, does that one thing, says what was seen.

mod act;
mod look;
mod status;

use std::sync::Arc;
use std::time::Duration;

use controller_runtime::backoff::Backoff;
use controller_runtime::controller::Reconciler;
use controller_runtime::events::Events;
use controller_runtime::writer::{WriteError, Writer};
use crd_types::infrastructure::{MetalMachine, ServerBinding};
use crd_types::metal::{Server, ServerClass};
use kube::Client;
use kube::runtime::controller::Action;
use kube::runtime::reflector::Store;
use lifecycle::machine::plan;

use crate::metal_cluster::LOOK_AGAIN;
use crate::workload::Workloads;
use status::Told;

/// Until what could not be taken is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// Why a MetalMachine was not brought further.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MetalMachineError {
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error("cannot ask the API server: {0}")]
    Api(#[from] kube::Error),
}

pub(crate) struct MetalMachines {
    pub(crate) client: Client,
    pub(crate) writer: Writer,
    pub(crate) backoff: Backoff,
    pub(crate) events: Events,
    pub(crate) servers: Store<Server>,
    pub(crate) classes: Store<ServerClass>,
    pub(crate) machines: Store<MetalMachine>,
    /// Writes the condition `NodeSeen` of bindings.
    pub(crate) bindings: Writer,
    pub(crate) workloads: Workloads,
}

impl Reconciler for MetalMachines {
    type Object = MetalMachine;
    type Error = MetalMachineError;
    const NAME: &'static str = "metalmachine";

    fn writer(&self) -> &Writer {
        &self.writer
    }

    fn backoff(&self) -> &Backoff {
        &self.backoff
    }

    async fn reconcile(&self, machine: Arc<MetalMachine>) -> Result<Action, MetalMachineError> {
        let look = self.look(&machine).await?;
        let plan = plan(&look.observed);
        if let Some(act) = &plan.act {
            return match self.carry_out(&machine, &look, act).await? {
                act::Done::Written => Ok(Action::await_change()),
                // what refused it is said, and it is tried again
                act::Done::Refused(why) => {
                    let told = Told {
                        reason: "NotTaken",
                        message: why,
                        node: None,
                    };
                    self.say(&machine, &look, told).await?;
                    Ok(Action::requeue(TRY_AGAIN))
                }
            };
        }
        let node = self.node(&machine, &look).await;
        if self.remember(&machine, &look, node.as_ref()).await? {
            return Ok(Action::await_change());
        }
        let (reason, message) = self
            .off_unconfirmed(&plan.why)
            .unwrap_or_else(|| (act::reason(&plan.why), plan.why.to_string()));
        let told = Told {
            reason,
            message,
            node,
        };
        self.say(&machine, &look, told).await?;
        Ok(Action::requeue(LOOK_AGAIN))
    }
}

/// The binding as it was read.
pub(crate) type Bound = Option<ServerBinding>;
