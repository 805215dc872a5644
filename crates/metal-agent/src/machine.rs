//! The real machine, as the kernel gives it to its first process.

use std::collections::HashSet;
use std::ffi::CStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use agent_protocol::Registration;
use hardware_types::Mac;
use hardware_types::wipe::{Certificate, WipeOrder};
use rustix::mount::{MountFlags, mount};
use rustix::system::{RebootCommand, finit_module, reboot, sethostname, uname};
use tokio::sync::watch;
use tonic::transport::{Channel, Endpoint};

use crate::Host;
use crate::arguments::{ArgumentError, Arguments};
use crate::inventory::{self, InventoryError};
use crate::modules::{Modules, modaliases};
use crate::network::{JoinError, Joined, Network, is_global};
use crate::wipe::{BlockDevice, Progress, select, wipe};

/// A kernel that panics, because this process died, restarts the machine after so many seconds.
const PANIC_SECONDS: &str = "10";
/// Loading drivers makes devices appear; the rounds end when one brings nothing new, or after so many.
const DRIVER_ROUNDS: usize = 10;
/// A device needs a moment after its driver's bus was found.
const SETTLE: Duration = Duration::from_millis(100);
/// `finit_module(2)`: the kernel unpacks the file (`linux/module.h`).
const MODULE_INIT_COMPRESSED_FILE: i32 = 4;
/// Dead connections are noticed after twice this.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// The machine that this process is the first of.
#[derive(Debug)]
pub struct Machine {
    /// What this process is called, at the begin of each line.
    name: &'static str,
    /// Where lines go, and what stands before them there.
    console: Mutex<Vec<(File, &'static str)>>,
    modules: OnceLock<Modules>,
    tried: Mutex<HashSet<PathBuf>>,
}

impl Machine {
    /// Mounts what the kernel shows and opens the console, for a first process of this name. What fails is said as soon as
    /// there is somewhere to say it.
    pub fn take_over(name: &'static str) -> Self {
        let quiet = MountFlags::NOSUID | MountFlags::NOEXEC | MountFlags::NODEV;
        let mounts = [
            ("devtmpfs", "/dev", MountFlags::NOSUID),
            ("proc", "/proc", quiet),
            ("sysfs", "/sys", quiet),
            ("tmpfs", "/run", quiet),
            ("tmpfs", "/tmp", quiet),
        ];
        let mut failures = Vec::new();
        for (kind, folder, flags) in mounts {
            let made = fs::create_dir_all(folder);
            let mounted =
                made.and_then(|()| mount(kind, folder, kind, flags, None::<&CStr>).map_err(Into::into));
            // EBUSY: the kernel did it already
            if let Err(error) = mounted.or_else(|error: io::Error| {
                if error.kind() == io::ErrorKind::ResourceBusy {
                    Ok(())
                } else {
                    Err(error)
                }
            }) {
                failures.push(format!("cannot mount {kind} on {folder}: {error}"));
            }
        }
        // level 7: kept in the kernel's log, and not shown on the console a second time
        let outputs = [("/dev/console", ""), ("/dev/kmsg", "<7>")];
        let open = |(path, level)| Some((OpenOptions::new().write(true).open(path).ok()?, level));
        let machine = Self {
            name,
            console: Mutex::new(outputs.into_iter().filter_map(open).collect()),
            modules: OnceLock::new(),
            tried: Mutex::default(),
        };
        fs::write("/proc/sys/kernel/panic", PANIC_SECONDS).ok();
        machine.say(&format!("{name} {}", env!("CARGO_PKG_VERSION")));
        for failure in failures {
            machine.say(&failure);
        }
        machine
    }

    /// Says why nothing can be done, waits for somebody to read it, and restarts.
    pub fn give_up(&self, why: &str) {
        self.say(&format!("error: {why}"));
        std::thread::sleep(Duration::from_secs(10));
        self.reboot();
    }

