//! What is done for whoever has a Server.

use super::*;

const A: &str = "a-1";

/// Wiped, off, and taken by a MetalMachine.
fn taken() -> Observed {
    Observed {
        facts: Ok(facts(4, Some(4), None, None)),
        claim: claimed(false),
        ..accepted()
    }
}

fn claimed(installed: bool) -> Claim {
    Claim::Confirmed {
        allocation: A.into(),
        installed,
    }
}

/// Given back at second 250.
fn released() -> Claim {
    Claim::Released {
        allocation: A.into(),
        since: at(250),
    }
}

/// The record that its release ended so.
fn quarantine(since: u64) -> Quarantine {
    Quarantine {
        allocation: A.into(),
        since: at(since),
    }
}

/// Second 250, and the release deadline.
fn deadline() -> u64 {
    250 + timings().release.as_secs()
}

/// Given back at second 250, on by the will of its claim.
fn giving_back(driver: Driver) -> Observed {
    Observed {
        claim: released(),
        facts: Ok(due_for(A, Some(W), None)),
        driver,
        ..taken()
    }
}

fn due_for(allocation: &str, powered: Option<&str>, window: Option<u64>) -> Facts {
    let mut facts = facts(5, Some(4), powered, window);
    facts.wipe_due = Some(WipeDue {
        generation: 5,
        allocation: Some(allocation.into()),
    });
    if let Some(window) = &mut facts.window {
        window.purpose = Purpose::Environment;
    }
    facts
}

/// In the window of its environment, opened at second 100.
fn provisioning() -> Observed {
    Observed {
        facts: Ok(due_for(A, Some(W), Some(100))),
        ..taken()
    }
}

#[test]
fn a_wipe_is_due_before_the_window_of_an_environment_opens_and_the_machine_is_switched_on() {
    let mut seen = taken();
    assert_eq!(step(&seen, 100).act, Some(raise(5, Some(A))));
    seen.facts = Ok(due_for(A, None, None));
    let plan = step(&seen, 100);
    assert_eq!(plan.act, Some(Act::OpenWindow(Purpose::Environment)));
    assert_eq!(plan.phase, Phase::Provisioning);
    assert_eq!(
        step(&provisioning(), 101).act,
        power("w-1-on-1", PowerAction::On, true)
    );
    // a client's word that it is clean counts on a machine that never had an agent
    seen.facts = Ok(Facts::default());
    (seen.registered, seen.marked_clean) = (false, true);
    assert_eq!(step(&seen, 100).act, Some(raise(1, Some(A))));
}

#[test]
fn nothing_is_done_before_a_claim_is_confirmed_or_for_a_machine_that_is_not_clean() {
    for why in [
        Unconfirmed::NotTaken,
        Unconfirmed::OtherAllocation,
        Unconfirmed::MachineDeleted,
        Unconfirmed::NotMarked,
        Unconfirmed::HeldOn,
    ] {
        let mut seen = provisioning();
        seen.claim = Claim::Unconfirmed(why);
        let plan = step(&seen, 200);
        assert_eq!((plan.act, plan.why), (None, Why::Unconfirmed(why)));
    }
    let mut unclean = taken();
    unclean.facts = Ok(due_for("a-0", None, None));
    assert_eq!(step(&unclean, 200).why, Why::TakenUnclean);
    let mut unaccepted = taken();
    unaccepted.gate.accepted = false;
    assert_eq!(step(&unaccepted, 200).act, None);
}

#[test]
fn a_machine_that_somebody_switched_on_is_not_cycled_to_be_installed() {
    let mut seen = taken();
    seen.driver = on();
    let plan = step(&seen, 100);
    assert_eq!((plan.act, plan.why), (None, Why::OnUnasked));
}

#[test]
fn a_record_that_was_lost_is_made_again_without_a_power_command() {
    let mut seen = taken();
    seen.driver = on();
    seen.facts = Ok(due_for(A, Some("w-0"), None));
    assert_eq!(step(&seen, 100).act, Some(Act::OpenWindow(Purpose::Environment)));
    seen.facts = Ok(due_for(A, Some("w-0"), Some(100)));
    let plan = step(&seen, 99_999);
    assert_eq!((plan.act, plan.why), (None, Why::EnvironmentDue));
}

