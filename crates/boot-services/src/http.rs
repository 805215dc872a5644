//! The one port for HTTP and gRPC: boot scripts, files, and the agent's service.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_protocol::api::agent_server::AgentServer;
use axum::Router;
use axum::extract::{ConnectInfo, Path, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use boot_protocols::ipxe::{self, DiskMethod, Endpoint};
use governor::Quota;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tower::ServiceExt as _;
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::services::ServeFile;
use tower_http::timeout::TimeoutLayer;

mod agent;
mod answer;

use crate::agent_api::AgentApi;
use crate::agent_boots::AgentBoots;
use crate::files::Files;
use crate::limits::Keyed;
use crate::peer::Peer;
use crate::server::{self, Bounds};
use crate::{Directory, HttpMetrics};

/// Longest body of a request, in bytes: the report of a machine with hundreds of parts is a third of that.
pub const MAX_BODY: usize = 128 * 1024;
/// Calls of agents under way at one time; more wait. Each may hold a whole body in memory.
pub(crate) const MAX_CALLS: usize = 64;
/// Questions and calls of one peer at once, and per second: those of as many agents as it may have connections, which ask
/// every 5 s.
pub(crate) const BURST_OF_A_PEER: u32 = 100;
const PER_SECOND_OF_A_PEER: u32 = 20;
/// A request is answered within this time; the download of a file may take longer.
const ANSWER: Duration = Duration::from_secs(30);

/// What the HTTP port is told of its site.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where machines reach it.
    pub endpoint: Endpoint,
    /// Folder with `env/` and `tftp/`.
    pub data_dir: PathBuf,
    /// How a machine is sent to its disk whose Server does not say how.
    pub disk_method: DiskMethod,
    /// Kernel arguments of the agent; one replaces all of the built-in ones with the same key.
    pub extra_agent_kernel_args: Vec<String>,
    /// How often an agent asks what to do.
    pub poll: Duration,
    /// How long the agent of a machine that nobody accepts waits before it restarts the machine.
    pub agent_wait: Duration,
}

struct App<D> {
    config: Config,
    directory: Arc<D>,
    agent_boots: Arc<Mutex<AgentBoots>>,
    metrics: HttpMetrics,
}

/// Answers machines on `listener` until `stop` is cancelled, and ends a few seconds later at most. `more` are routes of
/// other services, under the same limits as a machine's questions.
pub async fn serve<D: Directory>(
    listener: TcpListener,
    config: Config,
    directory: Arc<D>,
    more: Router,
    metrics: HttpMetrics,
    stop: CancellationToken,
) {
    let address = listener
        .local_addr()
        .map_or_else(|error| error.to_string(), |own| own.to_string());
    tracing::info!(address, endpoint = %config.endpoint, "HTTP answers machines and agents");
    let router = router(config, directory, Arc::default(), more, metrics.clone());
    server::run(listener, router, Bounds::default(), metrics, stop).await;
}

pub(crate) fn router<D: Directory>(
    config: Config,
    directory: Arc<D>,
    agent_boots: Arc<Mutex<AgentBoots>>,
    more: Router,
    metrics: HttpMetrics,
) -> Router {
    let agent_api = AgentApi::new(
        Arc::clone(&directory),
        Arc::clone(&agent_boots),
        &config,
        metrics.clone(),
    );
    // five bytes of each message are gRPC's own
    let agent_api = AgentServer::new(agent_api).max_decoding_message_size(MAX_BODY - 5);
    let app = Arc::new(App {
        config,
        directory,
        agent_boots,
        metrics: metrics.clone(),
    });
    let agent_api = Router::new()
        .route_service("/api.Agent/{call}", agent_api)
        .layer(from_fn_with_state(
            Arc::new(Semaphore::new(MAX_CALLS)),
            take_turns,
        ));
    let number = |n| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
    let of_a_peer = Quota::per_second(number(PER_SECOND_OF_A_PEER)).allow_burst(number(BURST_OF_A_PEER));
    let limited = Router::new()
        .route("/ipxe", get(answer::ipxe::<D>))
        .merge(more.with_state(()))
        .merge(agent_api)
        .layer(from_fn_with_state(Arc::new(Keyed::new(of_a_peer)), limit_peers));
    Router::new()
        .route("/boot.ipxe", get(first_script::<D>))
        .merge(limited)
        .layer(TimeoutLayer::with_status_code(
            StatusCode::SERVICE_UNAVAILABLE,
            ANSWER,
        ))
        .route("/env/{*path}", get(file::<D>))
        .route("/tftp/{*path}", get(file::<D>))
        .layer(RequestBodyLimitLayer::new(MAX_BODY))
        .layer(from_fn_with_state(metrics, count))
        .with_state(app)
}

async fn first_script<D>(State(app): State<Arc<App<D>>>) -> Response {
    script(&ipxe::boot(&app.config.endpoint))
}

fn script(script: &ipxe::Script) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, script.to_string()).into_response()
}

/// A file of `env/` or `tftp/`. What leaves its folder, by dots or by a link, is not there.
async fn file<D>(State(app): State<Arc<App<D>>>, Path(path): Path<String>, request: Request) -> Response {
    let is_env = request.uri().path().starts_with("/env/");
    let folder = if is_env { "env" } else { "tftp" };
    let folder = app.config.data_dir.join(folder);
    let file = folder.join(path.trim_start_matches('/'));
    let opened = tokio::task::spawn_blocking(move || {
        Files::of(&folder).is_ok_and(|files| files.open(path.as_bytes()).is_ok())
    });
    if !opened.await.unwrap_or(false) {
        return StatusCode::NOT_FOUND.into_response();
    }
    tracing::debug!(file = %file.display(), "file asked for");
    ServeFile::new(file).oneshot(request).await.into_response()
}

/// Refuses a peer that asks too often, before anything is spent on it.
async fn limit_peers(
    State(limits): State<Arc<Keyed<Peer>>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    if limits.admit(&peer.ip().into()).is_ok() {
        return next.run(request).await;
    }
    let text = format!(
        "{} asks too often: {BURST_OF_A_PEER} questions at once and {PER_SECOND_OF_A_PEER} per second are allowed",
        peer.ip().to_canonical()
    );
    tracing::debug!(text);
    if request.uri().path().starts_with("/api.Agent/") {
        return Status::resource_exhausted(text).into_http();
    }
    answer::later(StatusCode::TOO_MANY_REQUESTS, &text)
}

/// Waits until fewer than [`MAX_CALLS`] are under way; the body stays with the sender for so long.
async fn take_turns(State(calls): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    // nobody closes it
    let _turn = calls.acquire().await;
    next.run(request).await
}

async fn count(State(metrics): State<HttpMetrics>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let route = match path.split('/').nth(1).unwrap_or_default() {
        "boot.ipxe" => "boot.ipxe",
        "ipxe" => "ipxe",
        "configdata" => "configdata",
        "env" => "env",
        "tftp" => "tftp",
        "api.Agent" => "agent",
        _ => "other",
    };
    let response = next.run(request).await;
    metrics.request(route, response.status());
    response
}

#[cfg(test)]
mod tests;
