//! Starts QEMU processes, all from one thread that lives as long as the back end.
//!
//! QEMU must not outlive the simulator, however that ends: the kernel kills it (`prctl(PR_SET_PDEATHSIG)`, set by
//! `setpriv`). That happens when the *thread* that made the process ends, and tokio's threads come and go.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc;

use hardware_types::BootMode;
use jiff::Timestamp;
use tokio::net::UnixListener;
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::arguments::{SERIAL_LOG, UEFI_VARS, arguments};
use crate::config::{DiskConfig, MachineConfig, QemuConfig};
use crate::machine::BootDevice;

const UEFI_VARS_TEMPLATE: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";
/// What the last QEMU wrote to its standard error, in the machine's folder.
const STDERR_LOG: &str = "qemu-stderr.log";
/// How much of it an error shows, in bytes.
const STDERR_SHOWN: usize = 2000;

/// A QEMU that cannot be started.
#[derive(Debug, thiserror::Error)]
pub(super) enum LaunchError {
    #[error("cannot {doing} {path}: {source}{hint}")]
    File {
        doing: &'static str,
        path: String,
        source: io::Error,
        hint: &'static str,
    },
    #[error("there is no interface {0:?} in this network namespace")]
    NoTap(String),
    #[error("cannot run setpriv: {0}; apt-get install -y --no-install-recommends util-linux")]
    Setpriv(io::Error),
    #[error("its launcher ended")]
    Ended,
}

/// What the machine is.
#[derive(Debug, Clone)]
pub(super) struct Blueprint {
    pub(super) name: String,
    pub(super) machine: MachineConfig,
    pub(super) qemu: QemuConfig,
}

/// A QEMU that runs, paused, and connects to `qmp`.
pub(super) struct Launched {
    pub(super) child: Child,
    pub(super) qmp: UnixListener,
}

struct Job {
    order: Vec<BootDevice>,
    date: Timestamp,
    answer: oneshot::Sender<Result<Launched, LaunchError>>,
}

/// The thread.
pub(super) struct Launcher {
    jobs: mpsc::Sender<Job>,
}

impl Launcher {
    /// Starts the thread; it ends with this value. Must be called within a tokio runtime.
    pub(super) fn start(blueprint: Blueprint) -> io::Result<Self> {
        let (jobs, received) = mpsc::channel::<Job>();
        let runtime = Handle::current();
        std::thread::Builder::new()
            .name("qemu-launcher".into())
            .spawn(move || {
                let _context = runtime.enter();
                for Job { order, date, answer } in received {
                    // nobody waits any more: the process is dropped, which kills it
                    answer.send(blueprint.launch(&order, date)).ok();
                }
            })?;
        Ok(Self { jobs })
    }

    /// Starts a QEMU that boots `order`; `date` goes to the serial log.
    pub(super) async fn launch(
        &self,
        order: Vec<BootDevice>,
        date: Timestamp,
    ) -> Result<Launched, LaunchError> {
        let (answer, launched) = oneshot::channel();
        let job = Job { order, date, answer };
        self.jobs.send(job).map_err(|_| LaunchError::Ended)?;
        launched.await.map_err(|_| LaunchError::Ended)?
    }
}

impl Blueprint {
    /// The end of what the last QEMU wrote to its standard error.
    pub(super) fn stderr(&self) -> String {
        let bytes = fs::read(self.qemu.path(STDERR_LOG)).unwrap_or_default();
        let shown = &bytes[bytes.len().saturating_sub(STDERR_SHOWN)..];
        String::from_utf8_lossy(shown).trim().to_owned()
    }

    fn launch(&self, order: &[BootDevice], date: Timestamp) -> Result<Launched, LaunchError> {
        let folder = &self.qemu.folder;
        fs::create_dir_all(folder).map_err(failed("make the folder", folder))?;
        self.check_taps()?;
        for disk in &self.qemu.disks {
            make_disk(&self.qemu.path(&disk.file), disk)?;
        }
        if self.machine.firmware == BootMode::Uefi {
            make_uefi_vars(&self.qemu.path(UEFI_VARS))?;
        }
        let qmp = listen(&self.qemu.qmp_socket())?;
        let stderr = self.qemu.path(STDERR_LOG);
        let stderr = File::create(&stderr).map_err(failed("write", &stderr))?;
        note_boot(&self.qemu.path(SERIAL_LOG), order, date)?;
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "qemu-system-x86_64"])
            .args(arguments(&self.name, &self.machine, &self.qemu, order))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            // a Ctrl-C is the simulator's
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(LaunchError::Setpriv)?;
        Ok(Launched { child, qmp })
    }

    /// QEMU would make a missing tap itself, in no bridge.
    fn check_taps(&self) -> Result<(), LaunchError> {
        if self.qemu.taps.is_empty() {
            return Ok(());
        }
        // not /sys/class/net: it shows the namespace it was mounted in
        let path = Path::new("/proc/self/net/dev");
        let table = fs::read_to_string(path).map_err(failed("read", path))?;
        let exists = |tap: &str| {
            table
                .lines()
                .any(|line| line.split_once(':').is_some_and(|(name, _)| name.trim() == tap))
        };
        match self.qemu.taps.iter().find(|tap| !exists(tap)) {
            Some(tap) => Err(LaunchError::NoTap(tap.clone())),
            None => Ok(()),
        }
    }
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LaunchError {
    let path = path.display().to_string();
    move |source| LaunchError::File {
        doing,
        path,
        source,
        hint: "",
    }
}

/// Makes a sparse file; one that is there is left as it is.
fn make_disk(path: &Path, disk: &DiskConfig) -> Result<(), LaunchError> {
    let file = match File::create_new(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        file => file.map_err(failed("make the disk", path))?,
    };
    file.set_len(disk.size_mib << 20).map_err(|error| {
        // the next start must not take it for the disk
        fs::remove_file(path).ok();
        failed("size the disk", path)(error)
    })
}

/// Copies the empty variables once per machine; what the firmware keeps in them lasts.
fn make_uefi_vars(path: &Path) -> Result<(), LaunchError> {
    if path.exists() {
        return Ok(());
    }
    let mut copy = PathBuf::from(path);
    copy.set_extension("new");
    fs::copy(UEFI_VARS_TEMPLATE, &copy).map_err(|source| LaunchError::File {
        doing: "copy the empty UEFI variables",
        path: UEFI_VARS_TEMPLATE.into(),
        source,
        hint: "; apt-get install -y --no-install-recommends ovmf",
    })?;
    fs::rename(&copy, path).map_err(failed("make the UEFI variables", path))
}

/// Listens where QEMU will connect; a socket that an earlier one left is replaced.
fn listen(path: &Path) -> Result<UnixListener, LaunchError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("remove the old socket", path)(error));
        }
        _ => {}
    }
    let listen = || {
        let listener = StdUnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        UnixListener::from_std(listener)
    };
    listen().map_err(failed("listen at", path))
}

fn note_boot(path: &Path, order: &[BootDevice], date: Timestamp) -> Result<(), LaunchError> {
    let order: Vec<_> = order.iter().map(|device| device.as_str()).collect();
    let order = order.join(", ");
    let note = || {
        let mut log = File::options().append(true).create(true).open(path)?;
        writeln!(log, "\n--- {date:.0} power on, boot order {order} ---")
    };
    note().map_err(failed("write", path))
}

#[cfg(test)]
mod tests;
