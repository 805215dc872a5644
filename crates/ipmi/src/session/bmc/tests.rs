use std::time::Duration;

use super::*;
use crate::codec::{Address, Algorithms, OpenSessionRequest, OpenSessionResponse, Rakp2};
use crate::command::{
    ChassisControl, CloseSession, CompletionCode, DeviceId, GetChassisStatus, GetDeviceId, GetRestartCause,
    GetUserAccess, SetBootOption, SetSessionPrivilegeLevel, SetUserName, SetUserPassword, Wire,
};
use crate::session::console::{Delivery, Machine, OpenError, Opening, Session, Step, Timing};
use crate::session::loopback::{Counter, PEER, bmc, converse, credentials};
use crate::testdata;

fn ok(_: &Request) -> (CompletionCode, Vec<u8>) {
    (CompletionCode::OK, Vec::new())
}

fn log_in(bmc: &mut Bmc, counter: &mut Counter) -> Result<Session, OpenError> {
    let credentials = credentials("secret").unwrap();
    let mut opening = Opening::new(credentials, &CipherSuite::ALL, Timing::default());
    converse(&mut opening, bmc, counter, ok)
}

/// The next datagram of a machine that has one to send.
fn sent<M: Machine>(machine: &mut M, counter: &mut Counter) -> Vec<u8> {
    match machine.step(Duration::ZERO, &mut counter.source()) {
        Step::Send(datagram) => datagram,
        _ => panic!("nothing to send"),
    }
}

fn receive(bmc: &mut Bmc, datagram: &[u8], now: u64) -> Output {
    let mut counter = Counter(100);
    bmc.receive(datagram, PEER, Duration::from_secs(now), &mut counter.source())
}

fn open_session(algorithms: Algorithms, tag: u8) -> Vec<u8> {
    let request = OpenSessionRequest {
        tag,
        privilege: 4,
        console_id: 7,
        algorithms,
    };
    RmcpPlus::plain(PayloadType::OpenSessionRequest, &request.encode())
}

fn payload(output: &Output) -> Vec<u8> {
    match Datagram::decode(output.reply.as_deref().unwrap()).unwrap() {
        Datagram::RmcpPlus(packet) => packet.payload.to_vec(),
        other => panic!("{other:?}"),
    }
}

/// What examples/bmc.rs answers to the commands in the recordings.
fn example_machine(request: &Request, on: &mut bool) -> (CompletionCode, Vec<u8>) {
    let data = if request.parse::<GetChassisStatus>().is_some() {
        vec![u8::from(*on), 0, 0]
    } else if let Some(control) = request.parse::<ChassisControl>() {
        *on = control.unwrap() == ChassisControl::PowerUp;
        Vec::new()
    } else if let Some(set) = request.parse::<SetBootOption>() {
        assert_eq!(set.as_ref().unwrap().encode(), request.message.data);
        Vec::new()
    } else if request.parse::<GetDeviceId>().is_some() {
        let id = DeviceId::decode(&[0x20, 1, 2, 0x15, 2, 0x80, 0, 0, 0, 1, 0]).unwrap();
        id.encode()
    } else {
        assert_understood(request);
        return (CompletionCode::INVALID_COMMAND, Vec::new());
    };
    (CompletionCode::OK, data)
}

/// Commands that are known here but not to the example: their data must be read, and written as it came.
fn assert_understood(request: &Request) {
    fn same<C: Command>(request: &Request) -> Option<bool> {
        let data = request.message.data.as_slice();
        let rest = data.strip_prefix(request.parse::<C>()?.unwrap().encode().as_slice())?;
        Some(rest.iter().all(|byte| *byte == 0)) // ipmitool pads "enable" with the place of a password
    }
    let known = same::<SetUserName>(request)
        .or_else(|| same::<GetUserAccess>(request))
        .or_else(|| same::<SetUserPassword>(request))
        .or_else(|| same::<GetRestartCause>(request));
    let is_listed = crate::command::name(request.message.net_fn, request.message.command).is_some();
    assert_eq!(known, is_listed.then_some(true), "{request:?}");
}

