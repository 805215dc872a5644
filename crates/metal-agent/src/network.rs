//! Brings interfaces up, gets an address by DHCP and applies it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use agent_protocol::why_not_reachable;
use futures::TryStreamExt as _;
use hardware_types::Mac;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::link::LinkAttribute;
use rtnetlink::packet_route::route::RouteScope;
use rtnetlink::{Handle, LinkUnspec, RouteMessageBuilder};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep, timeout};

use crate::dhcp::{Client, Lease, Received};
use crate::inventory::Address;

/// How long an interface may take to appear: some drivers load firmware first.
const INTERFACE_DEADLINE: Duration = Duration::from_mins(1);
/// How long a DHCP server may take, spanning tree's half a minute included.
const DHCP_DEADLINE: Duration = Duration::from_mins(5);

/// A network that was joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// Name of the interface.
    pub interface: String,
    /// What the DHCP server gave.
    pub lease: Lease,
    /// What of it the kernel did not take, and why: the machine may get along without.
    pub troubles: Vec<String>,
}

/// Why a network was not joined.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The kernel did not do as told.
    #[error("cannot {action}: {source}")]
    Netlink {
        /// What was attempted.
        action: String,
        /// Why it failed.
        source: rtnetlink::Error,
    },
    /// No socket.
    #[error("cannot {action}: {source}")]
    Socket {
        /// What was attempted.
        action: String,
        /// Why it failed.
        source: io::Error,
    },
    /// No such interface.
    #[error(
        "no interface has the address {mac} of kernel argument sidero.mac after {} s; there are: {present}",
        INTERFACE_DEADLINE.as_secs()
    )]
    NoInterface {
        /// The address.
        mac: Mac,
        /// Those that there are.
        present: String,
    },
    /// No DHCP server.
    #[error("no DHCP server gave {interface} an address within {} s", DHCP_DEADLINE.as_secs())]
    NoLease {
        /// Name of the interface.
        interface: String,
    },
    /// A message that cannot be written.
    #[error("cannot write a DHCP message: {0}")]
    Encode(#[from] dhcproto::error::EncodeError),
}

/// An interface as the kernel lists it.
#[derive(Debug, Clone)]
struct Link {
    index: u32,
    name: String,
    mac: Option<Mac>,
}

/// The kernel's networking.
#[derive(Debug)]
pub(crate) struct Network {
    handle: Handle,
}

impl Network {
    /// Connects to the kernel; within a tokio runtime.
    pub(crate) fn connect() -> io::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    /// Brings all interfaces up and gets the one with this address an IPv4 address. While there is no such interface,
    /// `drivers` are looked for.
    pub(crate) async fn join(&self, mac: Mac, drivers: impl AsyncFnMut()) -> Result<Joined, JoinError> {
        let link = self.wait_for(mac, drivers).await?;
        self.up(&link).await?;
        let lease = lease(&link, mac).await?;
        let troubles = self.apply(&link, &lease).await?;
        // the others need only be up to be reported so
        for other in self
            .links()
            .await?
            .iter()
            .filter(|other| other.index != link.index)
        {
            self.up(other).await.ok();
        }
        Ok(Joined {
            interface: link.name,
            lease,
            troubles,
        })
    }

    /// All addresses of all interfaces, in order.
    pub(crate) async fn addresses(&self) -> Result<Vec<Address>, rtnetlink::Error> {
        let messages: Vec<_> = self.handle.address().get().execute().try_collect().await?;
        let mut addresses: Vec<_> = messages
            .into_iter()
            .filter_map(|message| {
                let mut attributes = message.attributes.iter();
                let address = attributes.find_map(|attribute| match attribute {
                    AddressAttribute::Address(address) => Some(*address),
                    _ => None,
                });
                Some(Address {
                    interface: message.header.index,
                    address: address?,
                    prefix: message.header.prefix_len,
                })
            })
            .collect();
        addresses.sort_unstable();
        Ok(addresses)
    }

    async fn wait_for(&self, mac: Mac, mut drivers: impl AsyncFnMut()) -> Result<Link, JoinError> {
        let deadline = Instant::now() + INTERFACE_DEADLINE;
        loop {
            let links = self.links().await?;
            if let Some(link) = links.iter().find(|link| link.mac == Some(mac)) {
                return Ok(link.clone());
            }
            if Instant::now() >= deadline {
                let present = links
                    .iter()
                    .filter_map(|link| Some(format!("{} {}", link.name, link.mac?)));
                return Err(JoinError::NoInterface {
                    mac,
                    present: present.collect::<Vec<_>>().join(", "),
                });
            }
            sleep(Duration::from_millis(200)).await;
            drivers().await;
        }
    }

