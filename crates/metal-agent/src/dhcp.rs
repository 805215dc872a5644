//! A DHCPv4 client's conversation (RFC 2131), as decisions on bytes: it has no clock and no socket.

use std::net::Ipv4Addr;
use std::time::Duration;

use dhcproto::v4::{DhcpOption, Flags, HType, Message, MessageType, Opcode, OptionCode};
use dhcproto::{Decodable, Encodable};
use hardware_types::Mac;

/// Shortest BOOTP message (RFC 1542 §2.1); relays drop shorter ones.
const MIN_MESSAGE: usize = 300;
/// A request that many times unanswered is given up for another offer.
const REQUESTS: u32 = 4;
/// Smallest MTU that is believed (RFC 791: every host takes 576 bytes).
const MIN_MTU: u16 = 576;
/// Longest hostname that Linux takes.
const MAX_HOSTNAME: usize = 64;
/// What the server is asked for beside an address.
const WANTED: [OptionCode; 5] = [
    OptionCode::SubnetMask,
    OptionCode::Router,
    OptionCode::Hostname,
    OptionCode::InterfaceMtu,
    OptionCode::ClasslessStaticRoute,
];

/// What a server gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The machine's address.
    pub address: Ipv4Addr,
    /// Length of its network's prefix.
    pub prefix: u8,
    /// Routes beside the one to its own network: the classless ones (RFC 3442), or else the default one.
    pub routes: Vec<Route>,
    /// Hostname, if one was given that is one.
    pub hostname: Option<String>,
    /// Greatest packet of the interface, if given.
    pub mtu: Option<u16>,
    /// The server that gave it.
    pub server: Ipv4Addr,
}

/// A route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Network.
    pub destination: Ipv4Addr,
    /// Length of its prefix.
    pub prefix: u8,
    /// Through which router; none if the network is on the link.
    pub gateway: Option<Ipv4Addr>,
}

/// What a packet changed.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// Nothing: it is somebody else's, malformed or out of turn.
    Nothing,
    /// An offer: send [`Client::message`] now.
    Offer,
    /// The address is the machine's.
    Lease(Lease),
}

/// One conversation.
#[derive(Debug)]
pub struct Client {
    mac: Mac,
    transaction: u32,
    state: State,
    /// How often the message of this state was sent without an answer.
    sent: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Selecting,
    Requesting { address: Ipv4Addr, server: Ipv4Addr },
}

impl Client {
    /// A conversation of the interface with this address; `transaction` tells it from others and is best random.
    pub fn new(mac: Mac, transaction: u32) -> Self {
        Self {
            mac,
            transaction,
            state: State::Selecting,
            sent: 0,
        }
    }

    /// The message to broadcast now, `elapsed` after the conversation began.
    pub fn message(&self, elapsed: Duration) -> Result<Vec<u8>, dhcproto::error::EncodeError> {
        let unset = Ipv4Addr::UNSPECIFIED;
        let mac = self.mac.bytes();
        let mut message = Message::new_with_id(self.transaction, unset, unset, unset, unset, &mac);
        message
            .set_flags(Flags::default().set_broadcast())
            .set_secs(u16::try_from(elapsed.as_secs()).unwrap_or(u16::MAX));
        let options = message.opts_mut();
        let kind = match self.state {
            State::Selecting => MessageType::Discover,
            State::Requesting { address, server } => {
                options.insert(DhcpOption::RequestedIpAddress(address));
                options.insert(DhcpOption::ServerIdentifier(server));
                MessageType::Request
            }
        };
        options.insert(DhcpOption::MessageType(kind));
        options.insert(DhcpOption::ParameterRequestList(WANTED.to_vec()));
        // as iPXE says it, so that both get one lease
        options.insert(DhcpOption::ClientIdentifier([&[1], &mac[..]].concat()));
        let mut bytes = message.to_vec()?;
        bytes.resize(bytes.len().max(MIN_MESSAGE), 0);
        Ok(bytes)
    }

    /// How long to wait for an answer to the message that was just sent (RFC 2131 §4.1, with a shorter start).
    pub fn patience(&self) -> Duration {
        Duration::from_secs(1 << self.sent.min(3))
    }

    /// No answer came in time: [`Client::message`] is to be sent again.
    pub fn unanswered(&mut self) {
        self.sent += 1;
        if self.sent >= REQUESTS && self.state != State::Selecting {
            self.select();
        }
    }

