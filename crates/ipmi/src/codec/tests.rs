use proptest::prelude::*;

use super::*;
use crate::command::NetFn;
use crate::testdata;
use crate::types::UserName;

fn message() -> impl Strategy<Value = LanMessage> {
    let address = || (any::<u8>(), 0u8..4).prop_map(|(id, lun)| Address { id, lun });
    let data = prop::collection::vec(any::<u8>(), 0..60);
    (address(), 0u8..64, address(), 0u8..64, any::<u8>(), data).prop_map(
        |(to, net_fn, from, sequence, command, data)| LanMessage {
            to,
            net_fn: NetFn::new(net_fn),
            from,
            sequence,
            command,
            data,
        },
    )
}

fn algorithms() -> impl Strategy<Value = Algorithms> {
    let number = || prop::option::of(0u8..64);
    (number(), number(), number()).prop_map(|(authentication, integrity, confidentiality)| Algorithms {
        authentication,
        integrity,
        confidentiality,
    })
}

fn status() -> impl Strategy<Value = StatusCode> {
    (1u8..).prop_map(StatusCode)
}

fn code() -> impl Strategy<Value = Result<Vec<u8>, StatusCode>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..33).prop_map(Ok),
        status().prop_map(Err)
    ]
}

proptest! {
    #[test]
    fn a_message_survives_and_one_changed_bit_is_found(message in message(), byte: usize, bit in 0u8..8) {
        let mut bytes = message.encode();
        prop_assert_eq!(LanMessage::decode(&bytes), Ok(message));
        let byte = byte % bytes.len();
        bytes[byte] ^= 1 << bit;
        prop_assert!(LanMessage::decode(&bytes).is_err());
    }

    #[test]
    fn open_session_survives(
        tag: u8, privilege in 0u8..16, console_id: u32, bmc_id: u32, algorithms in algorithms(),
        error in prop::option::of(status()),
    ) {
        let request = OpenSessionRequest { tag, privilege, console_id, algorithms };
        prop_assert_eq!(OpenSessionRequest::decode(&request.encode()), Ok(request));
        let result = error.map_or(Ok(SessionGrant { bmc_id, algorithms }), Err);
        let response = OpenSessionResponse { tag, privilege, console_id, result };
        prop_assert_eq!(OpenSessionResponse::decode(&response.encode()), Ok(response));
    }

    #[test]
    fn rakp_messages_survive(
        tag: u8, id: u32, random: [u8; 16], guid: [u8; 16], role: u8,
        name in prop::collection::vec(any::<u8>(), 0..=16), code in code(),
    ) {
        let user = UserName::new(name).unwrap();
        let rakp1 = Rakp1 { tag, bmc_id: id, random, role: Role(role), user };
        prop_assert_eq!(Rakp1::decode(&rakp1.encode()), Ok(rakp1));
        let result = code.clone().map(|auth_code| Rakp2Body { random, guid, auth_code });
        let rakp2 = Rakp2 { tag, console_id: id, result };
        prop_assert_eq!(Rakp2::decode(&rakp2.encode()), Ok(rakp2));
        let rakp3 = Rakp3 { tag, bmc_id: id, result: code.clone() };
        prop_assert_eq!(Rakp3::decode(&rakp3.encode()), Ok(rakp3));
        let rakp4 = Rakp4 { tag, console_id: id, result: code };
        prop_assert_eq!(Rakp4::decode(&rakp4.encode()), Ok(rakp4));
    }

    #[test]
    fn packets_outside_a_session_survive(
        payload in prop::collection::vec(any::<u8>(), 0..255), sequence: u32, id: u32, tag: u8,
    ) {
        let packet = Ipmi15 { sequence, session_id: id, payload: &payload };
        let bytes = packet.encode();
        prop_assert_eq!(Datagram::decode(&bytes), Ok(Datagram::Ipmi15(packet)));
        let plain = RmcpPlus::plain(PayloadType::Rakp3, &payload);
        let Ok(Datagram::RmcpPlus(packet)) = Datagram::decode(&plain) else { return Err(TestCaseError::fail("kind")) };
        prop_assert_eq!((packet.payload_type, packet.payload), (PayloadType::Rakp3, payload.as_slice()));
        for presence in [asf::Presence::Ping { tag }, asf::Presence::Pong { tag, ipmi: tag & 1 == 0 }] {
            let bytes = presence.encode();
            prop_assert_eq!(Datagram::decode(&bytes), Ok(Datagram::Asf(presence)));
        }
    }

    #[test]
    fn no_bytes_panic(data in prop::collection::vec(any::<u8>(), 0..80)) {
        crate::fuzz::codec(&data);
    }
}

/// Takes a payload apart and puts it together again.
fn again(kind: PayloadType, payload: &[u8]) -> Result<Vec<u8>, DecodeError> {
    Ok(match kind {
        PayloadType::Ipmi => LanMessage::decode(payload)?.encode(),
        PayloadType::OpenSessionRequest => OpenSessionRequest::decode(payload)?.encode(),
        PayloadType::OpenSessionResponse => OpenSessionResponse::decode(payload)?.encode(),
        PayloadType::Rakp1 => Rakp1::decode(payload)?.encode(),
        PayloadType::Rakp2 => Rakp2::decode(payload)?.encode(),
        PayloadType::Rakp3 => Rakp3::decode(payload)?.encode(),
        PayloadType::Rakp4 => Rakp4::decode(payload)?.encode(),
    })
}

#[test]
fn every_plain_datagram_of_ipmitool_and_freeipmi_is_understood_to_the_last_byte() {
    for (name, count) in [
        ("ipmitool-suite3.hex", 24),
        ("ipmitool-suite17.hex", 24),
        ("ipmitool-negotiated.hex", 10),
        ("freeipmi-suite17.hex", 8),
    ] {
        let mut plain = 0;
        for (_, datagram) in testdata::lines(name) {
            let encoded = match Datagram::decode(&datagram).unwrap() {
                Datagram::RmcpPlus(packet) if packet.session_id != 0 => continue,
                Datagram::RmcpPlus(packet) => {
                    let kind = packet.payload_type;
                    RmcpPlus::plain(kind, &again(kind, packet.payload).unwrap())
                }
                Datagram::Ipmi15(packet) => {
                    let payload = again(PayloadType::Ipmi, packet.payload).unwrap();
                    Ipmi15 {
                        payload: &payload,
                        ..packet
                    }
                    .encode()
                }
                Datagram::Asf(presence) => presence.encode(),
            };
            assert_eq!(encoded, datagram);
            plain += 1;
        }
        assert_eq!(plain, count, "{name}");
    }
}

#[test]
fn an_error_names_what_was_read_and_what_was_wrong() {
    let text = |datagram: &[u8]| Datagram::decode(datagram).unwrap_err().to_string();
    assert_eq!(
        text(&[6, 0]),
        "RMCP header is cut short: its 4 bytes do not fit into the 2 that are left"
    );
    assert_eq!(text(&[5, 0, 0xff, 7]), "RMCP version cannot be 0x05");
    assert_eq!(text(&[6, 0, 0xff, 8]), "RMCP class cannot be 0x08");
    assert_eq!(text(&[6, 0, 0xff, 7, 2]), "authentication type cannot be 0x02");
}
