//! The agent's gRPC service: reports of machines, their addresses, and what they do next.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use agent_protocol::api::agent_server::Agent;
use agent_protocol::{Registration, api, server_id, why_not_reachable};
use governor::Quota;
use hardware_types::ServerId;
use lifecycle::boot::{Order, order};
use tonic::{Code, Request, Response, Status};

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
/// Calls of all machines at once, and per second.
const BURST_OVERALL: u32 = 200;
const PER_SECOND_OVERALL: u32 = 50;

pub(crate) struct AgentApi<D> {
    directory: Arc<D>,
    poll: Duration,
    agent_wait: Duration,
    limits: Limits<ServerId>,
    metrics: HttpMetrics,
}

impl<D: Directory> AgentApi<D> {
    pub(crate) fn new(directory: Arc<D>, config: &Config, metrics: HttpMetrics) -> Self {
        let number = |n| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
        let overall = Quota::per_second(number(PER_SECOND_OVERALL)).allow_burst(number(BURST_OVERALL));
        // a period of zero is the only one that is none
        let own = Quota::with_period(EVERY)
            .unwrap_or(overall)
            .allow_burst(number(BURST));
        Self {
            directory,
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
        self.directory.seen(id, Sighting::Agent);
        Ok(api::CreateServerResponse::default())
    }

    async fn reconcile(&self, request: api::ReconcileServerAddressesRequest) -> Result<(), Status> {
        let id = server_id(&request.uuid).map_err(|error| invalid(&error))?;
        self.admit(id)?;
        let addresses = addresses(request.address)?;
        self.directory
            .addresses(id, addresses)
            .await
            .map_err(|error| refusal(&error))?;
        self.directory.seen(id, Sighting::Agent);
        Ok(())
    }

    async fn next(&self, request: api::PollRequest) -> Result<api::PollResponse, Status> {
        let id = server_id(&request.uuid).map_err(|error| invalid(&error))?;
        self.admit(id)?;
        let view = self
            .directory
            .view(id)
            .await
            .map_err(|error| unavailable(&error))?;
        let view = view.ok_or_else(|| refusal(&RegisterError::Unknown(id)))?;
        self.directory.seen(id, Sighting::Agent);
        let waited = Duration::from_secs(request.waited_seconds.into());
        let (order, why) = match order(&view, waited, self.agent_wait) {
            Order::Wait(why) => (api::Order::Wait, why),
            Order::Reboot(why) => (api::Order::Reboot, why),
        };
        Ok(api::PollResponse {
            order: order.into(),
            reason: why.to_string(),
            poll_seconds: u32::try_from(self.poll.as_secs()).unwrap_or(u32::MAX),
            ..api::PollResponse::default()
        })
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
        let result = self.reconcile(request.into_inner()).await;
        let result = result.map(|()| api::ReconcileServerAddressesResponse {});
        self.counted("ReconcileServerAddresses", result)
    }

    async fn heartbeat(
        &self,
        _: Request<api::HeartbeatRequest>,
    ) -> Result<Response<api::HeartbeatResponse>, Status> {
        self.counted(
            "Heartbeat",
            Err(Status::failed_precondition("no wipe was ordered")),
        )
    }

    async fn mark_server_as_wiped(
        &self,
        _: Request<api::MarkServerAsWipedRequest>,
    ) -> Result<Response<api::MarkServerAsWipedResponse>, Status> {
        self.counted(
            "MarkServerAsWiped",
            Err(Status::failed_precondition("no wipe was ordered")),
        )
    }

    async fn poll(&self, request: Request<api::PollRequest>) -> Result<Response<api::PollResponse>, Status> {
        let result = self.next(request.into_inner()).await;
        self.counted("Poll", result)
    }
}

fn invalid(error: &dyn std::error::Error) -> Status {
    Status::invalid_argument(error.to_string())
}

fn unavailable(error: &Unavailable) -> Status {
    Status::unavailable(error.to_string())
}

fn refusal(error: &RegisterError) -> Status {
    let code = match error {
        RegisterError::Unavailable(_) | RegisterError::Failed { .. } => Code::Unavailable,
        RegisterError::NotTaken(_) => Code::FailedPrecondition,
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
