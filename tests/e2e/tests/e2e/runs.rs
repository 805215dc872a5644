//! Runs of the test bed beside and after each other: a killed one leaves nothing that the next does not remove.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::Context;
use testbed::{Bed, Run, Slot, leftovers};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::Mutex;

/// The lines after which a run is killed: from its first possessions to machines that run.
const KILL_AFTER: [&str; 5] = [
    "has its network",
    "both API servers are ready",
    "managers are ready",
    LAB_IS_UP,
    "are Servers",
];

const LAB_IS_UP: &str = "machines are plugged in";

/// Any run that starts cleans up after dead ones, so these tests must not overlap.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// A demo beside this test, as a process of its own. Killed when dropped.
struct Demo {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    slot: Slot,
}

impl Demo {
    /// Starts it and reads which run it is.
    async fn start(arguments: &[String]) -> anyhow::Result<Self> {
        let mut command = Command::new(demo_binary()?);
        let mut child = command
            .args(arguments)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start the demo")?;
        let stdout = child.stdout.take().context("the demo has no output")?;
        let mut this = Self {
            child,
            lines: BufReader::new(stdout).lines(),
            slot: Slot(0),
        };
        let first = this.until("has its network").await?;
        let number = first.split_whitespace().skip_while(|word| *word != "run").nth(1);
        let number = number.and_then(|word| word.parse().ok());
        this.slot = Slot(number.with_context(|| format!("no run number in {first:?}"))?);
        Ok(this)
    }

    async fn until(&mut self, text: &str) -> anyhow::Result<String> {
        while let Some(line) = self.lines.next_line().await? {
            if line.contains(text) {
                return Ok(line);
            }
        }
        anyhow::bail!(
            "the demo ended without saying {text:?}: {}",
            self.child.wait().await?
        )
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
    let mut has_site = false;
    for line in KILL_AFTER {
        let mut demo = Demo::start(&[]).await?;
        if line != KILL_AFTER[0] {
            demo.until(line).await?;
        }
        let slot = demo.slot;
        // Another checkout's run must not clean up before we have looked.
        let held = leftovers::hold_starts()?;
        assert!(slot.is_live());
        demo.child.kill().await?;
        let left = leftovers::find(slot)?;
        assert!(
            left.iter().any(|item| item.starts_with("network namespace")),
            "killed after {line:?} it left {left:?}"
        );
        has_site |= line == LAB_IS_UP;
        let site = format!("network namespace metal-{}-site", slot.0);
        // Before that line the demo may be about to make it.
        assert!(
            !has_site || left.contains(&site),
            "killed after {line:?} it left {left:?}"
        );
        assert!(
            !leftovers::strays(tools)?.is_empty(),
            "killed after {line:?}: nothing strays"
        );
        drop(held);

        // The next run, whichever slot it takes, removes what belongs to nobody.
        drop(Run::start()?);
        let _held = leftovers::hold_starts()?;
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

/// What is spoiled in a run, and the verifier's check that must find it.
const SABOTAGE: [&str; 4] = ["wipe", "power", "node", "release"];

pub(crate) async fn a_demo_that_is_sabotaged_fails_by_name_and_ends_without_a_trace(
    bed: &Bed,
) -> anyhow::Result<()> {
    let _alone = ONE_AT_A_TIME.lock().await;
    let all = SABOTAGE.map(|what| format!("--sabotage={what}"));
    let mut demo = Demo::start(&all).await?;
    let slot = demo.slot;
    assert_ne!(slot, bed.run().slot());
    assert!(!leftovers::find(slot)?.is_empty(), "a live run is visible");
    let mut said = Vec::new();
    while let Some(line) = demo.lines.next_line().await? {
        said.push(line);
    }
    let status = demo.child.wait().await?;
    let has = |begin: &str| said.iter().any(|line| line.starts_with(begin));
    for what in SABOTAGE {
        assert!(
            has(&format!("FAILED  {what}: ")),
            "{what} was not found:\n{}",
            said.join("\n")
        );
    }
    // the rest of the job was done all the same
    for check in ["steps", "end"] {
        assert!(has(&format!("ok  {check}: ")), "{check}:\n{}", said.join("\n"));
    }
    assert_eq!(status.code(), Some(1));
    let _held = leftovers::hold_starts()?;
    let left = leftovers::find(slot)?;
    assert!(left.is_empty() || slot.is_live(), "it left {left:?}");
    Ok(())
}
