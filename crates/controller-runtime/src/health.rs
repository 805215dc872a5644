//! The listener for probes and metrics: `/healthz`, `/readyz`, `/metrics`.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::lease::Leadership;

/// Connections served at the same time; more wait in the kernel's queue.
const CONNECTIONS: usize = 32;
/// A connection serves one request and lives no longer.
const CONNECTION_LIFE: Duration = Duration::from_secs(10);
/// Longest request line with headers, in bytes.
const HEAD_LIMIT: usize = 16 * 1024;
/// Pause after a failed accept: the process is out of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// What scrapers expect of prometheus-client's encoding.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The parts of the process that are not ready, each with its reason.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<Mutex<BTreeMap<&'static str, String>>>);

impl Readiness {
    /// `part` does not do its work yet, or does not any more.
    pub fn waits(&self, part: &'static str, why: impl Into<String>) {
        self.lock().insert(part, why.into());
    }

    /// `part` does its work.
    pub fn ready(&self, part: &'static str) {
        self.lock().remove(part);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self) -> (StatusCode, String) {
        let waiting = self.lock();
        if waiting.is_empty() {
            return (StatusCode::OK, "ok\n".into());
        }
        let lines = waiting.iter().map(|(part, why)| format!("{part}: {why}\n"));
        (StatusCode::SERVICE_UNAVAILABLE, lines.collect())
    }
}

/// Puts the gauge of a lease into `registry`, under the name that dashboards know from other controllers.
pub fn register_leadership(registry: &mut Registry, lease: &str, leadership: Leadership) {
    let lease = lease.to_owned();
    registry.register_collector(Box::new(LeaderGauge { lease, leadership }));
}

#[derive(Debug)]
struct LeaderGauge {
    lease: String,
    leadership: Leadership,
}

impl Collector for LeaderGauge {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let labels = [("name", self.lease.as_str())];
        let help = "1 while this process holds the lease";
        let mut gauge =
            encoder.encode_descriptor("leader_election_master_status", help, None, MetricType::Gauge)?;
        ConstGauge::new(i64::from(self.leadership.holds())).encode(gauge.encode_family(&labels)?)
    }
}

/// Serves probes and metrics until `stop` is cancelled.
pub async fn serve(
    listener: TcpListener,
    readiness: Readiness,
    registry: Arc<Registry>,
    stop: CancellationToken,
) -> io::Result<()> {
    let service = TowerToHyperService::new(routes(readiness, registry));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .keep_alive(false)
        .max_buf_size(HEAD_LIMIT);
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let accept_all = async {
        loop {
            let Ok(slot) = slots.clone().acquire_owned().await else {
                return;
            };
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    warn!(%error, "cannot accept a connection for health and metrics");
                    sleep(ACCEPT_RETRY).await;
                    continue;
                }
            };
            let connection = http.serve_connection(TokioIo::new(stream), service.clone());
            tokio::spawn(async move {
                // A peer that is slow, breaks off or talks nonsense is its own affair.
                timeout(CONNECTION_LIFE, connection).await.ok();
                drop(slot);
            });
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = accept_all => {}
    }
    Ok(())
}

fn routes(readiness: Readiness, registry: Arc<Registry>) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(async move || readiness.answer()))
        .route("/metrics", get(async move || metrics(&registry)))
}

fn metrics(registry: &Registry) -> impl IntoResponse + use<> {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, registry) {
        Ok(()) => Ok(([(header::CONTENT_TYPE, OPEN_METRICS)], text)),
        Err(error) => Err((
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("cannot encode the metrics: {error}\n"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::task::JoinHandle;
    use tokio::time::Instant;

    use super::*;

    struct Listening {
        address: SocketAddr,
        readiness: Readiness,
        stop: CancellationToken,
        task: JoinHandle<io::Result<()>>,
    }

    async fn listen() -> Listening {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (readiness, stop) = (Readiness::default(), CancellationToken::new());
        let mut registry = Registry::default();
        register_leadership(&mut registry, "site", Leadership::unelected());
        let task = tokio::spawn(serve(
            listener,
            readiness.clone(),
            Arc::new(registry),
            stop.clone(),
        ));
        Listening {
            address,
            readiness,
            stop,
            task,
        }
    }

    async fn exchange(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    async fn ask(address: SocketAddr, path: &str) -> String {
        exchange(address, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await
    }

    #[tokio::test]
    async fn readiness_names_what_is_waited_for() {
        let listening = listen().await;
        listening.readiness.waits("caches", "servers not listed yet");
        let answer = ask(listening.address, "/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        assert!(answer.ends_with("caches: servers not listed yet\n"), "{answer}");
        assert!(
            ask(listening.address, "/healthz")
                .await
                .starts_with("HTTP/1.1 200")
        );
        listening.readiness.ready("caches");
        assert!(
            ask(listening.address, "/readyz")
                .await
                .starts_with("HTTP/1.1 200")
        );
    }

    #[tokio::test]
    async fn metrics_tell_who_leads() {
        let answer = ask(listen().await.address, "/metrics").await;
        assert!(
            answer.contains("content-type: application/openmetrics-text"),
            "{answer}"
        );
        assert!(
            answer.contains("leader_election_master_status{name=\"site\"} 1\n"),
            "{answer}"
        );
        assert!(answer.ends_with("# EOF\n"), "{answer}");
    }

    #[tokio::test]
    async fn a_head_over_the_limit_is_refused() {
        let address = listen().await.address;
        let request = |bytes: usize| {
            let frame = "GET /healthz HTTP/1.1\r\nHost: x\r\nX: \r\n\r\n".len();
            format!(
                "GET /healthz HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n",
                "a".repeat(bytes - frame)
            )
        };
        let answer = exchange(address, &request(HEAD_LIMIT)).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let answer = exchange(address, &request(HEAD_LIMIT + 1)).await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    }

    #[tokio::test(start_paused = true)]
    async fn silent_connections_take_all_slots_but_not_for_long() {
        let address = listen().await.address;
        let begin = Instant::now();
        let mut silent = Vec::new();
        for _ in 0..CONNECTIONS {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let answer = timeout(CONNECTION_LIFE * 2, ask(address, "/healthz"))
            .await
            .unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(begin.elapsed() >= CONNECTION_LIFE, "one past the limit waits");
    }

    #[tokio::test]
    async fn it_stops_when_told() {
        let listening = listen().await;
        listening.stop.cancel();
        listening.task.await.unwrap().unwrap();
        assert!(TcpStream::connect(listening.address).await.is_err());
    }
}
