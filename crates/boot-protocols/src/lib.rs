//! Protocols by which a machine finds its system: DHCP for network boot, iPXE scripts. Bytes in, bytes out: no socket,
//! no clock, no runtime.

pub mod dhcp;
pub mod ipxe;
