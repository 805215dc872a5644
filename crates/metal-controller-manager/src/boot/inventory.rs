//! An agent's inventory as the Server's spec has it.

use crd_types::metal::{
    Compute, Hardware, Memory, MemoryModule, Network, NetworkInterface, Processor, Storage, StorageDevice,
    System,
};
use hardware_types::ServerId;
use hardware_types::inventory::{self, DiskKind};

/// The machine's inventory; what is not known is left out. Totals are those of the lists.
pub(super) fn hardware(id: ServerId, reported: &hardware_types::Hardware) -> Hardware {
    Hardware {
        system: Some(system(id, &reported.system)),
        compute: Some(compute(&reported.processors)),
        memory: Some(memory(&reported.memory)),
        storage: Some(storage(&reported.disks)),
        network: Some(network(&reported.interfaces)),
    }
}

fn system(id: ServerId, system: &inventory::System) -> System {
    System {
        uuid: Some(id.to_string()),
        manufacturer: text(&system.manufacturer),
        product_name: text(&system.product_name),
        version: text(&system.version),
        serial_number: text(&system.serial_number),
        sku_number: text(&system.sku_number),
        family: text(&system.family),
    }
}

fn compute(processors: &[inventory::Processor]) -> Compute {
    let sum = |count: fn(&inventory::Processor) -> u32| {
        let counts = processors.iter().map(count);
        number(counts.fold(0, u32::saturating_add))
    };
    Compute {
        total_core_count: sum(|processor| processor.core_count),
        total_thread_count: sum(|processor| processor.thread_count),
        processor_count: length(processors),
        processors: processors
            .iter()
            .map(|processor| Processor {
                manufacturer: text(&processor.manufacturer),
                product_name: text(&processor.product_name),
                serial_number: text(&processor.serial_number),
                speed: number(processor.speed),
                core_count: number(processor.core_count),
                thread_count: number(processor.thread_count),
            })
            .collect(),
    }
}

fn memory(modules: &[inventory::MemoryModule]) -> Memory {
    let mebibytes: u64 = modules.iter().map(|module| u64::from(module.size)).sum();
    Memory {
        // The original's form, which selectors may match on: whole GiB, called GB.
        total_size: Some(format!("{} GB", mebibytes / 1024)),
        module_count: length(modules),
        modules: modules
            .iter()
            .map(|module| MemoryModule {
                manufacturer: text(&module.manufacturer),
                product_name: text(&module.product_name),
                serial_number: text(&module.serial_number),
                type_: text(&module.kind),
                size: number(module.size),
                speed: number(module.speed),
            })
            .collect(),
    }
}

fn storage(disks: &[inventory::Disk]) -> Storage {
    let bytes = disks.iter().map(|disk| disk.size).fold(0, u64::saturating_add);
    Storage {
        total_size: Some(format!("{} GB", bytes / (1 << 30))),
        device_count: length(disks),
        devices: disks
            .iter()
            .map(|disk| StorageDevice {
                type_: Some(kind(disk.kind).into()),
                size: i64::try_from(disk.size).ok(),
                product_name: text(&disk.model),
                serial_number: text(&disk.serial),
                name: text(&disk.name),
                device_name: text(&disk.device_name),
                uuid: text(&disk.uuid),
                wwid: text(&disk.wwid),
            })
            .collect(),
    }
}

fn network(interfaces: &[inventory::Interface]) -> Network {
    Network {
        interface_count: length(interfaces),
        interfaces: interfaces
            .iter()
            .map(|interface| NetworkInterface {
                index: number(interface.index),
                name: text(&interface.name),
                flags: text(&interface.flags),
                mtu: number(interface.mtu),
                mac: Some(interface.mac.to_string()),
                addresses: interface.addresses.clone(),
            })
            .collect(),
    }
}

fn kind(kind: DiskKind) -> &'static str {
    match kind {
        DiskKind::Unknown => "Unknown",
        DiskKind::Ssd => "SSD",
        DiskKind::Hdd => "HDD",
        DiskKind::Nvme => "NVMe",
        DiskKind::Sd => "SD",
    }
}

fn text(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.into())
}

/// Zero is kept: a machine with no known cores says so.
fn number(number: u32) -> Option<i32> {
    i32::try_from(number).ok()
}

fn length<T>(items: &[T]) -> Option<i32> {
    i32::try_from(items.len()).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_report_becomes_what_the_original_wrote_without_its_faults() {
        let id: ServerId = "4c4c4544-0039-3010-8048-b7c04f384432".parse().unwrap();
        let reported = hardware_types::Hardware {
            system: inventory::System {
                manufacturer: "Metal Corp".into(),
                ..inventory::System::default()
            },
            processors: vec![
                inventory::Processor {
                    core_count: 200,
                    thread_count: 400,
                    ..inventory::Processor::default()
                };
                2
            ],
            memory: vec![
                inventory::MemoryModule {
                    kind: "DDR5".into(),
                    size: 131_072,
                    ..inventory::MemoryModule::default()
                };
                2
            ],
            disks: vec![inventory::Disk {
                kind: DiskKind::Nvme,
                size: 1_000_204_886_016,
                device_name: "/dev/nvme0n1".into(),
                ..inventory::Disk::default()
            }],
            interfaces: vec![inventory::Interface {
                index: 2,
                name: "eth0".into(),
                flags: "up".into(),
                mtu: 1500,
                mac: hardware_types::Mac::new([0x52, 0x54, 0, 0x77, 0, 1]),
                addresses: vec!["10.77.0.100/24".into()],
            }],
        };
        let processor = json!({ "speed": 0, "coreCount": 200, "threadCount": 400 });
        let module = json!({ "type": "DDR5", "size": 131_072, "speed": 0 });
        let interface = json!({
            "index": 2, "name": "eth0", "flags": "up", "mtu": 1500, "mac": "52:54:00:77:00:01", "addresses": ["10.77.0.100/24"],
        });
        assert_eq!(
            serde_json::to_value(hardware(id, &reported)).unwrap(),
            json!({
                "system": { "uuid": id.to_string(), "manufacturer": "Metal Corp" },
                "compute": {
                    "totalCoreCount": 400, "totalThreadCount": 800, "processorCount": 2, "processors": [processor, processor],
                },
                "memory": { "totalSize": "256 GB", "moduleCount": 2, "modules": [module, module] },
                "storage": {
                    "totalSize": "931 GB", "deviceCount": 1,
                    "devices": [{ "type": "NVMe", "size": 1_000_204_886_016_u64, "deviceName": "/dev/nvme0n1" }],
                },
                "network": { "interfaceCount": 1, "interfaces": [interface] },
            })
        );
    }
}