/// Feeds a recording to a fresh BMC and compares every answer; returns the commands that arrived.
fn replay(name: &str) -> Vec<(NetFn, u8)> {
    let mut bmc = bmc(BmcConfig::default()).unwrap();
    let (mut counter, mut on) = (Counter(0), false);
    let lines = testdata::lines(name);
    let mut recorded = lines.iter().peekable();
    let mut commands = Vec::new();
    while let Some((direction, datagram)) = recorded.next() {
        assert_eq!(*direction, '>', "an answer without a request");
        let output = bmc.receive(datagram, PEER, Duration::ZERO, &mut counter.source());
        let reply = match &output.event {
            Some(Event::Command(request)) => {
                commands.push((request.message.net_fn, request.message.command));
                let (code, data) = example_machine(request, &mut on);
                bmc.respond(request, code, &data, &mut counter.source())
            }
            _ => output.reply,
        };
        let want = recorded
            .next_if(|(direction, _)| *direction == '<')
            .map(|(_, datagram)| datagram.clone());
        assert_eq!(reply, want, "after {:?}", output.event);
    }
    assert!(on, "recordings end with power on");
    assert_eq!(bmc.slots_in_use(), 0, "all sessions were closed");
    commands
}

#[test]
fn ipmitool_and_freeipmi_are_answered_byte_by_byte_as_recorded() {
    for name in ["ipmitool-suite3.hex", "ipmitool-suite17.hex"] {
        let commands = replay(name);
        for number in [1, 2, 8] {
            assert!(
                commands.contains(&(NetFn::CHASSIS, number)),
                "chassis command {number} in {name}"
            );
        }
    }
    for name in ["ipmitool-negotiated.hex", "freeipmi-suite17.hex"] {
        assert!(
            replay(name).contains(&(NetFn::CHASSIS, 2)),
            "chassis control in {name}"
        );
    }
    let commands = replay("ipmitool-users.hex");
    for number in [0x44, 0x45, 0x47] {
        assert!(
            commands.contains(&(NetFn::APP, number)),
            "user command {number:#x}"
        );
    }
}

#[test]
fn a_presence_ping_is_answered() {
    let mut bmc = bmc(BmcConfig::default()).unwrap();
    let output = receive(&mut bmc, &Presence::Ping { tag: 9 }.encode(), 0);
    let pong = Datagram::Asf(Presence::Pong { tag: 9, ipmi: true });
    assert_eq!(Datagram::decode(&output.reply.unwrap()), Ok(pong));
}

#[test]
fn every_algorithm_but_those_of_suites_3_and_17_is_refused_with_its_own_status() {
    let mut bmc = bmc(BmcConfig::default()).unwrap();
    let algorithms = |authentication, integrity, confidentiality| Algorithms {
        authentication: Some(authentication),
        integrity: Some(integrity),
        confidentiality: Some(confidentiality),
    };
    for (algorithms, status) in [
        (algorithms(0, 0, 0), StatusCode::INVALID_AUTHENTICATION),
        (algorithms(1, 0, 0), StatusCode::INVALID_INTEGRITY),
        (algorithms(1, 1, 0), StatusCode::INVALID_CONFIDENTIALITY),
        (algorithms(3, 4, 2), StatusCode::INVALID_CONFIDENTIALITY),
        (algorithms(1, 4, 1), StatusCode::NO_SUITE_MATCH),
        (algorithms(2, 2, 1), StatusCode::INVALID_AUTHENTICATION),
    ] {
        let output = receive(&mut bmc, &open_session(algorithms, 1), 0);
        assert_eq!(
            OpenSessionResponse::decode(&payload(&output)).unwrap().result,
            Err(status)
        );
    }
    assert_eq!(bmc.slots_in_use(), 0);
    let any = Algorithms {
        authentication: None,
        integrity: None,
        confidentiality: None,
    };
    let granted =
        OpenSessionResponse::decode(&payload(&receive(&mut bmc, &open_session(any, 1), 0))).unwrap();
    assert_eq!(
        granted.result.unwrap().algorithms,
        CipherSuite::Suite17.algorithms()
    );
}

