//! Answers of the proxy: an offer to who discovers, an acknowledgement to who asks on port 4011.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::request::BOOT_ITEM;
use super::{CLIENT_PORT, Ingress, Kind, Port, Reply, Request, SERVER_PORT, Site};

/// The answer to a request, or `None` where it is another server's to answer: a REQUEST or INFORM on port 67 is about
/// an address, and a DISCOVER on port 4011 is nobody's.
pub fn reply(request: &Request, ingress: &Ingress<'_>, site: Site) -> Option<Reply> {
    if *ingress.source.ip() == ingress.address {
        return None;
    }
    let (kind, destination) = match (ingress.port, request.kind) {
        (Port::Dhcp, Kind::Discover) => (OFFER, client(request)),
        (Port::Pxe, Kind::Request | Kind::Inform) => (ACK, sender(ingress.source)),
        _ => return None,
    };
    let boot_file = request.class.boot_file(site);
    Some(Reply {
        packet: packet(request, kind, &boot_file, site),
        destination,
        source: ingress.address,
        boot_file,
    })
}

/// RFC 2131 §4.1: by the relay agent; else to the client's address; else to all, because a proxy gives no address to
/// which it could send, whatever the broadcast flag says.
fn client(request: &Request) -> SocketAddrV4 {
    if !request.relay.is_unspecified() {
        SocketAddrV4::new(request.relay, SERVER_PORT)
    } else if !request.client_address.is_unspecified() {
        SocketAddrV4::new(request.client_address, CLIENT_PORT)
    } else {
        SocketAddrV4::new(Ipv4Addr::BROADCAST, CLIENT_PORT)
    }
}

/// PXE 2.1 §2.2.3: to the address and port that asked.
fn sender(source: SocketAddrV4) -> SocketAddrV4 {
    if source.ip().is_unspecified() {
        SocketAddrV4::new(Ipv4Addr::BROADCAST, source.port())
    } else {
        source
    }
}

const OFFER: u8 = 2;
const ACK: u8 = 5;
const BROADCAST_FLAG: u16 = 0x8000;
/// Smallest BOOTP message (RFC 1542 §2.1); some ROMs drop less.
const MIN_LENGTH: usize = 300;
const SNAME_LENGTH: usize = 64;
const FILE_LENGTH: usize = 128;
/// `PXE_DISCOVERY_CONTROL` (PXE 2.1 table 2-1) with bit 3: no menu, no discovery, load the boot file of this offer.
const DISCOVERY_CONTROL: [u8; 3] = [6, 1, 8];
const END: u8 = 255;

fn packet(request: &Request, kind: u8, boot_file: &str, site: Site) -> Vec<u8> {
    let server = site.endpoint.octets();
    let server_name = site.endpoint.to_string();
    let mut packet = header(request, boot_file, &server_name, site);
    let mut option = |code: u8, value: &[u8]| {
        // what does not fit one option is a client's own odd id, and not worth a split
        if let Ok(length) = u8::try_from(value.len()) {
            packet.extend([code, length]);
            packet.extend(value);
        }
    };
    option(53, &[kind]);
    option(54, &server);
    if request.http_client {
        option(60, b"HTTPClient");
    } else {
        option(60, b"PXEClient");
        option(43, &vendor(request));
    }
    option(66, server_name.as_bytes());
    option(67, boot_file.as_bytes());
    if let Some(id) = &request.client_id {
        option(61, id);
    }
    if let Some(id) = &request.machine_id {
        option(97, id);
    }
    // RFC 3046 §2.2: last
    if let Some(information) = &request.relay_information {
        option(82, information);
    }
    packet.push(END);
    packet.resize(packet.len().max(MIN_LENGTH), 0);
    packet
}

/// Option 43 of a PXE client.
fn vendor(request: &Request) -> Vec<u8> {
    let mut list = DISCOVERY_CONTROL.to_vec();
    if let Some(item) = &request.boot_item
        && let Ok(length) = u8::try_from(item.len())
    {
        list.extend([BOOT_ITEM, length]);
        list.extend(item);
    }
    list.push(END);
    list
}

/// BOOTP header and magic cookie (RFC 2131 §2).
fn header(request: &Request, boot_file: &str, server_name: &str, site: Site) -> Vec<u8> {
    // A relay agent would send to yiaddr, which is none, if it were not told to broadcast.
    let broadcast = request.broadcast || !request.relay.is_unspecified();
    let flags = if broadcast { BROADCAST_FLAG } else { 0 };
    let mut packet = vec![2, 1, 6, 0];
    packet.extend(request.xid.to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(flags.to_be_bytes());
    packet.extend(request.client_address.octets());
    packet.extend([0; 4]);
    packet.extend(site.endpoint.octets());
    packet.extend(request.relay.octets());
    packet.extend(request.mac.bytes());
    packet.extend([0; 10]);
    field(&mut packet, server_name, SNAME_LENGTH);
    field(&mut packet, boot_file, FILE_LENGTH);
    packet.extend([99, 130, 83, 99]);
    packet
}

/// A text in a field of fixed length that ends in at least one zero; empty when it does not fit.
fn field(packet: &mut Vec<u8>, text: &str, length: usize) {
    let end = packet.len() + length;
    if text.len() < length {
        packet.extend(text.as_bytes());
    }
    packet.resize(end, 0);
}
