//! Console and BMC over a network that loses, repeats, delays and reorders datagrams.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use proptest::prelude::*;

use super::bmc::{Bmc, BmcConfig, Event, Request};
use super::console::{Delivery, ErrorKind, Machine, OpenError, Opening, Session, Step, Timing};
use super::loopback::{Counter, PEER, bmc, credentials};
use crate::command::{CompletionCode, NetFn};
use crate::types::CipherSuite;

/// A command of the tests, in an OEM network function: its data is a nonce, which the answer returns.
const OEM: NetFn = NetFn::new(0x2e);

/// What the network does to one datagram: when each of its copies arrives, in milliseconds.
type Fate = Vec<u64>;

/// Arrivals in the order of their time; the number keeps those of one moment apart.
type Arrivals = BTreeMap<(Duration, u32), (To, Vec<u8>)>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum To {
    Console,
    Bmc,
}

struct World {
    bmc: Bmc,
    counter: Counter,
    now: Duration,
    fates: std::iter::Cycle<std::vec::IntoIter<Fate>>,
    arrivals: Arrivals,
    number: u32,
    carried_out: HashMap<Vec<u8>, u32>,
    sessions_opened: u32,
}

impl World {
    fn new(fates: Vec<Fate>) -> Self {
        Self {
            bmc: bmc(BmcConfig {
                session_slots: 64,
                ..BmcConfig::default()
            })
            .unwrap(),
            counter: Counter(0),
            now: Duration::ZERO,
            fates: fates.into_iter().cycle(),
            arrivals: Arrivals::new(),
            number: 0,
            carried_out: HashMap::new(),
            sessions_opened: 0,
        }
    }

    fn post(&mut self, to: To, datagram: &[u8]) {
        for delay in self.fates.next().unwrap() {
            self.number += 1;
            let at = self.now + Duration::from_millis(delay);
            self.arrivals.insert((at, self.number), (to, datagram.to_vec()));
        }
    }

    fn bmc_receives(&mut self, datagram: &[u8]) {
        let output = self
            .bmc
            .receive(datagram, PEER, self.now, &mut self.counter.source());
        let reply = match output.event {
            Some(Event::Command(request)) => self.carry_out(&request),
            Some(Event::SessionOpened(_)) => {
                self.sessions_opened += 1;
                output.reply
            }
            _ => output.reply,
        };
        if let Some(reply) = reply {
            self.post(To::Console, &reply);
        }
    }

    fn carry_out(&mut self, request: &Request) -> Option<Vec<u8>> {
        let nonce = &request.message.data;
        *self.carried_out.entry(nonce.clone()).or_default() += 1;
        self.bmc
            .respond(request, CompletionCode::OK, nonce, &mut self.counter.source())
    }

    /// Drives `machine` to its end; returns how many datagrams it sent, too.
    fn run<M: Machine>(&mut self, machine: &mut M) -> (M::Output, u32) {
        let mut sent = 0;
        loop {
            let step = machine.step(self.now, &mut self.counter.source());
            match step {
                Step::Done(output) => return (output, sent),
                Step::Send(datagram) => {
                    sent += 1;
                    self.post(To::Bmc, &datagram);
                }
                Step::WaitUntil(time) => match self.arrivals.first_key_value() {
                    Some(((at, _), _)) if *at <= time => {
                        let ((at, _), (to, datagram)) = self.arrivals.pop_first().unwrap();
                        self.now = self.now.max(at);
                        match to {
                            To::Console => machine.receive(&datagram),
                            To::Bmc => self.bmc_receives(&datagram),
                        }
                    }
                    _ => self.now = time,
                },
            }
        }
    }

    fn log_in(&mut self, password: &str, suite: CipherSuite) -> Result<Session, OpenError> {
        let credentials = credentials(password).unwrap();
        self.run(&mut Opening::new(credentials, &[suite], Timing::default()))
            .0
    }
}

/// Half of the datagrams arrive at once, the others late, twice or never.
fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let delay = 0u64..4000;
    let fate = prop_oneof![
        5 => Just(vec![1]),
        2 => Just(vec![]),
        3 => prop::collection::vec(delay, 1..4),
    ];
    prop::collection::vec(fate, 1..60)
}

fn script() -> impl Strategy<Value = Vec<Delivery>> {
    prop::collection::vec(prop_oneof![Just(Delivery::Once), Just(Delivery::Retry)], 1..20)
}

fn suite() -> impl Strategy<Value = CipherSuite> {
    prop_oneof![Just(CipherSuite::Suite3), Just(CipherSuite::Suite17)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn on_a_bad_network_no_command_is_doubled_and_no_answer_mismatched(
        fates in fates(), script in script(), suite in suite(),
    ) {
        let mut world = World::new(fates);
        let mut session = match world.log_in("secret", suite) {
            Ok(session) => session,
            Err(error) => {
                prop_assert!(matches!(error.kind(), ErrorKind::Unreachable | ErrorKind::SessionLost), "{error}");
                return Ok(());
            }
        };
        for (nonce, delivery) in (0u8..).zip(script) {
            session.start(OEM, 1, &[nonce], delivery);
            let (result, sent) = world.run(&mut session);
            match result {
                Ok(reply) => {
                    prop_assert_eq!(&reply.data, &[nonce], "the answer of another command");
                    prop_assert!(world.carried_out.contains_key([nonce].as_slice()));
                }
                Err(error) => prop_assert!(
                    matches!(error.kind(), ErrorKind::Unreachable | ErrorKind::SessionLost | ErrorKind::NoReply),
                    "{}", error
                ),
            }
            if delivery == Delivery::Once {
                prop_assert_eq!(sent, 1);
                prop_assert!(world.carried_out.get([nonce].as_slice()).is_none_or(|count| *count <= 1));
            }
        }
        // What is still on its way changes nothing any more.
        let late: Vec<_> = std::mem::take(&mut world.arrivals).into_values().collect();
        for (to, datagram) in late {
            if to == To::Bmc {
                world.bmc_receives(&datagram);
            }
        }
        for (nonce, count) in &world.carried_out {
            prop_assert!(*count <= Timing::default().attempts, "{:?} was carried out {} times", nonce, count);
        }
    }

    #[test]
    fn a_wrong_password_never_opens_a_session(fates in fates(), suite in suite(), password in "[a-z]{0,16}") {
        prop_assume!(password != "secret");
        let mut world = World::new(fates);
        let error = world.log_in(&password, suite).unwrap_err();
        prop_assert!(
            matches!(error.kind(), ErrorKind::Refused | ErrorKind::Unreachable | ErrorKind::SessionLost), "{error}"
        );
        prop_assert_eq!(world.sessions_opened, 0);
    }
}

#[test]
fn on_a_good_network_every_command_is_answered() {
    let mut world = World::new(vec![vec![1]]);
    let mut session = world.log_in("secret", CipherSuite::Suite17).unwrap();
    for nonce in 0..200u8 {
        session.start(OEM, 1, &[nonce], Delivery::Once);
        assert_eq!(world.run(&mut session).0.unwrap().data, [nonce]);
    }
    assert!(world.carried_out.values().all(|count| *count == 1));
}
