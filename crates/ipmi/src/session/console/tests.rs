use std::time::Duration;

use super::*;
use crate::codec::{
    Algorithms, Datagram, OpenSessionRequest, OpenSessionResponse, PayloadType, RmcpPlus, SessionGrant,
    StatusCode,
};
use crate::command::NetFn;
use crate::session::bmc::{Bmc, BmcConfig, Event, Request};
use crate::session::loopback::{Counter, PEER, bmc, converse, credentials};
use crate::types::CipherSuite;

fn ok(_: &Request) -> (CompletionCode, Vec<u8>) {
    (CompletionCode::OK, Vec::new())
}

fn log_in(bmc: &mut Bmc, credentials: Credentials, suites: &[CipherSuite]) -> Result<Session, OpenError> {
    converse(
        &mut Opening::new(credentials, suites, Timing::default()),
        bmc,
        &mut Counter(0),
        ok,
    )
}

fn good() -> Credentials {
    credentials("secret").unwrap()
}

fn session() -> (Bmc, Session) {
    let mut bmc = bmc(BmcConfig::default()).unwrap();
    let session = log_in(&mut bmc, good(), &CipherSuite::ALL).unwrap();
    (bmc, session)
}

fn step<M: Machine>(machine: &mut M, seconds: u64) -> Step<M::Output> {
    let mut counter = Counter(50);
    machine.step(Duration::from_secs(seconds), &mut counter.source())
}

fn sent<M: Machine>(machine: &mut M) -> Vec<u8> {
    match step(machine, 0) {
        Step::Send(datagram) => datagram,
        _ => panic!("nothing to send"),
    }
}

/// Sends a datagram to the BMC, which answers a command with `data`.
fn answered(bmc: &mut Bmc, datagram: &[u8], data: &[u8]) -> Vec<u8> {
    let mut counter = Counter(99);
    let mut random = counter.source();
    let output = bmc.receive(datagram, PEER, Duration::ZERO, &mut random);
    match output.event {
        Some(Event::Command(request)) => bmc.respond(&request, CompletionCode::OK, data, &mut random),
        _ => output.reply,
    }
    .unwrap()
}

/// Drives a machine that gets no answers; returns its output and how many datagrams it sent.
fn unanswered<M: Machine>(machine: &mut M) -> (M::Output, u32) {
    let (mut now, mut count, mut counter) = (Duration::ZERO, 0, Counter(0));
    loop {
        match machine.step(now, &mut counter.source()) {
            Step::Send(_) => count += 1,
            Step::WaitUntil(time) => now = time,
            Step::Done(output) => return (output, count),
        }
    }
}

#[test]
fn suite_17_is_taken_first_and_3_where_the_bmc_has_no_other() {
    let (_, session) = session();
    assert_eq!(session.suite(), CipherSuite::Suite17);
    let mut old = bmc(BmcConfig {
        suites: vec![CipherSuite::Suite3],
        ..BmcConfig::default()
    })
    .unwrap();
    assert_eq!(
        log_in(&mut old, good(), &CipherSuite::ALL).unwrap().suite(),
        CipherSuite::Suite3
    );
    let pinned = log_in(&mut old, good(), &[CipherSuite::Suite17]).unwrap_err();
    assert_eq!(pinned.kind(), ErrorKind::Unsupported);
    assert_eq!(
        pinned.to_string(),
        "cannot open an IPMI session with cipher suite 17: invalid authentication algorithm (status 0x04)"
    );
}

#[test]
fn a_full_table_is_busy_whichever_suite_the_bmc_has() {
    for suite in CipherSuite::ALL {
        let config = BmcConfig {
            suites: vec![suite],
            session_slots: 0,
            ..BmcConfig::default()
        };
        let error = log_in(&mut bmc(config).unwrap(), good(), &CipherSuite::ALL).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Busy, "{suite}");
    }
}

