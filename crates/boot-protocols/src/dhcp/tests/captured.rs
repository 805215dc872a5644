//! Messages of real firmware: what they say, and that mutations of them do no harm.

use std::net::SocketAddrV4;
use std::sync::LazyLock;

use proptest::sample::Index;

use super::*;

struct Message {
    name: String,
    source: SocketAddrV4,
    port: Port,
    packet: Vec<u8>,
}

/// Lines of `testdata/firmware.hex`: name, source, port, bytes.
fn messages() -> Vec<Message> {
    let text = include_str!("../../../testdata/firmware.hex");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let messages: Vec<_> = lines.map(message).collect();
    assert!(messages.len() >= 6, "looked at {} messages", messages.len());
    messages
}

fn message(line: &str) -> Message {
    let [name, source, port, hex] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
    Message {
        name: name.into(),
        source: source.parse().unwrap(),
        port: if port == "4011" { Port::Pxe } else { Port::Dhcp },
        packet: bytes(hex),
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(byte).collect()
}

#[test]
fn real_firmware_is_understood() {
    let expected = [
        ("ipxe-rom-discover", Kind::Discover, Class::Ipxe, "OFFER"),
        ("ipxe-rom-request-to-site", Kind::Request, Class::Ipxe, "nothing"),
        ("ipxe-rom-request-4011", Kind::Request, Class::Ipxe, "ACK"),
        ("ovmf-pxe-discover", Kind::Discover, Class::Efi, "OFFER"),
        ("ovmf-pxe-request-4011", Kind::Request, Class::Efi, "ACK"),
        ("ovmf-http-discover", Kind::Discover, Class::Http, "OFFER"),
        ("snponly-discover", Kind::Discover, Class::Ipxe, "OFFER"),
    ];
    let messages = messages();
    assert_eq!(messages.len(), expected.len());
    for (message, (name, kind, class, answer)) in messages.iter().zip(expected) {
        assert_eq!(message.name, name);
        let request = Request::parse(&message.packet).unwrap();
        assert_eq!((request.kind, request.class), (kind, class), "{name}");
        assert_eq!(request.mac.to_string(), "52:54:00:77:00:01", "{name}");
        assert_eq!(
            request.machine.unwrap().to_string(),
            "12345678-9abc-def0-1122-334455667788",
            "{name}"
        );
        let ingress = Ingress {
            source: message.source,
            ..ingress(message.port, "0.0.0.0:68")
        };
        let told = match reply(&request, &ingress, SITE) {
            Some(reply) if option(&reply.packet, 53).unwrap() == [2] => "OFFER",
            Some(_) => "ACK",
            None => "nothing",
        };
        assert_eq!(told, answer, "{name}");
    }
}

/// The packets that booted those machines; a change of a byte is a reason to try them again.
#[test]
fn offers_are_those_that_real_firmware_took() {
    let golden = include_str!("../../../testdata/offers.hex");
    let golden: Vec<_> = golden.lines().filter(|line| !line.starts_with('#')).collect();
    let asked = messages();
    let asked = asked.iter().filter_map(|message| {
        let request = Request::parse(&message.packet).unwrap();
        (request.kind == Kind::Discover).then_some((&message.name, request))
    });
    let mut offers = 0;
    for ((name, request), golden) in asked.zip(&golden) {
        let [golden_name, destination, hex] = golden.split(' ').collect::<Vec<_>>().try_into().unwrap();
        assert_eq!(name, golden_name);
        let reply = reply(&request, &ingress(Port::Dhcp, "0.0.0.0:68"), SITE).unwrap();
        assert_eq!(reply.destination.to_string(), destination, "{name}");
        assert_eq!(reply.packet, bytes(hex), "{name}");
        offers += 1;
    }
    assert_eq!((offers, golden.len()), (4, 4));
}

/// A change of a message: where, how, with which byte.
type Edit = (Index, u8, u8);

fn edit(data: &mut Vec<u8>, (at, how, byte): Edit) {
    let at = at.index(data.len() + 1);
    match how {
        0 => data.truncate(at),
        1 => data.insert(at, byte),
        _ => {
            if let Some(old) = data.get_mut(at) {
                *old ^= byte;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn mutations_of_real_messages_do_no_harm(
        which in any::<Index>(),
        edits in prop::collection::vec((any::<Index>(), 0..8u8, any::<u8>()), 0..4),
    ) {
        static CORPUS: LazyLock<Vec<Message>> = LazyLock::new(messages);
        let mut data = which.get(&CORPUS).packet.clone();
        for change in edits {
            edit(&mut data, change);
        }
        fuzz(&data);
    }
}