#[test]
fn a_full_session_table_refuses_until_a_session_is_idle_for_60_seconds() {
    let mut bmc = bmc(BmcConfig {
        session_slots: 1,
        ..BmcConfig::default()
    })
    .unwrap();
    let suite = CipherSuite::Suite3.algorithms();
    assert!(receive(&mut bmc, &open_session(suite, 1), 0).event.is_none());
    // The same request again is a retransmission, another one is not.
    let first = payload(&receive(&mut bmc, &open_session(suite, 1), 30));
    assert!(OpenSessionResponse::decode(&first).unwrap().result.is_ok());
    let second =
        OpenSessionResponse::decode(&payload(&receive(&mut bmc, &open_session(suite, 2), 59))).unwrap();
    assert_eq!(second.result, Err(StatusCode::NO_RESOURCES));
    let third =
        OpenSessionResponse::decode(&payload(&receive(&mut bmc, &open_session(suite, 3), 60))).unwrap();
    assert!(third.result.is_ok());
}

#[test]
fn a_session_idle_for_60_seconds_is_unknown() {
    let (mut bmc, mut counter) = (bmc(BmcConfig::default()).unwrap(), Counter(0));
    let mut session = log_in(&mut bmc, &mut counter).unwrap();
    session.start(NetFn::CHASSIS, 1, &[], Delivery::Once);
    let id = bmc.sessions().next().unwrap().id;
    let output = receive(&mut bmc, &sent(&mut session, &mut counter), 60);
    assert!(
        matches!(output.event, Some(Event::Discarded(Discard::UnknownSession(unknown))) if unknown == id)
    );
    assert_eq!(output.reply, None);
}

#[test]
fn a_datagram_that_comes_twice_is_carried_out_once_and_a_retransmission_is_marked() {
    let (mut bmc, mut counter) = (bmc(BmcConfig::default()).unwrap(), Counter(0));
    let mut session = log_in(&mut bmc, &mut counter).unwrap();
    session.start(NetFn::CHASSIS, 1, &[], Delivery::Retry);
    let first = sent(&mut session, &mut counter);
    assert!(matches!(receive(&mut bmc, &first, 0).event, Some(Event::Command(request)) if !request.repeated));
    assert!(matches!(
        receive(&mut bmc, &first, 0).event,
        Some(Event::Discarded(Discard::Replayed(_)))
    ));
    let later = session.step(Duration::from_secs(5), &mut counter.source());
    let Step::Send(again) = later else {
        panic!("{later:?}")
    };
    assert!(matches!(receive(&mut bmc, &again, 0).event, Some(Event::Command(request)) if request.repeated));
}

#[test]
fn a_command_above_the_session_s_privilege_is_denied() {
    let (mut bmc, mut counter) = (bmc(BmcConfig::default()).unwrap(), Counter(0));
    let mut session = log_in(&mut bmc, &mut counter).unwrap();
    let mut run = |net_fn, number, data: &[u8]| {
        session.start(net_fn, number, data, Delivery::Once);
        converse(&mut session, &mut bmc, &mut counter, ok).unwrap().code
    };
    let (app, set) = (SetSessionPrivilegeLevel::NET_FN, SetSessionPrivilegeLevel::NUMBER);
    assert_eq!(run(NetFn::CHASSIS, 2, &[1]), CompletionCode::OK);
    assert_eq!(run(app, set, &[2]), CompletionCode::OK);
    assert_eq!(run(NetFn::CHASSIS, 1, &[]), CompletionCode::OK);
    assert_eq!(
        run(NetFn::CHASSIS, 2, &[1]),
        CompletionCode::INSUFFICIENT_PRIVILEGE
    );
    assert_eq!(run(app, set, &[5]), CompletionCode::SPECIFIC_81);
    assert_eq!(run(app, set, &[3]), CompletionCode::OK);
    assert_eq!(
        run(NetFn::APP, 0x47, &[2, 1]),
        CompletionCode::INSUFFICIENT_PRIVILEGE
    );
}

