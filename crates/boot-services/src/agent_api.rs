//! The agent's gRPC service: reports of machines, their addresses, and what they do next.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agent_protocol::api::agent_server::Agent;
use agent_protocol::{Registration, Token, api, server_id, why_not_reachable};
use governor::Quota;
use hardware_types::ServerId;
use lifecycle::boot::NotOrdered;
use tonic::{Code, Request, Response, Status};

mod orders;

use crate::agent_boots::AgentBoots;
use crate::http::Config;
use crate::limits::{Exceeded, Limits};
use crate::{Address, Directory, HttpMetrics, RegisterError, Sighting, Unavailable};

/// Most addresses that a machine may report.
pub(crate) const MAX_ADDRESSES: usize = 64;
/// Most bytes of an address and of its kind.
const MAX_TEXT: usize = 64;
/// Calls of one machine at once.
const BURST: u32 = 10;
/// After that one call in so many seconds.
const EVERY: Duration = Duration::from_secs(2);
/// Calls of all machines at once, and per second: twice what a thousand agents need that ask every 5 s.
const BURST_OVERALL: u32 = 2000;
const PER_SECOND_OVERALL: u32 = 400;

pub(crate) struct AgentApi<D> {
    directory: Arc<D>,
    boots: Arc<Mutex<AgentBoots>>,
    poll: Duration,
    agent_wait: Duration,
    limits: Limits<ServerId>,
    metrics: HttpMetrics,
}

impl<D: Directory> AgentApi<D> {
    pub(crate) fn new(
        directory: Arc<D>,
        boots: Arc<Mutex<AgentBoots>>,
        config: &Config,
        metrics: HttpMetrics,
    ) -> Self {
        let number = |n| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
        let overall = Quota::per_second(number(PER_SECOND_OVERALL)).allow_burst(number(BURST_OVERALL));
        // a period of zero is the only one that is none
        let own = Quota::with_period(EVERY)
            .unwrap_or(overall)
            .allow_burst(number(BURST));
        Self {
            directory,
            boots,
            poll: config.poll,
            agent_wait: config.agent_wait,
            limits: Limits::new(own, overall),
            metrics,
        }
    }

    fn admit(&self, id: ServerId) -> Result<(), Status> {
        let limit = match self.limits.admit(&id) {
            Ok(()) => return Ok(()),
            Err(Exceeded::Own) => {
                format!("Server {id} calls too often: {BURST} at once and one in {EVERY:?} are allowed")
            }
            Err(Exceeded::Overall) => format!(
                "all machines together call too often: {BURST_OVERALL} at once and {PER_SECOND_OVERALL} per second are allowed"
            ),
        };
        Err(Status::resource_exhausted(limit))
    }

    async fn create(&self, request: api::CreateServerRequest) -> Result<api::CreateServerResponse, Status> {
        let report = Registration::try_from(request).map_err(|error| invalid(&error))?;
        let id = report.id;
        self.admit(id)?;
        self.directory
            .register(report)
            .await
            .map_err(|error| refusal(&error))?;
        self.boots
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .forget(id);
        self.directory.seen(id, Sighting::Agent);
        Ok(api::CreateServerResponse::default())
    }

    async fn reconcile(
        &self,
        token: Option<Token>,
        request: api::ReconcileServerAddressesRequest,
    ) -> Result<(), Status> {
        let id = server_id(&request.uuid).map_err(|error| invalid(&error))?;
        self.admit(id)?;
        let addresses = addresses(request.address)?;
        self.directory
            .addresses(id, token, addresses)
            .await
            .map_err(|error| refusal(&error))?;
        self.directory.seen(id, Sighting::Agent);
        Ok(())
    }

    fn counted<T>(&self, call: &'static str, result: Result<T, Status>) -> Result<Response<T>, Status> {
        let code = result.as_ref().err().map_or(Code::Ok, Status::code);
        self.metrics.call(call, outcome(code));
        if let Err(status) = &result {
            tracing::debug!(
                call,
                code = outcome(code),
                reason = status.message(),
                "call of an agent refused"
            );
        }
        result.map(Response::new)
    }
}

