//! The program `bmc-sim` itself, as a child process.

use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};

pub(crate) struct Program {
    pub(crate) child: Child,
    pub(crate) stderr: Lines<BufReader<ChildStderr>>,
}

impl Program {
    pub(crate) fn start(fleet: &Path, args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_bmc-sim"))
            .arg("--config")
            .arg(fleet)
            .args(args)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, stderr }
    }

    /// Reads up to the line that starts so.
    pub(crate) async fn says(&mut self, start: &str) -> String {
        while let Some(line) = self.stderr.next_line().await.unwrap() {
            if line.trim().starts_with(start) {
                return line.trim().to_owned();
            }
        }
        panic!("the program ended without {start:?}")
    }

    pub(crate) async fn signal(&self, name: &str) {
        let pid = self.child.id().unwrap().to_string();
        assert!(super::run("kill", &["-s", name, &pid]).await.ok);
    }
}

pub(crate) fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}
