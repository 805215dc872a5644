//! `cargo xtask …`: the project's commands. Thin: it starts everything else.

#![expect(
    clippy::print_stdout,
    reason = "its output is for the person who typed the command"
)]

mod exec;
mod test;
mod tools;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::exec::{Failure, cargo, program};

/// The project's commands.
#[derive(Parser)]
#[command(bin_name = "cargo xtask", arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the main job on this machine: real API server and Cluster API. Arguments go to the demo (see `demo --help`).
    #[command(disable_help_flag = true)]
    Demo {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Run everything CI runs, or the steps named; a last word that is no step filters the tests by name.
    Test {
        #[arg(value_name = "STEP|FILTER", help = test::STEPS_HELP)]
        words: Vec<String>,
    },
    /// Measure our code and its peers side by side (release build). Arguments go to the bench (see `bench --help`).
    #[command(disable_help_flag = true)]
    Bench {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Install what the tests and the demo need: Debian packages (as root), Go, the Go-built test bed, the lab's kernel.
    Tools,
    /// Write the CRD manifests in crds/ anew from the types.
    Crds,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Demo { args } => demo(&args),
        Command::Test { words } => test::run(&words),
        Command::Bench { args } => bench(&args),
        Command::Tools => tools::ensure().map(|tools| println!("tools are in {}", tools.display())),
        Command::Crds => cargo(["run", "--quiet", "-p", "crd-types", "--bin", "crds", "--", "crds"]).run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Builds and runs the demo with the tools it needs.
fn demo(args: &[String]) -> Result<(), Failure> {
    let tools = tools::ensure()?;
    test::build()?;
    test::agent()?;
    program(root().join("target/debug/demo"))
        .args(args)
        .env(tools::TOOLS_VARIABLE, &tools)
        .become_it()
}

/// Builds and runs a bench against the simulator and the peers.
fn bench(args: &[String]) -> Result<(), Failure> {
    tools::ensure_peers()?;
    cargo(["build", "--locked", "--release", "-p", "bench", "-p", "bmc-sim"]).run()?;
    program(root().join("target/release/bench"))
        .args(args)
        .become_it()
}

/// The checkout that this xtask was built from.
fn root() -> PathBuf {
    let mut path = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    path.pop();
    path
}
