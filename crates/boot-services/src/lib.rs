//! Network services that boot machines: a DHCP proxy beside the site's own DHCP server, and TFTP.

pub mod dhcp;
mod hint;
pub mod sightings;
pub mod tftp;
