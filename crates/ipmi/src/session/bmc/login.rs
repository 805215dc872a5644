//! Open Session and RAKP 1 to 4, the BMC's part (IPMI 2.0 §13.17 to §13.24).

use std::net::SocketAddr;
use std::time::Duration;

use super::{Active, Bmc, Challenge, Discard, Event, Output, Slot, Stage, UserAccount};
use crate::codec::{
    Algorithms, OpenSessionRequest, OpenSessionResponse, PayloadType, Rakp1, Rakp2, Rakp2Body, Rakp3, Rakp4,
    RmcpPlus, SessionGrant, StatusCode,
};
use crate::crypto::{Exchange, same};
use crate::session::window::Window;
use crate::session::{Random, random_bytes, random_id};
use crate::types::{CipherSuite, Privilege};

impl Bmc {
    pub(super) fn open_session(
        &mut self,
        payload: &[u8],
        from: SocketAddr,
        now: Duration,
        random: Random<'_>,
    ) -> Output {
        let request = match OpenSessionRequest::decode(payload) {
            Ok(request) => request,
            Err(error) => return Output::discard(error),
        };
        let granted = self.grant(&request, from, now, random);
        let privilege = Privilege::from_number(request.privilege).unwrap_or(self.config.max_privilege);
        let response = OpenSessionResponse {
            tag: request.tag,
            privilege: privilege.number(),
            console_id: request.console_id,
            result: granted,
        };
        let output = Output::reply(RmcpPlus::plain(
            PayloadType::OpenSessionResponse,
            &response.encode(),
        ));
        match granted {
            Ok(_) => output,
            Err(status) => output.with(Event::OpenRefused(status)),
        }
    }

    fn grant(
        &mut self,
        request: &OpenSessionRequest,
        from: SocketAddr,
        now: Duration,
        random: Random<'_>,
    ) -> Result<SessionGrant, StatusCode> {
        let suite = self.choose_suite(request.algorithms)?;
        if request.privilege != 0 && Privilege::from_number(request.privilege).is_none() {
            return Err(StatusCode::INVALID_ROLE);
        }
        // A retransmission gets the slot it already has. The console's id and tag are not enough to know it by:
        // ipmitool uses the same ones in every process.
        let same_request = |slot: &Slot| {
            slot.peer == from
                && slot.console_id == request.console_id
                && matches!(slot.stage, Stage::Opened { tag } if tag == request.tag)
        };
        let known = self
            .sessions
            .iter()
            .find(|(_, slot)| same_request(slot))
            .map(|(id, _)| *id);
        if let Some(bmc_id) = known {
            return Ok(SessionGrant {
                bmc_id,
                algorithms: suite.algorithms(),
            });
        }
        if self.sessions.len() >= self.config.session_slots {
            return Err(StatusCode::NO_RESOURCES);
        }
        let bmc_id = random_id(random);
        if self.sessions.contains_key(&bmc_id) {
            return Err(StatusCode::NO_RESOURCES);
        }
        let slot = Slot {
            peer: from,
            console_id: request.console_id,
            suite,
            last_seen: now,
            stage: Stage::Opened { tag: request.tag },
        };
        self.sessions.insert(bmc_id, slot);
        Ok(SessionGrant {
            bmc_id,
            algorithms: suite.algorithms(),
        })
    }

    /// The first suite on offer that has all of the proposed algorithms; else the status that names the first
    /// algorithm that no suite on offer has.
    fn choose_suite(&self, proposed: Algorithms) -> Result<CipherSuite, StatusCode> {
        let fits = |wanted: Option<u8>, has: Option<u8>| wanted.is_none() || wanted == has;
        let offers = |fits: &dyn Fn(Algorithms) -> bool| {
            self.config
                .suites
                .iter()
                .copied()
                .find(|suite| fits(suite.algorithms()))
        };
        let suite = offers(&|has| {
            fits(proposed.authentication, has.authentication)
                && fits(proposed.integrity, has.integrity)
                && fits(proposed.confidentiality, has.confidentiality)
        });
        suite.ok_or_else(|| {
            if offers(&|has| fits(proposed.authentication, has.authentication)).is_none() {
                StatusCode::INVALID_AUTHENTICATION
            } else if offers(&|has| fits(proposed.integrity, has.integrity)).is_none() {
                StatusCode::INVALID_INTEGRITY
            } else if offers(&|has| fits(proposed.confidentiality, has.confidentiality)).is_none() {
                StatusCode::INVALID_CONFIDENTIALITY
            } else {
                StatusCode::NO_SUITE_MATCH
            }
        })
    }