#[test]
fn a_first_boot_has_the_boot_deadline_until_it_asks() {
    let boot = timings().boot.as_secs();
    let mut seen = provisioning();
    seen.driver = on();
    seen.intent = sent("w-1-on-1", PowerAction::On, 110, Some(Outcome::Done));
    let plan = step(&seen, 110 + boot - 1);
    assert_eq!(
        (plan.why, plan.again),
        (Why::Booting { attempt: 1 }, Some(at(110 + boot)))
    );
    assert_eq!(
        step(&seen, 110 + boot).act,
        power("w-1-off-1", PowerAction::Off, false)
    );
    seen.asked = Some(at(120));
    let plan = step(&seen, 110 + 100 * boot);
    assert_eq!(
        (plan.act, plan.why, plan.phase),
        (None, Why::EnvironmentLoads, Phase::Provisioning)
    );
    // what cannot be had is said, and asked for again without a power command
    let mut in_vain = seen.clone();
    in_vain.asked = None;
    in_vain.unserved = Some((at(120), "Environment \"x\" does not exist".into()));
    let plan = step(&in_vain, 110 + 100 * boot);
    assert_eq!((plan.act, plan.phase), (None, Phase::Provisioning));
    assert!(
        plan.why.to_string().contains("\"x\" does not exist"),
        "{}",
        plan.why
    );
    in_vain.unserved = Some((at(100), "of an earlier boot".into()));
    assert!(step(&in_vain, 110 + 100 * boot).act.is_some());
    seen.config_boots = 1;
    assert_eq!(step(&seen, 9999).why, Why::ConfigServed { boots: 1 });
    seen.config_boots = 3;
    let plan = step(&seen, 9999);
    assert_eq!(
        (plan.act, plan.why, plan.phase),
        (None, Why::ManyBoots, Phase::Error)
    );
}

#[test]
fn once_its_node_was_seen_its_window_closes_and_nothing_is_sent_any_more() {
    let mut seen = provisioning();
    seen.claim = claimed(true);
    let plan = step(&seen, 300);
    assert_eq!(
        (plan.act, plan.phase),
        (Some(Act::CloseWindow), Phase::Provisioned)
    );
    for (driver, facts) in [
        (on(), due_for(A, Some(W), None)),
        (off(), due_for(A, None, None)),
        (on(), Facts::default()),
    ] {
        seen.driver = driver;
        seen.facts = Ok(facts);
        let plan = step(&seen, 300);
        assert_eq!((plan.act, plan.phase), (None, Phase::Provisioned));
    }
}

#[test]
fn what_was_never_on_is_let_go_at_once_and_the_rest_once_it_is_confirmed_off() {
    let mut seen = taken();
    seen.claim = released();
    assert_eq!(step(&seen, 300).act, Some(Act::LetGo));
    seen.driver = on();
    seen.facts = Ok(due_for(A, Some(W), Some(100)));
    assert_eq!(step(&seen, 300).act, Some(Act::CloseWindow), "its token is dead");
    seen.facts = Ok(due_for(A, Some(W), None));
    let plan = step(&seen, 300);
    assert_eq!(plan.act, power("w-1-end-1", PowerAction::Off, false));
    assert_eq!(plan.phase, Phase::Releasing);
    seen.intent = sent("w-1-end-1", PowerAction::Off, 300, Some(LATE));
    let plan = step(&seen, 301);
    assert_eq!((plan.act, plan.why), (None, Why::OffUnconfirmed));
    seen.intent = sent("w-1-end-1", PowerAction::Off, 300, Some(Outcome::Done));
    let plan = step(&seen, 310);
    assert_eq!(
        (plan.act, plan.why),
        (None, Why::OffUnconfirmed),
        "it reads on now"
    );
    seen.driver = off();
    assert_eq!(step(&seen, 310).act, Some(Act::ConfirmOff));
    seen.driver = Driver::None;
    assert_eq!(step(&seen, 310).why, Why::SwitchOffByHand);
}

#[test]
fn what_was_given_back_is_wiped_next() {
    let mut seen = taken();
    seen.claim = Claim::None;
    seen.facts = Ok(due_for(A, None, None));
    assert_eq!(step(&seen, 400).act, Some(Act::OpenWindow(Purpose::Agent)));
    // a window of the allocation that is over closes first
    seen.facts = Ok(due_for(A, None, Some(100)));
    assert_eq!(step(&seen, 400).act, Some(Act::CloseWindow));
}

