//! Takes connections on one TCP port, HTTP/1.1 and HTTP/2 with prior knowledge, and bounds their number, heads and time.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::HttpMetrics;
use crate::peer::Connections;

/// Connections at one time; more wait in the listener's queue.
pub(crate) const MAX_CONNECTIONS: u32 = 2048;
/// Of them, those of one peer: as many agents as may sit behind one address. More are closed at once.
pub(crate) const MAX_CONNECTIONS_OF_A_PEER: u32 = 64;
/// Longest head of a request, in bytes: iPXE and agents send a few hundred.
const MAX_HEAD: u32 = 16 * 1024;
/// Requests under way at one time on one HTTP/2 connection.
const MAX_STREAMS: u32 = 16;
/// Bytes of bodies that a HTTP/2 connection may send ahead, of each request and of all.
const WINDOWS: [u32; 2] = [64 * 1024, 256 * 1024];
/// After so long without an acknowledgement the other side is taken for switched off.
const DEAD: Duration = Duration::from_secs(30);
/// What is under way when the server stops has so long to end.
const DRAIN: Duration = Duration::from_secs(3);
/// Pause after the listener failed, such as with too many open files.
const PAUSE: Duration = Duration::from_secs(1);

/// Bounds of the connections.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// See [`MAX_CONNECTIONS`].
    pub(crate) connections: u32,
    /// See [`MAX_CONNECTIONS_OF_A_PEER`].
    pub(crate) of_a_peer: u32,
    /// From the connection, or the last answer, to the end of the next request's head.
    pub(crate) head: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: MAX_CONNECTIONS,
            of_a_peer: MAX_CONNECTIONS_OF_A_PEER,
            head: Duration::from_secs(10),
        }
    }
}

/// Serves `router` on `listener` until `stop` is cancelled; ends when the connections have, [`DRAIN`] later at most.
pub(crate) async fn run(
    listener: TcpListener,
    router: Router,
    bounds: Bounds,
    metrics: HttpMetrics,
    stop: CancellationToken,
) {
    let slots = Arc::new(Semaphore::new(bounds.connections as usize));
    let connections = Connections::new(bounds.of_a_peer);
    loop {
        let accepted = async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, listener.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accepted => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let Some(admitted) = connections.admit(peer.ip().into()) else {
                    metrics.refused_connection();
                    tracing::debug!(%peer, "HTTP connection closed: this peer has {}", bounds.of_a_peer);
                    continue;
                };
                let (router, stop) = (router.clone(), stop.clone());
                tokio::spawn(async move {
                    connection(stream, peer, router, bounds.head, stop).await;
                    drop((slot, admitted));
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept HTTP connections");
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = sleep(PAUSE) => {}
                }
            }
        }
    }
    drop(listener);
    // all of them: no connection is left
    drop(slots.acquire_many(bounds.connections).await);
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    head: Duration,
    stop: CancellationToken,
) {
    if let Err(error) = notice_dead_peers(&stream) {
        tracing::debug!(%peer, %error, "cannot set socket options");
    }
    let asked = Arc::new(AtomicBool::new(false));
    let service = {
        let asked = Arc::clone(&asked);
        router.map_request(move |mut request: Request<Incoming>| {
            asked.store(true, Ordering::Relaxed);
            request.extensions_mut().insert(ConnectInfo(peer));
            request
        })
    };
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .max_buf_size(MAX_HEAD as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(DEAD)
        .keep_alive_timeout(DEAD)
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(WINDOWS[0])
        .initial_connection_window_size(WINDOWS[1])
        .max_header_list_size(MAX_HEAD);
    // hyper's timer begins when it knows the version: who says nothing, or half of HTTP/2's preface, is out of its sight
    let silent = async {
        sleep(head).await;
        if asked.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    let mut connection =
        pin!(builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)));
    tokio::select! {
        // an error here is the other side's: broken off, or no HTTP
        ended = connection.as_mut() => {
            if let Err(error) = ended {
                tracing::debug!(%peer, %error, "HTTP connection broke off");
            }
            return;
        }
        () = silent => return,
        () = stop.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    // what is not done by then is broken off
    let _ = timeout(DRAIN, connection).await;
}

/// A machine that is switched off in the middle of a download says no goodbye.
fn notice_dead_peers(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_user_timeout(Some(DEAD))?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(DEAD).with_interval(DEAD / 3))
}

#[cfg(test)]
mod tests;
