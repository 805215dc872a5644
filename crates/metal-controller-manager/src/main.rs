//! `metal-controller-manager`: the controllers of the metal group.

use std::process::ExitCode;

use clap::Parser;
use metal_controller_manager::{Args, run};

#[tokio::main]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("metal-controller-manager: {error:#}");
            ExitCode::FAILURE
        }
    }
}
