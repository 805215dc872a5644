//! Power status of many BMCs: by our drivers, FreeIPMI, ipmitool, and bare HTTP requests.

use std::net::Ipv4Addr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use ipmi::session::console::Timing;
use ipmi::{CipherSuite, Privilege};
use power_manager::driver::{IpmiBmc, IpmiCredentials, RedfishBmc};
use power_manager::{Access, Bmc, Fence, Fenced, Gate};
use redfish_client::{Credentials, Options, Secret, TlsPolicy, Transport};
use tokio::process::Command;

use crate::sim::{IPMI_PORT, PASSWORD, Sim, USER};
use crate::table::Table;

/// BMCs that are asked at the same time: FreeIPMI's default fanout, and ours here.
const FANOUT: usize = 64;
/// Processes of ipmitool at the same time: more only wait for the two cores.
const PROCESSES: u16 = 8;
const SYSTEM: &str = "/redfish/v1/Systems/system0";

pub(crate) async fn run(machines: u16, rounds: u16) -> anyhow::Result<Table> {
    let sim = Sim::start(machines).await?;
    let mut table = Table::default();
    table.group(format!(
        "IPMI power status of {machines} BMCs, suite 17: open, ask, close"
    ));
    for _ in 0..rounds {
        table.add("our driver", timed(ipmi(&sim)).await?);
        table.add("FreeIPMI ipmipower --stat -I 17", timed(freeipmi(&sim)).await?);
        let name = format!("xargs -P {PROCESSES} ipmitool -C 17");
        table.add(&name, timed(ipmitool(&sim)).await?);
    }
    table.group(format!(
        "Redfish power state of {machines} BMCs, TLS, connection and login kept"
    ));
    let transport = Transport::new(&TlsPolicy::Insecure)?;
    let mut ours: Vec<_> = sim
        .redfish()
        .map(|host| redfish(&transport, &host))
        .collect::<Result<_, _>>()?;
    let bare = Bare::new(&sim)?;
    // Log-ins and handshakes are not what is measured here.
    read_all(&mut ours).await?;
    bare.read_all().await?;
    for _ in 0..rounds {
        table.add("bare reqwest GET of the System", timed(bare.read_all()).await?);
        table.add("our driver", timed(read_all(&mut ours)).await?);
    }
    Ok(table)
}

async fn timed(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<Duration> {
    let start = Instant::now();
    work.await?;
    Ok(start.elapsed())
}

/// A fence that never refuses: there is one replica.
struct Open;

impl Fence for Open {
    fn check(&self, _access: Access) -> Result<(), Fenced> {
        Ok(())
    }
}

fn gate() -> Gate {
    Gate::new(Arc::new(Open))
}

async fn ipmi(sim: &Sim) -> anyhow::Result<()> {
    let ask = async |address: Ipv4Addr| -> anyhow::Result<()> {
        let credentials = IpmiCredentials::new(USER, PASSWORD.as_bytes(), None, Privilege::Administrator)?;
        let suites = vec![CipherSuite::Suite17];
        let host = address.to_string();
        let mut bmc = IpmiBmc::new(&host, IPMI_PORT, credentials, suites, Timing::default(), gate());
        bmc.read(false).await.with_context(|| host.clone())?;
        bmc.close().await;
        Ok(())
    };
    stream::iter(sim.addresses())
        .map(ask)
        .buffer_unordered(FANOUT)
        .try_collect()
        .await
}

async fn freeipmi(sim: &Sim) -> anyhow::Result<()> {
    let hosts: Vec<_> = sim.addresses().map(|address| address.to_string()).collect();
    let mut command = Command::new("ipmipower");
    command.args([
        "--stat",
        "-D",
        "LAN_2_0",
        "-I",
        "17",
        "-u",
        USER,
        "-p",
        PASSWORD,
        "-F",
        &FANOUT.to_string(),
    ]);
    let output = output(command.args(["-h", &hosts.join(",")])).await?;
    answered(&output, ": off", hosts.len(), "ipmipower")
}

async fn ipmitool(sim: &Sim) -> anyhow::Result<()> {
    let hosts: Vec<_> = sim.addresses().map(|address| address.to_string()).collect();
    let script = format!(
        "printf '%s\\n' {} | xargs -P {PROCESSES} -I HOST \
         ipmitool -I lanplus -C 17 -H HOST -U {USER} -P {PASSWORD} chassis power status",
        hosts.join(" ")
    );
    let output = output(Command::new("sh").args(["-c", &script])).await?;
    answered(&output, "Chassis Power is off", hosts.len(), "ipmitool")
}

async fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .await
        .context("cannot start a peer")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "{}: {text}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(text)
}

/// A peer that fails fast would look fast.
fn answered(output: &str, line: &str, machines: usize, peer: &str) -> anyhow::Result<()> {
    let answers = output.lines().filter(|text| text.contains(line)).count();
    ensure!(
        answers == machines,
        "{peer} read {answers} of {machines} machines:\n{output}"
    );
    Ok(())
}

fn redfish(transport: &Transport, host: &str) -> anyhow::Result<RedfishBmc> {
    let endpoint = format!("redfish://{host}{SYSTEM}").parse()?;
    let credentials = Credentials {
        username: USER.into(),
        password: Secret::new(PASSWORD),
    };
    Ok(RedfishBmc::new(
        transport.clone(),
        endpoint,
        credentials,
        Options::default(),
        gate(),
    ))
}

async fn read_all(bmcs: &mut [RedfishBmc]) -> anyhow::Result<()> {
    let read = async |bmc: &mut RedfishBmc| bmc.read(false).await.map(|_| ()).map_err(anyhow::Error::from);
    stream::iter(bmcs.iter_mut())
        .map(read)
        .buffer_unordered(FANOUT)
        .try_collect()
        .await
}

/// The least that any Redfish client does: one GET with Basic credentials on a kept connection.
struct Bare {
    client: reqwest::Client,
    urls: Vec<String>,
}

impl Bare {
    fn new(sim: &Sim) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder()
            .tls_danger_accept_invalid_certs(true)
            .http1_only()
            .build()?;
        Ok(Self {
            client,
            urls: sim
                .redfish()
                .map(|host| format!("https://{host}{SYSTEM}"))
                .collect(),
        })
    }

    async fn read_all(&self) -> anyhow::Result<()> {
        let read = async |url: &String| -> anyhow::Result<()> {
            let response = self
                .client
                .get(url)
                .basic_auth(USER, Some(PASSWORD))
                .send()
                .await?
                .error_for_status()?;
            let system: serde_json::Value = serde_json::from_slice(&response.bytes().await?)?;
            ensure!(
                system["PowerState"] == "Off",
                "{url} says {}",
                system["PowerState"]
            );
            Ok(())
        };
        stream::iter(&self.urls)
            .map(read)
            .buffer_unordered(FANOUT)
            .try_collect()
            .await
    }
}