    /// Takes a packet from port 67.
    pub fn receive(&mut self, packet: &[u8]) -> Received {
        let Some(reply) = Reply::parse(packet, self.mac, self.transaction) else {
            return Received::Nothing;
        };
        match (self.state, reply.kind) {
            (State::Selecting, MessageType::Offer) => {
                let (address, server) = (reply.lease.address, reply.lease.server);
                // a PXE service's offer has no address, and one without server cannot be requested
                if address.is_unspecified() || server.is_unspecified() {
                    return Received::Nothing;
                }
                self.state = State::Requesting { address, server };
                self.sent = 0;
                Received::Offer
            }
            (State::Requesting { server, .. }, MessageType::Ack)
                if reply.lease.server == server && !reply.lease.address.is_unspecified() =>
            {
                Received::Lease(reply.lease)
            }
            (State::Requesting { server, .. }, MessageType::Nak) if reply.lease.server == server => {
                // the next DISCOVER waits its turn: a server that refuses everything is not flooded
                self.select();
                Received::Nothing
            }
            _ => Received::Nothing,
        }
    }

    fn select(&mut self) {
        self.state = State::Selecting;
        self.sent = 0;
    }
}

/// A reply that is for this conversation.
struct Reply {
    kind: MessageType,
    lease: Lease,
}

impl Reply {
    fn parse(packet: &[u8], mac: Mac, transaction: u32) -> Option<Self> {
        let message = Message::from_bytes(packet).ok()?;
        // chaddr() panics where hlen is more than its field holds
        let ours = message.opcode() == Opcode::BootReply
            && message.xid() == transaction
            && message.htype() == HType::Eth
            && message.hlen() == 6
            && message.chaddr() == mac.bytes();
        if !ours {
            return None;
        }
        let options = message.opts();
        let address = message.yiaddr();
        let Some(DhcpOption::MessageType(kind)) = options.get(OptionCode::MessageType) else {
            return None;
        };
        let server = match options.get(OptionCode::ServerIdentifier) {
            Some(DhcpOption::ServerIdentifier(server)) => *server,
            _ => Ipv4Addr::UNSPECIFIED,
        };
        let prefix = match options.get(OptionCode::SubnetMask) {
            Some(DhcpOption::SubnetMask(mask)) => prefix_length(*mask)?,
            _ => class_prefix(address),
        };
        let hostname = match options.get(OptionCode::Hostname) {
            Some(DhcpOption::Hostname(name)) => Some(name.clone()).filter(|name| is_hostname(name)),
            _ => None,
        };
        let mtu = match options.get(OptionCode::InterfaceMtu) {
            Some(DhcpOption::InterfaceMtu(mtu)) => Some(*mtu).filter(|mtu| *mtu >= MIN_MTU),
            _ => None,
        };
        let routes = match (
            options.get(OptionCode::ClasslessStaticRoute),
            options.get(OptionCode::Router),
        ) {
            (Some(DhcpOption::ClasslessStaticRoute(routes)), _) => routes
                .iter()
                .map(|(network, gateway)| Route {
                    destination: network.network(),
                    prefix: network.prefix_len(),
                    gateway: Some(*gateway).filter(|gateway| !gateway.is_unspecified()),
                })
                .collect(),
            (_, Some(DhcpOption::Router(routers))) => routers
                .first()
                .map(|router| Route {
                    destination: Ipv4Addr::UNSPECIFIED,
                    prefix: 0,
                    gateway: Some(*router),
                })
                .into_iter()
                .collect(),
            _ => Vec::new(),
        };
        Some(Self {
            kind: *kind,
            lease: Lease {
                address,
                prefix,
                routes,
                hostname,
                mtu,
                server,
            },
        })
    }
}

/// Length of a contiguous mask.
fn prefix_length(mask: Ipv4Addr) -> Option<u8> {
    let bits = mask.to_bits();
    let ones = bits.leading_ones();
    (ones > 0 && bits.count_ones() == ones).then_some(ones as u8)
}

/// The prefix of an address whose server gave no mask (RFC 950 §2.1).
fn class_prefix(address: Ipv4Addr) -> u8 {
    match address.octets()[0] {
        0..128 => 8,
        128..192 => 16,
        _ => 24,
    }
}

fn is_hostname(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    (1..=MAX_HOSTNAME).contains(&name.len()) && name.bytes().all(allowed)
}

#[cfg(test)]
mod tests;
