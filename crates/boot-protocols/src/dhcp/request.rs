//! Reads messages of boot clients. The only place that sees the types of the DHCP library.

use std::net::Ipv4Addr;

use dhcproto::Decodable;
use dhcproto::v4::{DhcpOption, HType, Message, MessageType, Opcode, OptionCode};
use hardware_types::{Mac, ServerId};
use uuid::Uuid;

use super::{Class, Kind};

/// A message that a network boot client sent, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What it asks for.
    pub kind: Kind,
    /// Who boots.
    pub class: Class,
    /// Hardware address of the NIC.
    pub mac: Mac,
    /// The machine, if option 97 names one (RFC 4578 §2.3).
    pub machine: Option<ServerId>,
    /// Whether it calls itself `HTTPClient` in option 60 (UEFI 2.10 §24.7.2).
    pub http_client: bool,
    pub(super) xid: u32,
    pub(super) broadcast: bool,
    pub(super) client_address: Ipv4Addr,
    pub(super) relay: Ipv4Addr,
    /// Options 61 and 97, which a reply repeats.
    pub(super) client_id: Option<Vec<u8>>,
    pub(super) machine_id: Option<Vec<u8>>,
    /// Option 82 as it came (RFC 3046 §2.2: echoed verbatim).
    pub(super) relay_information: Option<Vec<u8>>,
    /// Sub-option 71 of option 43: the boot item that the client chose (PXE 2.1 table 2-1).
    pub(super) boot_item: Option<Vec<u8>>,
}

/// Why a message is not answered; [`Reject::label`] is for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Reject {
    /// Cut short, or no DHCP at all.
    #[error("no whole DHCP message")]
    Malformed,
    /// A BOOTREPLY: from a server, us included.
    #[error("not a request of a client")]
    NotARequest,
    /// No Ethernet address of six bytes.
    #[error("no Ethernet client")]
    Hardware,
    /// More relay agents than RFC 1542 §4.1.1 allows: it goes round in a loop.
    #[error("passed more than 16 relay agents")]
    RelayLoop,
    /// Neither DISCOVER, REQUEST nor INFORM.
    #[error("a message type that no boot client asks with")]
    MessageType,
    /// Without option 93 it is an ordinary DHCP client.
    #[error("not a network boot client")]
    NotBooting,
    /// Option 93 names an architecture that nothing here boots.
    #[error("an architecture without a boot loader")]
    Architecture,
}

impl Reject {
    /// Short name, for metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::NotARequest => "not-a-request",
            Self::Hardware => "hardware",
            Self::RelayLoop => "relay-loop",
            Self::MessageType => "message-type",
            Self::NotBooting => "not-booting",
            Self::Architecture => "architecture",
        }
    }
}

const MAGIC: [u8; 4] = [99, 130, 83, 99];
/// Offset of the options: behind the BOOTP header and the magic cookie (RFC 2131 §2).
const OPTIONS: usize = 240;
const MAX_HOPS: u8 = 16;
/// Sub-option of option 43: type and layer of the chosen boot server.
pub(super) const BOOT_ITEM: u8 = 71;
const IPXE_ENCAPSULATED: OptionCode = OptionCode::Unknown(175);

impl Request {
    /// Reads a UDP payload.
    pub fn parse(packet: &[u8]) -> Result<Self, Reject> {
        if packet.get(OPTIONS - 4..OPTIONS) != Some(MAGIC.as_slice()) {
            return Err(Reject::Malformed);
        }
        let message = Message::from_bytes(packet).map_err(|_| Reject::Malformed)?;
        if message.opcode() != Opcode::BootRequest {
            return Err(Reject::NotARequest);
        }
        // chaddr() panics on a length above 16: nothing touches it before this
        if message.htype() != HType::Eth || message.hlen() != 6 {
            return Err(Reject::Hardware);
        }
        let mac = Mac::new(message.chaddr().try_into().map_err(|_| Reject::Hardware)?);
        if mac.bytes()[0] & 1 == 1 {
            return Err(Reject::Hardware);
        }
        if message.hops() > MAX_HOPS {
            return Err(Reject::RelayLoop);
        }
        let kind = match message.opts().msg_type() {
            Some(MessageType::Discover) => Kind::Discover,
            Some(MessageType::Request) => Kind::Request,
            Some(MessageType::Inform) => Kind::Inform,
            _ => return Err(Reject::MessageType),
        };
        let class = class(&message)?;
        let machine_id = bytes(&message, OptionCode::ClientMachineIdentifier);
        Ok(Self {
            kind,
            class,
            mac,
            machine: machine_id.and_then(machine),
            http_client: bytes(&message, OptionCode::ClassIdentifier)
                .map_or(matches!(class, Class::Http | Class::HttpArm64), |identifier| {
                    identifier.starts_with(b"HTTPClient")
                }),
            xid: message.xid(),
            broadcast: message.flags().broadcast(),
            client_address: message.ciaddr(),
            relay: message.giaddr(),
            client_id: bytes(&message, OptionCode::ClientIdentifier).map(Vec::from),
            machine_id: machine_id.map(Vec::from),
            relay_information: option(&packet[OPTIONS..], 82).map(Vec::from),
            boot_item: bytes(&message, OptionCode::VendorExtensions)
                .and_then(|vendor| option(vendor, BOOT_ITEM))
                .map(Vec::from),
        })
    }
}

fn class(message: &Message) -> Result<Class, Reject> {
    let Some(DhcpOption::ClientSystemArchitecture(architecture)) =
        message.opts().get(OptionCode::ClientSystemArchitecture)
    else {
        return Err(Reject::NotBooting);
    };
    let class = Class::of_architecture(u16::from(*architecture)).ok_or(Reject::Architecture)?;
    let ipxe = bytes(message, OptionCode::UserClass).is_some_and(is_ipxe)
        || message.opts().contains(IPXE_ENCAPSULATED);
    Ok(if ipxe { Class::Ipxe } else { class })
}

/// Option 77 in both forms: with a length before each class (RFC 3004 §4), and bare, which is what iPXE sends.
fn is_ipxe(user_class: &[u8]) -> bool {
    let first = user_class
        .split_first()
        .and_then(|(length, rest)| rest.get(..usize::from(*length)));
    user_class == b"iPXE" || first == Some(b"iPXE")
}

/// Option 97 of type 0: a UUID whose first three fields are little-endian, as in SMBIOS.
fn machine(option: &[u8]) -> Option<ServerId> {
    let (0, uuid) = option.split_first()? else {
        return None;
    };
    ServerId::new(Uuid::from_bytes_le(uuid.try_into().ok()?))
}

/// Value of an option that the library leaves as bytes.
fn bytes(message: &Message, code: OptionCode) -> Option<&[u8]> {
    match message.opts().get(code)? {
        DhcpOption::ClassIdentifier(bytes)
        | DhcpOption::ClientIdentifier(bytes)
        | DhcpOption::ClientMachineIdentifier(bytes)
        | DhcpOption::UserClass(bytes)
        | DhcpOption::VendorExtensions(bytes) => Some(bytes),
        _ => None,
    }
}

/// The first option `code` in a list of code, length, value (RFC 2132 §2).
fn option(mut list: &[u8], code: u8) -> Option<&[u8]> {
    loop {
        let (&head, rest) = list.split_first()?;
        match head {
            0 => list = rest,
            255 => return None,
            _ => {
                let (&length, rest) = rest.split_first()?;
                let value = rest.get(..usize::from(length))?;
                if head == code {
                    return Some(value);
                }
                list = &rest[usize::from(length)..];
            }
        }
    }
}
