use super::*;
use crate::IdentityVerdict;

const LIMIT: Duration = Duration::from_mins(10);
const OURS: Mac = Mac::new([2, 0, 0, 0, 0, 1]);
const SECOND: Mac = Mac::new([2, 0, 0, 0, 0, 2]);
const STRANGE: Mac = Mac::new([2, 0, 0, 0, 0, 9]);
const AGENT: Answer = Answer::Agent { with_token: false };
const NOBODY: Credentials = Credentials {
    mac: None,
    token: false,
};
const HOLDER: Credentials = Credentials {
    mac: Some(OURS),
    token: true,
};
const NEW: Prospect = Prospect {
    has_room: true,
    agent_boots: 0,
};

fn view() -> View {
    View {
        observed: Observed {
            accepted: false,
            paused: false,
            installation: Some("here".into()),
            here: "here".into(),
            identity: IdentityVerdict::Unknown,
            identity_confirmed: false,
            orphaned: false,
            unexpectedly_on: false,
        },
        bound: false,
        released: false,
        clean: false,
        macs: vec![OURS, SECOND],
        registered: true,
        reported: true,
        window: None,
        wipe_due: None,
        wipe_due_for: None,
        wipe_failed: false,
        has_driver: false,
        environment_always: false,
    }
}

fn paused(mut view: View) -> View {
    view.observed.paused = true;
    view
}

fn accepted() -> View {
    let mut view = view();
    view.observed.accepted = true;
    view
}

/// Every combination of the facts.
fn every() -> impl Iterator<Item = View> {
    (0..64_u8).map(|bits| {
        let bit = |at: u8| bits & (1 << at) != 0;
        let mut view = view();
        view.observed.accepted = bit(0);
        view.observed.paused = bit(1);
        view.bound = bit(2);
        view.clean = bit(3);
        view.registered = bit(4);
        view.observed.identity = if bit(5) {
            IdentityVerdict::Contradicts
        } else {
            IdentityVerdict::Unknown
        };
        view
    })
}

#[test]
fn an_unaccepted_machine_gets_the_agent_once_and_its_disk_afterwards() {
    assert_eq!(answer(None, Some(OURS), NEW), AGENT);
    let by_hand = View {
        registered: false,
        ..view()
    };
    assert_eq!(answer(Some(&by_hand), Some(OURS), NEW), AGENT);
    assert_eq!(
        answer(Some(&view()), Some(OURS), NEW),
        Answer::Disk(Why::NotAccepted)
    );
    let bound = View {
        bound: true,
        ..by_hand
    };
    assert_eq!(answer(Some(&bound), Some(OURS), NEW), Answer::Disk(Why::Bound));
}

#[test]
fn an_unknown_machine_gets_its_disk_where_no_more_are_registered() {
    let full = Prospect {
        has_room: false,
        ..NEW
    };
    assert_eq!(answer(None, Some(OURS), full), Answer::Disk(Why::NoRoom));
    let by_hand = View {
        registered: false,
        ..view()
    };
    assert_eq!(answer(Some(&by_hand), Some(OURS), full), AGENT, "it has its room");
}

#[test]
fn a_machine_that_does_not_register_gets_its_disk_after_the_third_boot_of_the_agent() {
    let by_hand = View {
        registered: false,
        ..view()
    };
    let boots = |agent_boots| Prospect { agent_boots, ..NEW };
    for known in [None, Some(&by_hand)] {
        assert_eq!(answer(known, Some(OURS), boots(2)), AGENT);
        assert_eq!(
            answer(known, Some(OURS), boots(3)),
            Answer::Disk(Why::AgentInVain)
        );
        assert_eq!(
            answer(known, Some(OURS), boots(u32::MAX)),
            Answer::Disk(Why::AgentInVain)
        );
    }
    assert_eq!(
        answer(Some(&accepted()), Some(OURS), boots(3)),
        Answer::Wait(Why::Dirty),
        "it is not about the agent's first boot"
    );
}

