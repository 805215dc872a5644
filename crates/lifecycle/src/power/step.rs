//! The decision itself.

use hardware_types::{PowerAction, PowerState};

use super::{BootOrder, Command, Intent, Outcome, OverrideSeen, Reading, Readings, Stage, Unconfirmed, Wait};
use crate::{Time, Timings, Trouble};

/// What this process has seen since it took the intent up. A new leader begins with none of it, and so reads first.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Observed {
    /// When this process took the intent up. Deadlines begin no earlier: a command whose sender died an hour ago is read back, not given up unread.
    pub since: Time,
    /// When a reading was last asked for, whether or not it came.
    pub asked: Option<Time>,
    /// What the BMC said.
    pub readings: Readings,
    /// What the BMC said of the boot override that was set for this intent.
    pub override_seen: Option<OverrideSeen>,
    /// The last sign of a fresh boot from elsewhere (DHCP, iPXE, agent).
    pub booted: Option<Time>,
    /// Why the last request to the BMC failed; none after one that worked.
    pub trouble: Option<Trouble>,
}

impl Observed {
    /// Nothing seen yet.
    pub fn nothing(since: Time) -> Self {
        Self {
            since,
            asked: None,
            readings: Readings::default(),
            override_seen: None,
            booted: None,
            trouble: None,
        }
    }
}

/// What to do next for an intent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Step {
    /// Store the intent; when that succeeded, set the boot override if there is one, then send the command, once.
    ///
    /// An override that the BMC does not support, or reads back otherwise, is recorded and stops nothing; one that fails in
    /// another way means that the command is not sent this time.
    Send {
        /// What to store first.
        store: Intent,
        /// What to set right before the command: an idempotent write, which may be retransmitted.
        boot: Option<BootOrder>,
        /// What to send: never retransmitted.
        command: Command,
    },
    /// Read the power state at this time, not before.
    Read {
        /// When.
        at: Time,
        /// Why.
        wait: Wait,
    },
    /// Ask again at this time; there is nothing to read.
    Wait {
        /// When.
        until: Time,
        /// Why.
        wait: Wait,
    },
    /// Store the intent, which has its outcome. Nothing is left to do for it.
    End {
        /// What to store.
        store: Intent,
    },
    /// It has ended, and that is stored.
    Ended(Outcome),
}

/// What to do next for `intent`, as it is stored, at `now`.
pub fn step(intent: &Intent, seen: &Observed, now: Time, timings: &Timings) -> Step {
    if let Some(outcome) = intent.outcome {
        return Step::Ended(outcome);
    }
    let decision = Decision {
        intent,
        seen,
        now,
        timings,
    };
    match intent.stage {
        Stage::SoftOff => decision.soft_off(),
        Stage::Off | Stage::On => decision.switch(),
        Stage::Reset => decision.reset(),
    }
}

/// The arguments of [`step`], together.
#[derive(Clone, Copy)]
struct Decision<'a> {
    intent: &'a Intent,
    seen: &'a Observed,
    now: Time,
    timings: &'a Timings,
}

