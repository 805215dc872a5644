//! What takes minutes: a BMC in memory, on virtual time. What goes over a wire is tested against the simulator in `tests/`.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use hardware_types::{PowerAction, PowerState};
use lifecycle::power::{BootOrder, Command, Outcome, OverrideSeen, Unconfirmed};
use lifecycle::{BmcIdentity, Time, Trouble};
use tokio::time::{sleep, timeout};

use super::*;
use crate::credentials::Permission;
use crate::{Access, BmcError, BootSetting, Fence, Fenced, Info, Quotas, Status};

/// A BMC that answers as it is told.
#[derive(Default)]
struct Scripted {
    log: Arc<Log>,
    identity: Option<BmcIdentity>,
}

#[derive(Default)]
struct Log {
    on: AtomicBool,
    /// Attempts to ask, until one has worked.
    attempts: AtomicU32,
    readings: AtomicU32,
    commands: Mutex<Vec<Command>>,
    /// What becomes of the next requests; after the last they work.
    troubles: Mutex<VecDeque<Trouble>>,
    /// What becomes of all requests while it is set.
    always: Mutex<Option<Trouble>>,
}

impl Log {
    fn fate(&self) -> Result<(), BmcError> {
        let once = self.troubles.lock().unwrap().pop_front();
        let Some(trouble) = once.or(*self.always.lock().unwrap()) else {
            return Ok(());
        };
        Err(BmcError::Failed {
            trouble,
            text: trouble.to_string(),
        })
    }

    fn attempts(&self) -> u32 {
        self.attempts.load(Ordering::Relaxed)
    }
}

impl Bmc for Scripted {
    async fn read(&mut self, _: bool) -> Result<Status, BmcError> {
        self.log.readings.fetch_add(1, Ordering::Relaxed);
        self.log.fate()?;
        let power = if self.log.on.load(Ordering::Relaxed) {
            PowerState::On
        } else {
            PowerState::Off
        };
        Ok(Status { power, mark: None })
    }

    async fn command(&mut self, command: Command) -> Result<(), BmcError> {
        self.log.commands.lock().unwrap().push(command);
        if command != Command::Reset {
            self.log.on.store(command == Command::On, Ordering::Relaxed);
        }
        Ok(())
    }

    async fn set_boot(&mut self, _: BootOrder) -> Result<OverrideSeen, BmcError> {
        Ok(OverrideSeen::AsSet)
    }

    async fn read_boot(&mut self) -> Result<BootSetting, BmcError> {
        Ok(BootSetting::None)
    }

    async fn clear_boot(&mut self) -> Result<(), BmcError> {
        Ok(())
    }

    async fn describe(&mut self) -> Result<Info, BmcError> {
        self.log.attempts.fetch_add(1, Ordering::Relaxed);
        self.log.fate()?;
        Ok(Info {
            identity: self.identity,
            ..Info::default()
        })
    }

    async fn close(&mut self) {}
}

struct Open;

impl Fence for Open {
    fn check(&self, _: Access) -> Result<(), Fenced> {
        Ok(())
    }
}

/// Keeps nothing, and counts.
#[derive(Default)]
struct Stored {
    intents: Mutex<Vec<Intent>>,
    refusals: Mutex<VecDeque<StoreError>>,
}

impl IntentStore for Stored {
    async fn store(&self, _: ServerId, intent: &Intent) -> Result<(), StoreError> {
        if let Some(error) = self.refusals.lock().unwrap().pop_front() {
            return Err(error);
        }
        self.intents.lock().unwrap().push(intent.clone());
        Ok(())
    }
}

fn server() -> ServerId {
    "4c4c4544-0039-3010-8048-b7c04f384432".parse().unwrap()
}

fn settings(endpoint: &str, verdict: Option<Verdict>) -> Settings {
    let key = CredentialKey {
        endpoint: endpoint.into(),
        secret: "default/bmc@7".into(),
    };
    Settings {
        verdict,
        ..Settings::new(server(), key)
    }
}

