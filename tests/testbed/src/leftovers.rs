//! What a run leaves on the machine when it is killed: found by its slot's number, and removed.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::network::{Network, ip};
use crate::run::{self, Slot};

/// Keeps other runs from starting, and so from cleaning up, until it is dropped: what is found meanwhile is one picture.
pub fn hold_starts() -> anyhow::Result<fs::File> {
    run::lock_base()
}

/// Everything on this machine that carries the number of `slot`, one line each: processes, network namespaces,
/// links, mounts, sockets with an owner, the folder.
pub fn find(slot: Slot) -> anyhow::Result<Vec<String>> {
    let network = Network::of(slot);
    let mut found = Vec::new();
    for process in processes(slot)? {
        found.push(format!("process {process} ({})", command_line(process)));
    }
    for namespace in existing_namespaces(&network) {
        found.push(format!("network namespace {namespace}"));
    }
    if Path::new("/sys/class/net").join(network.outer_link()).exists() {
        found.push(format!("link {}", network.outer_link()));
    }
    for mount in mounts_of(slot)? {
        found.push(format!("mount {mount}"));
    }
    for socket in sockets(&network)? {
        found.push(format!("socket {socket}"));
    }
    if slot.folder().exists() {
        found.push(format!("folder {}", slot.folder().display()));
    }
    Ok(found)
}

/// Everything on this machine that looks like a run's but belongs to no living run, whatever its number: network
/// namespaces, links, mounts, and processes of the programs in `tools`.
pub fn strays(tools: &Path) -> anyhow::Result<Vec<String>> {
    let live: Vec<Slot> = Slot::all()
        .filter(|slot| slot.folder().exists() && slot.is_live())
        .collect();
    let networks: Vec<Network> = live.iter().copied().map(Network::of).collect();
    let mut strays = Vec::new();
    for name in names_in("/run/netns")?.filter(|name| name.starts_with("metal-")) {
        if !networks
            .iter()
            .any(|network| network.namespaces().contains(&name))
        {
            strays.push(format!("network namespace {name}"));
        }
    }
    for name in names_in("/sys/class/net")?.filter(|name| name.starts_with("metal")) {
        if !networks.iter().any(|network| network.outer_link() == name) {
            strays.push(format!("link {name}"));
        }
    }
    for mount in mount_points()?
        .into_iter()
        .filter(|mount| mount.contains("/metal-"))
    {
        let ours = |network: &Network| {
            let names = network.namespaces();
            names.iter().any(|name| mount.ends_with(&format!("/{name}")))
        };
        if !networks.iter().any(ours)
            && !live
                .iter()
                .any(|slot| Path::new(&mount).starts_with(slot.folder()))
        {
            strays.push(format!("mount {mount}"));
        }
    }
    let mut living = Vec::new();
    for slot in live {
        living.extend(processes(slot)?);
    }
    for id in process_ids()? {
        // A kubectl may be anybody's.
        let ours = fs::read_link(format!("/proc/{id}/exe"))
            .is_ok_and(|exe| exe.starts_with(tools) && !exe.ends_with("kubectl"));
        if ours && !living.contains(&id) {
            strays.push(format!("process {id} ({})", command_line(id)));
        }
    }
    Ok(strays)
}

fn names_in(folder: &str) -> anyhow::Result<impl Iterator<Item = String>> {
    // A machine that never had a namespace has no folder for them.
    let entries = if Path::new(folder).exists() {
        Some(fs::read_dir(folder)?)
    } else {
        None
    };
    Ok(entries
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned()))
}

/// Removes all that [`find`] finds. The caller holds the slot's lock.
pub(crate) fn remove(slot: Slot) -> anyhow::Result<()> {
    let network = Network::of(slot);
    kill(slot)?;
    for namespace in existing_namespaces(&network) {
        ip(&["netns", "delete", &namespace])?;
    }
    // Goes with the namespace, unless the run died between making the two.
    if Path::new("/sys/class/net").join(network.outer_link()).exists() {
        // The kernel may be removing it this moment.
        ip(&["link", "delete", &network.outer_link()]).ok();
    }
    for mount in mounts_of(slot)?.iter().rev() {
        rustix::mount::unmount(mount.as_str(), rustix::mount::UnmountFlags::DETACH)
            .with_context(|| format!("cannot unmount {mount}"))?;
    }
    match fs::remove_dir_all(slot.folder()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", slot.folder().display()))
        }
        _ => Ok(()),
    }
}

