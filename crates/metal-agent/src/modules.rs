//! Which kernel modules the devices of a machine ask for, and what must be loaded before them.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The modules of one kernel: `modules.alias` and `modules.dep` of its folder (`modules.dep(5)`).
#[derive(Debug, Default)]
pub struct Modules {
    folder: PathBuf,
    /// Pattern and module, by what stands before the pattern's first colon: the bus.
    aliases: HashMap<String, Vec<(String, String)>>,
    /// Module file and what it needs, by module name.
    files: HashMap<String, (String, Vec<String>)>,
}

impl Modules {
    /// Reads the indices in a folder such as `/lib/modules/6.1.0`. A folder without them has no modules: all drivers may be built in.
    pub fn read(folder: &Path) -> Self {
        let text = |name| fs::read_to_string(folder.join(name)).unwrap_or_default();
        let mut modules = Self {
            folder: folder.into(),
            ..Self::default()
        };
        for line in text("modules.alias").lines() {
            let mut words = line.split_ascii_whitespace();
            if let (Some("alias"), Some(pattern), Some(module)) = (words.next(), words.next(), words.next()) {
                // ACPI's patterns are of all its buses: acpi*:PNP0501:*
                let bus = bus(pattern).trim_end_matches('*');
                let of_bus = modules.aliases.entry(bus.into()).or_default();
                of_bus.push((pattern.into(), name(module)));
            }
        }
        for line in text("modules.dep").lines() {
            if let Some((file, needs)) = line.split_once(':') {
                let needs = needs.split_ascii_whitespace().map(str::to_owned).collect();
                modules.files.insert(name(file), (file.into(), needs));
            }
        }
        modules
    }

    /// Module files to load for these devices, each after those that it needs.
    pub fn wanted(&self, modaliases: &BTreeSet<String>) -> Vec<PathBuf> {
        let mut seen = HashSet::new();
        let mut order = Vec::new();
        for modalias in modaliases {
            for module in self.drivers_of(modalias) {
                let Some((file, needs)) = self.files.get(module) else {
                    continue; // built in
                };
                // modules.dep lists what a module needs with the deepest last
                for file in needs.iter().rev().chain([file]) {
                    if seen.insert(file) {
                        order.push(self.folder.join(file));
                    }
                }
            }
        }
        order
    }

    fn drivers_of<'a>(&'a self, modalias: &'a str) -> impl Iterator<Item = &'a str> {
        let of_bus = self.aliases.get(bus(modalias)).map_or(&[][..], Vec::as_slice);
        of_bus
            .iter()
            .filter(move |(pattern, _)| matches(pattern, modalias))
            .map(|(_, module)| module.as_str())
    }
}

/// Modaliases of all devices below a folder such as `/sys/devices`.
pub fn modaliases(devices: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![devices.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            // file_type does not follow links: /sys is a tree only without them
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(entry.path());
            } else if entry.file_name() == "modalias" {
                let text = fs::read_to_string(entry.path()).unwrap_or_default();
                found.extend(Some(text.trim().to_owned()).filter(|text| !text.is_empty()));
            }
        }
    }
    found
}

fn bus(alias: &str) -> &str {
    alias.split(':').next().unwrap_or_default()
}

/// Whether a pattern of `modules.alias` (fnmatch(3)) fits. Most differ before their first wildcard.
fn matches(pattern: &str, modalias: &str) -> bool {
    let fixed = pattern.split(['*', '?', '[']).next().unwrap_or_default();
    if !modalias.starts_with(fixed) {
        return false;
    }
    // two stars mean folders to glob
    let pattern = pattern.replace("**", "*");
    glob::Pattern::new(&pattern).is_ok_and(|pattern| pattern.matches(modalias))
}

