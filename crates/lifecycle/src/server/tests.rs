#![expect(clippy::unnecessary_wraps, reason = "what is observed is optional")]

use super::*;
use crate::claim::Unconfirmed;
use crate::facts::WipeDue;
use crate::{HandsOff, IdentityVerdict};

const W: &str = "w-1";
const LATE: Outcome = Outcome::Unconfirmed(crate::power::Unconfirmed::NotOn);

fn at(seconds: u64) -> Time {
    Time::from_millis(1_800_000_000_000 + seconds * 1000)
}

fn timings() -> Timings {
    Timings::default()
}

fn off() -> Driver {
    let power = Some(PowerState::Off);
    Driver::Ready { power }
}

fn on() -> Driver {
    let power = Some(PowerState::On);
    Driver::Ready { power }
}

/// Accepted, ours, reported by its agent, off; no fact but the installation.
fn accepted() -> Observed {
    Observed {
        gate: crate::Observed {
            accepted: true,
            paused: false,
            installation: Some("here".into()),
            here: "here".into(),
            identity: IdentityVerdict::Same,
            identity_confirmed: false,
            orphaned: false,
            unexpectedly_on: false,
        },
        facts: Ok(Facts::default()),
        quarantine: None,
        claim: Claim::None,
        config_boots: 0,
        registered: true,
        marked_clean: false,
        cordoned: false,
        driver: off(),
        intent: None,
        asked: None,
        unserved: None,
        started: None,
        agent: None,
        wipe: None,
        since: at(0),
    }
}

fn facts(due: u64, done: Option<u64>, powered: Option<&str>, window: Option<u64>) -> Facts {
    Facts {
        wipe_due: Some(WipeDue {
            generation: due,
            allocation: None,
        }),
        wipe_done: done,
        powered: powered.map(Into::into),
        window: window.map(|opened| Window {
            id: W.into(),
            purpose: Purpose::Agent,
            opened: at(opened),
        }),
    }
}

/// In the window of the first wipe, opened at second 100.
fn in_window() -> Observed {
    Observed {
        facts: Ok(facts(1, None, Some(W), Some(100))),
        ..accepted()
    }
}

fn sent(id: &str, action: PowerAction, began: u64, outcome: Option<Outcome>) -> Option<Command> {
    Some(Command {
        id: id.into(),
        action,
        began: at(began),
        outcome,
    })
}

fn power(id: &str, action: PowerAction, network_boot: bool) -> Option<Act> {
    Some(Act::Power {
        id: id.into(),
        action,
        network_boot,
    })
}

fn raise(generation: u64, allocation: Option<&str>) -> Act {
    Act::RaiseWipe {
        generation,
        allocation: allocation.map(Into::into),
    }
}

fn step(seen: &Observed, now: u64) -> Plan {
    plan(seen, at(now), &timings())
}

#[test]
fn an_accepted_machine_is_recorded_as_due_before_its_window_opens() {
    assert_eq!(step(&accepted(), 100).act, Some(raise(1, None)));
    let due = Observed {
        facts: Ok(facts(1, None, None, None)),
        ..accepted()
    };
    assert_eq!(step(&due, 100).act, Some(Act::OpenWindow(Purpose::Agent)));
    assert_eq!(step(&due, 100).phase, Phase::Wiping);
}

#[test]
fn a_server_that_never_reported_here_is_not_wiped() {
    let mut by_hand = accepted();
    by_hand.registered = false;
    let plan = step(&by_hand, 100);
    assert_eq!((plan.act, plan.why), (None, Why::NotRegistered));
    by_hand.marked_clean = true;
    assert_eq!(step(&by_hand, 100).phase, Phase::Available);
    // a client's word counts for nothing once there was an agent
    by_hand.registered = true;
    assert_eq!(step(&by_hand, 100).act, Some(raise(1, None)));
}

