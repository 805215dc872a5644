//! A machine's report of itself: from the message, with all checks, and into it.

use hardware_types::inventory::{Disk, DiskKind, Interface, MemoryModule, Processor, System};
use hardware_types::{Hardware, Mac, ServerId};

use crate::api;

/// Most items in each list of a report.
pub const MAX_ITEMS: usize = 256;
/// Most bytes of each text of a report.
pub const MAX_TEXT: usize = 256;

/// A machine's report of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// The machine's name.
    pub id: ServerId,
    /// Hostname that it was given; empty if none.
    pub hostname: String,
    /// The interface that it booted from.
    pub boot_mac: Option<Mac>,
    /// What it is made of.
    pub hardware: Hardware,
}

/// Why a report is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// A part without which a report means nothing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// Not the name of a machine.
    #[error("uuid: {0}")]
    Uuid(#[from] hardware_types::ParseServerIdError),
    /// Not a MAC address.
    #[error("{field}: {source}")]
    Mac {
        /// Which.
        field: &'static str,
        /// Why.
        source: hardware_types::ParseMacError,
    },
    /// More items than [`MAX_ITEMS`].
    #[error("{field} has {count} items, {MAX_ITEMS} are allowed")]
    TooMany {
        /// Which list.
        field: &'static str,
        /// How many.
        count: usize,
    },
    /// More bytes than [`MAX_TEXT`].
    #[error("{field} is {length} bytes long, {MAX_TEXT} are allowed")]
    TooLong {
        /// Which text.
        field: &'static str,
        /// How long.
        length: usize,
    },
    /// Control characters, which no firmware means to say.
    #[error("{field} has control characters in it: {value:?}")]
    Control {
        /// Which text.
        field: &'static str,
        /// The text.
        value: String,
    },
    /// More than Kubernetes' integers hold.
    #[error("{field} is {value}, {max} is allowed at most")]
    TooLarge {
        /// Which number.
        field: &'static str,
        /// The number.
        value: u64,
        /// The greatest that will do.
        max: u64,
    },
}

/// The machine that a message is about.
pub fn server_id(uuid: &str) -> Result<ServerId, Invalid> {
    Ok(uuid.parse()?)
}

impl TryFrom<api::CreateServerRequest> for Registration {
    type Error = Invalid;

    fn try_from(request: api::CreateServerRequest) -> Result<Self, Invalid> {
        let hardware = request.hardware.ok_or(Invalid::Missing("hardware"))?;
        let system = hardware.system.ok_or(Invalid::Missing("hardware.system"))?;
        let boot_mac = match request.boot_mac.as_str() {
            "" => None,
            text => Some(mac("boot_mac", text)?),
        };
        Ok(Self {
            id: server_id(&system.uuid)?,
            hostname: text("hostname", request.hostname)?,
            boot_mac,
            hardware: Hardware {
                system: System::try_from(system)?,
                processors: list("processors", hardware.compute.unwrap_or_default().processors)?,
                memory: list("modules", hardware.memory.unwrap_or_default().modules)?,
                disks: list("devices", hardware.storage.unwrap_or_default().devices)?,
                interfaces: list("interfaces", hardware.network.unwrap_or_default().interfaces)?,
            },
        })
    }
}

