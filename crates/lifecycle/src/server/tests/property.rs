//! Whatever was seen, no step breaks a rule.

use proptest::prelude::*;

use super::*;

const A: &str = "a-1";

fn any_claim() -> impl Strategy<Value = Claim> {
    let confirmed = |installed| Claim::Confirmed {
        allocation: A.into(),
        installed,
    };
    let released = Claim::Released {
        allocation: A.into(),
        since: at(1000),
    };
    let claims = [
        Claim::None,
        Claim::None,
        Claim::Unconfirmed(Unconfirmed::NotMarked),
        confirmed(false),
        confirmed(true),
        released,
        Claim::Abandoned,
    ];
    prop::sample::select(claims.to_vec())
}

fn any_facts() -> impl Strategy<Value = Facts> {
    let powered = prop::option::of(prop::sample::select(vec![W, "00ff"]));
    let window = prop::option::of((any::<bool>(), 0..400_u64));
    (
        prop::option::of((1..4_u64, any::<bool>())),
        prop::option::of(1..4_u64),
        powered,
        window,
    )
        .prop_map(|(due, done, powered, window)| Facts {
            wipe_due: due.map(|(generation, allocated)| WipeDue {
                generation,
                allocation: allocated.then(|| A.into()),
            }),
            wipe_done: done,
            powered: powered.map(Into::into),
            window: window.map(|(agent, opened)| Window {
                id: W.into(),
                purpose: if agent {
                    Purpose::Agent
                } else {
                    Purpose::Environment
                },
                opened: at(opened),
            }),
        })
}

fn any_intent() -> impl Strategy<Value = Option<Command>> {
    let ids = [
        "w-1-on-1",
        "w-1-off-1",
        "w-1-on-2",
        "w-1-reset-2",
        "w-1-off-2",
        "w-1-end-1",
        "00ff",
    ];
    let actions = [
        PowerAction::On,
        PowerAction::Off,
        PowerAction::Cycle,
        PowerAction::Reset,
    ];
    let outcomes = [None, Some(Outcome::Done), Some(LATE)];
    let id = prop::sample::select(ids.to_vec());
    let action = prop::sample::select(actions.to_vec());
    let outcome = prop::sample::select(outcomes.to_vec());
    prop::option::of((id, action, 0..3000_u64, outcome))
        .prop_map(|some| some.and_then(|(id, action, began, outcome)| sent(id, action, began, outcome)))
}