#[test]
fn a_refusal_of_two_bytes_as_openipmi_sends_it_leads_to_the_next_suite() {
    let mut opening = Opening::new(good(), &CipherSuite::ALL, Timing::default());
    let tag = sent(&mut opening)[16];
    opening.receive(&RmcpPlus::plain(PayloadType::OpenSessionResponse, &[tag, 4]));
    let second = sent(&mut opening);
    let Ok(Datagram::RmcpPlus(packet)) = Datagram::decode(&second) else {
        panic!("not RMCP+")
    };
    let request = OpenSessionRequest::decode(packet.payload).unwrap();
    assert_eq!(request.algorithms, CipherSuite::Suite3.algorithms());
}

#[test]
fn a_wrong_password_is_refused_after_one_login_and_leaves_no_slot() {
    let mut bmc = bmc(BmcConfig::default()).unwrap();
    let mut opening = Opening::new(
        credentials("wrong").unwrap(),
        &CipherSuite::ALL,
        Timing::default(),
    );
    let mut events = Vec::new();
    let error = loop {
        match step(&mut opening, 0) {
            Step::Send(datagram) => {
                let mut counter = Counter(7);
                let output = bmc.receive(&datagram, PEER, Duration::ZERO, &mut counter.source());
                opening.receive(&output.reply.unwrap_or_default());
                events.extend(output.event);
            }
            Step::Done(result) => break result.unwrap_err(),
            Step::WaitUntil(_) => panic!("waits for an answer"),
        }
    };
    assert!(
        matches!(
            error,
            OpenError::Refused {
                why: Refusal::Password,
                ..
            }
        ),
        "{error}"
    );
    assert!(matches!(
        events.as_slice(),
        [
            Event::LoginStarted(_),
            Event::LoginRefused(_, StatusCode::INVALID_CHECK_VALUE)
        ]
    ));
    assert_eq!(bmc.slots_in_use(), 0);
}

#[test]
fn a_proof_refused_by_a_bmc_that_knows_the_password_is_no_refusal_of_credentials() {
    let mut bmc = bmc(BmcConfig::default()).unwrap();
    let mut opening = Opening::new(good(), &CipherSuite::ALL, Timing::default());
    for _ in ["Open Session", "RAKP 1"] {
        let answer = answered(&mut bmc, &sent(&mut opening), &[]);
        opening.receive(&answer);
    }
    let mut refusal = answered(&mut bmc, &sent(&mut opening), &[]);
    refusal[17] = StatusCode::INVALID_CHECK_VALUE.0;
    opening.receive(&refusal);
    let Step::Done(Err(error)) = step(&mut opening, 0) else {
        panic!("goes on")
    };
    assert_eq!(error.kind(), ErrorKind::SessionLost);
}

#[test]
fn each_refusal_of_a_login_has_its_own_kind() {
    let name = |name: &str| Credentials {
        user: UserName::new(name).unwrap(),
        ..good()
    };
    let mut bmc = bmc(BmcConfig {
        session_slots: 2,
        ..BmcConfig::default()
    })
    .unwrap();
    let stranger = log_in(&mut bmc, name("nobody"), &CipherSuite::ALL).unwrap_err();
    assert_eq!(stranger.kind(), ErrorKind::Refused);
    bmc.users.get_mut(&2).unwrap().limit = Some(Privilege::Operator);
    let admin = log_in(&mut bmc, good(), &CipherSuite::ALL).unwrap_err();
    assert_eq!(admin.kind(), ErrorKind::Privilege);
    let operator = Credentials {
        privilege: Privilege::Operator,
        ..good()
    };
    let _first = log_in(&mut bmc, operator.clone(), &CipherSuite::ALL).unwrap();
    let _second = converse(
        &mut Opening::new(operator.clone(), &CipherSuite::ALL, Timing::default()),
        &mut bmc,
        &mut Counter(100),
        ok,
    )
    .unwrap();
    let full = log_in(&mut bmc, operator, &CipherSuite::ALL).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::Busy);
    let (silent, datagrams) = unanswered(&mut Opening::new(good(), &CipherSuite::ALL, Timing::default()));
    assert_eq!(
        (silent.unwrap_err().kind(), datagrams),
        (ErrorKind::Unreachable, 4)
    );
}