    pub(super) fn rakp1(&mut self, payload: &[u8], now: Duration, random: Random<'_>) -> Output {
        if let Some(again) = self.answer_again(payload) {
            return again;
        }
        if let Some(&length @ 17..) = payload.get(27) {
            let refusal = rakp2(payload[0], 0, Err(StatusCode::INVALID_NAME_LENGTH));
            let error = crate::codec::DecodeError::Value {
                what: "length of the user name",
                value: length.into(),
            };
            return Output::reply(refusal).with(Event::Discarded(error.into()));
        }
        let rakp1 = match Rakp1::decode(payload) {
            Ok(rakp1) => rakp1,
            Err(error) => return Output::discard(error),
        };
        let Some(slot) = self.sessions.get_mut(&rakp1.bmc_id) else {
            let refusal = rakp2(rakp1.tag, 0, Err(StatusCode::INVALID_SESSION));
            return Output::reply(refusal).with(Event::Discarded(Discard::UnknownSession(rakp1.bmc_id)));
        };
        match &slot.stage {
            Stage::Challenged(challenge) if challenge.rakp1 == rakp1 => {
                slot.last_seen = now;
                return Output::reply(challenge.rakp2(slot.console_id));
            }
            Stage::Active(_) => return Output::discard(Discard::Unexpected),
            Stage::Opened { .. } | Stage::Challenged(_) => {}
        }
        let (console_id, suite) = (slot.console_id, slot.suite);
        let (user_id, account, max_privilege) = match self.find_user(&rakp1) {
            Ok(found) => found,
            Err(status) => {
                self.sessions.remove(&rakp1.bmc_id);
                let refusal = rakp2(rakp1.tag, console_id, Err(status));
                self.refused = Some((payload.to_vec(), refusal.clone()));
                return Output::reply(refusal).with(Event::LoginRefused(rakp1.user, status));
            }
        };
        let exchange = Exchange {
            suite,
            console_id,
            bmc_id: rakp1.bmc_id,
            console_random: rakp1.random,
            bmc_random: random_bytes(random),
            guid: self.config.guid,
            role: rakp1.role,
            user: rakp1.user,
        };
        let (bmc_id, user) = (rakp1.bmc_id, rakp1.user);
        let challenge = Challenge {
            rakp1,
            exchange,
            user_id,
            password: account.password.clone(),
            max_privilege,
        };
        let reply = challenge.rakp2(console_id);
        let stage = Stage::Challenged(Box::new(challenge));
        if let Some(slot) = self.sessions.get_mut(&bmc_id) {
            slot.last_seen = now;
            slot.stage = stage;
        }
        Output::reply(reply).with(Event::LoginStarted(user))
    }

    /// The account that RAKP 1 names and the highest privilege its session may have (IPMI 2.0 §13.20, §6.8).
    fn find_user(&self, rakp1: &Rakp1) -> Result<(u8, &UserAccount, Privilege), StatusCode> {
        let requested = rakp1.role.privilege().ok_or(StatusCode::INVALID_ROLE)?;
        let matches = |(id, account): &(&u8, &UserAccount)| {
            account.enabled
                && account.name == rakp1.user
                && (!rakp1.user.is_empty() || **id == 1)
                && (rakp1.role.is_name_only() || account.limit >= Some(requested))
        };
        let (id, account) = self
            .users
            .iter()
            .find(matches)
            .ok_or(StatusCode::UNAUTHORIZED_NAME)?;
        let limit = account.limit.map(|limit| limit.min(self.config.max_privilege));
        if limit < Some(requested) {
            return Err(StatusCode::UNAUTHORIZED_ROLE);
        }
        Ok((*id, account, requested))
    }

