//! What the machine is made of, read from `/sys`.

use std::fs;
use std::path::{Path, PathBuf};

use agent_protocol::{MAX_TEXT, Registration};
use hardware_types::Hardware;

pub(crate) mod disks;
mod interfaces;
mod smbios;

pub use interfaces::Address;

/// Why a machine cannot say what it is.
#[derive(Debug, thiserror::Error)]
pub enum InventoryError {
    /// The kernel shows no SMBIOS tables.
    #[error(
        "cannot read {path}: {source}: the firmware has no SMBIOS tables, so the machine has no UUID to be known by"
    )]
    Tables {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No entry point of SMBIOS 2 or 3.
    #[error("{0} is no SMBIOS entry point")]
    EntryPoint(PathBuf),
    /// No system information.
    #[error(
        "the SMBIOS tables have no system information (type 1), so the machine has no UUID to be known by"
    )]
    NoSystem,
    /// A UUID that names nothing.
    #[error("the machine's UUID is {0}, which names no machine: set one in its firmware")]
    Uuid(uuid::Uuid),
}

/// Reads the inventory below a folder that is `/sys`, with the addresses that interfaces have.
pub fn read(sys: &Path, addresses: &[Address]) -> Result<Registration, InventoryError> {
    let smbios = smbios::read(&sys.join("firmware/dmi/tables"))?;
    Ok(Registration {
        id: smbios.id,
        hostname: String::new(),
        boot_mac: None,
        hardware: Hardware {
            system: smbios.system,
            processors: smbios.processors,
            memory: smbios.memory,
            disks: disks::read(&sys.join("block")),
            interfaces: interfaces::read(&sys.join("class/net"), addresses),
        },
    })
}

/// A text as firmware or a device says it, made fit to be reported: trimmed, without control characters, bounded.
fn clean(text: &str) -> String {
    let printable: String = text.chars().filter(|char| !char.is_control()).collect();
    let trimmed = printable.trim();
    trimmed[..trimmed.floor_char_boundary(MAX_TEXT)].trim_end().into()
}

/// The text of a file of `/sys`; empty if there is none.
pub(crate) fn text(file: &Path) -> String {
    clean(&String::from_utf8_lossy(&fs::read(file).unwrap_or_default()))
}

/// The number in a file of `/sys`.
pub(crate) fn number<T: std::str::FromStr>(file: &Path) -> Option<T> {
    text(file).parse().ok()
}

/// Names in a folder of `/sys`, in order.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Writes files with contents below a folder.
    pub(crate) fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let file = root.path().join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, content).unwrap();
        }
        root
    }

    #[test]
    fn texts_are_trimmed_bounded_and_without_control_characters() {
        assert_eq!(clean("  Metal\u{7} Corp \n\0"), "Metal Corp");
        assert_eq!(clean(&"x".repeat(300)).len(), MAX_TEXT);
        // a character is not cut in two
        let text = format!("{}é", "x".repeat(MAX_TEXT - 1));
        assert_eq!(clean(&text), "x".repeat(MAX_TEXT - 1));
    }

    #[test]
    fn a_machine_without_smbios_says_so() {
        let sys = tree(&[]);
        let error = read(sys.path(), &[]).unwrap_err().to_string();
        assert!(error.contains("no SMBIOS tables"), "{error}");
    }
}