#[test]
fn a_two_key_login_takes_kg_and_names_a_wrong_one() {
    let kg = |kg: &str| Some(Secret::new(kg).unwrap());
    for suite in CipherSuite::ALL {
        let log_in_with = |own| {
            let mut bmc = bmc(BmcConfig {
                kg: kg("key"),
                ..BmcConfig::default()
            })
            .unwrap();
            log_in(&mut bmc, Credentials { kg: own, ..good() }, &[suite])
        };
        assert!(log_in_with(kg("key")).is_ok());
        for wrong in [None, kg("other")] {
            let error = log_in_with(wrong).unwrap_err();
            assert!(
                matches!(error, OpenError::Refused { why: Refusal::Kg, .. }),
                "{error}"
            );
        }
    }
}

#[test]
fn answers_to_another_login_are_ignored_at_every_message() {
    /// Offsets in a datagram: tag and first byte of the console's session id.
    const FOREIGN: [usize; 2] = [16, 20];
    let mut bmc = bmc(BmcConfig::default()).unwrap();
    let mut opening = Opening::new(good(), &CipherSuite::ALL, Timing::default());
    for message in ["Open Session", "RAKP 1", "RAKP 3"] {
        let answer = answered(&mut bmc, &sent(&mut opening), &[]);
        for offset in FOREIGN {
            let mut foreign = answer.clone();
            foreign[offset] ^= 1;
            opening.receive(&foreign);
            assert!(matches!(step(&mut opening, 0), Step::WaitUntil(_)), "{message}");
        }
        opening.receive(&answer);
    }
    let _raise = sent(&mut opening);
}

