mod disks;
mod release;

use std::time::Duration;

use hardware_types::{BootTarget, PowerAction, PowerState, ServerId};

use super::*;
use crate::power::{BootOrder, Command, Intent, Outcome};
use crate::{HandsOff, IdentityVerdict, Time};

fn server() -> ServerId {
    "4c4c4544-0039-3010-8048-b7c04f384432".parse().unwrap()
}

fn at(seconds: u64) -> Time {
    Time::from_millis(1000 * (1000 + seconds))
}

/// A monitor that knows an accepted Server, on, with a leader `a`.
struct Watch(Monitor);

impl Watch {
    fn accepted() -> Self {
        let mut watch = Self::new();
        watch.ok(0, Fact::Accepted(server(), true));
        watch
    }

    fn new() -> Self {
        let tolerance = Tolerance {
            in_flight: Duration::from_secs(2),
            reading_gap: Duration::from_secs(3),
        };
        let mut watch = Self(Monitor::new(tolerance));
        watch.ok(0, Fact::Lease(Some("a".into())));
        watch.ok(0, Fact::Power(server(), PowerState::On));
        watch
    }

    fn see(&mut self, seconds: u64, fact: Fact) -> Result<(), Violation> {
        self.0.observe(Event {
            at: at(seconds),
            fact,
        })
    }

    #[track_caller]
    fn ok(&mut self, seconds: u64, fact: Fact) {
        assert_eq!(self.see(seconds, fact), Ok(()));
    }

    fn refused(&mut self, seconds: u64, fact: Fact) -> String {
        self.see(seconds, fact).unwrap_err().to_string()
    }
}

fn off_intent(attempt: u32) -> Intent {
    Intent {
        attempt,
        ..Intent::new("r1", PowerAction::Off, None, at(0), None)
    }
}

fn stored(attempt: u32) -> Fact {
    Fact::Intent(server(), off_intent(attempt))
}

fn done() -> Fact {
    Fact::Intent(
        server(),
        Intent {
            outcome: Some(Outcome::Done),
            ..off_intent(1)
        },
    )
}

fn off_from(replica: &str) -> Fact {
    let replica = Some(replica.to_owned());
    Fact::Received {
        server: server(),
        write: Write::Power(Command::Off),
        replica,
    }
}

#[test]
fn a_stored_command_that_is_read_back_passes() {
    let mut watch = Watch::accepted();
    watch.ok(1, stored(1));
    watch.ok(1, off_from("a"));
    watch.ok(2, Fact::Power(server(), PowerState::Off));
    watch.ok(2, Fact::Reading(server(), PowerState::Off));
    watch.ok(5, Fact::Reading(server(), PowerState::Off));
    watch.ok(5, done());
    watch.ok(6, done()); // seen again by a relist
}

#[test]
fn i_1_a_command_to_a_server_that_nobody_accepted() {
    let mut never = Watch::new();
    never.ok(1, stored(1));
    assert!(never.refused(1, off_from("a")).starts_with("I-1"));

    let mut no_longer = Watch::accepted();
    no_longer.ok(1, stored(1));
    no_longer.ok(2, Fact::Accepted(server(), false));
    let mut late = Watch(no_longer.0.clone());
    no_longer.ok(4, off_from("a"));
    assert!(late.refused(5, off_from("a")).starts_with("I-1"));
}

#[test]
fn i_5_a_bmc_write_in_hands_off() {
    let mut watch = Watch::accepted();
    watch.ok(1, stored(1));
    watch.ok(2, Fact::HandsOff(server(), Some(HandsOff::Paused)));
    let text = watch.refused(5, off_from("a"));
    assert!(text.starts_with("I-5") && text.contains("Paused"), "{text}");
    watch.ok(6, Fact::HandsOff(server(), None));
    watch.ok(7, off_from("a"));
}

#[test]
fn i_5_a_change_of_reason_does_not_renew_the_tolerance() {
    let mut watch = Watch::accepted();
    watch.ok(1, stored(1));
    watch.ok(2, Fact::HandsOff(server(), Some(HandsOff::Foreign)));
    watch.ok(4, Fact::HandsOff(server(), Some(HandsOff::Paused)));
    assert!(watch.refused(5, off_from("a")).starts_with("I-5"));
}

#[test]
fn i_6_a_command_that_no_stored_attempt_covers() {
    let mut watch = Watch::accepted();
    assert!(watch.refused(1, off_from("a")).starts_with("I-6"), "never stored");
    watch.ok(1, stored(1));
    watch.ok(1, off_from("a"));
    assert!(watch.refused(2, off_from("a")).starts_with("I-6"), "sent twice");
    watch.ok(3, stored(2));
    watch.ok(3, off_from("a"));
    let on = Fact::Received {
        server: server(),
        write: Write::Power(Command::On),
        replica: None,
    };
    watch.ok(4, stored(3));
    assert!(watch.refused(4, on).starts_with("I-6"), "another command");
}

