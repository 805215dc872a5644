//! `caps-controller-manager`: the infrastructure provider of Cluster API.

use std::process::ExitCode;

use caps_controller_manager::{Args, run};
use clap::Parser;

#[tokio::main]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("caps-controller-manager: {error:#}");
            ExitCode::FAILURE
        }
    }
}