impl From<Registration> for api::CreateServerRequest {
    fn from(report: Registration) -> Self {
        let Hardware {
            system,
            processors,
            memory,
            disks,
            interfaces,
        } = report.hardware;
        let sum =
            |counts: &dyn Fn(&Processor) -> u32| processors.iter().map(counts).fold(0, u32::saturating_add);
        Self {
            hostname: report.hostname,
            boot_mac: report.boot_mac.map(|mac| mac.to_string()).unwrap_or_default(),
            hardware: Some(api::HardwareInformation {
                system: Some(api::SystemInformation {
                    uuid: report.id.to_string(),
                    manufacturer: system.manufacturer,
                    product_name: system.product_name,
                    version: system.version,
                    serial_number: system.serial_number,
                    sku_number: system.sku_number,
                    family: system.family,
                }),
                compute: Some(api::ComputeInformation {
                    total_core_count: sum(&|processor| processor.core_count),
                    total_thread_count: sum(&|processor| processor.thread_count),
                    processor_count: count(processors.len()),
                    processors: processors.into_iter().map(Into::into).collect(),
                }),
                memory: Some(api::MemoryInformation {
                    total_size: memory
                        .iter()
                        .map(|module| module.size)
                        .fold(0, u32::saturating_add),
                    module_count: count(memory.len()),
                    modules: memory.into_iter().map(Into::into).collect(),
                }),
                storage: Some(api::StorageInformation {
                    total_size: disks.iter().map(|disk| disk.size).fold(0, u64::saturating_add),
                    device_count: count(disks.len()),
                    devices: disks.into_iter().map(Into::into).collect(),
                }),
                network: Some(api::NetworkInformation {
                    interface_count: count(interfaces.len()),
                    interfaces: interfaces.into_iter().map(Into::into).collect(),
                }),
            }),
        }
    }
}

impl TryFrom<api::SystemInformation> for System {
    type Error = Invalid;

    fn try_from(system: api::SystemInformation) -> Result<Self, Invalid> {
        Ok(Self {
            manufacturer: text("system.manufacturer", system.manufacturer)?,
            product_name: text("system.product_name", system.product_name)?,
            version: text("system.version", system.version)?,
            serial_number: text("system.serial_number", system.serial_number)?,
            sku_number: text("system.sku_number", system.sku_number)?,
            family: text("system.family", system.family)?,
        })
    }
}

impl TryFrom<api::Processor> for Processor {
    type Error = Invalid;

    fn try_from(processor: api::Processor) -> Result<Self, Invalid> {
        Ok(Self {
            manufacturer: text("processors.manufacturer", processor.manufacturer)?,
            product_name: text("processors.product_name", processor.product_name)?,
            serial_number: text("processors.serial_number", processor.serial_number)?,
            speed: number("processors.speed", processor.speed)?,
            core_count: number("processors.core_count", processor.core_count)?,
            thread_count: number("processors.thread_count", processor.thread_count)?,
        })
    }
}

impl From<Processor> for api::Processor {
    fn from(processor: Processor) -> Self {
        Self {
            manufacturer: processor.manufacturer,
            product_name: processor.product_name,
            serial_number: processor.serial_number,
            speed: processor.speed,
            core_count: processor.core_count,
            thread_count: processor.thread_count,
        }
    }
}

impl TryFrom<api::MemoryModule> for MemoryModule {
    type Error = Invalid;

    fn try_from(module: api::MemoryModule) -> Result<Self, Invalid> {
        Ok(Self {
            manufacturer: text("modules.manufacturer", module.manufacturer)?,
            product_name: text("modules.product_name", module.product_name)?,
            serial_number: text("modules.serial_number", module.serial_number)?,
            kind: text("modules.type", module.r#type)?,
            size: number("modules.size", module.size)?,
            speed: number("modules.speed", module.speed)?,
        })
    }
}

impl From<MemoryModule> for api::MemoryModule {
    fn from(module: MemoryModule) -> Self {
        Self {
            manufacturer: module.manufacturer,
            product_name: module.product_name,
            serial_number: module.serial_number,
            r#type: module.kind,
            size: module.size,
            speed: module.speed,
        }
    }
}

impl TryFrom<api::StorageDevice> for Disk {
    type Error = Invalid;

