//! How a manager's process lives and ends: its parts run side by side, the first that ends ends all, SIGTERM drains.

use std::io;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

/// After the token is cancelled, work has this long to end by itself. The lease is given back afterwards.
pub const DRAIN: Duration = Duration::from_secs(7);
/// After the token is cancelled, all parts have this long to end, then they are dropped: a kubelet sends SIGKILL
/// after 10 s at the earliest that operators commonly set.
pub const EXIT: Duration = Duration::from_millis(9500);

/// What a part may fail with.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a process ends without having been asked to.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// A part ended with an error.
    #[error("{part} failed: {source}")]
    Failed {
        /// The part's name.
        part: &'static str,
        /// Its error.
        source: BoxError,
    },
    /// A part ended as if its work were done.
    #[error("{part} ended, though nobody asked it to")]
    Ended {
        /// The part's name.
        part: &'static str,
    },
    /// A part panicked.
    #[error("{part} panicked: {source}")]
    Panicked {
        /// The part's name.
        part: &'static str,
        /// What tokio says of it.
        source: JoinError,
    },
    /// Parts were still at work at the end of [`EXIT`].
    #[error("still at work {EXIT:?} after being asked to stop, and dropped: {parts}")]
    Late {
        /// Their names.
        parts: String,
    },
}

/// A token that SIGTERM and SIGINT cancel. For the binary's `main`, once.
pub fn stop_on_signals() -> io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = CancellationToken::new();
    let cancel = stop.clone();
    tokio::spawn(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        info!("{name}: stopping");
        cancel.cancel();
    });
    Ok(stop)
}

/// Lets the process have `needed` files open at one time, sockets included, as far as its hard limit allows; otherwise
/// the log says so. For the binary's start: shells and service managers give 1024.
pub fn allow_open_files(needed: u64) {
    let limit = getrlimit(Resource::Nofile);
    let Some(soft) = more_files(&limit, needed) else {
        return;
    };
    let raised = Rlimit {
        current: Some(soft),
        maximum: limit.maximum,
    };
    let raised = setrlimit(Resource::Nofile, raised);
    if raised.is_err() || soft < needed {
        let allowed = getrlimit(Resource::Nofile).current;
        warn!(
            allowed,
            needed,
            "too few open files are allowed for all machines at once: raise the hard limit (ulimit -Hn, LimitNOFILE=)"
        );
    }
}

/// The soft limit to set; nothing where it is enough. Without a number it is unlimited.
fn more_files(limit: &Rlimit, needed: u64) -> Option<u64> {
    let soft = limit.current.filter(|soft| *soft < needed)?;
    let hard = limit.maximum.unwrap_or(needed);
    Some(needed.min(hard).max(soft))
}

/// The long-running parts of one process.
pub struct Process {
    stop: CancellationToken,
    tasks: JoinSet<Result<(), BoxError>>,
    names: Vec<(Id, &'static str)>,
}

impl Process {
    /// A process without parts, which ends when `stop` is cancelled.
    pub fn new(stop: CancellationToken) -> Self {
        Self {
            stop,
            tasks: JoinSet::new(),
            names: Vec::new(),
        }
    }

