//! Fills a manager's data folder with what machines of the lab boot: kernel, agent, iPXE.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::initramfs::Initramfs;
use super::modules::Selection;

/// Files that firmware loads by TFTP, and where Debian's iPXE has them.
const TFTP: [(&str, &str); 4] = [
    ("undionly.kpxe", "/usr/lib/ipxe/undionly.kpxe"),
    // Some firmware asks for a name with this end.
    ("undionly.kpxe.0", "/usr/lib/ipxe/undionly.kpxe"),
    ("snp.efi", "/usr/lib/ipxe/snponly.efi"),
    ("ipxe.efi", "/boot/ipxe.efi"),
];

/// Writes `env/agent-amd64/{vmlinuz,initramfs.xz}` and `tftp/…` under `data_dir`, from a `kernel` folder as
/// `cargo xtask tools` makes it and an `agent` binary without libraries.
pub(super) fn assets(data_dir: &Path, kernel: &Path, agent: &Path) -> anyhow::Result<()> {
    let environment = data_dir.join("env/agent-amd64");
    let tftp = data_dir.join("tftp");
    for folder in [&environment, &tftp] {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    copy(&kernel.join("vmlinuz"), &environment.join("vmlinuz"))?;
    // Not compressed: the kernel looks at the content, and unpacking is what an emulated machine is slow at.
    let initramfs = environment.join("initramfs.xz");
    fs::write(&initramfs, initramfs_of(kernel, agent, &[])?)
        .with_context(|| format!("cannot write {}", initramfs.display()))?;
    for (name, source) in TFTP {
        copy(Path::new(source), &tftp.join(name))?;
    }
    Ok(())
}

/// The agent that `cargo xtask test agent` built in this workspace.
pub(super) fn agent() -> anyhow::Result<PathBuf> {
    built("metal-agent")
}

/// A program that `cargo xtask test agent` built in this workspace, without libraries.
pub(super) fn built(name: &str) -> anyhow::Result<PathBuf> {
    let this = std::env::current_exe()?;
    // target/debug/demo, target/debug/deps/e2e-…
    let mut folders = this.ancestors().skip(2).take(2);
    folders
        .find_map(|folder| {
            let path = folder.join("x86_64-unknown-linux-gnu/agent").join(name);
            path.is_file().then_some(path)
        })
        .with_context(|| format!("{name} is not built: `cargo xtask test agent` does it"))
}

/// An initramfs of a first program, the modules of `kernel`, and more files.
pub(super) fn initramfs_of(kernel: &Path, init: &Path, more: &[(&str, &[u8])]) -> anyhow::Result<Vec<u8>> {
    let mut archive = Initramfs::new(&read(init)?)?;
    let modules = kernel.join("lib/modules");
    let version = only_folder_in(&modules)?;
    let source = modules.join(&version);
    let place = format!("lib/modules/{version}");
    let selection = Selection::read(&source)?;
    for file in &selection.files {
        archive.file(&format!("{place}/{file}"), 0o644, &read(&source.join(file))?)?;
    }
    archive.file(&format!("{place}/modules.dep"), 0o644, selection.dep.as_bytes())?;
    archive.file(
        &format!("{place}/modules.alias"),
        0o644,
        selection.alias.as_bytes(),
    )?;
    for (path, content) in more {
        archive.file(path, 0o644, content)?;
    }
    Ok(archive.finish()?)
}

fn only_folder_in(folder: &Path) -> anyhow::Result<String> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
    match names.as_slice() {
        [name] => Ok(name.to_string_lossy().into_owned()),
        _ => anyhow::bail!(
            "{} has {names:?}, not the modules of one kernel",
            folder.display()
        ),
    }
}

pub(super) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::copy(from, to)
        .map(drop)
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}
