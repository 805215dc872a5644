//! Runs of the test bed beside and after each other: a killed one leaves nothing that the next does not remove.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::Context;
use testbed::{Bed, Run, Slot, leftovers};
use tokio::sync::Mutex;

/// The lines after which a run is killed: from its first possessions to its last.
const KILL_AFTER: [&str; 5] = [
    "has its network",
    "both API servers are ready",
    "their kinds are served",
    "managers are ready",
    "up to what it waits for",
];

/// Any run that starts cleans up after dead ones, so these tests must not overlap.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// A demo beside this test, as a process of its own.
struct Demo {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
    slot: Slot,
}

impl Demo {
    /// Starts it and reads which run it is.
    fn start() -> anyhow::Result<Self> {
        let mut child = Command::new(demo_binary()?)
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the demo")?;
        let stdout = child.stdout.take().context("the demo has no output")?;
        let mut this = Self {
            child,
            lines: BufReader::new(stdout).lines(),
            slot: Slot(0),
        };
        let first = this.until("has its network")?;
        let number = first.split_whitespace().skip_while(|word| *word != "run").nth(1);
        this.slot = Slot(
            number
                .and_then(|word| word.parse().ok())
                .with_context(|| format!("no run number in {first:?}"))?,
        );
        Ok(this)
    }

    fn until(&mut self, text: &str) -> anyhow::Result<String> {
        for line in &mut self.lines {
            let line = line?;
            if line.contains(text) {
                return Ok(line);
            }
        }
        anyhow::bail!("the demo ended without saying {text:?}: {}", self.child.wait()?)
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn demo_binary() -> anyhow::Result<PathBuf> {
    // target/debug/deps/e2e-… → target/debug/demo
    let mut path = std::env::current_exe()?;
    path.pop();
    path.set_file_name("demo");
    Ok(path)
}

pub(crate) async fn a_killed_run_is_cleaned_up_by_the_next(bed: &Bed) -> anyhow::Result<()> {
    let _alone = ONE_AT_A_TIME.lock().await;
    let tools = bed.tools().folder();
    for line in KILL_AFTER {
        let mut demo = Demo::start()?;
        if line != KILL_AFTER[0] {
            demo.until(line)?;
        }
        let slot = demo.slot;
        assert!(slot.is_live());
        demo.child.kill()?;
        demo.child.wait()?;

        let left = leftovers::find(slot)?;
        assert!(
            left.iter().any(|item| item.starts_with("network namespace")),
            "killed after {line:?} it left {left:?}"
        );
        assert!(
            !leftovers::strays(tools)?.is_empty(),
            "killed after {line:?}: nothing strays"
        );
        // The next run, whichever slot it takes, removes what belongs to nobody.
        drop(Run::start()?);
        let left = leftovers::find(slot)?;
        assert!(
            left.is_empty() || slot.is_live(),
            "killed after {line:?}, after the next run there is {left:?}"
        );
        let strays = leftovers::strays(tools)?;
        assert!(
            strays.is_empty(),
            "killed after {line:?}, after the next run nobody's are {strays:?}"
        );
    }
    Ok(())
}

pub(crate) async fn a_run_ends_without_a_trace_beside_another(bed: &Bed) -> anyhow::Result<()> {
    let _alone = ONE_AT_A_TIME.lock().await;
    let mut demo = Demo::start()?;
    let slot = demo.slot;
    assert_ne!(slot, bed.run().slot());
    assert!(!leftovers::find(slot)?.is_empty(), "a live run is visible");
    demo.until(
        testbed::first_cluster::WHAT_IS_MISSING
            .lines()
            .next()
            .unwrap_or_default(),
    )?;
    let status = demo.child.wait()?;
    assert!(status.success(), "{status}");
    let left = leftovers::find(slot)?;
    assert!(left.is_empty() || slot.is_live(), "it left {left:?}");
    Ok(())
}