#[test]
fn i_6_a_boot_override_belongs_to_an_intent_with_a_boot_order() {
    let write = |write| Fact::Received {
        server: server(),
        write,
        replica: None,
    };
    let mut watch = Watch::accepted();
    watch.ok(1, stored(1));
    assert!(watch.refused(1, write(Write::BootOverride)).starts_with("I-6"));
    assert!(watch.refused(1, write(Write::Other)).starts_with("I-6"));
    let boot = Some(BootOrder {
        target: BootTarget::Pxe,
        mode: None,
    });
    watch.ok(
        2,
        Fact::Intent(
            server(),
            Intent {
                boot,
                ..off_intent(1)
            },
        ),
    );
    watch.ok(2, write(Write::BootOverride));
    watch.ok(2, write(Write::BootOverride)); // idempotent: may be retransmitted
}

#[test]
fn i_6_a_replica_without_the_lease_has_one_datagram_and_no_more() {
    let mut watch = Watch::accepted();
    watch.ok(1, stored(1));
    watch.ok(2, Fact::Lease(Some("b".into())));
    watch.ok(3, off_from("a"));
    watch.ok(3, stored(2));
    assert!(watch.refused(3, off_from("a")).contains("lease"));
    let mut late = Watch::accepted();
    late.ok(1, stored(1));
    late.ok(2, Fact::Lease(Some("b".into())));
    assert!(late.refused(5, off_from("a")).contains("lease"));
}

#[test]
fn i_6_a_command_while_nobody_holds_the_lease() {
    let from_somebody = || Fact::Received {
        server: server(),
        write: Write::Power(Command::Off),
        replica: None,
    };
    let mut watch = Watch::accepted();
    watch.ok(1, stored(1));
    watch.ok(1, Fact::Lease(None));
    let mut late = Watch(watch.0.clone());
    watch.ok(3, from_somebody());
    assert!(late.refused(4, from_somebody()).contains("lease"));
}

#[test]
fn a_deleted_server_is_forgotten_and_its_machine_is_not() {
    let mut watch = Watch::accepted();
    watch.ok(1, stored(1));
    watch.ok(2, Fact::Deleted(server()));
    let mut never_accepted_again = Watch(watch.0.clone());
    assert!(never_accepted_again.refused(9, off_from("a")).starts_with("I-1"));
    watch.ok(3, Fact::Accepted(server(), true));
    watch.ok(4, Fact::Power(server(), PowerState::Off));
    watch.ok(9, done());
}

#[test]
fn i_10_done_that_was_not_read_back() {
    let mut accepted_only = Watch::accepted();
    accepted_only.ok(1, stored(1));
    accepted_only.ok(1, off_from("a"));
    assert!(
        accepted_only.refused(9, done()).starts_with("I-10"),
        "the machine is on"
    );

    let mut hasty = Watch::accepted();
    hasty.ok(1, stored(1));
    hasty.ok(1, off_from("a"));
    hasty.ok(2, Fact::Power(server(), PowerState::Off));
    assert!(
        hasty.refused(4, done()).starts_with("I-10"),
        "no two readings fit in between"
    );

    let mut one_reading = Watch::accepted();
    one_reading.ok(1, stored(1));
    one_reading.ok(1, off_from("a"));
    one_reading.ok(2, Fact::Power(server(), PowerState::Off));
    one_reading.ok(6, Fact::Reading(server(), PowerState::Off));
    assert!(one_reading.refused(6, done()).starts_with("I-10"), "one reading");
}

#[test]
fn i_13_a_command_to_another_machines_bmc() {
    let mut watch = Watch::accepted();
    watch.ok(1, stored(1));
    watch.ok(1, Fact::Identity(server(), IdentityVerdict::Contradicts));
    assert!(watch.refused(9, off_from("a")).starts_with("I-13"));
    watch.ok(9, Fact::Identity(server(), IdentityVerdict::Same));
    watch.ok(9, off_from("a"));
}

#[test]
fn one_server_has_one_machine_and_one_machine_one_server() {
    let mut watch = Watch::accepted();
    watch.ok(1, Fact::Owners(server(), 1));
    watch.ok(1, Fact::BindingsOfOwner(server(), 1));
    let text = watch.refused(2, Fact::Owners(server(), 2));
    assert!(text.starts_with("I-3: "), "{text}");
    let text = watch.refused(2, Fact::BindingsOfOwner(server(), 2));
    assert!(text.starts_with("I-3: "), "{text}");
}
