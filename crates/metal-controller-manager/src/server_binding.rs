//! The ServerBinding controller: lets go what is given back of a Server that does not exist (I-7). For all others the Server
//! controller does that.

use std::sync::Arc;
use std::time::Duration;

use controller_runtime::backoff::Backoff;
use controller_runtime::controller::Reconciler;
use controller_runtime::events::Events;
use controller_runtime::writer::Writer;
use crd_types::infrastructure::ServerBinding;
use crd_types::metal::Server;
use crd_types::names::{events, finalizers};
use jiff::Timestamp;
use kube::core::PartialObjectMeta;
use kube::runtime::controller::Action;
use kube::{Api, Client, ResourceExt as _};
use lifecycle::claim::Claim;

use crate::claim;
use crate::server::ServerError;

pub(crate) struct ServerBindings {
    pub(crate) client: Client,
    pub(crate) writer: Writer,
    pub(crate) backoff: Backoff,
    pub(crate) events: Events,
    /// How long a release may take.
    pub(crate) deadline: Duration,
}

impl Reconciler for ServerBindings {
    type Object = ServerBinding;
    type Error = ServerError;
    const NAME: &'static str = "serverbinding";

    fn writer(&self) -> &Writer {
        &self.writer
    }

    fn backoff(&self) -> &Backoff {
        &self.backoff
    }

    async fn reconcile(&self, binding: Arc<ServerBinding>) -> Result<Action, ServerError> {
        let Some(deleted) = &binding.metadata.deletion_timestamp else {
            return Ok(Action::await_change());
        };
        let since = Duration::try_from(Timestamp::now().duration_since(deleted.0)).unwrap_or_default();
        if let Some(left) = self.deadline.checked_sub(since).filter(|left| !left.is_zero()) {
            return Ok(Action::requeue(left));
        }
        let name = binding.name_any();
        let servers = Api::<PartialObjectMeta<Server>>::all(self.client.clone());
        let look = claim::look(&self.client, &name).await?;
        let is_free = matches!(look.claim, Claim::Released { .. }) && !look.paused;
        if !is_free || servers.get_metadata_opt(&name).await?.is_some() {
            // a Server that is there may be deleted, and a pause end
            return Ok(Action::requeue(self.deadline));
        }
        let note = format!("Let go without having been switched off: Server {name} does not exist.");
        self.events
            .warning(&*binding, events::SERVER_ALLOCATION, "Release", &note)
            .await;
        self.writer
            .finalizer(&*binding, finalizers::RELEASE, false)
            .await?;
        Ok(Action::await_change())
    }
}
