//! Explores `power::step` against a BMC that is slow, lossy, lying and ignoring, with the manager dying at any point.
//!
//! The checker runs the product's own function. A mutant is the same function behind a wrapper that breaks one of its guards;
//! each must be found out, or the model proves nothing.

#![expect(clippy::unwrap_used, reason = "a test file")]

#[expect(unreachable_pub, reason = "the parts of one test")]
mod model;

use model::{Mutant, PowerModel, SOMETIMES};
use stateright::{Checker, HasDiscoveries, Model};

#[test]
fn no_crash_and_no_fault_breaks_an_invariant_or_a_deadline() {
    let checker = PowerModel::of(None).checker().threads(2).spawn_bfs().join();
    println!(
        "explored {} states ({} distinct, depth {})",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth()
    );
    for (name, path) in checker.discoveries() {
        if !SOMETIMES.contains(&name) {
            let last = path.last_state().clone();
            println!("{name}: {:?}\n{last:#?}", path.into_actions());
        }
    }
    checker.assert_properties();
    assert!(
        checker.unique_state_count() > 50_000,
        "the model shrank to {} states",
        checker.unique_state_count()
    );
    assert_eq!(
        checker
            .discoveries()
            .keys()
            .filter(|name| SOMETIMES.contains(*name))
            .count(),
        SOMETIMES.len()
    );
}

#[test]
fn a_guard_that_is_taken_away_is_found_out() {
    for mutant in Mutant::ALL {
        let checker = PowerModel::of(Some(*mutant))
            .checker()
            .threads(2)
            .finish_when(HasDiscoveries::AnyFailures)
            .spawn_bfs()
            .join();
        let found: Vec<_> = checker
            .discoveries()
            .into_keys()
            .filter(|name| !SOMETIMES.contains(name))
            .collect();
        println!("{mutant:?}: {found:?}");
        assert!(!found.is_empty(), "{mutant:?} breaks nothing that the model sees");
    }
}
