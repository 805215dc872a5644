//! The login: Open Session, RAKP 1 to 4, Set Session Privilege Level (IPMI 2.0 §13.14, §13.15).

use std::collections::VecDeque;
use std::time::Duration;

use super::attempts::{Attempts, Turn};
use super::error::{PrivilegeRefusal, Refusal};
use super::{Credentials, Delivery, Machine, OpenError, Reply, RequestError, Session, Step, Timing};
use crate::codec::{
    Datagram, OpenSessionRequest, OpenSessionResponse, PayloadType, Rakp1, Rakp2, Rakp3, Rakp4, RmcpPlus,
    Role, StatusCode,
};
use crate::command::{Command, Completion, CompletionCode, SetSessionPrivilegeLevel, Wire};
use crate::crypto::{Exchange, Keys, same};
use crate::session::{Random, random_bytes, random_id};
use crate::types::{CipherSuite, Privilege};

/// Opens a session. Suites are tried in the order given; the next one only when the BMC refuses a suite in its Open
/// Session Response, never because of a wrong password.
#[derive(Debug)]
pub struct Opening {
    credentials: Credentials,
    timing: Timing,
    suites: VecDeque<CipherSuite>,
    attempts: Attempts,
    tag: u8,
    stage: Stage,
    /// Why an earlier suite failed.
    earlier: Option<OpenError>,
}

#[derive(Debug)]
enum Stage {
    /// Nothing sent for the next suite yet.
    Start,
    /// Waits for the Open Session Response.
    Opening {
        suite: CipherSuite,
        console_id: u32,
        console_random: [u8; 16],
    },
    /// Waits for RAKP 2; the exchange still lacks what RAKP 2 brings.
    Challenging(Exchange),
    /// Waits for RAKP 4.
    Proving(Exchange, Keys),
    /// Raises the privilege.
    Raising(Box<Session>),
    /// Frees the BMC's slot, then fails.
    Closing(Box<Session>, OpenError),
    /// Tells the BMC by this RAKP 3 that we give up, then fails.
    GivingUp(Vec<u8>, OpenError),
    /// Over, but the driver does not know yet.
    Failed(OpenError),
    /// Over.
    Done,
}

impl Opening {
    /// Suites in the order to try: [`CipherSuite::ALL`], or one that is pinned.
    pub fn new(credentials: Credentials, suites: &[CipherSuite], timing: Timing) -> Self {
        Self {
            credentials,
            timing,
            suites: suites.iter().copied().collect(),
            attempts: Attempts::new(timing),
            tag: 0,
            stage: Stage::Start,
            earlier: None,
        }
    }

    /// The next stage, its first message not sent yet.
    fn enter(&mut self, stage: Stage) {
        self.attempts = Attempts::new(self.timing);
        self.tag = self.tag.wrapping_add(1);
        self.stage = stage;
    }

    fn start(&mut self, random: Random<'_>) {
        let Some(suite) = self.suites.pop_front() else {
            let suite = CipherSuite::Suite3;
            let none = OpenError::Unsupported {
                suite,
                status: StatusCode::NO_SUITE_MATCH,
            };
            self.stage = Stage::Failed(self.earlier.take().unwrap_or(none));
            return;
        };
        [self.tag] = random_bytes(random);
        let console_id = random_id(random);
        self.enter(Stage::Opening {
            suite,
            console_id,
            console_random: random_bytes(random),
        });
    }

    /// The message that this stage repeats: what errors call it, its type and its payload.
    fn message(&self) -> Option<(&'static str, PayloadType, Vec<u8>)> {
        let tag = self.tag;
        Some(match &self.stage {
            Stage::Opening {
                suite, console_id, ..
            } => {
                let (privilege, console_id) = (self.credentials.privilege.number(), *console_id);
                let request = OpenSessionRequest {
                    tag,
                    privilege,
                    console_id,
                    algorithms: suite.algorithms(),
                };
                ("Open Session", PayloadType::OpenSessionRequest, request.encode())
            }
            Stage::Challenging(exchange) => {
                let Exchange {
                    bmc_id,
                    role,
                    user,
                    console_random: random,
                    ..
                } = *exchange;
                (
                    "RAKP 1",
                    PayloadType::Rakp1,
                    Rakp1 {
                        tag,
                        bmc_id,
                        random,
                        role,
                        user,
                    }
                    .encode(),
                )
            }
            Stage::Proving(exchange, _) => {
                let result = Ok(exchange.rakp3_code(&self.credentials.password));
                (
                    "RAKP 3",
                    PayloadType::Rakp3,
                    Rakp3 {
                        tag,
                        bmc_id: exchange.bmc_id,
                        result,
                    }
                    .encode(),
                )
            }
            _ => return None,
        })
    }

