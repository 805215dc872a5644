//! What a machine is made of, as its agent reports it and as ServerClass qualifiers match it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Defines a struct whose fields are all optional and left out when absent, as partial inventories and matches are.
macro_rules! optional_fields {
    ($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $field:ident: $type:ty,)* $([$($(#[$ldoc:meta])* $list:ident: $item:ty,)*])? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "camelCase")]
        pub struct $name {
            $($(#[$fdoc])* #[serde(default, skip_serializing_if = "Option::is_none")] pub $field: Option<$type>,)*
            $($($(#[$ldoc])* #[serde(default, skip_serializing_if = "Vec::is_empty")] pub $list: Vec<$item>,)*)?
        }
    };
}

optional_fields! {
    /// What a machine is made of. In a ServerClass: what it must be made of; absent fields match anything.
    Hardware {
        /// The machine as a whole (SMBIOS type 1).
        system: System,
        /// Its processors (SMBIOS type 4).
        compute: Compute,
        /// Its memory (SMBIOS type 17).
        memory: Memory,
        /// Its disks.
        storage: Storage,
        /// Its network interfaces.
        network: Network,
    }
}

optional_fields! {
    /// The machine as a whole (SMBIOS type 1).
    System {
        /// System UUID in canonical lower-case text.
        uuid: String,
        /// Manufacturer.
        manufacturer: String,
        /// Product name.
        product_name: String,
        /// Version.
        version: String,
        /// Serial number.
        serial_number: String,
        /// Stock keeping unit.
        sku_number: String,
        /// Family of products.
        family: String,
    }
}

optional_fields! {
    /// The processors.
    Compute {
        /// Cores of all processors.
        total_core_count: i32,
        /// Threads of all processors.
        total_thread_count: i32,
        /// Number of processors.
        processor_count: i32,
        [
            /// Each processor, by socket.
            processors: Processor,
        ]
    }
}

optional_fields! {
    /// One processor (SMBIOS type 4).
    Processor {
        /// Manufacturer.
        manufacturer: String,
        /// Version text, such as the marketing name.
        product_name: String,
        /// Serial number.
        serial_number: String,
        /// Greatest speed in MHz.
        speed: i32,
        /// Number of cores.
        core_count: i32,
        /// Number of threads.
        thread_count: i32,
    }
}

optional_fields! {
    /// The memory.
    Memory {
        /// Size of all modules, as a text such as `32 GB`.
        total_size: String,
        /// Number of modules.
        module_count: i32,
        [
            /// Each module, by slot.
            modules: MemoryModule,
        ]
    }
}

optional_fields! {
    /// One memory module (SMBIOS type 17).
    MemoryModule {
        /// Manufacturer.
        manufacturer: String,
        /// Part number.
        product_name: String,
        /// Serial number.
        serial_number: String,
        /// Kind of memory, such as `DDR4`.
        #[serde(rename = "type")]
        type_: String,
        /// Size in MB.
        size: i32,
        /// Speed in MT/s.
        speed: i32,
    }
}

optional_fields! {
    /// The disks.
    Storage {
        /// Size of all disks, as a text such as `1116 GB`.
        total_size: String,
        /// Number of disks.
        device_count: i32,
        [
            /// Each disk.
            devices: StorageDevice,
        ]
    }
}

optional_fields! {
    /// One disk.
    StorageDevice {
        /// Kind of disk: SSD, HDD, NVMe, SD or Unknown.
        #[serde(rename = "type")]
        type_: String,
        /// Size in bytes.
        size: i64,
        /// Model.
        product_name: String,
        /// Serial number.
        serial_number: String,
        /// Name that the disk gives itself.
        name: String,
        /// Device node, such as `/dev/sda`.
        device_name: String,
        /// UUID of the disk.
        uuid: String,
        /// World wide identifier of the disk.
        wwid: String,
    }
}

optional_fields! {
    /// The network interfaces.
    Network {
        /// Number of interfaces.
        interface_count: i32,
        [
            /// Each interface.
            interfaces: NetworkInterface,
        ]
    }
}

optional_fields! {
    /// One network interface.
    NetworkInterface {
        /// Index in the operating system that reported it.
        index: i32,
        /// Name in the operating system that reported it.
        name: String,
        /// Flags in lower case, joined by `|`.
        flags: String,
        /// Greatest packet in bytes.
        mtu: i32,
        /// MAC address.
        mac: String,
        [
            /// Addresses with prefix length (CIDR).
            addresses: String,
        ]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_known_is_left_out() {
        let hardware = Hardware {
            system: Some(System {
                sku_number: Some("A1".into()),
                ..System::default()
            }),
            ..Hardware::default()
        };
        assert_eq!(
            serde_json::to_value(hardware).unwrap(),
            json!({ "system": { "skuNumber": "A1" } })
        );
    }

    #[test]
    fn sizes_are_read_as_wide_as_the_schema_allows() {
        let read: Hardware = serde_json::from_value(json!({
            "storage": { "devices": [{ "size": i64::MAX, "type": "NVMe" }] },
            "memory": { "modules": [{ "size": i32::MAX }] },
        }))
        .unwrap();
        assert_eq!(read.storage.unwrap().devices[0].size, Some(i64::MAX));
        assert_eq!(read.memory.unwrap().modules[0].size, Some(i32::MAX));
    }
}
