//! A proxy before the management API server, which holds one request: a manager can be killed between two of its writes
//! without a hook in it.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::wait::until;
use crate::{Bed, Program};

/// Bytes of the largest request.
const LIMIT: usize = 8 << 20;

/// A request, as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Such as `PATCH`.
    pub method: String,
    /// With its query.
    pub path: String,
    /// What was sent.
    pub body: String,
}

/// What is held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// The request: the API server never gets it.
    Request,
    /// The answer to one that was done: whoever asked does not know that.
    Answer,
}

type Matches = Box<dyn Fn(&Seen) -> bool + Send>;

struct Shared {
    http: reqwest::Client,
    upstream: String,
    armed: Mutex<Option<(Hold, Matches)>>,
    held: watch::Sender<Option<Seen>>,
}

/// A running proxy. Dropping it ends it.
pub struct Proxy {
    shared: Arc<Shared>,
    kubeconfig: PathBuf,
    task: JoinHandle<()>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Proxy").field(&self.kubeconfig).finish()
    }
}

impl Proxy {
    /// Starts it at the machine's end of the run's network.
    pub async fn start(bed: &Bed) -> anyhow::Result<Self> {
        let certificate = std::fs::read(bed.management.pki.file("ca.crt"))?;
        let certificate = reqwest::Certificate::from_pem(&certificate)?;
        let http = reqwest::Client::builder().tls_certs_only([certificate]).build()?;
        let listener = tokio::net::TcpListener::bind((bed.run().network().outside(), 0)).await?;
        let address = listener.local_addr()?;
        let (text, upstream) = bed.managers_kubeconfig()?;
        let kubeconfig = bed
            .run()
            .folder()
            .join(format!("proxy-{}.kubeconfig", address.port()));
        std::fs::write(&kubeconfig, text.replace(&upstream, &format!("http://{address}")))?;
        let shared = Arc::new(Shared {
            http,
            upstream,
            armed: Mutex::default(),
            held: watch::Sender::new(None),
        });
        let router = Router::new().fallback(forward).with_state(shared.clone());
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                eprintln!("the proxy ended: {error}");
            }
        });
        Ok(Self {
            shared,
            kubeconfig,
            task,
        })
    }

    /// The same manager, whose requests go through here.
    #[must_use]
    pub fn before(&self, program: Program) -> Program {
        program.replace("--kubeconfig", &self.kubeconfig.display().to_string())
    }

    /// Holds the next request that matches, for ever. Those after it pass.
    pub fn hold(&self, what: Hold, matches: impl Fn(&Seen) -> bool + Send + 'static) {
        let mut armed = self.shared.armed.lock().unwrap_or_else(PoisonError::into_inner);
        *armed = Some((what, Box::new(matches)));
        self.shared.held.send_replace(None);
    }

    /// Waits until a request is held; returns it.
    pub async fn until_held(&self, deadline: Duration) -> anyhow::Result<Seen> {
        until("the proxy holds a request", deadline, || async {
            Ok(self.shared.held.borrow().clone())
        })
        .await
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    /// Whether this of the request is to be held; only one is.
    fn takes(&self, what: Hold, seen: &Seen) -> bool {
        let mut armed = self.armed.lock().unwrap_or_else(PoisonError::into_inner);
        let takes = |(hold, matches): &mut (Hold, Matches)| *hold == what && matches(seen);
        armed.take_if(takes).is_some()
    }

    async fn keep(&self, seen: Seen) -> ! {
        self.held.send_replace(Some(seen));
        std::future::pending().await
    }
}

async fn forward(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body: Bytes = match to_bytes(body, LIMIT).await {
        Ok(body) => body,
        Err(error) => return (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    };
    let path = parts.uri.path_and_query().map(ToString::to_string);
    let seen = Seen {
        method: parts.method.to_string(),
        path: path.unwrap_or_default(),
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    if shared.takes(Hold::Request, &seen) {
        shared.keep(seen).await;
    }
    let url = format!("{}{}", shared.upstream, seen.path);
    let mut headers = parts.headers;
    for hop in [header::HOST, header::CONNECTION, header::CONTENT_LENGTH] {
        headers.remove(hop);
    }
    let sent = shared
        .http
        .request(parts.method, url)
        .headers(headers)
        .body(body)
        .send();
    match sent.await.context("the API server does not answer") {
        Ok(answer) if answer.status().is_success() && shared.takes(Hold::Answer, &seen) => {
            shared.keep(seen).await
        }
        Ok(answer) => {
            let mut answer = axum::http::Response::<reqwest::Body>::from(answer).map(Body::new);
            answer.headers_mut().remove(header::TRANSFER_ENCODING);
            answer
        }
        Err(error) => (StatusCode::BAD_GATEWAY, format!("{error:#}")).into_response(),
    }
}
