//! What a spectator sees: lines of what is done, and below them, on a terminal, a table of the machines that is kept up to
//! date. Elsewhere each change of the table is a line.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _, stdout};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kube::Client;
use serde_json::Value;

use crate::lab::Machine;
use crate::main_job::{Job, server};

/// Between two looks at the Servers.
const LOOK: Duration = Duration::from_millis(500);
/// Characters of a line of the table, on a terminal.
const WIDTH: usize = 118;

/// Where it is shown. Clones show at the same place.
#[derive(Debug, Clone)]
pub(super) struct Board {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    start: Instant,
    is_terminal: bool,
    rows: Vec<Row>,
    /// Lines of the table as it stands on the terminal.
    drawn: usize,
    /// Looks at the Servers.
    task: Option<tokio::task::AbortHandle>,
}

/// A machine, and how it stands.
#[derive(Debug, Clone)]
struct Row {
    machine: Machine,
    now: Shown,
    since: Instant,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Shown {
    power: String,
    phase: String,
    what: String,
}

impl Default for Board {
    fn default() -> Self {
        let state = State {
            start: Instant::now(),
            is_terminal: stdout().is_terminal(),
            rows: Vec::new(),
            drawn: 0,
            task: None,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }
}

impl Board {
    /// A line of what is done, with the seconds since the beginning.
    pub(super) fn tell(&self, line: &str) {
        let mut state = self.lock();
        let seconds = state.start.elapsed().as_secs_f64();
        state.print(&format!("{seconds:>6.1} s  {line}"));
    }

    /// Text as it is.
    pub(super) fn say(&self, text: &str) {
        self.lock().print(text.trim_end());
    }

    /// Shows the machines of the job from now on.
    pub(super) fn watch(&self, job: &Job<'_>) {
        let client = job.bed.client().clone();
        let mut state = self.lock();
        state.rows = job.all.iter().map(|machine| Row::new(*machine)).collect();
        let this = self.clone();
        let machines = job.all.clone();
        let task = tokio::spawn(async move {
            loop {
                for machine in &machines {
                    let now = look(&client, *machine).await;
                    this.lock().change(*machine, now);
                }
                this.lock().redraw();
                tokio::time::sleep(LOOK).await;
            }
        });
        state.task = Some(task.abort_handle());
    }

    /// The table is taken away.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        if let Some(task) = state.task.take() {
            task.abort();
        }
        emit(&state.erase());
        state.rows.clear();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn look(client: &Client, machine: Machine) -> Option<Shown> {
    let found = server(machine).get(client).await.ok()?;
    Some(found.map_or_else(Shown::stranger, |server| Shown::of(&server.data["status"])))
}

impl Shown {
    fn stranger() -> Self {
        Self {
            power: "-".into(),
            phase: "-".into(),
            what: "no Server yet".into(),
        }
    }

    fn of(status: &Value) -> Self {
        let text = |field: &str| status[field].as_str().unwrap_or("-").to_owned();
        Self {
            power: text("power"),
            phase: text("phase"),
            what: text("phaseReason"),
        }
    }
}

impl Row {
    fn new(machine: Machine) -> Self {
        Self {
            machine,
            now: Shown::stranger(),
            since: Instant::now(),
        }
    }

    /// Machine, power, phase, since when, what it is doing.
    fn line(&self, width: usize) -> String {
        let Shown { power, phase, what } = &self.now;
        let seconds = self.since.elapsed().as_secs();
        let since = format!("{}:{:02}", seconds / 60, seconds % 60);
        let line = format!(
            "{:<10} {power:<8} {phase:<13} {since:>6}  {what}",
            self.machine.bmc()
        );
        cut(&line, width)
    }
}

/// The first so many characters.
fn cut(line: &str, width: usize) -> String {
    if line.chars().count() <= width {
        return line.to_owned();
    }
    let mut short: String = line.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

impl State {
    fn change(&mut self, machine: Machine, now: Option<Shown>) {
        let row = self.rows.iter_mut().find(|row| row.machine == machine);
        let (Some(row), Some(now)) = (row, now) else {
            return;
        };
        if row.now == now {
            return;
        }
        if row.now.phase != now.phase {
            row.since = Instant::now();
        }
        row.now = now;
        if !self.is_terminal {
            let line = row.line(usize::MAX);
            self.print(&format!("          {line}"));
        }
    }

    fn print(&mut self, text: &str) {
        let mut out = self.erase();
        writeln!(out, "{text}").ok();
        out.push_str(&self.table());
        emit(&out);
    }

    fn redraw(&mut self) {
        if self.is_terminal && !self.rows.is_empty() {
            let mut out = self.erase();
            out.push_str(&self.table());
            emit(&out);
        }
    }

    /// What takes the table away.
    fn erase(&mut self) -> String {
        match std::mem::take(&mut self.drawn) {
            0 => String::new(),
            lines => format!("\x1b[{lines}A\x1b[J"),
        }
    }

    fn table(&mut self) -> String {
        if !self.is_terminal || self.rows.is_empty() {
            return String::new();
        }
        let head = format!(
            "{:<10} {:<8} {:<13} {:>6}  WHAT",
            "MACHINE", "POWER", "PHASE", "SINCE"
        );
        let mut text = format!("\n\x1b[1m{head}\x1b[0m\n");
        for row in &self.rows {
            writeln!(text, "{}", row.line(WIDTH)).ok();
        }
        self.drawn = self.rows.len() + 2;
        text
    }
}

// The demo's output is what it is for.
fn emit(text: &str) {
    let mut out = stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_cut_between_characters() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("äöüß", 3), "äö…");
    }

    #[test]
    fn on_a_terminal_the_table_is_taken_away_before_anything_is_printed() {
        let board = Board::default();
        let mut state = board.lock();
        state.is_terminal = true;
        state.rows = Machine::BOTH.map(Row::new).into();
        assert_eq!(state.erase(), "", "nothing is there yet");
        let table = state.table();
        assert_eq!(table.lines().count(), 4);
        assert_eq!(state.erase(), "\x1b[4A\x1b[J");
        assert_eq!(state.erase(), "");
    }

    #[test]
    fn since_counts_from_the_last_change_of_phase() {
        let status = serde_json::json!({ "power": "on", "phase": "Wiping", "phaseReason": "it wipes" });
        let board = Board::default();
        let mut state = board.lock();
        state.is_terminal = true;
        state.rows = vec![Row::new(Machine::FIRST)];
        let long_ago = Instant::now().checked_sub(Duration::from_secs(75)).unwrap();
        state.rows[0].since = long_ago;
        let mut now = Shown::stranger();
        now.what = "another reason".into();
        state.change(Machine::FIRST, Some(now));
        assert!(state.rows[0].line(WIDTH).contains("1:15"), "{:?}", state.rows);
        state.change(Machine::FIRST, Some(Shown::of(&status)));
        let line = state.rows[0].line(WIDTH);
        assert!(line.contains("0:00") && line.ends_with("it wipes"), "{line}");
    }
}
