//! The BMC's side of RMCP+: opens sessions, checks users and privileges, hands commands to what embeds it.

mod commands;
mod login;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::Random;
use super::window::Window;
use crate::codec::asf::Presence;
use crate::codec::{Datagram, DecodeError, LanMessage, PayloadType, Rakp1, RmcpPlus, StatusCode};
use crate::command::{Command, NetFn};
use crate::crypto::{Exchange, Keys, SealError};
use crate::types::{CipherSuite, Privilege, Secret, UserName};

/// What a BMC is and what it allows.
#[derive(Debug, Clone)]
pub struct BmcConfig {
    /// Its GUID, in the order of bytes in which it is sent.
    pub guid: [u8; 16],
    /// Kg, when login takes two keys.
    pub kg: Option<Secret>,
    /// Suites that it offers, in the order of preference.
    pub suites: Vec<CipherSuite>,
    /// Number of its LAN channel.
    pub channel: u8,
    /// Highest privilege on this channel.
    pub max_privilege: Privilege,
    /// Sessions at a time, those half open included.
    pub session_slots: usize,
    /// A session without a valid packet for so long is closed (IPMI 2.0 §6.12.15: 60 s ± 3 s).
    pub inactivity: Duration,
}

impl Default for BmcConfig {
    fn default() -> Self {
        Self {
            guid: [0; 16],
            kg: None,
            suites: CipherSuite::ALL.to_vec(),
            channel: 1,
            max_privilege: Privilege::Administrator,
            session_slots: 4,
            inactivity: Duration::from_mins(1),
        }
    }
}

/// One slot of the user table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserAccount {
    /// Its name; an empty name can log in only in slot 1.
    pub name: UserName,
    /// Its password.
    pub password: Secret,
    /// Highest privilege; `None` is no access.
    pub limit: Option<Privilege>,
    /// Whether it can log in.
    pub enabled: bool,
}

/// What came of one received datagram.
#[derive(Debug, Default)]
#[must_use]
pub struct Output {
    /// To be sent back to where the datagram came from.
    pub reply: Option<Vec<u8>>,
    /// What the embedding code should do or know.
    pub event: Option<Event>,
}

impl Output {
    fn reply(datagram: Vec<u8>) -> Self {
        Self {
            reply: Some(datagram),
            event: None,
        }
    }

    fn event(event: Event) -> Self {
        Self {
            reply: None,
            event: Some(event),
        }
    }

    fn discard(why: impl Into<Discard>) -> Self {
        Self::event(Event::Discarded(why.into()))
    }

    fn with(mut self, event: Event) -> Self {
        self.event = Some(event);
        self
    }
}

/// What the embedding code learns.
#[derive(Debug)]
pub enum Event {
    /// A command to carry out; [`Bmc::respond`] makes the datagram that answers it.
    Command(Request),
    /// A command that was refused for lack of privilege; `reply` says so.
    Denied(Request),
    /// An Open Session Request was refused.
    OpenRefused(StatusCode),
    /// A user was asked to prove the password (not counted again for a retransmission).
    LoginStarted(UserName),
    /// A login failed, with the status that this BMC or the console gave.
    LoginRefused(UserName, StatusCode),
    /// A session is open.
    SessionOpened(SessionInfo),
    /// A session was closed by command: its id.
    SessionClosed(u32),
    /// The datagram was dropped.
    Discarded(Discard),
}

/// Why a datagram was dropped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Discard {
    /// Its bytes make no sense.
    #[error("malformed: {0}")]
    Malformed(#[from] DecodeError),
    /// It names a session that does not exist.
    #[error("session {0:#010x} does not exist")]
    UnknownSession(u32),
    /// It is not protected by the session's keys.
    #[error("not under the session's keys: {0}")]
    Unsealed(#[from] SealError),
    /// Its session sequence number was seen before or is too old.
    #[error("session sequence number {0} was seen before")]
    Replayed(u32),
    /// A command that needs a session, sent outside one.
    #[error("command {command:#04x} of network function {net_fn:#04x} needs a session", net_fn = .net_fn.number())]
    OutsideSession {
        /// Its network function.
        net_fn: NetFn,
        /// Its number.
        command: u8,
    },
    /// Something that a console does not send, or not now.
    #[error("not expected from a console")]
    Unexpected,
}

/// A session as the embedding code sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionInfo {
    /// The BMC's id of it.
    pub id: u32,
    /// Slot of its user.
    pub user_id: u8,
    /// Its user.
    pub user: UserName,
    /// Its present privilege.
    pub privilege: Privilege,
    /// Where its login came from.
    pub peer: SocketAddr,
}

/// An authenticated command.
#[derive(Debug, Clone)]
pub struct Request {
    /// Who sent it.
    pub session: SessionInfo,
    /// Network function, command, rqSeq and data.
    pub message: LanMessage,
    /// It equals the last request of this session, rqSeq included: a retransmission. Like most BMCs, this one has
    /// it carried out again.
    pub repeated: bool,
}

impl Request {
    /// The request data if it is a `C`: `None` when it is another command.
    pub fn parse<C: Command>(&self) -> Option<Result<C, DecodeError>> {
        let is = self.message.net_fn == C::NET_FN && self.message.command == C::NUMBER;
        is.then(|| C::decode(&self.message.data))
    }
}

/// One BMC. `now` is the time since any fixed moment and must not go back.
#[derive(Debug)]
pub struct Bmc {
    /// May be changed at any time; open sessions keep what they were opened with.
    pub config: BmcConfig,
    /// The user table by slot, 1 to 63. May be changed at any time.
    pub users: BTreeMap<u8, UserAccount>,
    sessions: BTreeMap<u32, Slot>,
    /// The last refused RAKP message and its answer: a retransmission gets the same one.
    refused: Option<(Vec<u8>, Vec<u8>)>,
}