#[test]
fn closing_a_session_frees_its_slot_and_an_unknown_id_is_refused() {
    let (mut bmc, mut counter) = (bmc(BmcConfig::default()).unwrap(), Counter(0));
    let mut session = log_in(&mut bmc, &mut counter).unwrap();
    let wrong = CloseSession(1).encode();
    session.start(CloseSession::NET_FN, CloseSession::NUMBER, &wrong, Delivery::Once);
    assert_eq!(
        converse(&mut session, &mut bmc, &mut counter, ok).unwrap().code.0,
        0x87
    );
    assert_eq!(bmc.sessions().count(), 1);
    session.start_close();
    assert_eq!(
        converse(&mut session, &mut bmc, &mut counter, ok).unwrap().code,
        CompletionCode::OK
    );
    assert_eq!(bmc.slots_in_use(), 0);
}

#[test]
fn a_request_answered_after_its_session_is_gone_makes_no_datagram() {
    let (mut bmc, mut counter) = (bmc(BmcConfig::default()).unwrap(), Counter(0));
    let mut session = log_in(&mut bmc, &mut counter).unwrap();
    session.start(NetFn::CHASSIS, 1, &[], Delivery::Retry);
    let output = receive(&mut bmc, &sent(&mut session, &mut counter), 0);
    let Some(Event::Command(request)) = output.event else {
        panic!("{output:?}")
    };
    bmc.reset();
    assert_eq!(
        bmc.respond(&request, CompletionCode::OK, &[], &mut counter.source()),
        None
    );
}

fn rakp1(bmc_id: u32, name: &[u8], role: u8) -> Vec<u8> {
    let mut out = vec![5, 0, 0, 0];
    out.extend(bmc_id.to_le_bytes());
    out.extend([3; 16]);
    out.extend([role, 0, 0, name.len() as u8]);
    out.extend(name);
    RmcpPlus::plain(PayloadType::Rakp1, &out)
}

#[test]
fn users_are_looked_up_by_name_and_privilege_as_the_role_says() {
    let mut bmc = bmc(BmcConfig::default()).unwrap();
    let account = |name: &str, limit, enabled| UserAccount {
        name: UserName::new(name).unwrap(),
        password: Secret::new("p").unwrap(),
        limit,
        enabled,
    };
    bmc.users
        .insert(3, account("op", Some(Privilege::Operator), true));
    bmc.users
        .insert(4, account("off", Some(Privilege::Operator), false));
    bmc.users.insert(5, account("none", None, true));
    bmc.users.insert(6, account("", Some(Privilege::Operator), true));
    for (name, role, status) in [
        ("op", 0x13, None),
        ("op", 0x03, None),
        ("op", 0x14, Some(StatusCode::UNAUTHORIZED_ROLE)),
        ("op", 0x04, Some(StatusCode::UNAUTHORIZED_NAME)),
        ("op", 0x10, Some(StatusCode::INVALID_ROLE)),
        ("off", 0x13, Some(StatusCode::UNAUTHORIZED_NAME)),
        ("none", 0x12, Some(StatusCode::UNAUTHORIZED_ROLE)),
        ("", 0x12, Some(StatusCode::UNAUTHORIZED_NAME)),
        (
            "a-name-of-more-than-16",
            0x13,
            Some(StatusCode::INVALID_NAME_LENGTH),
        ),
    ] {
        bmc.reset();
        let _ = receive(&mut bmc, &open_session(CipherSuite::Suite3.algorithms(), 1), 0);
        let id = *bmc.sessions.keys().next().unwrap();
        let datagram = rakp1(id, name.as_bytes(), role);
        let first = receive(&mut bmc, &datagram, 0);
        let got = Rakp2::decode(&payload(&first)).unwrap();
        assert_eq!(got.result.as_ref().err().copied(), status, "{name} {role:#x}");
        // A retransmission gets the same answer, and is no second login.
        let again = receive(&mut bmc, &datagram, 0);
        assert_eq!(first.reply, again.reply, "{name} {role:#x}");
        assert!(!matches!(
            again.event,
            Some(Event::LoginStarted(_) | Event::LoginRefused(..))
        ));
    }
}