#[test]
fn a_release_that_is_not_confirmed_ends_at_its_deadline_and_the_server_is_barred_until_it_is() {
    let mut seen = giving_back(Driver::Silent);
    let plan = step(&seen, 300);
    assert_eq!(
        (plan.act, plan.why, plan.again),
        (None, Why::BmcSilent, Some(at(deadline())))
    );
    // recorded first, then let go
    let plan = step(&seen, deadline());
    assert_eq!(plan.act, Some(Act::Quarantine(quarantine(deadline()))));
    seen.quarantine = Some(quarantine(deadline()));
    assert_eq!(step(&seen, deadline() + 1).act, Some(Act::LetGo));
    // nobody has it, and it is still to be switched off, as soon as that can be
    seen.claim = Claim::None;
    let plan = step(&seen, deadline() + 2);
    assert_eq!(
        (plan.act, plan.phase, plan.why),
        (None, Phase::Quarantined, Why::BmcSilent)
    );
    seen.driver = on();
    let plan = step(&seen, deadline() + 99_999);
    assert_eq!(plan.act, power("w-1-end-1", PowerAction::Off, false));
    let late = deadline() + 100_000;
    seen.intent = sent("w-1-end-1", PowerAction::Off, late, Some(LATE));
    assert_eq!(step(&seen, late + 1).why, Why::OffUnconfirmed);
    let again = late + timings().off_again(1).as_secs();
    assert_eq!(
        step(&seen, again).act,
        power("w-1-end-2", PowerAction::Off, false)
    );
    seen.intent = sent("w-1-end-2", PowerAction::Off, again, Some(Outcome::Done));
    seen.driver = off();
    assert_eq!(step(&seen, again + 5).act, Some(Act::ConfirmOff));
    // then it is wiped as any other
    seen.quarantine = None;
    seen.facts = Ok(due_for(A, None, None));
    assert_eq!(step(&seen, again + 6).act, Some(Act::OpenWindow(Purpose::Agent)));
}

#[test]
fn the_deadline_ends_no_attempt_that_is_under_way_and_not_the_first_one() {
    let mut seen = giving_back(on());
    let late = deadline() + 99;
    let first = power("w-1-end-1", PowerAction::Off, false);
    assert_eq!(step(&seen, late).act, first);
    seen.intent = sent("w-1-end-1", PowerAction::Off, late, None);
    let plan = step(&seen, late);
    assert_eq!((plan.act, plan.why), (None, Why::SwitchingOff));
    seen.intent = sent("00ff", PowerAction::On, late, None);
    assert_eq!(step(&seen, late).why, Why::Powering);
    seen.intent = sent("w-1-end-1", PowerAction::Off, 300, Some(LATE));
    assert_eq!(
        step(&seen, late).act,
        Some(Act::Quarantine(quarantine(late))),
        "it was tried"
    );
    seen.intent = sent("w-1-end-1", PowerAction::Off, 300, Some(Outcome::Done));
    seen.driver = off();
    assert_eq!(step(&seen, late).act, Some(Act::ConfirmOff));
    // a manager that starts late has not asked the BMC yet
    let mut seen = giving_back(Driver::Silent);
    seen.since = at(late);
    let asks = timings().off_again(1).as_secs();
    assert_eq!(step(&seen, late).again, Some(at(late + asks)));
    assert_eq!(
        step(&seen, late + asks).act,
        Some(Act::Quarantine(quarantine(late + asks)))
    );
}

#[test]
fn in_hands_off_a_release_sends_nothing_and_only_a_pause_keeps_it_for_ever() {
    let left_alone = |reason: HandsOff| {
        let mut seen = giving_back(on());
        match reason {
            HandsOff::Paused => seen.gate.paused = true,
            HandsOff::Foreign => seen.gate.installation = Some("elsewhere".into()),
            _ => seen.gate.identity = IdentityVerdict::Contradicts,
        }
        seen
    };
    let quarantined = Some(Act::Quarantine(quarantine(deadline())));
    for (reason, before, at_deadline) in [
        (HandsOff::Paused, None, None),
        (HandsOff::Foreign, Some(Act::LetGo), Some(Act::LetGo)),
        (HandsOff::Conflict, None, quarantined),
    ] {
        let seen = left_alone(reason);
        let plan = step(&seen, 300);
        assert_eq!((plan.act, plan.phase), (before, Phase::HandsOff));
        assert_eq!(step(&seen, deadline()).act, at_deadline);
    }
    // what was never on has nothing to wait for
    let mut seen = left_alone(HandsOff::Conflict);
    seen.facts = Ok(due_for(A, None, None));
    assert_eq!(step(&seen, 300).act, Some(Act::LetGo));
    // nor does a fact that nobody can read keep it
    seen = giving_back(on());
    seen.facts = Err("x".into());
    assert_eq!(step(&seen, 300).act, None);
    assert_eq!(
        step(&seen, deadline()).act,
        Some(Act::Quarantine(quarantine(deadline())))
    );
}

