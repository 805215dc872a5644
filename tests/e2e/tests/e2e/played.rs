//! A machine that a test plays: its firmware and its agent, so that it can also say what no agent would.

use std::time::Duration;

use agent_protocol::Token;
use agent_protocol::api::agent_client::AgentClient;
use agent_protocol::api::{
    DiskResult, HeartbeatRequest, MarkServerAsWipedRequest, MarkServerAsWipedResponse, Order, PollRequest,
    PollResponse, StorageDevice, StorageInformation, WipedDisk,
};
use anyhow::Context;
use hardware_types::Mac;
use testbed::{Bed, until};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::registration::report;

/// Calls of one machine are limited, and a manager learns of a window a little later.
const SOON: Duration = Duration::from_secs(30);
/// Bytes of each of its disks.
const DISK: u64 = 1 << 30;

pub(crate) struct Played {
    pub(crate) id: String,
    mac: Mac,
    services: String,
    agent: AgentClient<Channel>,
    token: Option<Token>,
}

impl Played {
    /// Reports itself, with these disks, to the boot services at this URL, as a machine does that somebody switched on.
    pub(crate) async fn registers(
        services: &str,
        id: &str,
        mac: Mac,
        disks: &[&str],
    ) -> anyhow::Result<Self> {
        let agent = AgentClient::new(Endpoint::from_shared(services.to_owned())?.connect_lazy());
        let mut report = report(id, mac, "SN-PLAYED");
        let hardware = report.hardware.as_mut().context("the report has hardware")?;
        let device = |name: &&str| StorageDevice {
            size: DISK,
            serial: serial(name),
            device_name: format!("/dev/{name}"),
            ..StorageDevice::default()
        };
        hardware.storage = Some(StorageInformation {
            devices: disks.iter().map(device).collect(),
            ..StorageInformation::default()
        });
        let registers = || async { Ok(agent.clone().create_server(report.clone()).await.ok().map(drop)) };
        until("it is registered", SOON, registers).await?;
        Ok(Self {
            id: id.into(),
            mac,
            services: services.into(),
            agent,
            token: None,
        })
    }

    /// Asks what to boot, and runs the agent with the token of the script.
    pub(crate) async fn boots(&mut self) -> anyhow::Result<()> {
        self.token = Some(self.token_of_script().await?);
        Ok(())
    }

    /// The same, as often as it takes until the script has a token.
    pub(crate) async fn boots_again(&mut self, deadline: Duration) -> anyhow::Result<()> {
        let asks = || async { self.token_of_script().await.map(Some) };
        self.token = Some(until("its script has a token", deadline, asks).await?);
        Ok(())
    }

    async fn token_of_script(&self) -> anyhow::Result<Token> {
        let mac = self.mac.to_string().replace(':', "-");
        let url = format!("{}/ipxe?uuid={}&mac={mac}&arch=x86_64", self.services, self.id);
        let script = reqwest::get(url).await?.error_for_status()?.text().await?;
        let token = script.split("sidero.token=").nth(1);
        let token = token
            .and_then(|rest| rest.split_whitespace().next())
            .and_then(Token::new);
        token.with_context(|| format!("no token in: {script}"))
    }

    fn call<T>(&self, message: T) -> anyhow::Result<Request<T>> {
        let mut request = Request::new(message);
        if let Some(token) = &self.token {
            request
                .metadata_mut()
                .insert("authorization", token.bearer().parse()?);
        }
        Ok(request)
    }

    pub(crate) async fn polls(&self) -> anyhow::Result<PollResponse> {
        let request = self.call(PollRequest {
            uuid: self.id.clone(),
            boot_mac: self.mac.to_string(),
            waited_seconds: 1,
        })?;
        Ok(self.agent.clone().poll(request).await?.into_inner())
    }

    /// Polls until it has a token, if it booted with none, and then until it is ordered to wipe; returns the generation.
    pub(crate) async fn until_ordered(&mut self) -> anyhow::Result<u64> {
        if self.token.is_none() {
            let given = || async { Ok(Token::new(&self.polls().await?.token)) };
            self.token = Some(until("a poll brings a token", SOON, given).await?);
        }
        until("a poll with the token brings the order", SOON, || async {
            let answer = self.polls().await?;
            let generation = answer.wipe.as_ref().map(|wipe| wipe.generation);
            anyhow::ensure!(answer.order() == Order::Wipe, "{answer:?}");
            Ok(generation)
        })
        .await
    }

    pub(crate) async fn beats(&self, generation: u64) -> anyhow::Result<Result<(), Status>> {
        let request = self.call(HeartbeatRequest {
            uuid: self.id.clone(),
            generation,
            percent: 50,
            doing: "/dev/sda".into(),
        })?;
        Ok(self.agent.clone().heartbeat(request).await.map(drop))
    }

    /// Reports these of its disks as wiped.
    pub(crate) async fn reports(
        &self,
        generation: u64,
        disks: &[&str],
    ) -> anyhow::Result<MarkServerAsWipedResponse> {
        let disk = |name: &&str| WipedDisk {
            device_name: format!("/dev/{name}"),
            serial: serial(name),
            size: DISK,
            result: DiskResult::Wiped.into(),
            zeroed_bytes: 2 << 20,
            ..WipedDisk::default()
        };
        let request = self.call(MarkServerAsWipedRequest {
            uuid: self.id.clone(),
            generation,
            disks: disks.iter().map(disk).collect(),
        })?;
        Ok(self
            .agent
            .clone()
            .mark_server_as_wiped(request)
            .await?
            .into_inner())
    }

    /// A human accepts it.
    pub(crate) fn accept(&self, bed: &Bed) -> anyhow::Result<()> {
        let patch = r#"{"spec":{"accepted":true}}"#;
        bed.kubectl(&["patch", "server", &self.id, "--type=merge", "-p", patch])?;
        Ok(())
    }
}

fn serial(disk: &str) -> String {
    format!("serial-{disk}")
}

/// The agent's files in the data folder of the manager with this health port: machines that a test plays boot nothing.
pub(crate) fn agent_files(bed: &Bed, port: u16) -> anyhow::Result<()> {
    let agent = bed.data_dir(port).join("env/agent-amd64");
    std::fs::create_dir_all(&agent)?;
    for file in ["vmlinuz", "initramfs.xz"] {
        std::fs::write(agent.join(file), "not booted here")?;
    }
    Ok(())
}
