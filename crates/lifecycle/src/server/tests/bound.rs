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

fn released() -> Claim {
    Claim::Released { allocation: A.into() }
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
