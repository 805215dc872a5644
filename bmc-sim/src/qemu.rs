//! A host that is a QEMU process: one per power-on, with a boot order of its own.

mod arguments;
mod launch;
mod qmp;

use std::io;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use tokio::process::Child;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_util::sync::CancellationToken;

pub use self::arguments::arguments;
use self::launch::{Blueprint, LaunchError, Launched, Launcher};
use self::qmp::Qmp;
use crate::backend::{Backend, HostEvent, HostEvents, Run};
use crate::clock::Clock;
use crate::config::{MachineConfig, QemuConfig};
use crate::machine::BootDevice;

/// How long a QEMU may take until it speaks; 0.1 s is usual.
const START: Duration = Duration::from_secs(30);
/// How long a QEMU that closed its socket may take to end.
const END: Duration = Duration::from_secs(1);

/// The back end: it queues what its [`Supervisor`] does.
pub struct Qemu {
    commands: UnboundedSender<Command>,
}

enum Command {
    PowerOn { run: Run, order: Vec<BootDevice> },
    PowerOff,
    ShutDown,
}

impl Backend for Qemu {
    fn power_on(&self, run: Run, order: &[BootDevice]) {
        let order = order.to_vec();
        self.send(Command::PowerOn { run, order });
    }

    fn power_off(&self) {
        self.send(Command::PowerOff);
    }

    fn shut_down(&self) {
        self.send(Command::ShutDown);
    }
}

impl Qemu {
    /// A host that is off, and the supervisor that must run for it. Needs a tokio runtime; fails where the system
    /// has no thread to give.
    pub fn new(
        name: &str,
        machine: &MachineConfig,
        qemu: &QemuConfig,
        clock: Arc<Clock>,
        events: HostEvents,
    ) -> io::Result<(Self, Supervisor)> {
        let blueprint = Blueprint {
            name: name.to_owned(),
            machine: machine.clone(),
            qemu: qemu.clone(),
        };
        let (commands, received) = unbounded_channel();
        let supervisor = Supervisor {
            launcher: Launcher::start(blueprint.clone())?,
            blueprint,
            clock,
            events,
            commands: received,
            host: None,
        };
        Ok((Self { commands }, supervisor))
    }

    fn send(&self, command: Command) {
        // the supervisor ends with the fleet
        self.commands.send(command).ok();
    }
}

/// Why a host did not start.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Launch(#[from] LaunchError),
    #[error("QEMU ended at once, {status}{hint}: {stderr}", hint = hint(*.status))]
    Ended { status: ExitStatus, stderr: String },
    #[error("QEMU did not speak within {} s: {stderr}", START.as_secs())]
    Silent { stderr: String },
    #[error("cannot wait for QEMU: {0}")]
    Wait(#[from] io::Error),
}

/// What to do about an end like this.
fn hint(status: ExitStatus) -> &'static str {
    // what shells and setpriv say where there is no such program
    match status.code() {
        Some(127) => " (apt-get install -y --no-install-recommends qemu-system-x86 ipxe-qemu)",
        _ => "",
    }
}

/// A running QEMU.
struct Host {
    run: Run,
    child: Child,
    qmp: Qmp,
}

/// The task behind a [`Qemu`]: it starts and ends the processes, one after the other, since they share taps and disks.
pub struct Supervisor {
    blueprint: Blueprint,
    launcher: Launcher,
    clock: Arc<Clock>,
    events: HostEvents,
    commands: UnboundedReceiver<Command>,
    host: Option<Host>,
}

impl Supervisor {
    /// Does what is queued until `stop`; then no process is left.
    pub async fn run(mut self, stop: CancellationToken) {
        stop.run_until_cancelled(self.follow()).await;
        self.power_off().await;
    }

    async fn follow(&mut self) {
        loop {
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(Command::PowerOn { run, order }) => self.power_on(run, order).await,
                    Some(Command::PowerOff) => self.power_off().await,
                    Some(Command::ShutDown) => self.shut_down().await,
                    None => return,
                },
                event = next_event(&mut self.host) => self.host_did(event).await,
            }
        }
    }

    async fn power_on(&mut self, run: Run, order: Vec<BootDevice>) {
        self.power_off().await;
        match self.start(run, order).await {
            Ok(host) => self.host = Some(host),
            Err(error) => {
                let bmc = &self.blueprint.name;
                tracing::error!(%bmc, %error, "the host cannot be started; its power goes off");
                self.report(run, HostEvent::ShutDown);
            }
        }
    }

    async fn start(&self, run: Run, order: Vec<BootDevice>) -> Result<Host, StartError> {
        let date = self.clock.date(self.clock.now());
        let Launched { mut child, qmp } = self.launcher.launch(order, date).await?;
        let connected = async { Qmp::start(qmp.accept().await?.0).await };
        tokio::select! {
            qmp = tokio::time::timeout(START, connected) => match qmp {
                Ok(Ok(qmp)) => return Ok(Host { run, child, qmp }),
                Ok(Err(error)) => tracing::debug!(%error, "QEMU closed its socket"),
                Err(_) => return Err(StartError::Silent { stderr: self.blueprint.stderr() }),
            },
            _ = child.wait() => {}
        }
        let status = end(&mut child).await?;
        let stderr = self.blueprint.stderr();
        Err(StartError::Ended { status, stderr })
    }

    /// Over when the process is: the next one may have its taps and disks.
    async fn power_off(&mut self) {
        if let Some(mut host) = self.host.take() {
            host.kill().await;
        }
    }

    async fn shut_down(&mut self) {
        if let Some(host) = &mut self.host
            && let Err(error) = host.qmp.power_button().await
        {
            // if the process has ended, that is reported as such
            tracing::warn!(bmc = %self.blueprint.name, %error, "cannot ask the host to shut down");
        }
    }

    /// The guest shut down or reset, which stopped QEMU, or QEMU ended without being told.
    async fn host_did(&mut self, event: io::Result<HostEvent>) {
        let Some(mut host) = self.host.take() else { return };
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                let status = end(&mut host.child).await.map(|status| status.to_string()).ok();
                let (bmc, stderr) = (&self.blueprint.name, self.blueprint.stderr());
                tracing::error!(%bmc, %error, status, stderr, "QEMU ended unexpectedly; the host's power goes off");
                HostEvent::ShutDown
            }
        };
        host.kill().await;
        self.report(host.run, event);
    }

    fn report(&self, run: Run, event: HostEvent) {
        // the BMC is gone when the simulator ends
        self.events.send((run, event)).ok();
    }
}

impl Host {
    /// Ends the process and waits for its end.
    async fn kill(&mut self) {
        if let Err(error) = self.child.kill().await {
            tracing::debug!(%error, "QEMU had ended before it was killed");
        }
    }
}

/// How a QEMU ended that closed its socket; it is killed if it does not end.
async fn end(child: &mut Child) -> io::Result<ExitStatus> {
    if let Ok(status) = tokio::time::timeout(END, child.wait()).await {
        return status;
    }
    child.start_kill()?;
    child.wait().await
}

/// What the host does next; never, while there is none.
async fn next_event(host: &mut Option<Host>) -> io::Result<HostEvent> {
    match host {
        Some(host) => host.qmp.host_event().await,
        None => std::future::pending().await,
    }
}
