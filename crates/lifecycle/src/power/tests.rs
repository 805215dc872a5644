use std::time::Duration;

use hardware_types::{BootTarget, PowerAction, PowerState};
use proptest::prelude::*;

use super::*;
use crate::{Time, Timings};

const START: Time = Time::from_millis(1_000_000);

fn at(seconds: u64) -> Time {
    START.after(Duration::from_secs(seconds))
}

const PXE: Option<BootOrder> = Some(BootOrder {
    target: BootTarget::Pxe,
    mode: None,
});

fn intent(action: PowerAction, boot: Option<BootOrder>) -> Intent {
    Intent::new("r1", action, boot, START, None)
}

/// One process with one intent: what it stored, what it saw, and how it goes on.
#[derive(Clone)]
struct Process {
    stored: Intent,
    seen: Observed,
}

impl Process {
    fn new(stored: Intent) -> Self {
        Self::taking_up(stored, START)
    }

    fn taking_up(stored: Intent, since: Time) -> Self {
        Self {
            stored,
            seen: Observed::nothing(since),
        }
    }

    fn reads(mut self, seconds: u64, power: PowerState) -> Self {
        self.seen.asked = Some(at(seconds));
        self.seen.readings.push(Reading {
            at: at(seconds),
            power,
            mark: None,
        });
        self
    }

    fn reads_mark(mut self, seconds: u64, mark: u64) -> Self {
        self.seen.readings.push(Reading {
            at: at(seconds),
            power: PowerState::On,
            mark: Some(BootMark(mark)),
        });
        self
    }

    fn asks(&self, seconds: u64) -> Step {
        step(&self.stored, &self.seen, at(seconds), &Timings::default())
    }

    /// Asserts that this command is sent at `seconds`, and goes on from there.
    fn sends(mut self, seconds: u64, expected: Command) -> Self {
        match self.asks(seconds) {
            Step::Send { store, command, .. } if command == expected => self.stored = store,
            other => panic!("wanted {expected} sent, got {other:?}"),
        }
        self
    }

    #[track_caller]
    fn waits(self, seconds: u64) -> Self {
        let step = self.asks(seconds);
        assert!(
            matches!(step, Step::Read { .. } | Step::Wait { .. }),
            "wanted a wait, got {step:?}"
        );
        self
    }

    #[track_caller]
    fn ends(&self, seconds: u64) -> Outcome {
        match self.asks(seconds) {
            Step::End { store } => store.outcome.unwrap(),
            other => panic!("wanted an end, got {other:?}"),
        }
    }
}

use PowerState::{Off, On, PoweringOff, PoweringOn, Unknown};

#[test]
fn nothing_is_sent_before_the_first_reading() {
    for action in PowerAction::ALL {
        let fresh = Process::new(intent(*action, None));
        assert_eq!(
            fresh.asks(0),
            Step::Read {
                at: START,
                wait: Wait::FirstReading { trouble: None }
            },
            "{action}"
        );
    }
}

#[test]
fn the_intent_counts_the_attempt_before_it_is_sent() {
    let sent = Process::new(intent(PowerAction::Off, None))
        .reads(1, On)
        .sends(2, Command::Off);
    assert_eq!(
        (sent.stored.attempt, sent.stored.last_sent, sent.stored.outcome),
        (1, Some(at(2)), None)
    );
}

#[test]
fn done_is_two_equal_readings_three_seconds_apart_after_the_command() {
    let sent = Process::new(intent(PowerAction::Off, None))
        .reads(0, On)
        .sends(0, Command::Off);
    let one = sent.reads(1, Off).waits(1);
    one.clone().reads(3, Off).waits(3);
    assert_eq!(one.reads(4, Off).ends(4), Outcome::Done);
}

#[test]
fn a_contradiction_between_two_readings_starts_anew() {
    let sent = Process::new(intent(PowerAction::Off, None))
        .reads(0, On)
        .sends(0, Command::Off);
    for contradiction in [On, PoweringOff, PoweringOn, Unknown] {
        let again = sent
            .clone()
            .reads(1, Off)
            .reads(2, contradiction)
            .reads(4, Off)
            .waits(4);
        assert_eq!(
            again.reads(7, Off).ends(7),
            Outcome::Done,
            "after {contradiction}"
        );
    }
}