#[test]
fn an_accepted_machine_waits_until_it_is_clean() {
    assert_eq!(
        answer(Some(&accepted()), Some(OURS), NEW),
        Answer::Wait(Why::Dirty)
    );
    let clean = View {
        clean: true,
        ..accepted()
    };
    assert_eq!(answer(Some(&clean), Some(OURS), NEW), Answer::Disk(Why::Clean));
}

#[test]
fn a_machine_in_hands_off_gets_its_disk_and_its_agent_no_orders() {
    for view in every() {
        let Some(reason) = hands_off(&view.observed) else {
            continue;
        };
        assert_eq!(
            answer(Some(&view), Some(OURS), NEW),
            Answer::Disk(Why::HandsOff(reason)),
            "{view:?}"
        );
        let order = order(&view, HOLDER, LIMIT, LIMIT);
        assert_eq!(order, Order::Wait(Why::HandsOff(reason)), "{view:?}");
        let taken = take_report(&view, &[OURS]);
        assert_eq!(taken, Err(NotTaken::HandsOff(reason)), "{view:?}");
    }
}

#[test]
fn a_bound_machine_never_gets_anything_but_its_disk() {
    for view in every().filter(|view| view.bound) {
        assert!(
            matches!(answer(Some(&view), Some(OURS), NEW), Answer::Disk(_)),
            "{view:?}"
        );
        assert!(take_report(&view, &[OURS]).is_err(), "{view:?}");
    }
}

#[test]
fn the_agent_of_an_unaccepted_machine_waits_up_to_the_limit_and_reboots() {
    let last = LIMIT.saturating_sub(Duration::from_millis(1));
    assert_eq!(order(&view(), NOBODY, last, LIMIT), Order::Wait(Why::NotAccepted));
    assert_eq!(
        order(&view(), NOBODY, LIMIT, LIMIT),
        Order::Reboot(Why::NotAccepted)
    );
    assert_eq!(order(&accepted(), NOBODY, LIMIT, LIMIT), Order::Wait(Why::Dirty));
    let taken = View {
        bound: true,
        ..accepted()
    };
    assert_eq!(
        order(&taken, NOBODY, Duration::ZERO, LIMIT),
        Order::Reboot(Why::Bound)
    );
}

#[test]
fn a_refusal_names_eight_mac_addresses_and_counts_the_others() {
    let macs: Vec<_> = (10..30).map(|n| Mac::new([2, 0, 0, 0, 0, n])).collect();
    let text = |count: usize| take_report(&view(), &macs[..count]).unwrap_err().to_string();
    assert!(
        text(8).contains("02:00:00:00:00:11;") && !text(8).contains("more"),
        "{}",
        text(8)
    );
    let long = text(20);
    assert!(long.contains("02:00:00:00:00:11 and 12 more;"), "{long}");
    assert!(!long.contains("02:00:00:00:00:12"), "{long}");
}

#[test]
fn a_report_is_taken_of_an_unaccepted_machine_with_a_known_mac_only() {
    assert_eq!(take_report(&view(), &[STRANGE, SECOND]), Ok(Taken::Inventory));
    let unknown = View {
        macs: Vec::new(),
        ..view()
    };
    assert_eq!(take_report(&unknown, &[STRANGE]), Ok(Taken::Inventory));
    let conflict = take_report(&view(), &[STRANGE]).unwrap_err().to_string();
    for text in ["02:00:00:00:00:01", "02:00:00:00:00:09"] {
        assert!(conflict.contains(text), "{conflict}");
    }
    assert!(take_report(&view(), &[]).is_err());
    assert!(take_report(&paused(view()), &[OURS]).is_err());
}

fn wiping() -> View {
    View {
        window: "w-1 agent 1800000000".parse().ok(),
        wipe_due: Some(3),
        has_driver: true,
        ..accepted()
    }
}

