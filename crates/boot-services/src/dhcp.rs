//! The DHCP proxy's sockets and loop: answers boot clients on ports 67 and 4011.

use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use boot_protocols::dhcp::{Ingress, Port, Request, Site, reply};
use tokio::net::UdpSocket;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::sightings::{Sighting, Sightings};

mod limits;
mod metrics;
mod sockets;

pub use limits::Quotas;
pub use metrics::Metrics;
pub use sockets::{BindError, Sockets};

use limits::Limits;

/// Longest message that is looked at, in bytes: an Ethernet frame's worth.
pub const MAX_MESSAGE: usize = 1500;
/// Pause after a socket error, such as an interface that is down.
const PAUSE: Duration = Duration::from_secs(1);

/// Answers boot clients until `stop` is cancelled. One task: messages wait for each other in the sockets' buffers.
pub async fn serve(
    sockets: Sockets,
    site: Site,
    quotas: Quotas,
    metrics: Metrics,
    sightings: Arc<dyn Sightings>,
    stop: CancellationToken,
) {
    let mut proxy = Proxy {
        interface: sockets.interface.clone(),
        site,
        limits: Limits::new(quotas),
        metrics,
        sightings,
    };
    tracing::info!(interface = proxy.interface, endpoint = %site, "DHCP proxy answers boot clients");
    let Sockets {
        broadcast,
        unicast,
        pxe,
        ..
    } = sockets;
    let (mut first, mut second, mut third) = (buffer(), buffer(), buffer());
    loop {
        let (received, packet, port) = tokio::select! {
            () = stop.cancelled() => return,
            received = broadcast.recv_from(&mut first) => (received, &first, Port::Dhcp),
            received = unicast.recv_from(&mut second) => (received, &second, Port::Dhcp),
            received = pxe.recv_from(&mut third) => (received, &third, Port::Pxe),
        };
        // the two that are bound to the endpoint's address are those that send: it is the reply's source
        let sender = if port == Port::Pxe { &pxe } else { &unicast };
        match received {
            Ok((length, SocketAddr::V4(source))) => {
                proxy.handle(&packet[..length], source, port, sender).await;
            }
            Ok((_, SocketAddr::V6(_))) => {}
            Err(error) => {
                tracing::warn!(interface = proxy.interface, %error, "DHCP proxy cannot receive");
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = sleep(PAUSE) => {}
                }
            }
        }
    }
}

/// One byte longer than what is looked at, so that a longer message shows.
fn buffer() -> Vec<u8> {
    vec![0; MAX_MESSAGE + 1]
}

struct Proxy {
    interface: String,
    site: Site,
    limits: Limits,
    metrics: Metrics,
    sightings: Arc<dyn Sightings>,
}

impl Proxy {
    /// Answers one message and counts what became of it.
    async fn handle(&mut self, packet: &[u8], source: SocketAddrV4, port: Port, sender: &UdpSocket) {
        let outcome = self.answer(packet, source, port, sender).await;
        self.metrics
            .count(port, outcome.unwrap_or_else(|dropped| dropped));
    }

    async fn answer(
        &mut self,
        packet: &[u8],
        source: SocketAddrV4,
        port: Port,
        sender: &UdpSocket,
    ) -> Result<&'static str, &'static str> {
        if packet.len() > MAX_MESSAGE {
            return Err("oversized");
        }
        let request = Request::parse(packet).map_err(|reject| {
            tracing::trace!(%source, %reject, "DHCP message not answered");
            reject.label()
        })?;
        let ingress = Ingress {
            interface: &self.interface,
            address: self.site.endpoint,
            source,
            port,
        };
        let reply = reply(&request, &ingress, self.site).ok_or("not-ours")?;
        self.limits.admit(request.mac)?;
        if let Err(error) = sender.send_to(&reply.packet, reply.destination).await {
            tracing::warn!(mac = %request.mac, destination = %reply.destination, %error, "cannot send DHCP reply");
            return Err("send-failed");
        }
        tracing::debug!(mac = %request.mac, class = request.class.label(), boot_file = reply.boot_file, "DHCP reply");
        self.sightings.seen(&Sighting::Dhcp {
            mac: request.mac,
            machine: request.machine,
            class: request.class,
            boot_file: &reply.boot_file,
        });
        Ok(request.class.label())
    }
}

#[cfg(test)]
mod tests;