#[test]
fn on_its_way_and_unknown_mean_not_yet_until_half_the_deadline() {
    for (action, command, reading) in [
        (PowerAction::Off, Command::Off, PoweringOff),
        (PowerAction::Off, Command::Off, Unknown),
        (PowerAction::On, Command::On, PoweringOn),
        (PowerAction::On, Command::On, Unknown),
    ] {
        let waiting = Process::new(intent(action, None))
            .reads(0, reading)
            .reads(29, reading)
            .waits(29);
        let sent = waiting.reads(30, reading).sends(30, command);
        assert_eq!(sent.stored.attempt, 1, "{action} while {reading}");
    }
}

#[test]
fn off_and_on_are_sent_again_only_after_half_the_deadline_without_effect() {
    for (action, command, contrary) in [
        (PowerAction::Off, Command::Off, On),
        (PowerAction::On, Command::On, Off),
    ] {
        let sent = Process::new(intent(action, None))
            .reads(0, contrary)
            .sends(0, command);
        let late = sent.reads(29, contrary).waits(29);
        late.clone().waits(31); // the half has passed, but what was read is older
        let again = late.reads(30, contrary).sends(30, command);
        assert_eq!(again.stored.attempt, 2);
    }
}

#[test]
fn past_the_deadline_it_is_unconfirmed_even_if_the_effect_shows_then() {
    let sent = Process::new(intent(PowerAction::On, None))
        .reads(0, Off)
        .sends(0, Command::On);
    let late = sent.reads(59, On).reads(62, On);
    let Outcome::Unconfirmed(why) = late.ends(62) else {
        panic!("done past its deadline")
    };
    assert_eq!(
        why.to_string(),
        "on was not confirmed within its deadline (sent once); the machine reads on"
    );
}

#[test]
fn a_bmc_that_never_answers_ends_with_its_trouble_and_nothing_sent() {
    let mut silent = Process::new(intent(PowerAction::Cycle, None));
    silent.seen.trouble = Some(crate::Trouble::Unreachable);
    silent.clone().waits(59);
    let Outcome::Unconfirmed(why) = silent.ends(60) else {
        panic!("done without a reading")
    };
    assert_eq!(
        why.to_string(),
        "the power state could not be read within the deadline (nothing was sent); the BMC does not answer"
    );
}

#[test]
fn a_reading_that_fails_is_asked_for_again_a_gap_later() {
    let mut silent = Process::new(intent(PowerAction::Off, None));
    silent.seen.asked = Some(at(5));
    assert!(matches!(silent.asks(5), Step::Read { at: next, .. } if next == at(8)));
}

#[test]
fn a_soft_off_is_asked_once_and_becomes_hard_after_its_deadline() {
    let sent = Process::new(intent(PowerAction::SoftOff, None))
        .reads(0, On)
        .sends(0, Command::SoftOff);
    let patient = sent.reads(90, On).waits(90).reads(179, On).waits(179);
    let hard = patient.sends(180, Command::Off);
    assert_eq!((hard.stored.stage, hard.stored.attempt), (Stage::Off, 1));
    assert_eq!(hard.reads(181, Off).reads(184, Off).ends(184), Outcome::Done);
}

#[test]
fn a_successor_gives_a_soft_off_no_more_time_than_its_predecessor() {
    let sent = Process::new(intent(PowerAction::SoftOff, None))
        .reads(0, On)
        .sends(0, Command::SoftOff);
    let successor = Process::taking_up(sent.stored, at(200)).waits(200);
    successor.reads(200, On).sends(200, Command::Off);
}

#[test]
fn a_cycle_is_off_confirmed_a_rest_and_on() {
    let off = Process::new(intent(PowerAction::Cycle, None))
        .reads(0, On)
        .sends(0, Command::Off);
    let confirmed = off.reads(1, Off).reads(4, Off);
    assert_eq!(
        confirmed.asks(4),
        Step::Wait {
            until: at(11),
            wait: Wait::Rest
        }
    );
    let on = confirmed.waits(11).reads(11, Off).sends(11, Command::On);
    assert_eq!(on.reads(12, On).reads(15, On).ends(15), Outcome::Done);
}