    /// Cancelled when the process is to end.
    pub fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Starts a part. It must end soon after [`stop`](Self::stop) is cancelled, and not before.
    pub fn start<F, E>(&mut self, part: &'static str, task: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError>,
    {
        let handle = self.tasks.spawn(async move { task.await.map_err(Into::into) });
        self.names.push((handle.id(), part));
    }

    /// Waits for the end: the signal, or the first part that ends. All others are stopped then, within [`EXIT`].
    /// The first error is returned, later ones are logged.
    pub async fn run(mut self) -> Result<(), ProcessError> {
        let stop = self.stop.clone();
        let mut first = tokio::select! {
            () = stop.cancelled() => Ok(()),
            Some((part, result)) = self.next() => match result {
                Ok(()) if !stop.is_cancelled() => Err(ProcessError::Ended { part }),
                result => result,
            },
        };
        stop.cancel();
        let drained = async {
            while let Some((_, result)) = self.next().await {
                match (result, &first) {
                    (Err(failure), Ok(())) => first = Err(failure),
                    (Err(failure), Err(_)) => error!(%failure, "failed while stopping"),
                    (Ok(()), _) => {}
                }
            }
        };
        if timeout(EXIT, drained).await.is_err() && first.is_ok() {
            let parts: Vec<_> = self.names.iter().map(|(_, part)| *part).collect();
            first = Err(ProcessError::Late {
                parts: parts.join(", "),
            });
        }
        first
    }

    /// The next part that ends.
    async fn next(&mut self) -> Option<(&'static str, Result<(), ProcessError>)> {
        let (id, result) = match self.tasks.join_next_with_id().await? {
            Ok((id, result)) => (id, Ok(result)),
            Err(source) => (source.id(), Err(source)),
        };
        let part = match self.names.iter().position(|(named, _)| *named == id) {
            Some(index) => self.names.swap_remove(index).1,
            None => "a part",
        };
        let result = match result {
            Ok(result) => result.map_err(|source| ProcessError::Failed { part, source }),
            Err(source) => Err(ProcessError::Panicked { part, source }),
        };
        Some((part, result))
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use rustix::process::{Signal, getpid, kill_process};
    use tokio::time::{Instant, sleep};

    use super::*;

    /// A part that needs `drain` to end after it was asked to.
    async fn part(stop: CancellationToken, drain: Duration) -> Result<(), BoxError> {
        stop.cancelled().await;
        sleep(drain).await;
        Ok(())
    }

    async fn wild(stop: CancellationToken) -> Result<(), BoxError> {
        assert!(stop.run_until_cancelled(sleep(DRAIN)).await.is_none(), "planted");
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn a_stopped_process_waits_for_all_its_parts() {
        let mut process = Process::new(CancellationToken::new());
        process.start("quick", part(process.stop(), Duration::ZERO));
        process.start("slow", part(process.stop(), Duration::from_secs(5)));
        let begin = Instant::now();
        process.stop().cancel();
        process.run().await.unwrap();
        assert_eq!(begin.elapsed().as_secs(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_part_that_ends_ends_all_and_is_named() {
        let mut process = Process::new(CancellationToken::new());
        process.start("patient", part(process.stop(), Duration::ZERO));
        process.start("listener", async { Err("port 67: in use") });
        assert_eq!(
            process.run().await.unwrap_err().to_string(),
            "listener failed: port 67: in use"
        );

        let mut process = Process::new(CancellationToken::new());
        process.start("done", async { Ok::<_, BoxError>(()) });
        let error = process.run().await.unwrap_err().to_string();
        assert_eq!(error, "done ended, though nobody asked it to");
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_in_a_part_ends_the_process() {
        let mut process = Process::new(CancellationToken::new());
        process.start("patient", part(process.stop(), Duration::ZERO));
        process.start("wild", wild(process.stop()));
        let error = process.run().await.unwrap_err().to_string();
        assert!(
            error.starts_with("wild panicked") && error.contains("planted"),
            "{error}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_that_hangs_is_named_and_dropped_in_time() {
        let mut process = Process::new(CancellationToken::new());
        process.start("stuck", pending::<Result<(), BoxError>>());
        process.start("patient", part(process.stop(), Duration::ZERO));
        process.stop().cancel();
        let begin = Instant::now();
        let error = process.run().await.unwrap_err().to_string();
        assert_eq!(
            error,
            "still at work 9.5s after being asked to stop, and dropped: stuck"
        );
        assert!(begin.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn open_files_are_raised_to_what_is_needed_and_never_lowered() {
        let more = |current, maximum| more_files(&Rlimit { current, maximum }, 5000);
        assert_eq!(more(Some(1024), Some(1_048_576)), Some(5000));
        assert_eq!(more(Some(1024), None), Some(5000));
        assert_eq!(more(Some(1024), Some(4096)), Some(4096));
        assert_eq!(more(Some(4096), Some(4096)), Some(4096));
        assert_eq!(more(Some(5000), Some(5000)), None);
        assert_eq!(more(None, None), None);
    }

    #[test]
    fn the_process_may_open_what_it_needs() {
        let before = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        allow_open_files(before.saturating_add(1));
        let after = getrlimit(Resource::Nofile);
        let possible = after.maximum.is_none_or(|hard| hard > before);
        assert_eq!(
            after.current.unwrap_or(u64::MAX) > before,
            possible && before < u64::MAX
        );
    }

    #[tokio::test]
    async fn sigterm_and_sigint_stop_the_process() {
        for signal in [Signal::TERM, Signal::INT] {
            let stop = stop_on_signals().unwrap();
            assert!(!stop.is_cancelled());
            kill_process(getpid(), signal).unwrap();
            timeout(DRAIN, stop.cancelled()).await.unwrap();
        }
    }
}
