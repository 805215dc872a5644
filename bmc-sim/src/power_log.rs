//! The power log: one JSON line when a mutating command arrives, one for each change of a machine.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::watch;

use crate::machine::{Edge, Origin};
use crate::verb::Verb;

/// Whether a line tells of a request or of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// A mutating command arrived at the BMC (or at the control API). Nothing need follow.
    Received,
    /// The machine (or the BMC) changed. These are the edges; commands are not.
    Effect,
}

/// One line.
///
/// A *power edge* is an effect whose `before` and `after` are two of `on`, `off`, `unplugged`, or whose verb is
/// `reset` (`on` to `on`). Lines of one BMC are in order; those of two BMCs may be interleaved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// When, on the simulator's clock: RFC 3339, UTC, milliseconds.
    pub t: String,
    /// The BMC's name in the fleet file.
    pub bmc: Arc<str>,
    /// Who: a BMC user, `anonymous` without good credentials, the name given to the control API (`control-api`
    /// if none), or `machine` where the machine did it by itself.
    pub actor: Arc<str>,
    /// Whence: `ipmi://`, `redfish://` or `control://` with the peer's address and port; or `machine`.
    pub source: Arc<str>,
    /// What was asked, or what was asked that led to this change.
    pub verb: Verb,
    /// See [`EventKind`].
    pub event: EventKind,
    /// `received`: the power word at arrival. `effect`: what was before, as a power word (`on`, `off`,
    /// `unplugged`), a boot override (`network once uefi`, `none`), or `post` for a boot.
    pub before: String,
    /// `effect`: what is now, in the same words. `null` for `received`.
    pub after: Option<String>,
    /// `received`: what the BMC answered: `accepted`, or `refused: ` and why; with the fault that made it so.
    /// `effect`: what made the change, such as `command`, `power button`, `boot flags lapsed`.
    pub cause: String,
}

/// Lines from some position on.
#[derive(Debug, Clone, Serialize)]
pub struct Page {
    /// The lines.
    pub entries: Vec<Arc<Entry>>,
    /// The position behind the last of them: the next `since`.
    pub next: u64,
    /// The oldest position still in memory; older lines are in the file only.
    pub oldest: u64,
}

struct Lines {
    kept: VecDeque<Arc<Entry>>,
    /// Position of the first kept line.
    oldest: u64,
    file: Option<File>,
}

/// The log of a fleet.
pub struct PowerLog {
    lines: Mutex<Lines>,
    end: watch::Sender<u64>,
}

impl PowerLog {
    /// How many lines are kept in memory.
    pub const KEPT: usize = 100_000;

    /// An empty log that also goes to `file`, if there is one.
    pub fn new(file: Option<File>) -> Self {
        Self {
            lines: Mutex::new(Lines {
                kept: VecDeque::new(),
                oldest: 0,
                file,
            }),
            end: watch::Sender::new(0),
        }
    }

    /// Appends a line. It is in the file before this returns.
    pub fn append(&self, entry: Entry) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = &mut lines.file
            && let Err(error) = write_line(file, &entry)
        {
            tracing::error!(%error, "cannot write to the power log file; it ends here, the control API still has the log");
            lines.file = None;
        }
        lines.kept.push_back(Arc::new(entry));
        if lines.kept.len() > Self::KEPT {
            lines.kept.pop_front();
            lines.oldest += 1;
        }
        self.end.send_replace(lines.oldest + lines.kept.len() as u64);
    }

    /// At most `limit` lines from position `since` on, of one BMC or of all.
    pub fn since(&self, since: u64, bmc: Option<&str>, limit: usize) -> Page {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let first = usize::try_from(since.saturating_sub(lines.oldest)).unwrap_or(usize::MAX);
        let mut page = Page {
            entries: Vec::new(),
            next: since.max(lines.oldest),
            oldest: lines.oldest,
        };
        for entry in lines.kept.iter().skip(first) {
            if page.entries.len() == limit {
                break;
            }
            page.next += 1;
            if bmc.is_none_or(|bmc| bmc == &*entry.bmc) {
                page.entries.push(entry.clone());
            }
        }
        page
    }

    /// Waits until there is a line at or behind position `position`.
    pub async fn reached(&self, position: u64) {
        // fails only if the sender is gone, and `self` has it
        self.end.subscribe().wait_for(|end| *end > position).await.ok();
    }
}

fn write_line(file: &mut File, entry: &Entry) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(entry)?;
    line.push(b'\n');
    file.write_all(&line)
}

impl Entry {
    /// The line for a command that arrived.
    pub fn received(
        at: Timestamp,
        bmc: &Arc<str>,
        origin: &Origin,
        verb: Verb,
        before: &str,
        cause: String,
    ) -> Self {
        Self {
            t: date(at),
            bmc: bmc.clone(),
            actor: origin.actor.clone(),
            source: origin.source.clone(),
            verb,
            event: EventKind::Received,
            before: before.into(),
            after: None,
            cause,
        }
    }

    /// The line for a change.
    pub fn effect(at: Timestamp, bmc: &Arc<str>, edge: Edge) -> Self {
        Self {
            t: date(at),
            bmc: bmc.clone(),
            actor: edge.origin.actor,
            source: edge.origin.source,
            verb: edge.verb,
            event: EventKind::Effect,
            before: edge.before,
            after: Some(edge.after),
            cause: edge.cause.to_string(),
        }
    }
}

fn date(at: Timestamp) -> String {
    format!("{at:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(bmc: &str) -> Entry {
        let origin = Origin::new("admin", "ipmi://127.0.0.1:1");
        Entry::received(
            Timestamp::UNIX_EPOCH,
            &bmc.into(),
            &origin,
            Verb::On,
            "off",
            "accepted".into(),
        )
    }

    #[test]
    fn a_line_has_the_fields_that_others_read() {
        assert_eq!(
            serde_json::to_string(&entry("a")).unwrap(),
            r#"{"t":"1970-01-01T00:00:00.000Z","bmc":"a","actor":"admin","source":"ipmi://127.0.0.1:1","verb":"on","event":"received","before":"off","after":null,"cause":"accepted"}"#
        );
    }

    #[test]
    fn pages_follow_each_other_and_skip_other_bmcs() {
        let log = PowerLog::new(None);
        for bmc in ["a", "b", "a", "a"] {
            log.append(entry(bmc));
        }
        let page = log.since(0, Some("a"), 2);
        assert_eq!((page.entries.len(), page.next), (2, 3));
        let page = log.since(page.next, Some("a"), 2);
        assert_eq!((page.entries.len(), page.next), (1, 4));
        assert_eq!(log.since(4, None, 2).entries.len(), 0);
        assert_eq!(log.since(u64::MAX, None, 2).entries.len(), 0);
    }

    #[test]
    fn memory_is_bounded_and_says_where_it_begins() {
        let log = PowerLog::new(None);
        for _ in 0..PowerLog::KEPT + 5 {
            log.append(entry("a"));
        }
        let page = log.since(0, None, 1);
        assert_eq!((page.oldest, page.next), (5, 6));
    }

    #[test]
    fn each_line_is_in_the_file_at_once() {
        let path = tempfile::NamedTempFile::new().unwrap();
        let log = PowerLog::new(Some(path.reopen().unwrap()));
        log.append(entry("a"));
        log.append(entry("b"));
        let text = std::fs::read_to_string(path.path()).unwrap();
        assert_eq!(text.lines().count(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_waits_for_the_next_line() {
        let log = PowerLog::new(None);
        log.append(entry("a"));
        log.reached(0).await;
        tokio::join!(log.reached(1), async { log.append(entry("a")) });
    }
}
