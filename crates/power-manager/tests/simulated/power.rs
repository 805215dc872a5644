//! What power commands do to machines.

use bmc_sim::fault::{Fault, Spec};
use hardware_types::PowerAction;
use lifecycle::power::{Intent, Outcome, OverrideSeen, Unconfirmed};

use crate::world::{Driver, SHORT, World, carried_out, told, with_each_driver};

#[tokio::test(flavor = "multi_thread")]
async fn a_cycle_is_exactly_off_and_on() {
    with_each_driver(async |driver| {
        let world = World::new().await;
        world.switched_on("one").await;
        let before = world.log_position();
        let handle = world.start("one", driver);
        assert_eq!(
            carried_out(&handle, world.intent(PowerAction::Cycle)).await,
            Outcome::Done,
            "{driver:?}"
        );
        world_boots(&world, before, "disk").await;
        let log = world.log_since("one", before);
        assert_eq!(
            log,
            ["off", "on->off", "on", "off->on", "boots disk"],
            "{driver:?}"
        );
        world.assert_invariants("one", before);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cycle_of_a_machine_that_is_off_is_on() {
    let world = World::new().await;
    let handle = world.start("one", Driver::Ipmi);
    assert_eq!(
        carried_out(&handle, world.intent(PowerAction::Cycle)).await,
        Outcome::Done
    );
    assert_eq!(world.edges_since("one", 0), ["off->on"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_one_time_network_boot_is_off_override_on_and_the_next_boot_is_disk_again() {
    with_each_driver(async |driver| {
        let world = World::new().await;
        world.switched_on("one").await;
        let before = world.log_position();
        let handle = world.start("one", driver);
        assert_eq!(
            carried_out(&handle, world.boot_intent(PowerAction::On)).await,
            Outcome::Done,
            "{driver:?}"
        );
        world_boots(&world, before, "network").await;
        let log = world.log_since("one", before);
        assert_eq!(
            log,
            ["off", "on->off", "set-boot", "on", "off->on", "boots network"],
            "{driver:?}"
        );
        let seen = world.replica.stored.lock().unwrap().last().unwrap().override_seen;
        assert_eq!(seen, Some(OverrideSeen::AsSet), "{driver:?}");
        world.assert_invariants("one", before);

        let again = world.log_position();
        let mut reset = world.intent(PowerAction::Reset);
        reset.id = "r2".into();
        handle.carry_out(reset).await.unwrap();
        world_boots(&world, again, "disk").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_override_that_cannot_be_read_back_is_recorded_and_stops_nothing() {
    with_each_driver(async |driver| {
        let world = World::new().await;
        world.fault("one", Fault::UnreadableOverride, Spec::default());
        let handle = world.start("one", driver);
        assert_eq!(
            carried_out(&handle, world.boot_intent(PowerAction::On)).await,
            Outcome::Done,
            "{driver:?}"
        );
        world_boots(&world, 0, "network").await;
        let stored = world.replica.stored.lock().unwrap().last().cloned().unwrap();
        assert_eq!(stored.override_seen, Some(OverrideSeen::Unreadable), "{driver:?}");
    })
    .await;
}

async fn world_boots(world: &World, position: u64, device: &str) {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        let log = world.log_since("one", position);
        if log.contains(&format!("boots {device}")) {
            return;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "no boot from {device}: {log:?}"
        );
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_soft_off_lets_the_operating_system_shut_down() {
    let world = World::new().await;
    world.switched_on("one").await;
    let before = world.log_position();
    let handle = world.start("one", Driver::Ipmi);
    assert_eq!(
        carried_out(&handle, world.intent(PowerAction::SoftOff)).await,
        Outcome::Done
    );
    assert_eq!(world.log_since("one", before), ["soft-off", "on->off"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_is_done_when_the_restart_cause_changes_and_unconfirmed_when_it_cannot() {
    let world = World::with(SHORT).await;
    world.press_button("one").await;
    let before = world.log_position();
    let handle = world.start("one", Driver::Ipmi);
    assert_eq!(
        carried_out(&handle, world.intent(PowerAction::Reset)).await,
        Outcome::Done
    );

    let second = Intent::new("r2", PowerAction::Reset, None, world.parts.clock.now(), None);
    handle.carry_out(second).await.unwrap();
    let report = told(&handle, |report| {
        report.ended.as_ref().is_some_and(|(id, _)| id == "r2")
    })
    .await;
    assert!(
        matches!(
            report.ended,
            Some((_, Outcome::Unconfirmed(Unconfirmed::ResetUnseen { .. })))
        ),
        "the cause was a command before, and is again: {report:?}"
    );
    let log = world.log_since("one", before);
    let sent = |what: &str| log.iter().filter(|line| *line == what).count();
    assert_eq!((sent("reset"), sent("restarts")), (2, 2), "{log:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_reset_over_redfish_is_done_when_the_time_of_the_last_reset_changes() {
    let world = World::with(SHORT).await;
    world.press_button("one").await;
    let before = world.log_position();
    let handle = world.start("one", Driver::Redfish);
    for id in ["r1", "r2"] {
        // the time is told to the second
        world.fleet.clock().advance(std::time::Duration::from_secs(2));
        let intent = Intent::new(id, PowerAction::Reset, None, world.parts.clock.now(), None);
        handle.carry_out(intent).await.unwrap();
        let report = told(&handle, |report| {
            report.ended.as_ref().is_some_and(|(ended, _)| ended == id)
        })
        .await;
        assert!(
            matches!(report.ended, Some((_, Outcome::Done))),
            "{id}: {report:?}"
        );
    }
    let log = world.log_since("one", before);
    let sent = |what: &str| log.iter().filter(|line| *line == what).count();
    assert_eq!((sent("reset"), sent("restarts")), (2, 2), "{log:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_of_a_machine_that_is_off_is_not_sent() {
    let world = World::new().await;
    let off = world.start("one", Driver::Redfish);
    assert_eq!(
        carried_out(&off, world.intent(PowerAction::Reset)).await,
        Outcome::Unconfirmed(Unconfirmed::NotOn)
    );
    off.stop().await;
    assert!(world.log_since("one", 0).is_empty());
}
