//! Opens the proxy's sockets on the interface that owns the endpoint's address.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

use boot_protocols::dhcp::{PXE_PORT, SERVER_PORT};
use nix::ifaddrs::getifaddrs;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

/// Why the proxy cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The interfaces of this host cannot be listed.
    #[error("cannot list the network interfaces: {0}")]
    Interfaces(#[source] io::Error),
    /// The process does not see the network that the machines boot from.
    #[error(
        "no network interface has the endpoint's address {0}: run with the host's network (hostNetwork: true) on the node that has it, or switch the DHCP proxy off (--disable-dhcp-proxy) and let the site's DHCP server name the boot files"
    )]
    NoInterface(Ipv4Addr),
    /// A socket cannot be opened.
    #[error(
        "cannot listen on UDP {address} of interface {interface}: {source}{}",
        crate::hint::of(source)
    )]
    Socket {
        /// Address and port.
        address: SocketAddrV4,
        /// Name of the interface.
        interface: String,
        /// Why.
        source: io::Error,
    },
}

/// The open sockets, bound to one interface.
#[derive(Debug)]
pub struct Sockets {
    pub(super) interface: String,
    /// Port 67, any address: what clients broadcast.
    pub(super) broadcast: UdpSocket,
    /// Port 67 at the endpoint's address: what relay agents send. Sends all answers of port 67.
    pub(super) unicast: UdpSocket,
    /// Port 4011 at the endpoint's address.
    pub(super) pxe: UdpSocket,
}

impl Sockets {
    /// Opens ports 67 and 4011 on the interface that has the address `endpoint`. Needs a tokio runtime.
    pub fn bind(endpoint: Ipv4Addr) -> Result<Self, BindError> {
        Self::bind_ports(endpoint, SERVER_PORT, PXE_PORT)
    }

    pub(super) fn bind_ports(endpoint: Ipv4Addr, dhcp: u16, pxe: u16) -> Result<Self, BindError> {
        let interface = interface_of(endpoint)?;
        let open = |address, port| {
            let address = SocketAddrV4::new(address, port);
            open(&interface, address).map_err(|source| BindError::Socket {
                address,
                interface: interface.clone(),
                source,
            })
        };
        Ok(Self {
            broadcast: open(Ipv4Addr::UNSPECIFIED, dhcp)?,
            unicast: open(endpoint, dhcp)?,
            pxe: open(endpoint, pxe)?,
            interface,
        })
    }
}

fn interface_of(address: Ipv4Addr) -> Result<String, BindError> {
    getifaddrs()
        .map_err(|errno| BindError::Interfaces(errno.into()))?
        .find(|interface| {
            let own = interface.address.as_ref().and_then(|any| any.as_sockaddr_in());
            own.is_some_and(|own| own.ip() == address)
        })
        .map(|interface| interface.interface_name)
        .ok_or(BindError::NoInterface(address))
}

fn open(interface: &str, address: SocketAddrV4) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    // two sockets of ours share port 67, and another interface's DHCP server may have it
    socket.set_reuse_address(true)?;
    socket.set_broadcast(true)?;
    socket.bind_device(Some(interface.as_bytes()))?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}
