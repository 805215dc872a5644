//! The simulator of a bench: a process of its own, so that its work is not ours.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// The user that every BMC knows.
pub(crate) const USER: &str = "admin";
/// Its password.
pub(crate) const PASSWORD: &str = "bench-secret";
/// IPMI's own port: not every peer can be told another one.
pub(crate) const IPMI_PORT: u16 = 623;
const REDFISH_PORT: u16 = 8443;
const CONTROL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 20, 255, 254)), 6200);

/// A running simulator.
pub(crate) struct Sim {
    _child: Child,
    _folder: TempDir,
    machines: u16,
}

impl Sim {
    /// Starts one with so many BMCs, each on a loopback address of its own.
    pub(crate) async fn start(machines: u16) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let config = folder.path().join("fleet.yaml");
        std::fs::write(&config, fleet(machines))?;
        let log = folder.path().join("log");
        let mut program = std::env::current_exe()?;
        program.set_file_name("bmc-sim");
        let mut child = Command::new(&program)
            .arg("--config")
            .arg(&config)
            .args(["--control", &CONTROL.to_string()])
            .env("RUST_LOG", "warn")
            .stderr(Stdio::from(std::fs::File::create(&log)?))
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let deadline = Instant::now() + Duration::from_mins(1);
        while TcpStream::connect(CONTROL).await.is_err() {
            if let Some(status) = child.try_wait()? {
                bail!(
                    "the simulator ended ({status}): {}",
                    std::fs::read_to_string(&log)?
                );
            }
            anyhow::ensure!(
                Instant::now() < deadline,
                "the simulator does not answer at {CONTROL}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(Self {
            _child: child,
            _folder: folder,
            machines,
        })
    }

    /// The addresses of its BMCs.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> + use<> {
        (0..self.machines).map(address)
    }

    /// The Redfish services of its BMCs.
    pub(crate) fn redfish(&self) -> impl Iterator<Item = String> + use<> {
        self.addresses()
            .map(|address| format!("{address}:{REDFISH_PORT}"))
    }
}

fn address(machine: u16) -> Ipv4Addr {
    let [high, low] = machine.to_be_bytes();
    Ipv4Addr::new(127, 20, high, low)
}

fn fleet(machines: u16) -> String {
    let mut yaml =
        format!("version: 1\nusers:\n- {{name: {USER}, password: {PASSWORD}, role: administrator}}\nbmcs:\n");
    for machine in 0..machines {
        let address = address(machine);
        let uuid = format!("00000000-0000-4000-8000-{machine:012x}");
        writeln!(
            yaml,
            "- name: m{machine}\n  ipmi: {{listen: \"{address}:{IPMI_PORT}\", max-sessions: 16}}\n  \
             redfish: {{listen: \"{address}:{REDFISH_PORT}\", tls: true, max-sessions: 64}}\n  \
             machine: {{uuid: {uuid}, manufacturer: M, model: M, serial: s{machine}, firmware: uefi}}"
        )
        .ok();
    }
    yaml
}
