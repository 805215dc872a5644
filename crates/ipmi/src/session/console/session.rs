//! An open session, one command at a time.

use std::time::Duration;

use zeroize::Zeroizing;

use super::attempts::{Attempts, Turn};
use super::error::CommandName;
use super::outside::answer;
use super::{Delivery, Machine, OutsideRequest, Reply, RequestError, Step, Timing};
use crate::codec::{Datagram, LanMessage};
use crate::command::{CHANNEL_PRESENT, CloseSession, Command, GetChannelAuthCapabilities, NetFn, Wire};
use crate::crypto::{Exchange, Keys};
use crate::session::window::Window;
use crate::session::{Random, random_bytes};
use crate::types::{CipherSuite, Privilege};

/// An open session. [`Session::start`] a command, then drive the session as a [`Machine`] until it is done.
///
/// A session does not close itself when dropped: its slot in the BMC stays taken until the BMC's own time-out.
/// A session without traffic for 60 s is closed by the BMC.
#[derive(Debug)]
pub struct Session {
    suite: CipherSuite,
    guid: [u8; 16],
    console_id: u32,
    bmc_id: u32,
    keys: Keys,
    inbound: Window,
    outbound: u32,
    sequence: u8,
    timing: Timing,
    pending: Option<Pending>,
}

struct Pending {
    request: LanMessage,
    /// The request's bytes; a password may be among them.
    message: Zeroizing<Vec<u8>>,
    delivery: Delivery,
    attempts: Attempts,
    reply: Option<Reply>,
    /// After the last attempt: does the BMC live?
    probe: Option<OutsideRequest>,
}

impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pending")
            .field("request", &self.request)
            .finish_non_exhaustive()
    }
}

impl Session {
    pub(super) fn new(exchange: &Exchange, keys: Keys, timing: Timing) -> Self {
        Self {
            suite: exchange.suite,
            guid: exchange.guid,
            console_id: exchange.console_id,
            bmc_id: exchange.bmc_id,
            keys,
            inbound: Window::default(),
            outbound: 0,
            sequence: 0,
            timing,
            pending: None,
        }
    }

    /// The cipher suite in use.
    pub fn suite(&self) -> CipherSuite {
        self.suite
    }

    /// The GUID that the BMC gave during the login, as it was sent.
    pub fn guid(&self) -> [u8; 16] {
        self.guid
    }

    /// Begins a command. One that is under way is given up; its answer will be ignored.
    pub fn start(&mut self, net_fn: NetFn, number: u8, data: &[u8], delivery: Delivery) {
        self.sequence = (self.sequence + 1) & 0x3f;
        let request = LanMessage::request(net_fn, number, self.sequence, data.to_vec());
        self.pending = Some(Pending {
            message: Zeroizing::new(request.encode()),
            request,
            delivery,
            attempts: Attempts::for_delivery(self.timing, delivery),
            reply: None,
            probe: None,
        });
    }

    /// The same session once more, without a command under way, for fuzzing. Not for the public: two sessions with one
    /// set of keys would repeat their sequence numbers.
    pub(crate) fn copy(&self) -> Self {
        let (keys, inbound) = (self.keys.clone(), self.inbound.clone());
        Self {
            keys,
            inbound,
            pending: None,
            ..*self
        }
    }

    /// A datagram with any plain text from this console under the session's keys, for fuzzing.
    pub(crate) fn seal_message(&mut self, message: &[u8]) -> Vec<u8> {
        self.outbound = self.outbound.saturating_add(1);
        self.keys.seal(self.bmc_id, self.outbound, message, [0; 16])
    }

    /// The same from the BMC.
    pub(crate) fn seal_for_console(&self, message: &[u8]) -> Vec<u8> {
        self.keys.seal(self.console_id, 1000, message, [0; 16])
    }

    /// Begins Close Session. It is sent once and waits for one attempt's time only.
    pub fn start_close(&mut self) {
        let close = CloseSession(self.bmc_id);
        self.start(
            CloseSession::NET_FN,
            CloseSession::NUMBER,
            &close.encode(),
            Delivery::Once,
        );
        if let Some(pending) = &mut self.pending {
            pending.attempts = Attempts::new(Timing {
                attempts: 1,
                ..self.timing
            });
        }
    }
}

impl Pending {
    fn name(&self) -> CommandName {
        CommandName {
            net_fn: self.request.net_fn,
            number: self.request.command,
        }
    }

    /// After the last attempt: a command sent once has an unknown outcome; else one question outside the session
    /// tells a BMC that forgot the session from one that is gone.
    fn give_up(
        &mut self,
        timing: Timing,
        now: Duration,
        random: Random<'_>,
    ) -> Step<<Session as Machine>::Output> {
        if self.delivery == Delivery::Once {
            return Step::Done(Err(RequestError::NoReply(self.name())));
        }
        let question = GetChannelAuthCapabilities {
            channel: CHANNEL_PRESENT,
            extended: true,
            privilege: Privilege::User,
        };
        let timing = Timing {
            attempts: 2,
            ..timing
        };
        let probe = self
            .probe
            .get_or_insert_with(|| OutsideRequest::new(&question, self.request.sequence, timing));
        match probe.step(now, random) {
            Step::Send(datagram) => Step::Send(datagram),
            Step::WaitUntil(time) => Step::WaitUntil(time),
            Step::Done(Ok(_)) => Step::Done(Err(RequestError::SessionLost(self.name()))),
            Step::Done(Err(_)) => Step::Done(Err(RequestError::Unreachable(self.name()))),
        }
    }
}

impl Machine for Session {
    type Output = Result<Reply, RequestError>;

    fn step(&mut self, now: Duration, random: Random<'_>) -> Step<Self::Output> {
        let Some(pending) = &mut self.pending else {
            let nothing = CommandName {
                net_fn: NetFn::APP,
                number: 0,
            };
            return Step::Done(Err(RequestError::SessionLost(nothing)));
        };
        if let Some(reply) = pending.reply.take() {
            self.pending = None;
            return Step::Done(Ok(reply));
        }
        match pending.attempts.turn(now) {
            Turn::Send => {
                // Sequence numbers never repeat under one key.
                let Some(outbound) = self.outbound.checked_add(1) else {
                    return Step::Done(Err(RequestError::SessionLost(pending.name())));
                };
                self.outbound = outbound;
                Step::Send(
                    self.keys
                        .seal(self.bmc_id, outbound, &pending.message, random_bytes(random)),
                )
            }
            Turn::WaitUntil(time) => Step::WaitUntil(time),
            Turn::Exhausted => pending.give_up(self.timing, now, random),
        }
    }

    /// Takes an answer only under the session's keys, with a fresh session sequence number and the network function,
    /// command and rqSeq of the command under way.
    fn receive(&mut self, datagram: &[u8]) {
        let Some(pending) = &mut self.pending else { return };
        match Datagram::decode(datagram) {
            Ok(Datagram::RmcpPlus(packet)) if packet.session_id == self.console_id => {
                if let Ok(plain) = self.keys.open(&packet)
                    && self.inbound.accept(packet.sequence)
                    && let Ok(message) = LanMessage::decode(&plain)
                {
                    pending.reply = answer(&pending.request, &message).or(pending.reply.take());
                }
            }
            _ => {
                if let Some(probe) = &mut pending.probe {
                    probe.receive(datagram);
                }
            }
        }
    }
}