    fn open_session_response(&mut self, payload: &[u8]) {
        let Stage::Opening {
            suite,
            console_id,
            console_random,
        } = self.stage
        else {
            return;
        };
        let Ok(response) = OpenSessionResponse::decode(payload) else {
            return;
        };
        let unnamed = response.result.is_err() && response.console_id == 0;
        if response.tag != self.tag || !(response.console_id == console_id || unnamed) {
            return;
        }
        match response.result {
            Err(status) => {
                let error = self.failure("Open Session", suite, status);
                if may_mean_other_suite(status) {
                    // What the table's state or the user's rights are matters more than a suite unknown.
                    let keep = self
                        .earlier
                        .take()
                        .filter(|e| !matches!(e, OpenError::Unsupported { .. }));
                    self.earlier = Some(keep.unwrap_or(error));
                    self.stage = Stage::Start;
                } else {
                    self.stage = Stage::Failed(error);
                }
            }
            Ok(grant) if grant.algorithms != suite.algorithms() => {
                self.stage = Stage::Failed(OpenError::OtherAlgorithms(suite));
            }
            Ok(grant) => self.enter(Stage::Challenging(Exchange {
                suite,
                console_id,
                bmc_id: grant.bmc_id,
                console_random,
                bmc_random: [0; 16],
                guid: [0; 16],
                role: Role::name_only(self.credentials.privilege),
                user: self.credentials.user,
            })),
        }
    }

    fn rakp2(&mut self, payload: &[u8]) {
        let Stage::Challenging(exchange) = &self.stage else {
            return;
        };
        let Ok(rakp2) = Rakp2::decode(payload) else { return };
        if !self.is_mine(rakp2.tag, rakp2.console_id, exchange, rakp2.result.as_ref().err()) {
            return;
        }
        let body = match rakp2.result {
            Ok(body) => body,
            Err(status) => {
                self.stage = Stage::Failed(self.failure("RAKP 1", exchange.suite, status));
                return;
            }
        };
        let exchange = Exchange {
            bmc_random: body.random,
            guid: body.guid,
            ..exchange.clone()
        };
        let Credentials {
            user, password, kg, ..
        } = &self.credentials;
        if same(&exchange.rakp2_code(password), &body.auth_code) {
            let keys = exchange.keys(password, kg.as_ref());
            self.enter(Stage::Proving(exchange, keys));
        } else {
            let error = OpenError::Refused {
                user: *user,
                why: Refusal::Password,
            };
            let status = Err(StatusCode::INVALID_CHECK_VALUE);
            let farewell = Rakp3 {
                tag: self.tag.wrapping_add(1),
                bmc_id: exchange.bmc_id,
                result: status,
            };
            self.stage = Stage::GivingUp(farewell.encode(), error);
        }
    }

    fn rakp4(&mut self, payload: &[u8]) {
        let Stage::Proving(exchange, keys) = &self.stage else {
            return;
        };
        let Ok(rakp4) = Rakp4::decode(payload) else { return };
        if !self.is_mine(rakp4.tag, rakp4.console_id, exchange, rakp4.result.as_ref().err()) {
            return;
        }
        match rakp4.result {
            // RAKP 2 proved that the BMC has our password. It refuses ours after all when it made up a new R_C for a
            // RAKP 1 that came twice: no reason to doubt the credentials.
            Err(status @ (StatusCode::UNAUTHORIZED_NAME | StatusCode::INVALID_CHECK_VALUE)) => {
                self.stage = Stage::Failed(OpenError::Lost(status));
            }
            Err(status) => self.stage = Stage::Failed(self.failure("RAKP 3", exchange.suite, status)),
            Ok(code) if same(keys.rakp4_code(), &code) => {
                let mut session = Box::new(Session::new(exchange, keys.clone(), self.timing));
                let raise = SetSessionPrivilegeLevel(Some(self.credentials.privilege)).encode();
                let (net_fn, number) = (SetSessionPrivilegeLevel::NET_FN, SetSessionPrivilegeLevel::NUMBER);
                session.start(net_fn, number, &raise, Delivery::Retry);
                self.enter(Stage::Raising(session));
            }
            Ok(_) => {
                let user = self.credentials.user;
                self.stage = Stage::Failed(OpenError::Refused {
                    user,
                    why: Refusal::Kg,
                });
            }
        }
    }

    /// Whether an answer belongs to this login. A BMC that knows no such session cannot know our id of it.
    fn is_mine(&self, tag: u8, console_id: u32, exchange: &Exchange, status: Option<&StatusCode>) -> bool {
        let lost = matches!(
            status,
            Some(&(StatusCode::INVALID_SESSION | StatusCode::INACTIVE_SESSION))
        );
        tag == self.tag && (console_id == exchange.console_id || lost && console_id == 0)
    }

