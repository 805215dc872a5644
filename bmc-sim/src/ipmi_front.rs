//! The IPMI front end of one BMC: datagrams in and out, and the faults of the way there and back.
//!
//! RMCP+ itself is the `ipmi` crate's; what the commands mean is in `commands`.

mod commands;
#[cfg(test)]
mod tests;
mod users;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ipmi::codec::{Datagram, PayloadType};
use ipmi::session::bmc::{BmcConfig, Discard, Event, Output};
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

use self::commands::{BootOptions, verb_of};
use crate::bmc::{Bmc, Fate};
use crate::config::IpmiConfig;
use crate::fault::Protocol;
use crate::verb::Verb;

/// Longest datagram that is read; the longest that a console sends is shorter by far.
pub const MAX_DATAGRAM: usize = 1024;

/// The IPMI side of one BMC.
pub struct IpmiFront {
    bmc: Arc<Bmc>,
    sessions: ipmi::session::bmc::Bmc,
    boot_options: BootOptions,
    /// The BMC's generation that the sessions belong to.
    generation: u64,
}

/// A datagram to be sent.
struct Reply {
    datagram: Vec<u8>,
    delay: Duration,
}

impl IpmiFront {
    /// The front end of `bmc`.
    pub fn new(bmc: Arc<Bmc>, config: &IpmiConfig) -> Self {
        // the standard's order is RFC 4122's reversed (IPMI 2.0 §20.8)
        let mut guid = bmc.config().machine.uuid.uuid().into_bytes();
        guid.reverse();
        let session_config = BmcConfig {
            guid,
            session_slots: config.max_sessions,
            ..BmcConfig::default()
        };
        let accounts = users::accounts(&bmc.users(), false);
        let sessions = ipmi::session::bmc::Bmc::new(session_config, accounts);
        Self {
            bmc,
            sessions,
            boot_options: BootOptions::default(),
            generation: 0,
        }
    }

    /// Answers until `stop`.
    pub async fn serve(mut self, socket: UdpSocket, stop: CancellationToken) {
        let socket = Arc::new(socket);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                ready = socket.readable() => {
                    if ready.is_err() {
                        return;
                    }
                }
            }
            match self.read(&socket) {
                Ok(Some((reply, peer))) => self.send(&socket, reply, peer, &stop).await,
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // it concerns one datagram, not the socket
                Err(error) => tracing::debug!(bmc = %self.bmc.name(), %error, "cannot receive"),
            }
        }
    }

    /// Takes one datagram off the socket. The buffer lives no longer than this call.
    fn read(&mut self, socket: &UdpSocket) -> io::Result<Option<(Reply, SocketAddr)>> {
        let mut buffer = [0; MAX_DATAGRAM];
        let (length, peer) = socket.try_recv_from(&mut buffer)?;
        Ok(self.datagram(&buffer[..length], peer).map(|reply| (reply, peer)))
    }

    async fn send(&self, socket: &Arc<UdpSocket>, reply: Reply, peer: SocketAddr, stop: &CancellationToken) {
        let Reply { datagram, delay } = reply;
        if delay.is_zero() {
            // a datagram that cannot be sent is one that is lost
            socket.send_to(&datagram, peer).await.ok();
            return;
        }
        let (bmc, socket, stop) = (self.bmc.clone(), socket.clone(), stop.clone());
        tokio::spawn(async move {
            let due = bmc.clock().now() + delay;
            tokio::select! {
                () = stop.cancelled() => {}
                () = bmc.clock().sleep_until(Some(due)) => {
                    socket.send_to(&datagram, peer).await.ok();
                }
            }
        });
    }

    /// Takes one datagram through the session machine, the faults and the commands.
    fn datagram(&mut self, datagram: &[u8], peer: SocketAddr) -> Option<Reply> {
        let bmc = self.bmc.clone();
        if bmc.stopped(Protocol::Ipmi).is_some() {
            return None;
        }
        let generation = bmc.generation();
        if std::mem::replace(&mut self.generation, generation) != generation {
            self.sessions.reset();
            self.boot_options = BootOptions::default();
        }
        let is_login = is_login(datagram);
        if is_login {
            let refuse = bmc.refuses_login(Protocol::Ipmi);
            self.sessions.users = users::accounts(&bmc.users(), refuse);
        }
        let Output { reply, event } = self
            .sessions
            .receive(datagram, peer, bmc.clock().now(), &mut random);
        if is_login && matches!(event, Some(Event::LoginStarted(_) | Event::LoginRefused(..))) {
            bmc.count_login();
        }
        if matches!(event, Some(Event::SessionOpened(_))) {
            bmc.count_login_accepted();
        }
        let verb = match &event {
            Some(Event::Command(request) | Event::Denied(request)) => verb_of(request),
            Some(Event::SessionClosed(_)) => Verb::Logout,
            Some(Event::Discarded(Discard::Malformed(_) | Discard::Unsealed(_) | Discard::Unexpected)) => {
                bmc.count_malformed();
                Verb::Other
            }
            _ if is_login => Verb::Login,
            _ => Verb::Other,
        };
        // What is lost for its verb had to be read to know it, and has moved its session's window: a console that
        // retransmits under the old session sequence number is not heard again.
        let Fate::Answered {
            delay,
            reply: arrives,
        } = bmc.receive(verb, Protocol::Ipmi)
        else {
            return None;
        };
        let reply = match event {
            Some(Event::Command(request)) => {
                let (code, data) = self.execute(&request).map_or_else(
                    |code| (code, Vec::new()),
                    |data| (ipmi::command::CompletionCode::OK, data),
                );
                self.sessions.respond(&request, code, &data, &mut random)
            }
            Some(Event::Denied(request)) => {
                bmc.refused(verb, &commands::origin(&request), "insufficient privilege");
                reply
            }
            _ => reply,
        };
        reply
            .filter(|_| arrives)
            .map(|datagram| Reply { datagram, delay })
    }
}

/// Whether a console asks for the proof that a user's password is known to both (RAKP message 1).
fn is_login(datagram: &[u8]) -> bool {
    matches!(Datagram::decode(datagram), Ok(Datagram::RmcpPlus(packet)) if packet.payload_type == PayloadType::Rakp1)
}

fn random(buffer: &mut [u8]) {
    rand::Rng::fill_bytes(&mut rand::rng(), buffer);
}
