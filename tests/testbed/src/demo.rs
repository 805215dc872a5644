//! The main job on one machine, as far as it is built: two simulated machines are discovered and wiped, and a real
//! Cluster API takes a Cluster up to what it waits for.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use crate::first_cluster::{self, FirstCluster};
use crate::first_machines::FirstMachines;
use crate::lab::Machine;
use crate::{Bed, Lab, Scope, Tools};

/// What the machines reported of themselves.
const INVENTORY: &str = "custom-columns=SERVER:.metadata.name,MANUFACTURER:.spec.hardware.system.manufacturer,\
    SERIAL:.spec.hardware.system.serialNumber,CORES:.spec.hardware.compute.totalCoreCount,\
    DISK:.spec.hardware.storage.devices[0].deviceName,DISKSERIAL:.spec.hardware.storage.devices[0].serialNumber,\
    MAC:.spec.hardware.network.interfaces[0].mac,ADDRESS:.status.addresses[0].address";
/// What their wipes certify.
const CERTIFICATE: &str = "custom-columns=SERVER:.metadata.name,WIPED:.status.wipe.disks[0].serialNumber,\
    RESULT:.status.wipe.disks[0].result,DISCARDED:.status.wipe.disks[0].discarded,\
    ZEROED:.status.wipe.disks[0].zeroedBytes,REMAINS:.status.wipe.disks[0].remains";
/// How long one step of the job may take, on a noisy machine.
const PATIENCE: Duration = Duration::from_mins(2);

/// Shows the main job on this machine, with real parts. Needs root (network namespaces).
#[derive(Debug, Parser)]
#[command(name = "demo", bin_name = "cargo xtask demo")]
pub struct Demo {
    /// Leave everything running at the end, until Ctrl-C.
    #[arg(long)]
    keep: bool,
}

impl Demo {
    /// Runs it until it ends or is interrupted; either way nothing is left behind.
    pub fn run(self) -> ExitCode {
        let runtime = match tokio::runtime::Runtime::new() {
            Ok(runtime) => runtime,
            Err(error) => return failed(&error.into()),
        };
        // Dropping the show's future stops and removes all that it started. Signals are listened to before it begins.
        let outcome = runtime.block_on(async {
            let interrupted = interrupted()?;
            tokio::select! {
                biased;
                () = interrupted => Ok(false),
                shown = self.show() => shown.map(|()| true),
            }
        });
        match outcome {
            Ok(true) => ExitCode::SUCCESS,
            Err(error) => failed(&error),
            Ok(false) => {
                say("interrupted: everything is stopped and removed");
                ExitCode::from(130)
            }
        }
    }

    async fn show(&self) -> anyhow::Result<()> {
        let start = Instant::now();
        let tell = move |line: &str| say(&format!("{:>5.1} s  {line}", start.elapsed().as_secs_f64()));
        let bed = Bed::start(Tools::from_env()?, &tell).await?;
        let observer = bed.observe(Scope::Run).await?;
        let lab = Lab::start(&bed).await?;
        tell(&format!(
            "the provisioning network is up: our end is {}, the site's DHCP server {}",
            Lab::BOOT_SERVICES,
            Lab::SITE
        ));
        let machines = FirstMachines::plug_in(&bed, lab).await?;
        tell(
            "two machines are plugged in, BIOS behind an IPMI and UEFI behind a Redfish BMC; the manager is up",
        );
        machines.switch_on(&bed, PATIENCE).await?;
        tell("somebody switched both on: they booted the agent from the network and registered:");
        say(&kubectl(&bed, &["get", "servers", "-o", INVENTORY])?);
        machines.accept(&bed, PATIENCE).await?;
        tell(
            "a Secret is applied, both Servers are accepted with their BMCs; their agents wiped the disks, both are off, read back:",
        );
        say(&kubectl(&bed, &["get", "servers"])?);
        say(&kubectl(&bed, &["get", "servers", "-o", CERTIFICATE])?);

        let cluster = FirstCluster::new("default", "first");
        cluster.apply(&bed).await?;
        tell("Cluster first with a Talos control-plane Machine is applied");
        cluster.until_it_waits(&bed, PATIENCE).await?;
        tell("Cluster API has reconciled it up to what it waits for:");
        for object in cluster.objects() {
            say(&object.story(bed.client()).await);
        }
        let looked = observer.finish().await?;
        tell(&format!(
            "the invariants were watched and none was violated: {looked}"
        ));
        say(first_cluster::WHAT_IS_MISSING);
        self.keep_running(&bed).await
    }

    async fn keep_running(&self, bed: &Bed) -> anyhow::Result<()> {
        if !self.keep {
            return Ok(());
        }
        say(&format!(
            "Everything keeps running until Ctrl-C. In another terminal:\n\
             \n    export KUBECONFIG={}\
             \n    export PATH={}:$PATH\
             \n    kubectl get servers\
             \n    kubectl annotate server {} metal.sidero.dev/power=cycle\
             \n    kubectl describe server {}\
             \n    ipmitool -I lanplus -C 17 -H {} -U admin -P admin-secret power status\
             \n    curl http://{}:6200/power-log\
             \n    kubectl get clusters,machines,talosconfigs\
             \n    kubectl describe cluster first\
             \n    kubectl --kubeconfig {} get namespaces\
             \n\nLogs are in {}",
            bed.management.kubeconfig().display(),
            bed.tools().folder().join("bin").display(),
            Machine::First.name(),
            Machine::First.name(),
            bed.run().network().inside(),
            bed.run().network().inside(),
            bed.workload.kubeconfig().display(),
            bed.run().folder().join("log").display(),
        ));
        std::future::pending().await
    }
}

/// Listens from now on; the future ends when somebody asks this process to end.
fn interrupted() -> anyhow::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    })
}

fn kubectl(bed: &Bed, args: &[&str]) -> anyhow::Result<String> {
    let mut command = std::process::Command::new(bed.tools().program("kubectl"));
    let output = command
        .env("KUBECONFIG", bed.management.kubeconfig())
        .args(args)
        .output()?;
    anyhow::ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("the demo failed: {error:#}");
    ExitCode::FAILURE
}

// The demo's output is what it is for.
#[expect(clippy::print_stdout)]
fn say(line: &str) {
    println!("{line}");
}
