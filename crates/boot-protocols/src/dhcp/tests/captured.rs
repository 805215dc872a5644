//! Messages of real firmware: what they say, and that mutations of them do no harm.

use std::net::SocketAddrV4;

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

const MUTATIONS: usize = 40_000;

/// xorshift64*: seeded, so that a failure repeats.
struct Seeded(u64);

impl Seeded {
    fn next(&mut self) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize
    }

    fn mutate(&mut self, data: &mut Vec<u8>) {
        for _ in 0..=self.next() % 3 {
            let at = self.next() % (data.len() + 1);
            match self.next() % 4 {
                0 => data.truncate(at),
                1 => data.insert(at, self.next() as u8),
                _ => {
                    if let Some(byte) = data.get_mut(at) {
                        *byte ^= 1 << (self.next() % 8);
                    }
                }
            }
        }
    }
}

#[test]
fn mutations_of_real_messages_do_no_harm() {
    let corpus = messages();
    let mut seeded = Seeded(0x1d_aa11);
    let mut answered = 0;
    for _ in 0..MUTATIONS {
        let mut data = corpus[seeded.next() % corpus.len()].packet.clone();
        seeded.mutate(&mut data);
        fuzz(&data);
        answered += usize::from(Request::parse(&data).is_ok());
    }
    assert!(answered > MUTATIONS / 10, "only {answered} were still requests");
}
