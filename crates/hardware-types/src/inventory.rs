//! What a machine is made of, as it reports it itself.
//!
//! An empty text and a zero mean *not known*: firmware leaves much unsaid.

use crate::Mac;

/// The inventory of a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hardware {
    /// The machine as a whole (SMBIOS 3.7 §7.2).
    pub system: System,
    /// Processors, by socket; empty sockets are left out (SMBIOS 3.7 §7.5).
    pub processors: Vec<Processor>,
    /// Memory modules, by slot; empty slots are left out (SMBIOS 3.7 §7.18).
    pub memory: Vec<MemoryModule>,
    /// Disks.
    pub disks: Vec<Disk>,
    /// Network interfaces that have a MAC address.
    pub interfaces: Vec<Interface>,
}

/// The machine as a whole. Its UUID is its name and stands beside the inventory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct System {
    /// Manufacturer.
    pub manufacturer: String,
    /// Product name.
    pub product_name: String,
    /// Version.
    pub version: String,
    /// Serial number.
    pub serial_number: String,
    /// Stock keeping unit.
    pub sku_number: String,
    /// Family of products.
    pub family: String,
}

/// One processor.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Processor {
    /// Manufacturer.
    pub manufacturer: String,
    /// Version text, such as the marketing name.
    pub product_name: String,
    /// Serial number.
    pub serial_number: String,
    /// Speed in MHz.
    pub speed: u32,
    /// Number of cores.
    pub core_count: u32,
    /// Number of threads.
    pub thread_count: u32,
}

/// One memory module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryModule {
    /// Manufacturer.
    pub manufacturer: String,
    /// Part number.
    pub product_name: String,
    /// Serial number.
    pub serial_number: String,
    /// Kind of memory, such as `DDR4`.
    pub kind: String,
    /// Size in MiB.
    pub size: u32,
    /// Speed in MT/s.
    pub speed: u32,
}

/// What a disk is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DiskKind {
    /// Not known.
    #[default]
    Unknown,
    /// Solid state, not NVMe.
    Ssd,
    /// Rotating.
    Hdd,
    /// Solid state behind NVMe.
    Nvme,
    /// SD card or eMMC.
    Sd,
}

/// One disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Disk {
    /// See [`DiskKind`].
    pub kind: DiskKind,
    /// Size in bytes.
    pub size: u64,
    /// Model.
    pub model: String,
    /// Serial number.
    pub serial: String,
    /// Name of the disk, where it has one of its own.
    pub name: String,
    /// Device node, such as `/dev/sda`.
    pub device_name: String,
    /// UUID of the disk.
    pub uuid: String,
    /// World wide identifier of the disk.
    pub wwid: String,
}

/// One network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Index in the operating system that reported it.
    pub index: u32,
    /// Name in the operating system that reported it.
    pub name: String,
    /// Flags in lower case, joined by `|`.
    pub flags: String,
    /// Greatest packet in bytes.
    pub mtu: u32,
    /// MAC address.
    pub mac: Mac,
    /// Addresses with prefix length (CIDR).
    pub addresses: Vec<String>,
}
