//! `verifier FACTS.json`: whether the main job was really done. 0: it was; 1: it was not; 2: the facts cannot be read.

use std::process::ExitCode;

use clap::Parser;

#[expect(clippy::print_stdout, reason = "the verdict is what it is for")]
fn main() -> ExitCode {
    match verifier::Args::parse().verdict() {
        Ok(verdict) => {
            println!("{verdict}");
            ExitCode::from(u8::from(!verdict.is_good()))
        }
        Err(error) => {
            eprintln!("verifier: {error:#}");
            ExitCode::from(2)
        }
    }
}