fn parts() -> Parts<Stored> {
    Parts {
        store: Arc::default(),
        limits: Arc::new(Limits::new(Quotas::default())),
        ledger: Ledger::default(),
        clock: Clock::starting_at(Time::from_millis(1_000_000_000)),
    }
}

fn start(bmc: Scripted, verdict: Option<Verdict>, parts: &Parts<Stored>) -> Handle {
    spawn(
        bmc,
        Gate::new(Arc::new(Open)),
        settings("ipmi://bmc1:623", verdict),
        parts.clone(),
    )
}

fn scripted(on: bool) -> (Scripted, Arc<Log>) {
    let bmc = Scripted::default();
    let log = bmc.log.clone();
    log.on.store(on, Ordering::Relaxed);
    (bmc, log)
}

fn intent(action: PowerAction, parts: &Parts<Stored>) -> Intent {
    Intent::new("r1", action, None, parts.clock.now(), None)
}

async fn outcome(handle: &Handle) -> Outcome {
    let mut report = handle.report();
    let ended = report.wait_for(|report| report.ended.is_some());
    let report = timeout(Duration::from_hours(1), ended).await.unwrap().unwrap();
    report.ended.as_ref().unwrap().1
}

#[tokio::test(start_paused = true)]
async fn a_refused_password_is_shown_once_and_again_only_when_a_user_asks() {
    let (bmc, log) = scripted(true);
    *log.always.lock().unwrap() = Some(Trouble::CredentialsRefused);
    let handle = start(bmc, None, &parts());
    sleep(Duration::from_hours(24)).await;
    handle.refresh().await.unwrap();
    sleep(Duration::from_hours(24)).await;
    let report = handle.report().borrow().clone();
    assert_eq!(
        (log.attempts(), report.permission, report.trouble()),
        (1, Permission::Silence, Some(Trouble::CredentialsRefused))
    );
    handle.retry_credentials().await.unwrap();
    sleep(Duration::from_hours(1)).await;
    assert_eq!(log.attempts(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_does_not_show_a_refused_password_again() {
    let parts = parts();
    let (bmc, log) = scripted(true);
    *log.always.lock().unwrap() = Some(Trouble::CredentialsRefused);
    let handle = start(bmc, None, &parts);
    sleep(Duration::from_mins(1)).await;
    let verdict = handle.report().borrow().verdict.clone();
    handle.stop().await;
    let (bmc, log) = scripted(true);
    let successor = start(bmc, Some(verdict), &parts);
    successor
        .carry_out(intent(PowerAction::Off, &parts))
        .await
        .unwrap();
    assert_eq!(
        outcome(&successor).await,
        Outcome::Unconfirmed(Unconfirmed::NoReading {
            attempts: 0,
            trouble: Some(Trouble::CredentialsRefused)
        })
    );
    assert_eq!(log.attempts(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_proved_password_is_retried_after_1_5_and_15_minutes() {
    let (bmc, log) = scripted(true);
    let handle = start(bmc, None, &parts());
    sleep(Duration::from_secs(1)).await;
    assert!(handle.report().borrow().verdict.proved);
    *log.always.lock().unwrap() = Some(Trouble::CredentialsRefused);
    let mut reports = handle.report();
    let mut refused_at = Vec::new();
    for refusals in 1..=4 {
        let refused = reports.wait_for(|report| report.verdict.refusals == refusals);
        let report = timeout(Duration::from_hours(1), refused).await.unwrap().unwrap();
        refused_at.push(report.verdict.refused_at.unwrap());
    }
    let minutes: Vec<_> = refused_at
        .windows(2)
        .map(|pair| pair[1].since(pair[0]).as_secs().div_euclid(60))
        .collect();
    assert_eq!(minutes, [1, 5, 15]);
    sleep(Duration::from_hours(24)).await;
    assert_eq!(handle.report().borrow().verdict.refusals, 4);
}

#[tokio::test(start_paused = true)]
async fn busy_and_unreachable_are_no_refusals_and_back_off() {
    let (bmc, log) = scripted(true);
    *log.always.lock().unwrap() = Some(Trouble::Unreachable);
    let handle = start(bmc, None, &parts());
    sleep(Duration::from_hours(1)).await;
    *log.always.lock().unwrap() = Some(Trouble::Busy);
    sleep(Duration::from_hours(1)).await;
    // doubling from 2 s to 5 min: 8 attempts in the first 9 minutes, then one in 2.5 to 5 minutes
    assert!((30..=55).contains(&log.attempts()), "{}", log.attempts());
    assert_eq!(handle.report().borrow().verdict.refusals, 0);
    *log.always.lock().unwrap() = None;
    handle.refresh().await.unwrap();
    sleep(Duration::from_secs(1)).await;
    let report = handle.report().borrow().clone();
    assert_eq!((report.power, report.failures), (Some(PowerState::On), 0));
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_three_bmcs_refuse_is_not_shown_to_the_rest() {
    let parts = parts();
    let (mut logs, mut handles) = (Vec::new(), Vec::new());
    for n in 0..20 {
        let (bmc, log) = scripted(true);
        *log.always.lock().unwrap() = Some(Trouble::CredentialsRefused);
        let settings = settings(&format!("ipmi://bmc{n}:623"), None);
        handles.push(spawn(bmc, Gate::new(Arc::new(Open)), settings, parts.clone()));
        logs.push(log);
    }
    sleep(Duration::from_hours(1)).await;
    assert_eq!(logs.iter().map(|log| log.attempts()).sum::<u32>(), 3);
    let waiting = handles
        .iter()
        .filter(|handle| handle.report().borrow().secret_disliked);
    assert_eq!(waiting.count(), 17);
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_works_somewhere_is_shown_to_others_however_many_refuse_it() {
    let parts = parts();
    let (bmc, _log) = scripted(true);
    let good = start(bmc, None, &parts);
    sleep(Duration::from_secs(1)).await;
    for n in 10..13 {
        let bmc = settings(&format!("ipmi://bmc{n}:623"), None);
        parts.ledger.refused(&bmc.key);
    }
    let (bmc, log) = scripted(true);
    let other = spawn(
        bmc,
        Gate::new(Arc::new(Open)),
        settings("ipmi://bmc2:623", None),
        parts.clone(),
    );
    sleep(Duration::from_secs(1)).await;
    assert!(other.report().borrow().secret_disliked);
    // until the one where it works is read again
    sleep(Duration::from_mins(2)).await;
    assert_eq!((log.attempts(), good.report().borrow().failures), (1, 0));
    assert!(!other.report().borrow().secret_disliked);
}

#[tokio::test(start_paused = true)]
async fn a_cycle_is_stored_before_each_command_and_read_back() {
    let parts = parts();
    let (bmc, log) = scripted(true);
    let handle = start(bmc, None, &parts);
    handle
        .carry_out(intent(PowerAction::Cycle, &parts))
        .await
        .unwrap();
    assert_eq!(outcome(&handle).await, Outcome::Done);
    assert_eq!(*log.commands.lock().unwrap(), [Command::Off, Command::On]);
    let stored = parts.store.intents.lock().unwrap();
    let stages: Vec<_> = stored
        .iter()
        .map(|intent| (intent.stage.command(), intent.attempt, intent.outcome))
        .collect();
    assert_eq!(
        stages,
        [
            (Command::Off, 1, None),
            (Command::On, 1, None),
            (Command::On, 1, Some(Outcome::Done))
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_until_the_intent_is_stored() {
    let parts = parts();
    let refusals = [
        StoreError::Retry("conflict".into()),
        StoreError::Replaced("another intent".into()),
    ];
    parts.store.refusals.lock().unwrap().extend(refusals);
    let (bmc, log) = scripted(true);
    let handle = start(bmc, None, &parts);
    handle.carry_out(intent(PowerAction::Off, &parts)).await.unwrap();
    sleep(Duration::from_mins(10)).await;
    assert!(log.commands.lock().unwrap().is_empty());
    assert!(
        handle.report().borrow().progress.is_none(),
        "given up for the other intent"
    );
}

#[tokio::test(start_paused = true)]
async fn a_bmc_that_says_it_is_another_machines_gets_no_command() {
    let parts = parts();
    let (mut bmc, log) = scripted(true);
    bmc.identity = Some(BmcIdentity::RedfishSystem(uuid::Uuid::from_u128(1)));
    let handle = start(bmc, None, &parts);
    handle.carry_out(intent(PowerAction::Off, &parts)).await.unwrap();
    let mut reports = handle.report();
    reports
        .wait_for(|report| {
            report
                .progress
                .as_ref()
                .is_some_and(|p| p.waits_for.contains("another machine"))
        })
        .await
        .unwrap();
    assert!(matches!(outcome(&handle).await, Outcome::Unconfirmed(_)));
    assert!(log.commands.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn however_often_it_is_asked_a_bmc_is_read_within_its_limit() {
    let parts = parts();
    let (bmc, log) = scripted(true);
    let handle = start(bmc, None, &parts);
    for _ in 0..100 {
        handle.refresh().await.unwrap();
        sleep(Duration::from_millis(100)).await;
    }
    // a burst of 8, then 2 a second for 10 s; one reading takes in all orders that came meanwhile
    let readings = log.readings.load(Ordering::Relaxed);
    assert!((20..=30).contains(&readings), "{readings}");
}

#[tokio::test(start_paused = true)]
async fn an_intent_that_a_lagging_cache_brings_again_is_not_carried_out_again() {
    let parts = parts();
    let (bmc, log) = scripted(true);
    let handle = start(bmc, None, &parts);
    let cycle = intent(PowerAction::Cycle, &parts);
    handle.carry_out(cycle.clone()).await.unwrap();
    handle.carry_out(cycle.clone()).await.unwrap();
    assert_eq!(outcome(&handle).await, Outcome::Done);
    handle.carry_out(cycle).await.unwrap();
    sleep(Duration::from_mins(10)).await;
    assert_eq!(*log.commands.lock().unwrap(), [Command::Off, Command::On]);
}

#[tokio::test(start_paused = true)]
async fn a_reset_is_done_when_the_machine_is_seen_booting() {
    let parts = parts();
    let (bmc, log) = scripted(true);
    let handle = start(bmc, None, &parts);
    handle
        .carry_out(intent(PowerAction::Reset, &parts))
        .await
        .unwrap();
    sleep(Duration::from_secs(20)).await;
    assert_eq!(*log.commands.lock().unwrap(), [Command::Reset]);
    handle.booted().await.unwrap();
    assert_eq!(outcome(&handle).await, Outcome::Done);
}

#[tokio::test(start_paused = true)]
async fn a_bmc_that_was_out_of_reach_is_asked_again_which_machine_it_belongs_to() {
    let parts = parts();
    let (bmc, log) = scripted(true);
    let handle = start(bmc, None, &parts);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(log.attempts(), 1);
    log.troubles.lock().unwrap().push_back(Trouble::Unreachable);
    sleep(Duration::from_mins(3)).await;
    assert_eq!(log.attempts(), 2);
    assert_eq!(handle.report().borrow().failure, None);
}

#[tokio::test(start_paused = true)]
async fn an_idle_bmc_is_read_before_its_ipmi_session_lapses() {
    let (bmc, log) = scripted(true);
    let _handle = start(bmc, None, &parts());
    sleep(Duration::from_secs(1)).await;
    for _ in 0..20 {
        let before = log.readings.load(Ordering::Relaxed);
        sleep(Duration::from_secs(57)).await;
        assert!(log.readings.load(Ordering::Relaxed) > before);
    }
}