#[tonic::async_trait]
impl<D: Directory> Agent for AgentApi<D> {
    async fn create_server(
        &self,
        request: Request<api::CreateServerRequest>,
    ) -> Result<Response<api::CreateServerResponse>, Status> {
        let result = self.create(request.into_inner()).await;
        self.counted("CreateServer", result)
    }

    async fn reconcile_server_addresses(
        &self,
        request: Request<api::ReconcileServerAddressesRequest>,
    ) -> Result<Response<api::ReconcileServerAddressesResponse>, Status> {
        let token = token(&request);
        let result = self.reconcile(token, request.into_inner()).await;
        let result = result.map(|()| api::ReconcileServerAddressesResponse {});
        self.counted("ReconcileServerAddresses", result)
    }

    async fn heartbeat(
        &self,
        request: Request<api::HeartbeatRequest>,
    ) -> Result<Response<api::HeartbeatResponse>, Status> {
        let token = token(&request);
        let result = self.wiping(token, request.into_inner()).await;
        self.counted("Heartbeat", result)
    }

    async fn mark_server_as_wiped(
        &self,
        request: Request<api::MarkServerAsWipedRequest>,
    ) -> Result<Response<api::MarkServerAsWipedResponse>, Status> {
        let token = token(&request);
        let result = self.wiped(token, request.into_inner()).await;
        self.counted("MarkServerAsWiped", result)
    }

    async fn poll(&self, request: Request<api::PollRequest>) -> Result<Response<api::PollResponse>, Status> {
        let token = token(&request);
        let result = self.next(token, request.into_inner()).await;
        self.counted("Poll", result)
    }
}

/// The token of a call; one that is none proves nothing.
fn token<T>(request: &Request<T>) -> Option<Token> {
    let value = request.metadata().get("authorization")?;
    Token::from_bearer(value.to_str().ok()?)
}

fn invalid(error: &dyn std::error::Error) -> Status {
    Status::invalid_argument(error.to_string())
}

fn unavailable(error: &Unavailable) -> Status {
    Status::unavailable(error.to_string())
}

fn refusal(error: &RegisterError) -> Status {
    let code = match error {
        RegisterError::Unavailable(_) | RegisterError::TooSoon(_) | RegisterError::Failed { .. } => {
            Code::Unavailable
        }
        RegisterError::NotOrdered(NotOrdered::NoToken) => Code::PermissionDenied,
        RegisterError::NotTaken(_) | RegisterError::NotOrdered(_) => Code::FailedPrecondition,
        RegisterError::TooMany { .. } => Code::ResourceExhausted,
        RegisterError::Unknown(_) => Code::NotFound,
    };
    Status::new(code, error.to_string())
}

fn outcome(code: Code) -> &'static str {
    match code {
        Code::Ok => "ok",
        Code::InvalidArgument => "invalid",
        Code::FailedPrecondition => "not-taken",
        Code::PermissionDenied => "no-token",
        Code::ResourceExhausted => "limit",
        Code::NotFound => "unknown",
        _ => "unavailable",
    }
}

/// The addresses that a machine can be reached by, or what is wrong with one of them.
fn addresses(reported: Vec<api::Address>) -> Result<Vec<Address>, Status> {
    if reported.len() > MAX_ADDRESSES {
        let count = reported.len();
        let text = format!("{count} addresses are reported, {MAX_ADDRESSES} are allowed");
        return Err(Status::invalid_argument(text));
    }
    let check = |reported: api::Address| {
        address(&reported).map_err(|wrong| {
            let quoted: String = reported.address.chars().take(MAX_TEXT).collect();
            Status::invalid_argument(format!("address {quoted:?}: {wrong}"))
        })
    };
    reported.into_iter().map(check).collect()
}

fn address(reported: &api::Address) -> Result<Address, &'static str> {
    let kind = &reported.r#type;
    if kind.is_empty() || kind.len() > MAX_TEXT || !kind.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Err("its type is not a word such as InternalIP");
    }
    let address: IpAddr = reported.address.parse().map_err(|_| "not an IP address")?;
    match why_not_reachable(address) {
        Some(wrong) => Err(wrong),
        None => Ok(Address {
            kind: kind.clone(),
            address: address.to_canonical(),
        }),
    }
}

#[cfg(test)]
mod tests;