/// The login's first message and the BMC's answer to it with other algorithms.
fn granting(algorithms: Algorithms) -> OpenError {
    let mut opening = Opening::new(good(), &CipherSuite::ALL, Timing::default());
    let datagram = sent(&mut opening);
    let Ok(Datagram::RmcpPlus(packet)) = Datagram::decode(&datagram) else {
        panic!("not RMCP+")
    };
    let request = OpenSessionRequest::decode(packet.payload).unwrap();
    let response = OpenSessionResponse {
        tag: request.tag,
        privilege: 4,
        console_id: request.console_id,
        result: Ok(SessionGrant {
            bmc_id: 9,
            algorithms,
        }),
    };
    opening.receive(&RmcpPlus::plain(
        PayloadType::OpenSessionResponse,
        &response.encode(),
    ));
    match step(&mut opening, 0) {
        Step::Done(Err(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_bmc_that_grants_weaker_algorithms_than_asked_for_is_not_followed() {
    let none = Algorithms {
        authentication: Some(0),
        integrity: Some(0),
        confidentiality: Some(0),
    };
    for algorithms in [none, CipherSuite::Suite3.algorithms()] {
        assert!(matches!(
            granting(algorithms),
            OpenError::OtherAlgorithms(CipherSuite::Suite17)
        ));
    }
}

#[test]
fn a_late_answer_is_not_taken_for_that_of_the_next_command() {
    let (mut bmc, mut session) = session();
    session.start(NetFn::CHASSIS, 1, &[], Delivery::Retry);
    let late = answered(&mut bmc, &sent(&mut session), &[1]);
    session.start(NetFn::CHASSIS, 1, &[], Delivery::Retry);
    let own = answered(&mut bmc, &sent(&mut session), &[2]);
    session.receive(&late);
    assert!(matches!(step(&mut session, 0), Step::WaitUntil(_)));
    session.receive(&own);
    assert!(matches!(step(&mut session, 0), Step::Done(Ok(Reply { data, .. })) if data == [2]));
}

#[test]
fn a_changed_or_repeated_answer_is_ignored() {
    let (mut bmc, mut session) = session();
    session.start(NetFn::CHASSIS, 1, &[], Delivery::Retry);
    let answer = answered(&mut bmc, &sent(&mut session), &[1]);
    let mut changed = answer.clone();
    *changed.last_mut().unwrap() ^= 1;
    session.receive(&changed);
    assert!(matches!(step(&mut session, 0), Step::WaitUntil(_)));
    session.receive(&answer);
    assert!(matches!(step(&mut session, 0), Step::Done(Ok(_))));
    // 64 commands later rqSeq is the same again; the old datagram still is not.
    for _ in 0..64 {
        session.start(NetFn::CHASSIS, 1, &[], Delivery::Retry);
    }
    let _ = sent(&mut session);
    session.receive(&answer);
    assert!(matches!(step(&mut session, 0), Step::WaitUntil(_)));
}

#[test]
fn a_command_sent_once_is_one_datagram_and_its_outcome_without_answer_unknown() {
    let (_, mut session) = session();
    session.start(NetFn::CHASSIS, 2, &[1], Delivery::Once);
    let (result, datagrams) = unanswered(&mut session);
    let error = result.unwrap_err();
    assert_eq!((error.kind(), datagrams), (ErrorKind::NoReply, 1));
    assert_eq!(
        error.to_string(),
        "no answer to Chassis Control, which was sent once: its outcome is unknown"
    );
}

#[test]
fn a_retried_command_keeps_its_rqseq_under_new_session_sequence_numbers() {
    let (mut bmc, mut session) = session();
    session.start(NetFn::CHASSIS, 1, &[], Delivery::Retry);
    let mut seen = Vec::new();
    for seconds in [0, 1, 3] {
        let Step::Send(datagram) = step(&mut session, seconds) else {
            panic!("not sent at {seconds} s")
        };
        let Ok(Datagram::RmcpPlus(packet)) = Datagram::decode(&datagram) else {
            panic!("not RMCP+")
        };
        let sequence = packet.sequence;
        let mut counter = Counter(0);
        let output = bmc.receive(&datagram, PEER, Duration::ZERO, &mut counter.source());
        let Some(Event::Command(request)) = output.event else {
            panic!("{output:?}")
        };
        seen.push((sequence, request.message.sequence));
    }
    // The first command of the session raised the privilege.
    assert_eq!(seen, [(2, 2), (3, 2), (4, 2)]);
}

#[test]
fn a_bmc_that_forgot_the_session_is_told_from_one_that_is_gone() {
    let (mut bmc, mut session) = session();
    bmc.reset();
    session.start(NetFn::CHASSIS, 1, &[], Delivery::Retry);
    let lost = converse(&mut session, &mut bmc, &mut Counter(0), ok).unwrap_err();
    assert_eq!(lost.kind(), ErrorKind::SessionLost);
    session.start(NetFn::CHASSIS, 1, &[], Delivery::Retry);
    let (result, datagrams) = unanswered(&mut session);
    assert_eq!(
        (result.unwrap_err().kind(), datagrams),
        (ErrorKind::Unreachable, 4 + 2)
    );
}

#[test]
fn completion_codes_of_a_busy_and_an_ignorant_bmc_have_their_kinds() {
    let command = CommandName {
        net_fn: NetFn::CHASSIS,
        number: 2,
    };
    let kind = |code| {
        RequestError::Completion {
            command,
            code: CompletionCode(code),
        }
        .kind()
    };
    assert_eq!(kind(0xc0), ErrorKind::Busy);
    assert_eq!(kind(0xc1), ErrorKind::Unsupported);
    assert_eq!(kind(0xd4), ErrorKind::Privilege);
    assert_eq!(kind(0xd5), ErrorKind::WrongState);
    assert_eq!(kind(0xcc), ErrorKind::Failed);
}
