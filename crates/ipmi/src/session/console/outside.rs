//! Questions outside a session: presence ping, channel capabilities (IPMI 2.0 §13.13, §22.13).

use std::time::Duration;

use super::attempts::{Attempts, Turn};
use super::{Machine, Reply, Step, Timing};
use crate::codec::asf::Presence;
use crate::codec::{Datagram, Ipmi15, LanMessage};
use crate::command::{Command, CompletionCode};
use crate::session::Random;

/// Why a question outside a session brought no answer.
#[derive(Debug, thiserror::Error)]
pub enum OutsideError {
    /// Nothing answers.
    #[error("no answer outside a session")]
    Unreachable,
    /// The BMC did not carry it out.
    #[error("refused outside a session: {0}")]
    Completion(CompletionCode),
    /// The answer makes no sense.
    #[error("malformed answer outside a session")]
    Malformed(#[from] crate::codec::DecodeError),
    /// The caller's check forbade a datagram.
    #[error("cannot ask outside a session")]
    Withheld(#[from] super::Withheld),
    /// The socket cannot be made or used.
    #[error("cannot ask outside a session")]
    Socket(#[from] std::io::Error),
}

/// A command in IPMI 1.5 format without session, repeated until answered. Nothing proves where the answer comes from.
#[derive(Debug)]
pub struct OutsideRequest {
    request: LanMessage,
    attempts: Attempts,
    reply: Option<Reply>,
}

impl OutsideRequest {
    /// `sequence` is the rqSeq, six bits.
    pub fn new<C: Command>(command: &C, sequence: u8, timing: Timing) -> Self {
        Self {
            request: LanMessage::request(C::NET_FN, C::NUMBER, sequence & 0x3f, command.encode()),
            attempts: Attempts::new(timing),
            reply: None,
        }
    }
}

impl Machine for OutsideRequest {
    type Output = Result<Reply, OutsideError>;

    fn step(&mut self, now: Duration, _: Random<'_>) -> Step<Self::Output> {
        if let Some(reply) = self.reply.take() {
            return Step::Done(Ok(reply));
        }
        match self.attempts.turn(now) {
            Turn::Send => {
                let payload = self.request.encode();
                Step::Send(
                    Ipmi15 {
                        sequence: 0,
                        session_id: 0,
                        payload: &payload,
                    }
                    .encode(),
                )
            }
            Turn::WaitUntil(time) => Step::WaitUntil(time),
            Turn::Exhausted => Step::Done(Err(OutsideError::Unreachable)),
        }
    }

    fn receive(&mut self, datagram: &[u8]) {
        if let Ok(Datagram::Ipmi15(packet)) = Datagram::decode(datagram)
            && packet.session_id == 0
            && let Ok(message) = LanMessage::decode(packet.payload)
        {
            self.reply = answer(&self.request, &message).or(self.reply.take());
        }
    }
}

/// The reply in `message` if it answers `request`: same network function, command and rqSeq.
pub(super) fn answer(request: &LanMessage, message: &LanMessage) -> Option<Reply> {
    let answers = message.net_fn == request.net_fn.response()
        && message.command == request.command
        && message.sequence == request.sequence;
    let (code, data) = message.data.split_first().filter(|_| answers)?;
    Some(Reply {
        code: CompletionCode(*code),
        data: data.to_vec(),
    })
}

/// Presence ping. The output says whether something that speaks IPMI answered.
#[derive(Debug)]
pub struct Ping {
    tag: u8,
    attempts: Attempts,
    answered: bool,
}

impl Ping {
    /// `tag` pairs ping and pong.
    pub fn new(tag: u8, timing: Timing) -> Self {
        Self {
            tag,
            attempts: Attempts::new(timing),
            answered: false,
        }
    }
}

impl Machine for Ping {
    type Output = bool;

    fn step(&mut self, now: Duration, _: Random<'_>) -> Step<bool> {
        if self.answered {
            return Step::Done(true);
        }
        match self.attempts.turn(now) {
            Turn::Send => Step::Send(Presence::Ping { tag: self.tag }.encode()),
            Turn::WaitUntil(time) => Step::WaitUntil(time),
            Turn::Exhausted => Step::Done(false),
        }
    }

    fn receive(&mut self, datagram: &[u8]) {
        let want = Presence::Pong {
            tag: self.tag,
            ipmi: true,
        };
        self.answered |= Datagram::decode(datagram) == Ok(Datagram::Asf(want));
    }
}
