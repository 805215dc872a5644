//! The real machine, as the kernel gives it to its first process.

use std::collections::HashSet;
use std::ffi::CStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use agent_protocol::Registration;
use hardware_types::Mac;
use rustix::mount::{MountFlags, mount};
use rustix::system::{RebootCommand, finit_module, reboot, sethostname, uname};
use tonic::transport::{Channel, Endpoint};

use crate::Host;
use crate::arguments::{ArgumentError, Arguments};
use crate::inventory::{self, InventoryError};
use crate::modules::{Modules, modaliases};
use crate::network::{JoinError, Joined, Network, is_global};

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
    console: Mutex<Vec<File>>,
}

impl Machine {
    /// Mounts what the kernel shows and opens the console. What fails is said as soon as there is somewhere to say it.
    pub fn take_over() -> Self {
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
        let open = |path| OpenOptions::new().write(true).open(path).ok();
        let machine = Self {
            console: Mutex::new(
                ["/dev/console", "/dev/kmsg"]
                    .into_iter()
                    .filter_map(open)
                    .collect(),
            ),
        };
        fs::write("/proc/sys/kernel/panic", PANIC_SECONDS).ok();
        machine.say(&format!("metal-agent {}", env!("CARGO_PKG_VERSION")));
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

    fn load(&self, file: &Path) {
        let compressed = file.extension().is_some_and(|extension| extension != "ko");
        let flags = if compressed {
            MODULE_INIT_COMPRESSED_FILE
        } else {
            0
        };
        let loaded = File::open(file).and_then(|module| finit_module(module, c"", flags).map_err(Into::into));
        match loaded {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                self.say(&format!("cannot load {}: {error}", file.display()));
            }
            _ => (),
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
        for output in console.iter_mut() {
            // one write is one record of the kernel's log
            output
                .write_all(format!("[metal-agent] {text}\n").as_bytes())
                .ok();
        }
    }

    fn arguments(&self) -> Result<Arguments, ArgumentError> {
        Arguments::parse(&fs::read_to_string("/proc/cmdline").unwrap_or_default())
    }

    async fn load_drivers(&self) {
        let release = uname().release().to_string_lossy().into_owned();
        let modules = Modules::read(&Path::new("/lib/modules").join(release));
        let mut tried = HashSet::<PathBuf>::new();
        for _ in 0..DRIVER_ROUNDS {
            let wanted = modules.wanted(&modaliases(Path::new("/sys/devices"))).into_iter();
            let new: Vec<_> = wanted.filter(|file| !tried.contains(file)).collect();
            if new.is_empty() {
                break;
            }
            for file in new {
                self.load(&file);
                tried.insert(file);
            }
            tokio::time::sleep(SETTLE).await;
        }
        self.say(&format!("{} driver modules for the devices found", tried.len()));
    }

    async fn join_network(&self, mac: Mac) -> Result<Joined, JoinError> {
        let network = Network::connect().map_err(|source| JoinError::Socket {
            action: "open a netlink socket".into(),
            source,
        })?;
        let joined = network.join(mac).await?;
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
        rustix::fs::sync();
        if let Err(error) = reboot(RebootCommand::Restart) {
            self.say(&format!("cannot restart: {error}"));
        }
    }
}