/// Kills the slot's processes until none is left.
fn kill(slot: Slot) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let processes = processes(slot)?;
        if processes.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("processes {processes:?} of run {} do not die", slot.0);
        }
        for process in processes {
            if let Some(pid) = rustix::process::Pid::from_raw(process) {
                rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
            }
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn existing_namespaces(network: &Network) -> impl Iterator<Item = String> {
    network
        .namespaces()
        .into_iter()
        .filter(|name| Path::new("/run/netns").join(name).exists())
}

/// Processes in the slot's network namespaces, and the wrappers that are about to enter one.
fn processes(slot: Slot) -> anyhow::Result<Vec<i32>> {
    let names = Network::of(slot).namespaces();
    let namespaces: Vec<_> = names
        .iter()
        .filter_map(|name| inode(&Path::new("/run/netns").join(name)))
        .collect();
    // A zombie has no namespaces any more and is its parent's to reap.
    let inside = |id: i32| {
        inode(Path::new(&format!("/proc/{id}/ns/net"))).is_some_and(|own| namespaces.contains(&own))
    };
    Ok(process_ids()?
        .into_iter()
        .filter(|id| inside(*id) || names.iter().any(|name| enters(*id, name)))
        .collect())
}

/// Whether a process is `ip netns exec NAMESPACE …`, about to become what follows.
fn enters(process: i32, namespace: &str) -> bool {
    let line = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    let words: Vec<_> = line.split(|byte| *byte == 0).collect();
    words.get(1..4) == Some(&[b"netns", b"exec", namespace.as_bytes()])
}

fn process_ids() -> anyhow::Result<Vec<i32>> {
    let entries = fs::read_dir("/proc").context("cannot list processes")?;
    Ok(entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect())
}

fn inode(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path)
        .ok()
        .map(|metadata| (metadata.dev(), metadata.ino()))
}

fn command_line(process: i32) -> String {
    let bytes = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes)
        .replace('\0', " ")
        .trim()
        .to_owned()
}

fn mounts_of(slot: Slot) -> anyhow::Result<Vec<String>> {
    let folder = slot.folder();
    Ok(mount_points()?
        .into_iter()
        .filter(|point| Path::new(point).starts_with(&folder))
        .collect())
}

fn mount_points() -> anyhow::Result<Vec<String>> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("cannot list mounts")?;
    Ok(mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .map(Into::into)
        .collect())
}

/// Sockets in the machine's own namespace that touch the slot's subnet and belong to a process.
/// Orphans (inode 0) are the kernel's, on their way out.
fn sockets(network: &Network) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for table in ["tcp", "udp"] {
        let text = fs::read_to_string(format!("/proc/net/{table}"))?;
        for line in text.lines().skip(1) {
            let fields: Vec<_> = line.split_whitespace().collect();
            let &[_, local, remote, _, _, _, _, _, _, inode, ..] = fields.as_slice() else {
                continue;
            };
            let ours = |end: &str| {
                [network.outside(), network.inside()]
                    .iter()
                    .any(|ip| end.starts_with(&hex(*ip)))
            };
            if inode != "0" && (ours(local) || ours(remote)) {
                found.push(format!("{table} {local} {remote} inode {inode}"));
            }
        }
    }
    Ok(found)
}

/// An address as /proc/net prints it: the four bytes as one little-endian word.
fn hex(address: std::net::Ipv4Addr) -> String {
    format!("{:08X}", u32::from_le_bytes(address.octets()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_the_kernel_writes_them() {
        assert_eq!(hex(std::net::Ipv4Addr::LOCALHOST), "0100007F");
    }
}
