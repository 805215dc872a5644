//! The host behind a simulated BMC that runs no software of its own: this test plays its firmware and its agent.

use std::time::Duration;

use agent_protocol::Token;
use agent_protocol::api::agent_client::AgentClient;
use agent_protocol::api::{MarkServerAsWipedRequest, Order, PollRequest};
use anyhow::Context;
use testbed::until;
use tonic::Request;
use tonic::transport::{Channel, Endpoint};

use crate::registration::{mac, report};

/// Calls of one machine are limited, and a manager learns of a window a little later.
const SOON: Duration = Duration::from_secs(30);

/// A machine without disks.
pub(super) struct Player {
    id: String,
    agent: AgentClient<Channel>,
}

impl Player {
    /// Reports itself, as a machine does that somebody switched on once.
    pub(super) async fn registers(services: &str, id: &str) -> anyhow::Result<Self> {
        let endpoint = Endpoint::from_shared(services.to_owned())?;
        let agent = AgentClient::new(endpoint.connect_lazy());
        let report = report(id, mac(0xa), "SN-A");
        let registers = || async { Ok(agent.clone().create_server(report.clone()).await.ok().map(drop)) };
        until("it is registered", SOON, registers).await?;
        Ok(Self { id: id.into(), agent })
    }

    /// Asks what to boot, runs the agent with the token of the script, and wipes as it is told.
    pub(super) async fn boots_and_wipes(&self, services: &str) -> anyhow::Result<()> {
        let mac = mac(0xa).to_string();
        let url = format!(
            "{services}/ipxe?uuid={}&mac={}&arch=x86_64",
            self.id,
            mac.replace(':', "-")
        );
        let script = reqwest::get(url).await?.error_for_status()?.text().await?;
        let token = script
            .split("sidero.token=")
            .nth(1)
            .and_then(|rest| rest.split_whitespace().next());
        let token = token
            .and_then(Token::new)
            .with_context(|| format!("no token in: {script}"))?;
        let question = PollRequest {
            uuid: self.id.clone(),
            boot_mac: mac,
            waited_seconds: 1,
        };
        let ordered = || async {
            let answer = self
                .agent
                .clone()
                .poll(called(&token, question.clone())?)
                .await?
                .into_inner();
            anyhow::ensure!(answer.order() == Order::Wipe, "{answer:?}");
            Ok(answer.wipe)
        };
        let wipe = until("it is ordered to wipe", SOON, ordered).await?;
        let done = MarkServerAsWipedRequest {
            uuid: self.id.clone(),
            generation: wipe.generation,
            disks: Vec::new(),
        };
        let answer = self
            .agent
            .clone()
            .mark_server_as_wiped(called(&token, done)?)
            .await?
            .into_inner();
        anyhow::ensure!(answer.done, "{answer:?}");
        Ok(())
    }
}

fn called<T>(token: &Token, message: T) -> anyhow::Result<Request<T>> {
    let mut request = Request::new(message);
    request
        .metadata_mut()
        .insert("authorization", token.bearer().parse()?);
    Ok(request)
}