#[test]
fn inside_its_window_a_known_interface_gets_the_token_and_another_the_agent_alone() {
    let ask = |view: &View, mac| answer(Some(view), mac, NEW);
    assert_eq!(ask(&wiping(), Some(SECOND)), Answer::Agent { with_token: true });
    for mac in [None, Some(STRANGE)] {
        assert_eq!(ask(&wiping(), mac), AGENT);
    }
    let paused = paused(wiping());
    assert_eq!(
        ask(&paused, Some(OURS)),
        Answer::Wait(Why::HandsOff(HandsOff::Paused))
    );
    let mut unaccepted = wiping();
    unaccepted.observed.accepted = false;
    assert_eq!(ask(&unaccepted, Some(OURS)), Answer::Disk(Why::NotAccepted));
    let by_hand = View {
        reported: false,
        ..accepted()
    };
    assert_eq!(ask(&by_hand, Some(OURS)), AGENT);
}

#[test]
fn an_agent_that_runs_gets_the_token_on_the_same_terms_and_orders_with_it() {
    let ask = |view: &View, mac, token| order(view, Credentials { mac, token }, LIMIT, LIMIT);
    assert_eq!(ask(&wiping(), Some(SECOND), false), Order::TakeToken);
    assert_eq!(
        ask(&wiping(), Some(STRANGE), false),
        Order::Wait(Why::StrangeInterface)
    );
    assert_eq!(ask(&wiping(), None, true), Order::Wipe(3));
    let failed = View {
        wipe_failed: true,
        ..wiping()
    };
    assert_eq!(ask(&failed, None, true), Order::Wait(Why::WipeFailed));
    let clean = View {
        clean: true,
        wipe_due: None,
        wipe_due_for: None,
        ..wiping()
    };
    assert_eq!(ask(&clean, None, true), Order::Wait(Why::Wiped));
    let by_hand = View {
        has_driver: false,
        ..clean
    };
    assert_eq!(ask(&by_hand, None, true), Order::Reboot(Why::Clean));
}

#[test]
fn no_wipe_is_ordered_or_taken_of_a_machine_that_is_not_ours_to_wipe() {
    let mut unaccepted = wiping();
    unaccepted.observed.accepted = false;
    let bound = View {
        bound: true,
        ..wiping()
    };
    let no_window = View {
        window: None,
        ..wiping()
    };
    let other = View {
        window: "w-1 environment 1800000000".parse().ok(),
        ..wiping()
    };
    for view in [unaccepted, bound, no_window, other, paused(wiping())] {
        let order = order(&view, HOLDER, Duration::ZERO, LIMIT);
        assert!(
            !matches!(order, Order::Wipe(_) | Order::TakeToken),
            "{order:?} for {view:?}"
        );
        assert!(take_wipe(&view, true, 3).is_err(), "{view:?}");
    }
    assert_eq!(take_wipe(&wiping(), true, 3), Ok(()));
    assert_eq!(take_wipe(&wiping(), false, 3), Err(NotOrdered::NoToken));
    let due = Some(3);
    let reported = 2;
    assert_eq!(
        take_wipe(&wiping(), true, 2),
        Err(NotOrdered::Generation { reported, due })
    );
}

#[test]
fn of_an_accepted_machine_no_report_changes_the_disks_that_its_wipe_is_judged_by() {
    assert_eq!(take_report(&accepted(), &[OURS]), Ok(Taken::Nothing));
    assert_eq!(take_report(&accepted(), &[OURS, STRANGE]), Ok(Taken::Nothing));
    assert_eq!(take_report(&wiping(), &[OURS, STRANGE]), Ok(Taken::Interfaces));
    assert!(take_report(&wiping(), &[STRANGE]).is_err());
    let by_hand = View {
        reported: false,
        macs: Vec::new(),
        ..accepted()
    };
    assert_eq!(take_report(&by_hand, &[STRANGE]), Ok(Taken::Inventory));
    assert_eq!(take_addresses(&accepted(), true), Err(NotTaken::Accepted));
    assert_eq!(take_addresses(&wiping(), false), Err(NotTaken::Accepted));
    assert_eq!(take_addresses(&wiping(), true), Ok(()));
    assert_eq!(take_addresses(&view(), false), Ok(()));
}

