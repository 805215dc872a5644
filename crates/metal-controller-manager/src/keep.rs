//! Well-known objects that are always there: made where they are missing, never changed.

use std::fmt::Debug;
use std::pin::pin;

use controller_runtime::backoff::{Backoff, Pauses};
use controller_runtime::telemetry::causes;
use futures::StreamExt as _;
use kube::api::PostParams;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::watch_object;
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Makes the cluster-scoped `object` whenever there is none of its name, until `over` is cancelled.
pub(crate) async fn keep<K>(client: Client, manager: &str, object: &K, over: CancellationToken)
where
    K: Resource<DynamicType = ()> + Serialize + DeserializeOwned + Clone + Debug + Send + 'static,
{
    let api = Api::<K>::all(client);
    let name = object.name_any();
    let mut states = pin!(watch_object(api.clone(), &name).default_backoff());
    let watching = async {
        while let Some(state) = states.next().await {
            match state {
                Ok(Some(_)) => {}
                Ok(None) => make(&api, manager, object).await,
                Err(error) => {
                    let kind = K::kind(&());
                    warn!(%kind, name, error = causes(&error), "cannot watch whether it is there");
                }
            }
        }
    };
    over.run_until_cancelled(watching).await;
}

/// Tries until there is one, whoever made it.
async fn make<K>(api: &Api<K>, manager: &str, object: &K)
where
    K: Resource<DynamicType = ()> + Serialize + DeserializeOwned + Clone + Debug,
{
    let (kind, name) = (K::kind(&()), object.name_any());
    let backoff = Backoff::new(Pauses::default(), &[]);
    let parameters = PostParams {
        field_manager: Some(manager.to_owned()),
        ..PostParams::default()
    };
    loop {
        match api.create(&parameters, object).await {
            Ok(_) => {
                info!(%kind, name, "was missing and is made");
                return;
            }
            Err(kube::Error::Api(status)) if status.is_already_exists() => return,
            Err(error) => {
                warn!(%kind, name, error = causes(&error), "is missing and cannot be made");
                sleep(backoff.failed(object)).await;
            }
        }
    }
}
