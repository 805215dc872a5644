//! What the lab's node does, from the first line on the console on: installs itself once, then is a Node of its cluster.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use futures::future::select_ok;
use metal_agent::{Host as _, Machine};
use tokio::time::sleep;

use crate::config::{Config, config_url, fill_uuid, without_query};
use crate::image::{self, ImageError};
use crate::kubernetes::{ApiServer, Facts};
use crate::state::{MAX_SIZE, State, StateError};

/// The boot image, in the initramfs that came over the network.
const IMAGE: &str = "/install.img";
/// Stands on the kernel command line of the installed system.
const FROM_DISK: &str = "lab.boot=disk";
/// Pause after a failure.
const AGAIN: Duration = Duration::from_secs(3);
/// Pause between heartbeats.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// How long a configuration may take.
const FETCH: Duration = Duration::from_secs(30);

/// A failure that is shown, after which the same is tried again.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("cannot fetch the configuration from {0}: {1}")]
    Fetch(String, reqwest::Error),
    #[error("{0} answers {1}: {2}")]
    Answer(String, u16, String),
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    #[error("machine.install.disk of the configuration is missing; this machine has {0:?}")]
    NoDisk(Vec<String>),
    #[error(
        "machine.install.disk of the configuration is {0:?}, which this machine does not have; it has {1:?}"
    )]
    UnknownDisk(String, Vec<String>),
    #[error("cannot {0}: {1}")]
    Io(String, io::Error),
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error("cannot keep the configuration: {0}")]
    State(#[from] StateError),
    #[error("{0} does not read as it was written")]
    ReadBack(String),
    #[error("cannot join the network: {0}")]
    Network(#[from] metal_agent::network::JoinError),
    #[error("no network card")]
    NoInterface,
    #[error("cannot say what this machine is: {0}")]
    Inventory(#[from] metal_agent::inventory::InventoryError),
    #[error(transparent)]
    Register(#[from] crate::kubernetes::RegisterError),
}

/// Runs the machine; returns once it restarts.
pub async fn run(machine: &Machine) {
    machine.say("this is the lab's own node, a stand-in for Talos that runs no workloads");
    let boot = loop {
        match join(machine).await {
            Ok(boot) => break boot,
            Err(trouble) => pause(machine, &trouble).await,
        }
    };
    match installed(machine, &boot.disks) {
        Some(state) => {
            let from = if boot
                .command_line
                .split_ascii_whitespace()
                .any(|word| word == FROM_DISK)
            {
                "disk"
            } else {
                "network"
            };
            let nonce = state.nonce_text();
            machine.say(&format!("installed earlier, nonce {nonce}; booted from {from}"));
            loop {
                let Err(trouble) = be_node(machine, &boot, &state.config).await;
                pause(machine, &trouble).await;
            }
        }
        None => install(machine, &boot).await,
    }
}

/// What is known once the network is joined.
struct Boot {
    command_line: String,
    uuid: String,
    address: Ipv4Addr,
    disks: Vec<String>,
}

async fn pause(machine: &Machine, trouble: &Trouble) {
    machine.say(&format!(
        "error: {trouble}; trying again in {} s",
        AGAIN.as_secs()
    ));
    sleep(AGAIN).await;
}

/// Gets an address on whichever interface has a DHCP server first.
async fn join(machine: &Machine) -> Result<Boot, Trouble> {
    machine.load_drivers().await;
    let hardware = machine.inventory().await?.hardware;
    let joins = hardware.interfaces.iter();
    let joins: Vec<_> = joins
        .map(|interface| Box::pin(machine.join_network(interface.mac)))
        .collect();
    if joins.is_empty() {
        return Err(Trouble::NoInterface);
    }
    let (joined, _) = select_ok(joins).await?;
    let lease = joined.lease;
    machine.say(&format!("{} has the address {}", joined.interface, lease.address));
    // disks appear while the network is awaited
    machine.load_drivers().await;
    let found = machine.inventory().await?;
    Ok(Boot {
        command_line: fs::read_to_string("/proc/cmdline").unwrap_or_default(),
        uuid: found.id.to_string(),
        address: lease.address,
        disks: found
            .hardware
            .disks
            .into_iter()
            .map(|disk| disk.device_name)
            .collect(),
    })
}

/// The state of whichever disk has one.
fn installed(machine: &Machine, disks: &[String]) -> Option<State> {
    disks.iter().find_map(|disk| match read_state(Path::new(disk)) {
        Ok(Ok(state)) => Some(state),
        Ok(Err(StateError::Missing)) => None,
        Ok(Err(damage)) => {
            machine.say(&format!("{disk}: {damage}; it counts as not installed"));
            None
        }
        Err(error) => {
            machine.say(&format!("cannot read {disk}: {error}"));
            None
        }
    })
}

fn read_state(disk: &Path) -> io::Result<Result<State, StateError>> {
    let file = fs::File::open(disk)?;
    let mut bytes = vec![0; MAX_SIZE];
    match file.read_exact_at(&mut bytes, image::SIZE) {
        // too small for a node
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Err(StateError::Missing)),
        Err(error) => Err(error),
        Ok(()) => Ok(State::decode(&bytes)),
    }
}

/// Fetches the configuration and installs, until that was done; then restarts.
async fn install(machine: &Machine, boot: &Boot) {
    let Some(url) = config_url(&boot.command_line) else {
        machine.say("not installed, and no kernel argument talos.config= says where the configuration is");
        return std::future::pending().await;
    };
    let url = fill_uuid(url, &boot.uuid);
    loop {
        match try_install(boot, &url).await {
            Ok((disk, nonce)) => {
                machine.say(&format!("installed on {disk}, nonce {nonce}"));
                return machine.reboot();
            }
            Err(trouble) => pause(machine, &trouble).await,
        }
    }
}

async fn try_install(boot: &Boot, url: &str) -> Result<(String, String), Trouble> {
    let text = fetch(url).await?;
    let config = Config::parse(&text)?;
    let disk = config.disk.ok_or_else(|| Trouble::NoDisk(boot.disks.clone()))?;
    if !boot.disks.contains(&disk) {
        return Err(Trouble::UnknownDisk(disk, boot.disks.clone()));
    }
    let state = State {
        nonce: rand::random(),
        config: text,
    };
    write(&disk, &state)?;
    Ok((disk, state.nonce_text()))
}

/// The configuration. Its address has a token in its query, which no error shows.
async fn fetch(url: &str) -> Result<String, Trouble> {
    let shown = without_query(url);
    let failed = |error: reqwest::Error| Trouble::Fetch(shown.into(), error.without_url());
    // no certificate: the lab's metadata service speaks plain HTTP
    let client = reqwest::Client::builder().timeout(FETCH).tls_certs_only([]);
    let answer = client
        .build()
        .map_err(failed)?
        .get(url)
        .send()
        .await
        .map_err(failed)?;
    let status = answer.status().as_u16();
    let text = answer.text().await.map_err(failed)?;
    if status == 200 {
        Ok(text)
    } else {
        Err(Trouble::Answer(shown.into(), status, text))
    }
}

/// Writes the boot image and the state, makes them durable and reads the state back.
fn write(disk: &str, state: &State) -> Result<(), Trouble> {
    let failed = |action: String| |error| Trouble::Io(action, error);
    let image = fs::read(IMAGE).map_err(failed(format!("read {IMAGE}, the image to install")))?;
    let mut device = fs::OpenOptions::new()
        .write(true)
        .open(disk)
        .map_err(failed(format!("open {disk}")))?;
    // state last: a disk with a state boots
    let bytes = state.encode()?;
    image::write(&image, &mut device)?;
    device.sync_all().map_err(failed(format!("flush {disk}")))?;
    device
        .write_all_at(&bytes, image::SIZE)
        .and_then(|()| device.sync_all())
        .map_err(failed(format!("write the state on {disk}")))?;
    let read_back = read_state(Path::new(disk)).map_err(failed(format!("read {disk}")))?;
    if read_back.is_ok_and(|found| found == *state) {
        Ok(())
    } else {
        Err(Trouble::ReadBack(disk.into()))
    }
}

/// Registers and says every ten seconds that the machine runs, until that fails.
async fn be_node(machine: &Machine, boot: &Boot, config: &str) -> Result<std::convert::Infallible, Trouble> {
    let config = Config::parse(config)?;
    let text = |path| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let facts = Facts {
        name: config.node_name(&boot.uuid),
        uuid: boot.uuid.clone(),
        address: boot.address,
        boot_id: text("/proc/sys/kernel/random/boot_id"),
        kernel: text("/proc/sys/kernel/osrelease"),
    };
    let server = ApiServer::new(&config)?;
    server.register(&facts).await?;
    server.heartbeat(&facts).await?;
    machine.say(&format!("registered as {} at {}", facts.name, config.endpoint));
    loop {
        sleep(HEARTBEAT).await;
        server.heartbeat(&facts).await?;
    }
}