#[test]
fn after_a_rest_on_is_sent_only_by_a_reading_from_its_end() {
    let rested = Process::new(intent(PowerAction::Cycle, None))
        .reads(0, On)
        .sends(0, Command::Off)
        .reads(1, Off)
        .reads(4, Off);
    assert!(matches!(rested.asks(11), Step::Read { at: now, .. } if now == at(11)));
    // a human was faster: nothing to switch on, and off is tried again at its time
    rested
        .clone()
        .reads(11, On)
        .waits(29)
        .reads(30, On)
        .sends(30, Command::Off);
    for unclear in [PoweringOn, Unknown] {
        rested.clone().reads(11, unclear).waits(11);
    }
    let mut silent = rested;
    silent.seen.asked = Some(at(11));
    let Step::Read { at: again, .. } = silent.asks(12) else {
        panic!("not read again")
    };
    assert_eq!(again, at(14));
    silent.seen.asked = Some(at(70));
    assert!(
        matches!(
            silent.ends(71),
            Outcome::Unconfirmed(Unconfirmed::NoEffect {
                command: Command::On,
                attempts: 0,
                ..
            })
        ),
        "a BMC that says nothing any more is not waited for without end"
    );
}

#[test]
fn a_cycle_of_a_machine_that_is_off_is_on() {
    let off = Process::new(intent(PowerAction::Cycle, None))
        .reads(0, Off)
        .waits(0)
        .reads(3, Off);
    off.sends(3, Command::On);
}

#[test]
fn after_two_offs_on_waits_until_neither_can_act_any_more() {
    let twice = Process::new(intent(PowerAction::Cycle, None))
        .reads(0, On)
        .sends(0, Command::Off)
        .reads(30, On)
        .sends(30, Command::Off);
    let off = twice.reads(31, Off).reads(34, Off).waits(89);
    off.reads(90, Off).sends(90, Command::On);
}

#[test]
fn an_off_that_follows_a_soft_off_does_not_shorten_its_time_to_act() {
    let asked = Process::new(intent(PowerAction::SoftOff, None))
        .reads(0, On)
        .sends(0, Command::SoftOff);
    let cycle = Intent::new("r2", PowerAction::Cycle, None, at(20), Some(&asked.stored));
    let off = Process::taking_up(cycle, at(20))
        .reads(20, On)
        .sends(20, Command::Off)
        .reads(21, Off)
        .reads(24, Off);
    assert_eq!(
        off.asks(24),
        Step::Wait {
            until: at(180),
            wait: Wait::EarlierCommand { target: On }
        }
    );
}

#[test]
fn an_off_that_came_too_late_to_do_anything_is_remembered_by_the_next_request() {
    let hard = Process::new(intent(PowerAction::SoftOff, None))
        .reads(0, On)
        .sends(0, Command::SoftOff)
        .reads(179, On) // and then the operating system is done, unseen
        .sends(180, Command::Off)
        .reads(181, Off)
        .reads(184, Off);
    let Step::End { store: done } = hard.asks(184) else {
        panic!("not ended")
    };
    let cycle = Intent::new("r2", PowerAction::Cycle, None, at(184), Some(&done));
    let off = Process::taking_up(cycle, at(184)).reads(184, Off).reads(187, Off);
    assert_eq!(
        off.asks(187),
        Step::Wait {
            until: at(240),
            wait: Wait::EarlierCommand { target: On }
        }
    );
}

#[test]
fn a_one_time_boot_is_off_confirmed_override_and_on() {
    let off = Process::new(intent(PowerAction::On, PXE))
        .reads(0, On)
        .sends(0, Command::Off);
    match off.reads(1, Off).reads(4, Off).reads(11, Off).asks(11) {
        Step::Send {
            boot,
            command: Command::On,
            ..
        } => assert_eq!(boot, PXE),
        other => panic!("wanted on with its override, got {other:?}"),
    }
}

#[test]
fn what_the_override_read_back_is_recorded_and_stops_nothing() {
    let mut on = Process::new(intent(PowerAction::On, PXE))
        .reads(0, Off)
        .reads(3, Off)
        .sends(3, Command::On);
    on.seen.override_seen = Some(OverrideSeen::Different);
    let Step::End { store } = on.reads(4, On).reads(7, On).asks(7) else {
        panic!("not ended")
    };
    assert_eq!(
        (store.outcome, store.override_seen),
        (Some(Outcome::Done), Some(OverrideSeen::Different))
    );
}