#[test]
fn without_a_driver_a_release_ends_when_the_machine_starts_again() {
    let mut seen = giving_back(Driver::None);
    for (started, act) in [
        (None, None),
        (Some(200), None),
        (Some(249), None),
        (Some(250), Some(Act::ConfirmOff)),
    ] {
        seen.started = started.map(at);
        assert_eq!(step(&seen, 300).act, act, "{started:?}");
    }
    // past the deadline it counts from then on
    seen.claim = Claim::None;
    seen.quarantine = Some(quarantine(deadline()));
    assert_eq!(step(&seen, deadline() + 9).why, Why::SwitchOffByHand);
    seen.started = Some(at(deadline() + 5));
    assert_eq!(step(&seen, deadline() + 9).act, Some(Act::ConfirmOff));
}

#[test]
fn a_binding_that_was_marked_by_one_that_is_gone_is_deleted() {
    let mut seen = giving_back(on());
    seen.claim = Claim::Abandoned;
    let plan = step(&seen, 300);
    assert_eq!((plan.act, plan.phase), (Some(Act::Unbind), Phase::Releasing));
    seen.gate.paused = true;
    assert_eq!(step(&seen, 300).act, None);
}

#[test]
fn without_a_driver_it_says_which_button_to_press_and_then_how_far_it_is() {
    let mut seen = provisioning();
    seen.driver = Driver::None;
    assert_eq!(step(&seen, 110).why, Why::PressButton);
    seen.asked = Some(at(99));
    assert_eq!(step(&seen, 110).why, Why::PressButton, "of an earlier boot");
    seen.unserved = Some((at(105), "x".into()));
    assert_eq!(step(&seen, 110).why, Why::Unserved("x".into()));
    (seen.unserved, seen.asked) = (None, Some(at(120)));
    assert_eq!(step(&seen, 130).why, Why::EnvironmentLoads);
    seen.config_boots = 1;
    assert_eq!(step(&seen, 130).why, Why::ConfigServed { boots: 1 });

    let mut seen = in_window();
    seen.driver = Driver::None;
    assert_eq!(step(&seen, 110).why, Why::PressButton);
    seen.asked = Some(at(110));
    assert_eq!(step(&seen, 120).why, Why::AgentLoads);
    seen.agent = Some(at(115));
    let plan = step(&seen, 120);
    assert_eq!((plan.act, plan.why), (None, Why::AgentRuns));
}

#[test]
fn a_machine_that_may_run_its_system_is_not_cycled_for_a_record_that_is_missing() {
    let user = |action| sent("00ff", action, 200, Some(Outcome::Done));
    let first = power("w-1-on-1", PowerAction::On, true);
    let of_wipe = sent("w-0-end-1", PowerAction::Off, 50, Some(Outcome::Done));
    for (asked, boots, driver, intent, sends) in [
        // the window just opened, and what was sent before was for its wipe
        (None, 0, off(), of_wipe, true),
        (None, 0, off(), None, true),
        // a user's command took the place of the window's
        (Some(150), 0, on(), user(PowerAction::Reset), false),
        (Some(150), 1, on(), user(PowerAction::On), false),
        (Some(150), 1, off(), user(PowerAction::Off), false),
        // it never asked: a user's command is the way to another try
        (None, 0, on(), user(PowerAction::On), true),
        // the status is lost
        (None, 0, on(), None, false),
        (None, 0, Driver::Ready { power: None }, None, false),
    ] {
        let mut seen = provisioning();
        (seen.asked, seen.config_boots, seen.driver) = (asked.map(at), boots, driver);
        seen.intent = intent;
        let plan = step(&seen, 300);
        assert_eq!(plan.act, first.clone().filter(|_| sends), "{seen:?}");
        assert_eq!(plan.phase, Phase::Provisioning);
    }
}

#[test]
fn without_a_driver_a_clean_machine_is_let_go_at_once() {
    let mut seen = giving_back(Driver::None);
    seen.facts = Ok(facts(4, Some(4), Some(W), None));
    assert_eq!(step(&seen, 300).act, Some(Act::ConfirmOff));
    seen.claim = Claim::None;
    seen.quarantine = Some(quarantine(300));
    assert_eq!(step(&seen, 300).act, Some(Act::ConfirmOff));
}
