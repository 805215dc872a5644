//! `cargo xtask bench`: our code and its peers side by side.

use clap::Parser;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    bench::Args::parse().run().await
}