    async fn links(&self) -> Result<Vec<Link>, JoinError> {
        let messages = self.handle.link().get().execute().try_collect::<Vec<_>>().await;
        let messages = messages.map_err(netlink(|| "list the interfaces".into()))?;
        let links = messages.into_iter().map(|message| {
            let mut link = Link {
                index: message.header.index,
                name: String::new(),
                mac: None,
            };
            for attribute in message.attributes {
                match attribute {
                    LinkAttribute::IfName(name) => link.name = name,
                    LinkAttribute::Address(bytes) => {
                        let mac = <[u8; 6]>::try_from(bytes).ok();
                        link.mac = mac.filter(|mac| *mac != [0; 6]).map(Mac::new);
                    }
                    _ => (),
                }
            }
            link
        });
        Ok(links.collect())
    }

    async fn up(&self, link: &Link) -> Result<(), JoinError> {
        let up = LinkUnspec::new_with_index(link.index).up().build();
        let done = self.handle.link().set(up).execute().await;
        done.map_err(netlink(|| format!("bring {} up", link.name)))
    }

    /// Applies a lease; returns what the kernel did not take of all that is not the address itself.
    async fn apply(&self, link: &Link, lease: &Lease) -> Result<Vec<String>, JoinError> {
        let mut troubles = Vec::new();
        if let Some(mtu) = lease.mtu {
            let set = LinkUnspec::new_with_index(link.index).mtu(mtu.into()).build();
            let done = self.handle.link().set(set).execute().await;
            let done = done.map_err(netlink(|| format!("set the MTU of {} to {mtu}", link.name)));
            troubles.extend(done.err());
        }
        let add = self
            .handle
            .address()
            .add(link.index, lease.address.into(), lease.prefix);
        let done = add.replace().execute().await;
        done.map_err(netlink(|| {
            format!(
                "give {} the address {}/{}",
                link.name, lease.address, lease.prefix
            )
        }))?;
        for route in &lease.routes {
            let message = RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(route.destination, route.prefix)
                .output_interface(link.index);
            let message = match route.gateway {
                Some(gateway) => message.gateway(gateway),
                None => message.scope(RouteScope::Link),
            };
            let done = self.handle.route().add(message.build()).replace().execute().await;
            troubles.extend(done.map_err(netlink(|| format!("add the route {route:?}"))).err());
        }
        Ok(troubles.iter().map(ToString::to_string).collect())
    }
}

fn netlink(action: impl FnOnce() -> String) -> impl FnOnce(rtnetlink::Error) -> JoinError {
    |source| JoinError::Netlink {
        action: action(),
        source,
    }
}

/// Talks to DHCP servers until one gives an address.
async fn lease(link: &Link, mac: Mac) -> Result<Lease, JoinError> {
    let socket = socket(&link.name).map_err(|source| JoinError::Socket {
        action: format!("open UDP port 68 on {}", link.name),
        source,
    })?;
    let talk = converse(&socket, Client::new(mac, rand::random()));
    timeout(DHCP_DEADLINE, talk).await.unwrap_or_else(|_| {
        Err(JoinError::NoLease {
            interface: link.name.clone(),
        })
    })
}

async fn converse(socket: &UdpSocket, mut client: Client) -> Result<Lease, JoinError> {
    let began = Instant::now();
    let mut packet = [0; 1500];
    loop {
        let message = client.message(began.elapsed())?;
        // an interface without carrier refuses; it may get one
        let _ = socket
            .send_to(&message, SocketAddrV4::new(Ipv4Addr::BROADCAST, 67))
            .await;
        let deadline = Instant::now() + client.patience();
        loop {
            let Ok(received) = tokio::time::timeout_at(deadline, socket.recv(&mut packet)).await else {
                client.unanswered();
                break;
            };
            let length = received.map_err(|source| JoinError::Socket {
                action: "receive from DHCP servers".into(),
                source,
            })?;
            match client.receive(&packet[..length]) {
                Received::Nothing => (),
                Received::Offer => break,
                Received::Lease(lease) => return Ok(lease),
            }
        }
    }
}

/// UDP port 68 of one interface, which has no address yet.
fn socket(interface: &str) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.bind_device(Some(interface.as_bytes()))?;
    socket.set_broadcast(true)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68).into())?;
    UdpSocket::from_std(socket.into())
}

/// Whether others reach a machine at this address.
pub(crate) fn is_global(address: IpAddr) -> bool {
    let is_broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    why_not_reachable(address).is_none() && !is_broadcast
}
