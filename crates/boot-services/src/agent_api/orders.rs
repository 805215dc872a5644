//! What an agent is ordered, and what it says of the wipe that it was ordered.

use std::time::Duration;

use agent_protocol::{Token, api, certificate, server_id};
use lifecycle::boot::{Credentials, Order, order};
use tonic::Status;

use super::{AgentApi, invalid, refusal, unavailable};
use crate::{Directory, Progress, RegisterError, Sighting};

/// Most bytes of what an agent says it is doing; more is cut.
const MAX_DOING: usize = 200;

impl<D: Directory> AgentApi<D> {
    pub(super) async fn next(
        &self,
        token: Option<Token>,
        request: api::PollRequest,
    ) -> Result<api::PollResponse, Status> {
        let id = server_id(&request.uuid).map_err(|error| invalid(&error))?;
        self.admit(id)?;
        let view = self.directory.view(id).await;
        let view = view.map_err(|error| unavailable(&error))?;
        let view = view.ok_or_else(|| refusal(&RegisterError::Unknown(id)))?;
        self.directory.seen(id, Sighting::Agent);
        let waited = Duration::from_secs(request.waited_seconds.into());
        let holder = token.filter(|token| self.directory.holds(id, &view, Some(token)));
        let shown = Credentials {
            mac: request.boot_mac.parse().ok(),
            token: holder.is_some(),
        };
        let mut answer = api::PollResponse {
            poll_seconds: u32::try_from(self.poll.as_secs()).unwrap_or(u32::MAX),
            ..api::PollResponse::default()
        };
        match (order(&view, shown, waited, self.agent_wait), holder) {
            (Order::Reboot(why), _) => {
                answer.set_order(api::Order::Reboot);
                answer.reason = why.to_string();
            }
            (Order::Wipe(generation), Some(token)) => {
                let ordered = self.directory.order_wipe(id, token, generation).await;
                match ordered.map_err(|error| refusal(&error))? {
                    Ok(wipe) => {
                        answer.set_order(api::Order::Wipe);
                        answer.reason = "its disks are to be wiped".into();
                        answer.wipe = Some(wipe.into());
                    }
                    Err(why) => answer.reason = why.to_string(),
                }
            }
            (Order::TakeToken | Order::Wipe(_), _) => {
                answer.reason = "its window is open".into();
                let token = view
                    .window
                    .as_ref()
                    .and_then(|window| self.directory.token(id, window));
                answer.token = token.map(|token| token.secret().to_owned()).unwrap_or_default();
            }
            (Order::Wait(why), _) => answer.reason = why.to_string(),
        }
        Ok(answer)
    }

    pub(super) async fn wiping(
        &self,
        token: Option<Token>,
        request: api::HeartbeatRequest,
    ) -> Result<api::HeartbeatResponse, Status> {
        let id = server_id(&request.uuid).map_err(|error| invalid(&error))?;
        self.admit(id)?;
        let plain: String = request.doing.chars().filter(|char| !char.is_control()).collect();
        let progress = Progress {
            generation: request.generation,
            percent: request.percent.min(100),
            doing: plain[..plain.floor_char_boundary(MAX_DOING)].into(),
        };
        let recorded = self.directory.wiping(id, token, progress).await;
        recorded.map_err(|error| refusal(&error))?;
        self.directory.seen(id, Sighting::Agent);
        Ok(api::HeartbeatResponse {})
    }

    pub(super) async fn wiped(
        &self,
        token: Option<Token>,
        request: api::MarkServerAsWipedRequest,
    ) -> Result<api::MarkServerAsWipedResponse, Status> {
        let id = server_id(&request.uuid).map_err(|error| invalid(&error))?;
        self.admit(id)?;
        let certificate = certificate(request).map_err(|error| invalid(&error))?;
        let recorded = self.directory.wiped(id, token, certificate).await;
        let verdict = recorded.map_err(|error| refusal(&error))?;
        self.directory.seen(id, Sighting::Agent);
        Ok(api::MarkServerAsWipedResponse {
            done: verdict.is_ok(),
            reason: verdict.err().unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests;
