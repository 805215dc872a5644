//! The checks: pure functions of the facts.

mod end;
mod node;
mod power;
mod release;
mod steps;
mod wipe;

use crate::{Facts, Finding};

/// All checks, in the order of the job.
pub(crate) const ALL: [fn(&Facts) -> Finding; 6] = [
    steps::check,
    wipe::check,
    power::check,
    node::check,
    release::check,
    end::check,
];
