//! Which kernel modules a machine of the lab needs, with what they need themselves.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, bail};

/// Drivers of the network cards and disks that QEMU has for the lab.
const WANTED: [&str; 5] = ["virtio_pci", "virtio_net", "virtio_blk", "virtio_scsi", "sd_mod"];

/// A part of a kernel's modules that needs nothing beyond itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Selection {
    /// Files, relative to `lib/modules/VERSION`.
    pub(super) files: BTreeSet<String>,
    /// The text of `modules.dep` for them.
    pub(super) dep: String,
    /// The text of `modules.alias` for them.
    pub(super) alias: String,
}

impl Selection {
    /// Reads the indexes in a `lib/modules/VERSION` and selects what machines of the lab need.
    pub(super) fn read(folder: &Path) -> anyhow::Result<Self> {
        let index = |name: &str| {
            let path = folder.join(name);
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        let (dep, alias, builtin) = (
            index("modules.dep")?,
            index("modules.alias")?,
            index("modules.builtin")?,
        );
        Self::of(&WANTED, &dep, &alias, &builtin).with_context(|| folder.display().to_string())
    }

    /// Those of `wanted` that are no part of the kernel itself, and all that they depend on.
    fn of(wanted: &[&str], dep: &str, alias: &str, builtin: &str) -> anyhow::Result<Self> {
        let entries: Vec<(&str, Vec<&str>)> = dep
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(file, needs)| (file, needs.split_whitespace().collect()))
            .collect();
        let mut files = BTreeSet::new();
        for name in wanted {
            match entries.iter().find(|(file, _)| module(file) == *name) {
                // depmod lists what is needed indirectly too.
                Some((file, needs)) => files.extend(needs.iter().chain([file]).map(ToString::to_string)),
                None if builtin.lines().any(|file| module(file) == *name) => {}
                None => bail!("the kernel has no module {name}"),
            }
        }
        let names: BTreeSet<_> = files.iter().map(|file| module(file)).collect();
        let about_file = |line: &str| line.split_once(':').is_some_and(|(file, _)| files.contains(file));
        let about_module = |line: &str| {
            let name = line.split_whitespace().nth(2);
            name.is_some_and(|name| names.contains(name))
        };
        Ok(Self {
            dep: lines_that(dep, about_file),
            alias: lines_that(alias, about_module),
            files,
        })
    }
}

fn lines_that(text: &str, fit: impl Fn(&str) -> bool) -> String {
    text.split_inclusive('\n').filter(|line| fit(line)).collect()
}

/// `kernel/drivers/net/virtio-net.ko` → `virtio_net`: a module's name has no dashes, whatever its file's has.
fn module(file: &str) -> String {
    let name = file.rsplit('/').next().unwrap_or(file);
    name.split('.').next().unwrap_or(name).replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEP: &str = "kernel/net/core/failover.ko:\n\
        kernel/drivers/net/virtio-net.ko: kernel/net/core/failover.ko kernel/drivers/virtio/virtio.ko\n\
        kernel/drivers/virtio/virtio.ko:\n\
        kernel/drivers/net/tun.ko: kernel/drivers/virtio/virtio.ko\n";
    const ALIAS: &str = "# Aliases extracted from modules themselves.\n\
        alias virtio:d00000001v* virtio_net\nalias devname:net/tun tun\n";
    const BUILTIN: &str = "kernel/drivers/nvme/host/nvme.ko\n";

    #[test]
    fn a_module_comes_with_what_it_needs_and_nothing_else() {
        let selection = Selection::of(&["virtio_net", "nvme"], DEP, ALIAS, BUILTIN).unwrap();
        let files: Vec<_> = selection.files.iter().map(String::as_str).collect();
        assert_eq!(
            files,
            [
                "kernel/drivers/net/virtio-net.ko",
                "kernel/drivers/virtio/virtio.ko",
                "kernel/net/core/failover.ko"
            ]
        );
        assert_eq!(selection.dep.lines().count(), 3);
        assert!(!selection.dep.contains("tun.ko"), "{}", selection.dep);
        assert_eq!(selection.alias, "alias virtio:d00000001v* virtio_net\n");
    }

    #[test]
    fn a_module_that_the_kernel_lacks_is_named() {
        let error = Selection::of(&["e1000"], DEP, ALIAS, BUILTIN).unwrap_err();
        assert_eq!(error.to_string(), "the kernel has no module e1000");
    }
}