#[test]
fn a_reset_is_sent_once_and_ends_by_a_changed_mark_or_a_sign_of_boot() {
    let sent = Process::new(intent(PowerAction::Reset, None))
        .reads_mark(0, 7)
        .sends(0, Command::Reset);
    assert_eq!(sent.clone().reads_mark(5, 8).ends(5), Outcome::Done);
    let mut booted = sent.clone();
    booted.seen.booted = Some(at(20));
    assert_eq!(booted.ends(20), Outcome::Done);
    let unseen = sent.reads_mark(30, 7).waits(45).reads_mark(59, 7).waits(59);
    let Outcome::Unconfirmed(why) = unseen.ends(60) else {
        panic!("done unseen")
    };
    assert_eq!(
        why.to_string(),
        "reset: sent, unconfirmed; nothing shows that the machine restarted"
    );
}

#[test]
fn a_reset_of_a_machine_that_is_off_sends_nothing() {
    let off = Process::new(intent(PowerAction::Reset, None))
        .reads(0, Off)
        .waits(0)
        .reads(3, Off);
    assert_eq!(off.ends(3), Outcome::Unconfirmed(Unconfirmed::NotOn));
}

#[test]
fn a_successor_reads_before_it_sends_again() {
    for (action, contrary, confirming, command) in [
        (PowerAction::Off, On, Off, Command::Off),
        (PowerAction::On, Off, On, Command::On),
    ] {
        let died = Process::new(intent(action, None))
            .reads(0, contrary)
            .sends(0, command)
            .stored;
        let successor = Process::taking_up(died, at(600)).waits(600);
        let acted = successor
            .clone()
            .reads(600, confirming)
            .waits(600)
            .reads(603, confirming);
        assert_eq!(acted.ends(603), Outcome::Done);
        let lost = successor.reads(600, contrary).sends(600, command);
        assert_eq!(lost.stored.attempt, 2);
    }
}

#[test]
fn a_successor_never_sends_a_reset_again() {
    let died = Process::new(intent(PowerAction::Reset, None))
        .reads_mark(0, 7)
        .sends(0, Command::Reset)
        .stored;
    let successor = Process::taking_up(died, at(600)).reads_mark(600, 7).waits(659);
    assert!(matches!(
        successor.ends(660),
        Outcome::Unconfirmed(Unconfirmed::ResetUnseen { .. })
    ));
}

#[test]
fn after_an_unconfirmed_on_off_counts_only_a_full_deadline_after_the_send() {
    let on = Process::new(intent(PowerAction::On, None))
        .reads(0, Off)
        .sends(0, Command::On)
        .reads(30, Off)
        .sends(30, Command::On)
        .reads(60, Off);
    let Step::End { store: unconfirmed } = on.asks(60) else {
        panic!("not ended")
    };
    let off = Intent::new("r2", PowerAction::Off, None, at(60), Some(&unconfirmed));
    let off = Process::taking_up(off, at(60)).reads(60, Off).reads(63, Off);
    assert_eq!(
        off.asks(63),
        Step::Read {
            at: at(66),
            wait: Wait::EarlierCommand { target: Off }
        }
    );
    let settled = off.reads(89, Off).reads(90, Off).waits(90).reads(93, Off);
    assert_eq!(settled.ends(93), Outcome::Done);
}

#[test]
fn off_is_sent_at_once_to_a_machine_that_an_unconfirmed_on_brought_up() {
    let mut unconfirmed = intent(PowerAction::On, None);
    unconfirmed.on_may_act_until = Some(at(90));
    let off = Intent::new("r2", PowerAction::Off, None, at(60), Some(&unconfirmed));
    Process::taking_up(off, at(60))
        .reads(60, On)
        .sends(60, Command::Off);
}