fn any_observed() -> impl Strategy<Value = Observed> {
    let flags = prop::array::uniform6(any::<bool>());
    let quarantine = prop::option::of((prop::sample::select(vec![A, "a-0"]), 0..3000_u64));
    let claim = (any_claim(), 0..5_u32, quarantine);
    let drivers = [
        Driver::None,
        Driver::Silent,
        on(),
        off(),
        Driver::Ready { power: None },
    ];
    let driver = prop::sample::select(drivers.to_vec());
    let wipe = prop::option::of((1..4_u64, 0..3000_u64, prop::sample::select(vec![0, 1, 2])));
    let time = || prop::option::of((0..3000_u64).prop_map(at));
    (
        any_facts(),
        any_intent(),
        flags,
        claim,
        driver,
        wipe,
        (time(), time(), time()),
    )
        .prop_map(
            |(facts, intent, flags, (claim, config_boots, quarantine), driver, wipe, times)| {
                let (asked, started, agent) = times;
                let mut seen = accepted();
                [
                    seen.gate.accepted,
                    seen.gate.paused,
                    seen.registered,
                    seen.marked_clean,
                    seen.cordoned,
                    seen.gate.unexpectedly_on,
                ] = flags;
                seen.wipe = wipe.map(|(generation, heard, ended)| Wipe {
                    generation,
                    progress: String::new(),
                    heard: at(heard),
                    ended: match ended {
                        0 => None,
                        1 => Some((at(heard), Ok(()))),
                        _ => Some((at(heard), Err("x".into()))),
                    },
                });
                Observed {
                    facts: Ok(facts),
                    claim,
                    config_boots,
                    intent,
                    driver,
                    quarantine: quarantine.map(|(allocation, since)| Quarantine {
                        allocation: allocation.into(),
                        since: at(since),
                    }),
                    asked,
                    started,
                    agent,
                    ..seen
                }
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn no_step_breaks_a_rule_whatever_was_seen(seen in any_observed(), now in 0..200_000_u64) {
        let plan = step(&seen, now);
        let facts = seen.facts.clone().unwrap();
        let ours = !seen.gate.paused && !seen.gate.unexpectedly_on;
        let is_free = seen.claim == Claim::None;
        let is_taken = matches!(seen.claim, Claim::Confirmed { installed: false, .. });
        let is_released = matches!(seen.claim, Claim::Released { .. });
        let is_past = now >= 1000 + timings().release.as_secs();
        let may_touch = seen.gate.accepted && ours && (is_free || is_taken || is_released);
        let is_for_it = facts.wipe_due.as_ref().is_some_and(|due| due.allocation.as_deref() == Some(A));
        let ended = seen.intent.as_ref().and_then(|intent| intent.outcome);
        match &plan.act {
            // what no machine notices
            Some(Act::CloseWindow | Act::ConfirmOff | Act::Unbind) => prop_assert!(ours),
            Some(Act::LetGo | Act::Quarantine(_)) => prop_assert!(is_released && !seen.gate.paused),
            // I-1, I-2, I-5: nothing else than claiming it
            Some(act) if !may_touch => prop_assert_eq!(act, &Act::Claim),
            Some(Act::RaiseWipe { generation, allocation: None }) => {
                prop_assert!(is_free);
                prop_assert!(seen.registered || facts.wipe_done.is_some());
                prop_assert!(facts.wipe_due.is_none() && Some(*generation) > facts.wipe_done);
            }
            // it is dirty from now on, whatever becomes of it
            Some(Act::RaiseWipe { generation, allocation: Some(allocation) }) => {
                prop_assert!(is_taken && allocation == A);
                prop_assert!(Some(*generation) > facts.due() && Some(*generation) > facts.wipe_done);
                prop_assert!(facts.is_clean() || facts.knows_no_wipe());
            }
            // write first, then look; never for a clean one
            Some(Act::OpenWindow(purpose)) => {
                prop_assert!(facts.due().is_some() && !facts.is_clean() && facts.window.is_none());
                match purpose {
                    Purpose::Agent => prop_assert!(is_free),
                    Purpose::Environment => prop_assert!(is_taken && is_for_it),
                }
            }
            // the machine is recorded as on by our will before anything is sent, and one command at a time
            Some(Act::Power { id, .. }) => {
                let begins_with = |word: &str| id.starts_with(word);
                let of_window = facts.window.as_ref().is_some_and(|window| begins_with(&window.id));
                prop_assert!(of_window || facts.powered.as_deref().is_some_and(begins_with));
                // off, for what is given back; on for what is in its window
                prop_assert!(!is_released || (id.contains("-end-") && facts.window.is_none()));
                let purpose = facts.window.as_ref().map(|window| window.purpose);
                prop_assert!(!is_taken || purpose == Some(Purpose::Environment));
                prop_assert!(!is_free || purpose != Some(Purpose::Environment));
                let is_ready = matches!(seen.driver, Driver::Ready { .. });
                prop_assert!(is_ready);
                prop_assert!(seen.intent.is_none() || ended.is_some());
            }
            // I-4
            Some(Act::WipeDone(n)) => {
                let ok = seen.wipe.as_ref().is_some_and(|wipe| wipe.generation == *n && matches!(wipe.ended, Some((_, Ok(())))));
                prop_assert!(ok && facts.due() == Some(*n));
            }
            None | Some(Act::Claim) => {}
        }
        match &plan.act {
            Some(Act::ConfirmOff) => prop_assert!(
                ended == Some(Outcome::Done)
                    && seen.intent.as_ref().is_some_and(|intent| intent.action == PowerAction::Off)
                    || seen.driver == Driver::None && seen.started > Some(at(0))
                    || seen.driver == Driver::None && facts.is_clean()
                    || facts.powered.is_none() && seen.quarantine.is_some()
            ),
            // I-11
            Some(Act::LetGo) => prop_assert!(
                facts.powered.is_none() || is_past && seen.quarantine.as_ref().is_some_and(|known| known.allocation == A)
            ),
            Some(Act::Quarantine(_)) => prop_assert!(is_past && facts.powered.is_some()),
            // I-7
            None if is_released && is_past && !seen.gate.paused => {
                prop_assert!([Why::SwitchingOff, Why::Powering].contains(&plan.why), "{:?}", plan);
            }
            _ => {}
        }
        if plan.phase == Phase::Available {
            let by_hand = seen.marked_clean && !seen.registered && facts.knows_no_wipe();
            prop_assert!(facts.is_clean() || by_hand);
            prop_assert!(seen.driver == Driver::None || (seen.driver == off() && (facts.powered.is_none() || by_hand)));
            prop_assert!(may_touch && is_free && !seen.cordoned && seen.quarantine.is_none());
        }
        prop_assert!(!plan.why.to_string().is_empty());
        // it never asks to look again at once: that would spin
        prop_assert!(plan.again.is_none_or(|again| again > at(now)) || plan.act.is_some());
    }
}
