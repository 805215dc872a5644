//! Network interfaces with a MAC address, from `/sys/class/net`.

use std::net::IpAddr;
use std::path::Path;

use hardware_types::Mac;
use hardware_types::inventory::Interface;

use super::{names, number, text};

/// Flags of an interface that are reported, with their bits (`netdevice(7)`).
const FLAGS: [(u32, &str); 5] = [
    (0x1, "up"),
    (0x2, "broadcast"),
    (0x8, "loopback"),
    (0x10, "pointtopoint"),
    (0x1000, "multicast"),
];

/// An address of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// Index of the interface.
    pub interface: u32,
    /// The address.
    pub address: IpAddr,
    /// Length of its network's prefix.
    pub prefix: u8,
}

/// Reads the interfaces below a folder that is `/sys/class/net`.
pub(super) fn read(net: &Path, addresses: &[Address]) -> Vec<Interface> {
    let names = names(net).into_iter();
    names
        .filter_map(|name| interface(&net.join(&name), &name, addresses))
        .collect()
}

fn interface(folder: &Path, name: &str, addresses: &[Address]) -> Option<Interface> {
    // loopback has zeros, InfiniBand more than six bytes
    let mac = text(&folder.join("address")).parse::<Mac>().ok()?;
    let index = number(&folder.join("ifindex"))?;
    let own = addresses.iter().filter(|address| address.interface == index);
    (mac.bytes() != [0; 6]).then(|| Interface {
        index,
        name: name.into(),
        flags: flags(&text(&folder.join("flags"))),
        mtu: number(&folder.join("mtu")).unwrap_or_default(),
        mac,
        addresses: own.map(|own| format!("{}/{}", own.address, own.prefix)).collect(),
    })
}

fn flags(hexadecimal: &str) -> String {
    let bits = u32::from_str_radix(hexadecimal.trim_start_matches("0x"), 16).unwrap_or_default();
    let set = FLAGS.iter().filter(|(bit, _)| bits & bit != 0);
    set.map(|(_, name)| *name).collect::<Vec<_>>().join("|")
}

#[cfg(test)]
mod tests {
    use super::super::tests::tree;
    use super::*;

    #[test]
    fn interfaces_with_a_mac_are_read_with_their_own_addresses() {
        let net = tree(&[
            ("lo/address", "00:00:00:00:00:00\n"),
            ("lo/ifindex", "1\n"),
            ("eth0/address", "52:54:00:aa:00:01\n"),
            ("eth0/ifindex", "2\n"),
            ("eth0/flags", "0x1003\n"),
            ("eth0/mtu", "1500\n"),
            ("eth1/address", "52:54:00:aa:00:02\n"),
            ("eth1/ifindex", "3\n"),
            ("eth1/flags", "0x1002\n"),
            (
                "ib0/address",
                "80:00:02:08:fe:80:00:00:00:00:00:00:00:02:c9:03:00:0b:4f:e1\n",
            ),
            ("ib0/ifindex", "4\n"),
        ]);
        let address = |interface, address: &str, prefix| Address {
            interface,
            address: address.parse().unwrap(),
            prefix,
        };
        let addresses = [
            address(1, "127.0.0.1", 8),
            address(2, "10.0.2.15", 24),
            address(2, "fe80::1", 64),
        ];
        let interfaces = read(net.path(), &addresses);
        assert_eq!(interfaces.len(), 2, "{interfaces:?}");
        assert_eq!(interfaces[0].name, "eth0");
        assert_eq!(interfaces[0].index, 2);
        assert_eq!(interfaces[0].flags, "up|broadcast|multicast");
        assert_eq!(interfaces[0].mtu, 1500);
        assert_eq!(interfaces[0].addresses, ["10.0.2.15/24", "fe80::1/64"]);
        assert_eq!(interfaces[1].mac.to_string(), "52:54:00:aa:00:02");
        assert_eq!(interfaces[1].flags, "broadcast|multicast");
        assert!(interfaces[1].addresses.is_empty());
    }
}
