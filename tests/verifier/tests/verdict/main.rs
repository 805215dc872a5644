//! The verdict on a good run, and on runs in which one thing went wrong: exactly the check that is meant for it fails,
//! and names it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod end;
mod node;
mod power;
mod program;
mod release;
mod run;
mod spoil;
mod steps;
mod story;
mod wipe;
