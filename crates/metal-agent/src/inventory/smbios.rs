//! Machine, processors and memory, from the SMBIOS tables (DMTF DSP0134 3.7).

use std::fs;
use std::path::Path;

use hardware_types::ServerId;
use hardware_types::inventory::{MemoryModule, Processor, System};
use smbioslib::{
    CoreCount, CoreCount2, MemorySize, MemorySizeExtended, MemorySpeed, MemorySpeedExtended, ProcessorSpeed,
    SMBiosData, SMBiosMemoryDevice, SMBiosProcessorInformation, SMBiosString, SMBiosSystemInformation,
    SMBiosVersion, SystemUuidData, ThreadCount, ThreadCount2,
};
use uuid::Uuid;

use super::InventoryError;

/// What SMBIOS knows.
#[derive(Debug)]
pub(super) struct Smbios {
    pub(super) id: ServerId,
    pub(super) system: System,
    pub(super) processors: Vec<Processor>,
    pub(super) memory: Vec<MemoryModule>,
}

/// Reads the tables in a folder that is `/sys/firmware/dmi/tables`.
pub(super) fn read(folder: &Path) -> Result<Smbios, InventoryError> {
    let read = |name| {
        let path = folder.join(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(bytes),
            Err(source) => Err(InventoryError::Tables { path, source }),
        }
    };
    let entry_point = read("smbios_entry_point")?;
    let version =
        version(&entry_point).ok_or_else(|| InventoryError::EntryPoint(folder.join("smbios_entry_point")))?;
    parse(version, read("DMI")?)
}

/// Major and minor version of an entry point of SMBIOS 2.1 (§5.2.1) or 3.0 (§5.2.2).
fn version(entry_point: &[u8]) -> Option<(u8, u8)> {
    let at = match entry_point {
        [b'_', b'S', b'M', b'3', b'_', ..] => 7,
        [b'_', b'S', b'M', b'_', ..] => 6,
        _ => return None,
    };
    Some((*entry_point.get(at)?, *entry_point.get(at + 1)?))
}

fn parse((major, minor): (u8, u8), tables: Vec<u8>) -> Result<Smbios, InventoryError> {
    let version = SMBiosVersion::new(major, minor, 0);
    let tables = SMBiosData::from_vec_and_version(tables, Some(version));
    let system: SMBiosSystemInformation<'_> = tables.first().ok_or(InventoryError::NoSystem)?;
    let uuid = match system.uuid().ok_or(InventoryError::NoSystem)? {
        // before 2.6 the order of bytes was left open and everybody prints them as they stand (§7.2.1)
        SystemUuidData::Uuid(uuid) if (major, minor) < (2, 6) => Uuid::from_bytes(uuid.raw),
        SystemUuidData::Uuid(uuid) => Uuid::from_bytes_le(uuid.raw),
        // the library has the two the other way round than the standard
        SystemUuidData::IdNotPresentButSettable => Uuid::nil(),
        SystemUuidData::IdNotPresent => Uuid::max(),
    };
    Ok(Smbios {
        id: ServerId::new(uuid).ok_or(InventoryError::Uuid(uuid))?,
        system: System {
            manufacturer: text(&system.manufacturer()),
            product_name: text(&system.product_name()),
            version: text(&system.version()),
            serial_number: text(&system.serial_number()),
            sku_number: text(&system.sku_number()),
            family: text(&system.family()),
        },
        processors: tables
            .defined_struct_iter()
            .filter_map(|cpu| processor(&cpu))
            .collect(),
        memory: tables
            .defined_struct_iter()
            .filter_map(|device| module(&device))
            .collect(),
    })
}

/// One socket (§7.5), unless it is empty.
fn processor(socket: &SMBiosProcessorInformation<'_>) -> Option<Processor> {
    socket.status()?.socket_populated().then(|| Processor {
        manufacturer: text(&socket.processor_manufacturer()),
        product_name: text(&socket.processor_version()),
        serial_number: text(&socket.serial_number()),
        speed: match socket.current_speed() {
            Some(ProcessorSpeed::MHz(speed)) => speed.into(),
            _ => 0,
        },
        core_count: match (socket.core_count(), socket.core_count_2()) {
            (_, Some(CoreCount2::Count(count))) => count.into(),
            (Some(CoreCount::Count(count)), _) => count.into(),
            _ => 0,
        },
        thread_count: match (socket.thread_count(), socket.thread_count_2()) {
            (_, Some(ThreadCount2::Count(count))) => count.into(),
            (Some(ThreadCount::Count(count)), _) => count.into(),
            _ => 0,
        },
    })
}

/// One memory device (§7.18), unless the slot is empty or nobody knows.
fn module(device: &SMBiosMemoryDevice<'_>) -> Option<MemoryModule> {
    let size = match device.size()? {
        MemorySize::NotInstalled | MemorySize::Unknown => return None,
        MemorySize::Kilobytes(size) => u32::from(size) / 1024,
        MemorySize::Megabytes(size) => size.into(),
        MemorySize::SeeExtendedSize => match device.extended_size()? {
            MemorySizeExtended::Megabytes(size) => size,
            MemorySizeExtended::SeeSize => return None,
        },
    };
    Some(MemoryModule {
        manufacturer: text(&device.manufacturer()),
        product_name: text(&device.part_number()),
        serial_number: text(&device.serial_number()),
        kind: device.memory_type().map_or("", |kind| kind_name(kind.raw)).into(),
        size,
        speed: match (device.speed(), device.extended_speed()) {
            (Some(MemorySpeed::MTs(speed)), _) => speed.into(),
            (Some(MemorySpeed::SeeExtendedSpeed), Some(MemorySpeedExtended::MTs(speed))) => speed,
            _ => 0,
        },
    })
}

/// Names of memory types as the standard writes them (§7.18.2).
fn kind_name(kind: u8) -> &'static str {
    match kind {
        0x03 => "DRAM",
        0x04 => "EDRAM",
        0x05 => "VRAM",
        0x06 => "SRAM",
        0x07 => "RAM",
        0x08 => "ROM",
        0x09 => "FLASH",
        0x0A => "EEPROM",
        0x0B => "FEPROM",
        0x0C => "EPROM",
        0x0D => "CDRAM",
        0x0E => "3DRAM",
        0x0F => "SDRAM",
        0x10 => "SGRAM",
        0x11 => "RDRAM",
        0x12 => "DDR",
        0x13 => "DDR2",
        0x14 => "DDR2 FB-DIMM",
        0x18 => "DDR3",
        0x19 => "FBD2",
        0x1A => "DDR4",
        0x1B => "LPDDR",
        0x1C => "LPDDR2",
        0x1D => "LPDDR3",
        0x1E => "LPDDR4",
        0x1F => "Logical non-volatile device",
        0x20 => "HBM",
        0x21 => "HBM2",
        0x22 => "DDR5",
        0x23 => "LPDDR5",
        0x24 => "HBM3",
        0x25 => "MRDIMM",
        0x01 => "Other",
        _ => "Unknown",
    }
}

fn text(string: &SMBiosString) -> String {
    super::clean(&string.to_utf8_lossy().unwrap_or_default())
}

#[cfg(test)]
mod tests;
