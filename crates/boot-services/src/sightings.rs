//! What the services saw of a machine: the evidence for "it asks to boot".

use std::net::IpAddr;

use boot_protocols::dhcp::Class;
use hardware_types::{Mac, ServerId};

/// One thing that a machine did and that was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sighting<'a> {
    /// It was told what to boot.
    Dhcp {
        /// NIC that asked.
        mac: Mac,
        /// The machine, where its firmware sends its UUID.
        machine: Option<ServerId>,
        /// Kind of boot client.
        class: Class,
        /// Name or URL of the boot file it was told.
        boot_file: &'a str,
    },
    /// It read a file to its end by TFTP.
    Tftp {
        /// Its address.
        client: IpAddr,
        /// Name of the file, as it asked.
        file: &'a str,
    },
}

/// Who wants to know. Called on the service's own task: it must not block.
pub trait Sightings: Send + Sync {
    /// Takes note.
    fn seen(&self, sighting: &Sighting<'_>);
}
