//! The main job on one machine, shown: a live table of the machines, and the verifier's verdict on what was done.

mod board;
mod sabotage;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::ensure;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use self::board::Board;
use self::sabotage::Sabotage;
use crate::lab::Machine;
use crate::main_job::facts::Collector;
use crate::main_job::{self, Audience, Job, Step};
use crate::{Bed, Scope, Tools};

/// What the machines reported of themselves.
const INVENTORY: &str = "custom-columns=SERVER:.metadata.name,MANUFACTURER:.spec.hardware.system.manufacturer,\
    SERIAL:.spec.hardware.system.serialNumber,CORES:.spec.hardware.compute.totalCoreCount,\
    DISK:.spec.hardware.storage.devices[0].deviceName,DISKSERIAL:.spec.hardware.storage.devices[0].serialNumber,\
    MAC:.spec.hardware.network.interfaces[0].mac,ADDRESS:.status.addresses[0].address";
/// What their wipes certify.
const CERTIFICATE: &str = "custom-columns=SERVER:.metadata.name,WIPED:.status.wipe.disks[0].serialNumber,\
    RESULT:.status.wipe.disks[0].result,DISCARDED:.status.wipe.disks[0].discarded,\
    ZEROED:.status.wipe.disks[0].zeroedBytes,REMAINS:.status.wipe.disks[0].remains";

/// Shows the main job on this machine, with real parts. Needs root (network namespaces).
#[derive(Debug, Parser)]
#[command(name = "demo", bin_name = "cargo xtask demo")]
pub struct Demo {
    /// Leave everything running at the end, until Ctrl-C.
    #[arg(long)]
    keep: bool,
    /// How many machines: one for the control plane, the others are workers.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(2..=i64::from(Machine::MOST)))]
    machines: u8,
    /// Write what was seen to this file: facts, which the verifier judges.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Spoil this part of the run, to see that the verifier finds it; may be given several times.
    #[arg(long, value_name = "WHAT", value_enum)]
    sabotage: Vec<Sabotage>,
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
            let board = Board::default();
            tokio::select! {
                biased;
                () = interrupted => {
                    board.say("interrupted: everything is stopped and removed");
                    Ok(false)
                }
                shown = self.show(&board) => shown.map(|()| true),
            }
        });
        match outcome {
            Ok(true) => ExitCode::SUCCESS,
            Err(error) => failed(&error),
            Ok(false) => ExitCode::from(130),
        }
    }

    async fn show(&self, board: &Board) -> anyhow::Result<()> {
        let tell = |line: &str| board.tell(line);
        let bed = Bed::start(Tools::from_env()?, &tell).await?;
        let observer = bed.observe(Scope::Run).await?;
        let mut show = Show {
            board,
            sabotage: &self.sabotage,
            facts: None,
        };
        let job = main_job::run(&bed, self.machines.into(), &mut show).await?;
        let json = self.json.clone();
        let path = json.unwrap_or_else(|| bed.run().folder().join("log/facts.json"));
        if let Some(facts) = &show.facts {
            facts.write(&job, &path).await?;
        }
        board.end();
        board.tell("the verifier judges what was seen:");
        let verdict = main_job::verify(&path)?;
        board.say(&verdict.text);
        match observer.finish().await {
            Ok(looked) => board.tell(&format!(
                "the invariants were watched meanwhile and none was violated: {looked}"
            )),
            Err(violations) if verdict.good => return Err(violations),
            // of a run that was not good anyway the events before it are too much
            Err(violations) => {
                let text = format!("{violations:#}");
                let first: Vec<_> = text.lines().take(2).collect();
                board.say(&format!(
                    "the observer of the invariants found:\n{}",
                    first.join("\n")
                ));
            }
        }
        ensure!(verdict.good, "the main job was not done as it should be");
        self.end(&job, board).await
    }

    /// What a spectator may try, and how it ends.
    async fn end(&self, job: &Job<'_>, board: &Board) -> anyhow::Result<()> {
        if !self.keep {
            board.say("Everything is stopped and removed now. `cargo xtask demo --keep` leaves it running, to try things.");
            return Ok(());
        }
        let (bed, first, second) = (job.bed, Machine::FIRST, Machine::SECOND);
        let inside = bed.run().network().inside();
        board.say(&format!(
            "Everything keeps running until Ctrl-C, which stops and removes it. In another terminal:\n\
             \n    export KUBECONFIG={}\
             \n    export PATH={}:$PATH\
             \n    kubectl get servers,serverclasses,environments\
             \n    kubectl describe server {}\
             \n    kubectl annotate server {} metal.sidero.dev/power=cycle\
             \n    kubectl get clusters,machines,metalmachines,serverbindings\
             \n    kubectl --kubeconfig {} get nodes\
             \n    ipmitool -I lanplus -C 17 -H {inside} -p {} -U admin -P admin-secret power status\
             \n    curl -k -u admin:admin-secret https://{inside}:{}/redfish/v1/Systems/system0\
             \n    curl http://{inside}:6200/power-log\
             \n\nLogs and the machines' consoles are in {}",
            bed.management.kubeconfig().display(),
            bed.tools().folder().join("bin").display(),
            first.name(),
            first.name(),
            bed.workload.kubeconfig().display(),
            first.bmc_port(),
            second.bmc_port(),
            bed.run().folder().join("log").display(),
        ));
        std::future::pending().await
    }
}

