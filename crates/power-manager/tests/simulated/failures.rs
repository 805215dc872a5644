//! What goes wrong on the way to a BMC, in it, and with us.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bmc_sim::fault::{Fault, Spec};
use bmc_sim::verb::Verb;
use hardware_types::{PowerAction, PowerState};
use lifecycle::Trouble;
use lifecycle::power::{Command, Outcome, Unconfirmed};
use power_manager::Bmc;
use power_manager::credentials::Permission;
use tokio::time::{Instant, sleep};

use crate::world::{Driver, SHORT, World, carried_out, told, with_each_driver};

fn next(n: u32, verb: Verb) -> Spec {
    Spec {
        next: Some(n),
        verbs: Some(BTreeSet::from([verb])),
        ..Spec::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_reply_to_a_power_command_is_one_command_and_one_edge() {
    with_each_driver(async |driver| {
        let world = World::new().await;
        world.switched_on("one").await;
        let before = world.log_position();
        world.fault("one", Fault::ReplyLoss, next(1, Verb::Off));
        let handle = world.start("one", driver);
        assert_eq!(
            carried_out(&handle, world.intent(PowerAction::Off)).await,
            Outcome::Done,
            "{driver:?}"
        );
        assert_eq!(world.log_since("one", before), ["off", "on->off"], "{driver:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_is_lost_or_ignored_is_sent_again_after_half_the_deadline() {
    tokio::join!(
        sent_again_after(Fault::RequestLoss),
        sent_again_after(Fault::IgnoreCommand)
    );
}

async fn sent_again_after(fault: Fault) {
    let world = World::with(SHORT).await;
    world.switched_on("one").await;
    let before = world.log_position();
    world.fault("one", fault, next(1, Verb::Off));
    let (handle, start) = (world.start("one", Driver::Ipmi), Instant::now());
    assert_eq!(
        carried_out(&handle, world.intent(PowerAction::Off)).await,
        Outcome::Done,
        "{fault}"
    );
    assert!(start.elapsed() >= world.timings.off / 2, "{fault}");
    assert_eq!(world.edges_since("one", before), ["on->off"], "{fault}");
    world.assert_invariants("one", before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_soft_off_that_is_ignored_becomes_hard() {
    let world = World::with(SHORT).await;
    world.switched_on("one").await;
    let before = world.log_position();
    world.fault("one", Fault::IgnoreCommand, next(9, Verb::SoftOff));
    let handle = world.start("one", Driver::Redfish);
    assert_eq!(
        carried_out(&handle, world.intent(PowerAction::SoftOff)).await,
        Outcome::Done
    );
    assert_eq!(world.log_since("one", before), ["soft-off", "off", "on->off"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bmc_that_ignores_everything_ends_unconfirmed_with_its_reason() {
    let world = World::with(SHORT).await;
    world.switched_on("one").await;
    let before = world.log_position();
    let ignored = Spec {
        verbs: Some(BTreeSet::from([Verb::Off])),
        ..Spec::default()
    };
    world.fault("one", Fault::IgnoreCommand, ignored);
    let handle = world.start("one", Driver::Ipmi);
    let Outcome::Unconfirmed(why @ Unconfirmed::NoEffect { attempts: 2, .. }) =
        carried_out(&handle, world.intent(PowerAction::Off)).await
    else {
        panic!("{:?}", handle.report().borrow().clone())
    };
    assert_eq!(
        why.to_string(),
        "off was not confirmed within its deadline (sent 2 times); the machine reads on"
    );
    assert_eq!(world.commands("one", Verb::Off), 2);
    world.assert_invariants("one", before);
}

#[tokio::test(flavor = "multi_thread")]
async fn readings_that_are_stale_for_a_while_do_not_confirm() {
    let world = World::new().await;
    world.switched_on("one").await;
    let stale = Spec {
        seconds: Some(0.4),
        ..Spec::default()
    };
    let start = Instant::now();
    world.fault("one", Fault::StalePower, stale);
    let handle = world.start("one", Driver::Ipmi);
    told(&handle, |report| report.power == Some(PowerState::On)).await;
    assert_eq!(
        carried_out(&handle, world.intent(PowerAction::Off)).await,
        Outcome::Done
    );
    assert!(start.elapsed() >= Duration::from_millis(400));
    assert_eq!(world.member("one").bmc.status().power, PowerState::Off);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_refused_exactly_once_across_a_restart_too() {
    with_each_driver(async |driver| {
        let mut world = World::new().await;
        world.timings.on = Duration::from_millis(500);
        let handle = world.start_with("one", driver, "wrong", None);
        let report = told(&handle, |report| report.failure.is_some()).await;
        assert_eq!(
            (report.trouble(), report.permission),
            (Some(Trouble::CredentialsRefused), Permission::Silence),
            "{driver:?}"
        );
        let text = report.failure.unwrap().to_string();
        assert!(text.contains("admin") && !text.contains("wrong\""), "{text}");
        handle.refresh().await.unwrap();
        assert!(matches!(
            carried_out(&handle, world.intent(PowerAction::On)).await,
            Outcome::Unconfirmed(_)
        ));
        handle.stop().await;

        let successor = world.start_with("one", driver, "wrong", Some(report.verdict.clone()));
        assert!(matches!(
            carried_out(&successor, world.intent(PowerAction::On)).await,
            Outcome::Unconfirmed(_)
        ));
        assert_eq!(
            world.member("one").bmc.counters().logins_refused(),
            1,
            "{driver:?}"
        );

        // another version of the Secret is another question
        let fixed = world.start_with("one", driver, "admin-secret", Some(report.verdict));
        assert!(told(&fixed, |report| report.power.is_some()).await.verdict.proved);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bmc_that_hangs_does_not_delay_its_neighbour() {
    let world = World::new().await;
    let hung = world.start("one", Driver::Ipmi);
    told(&hung, |report| report.power.is_some()).await;
    world.fault("one", Fault::Hang, Spec::default());
    hung.carry_out(world.intent(PowerAction::On)).await.unwrap();
    let neighbour = world.start("two", Driver::Ipmi);
    assert_eq!(
        carried_out(&neighbour, world.intent(PowerAction::On)).await,
        Outcome::Done
    );
    assert_eq!(hung.report().borrow().ended, None, "the neighbour was first");
    let report = told(&hung, |report| report.failure.is_some()).await;
    assert_eq!(report.trouble(), Some(Trouble::Unreachable));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_is_lost_between_storing_and_sending_sends_nothing() {
    with_each_driver(async |driver| {
        let world = World::new().await;
        world.switched_on("one").await;
        let before = world.log_position();
        let handle = world.start("one", driver);
        told(&handle, |report| report.power.is_some()).await;
        world.replica.loses_lease_at_store.store(true, Ordering::Relaxed);
        handle.carry_out(world.intent(PowerAction::Off)).await.unwrap();
        let withheld = told(&handle, |report| {
            report
                .failure
                .as_ref()
                .is_some_and(|failure| failure.to_string().contains("lease"))
        })
        .await;
        assert_eq!(withheld.trouble(), None, "the BMC is not to blame");
        let seen: u64 = Verb::ALL.iter().map(|verb| world.commands("one", *verb)).sum();
        sleep(10 * world.timings.reading_gap).await;
        let later: u64 = Verb::ALL.iter().map(|verb| world.commands("one", *verb)).sum();
        assert_eq!(seen, later, "not even a reading, {driver:?}");
        assert!(world.log_since("one", before).is_empty(), "{driver:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_is_lost_among_retransmissions_ends_them() {
    let mut world = World::new().await;
    world.ipmi_timing.first_wait = Duration::from_secs(1);
    let handle = world.start("one", Driver::Ipmi);
    told(&handle, |report| report.power.is_some()).await;
    let late = Spec {
        seconds: Some(5.0),
        ..next(9, Verb::GetPower)
    };
    world.fault("one", Fault::Delay, late);
    let before = world.commands("one", Verb::GetPower);
    while world.commands("one", Verb::GetPower) == before {
        tokio::task::yield_now().await;
    }
    world.replica.lost.store(true, Ordering::Relaxed);
    let report = told(&handle, |report| report.failure.is_some()).await;
    assert_eq!(report.trouble(), None, "{report:?}");
    assert_eq!(world.commands("one", Verb::GetPower), before + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_that_dies_between_storing_and_sending_is_succeeded_with_one_edge() {
    with_each_driver(async |driver| {
        let world = World::with(SHORT).await;
        world.switched_on("one").await;
        let before = world.log_position();
        world.replica.dies_at_store.store(true, Ordering::Relaxed);
        let handle = world.start("one", driver);
        handle.carry_out(world.intent(PowerAction::Cycle)).await.unwrap();
        let stored = loop {
            if let Some(stored) = world.replica.stored.lock().unwrap().last() {
                break stored.clone();
            }
            tokio::task::yield_now().await;
        };
        drop(handle);
        assert!(world.log_since("one", before).is_empty(), "nothing was sent");

        let successor = world.successor();
        let handle = successor.start("one", driver);
        assert_eq!(carried_out(&handle, stored).await, Outcome::Done, "{driver:?}");
        assert_eq!(
            world.edges_since("one", before),
            ["on->off", "off->on"],
            "{driver:?}"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_that_dies_after_sending_is_succeeded_with_one_edge() {
    let mut world = World::new().await;
    world.switched_on("one").await;
    // time to die in, before the effect is confirmed
    world.timings.reading_gap = Duration::from_secs(1);
    let before = world.log_position();
    let handle = world.start("one", Driver::Ipmi);
    handle.carry_out(world.intent(PowerAction::Off)).await.unwrap();
    while world.commands("one", Verb::Off) == 0 {
        tokio::task::yield_now().await;
    }
    drop(handle);
    let stored = world.replica.stored.lock().unwrap().last().unwrap().clone();
    assert_eq!(stored.outcome, None);
    let successor = world.successor();
    let handle = successor.start("one", Driver::Ipmi);
    assert_eq!(carried_out(&handle, stored).await, Outcome::Done);
    assert_eq!(world.log_since("one", before), ["off", "on->off"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_session_table_is_busy_and_no_refusal() {
    let world = World::new().await;
    // BMC two has four slots
    let mut holders = Vec::new();
    for _ in 0..4 {
        let holder = world.start("two", Driver::Ipmi);
        told(&holder, |report| report.power.is_some()).await;
        holders.push(holder);
    }
    let fifth = world.start("two", Driver::Ipmi);
    let report = told(&fifth, |report| report.failure.is_some()).await;
    assert_eq!(
        (report.trouble(), report.verdict.refusals),
        (Some(Trouble::Busy), 0)
    );
    // a session that is closed at the end gives its slot back
    holders.pop().unwrap().stop().await;
    told(&fifth, |report| report.power.is_some()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_past_the_power_manager_is_what_the_monitor_finds() {
    let world = World::new().await;
    world.switched_on("one").await;
    let before = world.log_position();
    let handle = world.start("one", Driver::Ipmi);
    assert_eq!(
        carried_out(&handle, world.intent(PowerAction::Cycle)).await,
        Outcome::Done
    );
    world.assert_invariants("one", before);
    let mut planted = world.ipmi_bmc("one", "admin-secret", world.gate());
    planted.command(Command::Off).await.unwrap();
    let violation = world.violation("one", before).unwrap();
    assert!(violation.to_string().starts_with("I-6"), "{violation}");
}
