//! Judges a run of the demo from outside: was the main job really done?
//!
//! The demo writes facts: what was on the disks, the power log of the simulated BMCs, and what a watch saw of the API.
//! From these, and with no code of the system that is judged, the checks work out anew whether machines were wiped,
//! switched, installed and given back as they should be. A check that had nothing to look at fails.

use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;

mod checks;
mod facts;
mod finding;
mod history;
mod power;
mod time;

pub use facts::{
    Block, Change, Disk, Facts, Kind, Line, LineEvent, Machine, ObjectEvent, Reading, Step, StepDone, VERSION,
};
pub use finding::{Finding, Verdict};

/// Judges from the facts that a run of the demo wrote whether the main job was really done.
#[derive(Debug, Parser)]
#[command(name = "verifier")]
pub struct Args {
    /// What the run wrote.
    #[arg(value_name = "FACTS.json")]
    facts: PathBuf,
}

impl Args {
    /// Reads the facts and judges them.
    pub fn verdict(&self) -> anyhow::Result<Verdict> {
        let path = self.facts.display();
        let text = std::fs::read_to_string(&self.facts).with_context(|| format!("cannot read {path}"))?;
        let facts = Facts::parse(&text).with_context(|| format!("cannot use {path}"))?;
        Ok(verify(&facts))
    }
}

/// All checks, in the order of the job.
pub fn verify(facts: &Facts) -> Verdict {
    Verdict::new(checks::ALL.iter().map(|check| check(facts)).collect())
}
