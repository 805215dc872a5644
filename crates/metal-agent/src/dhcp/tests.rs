//! A server's side is written here with the library's encoder; what a client says is read back with its decoder.

use super::*;

const MAC: Mac = Mac::new([0x52, 0x54, 0, 0xaa, 0, 1]);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 100);
const TRANSACTION: u32 = 0x1234_5678;

fn reply(kind: MessageType, options: Vec<DhcpOption>) -> Message {
    let unset = Ipv4Addr::UNSPECIFIED;
    let mut message = Message::new_with_id(TRANSACTION, unset, ADDRESS, SERVER, unset, &MAC.bytes());
    message.set_opcode(Opcode::BootReply);
    message.opts_mut().insert(DhcpOption::MessageType(kind));
    message.opts_mut().insert(DhcpOption::ServerIdentifier(SERVER));
    for option in options {
        message.opts_mut().insert(option);
    }
    message
}

fn bytes(message: &Message) -> Vec<u8> {
    message.to_vec().unwrap()
}

fn sent(client: &Client) -> Message {
    let bytes = client.message(Duration::from_secs(3)).unwrap();
    assert!(bytes.len() >= MIN_MESSAGE);
    Message::from_bytes(&bytes).unwrap()
}

fn requesting() -> Client {
    let mut client = Client::new(MAC, TRANSACTION);
    let offer = bytes(&reply(MessageType::Offer, vec![]));
    assert_eq!(client.receive(&offer), Received::Offer);
    client
}

