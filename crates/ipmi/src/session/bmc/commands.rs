//! Commands: those that concern the session itself are answered here, all others are handed on.

use std::time::Duration;

use super::{Active, Bmc, Discard, Event, Output, Request, Slot, Stage};
use crate::codec::{LanMessage, RmcpPlus};
use crate::command::{
    AuthCapabilities, CipherSuiteChunk, CloseSession, Command, CompletionCode, GetChannelAuthCapabilities,
    GetChannelCipherSuites, GetSystemGuid, SetSessionPrivilegeLevel, SystemGuid, Wire, cipher_suite_records,
    required_privilege,
};
use crate::session::{Random, random_bytes};
use crate::types::Privilege;

/// Completion code of Close Session for an id that does not exist (IPMI 2.0 §22.19).
const INVALID_SESSION_ID: CompletionCode = CompletionCode(0x87);

/// What a command that the machine answers itself has for an answer.
type Answer = Result<Vec<u8>, CompletionCode>;

impl Bmc {
    /// A message that came without a session; `wrap` puts the answer into the format it came in.
    pub(super) fn outside_session(&self, payload: &[u8], wrap: impl Fn(Vec<u8>) -> Vec<u8>) -> Output {
        let message = match LanMessage::decode(payload) {
            Ok(message) => message,
            Err(error) => return Output::discard(error),
        };
        match self.channel_command(&message) {
            Some(answer) => Output::reply(wrap(response(&message, answer).encode())),
            None => Output::discard(Discard::OutsideSession {
                net_fn: message.net_fn,
                command: message.command,
            }),
        }
    }

    pub(super) fn in_session(&mut self, packet: &RmcpPlus<'_>, now: Duration, random: Random<'_>) -> Output {
        let id = packet.session_id;
        let Some(slot) = self.sessions.get_mut(&id) else {
            return Output::discard(Discard::UnknownSession(id));
        };
        let (message, repeated) = match slot.accept(packet, now) {
            Ok(accepted) => accepted,
            Err(discard) => return Output::discard(discard),
        };
        let Some(session) = slot.info(id) else {
            return Output::discard(Discard::UnknownSession(id));
        };
        let privilege = session.privilege;
        let request = Request {
            session,
            message,
            repeated,
        };
        let needed = required_privilege(request.message.net_fn, request.message.command);
        if needed.is_some_and(|needed| privilege < needed) {
            let reply = self.respond(&request, CompletionCode::INSUFFICIENT_PRIVILEGE, &[], random);
            return Output {
                reply,
                event: Some(Event::Denied(request)),
            };
        }
        if let Some(close) = request.parse::<CloseSession>() {
            return self.close(&request, close.map_err(|_| CompletionCode::DATA_LENGTH), random);
        }
        let own = self
            .set_privilege(&request)
            .or_else(|| self.channel_command(&request.message));
        match own {
            Some(answer) => Output {
                reply: self.answer(&request, answer, random),
                event: None,
            },
            None => Output::event(Event::Command(request)),
        }
    }

    /// The datagram that answers `request`: completion code and response data, under a new session sequence number.
    /// `None` when the session is gone. It may be made late, more than once or not at all.
    pub fn respond(
        &mut self,
        request: &Request,
        code: CompletionCode,
        data: &[u8],
        random: Random<'_>,
    ) -> Option<Vec<u8>> {
        let slot = self.sessions.get_mut(&request.session.id)?;
        let Stage::Active(active) = &mut slot.stage else {
            return None;
        };
        let response = request.message.response([&[code.0], data].concat());
        active.outbound = active.outbound.wrapping_add(1).max(1);
        let iv = random_bytes(random);
        Some(
            active
                .keys
                .seal(slot.console_id, active.outbound, &response.encode(), iv),
        )
    }

    fn answer(&mut self, request: &Request, answer: Answer, random: Random<'_>) -> Option<Vec<u8>> {
        match answer {
            Ok(data) => self.respond(request, CompletionCode::OK, &data, random),
            Err(code) => self.respond(request, code, &[], random),
        }
    }

