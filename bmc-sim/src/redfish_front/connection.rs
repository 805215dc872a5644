//! Connections to the Redfish front end: accept, TLS, HTTP/1.1, and the faults of the way there and back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Method, Request, Response};
use axum::response::IntoResponse;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::failure::{Failure, Logged};
use super::{Context, MAX_BODY, MAX_CONNECTIONS, RedfishFront};
use crate::bmc::Fate;
use crate::fault::Protocol;
use crate::verb::Verb;

/// For a TLS handshake, and for the head of a request on an idle connection.
const PATIENCE: Duration = Duration::from_secs(30);

/// The connection ends without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the answer is lost")]
struct Lost;

impl RedfishFront {
    /// Serves every connection until `stop`.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, router: Router, stop: CancellationToken) {
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let Ok(slot) = slots.clone().acquire_owned().await else {
                return;
            };
            let (stream, peer) = tokio::select! {
                () = stop.cancelled() => return,
                accepted = listener.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        tracing::warn!(bmc = %self.bmc.name(), %error, "cannot accept a connection");
                        // out of descriptors: some will be closed soon
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                },
            };
            let (front, router, stop) = (self.clone(), router.clone(), stop.clone());
            tokio::spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = front.connection(stream, peer, router) => {}
                }
                drop(slot);
            });
        }
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, router: Router) {
        if !self.bmc.reachable() {
            return;
        }
        if !self.config.tls {
            return self.http(stream, peer, router).await;
        }
        let acceptor = match self.identity() {
            Ok(identity) => TlsAcceptor::from(identity.config.clone()),
            Err(error) => {
                tracing::error!(bmc = %self.bmc.name(), error = &error as &dyn std::error::Error, "no TLS");
                return;
            }
        };
        match tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => self.http(stream, peer, router).await,
            Ok(Err(error)) if is_nonsense(&error) => self.bmc.count_malformed(),
            Ok(Err(_)) | Err(_) => {}
        }
    }

    async fn http(
        self: Arc<Self>,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        peer: SocketAddr,
        router: Router,
    ) {
        let context = Context {
            front: self.clone(),
            caller: None,
            peer,
        };
        let service = service_fn(move |request| answer(context.clone(), router.clone(), request));
        let served = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(PATIENCE)
            .max_buf_size(16 * 1024)
            .serve_connection(TokioIo::new(stream), service)
            .await;
        if served.is_err_and(|error| error.is_parse()) {
            self.bmc.count_malformed();
        }
    }
}

/// Whether a handshake failed because what came is no TLS. A client that does not like the certificate makes sense.
fn is_nonsense(error: &std::io::Error) -> bool {
    let tls = error
        .get_ref()
        .and_then(|source| source.downcast_ref::<rustls::Error>());
    tls.is_some_and(|error| !matches!(error, rustls::Error::AlertReceived(_)))
}

/// Answers one request, or does with it what the BMC's faults say.
async fn answer(
    context: Context,
    router: Router,
    request: Request<Incoming>,
) -> Result<Response<Body>, Lost> {
    let front = context.front.clone();
    let (parts, body) = request.into_parts();
    let body = match tokio::time::timeout(PATIENCE, Limited::new(body, MAX_BODY).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            front.bmc.count_malformed();
            return Ok(Failure::body_too_large().into_response());
        }
        Ok(Err(_)) | Err(_) => return Err(Lost),
    };
    let verb = verb_of(&parts.method, parts.uri.path(), &body);
    let stopped = front.bmc.stopped(Protocol::Redfish);
    match stopped.unwrap_or_else(|| front.bmc.receive(verb, Protocol::Redfish)) {
        Fate::Unreachable | Fate::Lost => Err(Lost),
        Fate::Hung => {
            front.bmc.hang_over(Protocol::Redfish).await;
            Err(Lost)
        }
        Fate::Answered { delay, reply } => {
            let mut request = Request::from_parts(parts, Body::from(body));
            request.extensions_mut().insert(context);
            let Ok(response) = router.oneshot(request).await;
            log_refusal(verb, &response);
            let due = front.bmc.clock().now() + delay;
            front.bmc.clock().sleep_until(Some(due)).await;
            if reply { Ok(response) } else { Err(Lost) }
        }
    }
}

/// Logs what was refused before it reached the BMC's own commands: no credentials, no privilege, a bad body.
fn log_refusal(verb: Verb, response: &Response<Body>) {
    let extensions = response.extensions();
    if response.status().is_client_error()
        && extensions.get::<Logged>().is_none()
        && let Some(Some(context)) = extensions.get::<Option<Context>>()
    {
        let why = format!("HTTP status {}", response.status().as_u16());
        context.bmc().refused(verb, &context.origin(), &why);
    }
}

/// What a request asks for, in the words of counters and faults.
pub(super) fn verb_of(method: &Method, path: &str, body: &Bytes) -> Verb {
    let has = |text: &str| body.windows(text.len()).any(|part| part == text.as_bytes());
    let under = |prefix: &str| path.starts_with(prefix);
    match *method {
        Method::POST if path.ends_with("/Actions/ComputerSystem.Reset") => {
            let kinds = [
                ("\"GracefulShutdown\"", Verb::SoftOff),
                ("\"ForceOff\"", Verb::Off),
                ("\"ForceRestart\"", Verb::Reset),
                ("\"PowerCycle\"", Verb::Cycle),
                ("\"On\"", Verb::On),
            ];
            kinds
                .into_iter()
                .find(|(text, _)| has(text))
                .map_or(Verb::Other, |(_, verb)| verb)
        }
        Method::POST if path.ends_with("/Actions/Manager.Reset") => Verb::BmcReset,
        Method::POST if path == super::sessions::COLLECTION => Verb::Login,
        Method::DELETE if under(super::sessions::COLLECTION) => Verb::Logout,
        Method::PATCH if under("/redfish/v1/Systems/") => Verb::SetBoot,
        Method::PATCH if under("/redfish/v1/AccountService/") && has("\"Password\"") => Verb::SetPassword,
        Method::PATCH if under("/redfish/v1/AccountService/") => Verb::SetUser,
        Method::GET if under("/redfish/v1/Systems/") && path.matches('/').count() == 4 => Verb::GetPower,
        _ => Verb::Other,
    }
}