    fn try_from(disk: api::StorageDevice) -> Result<Self, Invalid> {
        let kind = match disk.r#type() {
            api::StorageType::Unknown => DiskKind::Unknown,
            api::StorageType::Ssd => DiskKind::Ssd,
            api::StorageType::Hdd => DiskKind::Hdd,
            api::StorageType::NvMe => DiskKind::Nvme,
            api::StorageType::Sd => DiskKind::Sd,
        };
        let max = i64::MAX.unsigned_abs();
        if disk.size > max {
            return Err(Invalid::TooLarge {
                field: "devices.size",
                value: disk.size,
                max,
            });
        }
        Ok(Self {
            kind,
            size: disk.size,
            model: text("devices.model", disk.model)?,
            serial: text("devices.serial", disk.serial)?,
            name: text("devices.name", disk.name)?,
            device_name: text("devices.device_name", disk.device_name)?,
            uuid: text("devices.uuid", disk.uuid)?,
            wwid: text("devices.wwid", disk.wwid)?,
        })
    }
}

impl From<Disk> for api::StorageDevice {
    fn from(disk: Disk) -> Self {
        let kind = match disk.kind {
            DiskKind::Unknown => api::StorageType::Unknown,
            DiskKind::Ssd => api::StorageType::Ssd,
            DiskKind::Hdd => api::StorageType::Hdd,
            DiskKind::Nvme => api::StorageType::NvMe,
            DiskKind::Sd => api::StorageType::Sd,
        };
        Self {
            r#type: kind.into(),
            size: disk.size,
            model: disk.model,
            serial: disk.serial,
            name: disk.name,
            device_name: disk.device_name,
            uuid: disk.uuid,
            wwid: disk.wwid,
        }
    }
}

impl TryFrom<api::NetworkInterface> for Interface {
    type Error = Invalid;

    fn try_from(interface: api::NetworkInterface) -> Result<Self, Invalid> {
        bounded("interfaces.addresses", interface.addresses.len())?;
        let addresses = interface.addresses.into_iter();
        Ok(Self {
            index: number("interfaces.index", interface.index)?,
            name: text("interfaces.name", interface.name)?,
            flags: text("interfaces.flags", interface.flags)?,
            mtu: number("interfaces.mtu", interface.mtu)?,
            mac: mac("interfaces.mac", &interface.mac)?,
            addresses: addresses
                .map(|address| text("interfaces.addresses", address))
                .collect::<Result<_, _>>()?,
        })
    }
}

impl From<Interface> for api::NetworkInterface {
    fn from(interface: Interface) -> Self {
        Self {
            index: interface.index,
            name: interface.name,
            flags: interface.flags,
            mtu: interface.mtu,
            mac: interface.mac.to_string(),
            addresses: interface.addresses,
        }
    }
}

fn list<M, T: TryFrom<M, Error = Invalid>>(field: &'static str, items: Vec<M>) -> Result<Vec<T>, Invalid> {
    bounded(field, items.len())?;
    items.into_iter().map(T::try_from).collect()
}

pub(crate) fn bounded(field: &'static str, count: usize) -> Result<(), Invalid> {
    if count > MAX_ITEMS {
        return Err(Invalid::TooMany { field, count });
    }
    Ok(())
}

pub(crate) fn text(field: &'static str, value: String) -> Result<String, Invalid> {
    if value.len() > MAX_TEXT {
        let length = value.len();
        return Err(Invalid::TooLong { field, length });
    }
    if value.chars().any(char::is_control) {
        return Err(Invalid::Control { field, value });
    }
    Ok(value)
}

fn number(field: &'static str, value: u32) -> Result<u32, Invalid> {
    let max = i32::MAX.unsigned_abs();
    if value > max {
        return Err(Invalid::TooLarge {
            field,
            value: value.into(),
            max: max.into(),
        });
    }
    Ok(value)
}

fn mac(field: &'static str, text: &str) -> Result<Mac, Invalid> {
    text.parse().map_err(|source| Invalid::Mac { field, source })
}

/// As the message has it; lists that long are refused on the other side.
fn count(items: usize) -> u32 {
    u32::try_from(items).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