    fn failure(&self, message: &'static str, suite: CipherSuite, status: StatusCode) -> OpenError {
        let Credentials { user, privilege, .. } = self.credentials;
        match status {
            StatusCode::NO_RESOURCES | StatusCode::NO_RESOURCES_FOR_ROLE => OpenError::Busy(status),
            StatusCode::INVALID_SESSION | StatusCode::INACTIVE_SESSION => OpenError::Lost(status),
            StatusCode::INVALID_ROLE | StatusCode::UNAUTHORIZED_ROLE => OpenError::Privilege {
                user,
                privilege,
                why: PrivilegeRefusal::Login(status),
            },
            StatusCode::UNAUTHORIZED_NAME | StatusCode::INVALID_CHECK_VALUE => OpenError::Refused {
                user,
                why: Refusal::Status(status),
            },
            status if is_about_suite(status) => OpenError::Unsupported { suite, status },
            status => OpenError::Status { message, status },
        }
    }

    /// What came of Set Session Privilege Level.
    fn raised(&self, result: Result<Reply, RequestError>) -> Result<(), OpenError> {
        let Credentials { user, privilege, .. } = self.credentials;
        let refused = |why| OpenError::Privilege { user, privilege, why };
        let reply = result.map_err(OpenError::Raise)?;
        let command = super::error::CommandName {
            net_fn: SetSessionPrivilegeLevel::NET_FN,
            number: SetSessionPrivilegeLevel::NUMBER,
        };
        match reply.code {
            CompletionCode::OK => match Privilege::decode(&reply.data) {
                Ok(granted) if granted >= privilege => Ok(()),
                Ok(granted) => Err(refused(PrivilegeRefusal::Granted(granted))),
                Err(source) => Err(OpenError::Raise(RequestError::Malformed { command, source })),
            },
            code if code.meaning() == Completion::Busy => {
                Err(OpenError::Raise(RequestError::Completion { command, code }))
            }
            code => Err(refused(PrivilegeRefusal::Raise(code))),
        }
    }
}

impl Machine for Opening {
    type Output = Result<Session, OpenError>;

    fn step(&mut self, now: Duration, random: Random<'_>) -> Step<Self::Output> {
        if matches!(self.stage, Stage::Start) {
            self.start(random);
        }
        if let Some((name, kind, payload)) = self.message() {
            return match self.attempts.turn(now) {
                Turn::Send => Step::Send(RmcpPlus::plain(kind, &payload)),
                Turn::WaitUntil(time) => Step::WaitUntil(time),
                Turn::Exhausted => Step::Done(Err(OpenError::Unreachable { message: name })),
            };
        }
        match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Raising(mut session) => match session.step(now, random) {
                Step::Done(result) => match self.raised(result) {
                    Ok(()) => Step::Done(Ok(*session)),
                    Err(error) => {
                        session.start_close();
                        self.stage = Stage::Closing(session, error);
                        self.step(now, random)
                    }
                },
                step => {
                    self.stage = Stage::Raising(session);
                    pending(step)
                }
            },
            Stage::Closing(mut session, error) => match session.step(now, random) {
                Step::Done(_) => Step::Done(Err(error)),
                step => {
                    self.stage = Stage::Closing(session, error);
                    pending(step)
                }
            },
            Stage::GivingUp(farewell, error) => {
                self.stage = Stage::Failed(error);
                Step::Send(RmcpPlus::plain(PayloadType::Rakp3, &farewell))
            }
            Stage::Failed(error) => Step::Done(Err(error)),
            _ => Step::Done(Err(OpenError::Lost(StatusCode::INACTIVE_SESSION))),
        }
    }

    fn receive(&mut self, datagram: &[u8]) {
        if let Stage::Raising(session) | Stage::Closing(session, _) = &mut self.stage {
            return session.receive(datagram);
        }
        let Ok(Datagram::RmcpPlus(packet)) = Datagram::decode(datagram) else {
            return;
        };
        if packet.session_id != 0 || packet.encrypted || packet.authenticated {
            return;
        }
        match packet.payload_type {
            PayloadType::OpenSessionResponse => self.open_session_response(packet.payload),
            PayloadType::Rakp2 => self.rakp2(packet.payload),
            PayloadType::Rakp4 => self.rakp4(packet.payload),
            _ => {}
        }
    }
}

/// A step of the inner session that is not its last, for the driver of the login.
fn pending<T>(step: Step<T>) -> Step<<Opening as Machine>::Output> {
    match step {
        Step::Send(datagram) => Step::Send(datagram),
        Step::WaitUntil(time) => Step::WaitUntil(time),
        Step::Done(_) => Step::WaitUntil(Duration::ZERO),
    }
}

fn is_about_suite(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::INVALID_AUTHENTICATION
            | StatusCode::INVALID_INTEGRITY
            | StatusCode::NO_AUTHENTICATION
            | StatusCode::NO_INTEGRITY
            | StatusCode::INVALID_CONFIDENTIALITY
            | StatusCode::NO_SUITE_MATCH
    )
}

/// BMCs say "invalid role" or "insufficient resources" as well when they do not know a suite.
fn may_mean_other_suite(status: StatusCode) -> bool {
    is_about_suite(status)
        || matches!(
            status,
            StatusCode::INVALID_ROLE | StatusCode::NO_RESOURCES | StatusCode::NO_RESOURCES_FOR_ROLE
        )
}
