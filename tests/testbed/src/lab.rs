//! The provisioning network of a run: a bridge for machines and our boot services, and the site's own DHCP server on it.
//!
//! A [`Lab`] is asked for; a [`Bed`] starts without one. There is at most one in a run at a time.

mod assets;
mod capture;
mod disk;
mod initramfs;
mod machines;
mod modules;
mod node;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use self::assets::{agent, assets};
pub use self::capture::Capture;
pub use self::disk::{Found, Mark};
pub use self::machines::{Machine, Machines};
pub use self::node::NodeEnvironment;
use crate::Bed;
use crate::network::{Network, Place, ip};
use crate::process::{Process, Program};

/// The bridge, in the run's namespace. Machines' taps are ports of it.
const BRIDGE: &str = "machines";
/// The bridge's port that leads to the site.
const SITE_PORT: &str = "site";
/// The site's end of it.
const SITE_LINK: &str = "eth0";
/// Marks the lab's links in the run's namespace, to remove them in one go.
const LINK_GROUP: &str = "77";
/// How long a part of the lab may take to start on a busy machine.
const STARTS: Duration = Duration::from_secs(20);

/// A running provisioning network, 10.77.0.0/24. Dropping it removes all of it but the run.
#[derive(Debug)]
pub struct Lab {
    // Stopped before the network it lives in goes.
    site: Process,
    wires: Wires,
    folder: PathBuf,
}

impl Lab {
    /// The bridge's own address: our boot services bind there.
    pub const BOOT_SERVICES: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 3);
    /// The site's DHCP server and router. It leases 10.77.0.100 to 10.77.0.200 and knows nothing of network boot.
    pub const SITE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

    /// Makes the bridge and the site, and waits until the site's DHCP server listens.
    pub async fn start(bed: &Bed) -> anyhow::Result<Self> {
        let wires = Wires::lay(bed.run().network())?;
        let folder = bed.run().folder();
        let leases = folder.join("site.leases");
        let program = Program::new("dnsmasq")
            .at(Place::Site)
            .args(site_options(&leases));
        let site = bed.start_part("site", program)?;
        let listens = || async { Ok(site.log()?.contains("sockets bound exclusively").then_some(())) };
        site.until_ready(STARTS, listens).await?;
        Ok(Self { site, wires, folder })
    }

    /// `metal-controller-manager` that boots the lab's machines, with all that they load.
    pub fn manager(&self, bed: &Bed, health_port: u16) -> anyhow::Result<Program> {
        let data = self.folder.join("data");
        assets(&data, &bed.tools().kernel(), &agent()?)?;
        bed.booting_manager(health_port, Self::BOOT_SERVICES, &data)
    }

    /// Makes a tap that is a port of the bridge, for a machine in the run's namespace.
    pub fn tap(&self, name: &str) -> anyhow::Result<()> {
        self.wires
            .in_run(&["tuntap", "add", "dev", name, "mode", "tap"])?;
        self.wires.plug(name)
    }

    /// Records what goes over the bridge from now on, until it is finished or dropped.
    pub async fn capture(&self, name: &str) -> anyhow::Result<Capture> {
        Capture::start(&self.wires.network, &self.folder, name, BRIDGE).await
    }

    /// The site's DHCP server, whose log shows each message of it.
    pub fn site(&self) -> &Process {
        &self.site
    }
}

/// What dnsmasq is told: addresses only, and router advertisements, without which iPXE waits 16 s for one.
fn site_options(leases: &Path) -> Vec<String> {
    [
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--pid-file=",
        // Else it becomes nobody, who may not write in a run's folder.
        "--user=root",
        "--log-facility=-",
        "--log-dhcp",
        // No DNS.
        "--port=0",
        "--interface=eth0",
        "--bind-interfaces",
        // A probe of each address would cost each machine 3 s.
        "--no-ping",
        "--dhcp-range=10.77.0.100,10.77.0.200,255.255.255.0,1h",
        "--enable-ra",
        "--dhcp-range=fd77::,ra-only,64",
    ]
    .map(Into::into)
    .into_iter()
    .chain([format!("--dhcp-leasefile={}", leases.display())])
    .collect()
}

/// The links and namespace of a lab. Dropping it removes them.
#[derive(Debug)]
struct Wires {
    network: Network,
}

impl Wires {
    fn lay(network: &Network) -> anyhow::Result<Self> {
        let site = network.site_namespace();
        ip(&["netns", "add", &site])?;
        // From here on what was made is removed, however far it came.
        let this = Self {
            network: network.clone(),
        };
        let in_site = |args: &[&str]| ip(&[&["-n", &site], args].concat());
        // Ports forward at once: firmware does not wait 15 s for a bridge to learn.
        this.in_run(&[
            "link",
            "add",
            BRIDGE,
            "type",
            "bridge",
            "forward_delay",
            "0",
            "stp_state",
            "0",
        ])?;
        this.in_run(&["link", "set", BRIDGE, "group", LINK_GROUP, "up"])?;
        this.in_run(&[
            "addr",
            "add",
            &format!("{}/24", Lab::BOOT_SERVICES),
            "dev",
            BRIDGE,
        ])?;
        this.in_run(&[
            "link", "add", SITE_PORT, "type", "veth", "peer", "name", SITE_LINK, "netns", &site,
        ])?;
        this.plug(SITE_PORT)?;
        in_site(&["link", "set", "lo", "up"])?;
        in_site(&["link", "set", SITE_LINK, "up"])?;
        in_site(&["addr", "add", &format!("{}/24", Lab::SITE), "dev", SITE_LINK])?;
        // `nodad`: dnsmasq could not bind to an address that is still being tried.
        in_site(&["addr", "add", "fd77::2/64", "dev", SITE_LINK, "nodad"])?;
        Ok(this)
    }

    fn in_run(&self, args: &[&str]) -> anyhow::Result<()> {
        ip(&[&["-n", &self.network.namespace()], args].concat()).map(drop)
    }

    /// Makes a link of the run's namespace a port of the bridge.
    fn plug(&self, link: &str) -> anyhow::Result<()> {
        self.in_run(&["link", "set", link, "master", BRIDGE, "group", LINK_GROUP, "up"])
    }
}

impl Drop for Wires {
    fn drop(&mut self) {
        let links = self.in_run(&["link", "delete", "group", LINK_GROUP]);
        let site = ip(&["netns", "delete", &self.network.site_namespace()]);
        if let Err(error) = links.and(site.map(drop)) {
            eprintln!("the end of the run will remove what is left of its lab: {error:#}");
        }
    }
}