#[test]
fn nothing_is_done_for_machines_that_are_not_ours_to_wipe() {
    let mut unaccepted = in_window();
    unaccepted.gate.accepted = false;
    let mut bound = in_window();
    bound.claim = Claim::Unconfirmed(Unconfirmed::NotTaken);
    let mut paused = in_window();
    paused.gate.paused = true;
    let mut unreadable = in_window();
    unreadable.facts = Err("annotation x: \"y\" is not z".into());
    for (seen, phase) in [
        (unaccepted, Phase::Discovered),
        (bound, Phase::Allocated),
        (paused, Phase::HandsOff),
        (unreadable, Phase::Error),
    ] {
        let plan = step(&seen, 100);
        assert_eq!((plan.act, plan.phase), (None, phase), "{seen:?}");
    }
}

#[test]
fn a_machine_that_is_off_is_switched_on_at_once_and_one_whose_agent_runs_is_not() {
    let first = power("w-1-on-1", PowerAction::On, true);
    assert_eq!(step(&in_window(), 100).act, first);
    let mut runs = in_window();
    runs.driver = on();
    runs.agent = Some(at(60));
    let plan = step(&runs, 100);
    assert_eq!(
        (plan.act, plan.why, plan.again),
        (None, Why::AgentRuns, Some(at(130)))
    );
    assert_eq!(step(&runs, 130).act, first);
    // it was switched off since
    runs.driver = off();
    assert_eq!(step(&runs, 100).act, first);
    // heard of too long ago
    runs.driver = on();
    runs.agent = None;
    assert_eq!(step(&runs, 100).act, first);
}

#[test]
fn without_a_bmc_or_an_answer_of_it_nothing_is_sent_and_the_reason_is_said() {
    for (driver, why) in [(Driver::None, Why::PressButton), (Driver::Silent, Why::BmcSilent)] {
        let seen = Observed {
            driver,
            ..in_window()
        };
        let plan = step(&seen, 100);
        assert_eq!((plan.act, plan.why), (None, why));
    }
}

#[test]
fn a_boot_that_never_asks_ends_off_is_tried_once_more_with_a_reset_and_then_a_human_is_asked() {
    let boot = u64::from(u16::try_from(timings().boot.as_secs()).unwrap());
    let mut seen = in_window();
    let mut expect = |intent: Option<Command>, now: u64, act: Option<Act>, why: Why| {
        seen.intent = intent;
        let plan = step(&seen, now);
        assert_eq!((plan.act, plan.why), (act, why), "at {now}");
    };
    let done = Some(Outcome::Done);
    let on_1 = |outcome| sent("w-1-on-1", PowerAction::On, 110, outcome);
    expect(on_1(None), 115, None, Why::Powering);
    expect(on_1(done), 110 + boot - 1, None, Why::Booting { attempt: 1 });
    let off_1 = power("w-1-off-1", PowerAction::Off, false);
    expect(on_1(done), 110 + boot, off_1.clone(), Why::NoBoot { attempt: 1 });
    expect(on_1(Some(LATE)), 115, off_1, Why::NoBoot { attempt: 1 });
    expect(
        sent("w-1-off-1", PowerAction::Off, 2000, done),
        2001,
        power("w-1-on-2", PowerAction::On, true),
        Why::Booting { attempt: 2 },
    );
    expect(
        sent("w-1-on-2", PowerAction::On, 2010, done),
        2015,
        power("w-1-reset-2", PowerAction::Reset, true),
        Why::Booting { attempt: 2 },
    );
    let reset = || sent("w-1-reset-2", PowerAction::Reset, 2020, Some(LATE));
    expect(reset(), 2021, None, Why::Booting { attempt: 2 });
    expect(
        reset(),
        2020 + boot,
        power("w-1-off-2", PowerAction::Off, false),
        Why::NoBoot { attempt: 2 },
    );
    expect(
        sent("w-1-off-2", PowerAction::Off, 4000, done),
        4001,
        None,
        Why::NeverBooted,
    );
    // a human's own command begins anew
    expect(
        sent("00ff", PowerAction::On, 5000, done),
        5001,
        power("w-1-on-1", PowerAction::On, true),
        Why::Booting { attempt: 1 },
    );
}