fn acknowledged(options: Vec<DhcpOption>) -> Lease {
    match requesting().receive(&bytes(&reply(MessageType::Ack, options))) {
        Received::Lease(lease) => lease,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_discover_asks_for_a_broadcast_answer() {
    let message = sent(&Client::new(MAC, TRANSACTION));
    assert_eq!(message.opcode(), Opcode::BootRequest);
    assert!(message.opts().has_msg_type(MessageType::Discover));
    assert!(message.flags().broadcast());
    assert_eq!(message.chaddr(), MAC.bytes());
    assert_eq!(message.xid(), TRANSACTION);
    assert_eq!(message.secs(), 3);
    assert_eq!(message.opts().get(OptionCode::RequestedIpAddress), None);
}

#[test]
fn an_offer_is_requested_from_its_server() {
    let message = sent(&requesting());
    assert!(message.opts().has_msg_type(MessageType::Request));
    let option = |code| message.opts().get(code).unwrap();
    assert_eq!(
        *option(OptionCode::RequestedIpAddress),
        DhcpOption::RequestedIpAddress(ADDRESS)
    );
    assert_eq!(
        *option(OptionCode::ServerIdentifier),
        DhcpOption::ServerIdentifier(SERVER)
    );
    assert!(message.ciaddr().is_unspecified());
}

#[test]
fn an_acknowledgement_is_a_lease() {
    let lease = acknowledged(vec![
        DhcpOption::SubnetMask(Ipv4Addr::new(255, 255, 252, 0)),
        DhcpOption::Router(vec![SERVER, ADDRESS]),
        DhcpOption::Hostname("rack1-node7".into()),
        DhcpOption::InterfaceMtu(9000),
    ]);
    let default_route = Route {
        destination: Ipv4Addr::UNSPECIFIED,
        prefix: 0,
        gateway: Some(SERVER),
    };
    let want = Lease {
        address: ADDRESS,
        prefix: 22,
        routes: vec![default_route],
        hostname: Some("rack1-node7".into()),
        mtu: Some(9000),
        server: SERVER,
    };
    assert_eq!(lease, want);
}

#[test]
fn what_makes_no_sense_is_left_out() {
    let lease = acknowledged(vec![
        DhcpOption::Hostname("a b\u{7}".into()),
        DhcpOption::InterfaceMtu(68),
    ]);
    assert_eq!(lease.hostname, None);
    assert_eq!(lease.mtu, None);
    assert_eq!(lease.prefix, 8, "no mask: the prefix of 10.0.0.0's class");
    assert!(lease.routes.is_empty());
    let name = acknowledged(vec![DhcpOption::Hostname("x".repeat(MAX_HOSTNAME + 1))]).hostname;
    assert_eq!(name, None);
}

#[test]
fn classless_routes_take_the_place_of_routers() {
    let mut packet = bytes(&reply(MessageType::Ack, vec![DhcpOption::Router(vec![SERVER])]));
    // 192.168.8.0/24 on the link, 0.0.0.0/0 by 10.77.0.1, before the end option
    let routes = [121, 13, 24, 192, 168, 8, 0, 0, 0, 0, 0, 10, 77, 0, 1, 255];
    assert_eq!(packet.pop(), Some(255));
    packet.extend(routes);
    let Received::Lease(lease) = requesting().receive(&packet) else {
        panic!("no lease")
    };
    let want = [
        Route {
            destination: Ipv4Addr::new(192, 168, 8, 0),
            prefix: 24,
            gateway: None,
        },
        Route {
            destination: Ipv4Addr::UNSPECIFIED,
            prefix: 0,
            gateway: Some(Ipv4Addr::new(10, 77, 0, 1)),
        },
    ];
    assert_eq!(lease.routes, want);
}

#[test]
fn a_mask_with_holes_is_malformed() {
    let mask = DhcpOption::SubnetMask(Ipv4Addr::new(255, 0, 255, 0));
    let packet = bytes(&reply(MessageType::Ack, vec![mask]));
    assert_eq!(requesting().receive(&packet), Received::Nothing);
}

#[test]
fn replies_to_others_are_ignored() {
    let mut other_mac = reply(MessageType::Offer, vec![]);
    other_mac.set_chaddr(&[0x52, 0x54, 0, 0xaa, 0, 2]);
    let mut other_transaction = reply(MessageType::Offer, vec![]);
    other_transaction.set_xid(1);
    let mut request = reply(MessageType::Offer, vec![]);
    request.set_opcode(Opcode::BootRequest);
    for message in [other_mac, other_transaction, request] {
        let mut client = Client::new(MAC, TRANSACTION);
        assert_eq!(client.receive(&bytes(&message)), Received::Nothing, "{message:?}");
    }
}

#[test]
fn the_offer_of_a_pxe_service_has_no_address_to_request() {
    let mut offer = reply(MessageType::Offer, vec![]);
    offer.set_yiaddr(Ipv4Addr::UNSPECIFIED);
    assert_eq!(
        Client::new(MAC, TRANSACTION).receive(&bytes(&offer)),
        Received::Nothing
    );
}

#[test]
fn an_acknowledgement_by_another_server_is_ignored() {
    let other = DhcpOption::ServerIdentifier(Ipv4Addr::new(10, 77, 0, 9));
    let packet = bytes(&reply(MessageType::Ack, vec![other]));
    assert_eq!(requesting().receive(&packet), Received::Nothing);
}

#[test]
fn a_refused_request_begins_anew() {
    let mut client = requesting();
    assert_eq!(
        client.receive(&bytes(&reply(MessageType::Nak, vec![]))),
        Received::Nothing
    );
    assert!(sent(&client).opts().has_msg_type(MessageType::Discover));
}

#[test]
fn a_request_unanswered_four_times_begins_anew() {
    let mut client = requesting();
    for _ in 1..REQUESTS {
        client.unanswered();
        assert!(sent(&client).opts().has_msg_type(MessageType::Request));
    }
    client.unanswered();
    assert!(sent(&client).opts().has_msg_type(MessageType::Discover));
}

#[test]
fn patience_grows_to_eight_seconds() {
    let mut client = Client::new(MAC, TRANSACTION);
    let mut seconds = Vec::new();
    for _ in 0..6 {
        seconds.push(client.patience().as_secs());
        client.unanswered();
    }
    assert_eq!(seconds, [1, 2, 4, 8, 8, 8]);
}

#[test]
fn no_packet_ends_the_process() {
    let good = bytes(&reply(MessageType::Offer, vec![DhcpOption::Hostname("x".into())]));
    for length in 0..good.len() {
        Client::new(MAC, TRANSACTION).receive(&good[..length]);
    }
    // hlen is at 2; every value of every byte of header and options, the library's panics included
    for at in (0..44).chain(236..good.len()) {
        for value in 0..=u8::MAX {
            let mut packet = good.clone();
            packet[at] = value;
            Client::new(MAC, TRANSACTION).receive(&packet);
        }
    }
}
