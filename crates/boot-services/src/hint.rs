//! What to do about a port that cannot be opened.

use std::io;

/// A remark to put behind the error, or nothing.
pub(crate) fn of(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            " (ports below 1024 need the capability NET_BIND_SERVICE, and a device that is chosen may need NET_RAW)"
        }
        io::ErrorKind::AddrNotAvailable => {
            " (no interface has this address: run with the host's network, hostNetwork: true, on the node that has it)"
        }
        io::ErrorKind::AddrInUse => " (another server on this host has the port)",
        _ => "",
    }
}
