//! One part of the test bed as a process: start, stop, kill, restart, its log.

use std::collections::VecDeque;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::network::{Network, Place};
use crate::wait::until;

/// How to run a program: what the part is made from, again at each start.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
    args: Vec<String>,
    env: Vec<(String, String)>,
    place: Place,
}

impl Program {
    /// The program at `path` without arguments.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            args: Vec::new(),
            env: Vec::new(),
            place: Place::Run,
        }
    }

    /// Runs it elsewhere in the run's network.
    #[must_use]
    pub fn at(mut self, place: Place) -> Self {
        self.place = place;
        self
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<String>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Gives a flag another value.
    #[must_use]
    pub fn replace(mut self, flag: &str, value: &str) -> Self {
        let begin = format!("{flag}=");
        self.args.retain(|arg| !arg.starts_with(&begin));
        self.arg(format!("{begin}{value}"))
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, key: &str, value: impl Into<String>) -> Self {
        self.env.push((key.into(), value.into()));
        self
    }
}

/// A process of the run, inside the run's network. Killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    program: Program,
    network: Network,
    log: PathBuf,
    child: Mutex<Option<Child>>,
}

impl Process {
    /// Starts `program`; its output goes to `<folder>/log/<name>.log`.
    pub(crate) fn start(
        name: &str,
        program: Program,
        network: &Network,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let log = folder.join("log").join(format!("{name}.log"));
        let this = Self {
            name: name.into(),
            program,
            network: network.clone(),
            log,
            child: Mutex::default(),
        };
        this.begin()?;
        Ok(this)
    }

    /// The part's name, as in its log file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Starts it again after [`stop`](Self::stop) or [`kill`](Self::kill), or after it ended by itself.
    pub fn begin(&self) -> anyhow::Result<()> {
        let mut child = self.lock();
        if let Some(running) = child.as_mut()
            && running.try_wait()?.is_none()
        {
            bail!("{} is running already", self.name);
        }
        let output = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut command = self.network.command(self.program.place, &self.program.path);
        command
            .args(&self.program.args)
            .envs(self.program.env.iter().cloned());
        command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        *child = Some(spawn(command).with_context(|| format!("cannot start {}", self.name))?);
        Ok(())
    }

    /// Asks it to end (SIGTERM) and waits up to `grace`; then kills it. Returns whether it ended by itself.
    pub fn stop(&self, grace: Duration) -> anyhow::Result<bool> {
        let mut child = self.lock();
        let Some(running) = child.as_mut() else {
            return Ok(true);
        };
        signal(running, rustix::process::Signal::TERM);
        let deadline = Instant::now() + grace;
        while running.try_wait()?.is_none() {
            if Instant::now() > deadline {
                running.kill()?;
                running.wait()?;
                *child = None;
                return Ok(false);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        *child = None;
        Ok(true)
    }

    /// Kills it (SIGKILL) and reaps it.
    pub fn kill(&self) -> anyhow::Result<()> {
        if let Some(mut running) = self.lock().take() {
            running.kill()?;
            running.wait()?;
        }
        Ok(())
    }

    /// Waits until `check` says so; the end of the process ends the wait at once, with how its log ends.
    pub(crate) async fn until_ready<F>(&self, deadline: Duration, check: impl Fn() -> F) -> anyhow::Result<()>
    where
        F: Future<Output = anyhow::Result<Option<()>>>,
    {
        let outcome = until(&self.name, deadline, || async {
            if let Some(end) = self.ended()? {
                return Ok(Some(Err(anyhow::anyhow!(
                    "{end}; its log ends\n{}",
                    self.log_tail(10)
                ))));
            }
            Ok(check().await?.map(Ok))
        });
        outcome
            .await
            .and_then(|result| result)
            .with_context(|| format!("{} does not start", self.name))
    }

    /// How it ended, if it did while nobody asked it to.
    fn ended(&self) -> anyhow::Result<Option<String>> {
        let mut child = self.lock();
        let Some(running) = child.as_mut() else {
            return Ok(None);
        };
        Ok(running
            .try_wait()?
            .map(|status| format!("{} ended: {status}", self.name)))
    }

    /// The last lines of its log.
    pub fn log_tail(&self, lines: usize) -> String {
        tail(&self.log, lines)
    }

    /// Its whole log.
    pub fn log(&self) -> io::Result<String> {
        Ok(String::from_utf8_lossy(&fs::read(&self.log)?).into_owned())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The last lines of a log.
pub(crate) fn tail(log: &Path, lines: usize) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let mut tail = VecDeque::new();
    for line in text.lines() {
        if tail.len() == lines {
            tail.pop_front();
        }
        tail.push_back(line);
    }
    Vec::from(tail).join("\n")
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill().ok();
    }
}

fn signal(child: &Child, signal: rustix::process::Signal) {
    if let Some(pid) = i32::try_from(child.id())
        .ok()
        .and_then(rustix::process::Pid::from_raw)
    {
        rustix::process::kill_process(pid, signal).ok();
    }
}

type Order = (Command, mpsc::Sender<io::Result<Child>>);

/// Starts `command` on a thread that lives as long as this process: the kernel sends a child's parent-death signal
/// when the *thread* that started it ends, and worker threads come and go.
fn spawn(command: Command) -> anyhow::Result<Child> {
    static STARTER: LazyLock<mpsc::Sender<Order>> = LazyLock::new(|| {
        let (sender, orders) = mpsc::channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, answer) in orders {
                answer.send(command.spawn()).ok();
            }
        });
        sender
    });
    let (answer, child) = mpsc::channel();
    STARTER
        .send((command, answer))
        .context("the starter thread is gone")?;
    Ok(child.recv().context("the starter thread is gone")??)
}
