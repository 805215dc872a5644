//! The command line: start a fleet, say what listens where, end on a signal.

use std::fmt::Write as _;
use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::FleetConfig;
use crate::fleet::{Fleet, Member};

/// Simulated BMCs: IPMI and Redfish over simulated machines, with faults and a power log.
#[derive(Debug, Parser)]
#[command(name = "bmc-sim", version)]
pub struct Args {
    /// The fleet file (YAML).
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Also write the power log to this file, as JSON lines, appending.
    #[arg(long, value_name = "FILE")]
    power_log: Option<PathBuf>,
    /// Serve the control API at this address. It has no authentication: whoever reaches it owns the machines.
    #[arg(long, value_name = "ADDR")]
    control: Option<SocketAddr>,
}

/// Runs until SIGTERM or SIGINT.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let config = FleetConfig::read(&args.config)?;
    let log_file = args.power_log.as_deref().map(|path| {
        let file = File::options().append(true).create(true).open(path);
        file.with_context(|| format!("cannot write the power log {}", path.display()))
    });
    let fleet = Fleet::start(config, log_file.transpose()?).await?;
    let control = match args.control {
        Some(address) => Some(fleet.serve_control(address).await?),
        None => None,
    };
    eprint!("{}", greeting(&fleet, control));
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    fleet.stop().await;
    Ok(())
}

/// How many BMCs are listed one by one.
const LISTED: usize = 20;

/// What listens where, and what to try.
fn greeting(fleet: &Fleet, control: Option<SocketAddr>) -> String {
    let mut text = String::new();
    let all = fleet.members().count();
    // writing to a String cannot fail
    writeln!(text, "bmc-sim: {all} BMC{}", if all == 1 { "" } else { "s" }).ok();
    for member in fleet.members().take(LISTED) {
        let ipmi = member
            .ipmi
            .map(|address| format!("  ipmi {address}/udp"))
            .unwrap_or_default();
        let redfish = member
            .redfish_url()
            .map(|url| format!("  redfish {url}"))
            .unwrap_or_default();
        writeln!(text, "  {}{ipmi}{redfish}", member.bmc.name()).ok();
    }
    if all > LISTED {
        writeln!(text, "  … and {} more", all - LISTED).ok();
    }
    text.push_str("try:\n");
    if let Some((member, address)) = fleet.members().find_map(|member| Some((member, member.ipmi?))) {
        let (ip, port, user) = (address.ip(), address.port(), first_user(member));
        writeln!(
            text,
            "  ipmitool -I lanplus -C 17 -H {ip} -p {port} -U {user} -a power status"
        )
        .ok();
    }
    if let Some((member, url)) = fleet
        .members()
        .find_map(|member| Some((member, member.redfish_url()?)))
    {
        writeln!(
            text,
            "  curl -k -u {} {url}/redfish/v1/Systems/system0",
            first_user(member)
        )
        .ok();
    }
    if let Some(control) = control {
        writeln!(text, "  curl http://{control}/bmcs").ok();
    }
    text
}

fn first_user(member: &Member) -> String {
    member
        .bmc
        .users()
        .iter()
        .next()
        .map(|(_, user)| user.name.clone())
        .unwrap_or_default()
}
