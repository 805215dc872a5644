//! Commands as a user types them, against the test bed.

use std::process::Command;

use anyhow::bail;
use testbed::Bed;

/// Gives `command` the test bed's kubeconfig, its tools in front of PATH, and kubectl's cache in the run's folder.
pub(crate) fn at_home<'a>(bed: &Bed, command: &'a mut Command) -> &'a mut Command {
    let path = std::env::var("PATH").unwrap_or_default();
    command
        .env("KUBECONFIG", bed.management.kubeconfig())
        .env("KUBECACHEDIR", bed.run().folder().join("kubectl"))
        .env(
            "PATH",
            format!("{}:{path}", bed.tools().folder().join("bin").display()),
        )
}

/// A command that ends after so many seconds: a test that waits for one must not wait for ever.
pub(crate) fn bounded(seconds: u16) -> Command {
    let mut command = Command::new("timeout");
    command.arg("--kill-after=5").arg(seconds.to_string());
    command
}

/// Runs `kubectl ARGS` on the management cluster; returns its output, or fails with what it said.
pub(crate) fn kubectl(bed: &Bed, args: &[&str]) -> anyhow::Result<String> {
    let output = at_home(bed, bounded(120).arg("kubectl").args(args)).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!(
            "`kubectl {}` failed:\n{text}{}",
            args.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(text)
}