/// A module's name: its file's, without folder and suffixes, dashes as underscores.
fn name(file: &str) -> String {
    let base = file.rsplit('/').next().unwrap_or(file);
    let stem = base.split_once(".ko").map_or(base, |(stem, _)| stem);
    stem.replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modules() -> (tempfile::TempDir, Modules) {
        let folder = tempfile::tempdir().unwrap();
        let alias = "# Aliases extracted from modules themselves.\n\
            alias virtio:d00000001v* virtio_net\n\
            alias pci:v00001AF4d*sv*sd*bc*sc*i* virtio_pci\n\
            alias pci:v00008086d0000100Esv*sd*bc*sc*i* e1000\n\
            alias acpi*:PNP0501:* serial_thing\n\
            alias pci:v*d*sv*sd*bc01sc06i01* ahci\n";
        let dep = "kernel/drivers/virtio/virtio-pci.ko: kernel/drivers/virtio/virtio_modern.ko kernel/drivers/virtio/virtio.ko\n\
            kernel/drivers/virtio/virtio_modern.ko: kernel/drivers/virtio/virtio.ko\n\
            kernel/drivers/virtio/virtio.ko:\n\
            kernel/drivers/net/virtio_net.ko.xz: kernel/net/failover.ko\n\
            kernel/net/failover.ko:\n";
        fs::write(folder.path().join("modules.alias"), alias).unwrap();
        fs::write(folder.path().join("modules.dep"), dep).unwrap();
        let modules = Modules::read(folder.path());
        (folder, modules)
    }

    fn wanted(devices: &[&str]) -> Vec<String> {
        let (folder, modules) = modules();
        let devices = devices.iter().map(|device| (*device).to_owned()).collect();
        let files = modules.wanted(&devices);
        let name = |file: &PathBuf| file.strip_prefix(folder.path()).unwrap().display().to_string();
        files.iter().map(name).collect()
    }

    #[test]
    fn what_a_module_needs_comes_first_and_once() {
        let devices = [
            "pci:v00001AF4d00001000sv00001AF4sd00000001bc02sc00i00",
            "pci:v00001AF4d00001001sv00001AF4sd00000002bc01sc00i00",
            "virtio:d00000001v00001AF4",
        ];
        let want = [
            "kernel/drivers/virtio/virtio.ko",
            "kernel/drivers/virtio/virtio_modern.ko",
            "kernel/drivers/virtio/virtio-pci.ko",
            "kernel/net/failover.ko",
            "kernel/drivers/net/virtio_net.ko.xz",
        ];
        assert_eq!(wanted(&devices), want);
    }

    #[test]
    fn a_device_without_module_wants_none() {
        assert!(wanted(&["pci:v00008086d0000100Esv0sd0bc02sc00i00", "usb:v1", ""]).is_empty());
    }

    #[test]
    fn a_class_matches_any_vendor() {
        let (_folder, modules) = modules();
        let device = "pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01";
        assert_eq!(modules.drivers_of(device).collect::<Vec<_>>(), ["ahci"]);
    }

    #[test]
    fn acpi_devices_find_their_drivers() {
        let (_folder, modules) = modules();
        assert_eq!(
            modules.drivers_of("acpi:PNP0501:").collect::<Vec<_>>(),
            ["serial_thing"]
        );
    }

    #[test]
    fn a_folder_without_indices_has_no_modules() {
        let modules = Modules::read(Path::new("/nonexistent"));
        assert!(
            modules
                .wanted(&BTreeSet::from(["virtio:d00000001v00001AF4".to_owned()]))
                .is_empty()
        );
    }

    #[test]
    fn modaliases_are_found_at_any_depth_and_links_are_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("pci0000:00/0000:00:01.0");
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("modalias"), "pci:v1\n").unwrap();
        fs::write(root.path().join("modalias"), "\n").unwrap();
        std::os::unix::fs::symlink(root.path(), deep.join("subsystem")).unwrap();
        assert_eq!(modaliases(root.path()), BTreeSet::from(["pci:v1".to_owned()]));
    }
}
