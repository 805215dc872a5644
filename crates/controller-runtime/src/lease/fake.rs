//! An API server that knows one Lease, reached over links that fail by script.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, Request, Response};
use jiff::SignedDuration;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Client;
use kube::client::Body;
use serde_json::json;
use tokio::time::sleep;
use tower::BoxError;

use crate::scripted::{failure, respond};

/// What happens to one request.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fate {
    /// Answered after a way there and a way back.
    Slow { there: Duration, back: Duration },
    /// Never arrives; the client hears nothing.
    LostRequest,
    /// Takes effect after the way there; the client hears nothing.
    LostReply { there: Duration },
    /// Refused with 500.
    Error,
    /// Takes effect, then answered with 500.
    ErrorAfterwards,
}

/// Answered at once.
pub(super) const FINE: Fate = Fate::Slow {
    there: Duration::ZERO,
    back: Duration::ZERO,
};

/// The API server.
#[derive(Clone, Default)]
pub(super) struct Server {
    store: Arc<Mutex<Store>>,
}

#[derive(Default)]
struct Store {
    lease: Option<Lease>,
    version: u64,
    /// Everybody who held the lease, in order.
    holders: Vec<String>,
}

impl Server {
    /// A client whose n-th request meets the n-th fate, and later ones the last. Its clock is off by `skew`.
    pub(super) fn client(&self, fates: impl Into<Vec<Fate>>, skew: SignedDuration) -> (Client, Link) {
        let (server, link) = (self.clone(), Link(Arc::new(Mutex::new(fates.into()))));
        let fates = link.clone();
        let service = tower::service_fn(move |request| {
            let (server, fate) = (server.clone(), fates.next());
            async move { server.answer(request, fate, skew).await }
        });
        (Client::new(service, "default"), link)
    }

    pub(super) fn lease(&self) -> Option<Lease> {
        self.store.lock().unwrap().lease.clone()
    }

    /// Writes past all clients.
    pub(super) fn set(&self, lease: Option<Lease>) {
        let mut store = self.store.lock().unwrap();
        store.version += 1;
        let version = store.version.to_string();
        store.lease = lease.map(|mut lease| {
            lease.metadata.resource_version = Some(version);
            lease
        });
    }

    /// Everybody who held the lease, in order.
    pub(super) fn holders(&self) -> Vec<String> {
        self.store.lock().unwrap().holders.clone()
    }

    async fn answer(
        &self,
        request: Request<Body>,
        fate: Fate,
        skew: SignedDuration,
    ) -> Result<Response<Body>, BoxError> {
        let (head, body) = request.into_parts();
        let body = body.collect_bytes().await?;
        let lease = (head.method != Method::GET)
            .then(|| serde_json::from_slice(&body))
            .transpose()?
            .map(|lease| skewed(lease, skew));
        let (there, back) = match fate {
            Fate::Slow { there, back } => (there, Some(back)),
            Fate::LostReply { there } => (there, None),
            Fate::LostRequest => return std::future::pending().await,
            Fate::Error => return respond(500, &failure(500)),
            Fate::ErrorAfterwards => (Duration::ZERO, Some(Duration::ZERO)),
        };
        // A request under way takes effect even when its sender has given up.
        let store = self.store.clone();
        let effect = tokio::spawn(async move {
            sleep(there).await;
            store.lock().unwrap().apply(&head.method, lease)
        });
        let Some(back) = back else {
            return std::future::pending().await;
        };
        let (code, body) = effect.await?;
        sleep(back).await;
        match fate {
            Fate::ErrorAfterwards => respond(500, &failure(500)),
            _ => respond(code, &body),
        }
    }
}

impl Store {
    /// The semantics of the real one: a write must carry the version that is stored.
    fn apply(&mut self, method: &Method, lease: Option<Lease>) -> (u16, serde_json::Value) {
        let stored = self
            .lease
            .as_ref()
            .and_then(|lease| lease.metadata.resource_version.clone());
        let refusal = match (method, &lease) {
            (&Method::GET, _) | (&Method::PUT, None) => stored.is_none().then_some(404),
            (&Method::POST, _) => stored.is_some().then_some(409),
            (_, Some(_)) if stored.is_none() => Some(404),
            (_, Some(lease)) => (lease.metadata.resource_version != stored).then_some(409),
            _ => Some(405),
        };
        if let Some(code) = refusal {
            return (code, failure(code));
        }
        if let Some(mut lease) = lease {
            self.version += 1;
            lease.metadata.resource_version = Some(self.version.to_string());
            let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone());
            if let Some(holder) = holder.filter(|holder| self.holders.last() != Some(holder)) {
                self.holders.push(holder);
            }
            self.lease = Some(lease);
        }
        (200, json!(self.lease))
    }
}

/// The fates of one client's requests.
#[derive(Clone)]
pub(super) struct Link(Arc<Mutex<Vec<Fate>>>);

impl Link {
    /// From now on every request meets `fate`.
    pub(super) fn set(&self, fate: Fate) {
        *self.0.lock().unwrap() = vec![fate];
    }

    fn next(&self) -> Fate {
        let mut fates = self.0.lock().unwrap();
        if fates.len() > 1 {
            fates.remove(0)
        } else {
            fates.first().copied().unwrap_or(FINE)
        }
    }
}

/// What a process whose clock is off by `skew` would have written.
fn skewed(mut lease: Lease, skew: SignedDuration) -> Lease {
    let spec = lease.spec.get_or_insert_default();
    for time in [&mut spec.renew_time, &mut spec.acquire_time]
        .into_iter()
        .flatten()
    {
        *time = MicroTime(time.0 + skew);
    }
    lease
}