    /// Those of these module files that were not tried before.
    fn untried(&self, files: Vec<PathBuf>) -> Vec<PathBuf> {
        let Ok(mut tried) = self.tried.lock() else {
            return Vec::new();
        };
        files
            .into_iter()
            .filter(|file| tried.insert(file.clone()))
            .collect()
    }

    /// Loads a module; one that this image leaves out is not missed.
    fn load(&self, file: &Path) -> bool {
        let compressed = file.extension().is_some_and(|extension| extension != "ko");
        let flags = if compressed {
            MODULE_INIT_COMPRESSED_FILE
        } else {
            0
        };
        let loaded = File::open(file).and_then(|module| finit_module(module, c"", flags).map_err(Into::into));
        match loaded {
            Ok(()) => true,
            Err(error) => {
                // ENODEV: the driver looked and its device is not there after all
                let expected = matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists
                ) || error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error());
                if !expected {
                    self.say(&format!("cannot load {}: {error}", file.display()));
                }
                false
            }
        }
    }
}

/// All addresses; none if the kernel does not say.
async fn addresses() -> Vec<inventory::Address> {
    match Network::connect() {
        Ok(network) => network.addresses().await.unwrap_or_default(),
        Err(_) => Vec::new(),
    }
}

impl Host for Machine {
    fn say(&self, text: &str) {
        let Ok(mut console) = self.console.lock() else {
            return;
        };
        for (output, level) in console.iter_mut() {
            // one write is one record of the kernel's log
            let line = format!("{level}[{}] {text}\n", self.name);
            output.write_all(line.as_bytes()).ok();
        }
    }

    fn arguments(&self) -> Result<Arguments, ArgumentError> {
        Arguments::parse(&fs::read_to_string("/proc/cmdline").unwrap_or_default())
    }

    async fn load_drivers(&self) {
        let release = uname().release().to_string_lossy().into_owned();
        let folder = Path::new("/lib/modules").join(release);
        let modules = self.modules.get_or_init(|| Modules::read(&folder));
        let mut loaded = 0;
        for _ in 0..DRIVER_ROUNDS {
            let new = self.untried(modules.wanted(&modaliases(Path::new("/sys/devices"))));
            if new.is_empty() {
                break;
            }
            loaded += new.iter().filter(|file| self.load(file)).count();
            tokio::time::sleep(SETTLE).await;
        }
        if loaded > 0 {
            self.say(&format!("loaded {loaded} driver modules"));
        }
    }

    async fn join_network(&self, mac: Mac) -> Result<Joined, JoinError> {
        let network = Network::connect().map_err(|source| JoinError::Socket {
            action: "open a netlink socket".into(),
            source,
        })?;
        let joined = network.join(mac, async || self.load_drivers().await).await?;
        if let Some(hostname) = &joined.lease.hostname {
            sethostname(hostname.as_bytes()).ok();
        }
        Ok(joined)
    }

    async fn inventory(&self) -> Result<Registration, InventoryError> {
        inventory::read(Path::new("/sys"), &addresses().await)
    }

    async fn addresses(&self) -> Vec<IpAddr> {
        let all = addresses().await.into_iter();
        all.map(|address| address.address)
            .filter(|address| is_global(*address))
            .collect()
    }

    async fn wipe(&self, order: &WipeOrder, progress: &watch::Sender<Progress>) -> Certificate {
        let targets = select(Path::new("/sys"), &order.include_wwids);
        wipe(order.generation, targets, BlockDevice::open, progress).await
    }

    fn channel(&self, endpoint: SocketAddr) -> Result<Channel, tonic::transport::Error> {
        let endpoint = Endpoint::new(format!("http://{endpoint}"))?;
        let endpoint = endpoint
            .connect_timeout(KEEP_ALIVE)
            .http2_keep_alive_interval(KEEP_ALIVE);
        Ok(endpoint
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true)
            .connect_lazy())
    }

    fn reboot(&self) {
        // without sync(2): a wipe makes durable what it writes, and a disk that hangs would hold up the restart for ever
        if let Err(error) = reboot(RebootCommand::Restart) {
            self.say(&format!("cannot restart: {error}"));
        }
    }
}
