//! `cargo xtask demo`: the main job on this machine.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    testbed::demo::Demo::parse().run()
}
