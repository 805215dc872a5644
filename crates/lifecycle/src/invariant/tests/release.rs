//! Giving a machine back: I-11.

use super::*;

fn held(holds: bool, marked: bool, deleted: bool) -> Fact {
    let hold = Hold {
        holds,
        marked,
        deleted,
    };
    Fact::Held(server(), hold)
}

/// A machine that is on for its cluster, since long.
fn bound() -> Watch {
    let mut watch = Watch::accepted();
    watch.ok(1, Fact::HasDriver(server(), true));
    watch.ok(1, held(true, false, false));
    watch.ok(2, Fact::Powered(server(), Some("w-1".into())));
    watch
}

fn off_by(id: &str) -> Fact {
    let intent = Intent {
        attempt: 1,
        ..Intent::new(id, PowerAction::Off, None, at(0), None)
    };
    Fact::Intent(server(), intent)
}

#[test]
fn i_11_switched_off_without_a_mark() {
    for (marked, deleted, id, is_wrong) in [
        (false, true, "w-1-end-1", true),
        (true, true, "w-1-end-1", false),
        // one that does not boot is switched off while its cluster waits for it
        (false, false, "w-1-off-1", false),
        // a user may
        (false, true, "00ff", false),
    ] {
        let mut watch = bound();
        watch.ok(20, held(true, marked, deleted));
        watch.ok(21, off_by(id));
        let seen = watch.see(22, off_from("a"));
        let text = seen
            .err()
            .map(|violation| violation.to_string())
            .unwrap_or_default();
        assert_eq!(
            text.starts_with("I-11: "),
            is_wrong,
            "{marked} {deleted} {id}: {text}"
        );
    }
}

#[test]
fn i_11_let_go_before_it_is_off() {
    let give_back = |watch: &mut Watch| watch.ok(20, held(true, true, true));
    let mut hasty = bound();
    give_back(&mut hasty);
    let text = hasty.refused(30, Fact::Held(server(), Hold::default()));
    assert!(text.starts_with("I-11: ") && text.contains("w-1"), "{text}");

    let mut untrue = bound();
    give_back(&mut untrue);
    untrue.ok(25, Fact::Powered(server(), None));
    let text = untrue.refused(30, held(false, true, true));
    assert!(text.starts_with("I-11: ") && text.contains("is on"), "{text}");
}

#[test]
fn what_is_off_was_never_on_or_is_in_quarantine_is_let_go() {
    let let_go = |watch: &mut Watch| watch.ok(30, Fact::Held(server(), Hold::default()));
    let mut off = bound();
    off.ok(20, held(true, true, true));
    off.ok(21, Fact::Power(server(), PowerState::Off));
    off.ok(25, Fact::Powered(server(), None));
    let_go(&mut off);

    let mut in_quarantine = bound();
    in_quarantine.ok(20, held(true, true, true));
    in_quarantine.ok(29, Fact::Quarantined(server(), true));
    let_go(&mut in_quarantine);

    let mut foreign = bound();
    foreign.ok(20, Fact::HandsOff(server(), Some(HandsOff::Foreign)));
    let_go(&mut foreign);

    // somebody at the rack switched it on
    let mut never_on = Watch::accepted();
    never_on.ok(1, Fact::HasDriver(server(), true));
    never_on.ok(1, held(true, false, false));
    let_go(&mut never_on);

    // without a driver a human's word stands for a reading
    let mut by_hand = bound();
    by_hand.ok(3, Fact::HasDriver(server(), false));
    by_hand.ok(25, Fact::Powered(server(), None));
    let_go(&mut by_hand);
}
