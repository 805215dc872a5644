//! What went over the lab's bridge, recorded by tcpdump.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::network::Network;
use crate::process::{Process, Program};

/// How long tcpdump may take to start, and to end.
const GRACE: Duration = Duration::from_secs(20);

/// A recording, under way or finished. Its file is in the run's folder for `log/`, so that a failed run keeps it.
#[derive(Debug)]
pub struct Capture {
    process: Process,
    file: PathBuf,
}

impl Capture {
    pub(super) async fn start(
        network: &Network,
        folder: &Path,
        name: &str,
        link: &str,
    ) -> anyhow::Result<Self> {
        let file = folder.join("log").join(format!("{name}.pcap"));
        let program = Program::new("tcpdump")
            // Each packet is written as it comes; else it becomes a user who may not write here.
            .args(["-U", "--immediate-mode", "-Z", "root", "-i", link, "-w"])
            .arg(file.display().to_string());
        let process = Process::start(name, program, network, folder)?;
        let records = || async { Ok(process.log()?.contains("listening on").then_some(())) };
        process.until_ready(GRACE, records).await?;
        Ok(Self { process, file })
    }

    /// Ends the recording; what was recorded can still be read.
    pub fn finish(&self) -> anyhow::Result<()> {
        if !self.process.stop(GRACE)? {
            bail!("tcpdump of {} had to be killed", self.file.display());
        }
        Ok(())
    }

    /// The file, in pcap format.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The recorded packets that `filter` lets through, as `tcpdump -nn` prints them, a line each. Empty: all of them.
    ///
    /// While the recording is under way its last packet may be half written, which is an error.
    pub fn lines(&self, filter: &str) -> anyhow::Result<Vec<String>> {
        let output = Command::new("tcpdump")
            .process_group(0)
            .args(["-Z", "root", "-nn", "-r"])
            .arg(&self.file)
            .arg(filter)
            .output()
            .context("cannot run `tcpdump` (Debian package tcpdump)")?;
        if !output.status.success() {
            bail!(
                "`tcpdump -nn -r {} '{filter}'` failed: {}",
                self.file.display(),
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text.lines().map(Into::into).collect())
    }
}