    /// Commands on the channel, allowed with and without a session.
    fn channel_command(&self, message: &LanMessage) -> Option<Answer> {
        if let Some(request) = parse::<GetChannelAuthCapabilities>(message) {
            return Some(request.map(|request| self.auth_capabilities(request).encode()));
        }
        if let Some(request) = parse::<GetChannelCipherSuites>(message) {
            let records = cipher_suite_records(&self.config.suites);
            return Some(
                request.map(|request| {
                    CipherSuiteChunk::of(self.config.channel, &records, request.index).encode()
                }),
            );
        }
        let guid = parse::<GetSystemGuid>(message)?;
        Some(guid.map(|_| SystemGuid(self.config.guid).encode()))
    }

    fn auth_capabilities(&self, request: GetChannelAuthCapabilities) -> AuthCapabilities {
        let enabled = || self.users.values().filter(|account| account.enabled);
        AuthCapabilities {
            channel: self.config.channel,
            types_15: 0, // no IPMI 1.5 sessions
            two_key: self.config.kg.is_some(),
            per_message_disabled: false,
            user_level_disabled: false,
            named_users: enabled().any(|account| !account.name.is_empty()),
            null_users: self
                .users
                .get(&1)
                .is_some_and(|user| user.enabled && user.name.is_empty()),
            anonymous: false,
            extended: request.extended.then_some((false, true)),
            oem: 0,
            oem_data: 0,
        }
    }

    fn set_privilege(&mut self, request: &Request) -> Option<Answer> {
        let wanted = match parse::<SetSessionPrivilegeLevel>(&request.message)? {
            Ok(SetSessionPrivilegeLevel(wanted)) => wanted,
            Err(code) => return Some(Err(code)),
        };
        let Stage::Active(active) = &mut self.sessions.get_mut(&request.session.id)?.stage else {
            return None;
        };
        Some(active.set_privilege(wanted))
    }

    /// A session closes itself; an administrator closes any.
    fn close(
        &mut self,
        request: &Request,
        close: Result<CloseSession, CompletionCode>,
        random: Random<'_>,
    ) -> Output {
        let own = request.session.id;
        let may = |id| id == own || request.session.privilege >= Privilege::Administrator;
        let checked = close.and_then(|CloseSession(id)| match self.sessions.contains_key(&id) {
            true if may(id) => Ok(id),
            true => Err(CompletionCode::INSUFFICIENT_PRIVILEGE),
            false => Err(INVALID_SESSION_ID),
        });
        let reply = self.answer(request, checked.map(|_| Vec::new()), random);
        if let Ok(id) = checked {
            self.sessions.remove(&id);
        }
        Output {
            reply,
            event: checked.ok().map(Event::SessionClosed),
        }
    }
}

impl Slot {
    /// The message in a packet of this session, and whether it repeats the last one.
    fn accept(&mut self, packet: &RmcpPlus<'_>, now: Duration) -> Result<(LanMessage, bool), Discard> {
        let Stage::Active(active) = &mut self.stage else {
            return Err(Discard::UnknownSession(packet.session_id));
        };
        let plain = active.keys.open(packet)?;
        if !active.inbound.accept(packet.sequence) {
            return Err(Discard::Replayed(packet.sequence));
        }
        let message = LanMessage::decode(&plain)?;
        if message.net_fn.is_response() {
            return Err(Discard::Unexpected);
        }
        self.last_seen = now;
        let repeated = active.last_request.as_ref() == Some(&message);
        active.last_request = Some(message.clone());
        Ok((message, repeated))
    }
}

impl Active {
    fn set_privilege(&mut self, wanted: Option<Privilege>) -> Answer {
        match wanted {
            Some(wanted) if wanted > self.max_privilege => Err(CompletionCode::SPECIFIC_81),
            Some(wanted) => {
                self.privilege = wanted;
                Ok(wanted.encode())
            }
            None => Ok(self.privilege.encode()),
        }
    }
}

fn response(message: &LanMessage, answer: Answer) -> LanMessage {
    let data = match answer {
        Ok(data) => [&[CompletionCode::OK.0], data.as_slice()].concat(),
        Err(code) => vec![code.0],
    };
    message.response(data)
}

/// The request data if the message is a `C`.
fn parse<C: Command>(message: &LanMessage) -> Option<Result<C, CompletionCode>> {
    let is = (message.net_fn, message.command) == (C::NET_FN, C::NUMBER);
    is.then(|| C::decode(&message.data).map_err(|_| CompletionCode::INVALID_FIELD))
}
