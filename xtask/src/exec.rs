//! Runs programs: with their output shown, captured, or watched line by line.

use std::ffi::OsStr;
use std::fmt;
use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Why a command of ours failed, in words for the person who typed it.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

/// A program about to run in the root of the checkout.
pub(crate) struct Program(Command);

/// `cargo ARGS`, the same cargo that runs us.
///
/// Without what `cargo run` told *us* about our own package: build scripts (ring's) watch these variables, and crates
/// would be compiled anew at each change between this and a cargo that was typed by hand.
pub(crate) fn cargo<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Program {
    let mut cargo = program(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())).args(args);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            cargo.0.env_remove(&name);
        }
    }
    cargo
}

/// `path`, without arguments yet.
pub(crate) fn program(path: impl AsRef<OsStr>) -> Program {
    let mut command = Command::new(path);
    command.current_dir(crate::root());
    Program(command)
}

impl Program {
    pub(crate) fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.0.args(args);
        self
    }

    pub(crate) fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.0.env(key, value);
        self
    }

    pub(crate) fn dir(mut self, dir: &Path) -> Self {
        self.0.current_dir(dir);
        self
    }

    fn text(&self) -> String {
        let words = std::iter::once(self.0.get_program()).chain(self.0.get_args());
        words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
    }

    /// Runs it with its output shown; an exit status other than 0 is a failure.
    pub(crate) fn run(mut self) -> Result<(), Failure> {
        let text = self.text();
        let status = self
            .0
            .status()
            .map_err(|error| Failure(format!("cannot run `{text}`: {error}")))?;
        if status.success() {
            Ok(())
        } else {
            Err(Failure(format!("`{text}` failed: {status}")))
        }
    }

    /// Replaces this process by it, so that signals and the terminal are its own.
    pub(crate) fn become_it(mut self) -> Result<(), Failure> {
        let text = self.text();
        Err(Failure(format!("cannot run `{text}`: {}", self.0.exec())))
    }

    /// Runs it quietly and returns its trimmed standard output; on failure the error shows its standard error.
    pub(crate) fn output(mut self) -> Result<String, Failure> {
        let text = self.text();
        let output = self
            .0
            .output()
            .map_err(|error| Failure(format!("cannot run `{text}`: {error}")))?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        } else {
            let stderr = String::from_utf8_lossy(&output.stderr);
            Err(Failure(format!(
                "`{text}` failed ({}):\n{}",
                output.status,
                last_lines(&stderr, 20)
            )))
        }
    }

    /// Runs it and hands each line of its standard output to `see`; standard error stays shown.
    pub(crate) fn watch_stdout(mut self, mut see: impl FnMut(&str)) -> Result<(), Failure> {
        self.0.stdout(Stdio::piped());
        self.watch(
            |child| {
                child
                    .stdout
                    .take()
                    .map(|out| Box::new(out) as Box<dyn std::io::Read>)
            },
            &mut see,
        )
    }

    /// Runs it and hands each line of its standard error to `see`, which is shown again when it fails.
    pub(crate) fn watch_stderr(mut self, mut see: impl FnMut(&str)) -> Result<(), Failure> {
        self.0.stderr(Stdio::piped());
        let mut seen = String::new();
        let result = self.watch(
            |child| {
                child
                    .stderr
                    .take()
                    .map(|err| Box::new(err) as Box<dyn std::io::Read>)
            },
            &mut |line| {
                seen.push_str(line);
                seen.push('\n');
                see(line);
            },
        );
        result.map_err(|failure| Failure(format!("{failure}\n{}", last_lines(&seen, 20))))
    }

    fn watch(
        mut self,
        stream: impl FnOnce(&mut std::process::Child) -> Option<Box<dyn std::io::Read>>,
        see: &mut dyn FnMut(&str),
    ) -> Result<(), Failure> {
        let text = self.text();
        let mut child = self
            .0
            .spawn()
            .map_err(|error| Failure(format!("cannot run `{text}`: {error}")))?;
        if let Some(stream) = stream(&mut child) {
            for line in BufReader::new(stream).split(b'\n') {
                see(&String::from_utf8_lossy(&line?));
            }
        }
        let status = child.wait()?;
        if status.success() {
            Ok(())
        } else {
            Err(Failure(format!("`{text}` failed: {status}")))
        }
    }
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// One long piece of work: what, how far, how long. Rewrites its line on a terminal, else prints now and then.
pub(crate) struct Progress {
    what: String,
    start: Instant,
    shown: Instant,
    terminal: bool,
}

impl Progress {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        let now = Instant::now();
        let this = Self {
            what: what.into(),
            start: now,
            shown: now,
            terminal: std::io::stderr().is_terminal(),
        };
        this.print("…");
        this
    }

    /// Tells how far it is.
    pub(crate) fn at(&mut self, how_far: &str) {
        let pause = if self.terminal {
            Duration::from_millis(200)
        } else {
            Duration::from_secs(15)
        };
        if self.shown.elapsed() >= pause {
            self.shown = Instant::now();
            self.print(how_far);
        }
    }

    /// Tells that it is done.
    pub(crate) fn done(self) {
        self.print("done");
        if self.terminal {
            eprintln!();
        }
    }

    fn print(&self, how_far: &str) {
        let line = format!(
            "{:>6.1} s  {}: {how_far}",
            self.start.elapsed().as_secs_f64(),
            self.what
        );
        if self.terminal {
            eprint!("\r\x1b[K{line}");
            std::io::stderr().flush().ok();
        } else {
            eprintln!("{line}");
        }
    }
}
