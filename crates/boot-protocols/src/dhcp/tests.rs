use proptest::prelude::*;

use super::*;

const ENDPOINT: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 3);
const SITE: Site = Site {
    endpoint: ENDPOINT,
    api_port: 8081,
};

/// A DISCOVER of a BIOS machine's ROM, from which the tables change what they are about.
#[derive(Clone)]
struct Ask {
    head: Vec<u8>,
    options: Vec<(u8, Vec<u8>)>,
}

impl Ask {
    fn new() -> Self {
        let mut head = vec![0; 240];
        head[..4].copy_from_slice(&[1, 1, 6, 0]);
        head[4..8].copy_from_slice(&[0xca, 0xfe, 0xba, 0xbe]);
        head[28..34].copy_from_slice(&[0x52, 0x54, 0, 0x77, 0, 1]);
        head[236..].copy_from_slice(&[99, 130, 83, 99]);
        let options = vec![
            (53, vec![1]),
            (60, b"PXEClient:Arch:00000:UNDI:002001".to_vec()),
            (93, vec![0, 0]),
        ];
        Self { head, options }
    }

    fn head(mut self, at: usize, bytes: &[u8]) -> Self {
        self.head[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    /// Sets an option.
    fn with(mut self, code: u8, value: &[u8]) -> Self {
        self = self.without(code);
        self.options.push((code, value.to_vec()));
        self
    }

    fn without(mut self, code: u8) -> Self {
        self.options.retain(|(other, _)| *other != code);
        self
    }

    fn architecture(self, code: u8) -> Self {
        self.with(93, &[0, code])
    }

    fn packet(&self) -> Vec<u8> {
        let mut packet = self.head.clone();
        for (code, value) in &self.options {
            packet.extend([*code, value.len() as u8]);
            packet.extend(value);
        }
        packet.push(255);
        packet
    }

    fn parse(&self) -> Result<Request, Reject> {
        Request::parse(&self.packet())
    }

    fn answer(&self, port: Port, source: &str) -> Option<Reply> {
        reply(&self.parse().unwrap(), &ingress(port, source), SITE)
    }

    fn offer(&self) -> Reply {
        self.answer(Port::Dhcp, "0.0.0.0:68").unwrap()
    }
}

fn ingress(port: Port, source: &str) -> Ingress<'static> {
    Ingress {
        interface: "eth0",
        address: ENDPOINT,
        source: source.parse().unwrap(),
        port,
    }
}

/// The value of an option in a packet of ours.
fn option(packet: &[u8], code: u8) -> Option<Vec<u8>> {
    options(packet)
        .into_iter()
        .find(|(other, _)| *other == code)
        .map(|(_, value)| value)
}

fn options(packet: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let (mut list, mut at) = (Vec::new(), 240);
    while packet[at] != 255 {
        let end = at + 2 + usize::from(packet[at + 1]);
        list.push((packet[at], packet[at + 2..end].to_vec()));
        at = end;
    }
    list
}

#[test]
fn every_architecture_gets_its_boot_file() {
    for (code, class, file) in [
        (0, Class::Bios, "undionly.kpxe"),
        (6, Class::Efi, "snp.efi"),
        (7, Class::Efi, "snp.efi"),
        (9, Class::Efi, "snp.efi"),
        (11, Class::EfiArm64, "snp-arm64.efi"),
        (15, Class::Http, "http://10.77.0.3:8081/tftp/snp.efi"),
        (16, Class::Http, "http://10.77.0.3:8081/tftp/snp.efi"),
        (19, Class::HttpArm64, "http://10.77.0.3:8081/tftp/snp-arm64.efi"),
    ] {
        let ask = Ask::new().architecture(code);
        assert_eq!(ask.parse().unwrap().class, class);
        let reply = ask.offer();
        assert_eq!(reply.boot_file, file);
        assert_eq!(option(&reply.packet, 67).unwrap(), file.as_bytes());
        assert_eq!(reply.packet[108..108 + file.len()], *file.as_bytes());
        assert_eq!(reply.packet[108 + file.len()], 0);
    }
    for code in [1, 2, 8, 10, 17, 27, 255] {
        assert_eq!(Ask::new().architecture(code).parse(), Err(Reject::Architecture));
    }
}

#[test]
fn ipxe_gets_the_script_on_every_platform_however_it_says_what_it_is() {
    for architecture in [0, 6, 7, 9, 11, 15, 16, 19] {
        let ask = Ask::new().architecture(architecture);
        for ask in [
            ask.clone().with(77, b"iPXE"),
            ask.clone().with(77, b"\x04iPXE"),
            ask.clone().with(77, b"\x04iPXE\x03foo"),
            ask.clone().with(175, &[19, 1, 1]),
        ] {
            assert_eq!(ask.offer().boot_file, "http://10.77.0.3:8081/boot.ipxe");
        }
        for other in [&b"iPXElinux"[..], b"\x05iPXE", b"\x03foo\x04iPXE", b"", b"\x00"] {
            assert_ne!(ask.clone().with(77, other).parse().unwrap().class, Class::Ipxe);
        }
    }
}

#[test]
fn an_offer_has_all_that_a_rom_looks_for_and_no_address() {
    let id = [&[0u8][..], &[7; 16]].concat();
    let reply = Ask::new()
        .with(97, &id)
        .with(61, &[1, 2, 3])
        .with(82, &[1, 1, 9])
        .offer();
    let packet = &reply.packet;
    assert_eq!(packet[..8], [2, 1, 6, 0, 0xca, 0xfe, 0xba, 0xbe]);
    assert_eq!(packet[16..20], [0; 4], "yiaddr");
    assert_eq!(packet[20..24], ENDPOINT.octets(), "siaddr");
    assert_eq!(packet[28..34], [0x52, 0x54, 0, 0x77, 0, 1]);
    assert_eq!(packet[44..54], *b"10.77.0.3\0");
    let codes: Vec<_> = options(packet).iter().map(|(code, _)| *code).collect();
    assert_eq!(codes, [53, 54, 60, 43, 66, 67, 61, 97, 82]);
    assert_eq!(option(packet, 53).unwrap(), [2]);
    assert_eq!(option(packet, 54).unwrap(), ENDPOINT.octets());
    assert_eq!(option(packet, 60).unwrap(), b"PXEClient");
    assert_eq!(option(packet, 43).unwrap(), [6, 1, 8, 255]);
    assert_eq!(option(packet, 66).unwrap(), b"10.77.0.3");
    assert_eq!(option(packet, 61).unwrap(), [1, 2, 3]);
    assert_eq!(option(packet, 97).unwrap(), id);
    assert_eq!(option(packet, 82).unwrap(), [1, 1, 9]);
    assert!(packet.len() >= 300);
    assert_eq!(Ask::new().offer().packet.len(), 300);
    assert_eq!(reply.source, ENDPOINT);
}

#[test]
fn http_clients_are_answered_as_such() {
    let named = Ask::new()
        .architecture(16)
        .with(60, b"HTTPClient:Arch:00016:UNDI:003001");
    for ask in [named, Ask::new().architecture(16).without(60)] {
        let packet = ask.offer().packet;
        assert_eq!(option(&packet, 60).unwrap(), b"HTTPClient");
        assert_eq!(option(&packet, 43), None);
    }
    // the original answered those without option 60 as well
    let packet = Ask::new().without(60).offer().packet;
    assert_eq!(option(&packet, 60).unwrap(), b"PXEClient");
}

#[test]
fn an_offer_goes_to_the_relay_agent_or_the_clients_address_or_all() {
    let flags = |reply: &Reply| reply.packet[10];
    let offer = Ask::new().offer();
    assert_eq!(offer.destination.to_string(), "255.255.255.255:68");
    assert_eq!(flags(&offer), 0);
    let offer = Ask::new().head(10, &[0x80]).offer();
    assert_eq!(offer.destination.to_string(), "255.255.255.255:68");
    assert_eq!(flags(&offer), 0x80);
    let offer = Ask::new().head(12, &[10, 77, 0, 100]).offer();
    assert_eq!(offer.destination.to_string(), "10.77.0.100:68");
    assert_eq!(offer.packet[12..16], [10, 77, 0, 100]);
    let relayed = Ask::new()
        .head(3, &[16])
        .head(12, &[10, 9, 0, 100])
        .head(24, &[10, 9, 0, 1]);
    let offer = relayed.answer(Port::Dhcp, "10.9.0.1:67").unwrap();
    assert_eq!(offer.destination.to_string(), "10.9.0.1:67");
    assert_eq!(offer.packet[24..28], [10, 9, 0, 1]);
    assert_eq!(
        flags(&offer),
        0x80,
        "the relay agent has no address to unicast to"
    );
}

#[test]
fn port_4011_acknowledges_to_who_asked_and_repeats_the_boot_item() {
    for kind in [3, 8] {
        let ask = Ask::new()
            .with(53, &[kind])
            .with(43, &[71, 4, 0x80, 0, 0, 0, 255]);
        let reply = ask.answer(Port::Pxe, "10.77.0.100:4011").unwrap();
        assert_eq!(reply.destination.to_string(), "10.77.0.100:4011");
        assert_eq!(option(&reply.packet, 53).unwrap(), [5]);
        assert_eq!(
            option(&reply.packet, 43).unwrap(),
            [6, 1, 8, 71, 4, 0x80, 0, 0, 0, 255]
        );
        assert_eq!(option(&reply.packet, 67).unwrap(), b"undionly.kpxe");
        let unnamed = ask.answer(Port::Pxe, "0.0.0.0:68").unwrap();
        assert_eq!(unnamed.destination.to_string(), "255.255.255.255:68");
    }
}

#[test]
fn what_is_for_another_server_is_left_to_it() {
    for (kind, port) in [(3, Port::Dhcp), (8, Port::Dhcp), (1, Port::Pxe)] {
        assert_eq!(Ask::new().with(53, &[kind]).answer(port, "10.77.0.100:68"), None);
    }
    assert_eq!(
        Ask::new().answer(Port::Dhcp, "10.77.0.3:67"),
        None,
        "our own packet"
    );
}

#[test]
fn each_bad_message_is_rejected_for_its_reason() {
    for (ask, reject) in [
        (Ask::new().head(0, &[2]), Reject::NotARequest),
        (Ask::new().head(0, &[3]), Reject::NotARequest),
        (Ask::new().head(1, &[6]), Reject::Hardware),
        (Ask::new().head(2, &[0]), Reject::Hardware),
        (Ask::new().head(2, &[16]), Reject::Hardware),
        (Ask::new().head(2, &[200]), Reject::Hardware),
        (Ask::new().head(28, &[0xff]), Reject::Hardware),
        (Ask::new().head(3, &[17]), Reject::RelayLoop),
        (Ask::new().head(236, &[0]), Reject::Malformed),
        (Ask::new().without(53), Reject::MessageType),
        (Ask::new().with(53, &[2]), Reject::MessageType),
        (Ask::new().with(53, &[7]), Reject::MessageType),
        (Ask::new().without(93), Reject::NotBooting),
        (Ask::new().with(93, &[0]), Reject::NotBooting),
    ] {
        assert_eq!(ask.parse(), Err(reject));
    }
    assert_eq!(Ask::new().head(3, &[16]).parse().unwrap().kind, Kind::Discover);
    let whole = Ask::new().packet();
    for length in 0..240 {
        assert_eq!(Request::parse(&whole[..length]), Err(Reject::Malformed));
    }
}

#[test]
fn a_uuid_of_wrong_form_is_repeated_but_names_no_machine() {
    let bytes = [
        0x78, 0x56, 0x34, 0x12, 0xbc, 0x9a, 0xf0, 0xde, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88,
    ];
    let named = Ask::new()
        .with(97, &[&[0u8][..], &bytes].concat())
        .parse()
        .unwrap();
    assert_eq!(
        named.machine.unwrap().to_string(),
        "12345678-9abc-def0-1122-334455667788"
    );
    for odd in [&[0u8][..], &[1; 17], &[0; 16], &[0; 17], &[0; 18]] {
        let ask = Ask::new().with(97, odd);
        assert_eq!(ask.parse().unwrap().machine, None);
        assert_eq!(option(&ask.offer().packet, 97).unwrap(), odd);
    }
}

#[test]
fn relay_information_is_repeated_byte_for_byte() {
    // sub-options out of order, one of them twice: a parser would not give them back like this
    let information = [9, 1, 1, 2, 2, 7, 7, 9, 1, 3, 1, 0];
    let packet = Ask::new().with(82, &information).offer().packet;
    assert_eq!(options(&packet).last().unwrap(), &(82, information.to_vec()));
}

mod captured;

proptest! {
    #[test]
    fn no_bytes_are_a_panic(data in proptest::collection::vec(any::<u8>(), 0..600)) {
        fuzz(&data);
    }

    #[test]
    fn no_options_are_a_panic(tail in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mut packet = Ask::new().packet();
        packet.pop();
        packet.extend(tail);
        fuzz(&packet);
    }
}