#[test]
fn each_sign_of_a_boot_gives_it_more_time() {
    let mut seen = in_window();
    seen.driver = on();
    seen.intent = sent("w-1-on-1", PowerAction::On, 110, Some(Outcome::Done));
    seen.asked = Some(at(1300));
    assert_eq!(step(&seen, 2400).why, Why::AgentLoads);
    seen.agent = Some(at(2400));
    assert_eq!(step(&seen, 3500).why, Why::AgentRuns);
    assert_eq!(step(&seen, 3600).act, power("w-1-off-1", PowerAction::Off, false));
    // what was seen before the power-on is no sign of this boot
    seen.asked = Some(at(50));
    seen.agent = Some(at(60));
    assert_eq!(step(&seen, 120).why, Why::Booting { attempt: 1 });
}

fn reported(heard: u64, ended: Option<Result<(), String>>) -> Option<Wipe> {
    Some(Wipe {
        generation: 1,
        progress: "37 %".into(),
        heard: at(heard),
        ended: ended.map(|result| (at(heard), result)),
    })
}

#[test]
fn a_wipe_that_goes_on_is_left_alone_and_so_is_one_that_a_successor_finds() {
    let mut seen = in_window();
    seen.driver = on();
    seen.wipe = reported(200, None);
    let plan = step(&seen, 300);
    assert_eq!((plan.act, plan.why), (None, Why::Wiping("37 %".into())));
    // a manager that was away for an hour gives the agent its time before it judges
    seen.since = at(3900);
    assert_eq!(step(&seen, 4000).why, Why::Wiping("37 %".into()));
    assert_ne!(step(&seen, 3900 + 1200).why, Why::Wiping("37 %".into()));
}

#[test]
fn only_the_wipe_that_is_due_counts() {
    let mut seen = in_window();
    seen.wipe = reported(200, Some(Ok(())));
    assert_eq!(step(&seen, 201).act, Some(Act::WipeDone(1)));
    seen.facts = Ok(facts(2, Some(1), Some(W), Some(150)));
    assert_ne!(step(&seen, 201).act, Some(Act::WipeDone(1)));
}

#[test]
fn a_wipe_that_failed_waits_for_a_human_and_begins_anew_with_the_next_boot() {
    let mut seen = in_window();
    seen.driver = on();
    seen.intent = sent("w-1-on-1", PowerAction::On, 110, Some(Outcome::Done));
    seen.asked = Some(at(120));
    seen.wipe = reported(200, Some(Err("disk /dev/sda: x".into())));
    let plan = step(&seen, 9000);
    assert_eq!((plan.act, plan.phase), (None, Phase::Error));
    assert!(plan.why.to_string().contains("/dev/sda"));
    seen.intent = sent("00ff", PowerAction::Cycle, 9100, Some(Outcome::Done));
    assert_eq!(step(&seen, 9110).act, power("w-1-on-1", PowerAction::On, true));
    // what is sent for it has its deadline, as at first
    seen.intent = sent("w-1-on-1", PowerAction::On, 9120, Some(Outcome::Done));
    assert_eq!(step(&seen, 9130).why, Why::Booting { attempt: 1 });
    assert_eq!(
        step(&seen, 9120 + 1200).act,
        power("w-1-off-1", PowerAction::Off, false)
    );
    seen.asked = Some(at(9200));
    assert_eq!(step(&seen, 9210).why, Why::AgentLoads);
}

