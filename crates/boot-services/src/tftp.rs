//! TFTP (RFC 1350, with options of RFC 2347 to 2349 and 7440): gives boot loaders out of one folder, read-only.
//!
//! [`serve`] takes a bound socket and the files, and nothing else: a server that keeps every transfer on one port fits
//! behind the same seam.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use async_tftp::server::TftpServerBuilder;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

mod handler;
mod metrics;

pub use crate::files::{Files, FilesError};
pub use metrics::Metrics;

use crate::sightings::Sightings;
use handler::Handler;

/// Port of TFTP servers (RFC 1350 §4).
pub const PORT: u16 = 69;
/// Transfers at one time; a request beyond them gets an error and is made again by the client.
pub const MAX_TRANSFERS: usize = 256;
/// Wait for an acknowledgement before a window is sent again. The client's own `timeout` option is not honoured: with
/// 255 s a transfer that nobody wants any more would live for 20 min.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Windows sent again. The library does not hear a client's ERROR, so that a transfer which the client gave up (PXE ROMs
/// do, after asking for the size) lives on for `TIMEOUT` × (retries + 1), and a new request from the same port waits.
const RETRIES: u32 = 4;
/// Blocks in flight (RFC 7440).
const WINDOW: u16 = 16;
/// Largest block, in bytes: one Ethernet frame less the headers of IP, UDP and TFTP.
const BLOCK: u16 = 1468;
/// Pause after the socket failed.
const PAUSE: Duration = Duration::from_secs(1);

/// Why the server cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("cannot serve TFTP on UDP {address}: {source}{}", crate::hint::of(source))]
pub struct BindError {
    address: SocketAddrV4,
    source: io::Error,
}

/// Opens the TFTP port at the endpoint's address: transfers leave with it as their source.
pub fn bind(endpoint: Ipv4Addr) -> Result<UdpSocket, BindError> {
    let address = SocketAddrV4::new(endpoint, PORT);
    UdpSocket::bind(address).map_err(|source| BindError { address, source })
}

/// Gives out `files` on `socket` until `stop` is cancelled; transfers under way end with it.
pub async fn serve(
    socket: UdpSocket,
    files: Files,
    metrics: Metrics,
    sightings: Arc<dyn Sightings>,
    stop: CancellationToken,
) {
    let address = socket
        .local_addr()
        .map_or_else(|error| error.to_string(), |own| own.to_string());
    tracing::info!(address, "TFTP gives out boot loaders");
    let handler = Handler::new(files, metrics, sightings, MAX_TRANSFERS);
    loop {
        let ended = async {
            let server = TftpServerBuilder::with_handler(handler.clone())
                .std_socket(socket.try_clone()?)?
                .timeout(TIMEOUT)
                .ignore_client_timeout()
                .max_send_retries(RETRIES)
                .window_size_limit(WINDOW)
                .block_size_limit(BLOCK)
                .build()
                .await?;
            server.serve().await
        };
        let result: Result<(), async_tftp::Error> = tokio::select! {
            () = stop.cancelled() => return,
            result = ended => result,
        };
        // the library's server ends with the first error of its socket
        if let Err(error) = result {
            tracing::warn!(address, %error, "TFTP server ended; it starts again");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(PAUSE) => {}
        }
    }
}

#[cfg(test)]
mod tests;
