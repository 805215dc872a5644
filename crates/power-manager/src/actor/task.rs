//! The task itself: what is due next, and doing it.

use std::time::Duration;

use lifecycle::power::{BootOrder, Command, Intent, Observed, Reading, Readings, Stage, Step, step};
use lifecycle::{IdentityVerdict, Time, Trouble, compare_identity};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::{IntentStore, Parts, Progress, Report, Settings, StoreError};
use crate::credentials::{Discipline, FirstUse, Permission};
use crate::{Backoff, Bmc, BmcError, Gate, Info, Status};

/// How long a session's end is waited for: a manager has ten seconds to end.
const CLOSE: Duration = Duration::from_secs(5);

/// What an actor can be told.
pub(super) enum Order {
    CarryOut(Box<Intent>),
    GiveUp,
    Booted,
    Refresh,
    RetryCredentials,
}

/// An intent under way.
struct Run {
    stored: Intent,
    seen: Observed,
}

/// Leave to show credentials to the BMC; where it is for the first time, other BMCs wait for what comes of it.
struct Leave {
    _first_use: Option<FirstUse>,
}

pub(super) struct Actor<B, S> {
    bmc: B,
    gate: Gate,
    settings: Settings,
    parts: Parts<S>,
    discipline: Discipline,
    backoff: Backoff,
    /// What the BMC said of itself since it was last out of reach: behind the same address may be another one afterwards.
    info: Option<Info>,
    /// The same when the present intent was taken up, or the first there was: whoever ordered the intent knew of no later one.
    known: Option<Info>,
    run: Option<Run>,
    /// All readings, whatever they were made for.
    readings: Readings,
    /// When there is something to do; never, while the credentials are to be kept silent.
    due: Option<Time>,
    report: watch::Sender<Report>,
}

impl<B: Bmc, S: IntentStore> Actor<B, S> {
    pub(super) fn new(
        bmc: B,
        gate: Gate,
        settings: Settings,
        parts: Parts<S>,
    ) -> (Self, watch::Receiver<Report>) {
        let now = parts.clock.now();
        let discipline = Discipline::new(settings.key.clone(), settings.verdict.clone());
        if discipline.verdict().refusals > 0 {
            parts.ledger.refused(&settings.key);
        } else if discipline.verdict().proved {
            parts.ledger.accepted(&settings.key.secret);
        }
        let (report, receiver) = watch::channel(Report {
            power: None,
            read_twice: false,
            info: None,
            failure: None,
            failures: 0,
            verdict: discipline.verdict().clone(),
            permission: discipline.may_try(now),
            secret_disliked: false,
            progress: None,
            ended: None,
        });
        let (first, cap) = settings.backoff;
        let actor = Self {
            bmc,
            gate,
            settings,
            parts,
            discipline,
            backoff: Backoff::new(first, cap),
            info: None,
            known: None,
            run: None,
            readings: Readings::default(),
            due: Some(now),
            report,
        };
        (actor, receiver)
    }