#[test]
fn a_wait_says_what_for() {
    let sent = Process::new(intent(PowerAction::Off, None))
        .reads(0, On)
        .sends(0, Command::Off);
    let Step::Read { wait, .. } = sent.reads(1, On).asks(1) else {
        panic!("not waiting")
    };
    assert_eq!(
        wait.to_string(),
        "off was sent (attempt 1); waiting for two readings of off; the machine reads on"
    );
    assert_eq!(
        Wait::Rest.to_string(),
        "off; stays off for a moment before it is switched on"
    );
}

#[test]
fn an_intent_survives_its_stored_form() {
    let stored = Process::new(intent(PowerAction::On, PXE))
        .reads(0, On)
        .sends(0, Command::Off)
        .stored;
    let json = serde_json::to_value(&stored).unwrap();
    assert_eq!(
        json,
        serde_json::json!({
            "id": "r1", "action": "on", "boot": {"target": "pxe"}, "stage": "off", "entered": 1_000_000, "attempt": 1,
            "firstSent": 1_000_000, "lastSent": 1_000_000, "offMayActUntil": 1_060_000,
        })
    );
    assert_eq!(serde_json::from_value::<Intent>(json).unwrap(), stored);
}

#[test]
fn every_outcome_survives_its_stored_form() {
    let trouble = Some(crate::Trouble::Busy);
    for outcome in [
        Outcome::Done,
        Outcome::Unconfirmed(Unconfirmed::NotOn),
        Outcome::Unconfirmed(Unconfirmed::NoReading { attempts: 2, trouble }),
        Outcome::Unconfirmed(Unconfirmed::ResetUnseen { trouble: None }),
        Outcome::Unconfirmed(Unconfirmed::NoEffect {
            command: Command::Off,
            attempts: 2,
            read: On,
            trouble,
        }),
    ] {
        let json = serde_json::to_string(&outcome).unwrap();
        assert_eq!(serde_json::from_str::<Outcome>(&json).unwrap(), outcome, "{json}");
    }
}

proptest! {
    /// Whatever a BMC says and whenever: it ends in time, done only by two equal readings, and commands keep their distance.
    #[test]
    fn any_bmc_leads_to_an_end_in_time_and_done_only_by_readings(
        action in proptest::sample::select(PowerAction::ALL),
        with_boot: bool,
        answers in proptest::collection::vec(proptest::option::weighted(0.8, proptest::sample::select(PowerState::ALL)), 1..40),
    ) {
        let timings = Timings::default();
        let mut process = Process::new(intent(action, PXE.filter(|_| with_boot)));
        let mut now = START;
        let mut answers = answers.iter().cycle();
        let mut readings: Vec<(Time, PowerState)> = Vec::new();
        let mut sent: Vec<(Time, Command)> = Vec::new();
        let store = loop {
            prop_assert!(now.since(START) < Duration::from_mins(10), "no end after ten minutes");
            match step(&process.stored, &process.seen, now, &timings) {
                Step::Read { at, .. } if at <= now => {
                    process.seen.asked = Some(now);
                    if let Some(power) = answers.next().copied().flatten() {
                        readings.push((now, power));
                        process.seen.readings.push(Reading { at: now, power, mark: None });
                    }
                }
                Step::Read { at: next, .. } | Step::Wait { until: next, .. } => {
                    prop_assert!(next > now);
                    now = next;
                }
                Step::Send { store, command, .. } => {
                    let known = sent.iter().rev().find(|(_, earlier)| *earlier == command);
                    prop_assert!(known.is_none_or(|(at, _)| now.since(*at) >= command.deadline(&timings) / 2));
                    prop_assert!(known.is_none() || matches!(command, Command::On | Command::Off));
                    prop_assert_eq!(store.last_sent, Some(now));
                    sent.push((now, command));
                    process.stored = store;
                }
                Step::End { store } => break store,
                Step::Ended(_) => prop_assert!(false, "ended before it was stored"),
            }
        };
        if store.outcome == Some(Outcome::Done) {
            let target = store.stage.command().leads_to();
            let after = sent.last().map_or(START, |(at, _)| *at);
            let agreeing: Vec<_> = readings.iter().rev().take_while(|(at, power)| *power == target && *at >= after).collect();
            let apart = agreeing.first().zip(agreeing.last()).map(|(last, first)| last.0.since(first.0));
            prop_assert!(apart >= Some(timings.reading_gap), "{:?}", readings);
        }
    }
}