    pub(super) fn rakp3(&mut self, payload: &[u8], now: Duration) -> Output {
        if let Some(again) = self.answer_again(payload) {
            return again;
        }
        let rakp3 = match Rakp3::decode(payload) {
            Ok(rakp3) => rakp3,
            Err(error) => return Output::discard(error),
        };
        let Some(slot) = self.sessions.get_mut(&rakp3.bmc_id) else {
            let refusal = rakp4(rakp3.tag, 0, Err(StatusCode::INVALID_SESSION));
            return Output::reply(refusal).with(Event::Discarded(Discard::UnknownSession(rakp3.bmc_id)));
        };
        let console_id = slot.console_id;
        let challenge = match (&slot.stage, &rakp3.result) {
            (Stage::Active(active), Ok(proof)) if same(&active.proof, proof) => {
                return Output::reply(rakp4(
                    rakp3.tag,
                    console_id,
                    Ok(active.keys.rakp4_code().to_vec()),
                ));
            }
            (Stage::Challenged(challenge), _) => challenge,
            (Stage::Active(_) | Stage::Opened { .. }, _) => return Output::discard(Discard::Unexpected),
        };
        let user = challenge.exchange.user;
        let proof = match rakp3.result {
            Ok(proof) if same(&challenge.exchange.rakp3_code(&challenge.password), &proof) => proof,
            Ok(_) => {
                self.sessions.remove(&rakp3.bmc_id);
                let refusal = rakp4(rakp3.tag, console_id, Err(StatusCode::INVALID_CHECK_VALUE));
                self.refused = Some((payload.to_vec(), refusal.clone()));
                return Output::reply(refusal)
                    .with(Event::LoginRefused(user, StatusCode::INVALID_CHECK_VALUE));
            }
            Err(status) => {
                self.sessions.remove(&rakp3.bmc_id);
                return Output::event(Event::LoginRefused(user, status));
            }
        };
        let active = challenge.activate(self.config.kg.as_ref(), proof);
        let reply = rakp4(rakp3.tag, console_id, Ok(active.keys.rakp4_code().to_vec()));
        slot.last_seen = now;
        slot.stage = Stage::Active(Box::new(active));
        let opened = slot.info(rakp3.bmc_id).map(Event::SessionOpened);
        Output {
            reply: Some(reply),
            event: opened,
        }
    }

    /// The answer to a refused message that comes once more.
    fn answer_again(&self, payload: &[u8]) -> Option<Output> {
        let (_, reply) = self.refused.as_ref().filter(|(refused, _)| refused == payload)?;
        Some(Output::reply(reply.clone()))
    }
}

impl Challenge {
    fn rakp2(&self, console_id: u32) -> Vec<u8> {
        let body = Rakp2Body {
            random: self.exchange.bmc_random,
            guid: self.exchange.guid,
            auth_code: self.exchange.rakp2_code(&self.password),
        };
        rakp2(self.rakp1.tag, console_id, Ok(body))
    }

    /// A session starts with privilege User, or less where less was asked for (IPMI 2.0 §22.18).
    fn activate(&self, kg: Option<&crate::types::Secret>, proof: Vec<u8>) -> Active {
        Active {
            user_id: self.user_id,
            user: self.exchange.user,
            privilege: self.max_privilege.min(Privilege::User),
            max_privilege: self.max_privilege,
            keys: self.exchange.keys(&self.password, kg),
            proof,
            inbound: Window::default(),
            outbound: 0,
            last_request: None,
        }
    }
}

fn rakp2(tag: u8, console_id: u32, result: Result<Rakp2Body, StatusCode>) -> Vec<u8> {
    RmcpPlus::plain(
        PayloadType::Rakp2,
        &Rakp2 {
            tag,
            console_id,
            result,
        }
        .encode(),
    )
}

fn rakp4(tag: u8, console_id: u32, result: Result<Vec<u8>, StatusCode>) -> Vec<u8> {
    RmcpPlus::plain(
        PayloadType::Rakp4,
        &Rakp4 {
            tag,
            console_id,
            result,
        }
        .encode(),
    )
}