    pub(super) async fn run(mut self, mut orders: mpsc::Receiver<Order>, stop: CancellationToken) {
        loop {
            let due = self.due.map(|time| self.parts.clock.instant(time));
            let now_due = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                order = orders.recv() => match order {
                    Some(order) => self.take(order),
                    None => break,
                },
                () = now_due => tokio::select! {
                    () = stop.cancelled() => break,
                    () = self.act() => {}
                },
            }
        }
        // a session that is left behind lapses by itself
        let _ = timeout(CLOSE, self.bmc.close()).await;
    }

    fn now(&self) -> Time {
        self.parts.clock.now()
    }

    fn take(&mut self, order: Order) {
        let now = self.now();
        match order {
            Order::CarryOut(intent) => {
                // the same intent again, as a relist or a cache that lags behind brings it, changes nothing
                let under_way = self.run.as_ref().map(|run| &run.stored.id);
                let ended = self.report.borrow().ended.as_ref().map(|(id, _)| id.clone());
                if under_way != Some(&intent.id) && ended.as_ref() != Some(&intent.id) {
                    if self.info.is_some() {
                        self.known.clone_from(&self.info);
                    }
                    self.run = Some(Run {
                        stored: *intent,
                        seen: Observed::nothing(now),
                    });
                }
            }
            Order::GiveUp => self.forget_run(),
            Order::Booted => {
                if let Some(run) = &mut self.run {
                    run.seen.booted = Some(now);
                }
            }
            Order::Refresh => self.backoff.reset(),
            Order::RetryCredentials => {
                self.discipline.asked();
                self.parts.ledger.forget(&self.settings.key.secret);
                self.backoff.reset();
                self.publish(|_| {});
            }
        }
        self.due = Some(now);
    }

    fn forget_run(&mut self) {
        self.run = None;
        self.publish(|report| report.progress = None);
    }

    /// Does the one thing that is due, and says when the next is.
    async fn act(&mut self) {
        match &self.run {
            None => self.poll().await,
            Some(run) => {
                let now = self.now();
                match step(&run.stored, &run.seen, now, &self.settings.timings) {
                    Step::Read { at, wait } | Step::Wait { until: at, wait } if at > now => {
                        self.wait(at, wait.to_string());
                    }
                    _ => self.go_on().await,
                }
            }
        }
    }

    fn wait(&mut self, until: Time, waits_for: String) {
        self.due = Some(until);
        let intent = self.run.as_ref().map(|run| run.stored.clone());
        self.publish(|report| report.progress = intent.map(|intent| Progress { intent, waits_for }));
    }

    /// Takes the next step of the intent under way. It is decided again once the limits have let it through: waiting takes time.
    async fn go_on(&mut self) {
        self.parts.limits.admit(&self.settings.key.endpoint).await;
        let now = self.now();
        self.due = Some(now);
        let Some(run) = &self.run else { return };
        match step(&run.stored, &run.seen, now, &self.settings.timings) {
            Step::Send { store, boot, command } => self.send(store, boot, command).await,
            Step::Read { at, .. } if at <= now => {
                let want_mark = run.stored.stage == Stage::Reset;
                if let Some(run) = &mut self.run {
                    run.seen.asked = Some(now);
                }
                self.read(now, want_mark).await;
            }
            Step::Read { .. } | Step::Wait { .. } => {}
            Step::End { store } => {
                if let Some(outcome) = store.outcome
                    && self.store(&store).await
                {
                    self.run = None;
                    self.publish(|report| {
                        report.progress = None;
                        report.ended = Some((store.id, outcome));
                    });
                }
            }
            Step::Ended(_) => self.forget_run(),
        }
    }

    /// Stores first, then sends, once (I-6, and I-13 where the BMC itself says that it is another machine's).
    async fn send(&mut self, store: Intent, boot: Option<BootOrder>, command: Command) {
        let Some(info) = &self.info else {
            self.find_out().await;
            return;
        };
        let verdict = compare_identity(self.settings.server, info.identity, &[]);
        if verdict == IdentityVerdict::Contradicts {
            self.withhold("the BMC says that it is another machine's");
            return;
        }
        let known = self.known.as_ref().and_then(|known| known.identity);
        if verdict != IdentityVerdict::Same && info.identity != known {
            self.withhold("another BMC answers than when the command was asked for");
            return;
        }
        if let Err(fenced) = self.gate.may_write() {
            self.withhold(&fenced.to_string());
            return;
        }
        if !self.store(&store).await {
            return;
        }
        let sent = self.set_boot_and_command(boot, command).await;
        self.note(sent.as_ref().err());
    }

    /// The BMC was out of reach since it said what it is, or is another one: it says so first, and is read anew.
    async fn find_out(&mut self) {
        let now = self.now();
        let Some(run) = &mut self.run else { return };
        run.seen.asked = Some(now);
        let want_mark = run.stored.stage == Stage::Reset;
        self.read(now, want_mark).await;
        if self.info.is_none() {
            self.withhold("the BMC does not say which machine it belongs to");
        }
    }

    /// An override that fails keeps the command back: the machine would boot something else. The next attempt sets it again.
    async fn set_boot_and_command(
        &mut self,
        boot: Option<BootOrder>,
        command: Command,
    ) -> Result<(), BmcError> {
        if let Some(order) = boot {
            let seen = self.bmc.set_boot(order).await?;
            if let Some(run) = &mut self.run {
                run.seen.override_seen = Some(seen);
            }
        }
        self.bmc.command(command).await
    }

    /// Nothing may be written now: look again a little later, until the deadline says that it is too late.
    fn withhold(&mut self, why: &str) {
        let again = self.now().after(self.settings.timings.reading_gap);
        self.wait(again, format!("nothing is sent: {why}"));
    }

    /// Stores the intent; `false` when it is not stored, and then nothing may be sent.
    async fn store(&mut self, intent: &Intent) -> bool {
        match self.parts.store.store(self.settings.server, intent).await {
            Ok(()) => {
                if let Some(run) = &mut self.run {
                    run.stored = intent.clone();
                }
                true
            }
            Err(error @ StoreError::Retry(_)) => {
                self.withhold(&error.to_string());
                false
            }
            Err(StoreError::Replaced(why)) => {
                tracing::info!(server = %self.settings.server, id = intent.id, why, "power intent given up");
                self.forget_run();
                false
            }
        }
    }

    /// Reads the power state for the intent under way.
    async fn read(&mut self, now: Time, want_mark: bool) {
        let result = self.ask(now, want_mark).await;
        let silenced = self.discipline.may_try(now) != Permission::Granted
            || self.parts.ledger.is_disliked(&self.settings.key.secret);
        let Some(run) = &mut self.run else { return };
        match result {
            Some(Ok(status)) => run.seen.readings.push(Reading {
                at: now,
                power: status.power,
                mark: status.mark,
            }),
            // what failed is noted already
            Some(Err(_)) => {}
            None => run.seen.trouble = silenced.then_some(Trouble::CredentialsRefused),
        }
    }

    /// Reads the power state when nothing is under way.
    async fn poll(&mut self) {
        self.parts.limits.admit(&self.settings.key.endpoint).await;
        let now = self.now();
        let result = self.ask(now, false).await;
        self.due = match (&result, self.discipline.may_try(now)) {
            (_, Permission::Silence) => None,
            (_, Permission::NotBefore(time)) => Some(time),
            (Some(Ok(_)), Permission::Granted) => Some(now.after(self.settings.poll)),
            (Some(Err(_)), Permission::Granted) => Some(self.now().after(self.backoff.failed())),
            // other BMCs are being shown this Secret for the first time, or did not like it
            (None, Permission::Granted) => Some(now.after(self.settings.backoff.0)),
        };
        let failures = self.backoff.failures();
        self.publish(|report| report.failures = failures);
    }

    /// Asks the BMC what it is, if that is not known yet, and for the power state. `None` when the credentials may not be shown.
    async fn ask(&mut self, now: Time, want_mark: bool) -> Option<Result<Status, BmcError>> {
        let leave = self.permitted(now)?;
        let result = self.describe_and_read(want_mark).await;
        self.note(result.as_ref().err());
        drop(leave);
        if let Ok(status) = &result {
            self.backoff.reset();
            let (power, info) = (status.power, self.info.clone());
            self.readings.push(Reading {
                at: now,
                power,
                mark: status.mark,
            });
            let gap = self.settings.timings.reading_gap;
            let confirmed = self.readings.confirmed(power, Time::default(), now, gap);
            self.publish(|report| {
                report.power = Some(power);
                report.read_twice = confirmed.is_some();
                report.info = info;
            });
        }
        Some(result)
    }

    async fn describe_and_read(&mut self, want_mark: bool) -> Result<Status, BmcError> {
        if self.info.is_none() {
            let info = self.bmc.describe().await?;
            self.known.get_or_insert_with(|| info.clone());
            self.info = Some(info);
        }
        self.bmc.read(want_mark).await
    }

    /// Leave to show the credentials, if they may be shown.
    fn permitted(&mut self, now: Time) -> Option<Leave> {
        let permission = self.discipline.may_try(now);
        let secret = self.settings.key.secret.clone();
        let leave = match permission {
            Permission::Granted if self.discipline.verdict().proved => Some(Leave { _first_use: None }),
            Permission::Granted => self.parts.ledger.first_use(&secret).map(|first_use| Leave {
                _first_use: Some(first_use),
            }),
            Permission::NotBefore(_) | Permission::Silence => None,
        };
        let disliked = leave.is_none() && self.parts.ledger.is_disliked(&secret);
        self.publish(|report| report.secret_disliked = disliked);
        leave
    }

    /// Takes in what became of a request: credentials, failure, report.
    fn note(&mut self, error: Option<&BmcError>) {
        let now = self.now();
        let secret = &self.settings.key.secret;
        match error.map(BmcError::trouble) {
            // said again where others came to dislike the Secret: a BMC that takes it every time must be able to heal that
            None if self.discipline.accepted() || self.parts.ledger.is_disliked(secret) => {
                self.parts.ledger.accepted(secret);
            }
            Some(Some(Trouble::CredentialsRefused)) => {
                self.discipline.refused(now);
                self.parts.ledger.refused(&self.settings.key);
            }
            Some(Some(Trouble::Unreachable)) => self.info = None,
            _ => {}
        }
        if let Some(run) = &mut self.run {
            run.seen.trouble = error.and_then(BmcError::trouble);
        }
        let failure = error.cloned();
        self.publish(|report| report.failure = failure);
    }

    fn publish(&mut self, change: impl FnOnce(&mut Report)) {
        let now = self.parts.clock.now();
        let (verdict, permission) = (self.discipline.verdict().clone(), self.discipline.may_try(now));
        self.report.send_if_modified(|report| {
            let before = report.clone();
            report.verdict = verdict;
            report.permission = permission;
            change(report);
            *report != before
        });
    }
}
