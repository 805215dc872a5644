//! `kubectl` as a user of the test bed types it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

use crate::Bed;

/// How long one request may take: a test that waits for one must not wait for ever.
const PATIENCE: &str = "--request-timeout=120s";

impl Bed {
    /// Runs `kubectl ARGS` on the management cluster; returns its output, or fails with what it said.
    pub fn kubectl(&self, args: &[&str]) -> anyhow::Result<String> {
        self.run_kubectl(&self.management.kubeconfig(), args)
    }

    /// The same on the workload cluster.
    pub fn workload_kubectl(&self, args: &[&str]) -> anyhow::Result<String> {
        self.run_kubectl(&self.workload.kubeconfig(), args)
    }

    fn run_kubectl(&self, kubeconfig: &Path, args: &[&str]) -> anyhow::Result<String> {
        // It runs outside the run's namespace, and must not outlive whoever asked: a run that is killed leaves nothing.
        let output = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(self.tools().program("kubectl"))
            .arg(PATIENCE)
            .args(args)
            .env("KUBECONFIG", kubeconfig)
            .env("KUBECACHEDIR", self.run().folder().join("kubectl"))
            .output()
            .context("cannot run `setpriv` (Debian package util-linux)")?;
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
}
