//! The console's machines on a UDP socket.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};
use zeroize::Zeroizing;

use crate::command::{Command, CompletionCode, NetFn, Wire};
use crate::session::console::{
    CommandName, Credentials, Delivery, Machine, OpenError, Opening, OutsideError, OutsideRequest, Ping,
    Reply, RequestError, Session, Step, Timing, Withheld,
};
use crate::types::CipherSuite;

/// Larger than any IPMI datagram; a longer one is cut and then fails to decode.
const MAX_DATAGRAM: usize = 1024;

/// As good as never, and still a moment that the clock can name.
const FAR: Duration = Duration::from_hours(24 * 365);

/// The caller's check, asked right before every datagram, retransmissions included. With an error nothing is sent and
/// the request ends with `Withheld`.
pub type BeforeSend = Arc<dyn Fn() -> Result<(), Withheld> + Send + Sync>;

/// What a client needs besides credentials.
#[derive(Clone)]
pub struct Options {
    /// Retransmissions.
    pub timing: Timing,
    /// Suites in the order to try, at least one; one alone to pin it.
    pub suites: Vec<CipherSuite>,
    /// Asked right before every datagram.
    pub before_send: BeforeSend,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            timing: Timing::default(),
            suites: CipherSuite::ALL.to_vec(),
            before_send: Arc::new(|| Ok(())),
        }
    }
}

/// An open session with one BMC. One command at a time: hence `&mut self`. A future that is dropped gives its command
/// up; the session stays usable.
pub struct Client {
    link: Link,
    session: Session,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Logs in at `address` (port 623 by default, it is the caller's to fill in).
    pub async fn open(
        address: SocketAddr,
        credentials: Credentials,
        options: Options,
    ) -> Result<Self, OpenError> {
        let mut opening = Opening::new(credentials, &options.suites, options.timing);
        let link = Link::new(address, options.before_send).await?;
        let session = link.drive(&mut opening).await.map_err(|stop| match stop {
            Stop::Withheld(withheld) => OpenError::Withheld(withheld),
            Stop::Socket(error) => OpenError::Socket(error),
        })??;
        Ok(Self { link, session })
    }

    /// The session: its suite, the BMC's GUID.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Sends a command and reads its response.
    pub async fn send<C: Command>(
        &mut self,
        command: &C,
        delivery: Delivery,
    ) -> Result<C::Response, RequestError> {
        let name = CommandName {
            net_fn: C::NET_FN,
            number: C::NUMBER,
        };
        let reply = self
            .send_raw(C::NET_FN, C::NUMBER, &Zeroizing::new(command.encode()), delivery)
            .await?;
        match reply.code {
            CompletionCode::OK => {
                C::Response::decode(&reply.data).map_err(|source| RequestError::Malformed {
                    command: name,
                    source,
                })
            }
            code => Err(RequestError::Completion { command: name, code }),
        }
    }

    /// Sends any command; the completion code is the caller's to judge.
    pub async fn send_raw(
        &mut self,
        net_fn: NetFn,
        number: u8,
        data: &[u8],
        delivery: Delivery,
    ) -> Result<Reply, RequestError> {
        self.session.start(net_fn, number, data, delivery);
        let command = CommandName { net_fn, number };
        self.link
            .drive(&mut self.session)
            .await
            .map_err(|stop| stop.request(command))?
    }

    /// Closes the session, so that its slot in the BMC is free. Waits for the answer, but one that does not come is
    /// no error: the slot then lapses after 60 s.
    pub async fn close(mut self) -> Result<(), RequestError> {
        self.session.start_close();
        let command = CommandName {
            net_fn: NetFn::APP,
            number: crate::command::CloseSession::NUMBER,
        };
        match self
            .link
            .drive(&mut self.session)
            .await
            .map_err(|stop| stop.request(command))?
        {
            Ok(_) | Err(RequestError::NoReply(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Asks one question outside a session. Nothing proves who answers.
pub async fn ask<C: Command>(
    address: SocketAddr,
    command: &C,
    options: &Options,
) -> Result<C::Response, OutsideError> {
    let link = Link::new(address, options.before_send.clone()).await?;
    let mut request = OutsideRequest::new(command, rand::random(), options.timing);
    let reply = link.drive(&mut request).await.map_err(Stop::outside)??;
    match reply.code {
        CompletionCode::OK => Ok(C::Response::decode(&reply.data)?),
        code => Err(OutsideError::Completion(code)),
    }
}

/// Whether something that speaks IPMI answers a presence ping at `address`.
pub async fn ping(address: SocketAddr, options: &Options) -> Result<bool, OutsideError> {
    let link = Link::new(address, options.before_send.clone()).await?;
    link.drive(&mut Ping::new(rand::random(), options.timing))
        .await
        .map_err(Stop::outside)
}

/// What ends an exchange before the machine does.
enum Stop {
    Withheld(Withheld),
    Socket(io::Error),
}

impl Stop {
    fn request(self, command: CommandName) -> RequestError {
        match self {
            Self::Withheld(source) => RequestError::Withheld { command, source },
            Self::Socket(source) => RequestError::Socket { command, source },
        }
    }

    fn outside(self) -> OutsideError {
        match self {
            Self::Withheld(withheld) => OutsideError::Withheld(withheld),
            Self::Socket(error) => OutsideError::Socket(error),
        }
    }
}

/// A socket that is connected to one BMC, so that the kernel drops what others send.
struct Link {
    socket: UdpSocket,
    start: Instant,
    before_send: BeforeSend,
}

impl Link {
    async fn new(address: SocketAddr, before_send: BeforeSend) -> io::Result<Self> {
        let local: SocketAddr = match address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(local).await?;
        socket.connect(address).await?;
        Ok(Self {
            socket,
            start: Instant::now(),
            before_send,
        })
    }

    async fn drive<M: Machine>(&self, machine: &mut M) -> Result<M::Output, Stop> {
        loop {
            match machine.step(self.start.elapsed(), &mut |buffer| rand::fill(buffer)) {
                Step::Send(datagram) => self.send(&datagram).await?,
                Step::WaitUntil(time) => self.receive_until(time, machine).await?,
                Step::Done(output) => return Ok(output),
            }
        }
    }

    async fn send(&self, datagram: &[u8]) -> Result<(), Stop> {
        let mut refused_before = false;
        loop {
            // Waiting comes first, so that nothing is between the check and the datagram.
            self.socket.writable().await.map_err(Stop::Socket)?;
            (self.before_send)().map_err(Stop::Withheld)?;
            match self.socket.try_send(datagram) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // The system tells what became of an earlier datagram, and has not sent this one.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused && !refused_before => {
                    refused_before = true;
                }
                result => return lost(result).map(|_| ()),
            }
        }
    }

    async fn receive_until<M: Machine>(&self, time: Duration, machine: &mut M) -> Result<(), Stop> {
        let deadline = self.start + time.min(FAR);
        let mut buffer = [0; MAX_DATAGRAM];
        let Ok(result) = timeout_at(deadline, self.socket.recv(&mut buffer)).await else {
            return Ok(());
        };
        let length = lost(result)?;
        machine.receive(&buffer[..length]);
        Ok(())
    }
}

/// A port that is closed for a moment (a BMC that restarts) is a datagram lost, not a broken socket.
fn lost(result: io::Result<usize>) -> Result<usize, Stop> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(0),
        result => result.map_err(Stop::Socket),
    }
}
