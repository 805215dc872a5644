//! Benches: our code and its peers do the same work against the same simulator, in turn, in one run.
//!
//! A figure alone says little on a machine that others use too; quote the ratios.

mod power;
mod sim;
mod table;

use clap::{Parser, ValueEnum};

/// What to measure.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Bench {
    /// Power status of many simulated BMCs: our drivers against FreeIPMI, ipmitool and bare HTTP requests.
    Power,
}

/// Measures our code and its peers side by side, in one run.
#[derive(Debug, Parser)]
#[command(name = "bench", bin_name = "cargo xtask bench")]
pub struct Args {
    /// What to measure.
    bench: Bench,
    /// Simulated BMCs.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    machines: u16,
    /// How often each contender does the work; they take turns, the median counts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Measures and prints.
    pub async fn run(self) -> anyhow::Result<()> {
        rustls::crypto::ring::default_provider().install_default().ok();
        let table = match self.bench {
            Bench::Power => power::run(self.machines, self.rounds).await?,
        };
        table.print(self.json);
        Ok(())
    }
}
