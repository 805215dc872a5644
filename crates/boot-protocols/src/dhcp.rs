//! `ProxyDHCP` (PXE 2.1 §2.2): tells a machine what to boot and leaves addresses to the site's own DHCP server.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};

mod reply;
mod request;

pub use reply::reply;
pub use request::{Reject, Request};

/// Port of DHCP servers and relay agents (RFC 2131 §4.1).
pub const SERVER_PORT: u16 = 67;
/// Port of DHCP clients (RFC 2131 §4.1).
pub const CLIENT_PORT: u16 = 68;
/// Port on which a PXE client asks for the details of an offer (PXE 2.1 §2.2.3).
pub const PXE_PORT: u16 = 4011;

/// What the message asks for (RFC 2132 §9.6): the three kinds that a proxy may answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// DHCPDISCOVER.
    Discover,
    /// DHCPREQUEST.
    Request,
    /// DHCPINFORM.
    Inform,
}

/// What kind of boot client asks; decides the boot file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// iPXE, in a ROM or loaded before, on any platform: it takes a script over HTTP.
    Ipxe,
    /// PXE ROM of a BIOS machine.
    Bios,
    /// PXE client of x86 UEFI firmware.
    Efi,
    /// PXE client of 64-bit ARM UEFI firmware.
    EfiArm64,
    /// HTTP boot client of x86 UEFI firmware.
    Http,
    /// HTTP boot client of 64-bit ARM UEFI firmware.
    HttpArm64,
}

impl Class {
    /// Short name, for logs and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Ipxe => "ipxe",
            Self::Bios => "bios",
            Self::Efi => "efi",
            Self::EfiArm64 => "efi-arm64",
            Self::Http => "http",
            Self::HttpArm64 => "http-arm64",
        }
    }

    /// The class of option 93's architecture (RFC 4578 §2.1, IANA "Processor Architecture Types"), or `None` for one
    /// that nothing here boots. iPXE is told by other options.
    fn of_architecture(code: u16) -> Option<Self> {
        match code {
            0 => Some(Self::Bios),
            // 7 and 9 are x86-64 and EFI byte code, in either order: RFC 4578 and its erratum disagree
            6 | 7 | 9 => Some(Self::Efi),
            11 => Some(Self::EfiArm64),
            15 | 16 => Some(Self::Http),
            19 => Some(Self::HttpArm64),
            _ => None,
        }
    }

    /// Name or URL of what this client loads.
    fn boot_file(self, site: Site) -> String {
        match self {
            Self::Ipxe => format!("http://{site}/boot.ipxe"),
            Self::Bios => "undionly.kpxe".into(),
            Self::Efi => "snp.efi".into(),
            Self::EfiArm64 => "snp-arm64.efi".into(),
            Self::Http => format!("http://{site}/tftp/snp.efi"),
            Self::HttpArm64 => format!("http://{site}/tftp/snp-arm64.efi"),
        }
    }
}

/// Where machines of this site find TFTP and HTTP. Prints as the authority of a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Site {
    /// Address of the TFTP and HTTP servers, and of this proxy.
    pub endpoint: Ipv4Addr,
    /// Port of the HTTP server.
    pub api_port: u16,
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.endpoint, self.api_port)
    }
}

/// Port of ours on which a message came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// 67, where clients and relay agents broadcast.
    Dhcp,
    /// 4011, which a PXE client asks after our offer.
    Pxe,
}

/// By which way a message came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ingress<'a> {
    /// Name of the interface.
    pub interface: &'a str,
    /// Our own address on it: replies leave with it as their source.
    pub address: Ipv4Addr,
    /// The sender's address and port; 0.0.0.0 while it has none.
    pub source: SocketAddrV4,
    /// Our port.
    pub port: Port,
}

/// A message to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// UDP payload.
    pub packet: Vec<u8>,
    /// Where to.
    pub destination: SocketAddrV4,
    /// Our address from which it must leave.
    pub source: Ipv4Addr,
    /// Name or URL of the boot file that it names.
    pub boot_file: String,
}

/// Entry point for fuzzing: a message from anybody is never a panic, and no reply is taken for a request.
///
/// # Panics
///
/// When a reply is no whole BOOTREPLY that fits a frame: that is what the fuzzer looks for.
pub fn fuzz(data: &[u8]) {
    let Ok(request) = Request::parse(data) else {
        return;
    };
    let endpoint = Ipv4Addr::new(10, 77, 0, 3);
    let site = Site {
        endpoint,
        api_port: 8081,
    };
    for port in [Port::Dhcp, Port::Pxe] {
        let ingress = Ingress {
            interface: "eth0",
            address: endpoint,
            source: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, CLIENT_PORT),
            port,
        };
        if let Some(reply) = reply(&request, &ingress, site) {
            assert!((300..=1472).contains(&reply.packet.len()), "{reply:?}");
            assert_eq!(Request::parse(&reply.packet), Err(Reject::NotARequest));
        }
    }
}

#[cfg(test)]
mod tests;