#[derive(Debug, Clone)]
struct Slot {
    peer: SocketAddr,
    console_id: u32,
    suite: CipherSuite,
    last_seen: Duration,
    stage: Stage,
}

#[derive(Debug, Clone)]
enum Stage {
    /// Open Session was answered.
    Opened { tag: u8 },
    /// RAKP 2 was sent.
    Challenged(Box<Challenge>),
    /// RAKP 4 was sent.
    Active(Box<Active>),
}

#[derive(Debug, Clone)]
struct Challenge {
    rakp1: Rakp1,
    exchange: Exchange,
    user_id: u8,
    password: Secret,
    max_privilege: Privilege,
}

#[derive(Debug, Clone)]
struct Active {
    user_id: u8,
    user: UserName,
    privilege: Privilege,
    max_privilege: Privilege,
    keys: Keys,
    /// Proof that opened the session, to know a retransmitted RAKP 3 by.
    proof: Vec<u8>,
    inbound: Window,
    outbound: u32,
    last_request: Option<LanMessage>,
}

impl Bmc {
    /// A BMC without sessions.
    pub fn new(config: BmcConfig, users: BTreeMap<u8, UserAccount>) -> Self {
        Self {
            config,
            users,
            sessions: BTreeMap::new(),
            refused: None,
        }
    }

    /// The same BMC once more, for fuzzing. Not for the public: two BMCs with one set of keys would repeat themselves.
    pub(crate) fn copy(&self) -> Self {
        let (config, users) = (self.config.clone(), self.users.clone());
        Self {
            config,
            users,
            sessions: self.sessions.clone(),
            refused: self.refused.clone(),
        }
    }

    /// Takes one datagram that came from `from`.
    pub fn receive(
        &mut self,
        datagram: &[u8],
        from: SocketAddr,
        now: Duration,
        random: Random<'_>,
    ) -> Output {
        self.expire(now);
        match Datagram::decode(datagram) {
            Err(error) => Output::discard(error),
            Ok(Datagram::Asf(Presence::Ping { tag })) => {
                Output::reply(Presence::Pong { tag, ipmi: true }.encode())
            }
            Ok(Datagram::Asf(Presence::Pong { .. })) => Output::discard(Discard::Unexpected),
            Ok(Datagram::Ipmi15(packet)) if packet.session_id != 0 => {
                Output::discard(Discard::UnknownSession(packet.session_id))
            }
            Ok(Datagram::Ipmi15(packet)) => self.outside_session(packet.payload, |message| {
                crate::codec::Ipmi15 {
                    sequence: 0,
                    session_id: 0,
                    payload: &message,
                }
                .encode()
            }),
            Ok(Datagram::RmcpPlus(packet)) => self.rmcp_plus(&packet, from, now, random),
        }
    }

    fn rmcp_plus(
        &mut self,
        packet: &RmcpPlus<'_>,
        from: SocketAddr,
        now: Duration,
        random: Random<'_>,
    ) -> Output {
        if packet.session_id != 0 {
            return self.in_session(packet, now, random);
        }
        if packet.encrypted || packet.authenticated {
            return Output::discard(Discard::UnknownSession(0));
        }
        match packet.payload_type {
            PayloadType::Ipmi => self.outside_session(packet.payload, |message| {
                RmcpPlus::plain(PayloadType::Ipmi, &message)
            }),
            PayloadType::OpenSessionRequest => self.open_session(packet.payload, from, now, random),
            PayloadType::Rakp1 => self.rakp1(packet.payload, now, random),
            PayloadType::Rakp3 => self.rakp3(packet.payload, now),
            PayloadType::OpenSessionResponse | PayloadType::Rakp2 | PayloadType::Rakp4 => {
                Output::discard(Discard::Unexpected)
            }
        }
    }

    /// Closes the sessions that were idle for too long and returns their ids. [`Bmc::receive`] does it as well.
    pub fn expire(&mut self, now: Duration) -> Vec<u32> {
        let inactivity = self.config.inactivity;
        let idle = |slot: &Slot| now.saturating_sub(slot.last_seen) >= inactivity;
        let gone: Vec<u32> = self
            .sessions
            .iter()
            .filter(|(_, slot)| idle(slot))
            .map(|(id, _)| *id)
            .collect();
        for id in &gone {
            self.sessions.remove(id);
        }
        gone
    }

    /// The open sessions.
    pub fn sessions(&self) -> impl Iterator<Item = SessionInfo> {
        self.sessions.iter().filter_map(|(id, slot)| slot.info(*id))
    }

    /// Slots in use, logins under way included.
    pub fn slots_in_use(&self) -> usize {
        self.sessions.len()
    }

    /// Forgets one session without a word, as after a fault; false if there is none.
    pub fn drop_session(&mut self, id: u32) -> bool {
        self.sessions.remove(&id).is_some()
    }

    /// Forgets every session, as a BMC reset does.
    pub fn reset(&mut self) {
        self.sessions.clear();
        self.refused = None;
    }
}

impl Slot {
    fn info(&self, id: u32) -> Option<SessionInfo> {
        let Stage::Active(active) = &self.stage else {
            return None;
        };
        Some(SessionInfo {
            id,
            user_id: active.user_id,
            user: active.user,
            privilege: active.privilege,
            peer: self.peer,
        })
    }
}
