//! The ServerBinding controller: says whether a Server of the name exists.

use std::sync::Arc;

use controller_runtime::backoff::Backoff;
use controller_runtime::controller::Reconciler;
use controller_runtime::writer::{WriteError, Writer};
use crd_types::infrastructure::ServerBinding;
use crd_types::metal::Server;
use kube::ResourceExt as _;
use kube::runtime::controller::Action;
use kube::runtime::reflector::{ObjectRef, Store};
use serde_json::json;

use crate::metal_cluster::LOOK_AGAIN;

pub(crate) struct ServerBindings {
    pub(crate) writer: Writer,
    pub(crate) backoff: Backoff,
    pub(crate) servers: Store<Server>,
}

impl Reconciler for ServerBindings {
    type Object = ServerBinding;
    type Error = WriteError;
    const NAME: &'static str = "serverbinding";

    fn writer(&self) -> &Writer {
        &self.writer
    }

    fn backoff(&self) -> &Backoff {
        &self.backoff
    }

    async fn reconcile(&self, binding: Arc<ServerBinding>) -> Result<Action, WriteError> {
        let exists = self.servers.get(&ObjectRef::new(&binding.name_any())).is_some();
        self.writer.status(&*binding, &json!({ "ready": exists })).await?;
        // the cache may be behind the event that asked
        Ok(Action::requeue(LOOK_AGAIN))
    }
}