#[test]
fn a_wiped_machine_is_available_only_once_it_is_confirmed_off() {
    let mut seen = accepted();
    seen.driver = on();
    seen.facts = Ok(facts(1, Some(1), Some(W), None));
    let end = |n: u32| power(&format!("w-1-end-{n}"), PowerAction::Off, false);
    // an older off says nothing of this power-on
    seen.intent = sent("00ff", PowerAction::Off, 10, Some(Outcome::Done));
    assert_eq!(step(&seen, 300).act, end(1));
    seen.intent = sent("w-1-end-1", PowerAction::Off, 300, Some(LATE));
    let plan = step(&seen, 301);
    assert_eq!((plan.act, plan.again), (None, Some(at(420))));
    assert_eq!(step(&seen, 420).act, end(2));
    seen.intent = sent("w-1-end-2", PowerAction::Off, 430, Some(Outcome::Done));
    assert_eq!(step(&seen, 431).act, None, "it reads on now");
    seen.driver = off();
    assert_eq!(step(&seen, 431).act, Some(Act::ConfirmOff));
    seen.facts = Ok(facts(1, Some(1), None, None));
    seen.driver = on();
    assert_eq!(step(&seen, 432).phase, Phase::Accepted, "it reads on");
    seen.driver = off();
    assert_eq!(step(&seen, 433).phase, Phase::Available);
    seen.cordoned = true;
    assert_eq!(step(&seen, 434).phase, Phase::Accepted);
}

#[test]
fn what_a_user_switched_on_stays_on_and_is_not_offered() {
    let mut seen = accepted();
    seen.driver = on();
    seen.facts = Ok(facts(1, Some(1), Some("00ff"), None));
    seen.intent = sent("00ff", PowerAction::On, 300, Some(Outcome::Done));
    let plan = step(&seen, 301);
    assert_eq!((plan.act, plan.why), (None, Why::OnByRequest));
    seen.intent = sent("00fe", PowerAction::Off, 400, Some(Outcome::Done));
    assert_eq!(step(&seen, 401).act, Some(Act::ConfirmOff));
}

#[test]
fn a_window_without_a_sign_of_life_closes_and_is_not_opened_again_by_itself() {
    let day = 24 * 3600;
    let mut seen = in_window();
    seen.driver = Driver::None;
    assert_eq!(step(&seen, 100 + day - 1).act, None);
    assert_eq!(step(&seen, 100 + day).act, Some(Act::CloseWindow));
    seen.asked = Some(at(200));
    assert_eq!(step(&seen, 100 + day).act, None);
    seen.facts = Ok(facts(1, None, Some(W), None));
    let plan = step(&seen, 300 + day);
    assert_eq!((plan.act, plan.why), (None, Why::WindowLapsed));
    seen.intent = sent("w-1-off-2", PowerAction::Off, 200, Some(Outcome::Done));
    assert_eq!(step(&seen, 300 + day).why, Why::WindowLapsed);
    seen.intent = sent("00ff", PowerAction::Off, 300 + day, Some(Outcome::Done));
    assert_eq!(step(&seen, 301 + day).act, Some(Act::ConfirmOff));
}

#[test]
fn a_machine_that_is_on_by_nobodys_will_is_so_until_it_reads_off_twice() {
    let clean = facts(1, Some(1), None, None);
    let is = |was, power, twice| is_unexpectedly_on(&clean, false, was, power, twice);
    assert!(is(false, Some(PowerState::On), false));
    assert!(is(true, None, false) && is(true, Some(PowerState::Off), false));
    assert!(!is(true, Some(PowerState::Off), true) && !is(false, Some(PowerState::Off), false));
    let ours = facts(1, Some(1), Some(W), None);
    let dirty = facts(2, Some(1), None, None);
    for facts in [ours, dirty] {
        assert!(!is_unexpectedly_on(
            &facts,
            false,
            true,
            Some(PowerState::On),
            false
        ));
    }
    let mut seen = accepted();
    seen.facts = Ok(clean);
    seen.gate.unexpectedly_on = true;
    assert_eq!(step(&seen, 100).why, Why::HandsOff(HandsOff::UnexpectedPower));
}

mod bound;
mod property;
