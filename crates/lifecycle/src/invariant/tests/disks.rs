//! Who may be wiped, and when a machine counts as clean and free.

use super::*;

/// An accepted Server of an agent and with a driver, whose wipe of generation 1 is due, off since second 1.
fn due() -> Watch {
    let mut watch = Watch::accepted();
    watch.ok(1, Fact::HadAgent(server(), true));
    watch.ok(1, Fact::HasDriver(server(), true));
    watch.ok(1, Fact::WipeDue(server(), 1));
    watch.ok(1, Fact::Power(server(), PowerState::Off));
    watch
}

#[test]
fn a_machine_that_is_wiped_off_and_free_may_be_offered() {
    let mut watch = due();
    watch.ok(2, Fact::Powered(server(), Some("w1".into())));
    watch.ok(3, Fact::Power(server(), PowerState::On));
    watch.ok(9, Fact::Wiping(server(), 1));
    watch.ok(12, Fact::Wiping(server(), 1));
    watch.ok(15, Fact::WipeDone(server(), 1));
    watch.ok(16, Fact::Available(server(), false));
    watch.ok(20, Fact::Power(server(), PowerState::Off));
    watch.ok(24, Fact::Powered(server(), None));
    watch.ok(24, Fact::Available(server(), true));

    // Taken by a cluster, it is dirty before its status says so, and on; nobody becomes Available by that.
    watch.ok(30, Fact::Bound(server(), true));
    watch.ok(30, Fact::WipeDue(server(), 2));
    watch.ok(31, Fact::Powered(server(), Some("w2".into())));
    watch.ok(31, Fact::Available(server(), true));
    watch.ok(32, Fact::Available(server(), false));
}

#[test]
fn i_1_a_wipe_of_a_machine_that_nobody_accepted() {
    let mut never = Watch::new();
    assert!(never.refused(5, Fact::Wiping(server(), 1)).starts_with("I-1"));

    let mut no_longer = due();
    no_longer.ok(2, Fact::Accepted(server(), false));
    no_longer.ok(4, Fact::Wiping(server(), 1));
    assert!(no_longer.refused(5, Fact::Wiping(server(), 1)).starts_with("I-1"));
}

#[test]
fn i_2_a_wipe_that_begins_while_somebody_has_the_machine() {
    for (held, words) in [
        (Fact::Bound(server(), true), "ServerBinding"),
        (Fact::Claimed(server(), true), "MetalMachine"),
    ] {
        let mut watch = due();
        watch.ok(2, held.clone());
        let text = watch.refused(2, Fact::Wiping(server(), 1));
        assert!(text.starts_with("I-2") && text.contains(words), "{text}");

        let mut reported = due();
        reported.ok(2, held);
        assert!(
            reported
                .refused(2, Fact::WipeDone(server(), 1))
                .starts_with("I-2")
        );
    }
}

#[test]
fn i_2_let_go_before_the_wipe_or_taken_during_it_is_lawful_and_the_next_generation_is_another_wipe() {
    let mut watch = due();
    watch.ok(2, Fact::Bound(server(), true));
    watch.ok(3, Fact::Bound(server(), false));
    watch.ok(3, Fact::Wiping(server(), 1));
    watch.ok(4, Fact::Bound(server(), true));
    watch.ok(5, Fact::Wiping(server(), 1));
    watch.ok(6, Fact::WipeDone(server(), 1));
    watch.ok(7, Fact::WipeDone(server(), 1)); // seen again by a relist
    assert!(watch.refused(8, Fact::Wiping(server(), 2)).starts_with("I-2"));
}

#[test]
fn i_2_a_binding_outlives_its_deleted_server() {
    let mut watch = due();
    watch.ok(2, Fact::Bound(server(), true));
    watch.ok(3, Fact::Deleted(server()));
    watch.ok(4, Fact::Accepted(server(), true));
    assert!(watch.refused(9, Fact::Wiping(server(), 1)).starts_with("I-2"));
}

#[test]
fn i_4_offered_without_the_wipe_that_was_due() {
    let offered = Fact::Available(server(), true);
    let mut unwiped = due();
    assert!(unwiped.refused(9, offered.clone()).starts_with("I-4"));

    let mut earlier = due();
    earlier.ok(2, Fact::WipeDone(server(), 1));
    earlier.ok(3, Fact::WipeDue(server(), 2));
    assert!(earlier.refused(9, offered.clone()).starts_with("I-4"));

    let mut never_due = Watch::accepted();
    never_due.ok(1, Fact::HadAgent(server(), true));
    assert!(never_due.refused(9, offered.clone()).starts_with("I-4"));

    let mut by_hand = Watch::accepted();
    by_hand.ok(9, offered);
}

#[test]
fn i_4_offered_while_it_is_on_or_not_confirmed_off() {
    let wiped = || {
        let mut watch = due();
        watch.ok(2, Fact::WipeDone(server(), 1));
        watch
    };
    let offered = || Fact::Available(server(), true);
    let mut unconfirmed = wiped();
    unconfirmed.ok(3, Fact::Powered(server(), Some("w1".into())));
    let text = unconfirmed.refused(4, offered());
    assert!(text.starts_with("I-4") && text.contains("w1"), "{text}");

    let mut on = wiped();
    on.ok(3, Fact::Power(server(), PowerState::On));
    let mut just_now = Watch(on.0.clone());
    assert!(on.refused(6, offered()).starts_with("I-4"));
    // Somebody pressed the button after the last reading.
    just_now.ok(5, offered());

    let mut no_driver = wiped();
    no_driver.ok(3, Fact::HasDriver(server(), false));
    no_driver.ok(3, Fact::Power(server(), PowerState::On));
    no_driver.ok(9, offered());
}

#[test]
fn a_violation_names_its_invariant_and_its_server_for_programs_too() {
    let mut watch = due();
    let violation = watch.see(9, Fact::Available(server(), true)).unwrap_err();
    assert_eq!((violation.invariant(), violation.server()), ("I-4", server()));
    assert!(violation.to_string().starts_with(violation.invariant()));
}