/// Who watches the main job in the demo.
struct Show<'a> {
    board: &'a Board,
    sabotage: &'a [Sabotage],
    facts: Option<Collector>,
}

impl Audience for Show<'_> {
    fn tell(&mut self, line: &str) {
        self.board.tell(line);
    }

    async fn after(&mut self, step: Step, job: &Job<'_>) -> anyhow::Result<()> {
        for sabotage in self.sabotage.iter().filter(|sabotage| sabotage.when() == step) {
            self.board.tell(&format!("SABOTAGE: {}", sabotage.what()));
            sabotage.commit(job).await?;
        }
        self.facts
            .get_or_insert_with(|| Collector::start(job))
            .after(step, job)?;
        let names = |machines: &[Machine]| {
            let names = machines.iter().map(|machine| machine.bmc());
            names.collect::<Vec<_>>().join(", ")
        };
        let workers = names(&job.all[1..]);
        match step {
            Step::PluggedIn => {
                self.board.watch(job);
                let count = job.all.len();
                self.board.tell(&format!(
                    "{count} machines are plugged in, off, their disks used: BIOS behind IPMI, UEFI behind Redfish"
                ));
            }
            Step::Registered => {
                self.board
                    .tell("all booted the agent from the network and are Servers:");
                self.board
                    .say(&job.bed.kubectl(&["get", "servers", "-o", INVENTORY])?);
            }
            Step::Available => {
                self.board
                    .tell("their agents wiped the disks, all are off, read back, and Available:");
                self.board
                    .say(&job.bed.kubectl(&["get", "servers", "-o", CERTIFICATE])?);
            }
            Step::Running => {
                self.board
                    .tell("the Cluster took all of them; they installed, rebooted, and are its Nodes:");
                self.board.say(
                    &job.bed
                        .kubectl(&["get", "machines,metalmachines,serverbindings"])?,
                );
                self.board.say(&job.bed.workload_kubectl(&["get", "nodes"])?);
            }
            Step::Returned => self.board.tell(&format!(
                "{workers}: switched off before the Machine was gone, wiped, and back in the pool"
            )),
            Step::RunningAgain => self
                .board
                .tell(&format!("{workers}: taken again, installed, a new Node")),
            Step::Deleted => {
                self.board
                    .tell("the Cluster is gone, and all machines are wiped and back in the pool:");
                self.board.say(&job.bed.kubectl(&["get", "servers"])?);
            }
        }
        Ok(())
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

fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("the demo failed: {error:#}");
    ExitCode::FAILURE
}