impl Decision<'_> {
    fn command(&self) -> Command {
        self.intent.stage.command()
    }

    fn target(&self) -> PowerState {
        self.command().leads_to()
    }

    fn last(&self) -> Option<&Reading> {
        self.seen.readings.last()
    }

    /// From when a reading of the target counts: after the command, and after whatever may still pull the other way.
    fn counts_from(&self) -> Time {
        self.intent.last_sent.unwrap_or_default().max(self.unsettled())
    }

    fn unsettled(&self) -> Time {
        self.intent.unsettled_until(self.target()).unwrap_or_default()
    }

    /// When the time for the present stage began to run.
    fn began(&self) -> Time {
        let first = self.intent.first_sent.unwrap_or(self.intent.entered);
        first.max(self.seen.since).max(self.unsettled())
    }

    fn deadline(&self) -> Time {
        self.began().after(self.command().deadline(self.timings))
    }

    /// Since when the target is confirmed (I-10): two equal readings, far enough apart, taken after the send and before the deadline.
    fn confirmed(&self, deadline: Time) -> Option<Time> {
        self.seen.readings.confirmed(
            self.target(),
            self.counts_from(),
            deadline,
            self.timings.reading_gap,
        )
    }

    /// *Off* and *on*: idempotent, so sent again after half the deadline without effect.
    fn switch(self) -> Step {
        let deadline = self.deadline();
        if let Some(since) = self.confirmed(deadline) {
            return self.confirmed_since(since);
        }
        if self.now >= deadline {
            return self.unconfirmed();
        }
        if self.must_send() {
            return self.send();
        }
        self.read(deadline)
    }

    /// A first command follows a reading that says otherwise; *unknown* and *on its way* mean not yet. Whatever it reads,
    /// half the deadline without the target is enough waiting.
    fn must_send(&self) -> bool {
        let Some(last) = self.last().filter(|last| last.power != self.target()) else {
            return false;
        };
        if self.intent.last_sent.is_none() && !self.is_recent(last) {
            return false;
        }
        let patience = self.command().deadline(self.timings) / 2;
        match self.intent.last_sent {
            None if self.reads_otherwise() => true,
            None => last.at >= self.intent.entered.max(self.seen.since).after(patience),
            Some(sent) => last.at >= sent.after(patience),
        }
    }

    /// Whether a first command may be sent on this reading: it is at most a reading gap older than the stage, and no later one failed.
    fn is_recent(&self, reading: &Reading) -> bool {
        let answered = self.seen.asked.is_none_or(|asked| asked <= reading.at);
        answered && reading.at.after(self.timings.reading_gap) >= self.intent.entered
    }

    fn reads_otherwise(&self) -> bool {
        let otherwise = match self.target() {
            PowerState::Off => PowerState::On,
            _ => PowerState::Off,
        };
        self.last().is_some_and(|last| last.power == otherwise)
    }

    /// *Soft-off*: asked once, then the operating system has its time, then the plug is pulled.
    fn soft_off(self) -> Step {
        // Not counted from when a successor took over: the operating system has had its time whoever asked it.
        let began = self.intent.first_sent.unwrap_or(self.began());
        let deadline = began.after(self.timings.soft_off);
        if self.confirmed(deadline).is_some() {
            return self.done();
        }
        if self.now >= deadline {
            let hard = self.intent.enter(Stage::Off, deadline.max(self.seen.since));
            return Decision {
                intent: &hard,
                ..self
            }
            .switch();
        }
        if self.intent.attempt == 0 && self.must_send() {
            return self.send();
        }
        self.read(deadline)
    }

    /// *Reset*: asked once; what shows it is a changed boot mark or a sign of boot.
    fn reset(self) -> Step {
        let deadline = self.deadline();
        let Some(sent) = self.intent.last_sent else {
            return self.first_reset(deadline);
        };
        let marked = self.last().is_some_and(|reading| {
            reading.at >= sent
                && reading.at <= deadline
                && self.intent.mark_before.is_some()
                && reading.mark.is_some()
                && reading.mark != self.intent.mark_before
        });
        let booted = self.seen.booted.is_some_and(|at| at >= sent && at <= deadline);
        if marked || booted {
            return self.done();
        }
        if self.now >= deadline {
            return self.end(Outcome::Unconfirmed(Unconfirmed::ResetUnseen {
                trouble: self.seen.trouble,
            }));
        }
        self.read(deadline)
    }

    fn first_reset(self, deadline: Time) -> Step {
        let gap = self.timings.reading_gap;
        let is_off = self
            .seen
            .readings
            .confirmed(PowerState::Off, self.seen.since, deadline, gap);
        if is_off.is_some() {
            return self.end(Outcome::Unconfirmed(Unconfirmed::NotOn));
        }
        if self.now >= deadline {
            return self.unconfirmed();
        }
        match self.last() {
            Some(last) if last.power == PowerState::On => self.send(),
            _ => self.read(deadline),
        }
    }

    /// The target of an *off* or *on* stage is confirmed: go on to the next one, or end.
    fn confirmed_since(self, since: Time) -> Step {
        let goes_on = matches!(self.intent.action, PowerAction::On | PowerAction::Cycle);
        if self.intent.stage == Stage::On || !goes_on {
            return self.done();
        }
        // A machine that was off when we came is switched on at once: there is nothing to cycle.
        let rested = match self.intent.last_sent {
            Some(_) => since.after(self.timings.rest),
            None => since,
        };
        let settled = self.intent.settled();
        // Of two offs the second may be on its way still; on comes after it, not between.
        let accounted_for = settled.off_may_act_until.unwrap_or_default();
        let until = rested.max(accounted_for);
        if self.now < until {
            let wait = if accounted_for > rested {
                Wait::EarlierCommand {
                    target: PowerState::On,
                }
            } else {
                Wait::Rest
            };
            return Step::Wait { until, wait };
        }
        // Somebody may have switched it on meanwhile: where the wait was long it is read once more.
        let on = settled.enter(Stage::On, until);
        Decision { intent: &on, ..self }.switch()
    }

    /// Intent first, then the first byte, once (I-6).
    fn send(self) -> Step {
        let read = self.last().filter(|_| self.reads_otherwise());
        let mut store = self
            .intent
            .sending(self.now, self.timings, read.map(|read| read.at));
        let command = self.command();
        if command == Command::Reset {
            store.mark_before = self.last().and_then(|reading| reading.mark);
        }
        let boot = store
            .boot
            .filter(|_| matches!(command, Command::On | Command::Reset));
        Step::Send { store, boot, command }
    }

    /// The next reading: at once after a send or a take-over, then a gap apart, and once more at the deadline.
    fn read(self, deadline: Time) -> Step {
        let fresh = self.seen.since.max(self.intent.last_sent.unwrap_or_default());
        let at = match self.seen.asked.filter(|asked| *asked >= fresh) {
            None => fresh,
            Some(asked) => asked.after(self.timings.reading_gap),
        };
        Step::Read {
            at: at.max(self.now).min(deadline),
            wait: self.waits_for(),
        }
    }

    fn waits_for(&self) -> Wait {
        match self.last() {
            None => Wait::FirstReading {
                trouble: self.seen.trouble,
            },
            Some(last) if last.power == self.target() && last.at < self.unsettled() => Wait::EarlierCommand {
                target: self.target(),
            },
            Some(last) => Wait::Confirmation {
                command: self.command(),
                attempt: self.intent.attempt,
                read: last.power,
            },
        }
    }

    fn done(self) -> Step {
        let intent = &self.intent.settled();
        Decision { intent, ..self }.end(Outcome::Done)
    }

    fn unconfirmed(self) -> Step {
        let attempts = self.intent.attempt;
        let trouble = self.seen.trouble;
        self.end(Outcome::Unconfirmed(match self.last() {
            None => Unconfirmed::NoReading { attempts, trouble },
            Some(last) => Unconfirmed::NoEffect {
                command: self.command(),
                attempts,
                read: last.power,
                trouble,
            },
        }))
    }

    fn end(self, outcome: Outcome) -> Step {
        Step::End {
            store: Intent {
                outcome: Some(outcome),
                override_seen: self.seen.override_seen.or(self.intent.override_seen),
                ..self.intent.clone()
            },
        }
    }
}