/// Taken, and in the window of its environment.
fn provisioning() -> View {
    View {
        bound: true,
        window: "w-1 environment 1800000000".parse().ok(),
        wipe_due: Some(5),
        wipe_due_for: Some("a-1".into()),
        ..accepted()
    }
}

fn claimed(installed: bool) -> Claim {
    Claim::Confirmed {
        allocation: "a-1".into(),
        installed,
    }
}

#[test]
fn a_machine_that_somebody_has_gets_its_environment_inside_its_window_only() {
    let ask = |view: &View, mac| answer(Some(view), Some(mac), NEW);
    assert_eq!(ask(&provisioning(), OURS), Answer::Environment);
    assert_eq!(ask(&provisioning(), STRANGE), Answer::Wait(Why::StrangeInterface));
    let agent = View {
        window: "w-1 agent 1800000000".parse().ok(),
        ..provisioning()
    };
    let mut unaccepted = provisioning();
    unaccepted.observed.accepted = false;
    unaccepted.environment_always = true;
    let closed = View {
        window: None,
        ..provisioning()
    };
    for view in [&agent, &unaccepted, &closed] {
        assert_eq!(ask(view, OURS), Answer::Disk(Why::Bound), "{view:?}");
    }
    assert!(matches!(ask(&paused(provisioning()), OURS), Answer::Wait(_)));
    let always = View {
        environment_always: true,
        ..closed
    };
    assert_eq!(ask(&always, OURS), Answer::Environment);
}

#[test]
fn a_live_look_must_confirm_an_environment() {
    let asked = |view: &View, claim: &Claim, boots| environment(view, claim, boots);
    let disk = |why| Err(Answer::Disk(why));
    let view = provisioning();
    assert_eq!(asked(&view, &claimed(false), 0), Ok(()));
    assert_eq!(asked(&view, &claimed(false), 2), Ok(()));
    assert_eq!(asked(&view, &claimed(false), 3), disk(Why::ManyBoots));
    assert_eq!(asked(&view, &claimed(true), 0), disk(Why::Bound));
    assert_eq!(asked(&view, &Claim::None, 0), disk(Why::Bound));
    let why = Unconfirmed::OtherAllocation;
    assert_eq!(
        asked(&view, &Claim::Unconfirmed(why), 0),
        disk(Why::Unconfirmed(why))
    );
    let other = View {
        wipe_due_for: Some("a-0".into()),
        ..view.clone()
    };
    assert_eq!(
        asked(&other, &claimed(false), 0),
        disk(Why::Bound),
        "no wipe is due for it"
    );
    assert!(asked(&paused(view.clone()), &claimed(false), 0).is_err());
    let mut always = view;
    always.environment_always = true;
    assert_eq!(asked(&always, &claimed(true), 3), Ok(()));
}

#[test]
fn what_is_given_back_waits_only_if_a_live_look_says_so() {
    let mut view = accepted();
    (view.bound, view.released) = (true, true);
    assert_eq!(answer(Some(&view), None, NEW), Answer::Environment);
    let released = Claim::Released {
        allocation: "a-1".into(),
        since: crate::Time::from_millis(0),
    };
    for claim in [released.clone(), Claim::Abandoned] {
        assert_eq!(environment(&view, &claim, 0), Err(Answer::Wait(Why::Released)));
    }
    let held_on = Claim::Unconfirmed(Unconfirmed::HeldOn);
    let disk = Err(Answer::Disk(Why::Unconfirmed(Unconfirmed::HeldOn)));
    assert_eq!(environment(&view, &held_on, 0), disk);
    view.observed.paused = true;
    let disk = Err(Answer::Disk(Why::HandsOff(HandsOff::Paused)));
    assert_eq!(
        environment(&view, &released, 0),
        disk,
        "a pause wins over everything"
    );
    (view.observed.paused, view.observed.accepted) = (false, false);
    assert_eq!(answer(Some(&view), None, NEW), Answer::Disk(Why::Bound));
}