#[test]
fn a_wrong_proof_in_rakp_3_is_refused_counted_and_frees_the_slot() {
    let mut bmc = bmc(BmcConfig::default()).unwrap();
    let _ = receive(&mut bmc, &open_session(CipherSuite::Suite17.algorithms(), 1), 0);
    let id = *bmc.sessions.keys().next().unwrap();
    let _ = receive(&mut bmc, &rakp1(id, b"admin", 0x14), 0);
    let rakp3 = crate::codec::Rakp3 {
        tag: 6,
        bmc_id: id,
        result: Ok(vec![0; 32]),
    };
    let output = receive(&mut bmc, &RmcpPlus::plain(PayloadType::Rakp3, &rakp3.encode()), 0);
    let refused = StatusCode::INVALID_CHECK_VALUE;
    assert_eq!(
        crate::codec::Rakp4::decode(&payload(&output)).unwrap().result,
        Err(refused)
    );
    assert!(matches!(output.event, Some(Event::LoginRefused(_, status)) if status == refused));
    assert_eq!(bmc.slots_in_use(), 0);
}

#[test]
fn a_command_outside_a_session_is_dropped() {
    let mut bmc = bmc(BmcConfig::default()).unwrap();
    let message = LanMessage::request(NetFn::CHASSIS, 2, 1, vec![0]);
    assert_eq!(message.to, Address { id: 0x20, lun: 0 });
    let payload = message.encode();
    for datagram in [
        crate::codec::Ipmi15 {
            sequence: 0,
            session_id: 0,
            payload: &payload,
        }
        .encode(),
        RmcpPlus::plain(PayloadType::Ipmi, &payload),
    ] {
        let output = receive(&mut bmc, &datagram, 0);
        let dropped = Discard::OutsideSession {
            net_fn: NetFn::CHASSIS,
            command: 2,
        };
        assert!(matches!(output.event, Some(Event::Discarded(why)) if why == dropped));
        assert_eq!(output.reply, None);
    }
}

#[test]
fn nothing_of_a_bmc_prints_a_password() {
    let (mut bmc, mut counter) = (bmc(BmcConfig::default()).unwrap(), Counter(0));
    let mut session = log_in(&mut bmc, &mut counter).unwrap();
    let set = crate::command::SetUserPassword {
        user: 2,
        long: true,
        operation: crate::command::PasswordOperation::Set(Secret::new("hunter2").unwrap()),
    };
    session.start(NetFn::APP, 0x47, &set.encode(), Delivery::Once);
    let output = receive(&mut bmc, &sent(&mut session, &mut counter), 0);
    let text = format!(
        "{bmc:?} {output:?} {session:?} {set:?} {:?}",
        credentials("secret")
    );
    // The password as text, and as the list of its bytes.
    for secret in ["secret", "hunter2"] {
        assert!(!text.contains(&format!("\"{secret}")), "{text}");
        let bytes = format!("{:?}", secret.as_bytes());
        assert!(!text.contains(bytes.trim_matches(['[', ']'])), "{text}");
    }
}
