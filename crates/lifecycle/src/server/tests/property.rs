//! Whatever was seen, no step breaks a rule.

use proptest::prelude::*;

use super::*;

fn any_facts() -> impl Strategy<Value = Facts> {
    let powered = prop::option::of(prop::sample::select(vec![W, "00ff"]));
    let window = prop::option::of((any::<bool>(), 0..400_u64));
    (
        prop::option::of(1..4_u64),
        prop::option::of(1..4_u64),
        powered,
        window,
    )
        .prop_map(|(due, done, powered, window)| Facts {
            wipe_due: due.map(|generation| WipeDue {
                generation,
                allocation: None,
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
    let flags = prop::array::uniform7(any::<bool>());
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
    (any_facts(), any_intent(), flags, driver, wipe, time(), time()).prop_map(
        |(facts, intent, flags, driver, wipe, asked, agent)| {
            let mut seen = accepted();
            [
                seen.gate.accepted,
                seen.gate.paused,
                seen.bound,
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
                intent,
                driver,
                asked,
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
        let may_touch = seen.gate.accepted && !seen.gate.paused && !seen.gate.unexpectedly_on && !seen.bound;
        let ended = seen.intent.as_ref().and_then(|intent| intent.outcome);
        match &plan.act {
            // I-1, I-2, I-5: nothing else than claiming it
            Some(act) if !may_touch => prop_assert_eq!(act, &Act::Claim),
            Some(Act::RaiseWipe(n)) => {
                prop_assert!(seen.registered || facts.wipe_done.is_some());
                prop_assert!(facts.wipe_due.is_none() && Some(*n) > facts.wipe_done);
            }
            // write first, then look; never for a clean one
            Some(Act::OpenWindow) => prop_assert!(facts.due().is_some() && !facts.is_clean() && facts.window.is_none()),
            // the machine is recorded as on by our will before anything is sent, and one command at a time
            Some(Act::Power { id, .. }) => {
                let begins_with = |word: &str| id.starts_with(word);
                let of_window = facts.window.as_ref().is_some_and(|window| begins_with(&window.id));
                prop_assert!(of_window || facts.powered.as_deref().is_some_and(begins_with));
                let is_ready = matches!(seen.driver, Driver::Ready { .. });
                prop_assert!(is_ready);
                prop_assert!(seen.intent.is_none() || ended.is_some());
            }
            // I-4
            Some(Act::WipeDone(n)) => {
                let ok = seen.wipe.as_ref().is_some_and(|wipe| wipe.generation == *n && matches!(wipe.ended, Some((_, Ok(())))));
                prop_assert!(ok && facts.due() == Some(*n));
            }
            Some(Act::ConfirmOff) => prop_assert!(
                ended == Some(Outcome::Done)
                    && seen.intent.as_ref().is_some_and(|intent| intent.action == PowerAction::Off)
            ),
            None | Some(Act::CloseWindow | Act::Claim) => {}
        }
        if plan.phase == Phase::Available {
            let by_hand = seen.marked_clean && !seen.registered && facts.knows_no_wipe();
            prop_assert!(facts.is_clean() || by_hand);
            prop_assert!(seen.driver == Driver::None || (seen.driver == off() && (facts.powered.is_none() || by_hand)));
            prop_assert!(may_touch && !seen.cordoned);
        }
        prop_assert!(!plan.why.to_string().is_empty());
        // it never asks to look again at once: that would spin
        prop_assert!(plan.again.is_none_or(|again| again > at(now)) || plan.act.is_some());
    }
}
