//! The network of a run: a namespace of its own and one veth pair that leads to it from the machine. The lab adds a
//! second namespace, the site's.

use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, bail};

use crate::run::Slot;

/// Where in the run's network a process lives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Place {
    /// The namespace in which everything of a run is: API servers, managers, BMCs, machines.
    #[default]
    Run,
    /// What the site brings: its DHCP server and router. Only there while a [`Lab`](crate::Lab) is.
    Site,
}

/// A network namespace with a loopback and one address that the machine can reach.
#[derive(Debug, Clone)]
pub struct Network {
    slot: Slot,
}

impl Network {
    /// Makes the namespace and the veth pair into it.
    pub(crate) fn create(&self) -> anyhow::Result<()> {
        let (namespace, outer) = (self.namespace(), self.outer_link());
        ip(&["netns", "add", &namespace])?;
        ip(&["-n", &namespace, "link", "set", "lo", "up"])?;
        ip(&[
            "link", "add", &outer, "type", "veth", "peer", "name", "uplink", "netns", &namespace,
        ])?;
        ip(&["addr", "add", &format!("{}/24", self.outside()), "dev", &outer])?;
        ip(&["link", "set", &outer, "up"])?;
        ip(&[
            "-n",
            &namespace,
            "addr",
            "add",
            &format!("{}/24", self.inside()),
            "dev",
            "uplink",
        ])?;
        ip(&["-n", &namespace, "link", "set", "uplink", "up"])?;
        Ok(())
    }

    /// The name of the namespace, for `ip netns exec`.
    pub fn namespace(&self) -> String {
        format!("metal-{}", self.slot.0)
    }

    /// The name of the site's namespace, which the lab makes.
    pub fn site_namespace(&self) -> String {
        format!("metal-{}-site", self.slot.0)
    }

    /// The names of all namespaces that a run may have.
    pub(crate) fn namespaces(&self) -> [String; 2] {
        [self.namespace(), self.site_namespace()]
    }

    /// The machine's end of the veth pair.
    pub fn outer_link(&self) -> String {
        format!("metal{}", self.slot.0)
    }

    /// The machine's address on the pair.
    pub fn outside(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 213, self.slot.0, 1)
    }

    /// The namespace's address on the pair: what `kubectl` and `curl` on the machine talk to.
    pub fn inside(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 213, self.slot.0, 2)
    }

    /// A command that runs at `place` and dies with the thread that starts it.
    ///
    /// Both wrappers exec in place, so the child's process id is the program's own.
    pub fn command(&self, place: Place, program: &std::path::Path) -> Command {
        let namespace = match place {
            Place::Run => self.namespace(),
            Place::Site => self.site_namespace(),
        };
        let mut command = Command::new("ip");
        // A terminal's Ctrl-C is the run's to handle, not each child's.
        command.process_group(0);
        command
            .args([
                "netns",
                "exec",
                &namespace,
                "setpriv",
                "--pdeathsig",
                "KILL",
                "--",
            ])
            .arg(program);
        command
    }

    /// The network of the run in `slot`, made or not.
    pub(crate) fn of(slot: Slot) -> Self {
        Self { slot }
    }
}

/// Runs `ip ARGS`; the error carries its own words.
pub(crate) fn ip(args: &[&str]) -> anyhow::Result<String> {
    let output = Command::new("ip")
        .process_group(0)
        .args(args)
        .output()
        .context("cannot run `ip` (Debian package iproute2)")?;
    if !output.status.success() {
        bail!(
            "`ip {}` failed: {}",
            args.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
