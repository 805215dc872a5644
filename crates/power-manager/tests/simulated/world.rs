//! A fleet of simulated BMCs in this process, and actors for them.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bmc_sim::config::FleetConfig;
use bmc_sim::fault::{Fault, Spec};
use bmc_sim::fleet::{Fleet, Member};
use bmc_sim::machine::Origin;
use bmc_sim::power_log::{Entry, EventKind};
use bmc_sim::verb::Verb;
use hardware_types::{BootTarget, PowerAction, PowerState, ServerId};
use ipmi::session::console::Timing;
use ipmi::{CipherSuite, Privilege};
use lifecycle::Timings;
use lifecycle::invariant::{Event, Fact, Monitor, Tolerance, Violation, Write};
use lifecycle::power::{BootOrder, Command, Intent, Outcome};
use power_manager::credentials::{CredentialKey, Ledger, Verdict};
use power_manager::driver::{IpmiBmc, IpmiCredentials, RedfishBmc};
use power_manager::{
    Access, Clock, Fence, Fenced, Gate, Handle, IntentStore, Limits, Parts, Quotas, Report, Settings,
    StoreError, spawn,
};
use redfish_client::{Credentials, Options, Secret, TlsPolicy, Transport};
use tokio::time::timeout;

const FLEET: &str = "\
version: 1
users:
  - {name: admin, password: admin-secret, role: administrator}
  - {name: viewer, password: viewer-secret, role: read-only}
bmcs:
  - name: one
    ipmi: {listen: 127.0.0.1:0, max-sessions: 8}
    redfish: {listen: 127.0.0.1:0}
    machine:
      uuid: 4c4c4544-0039-3010-8048-b7c04f384432
      manufacturer: Metal Corp
      model: Model-X
      serial: SN-1
      firmware: uefi
      boot-order: [disk, network]
      timings: {on: 20ms, off: 20ms, cycle-pause: 20ms, soft-off: 20ms, post: 20ms}
  - name: two
    ipmi: {listen: 127.0.0.1:0}
    redfish: {listen: 127.0.0.1:0}
    machine:
      uuid: 4c4c4544-0039-3010-8048-b7c04f384433
      manufacturer: Metal Corp
      model: Model-Y
      serial: SN-2
      firmware: bios
      boot-order: [disk, network]
      timings: {on: 20ms, off: 20ms, cycle-pause: 20ms, soft-off: 20ms, post: 20ms}
";

/// Which driver a test goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Driver {
    Ipmi,
    Redfish,
}

/// Runs a test through both drivers at the same time: it mostly waits.
pub(crate) async fn with_each_driver(test: impl AsyncFn(Driver)) {
    tokio::join!(test(Driver::Ipmi), test(Driver::Redfish));
}

/// A replica's right to send, and what it stores.
#[derive(Default)]
pub(crate) struct Replica {
    pub(crate) lost: AtomicBool,
    pub(crate) stored: Mutex<Vec<Intent>>,
    facts: Mutex<Vec<Event>>,
    /// The lease is lost while the first intent is being stored.
    pub(crate) loses_lease_at_store: AtomicBool,
    /// The process dies right after the first intent was stored: what comes next never happens.
    pub(crate) dies_at_store: AtomicBool,
}

impl Fence for Replica {
    fn check(&self, _: Access) -> Result<(), Fenced> {
        if self.lost.load(Ordering::Relaxed) {
            return Err(Fenced("the lease is lost".into()));
        }
        Ok(())
    }
}

impl IntentStore for Replica {
    async fn store(&self, server: ServerId, intent: &Intent) -> Result<(), StoreError> {
        self.stored.lock().unwrap().push(intent.clone());
        self.facts.lock().unwrap().push(Event {
            at: wall_clock(),
            fact: Fact::Intent(server, intent.clone()),
        });
        if self.loses_lease_at_store.load(Ordering::Relaxed) {
            self.lost.store(true, Ordering::Relaxed);
        }
        if self.dies_at_store.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        Ok(())
    }
}

pub(crate) struct World {
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) replica: Arc<Replica>,
    pub(crate) parts: Parts<Replica>,
    pub(crate) timings: Timings,
    pub(crate) ipmi_timing: Timing,
}

/// Deadlines that no stall of a busy machine reaches, for tests in which things end by themselves.
const ROOMY: Timings = Timings {
    off: Duration::from_secs(20),
    on: Duration::from_secs(20),
    soft_off: Duration::from_secs(20),
    reset: Duration::from_secs(20),
    reading_gap: Duration::from_millis(60),
    rest: Duration::from_millis(200),
    // of no power command
    boot: Duration::ZERO,
    agent_grace: Duration::ZERO,
    window: Duration::ZERO,
    release: Duration::ZERO,
};

/// Deadlines for tests that wait until one has passed.
pub(crate) const SHORT: Timings = Timings {
    off: Duration::from_secs(3),
    on: Duration::from_secs(3),
    soft_off: Duration::from_secs(2),
    reset: Duration::from_secs(3),
    ..ROOMY
};

pub(crate) const IPMI_TIMING: Timing = Timing {
    first_wait: Duration::from_millis(150),
    attempts: 3,
};

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(ROOMY).await
    }

    pub(crate) async fn with(timings: Timings) -> Self {
        let config: FleetConfig = FLEET.parse().unwrap();
        let fleet = Fleet::start(config, None).await.unwrap();
        let number = |n| NonZeroU32::new(n).unwrap();
        let quotas = Quotas {
            per_bmc: number(1000),
            burst_per_bmc: number(1000),
            overall: number(1000),
            burst_overall: number(1000),
        };
        let replica = Arc::new(Replica::default());
        let parts = Parts {
            store: replica.clone(),
            limits: Arc::new(Limits::new(quotas)),
            ledger: Ledger::default(),
            clock: Clock::system(),
        };
        Self {
            fleet,
            replica,
            parts,
            timings,
            ipmi_timing: IPMI_TIMING,
        }
    }

    /// Another process over the same BMCs.
    pub(crate) fn successor(&self) -> Self {
        let replica = Arc::new(Replica::default());
        Self {
            fleet: self.fleet.clone(),
            timings: self.timings.clone(),
            ipmi_timing: self.ipmi_timing,
            parts: Parts {
                store: replica.clone(),
                ..self.parts.clone()
            },
            replica,
        }
    }

    pub(crate) fn member(&self, name: &str) -> &Member {
        self.fleet.member(name).unwrap()
    }

    pub(crate) fn gate(&self) -> Gate {
        Gate::new(self.replica.clone())
    }

    pub(crate) fn redfish(&self) -> redfish_client::Endpoint {
        let address = self.member("one").redfish.unwrap();
        format!("redfish://{address}").parse().unwrap()
    }

    /// An actor for a BMC, with the right password.
    pub(crate) fn start(&self, name: &str, driver: Driver) -> Handle {
        self.start_with(name, driver, "admin-secret", None)
    }

    pub(crate) fn start_with(
        &self,
        name: &str,
        driver: Driver,
        password: &str,
        verdict: Option<Verdict>,
    ) -> Handle {
        let mut settings = self.settings(name, driver, password);
        settings.verdict = verdict;
        let gate = self.gate();
        match driver {
            Driver::Ipmi => {
                let bmc = self.ipmi_bmc(name, password, gate.clone());
                spawn(bmc, gate, settings, self.parts.clone())
            }
            Driver::Redfish => {
                let bmc = self.redfish_bmc(password, &TlsPolicy::Insecure, gate.clone());
                spawn(bmc, gate, settings, self.parts.clone())
            }
        }
    }

    pub(crate) fn settings(&self, name: &str, driver: Driver, password: &str) -> Settings {
        let key = CredentialKey {
            endpoint: format!("{driver:?} {name}"),
            secret: format!("default/bmc@{password}"),
        };
        Settings {
            timings: self.timings.clone(),
            poll: Duration::from_millis(100),
            backoff: (Duration::from_millis(20), Duration::from_millis(200)),
            ..Settings::new(self.member(name).bmc.config().machine.uuid, key)
        }
    }

    pub(crate) fn ipmi_bmc(&self, name: &str, password: &str, gate: Gate) -> IpmiBmc {
        self.ipmi_bmc_at(self.member(name).ipmi.unwrap().port(), password, gate)
    }

    pub(crate) fn ipmi_bmc_at(&self, port: u16, password: &str, gate: Gate) -> IpmiBmc {
        let credentials =
            IpmiCredentials::new("admin", password.as_bytes(), None, Privilege::Administrator).unwrap();
        let suites = CipherSuite::ALL.to_vec();
        IpmiBmc::new("127.0.0.1", port, credentials, suites, self.ipmi_timing, gate)
    }

    pub(crate) fn redfish_bmc(&self, password: &str, policy: &TlsPolicy, gate: Gate) -> RedfishBmc {
        Self::redfish_bmc_at(self.redfish(), admin(password), policy, gate)
    }

    pub(crate) fn redfish_bmc_at(
        endpoint: redfish_client::Endpoint,
        credentials: Credentials,
        policy: &TlsPolicy,
        gate: Gate,
    ) -> RedfishBmc {
        let transport = Transport::new(policy).unwrap();
        let options = Options {
            request_timeout: Duration::from_secs(3),
            ..Options::default()
        };
        RedfishBmc::new(transport, endpoint, credentials, options, gate)
    }

    pub(crate) fn intent(&self, action: PowerAction) -> Intent {
        Intent::new("r1", action, None, self.parts.clock.now(), None)
    }

    pub(crate) fn boot_intent(&self, action: PowerAction) -> Intent {
        let boot = Some(BootOrder {
            target: BootTarget::Pxe,
            mode: Some(hardware_types::BootMode::Uefi),
        });
        Intent::new("r1", action, boot, self.parts.clock.now(), None)
    }

    pub(crate) fn fault(&self, name: &str, fault: Fault, spec: Spec) {
        self.member(name).bmc.set_fault(fault, spec).unwrap();
    }

    pub(crate) fn commands(&self, name: &str, verb: Verb) -> u64 {
        self.member(name).bmc.counters().commands(verb)
    }

    /// Switches a machine on from outside, and waits until it runs.
    pub(crate) async fn switched_on(&self, name: &str) {
        let handle = self.start(name, Driver::Ipmi);
        let on = carried_out(&handle, self.intent(PowerAction::On)).await;
        assert_eq!(on, Outcome::Done);
        handle.stop().await;
        self.replica.stored.lock().unwrap().clear();
        self.replica.facts.lock().unwrap().clear();
    }

    /// A human switches a machine on, and it runs.
    pub(crate) async fn press_button(&self, name: &str) {
        let bmc = &self.member(name).bmc;
        bmc.button(false, &Origin::new("operator", "control://test"))
            .unwrap();
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        while bmc.status().booted.is_none() {
            assert!(
                tokio::time::Instant::now() < deadline,
                "the button does nothing: {:?}",
                bmc.status()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The power log of a BMC from a position on: commands as `off`, changes of power as `on->off`, boots as `boots disk`.
    pub(crate) fn log_since(&self, name: &str, position: u64) -> Vec<String> {
        let page = self.fleet.log().since(position, Some(name), 1000);
        let told = page.entries.iter().filter_map(|entry| {
            let after = entry.after.clone().unwrap_or_default();
            match (entry.event, entry.verb) {
                (EventKind::Received, verb) => Some(verb.as_str().to_owned()),
                (EventKind::Effect, Verb::Boot) => Some(format!("boots {after}")),
                (EventKind::Effect, Verb::Reset) => Some("restarts".into()),
                (EventKind::Effect, _)
                    if [&*entry.before, &after].iter().all(|p| ["on", "off"].contains(p)) =>
                {
                    Some(format!("{}->{after}", entry.before))
                }
                (EventKind::Effect, _) => None,
            }
        });
        told.collect()
    }

    pub(crate) fn log_position(&self) -> u64 {
        self.fleet.log().since(0, None, usize::MAX).next
    }

    pub(crate) fn assert_invariants(&self, name: &str, position: u64) {
        if let Some(violation) = self.violation(name, position) {
            panic!("{violation}: {:?}", self.log_since(name, position));
        }
    }

    /// Feeds what the replica stored and what the BMC logged since `position` to the monitor of invariants.
    pub(crate) fn violation(&self, name: &str, position: u64) -> Option<Violation> {
        let server = self.member(name).bmc.config().machine.uuid;
        let mut events = self.replica.facts.lock().unwrap().clone();
        let page = self.fleet.log().since(position, Some(name), 1000);
        events.extend(page.entries.iter().filter_map(|entry| from_log(server, entry)));
        // stable: what was stored in the same millisecond was stored before
        events.sort_by_key(|event| event.at);
        let tolerance = Tolerance {
            in_flight: Duration::ZERO,
            reading_gap: self.timings.reading_gap,
        };
        let mut monitor = Monitor::new(tolerance);
        let accepted = Event {
            at: lifecycle::Time::default(),
            fact: Fact::Accepted(server, true),
        };
        let mut all = std::iter::once(accepted).chain(events);
        all.find_map(|event| monitor.observe(event).err())
    }

    /// Only the changes of power.
    pub(crate) fn edges_since(&self, name: &str, position: u64) -> Vec<String> {
        let log = self.log_since(name, position).into_iter();
        log.filter(|line| line.contains("->")).collect()
    }
}

pub(crate) fn admin(password: &str) -> Credentials {
    Credentials {
        username: "admin".into(),
        password: Secret::new(password),
    }
}

fn wall_clock() -> lifecycle::Time {
    let now = jiff::Timestamp::now().as_millisecond();
    lifecycle::Time::from_millis(now.unsigned_abs())
}

/// A line of the power log as the monitor wants it.
fn from_log(server: ServerId, entry: &Entry) -> Option<Event> {
    let at: jiff::Timestamp = entry.t.parse().unwrap();
    let received = |write| {
        Some(Fact::Received {
            server,
            write,
            replica: None,
        })
    };
    let fact = match (entry.event, entry.verb, entry.after.as_deref()) {
        (EventKind::Received, Verb::On, _) => received(Write::Power(Command::On)),
        (EventKind::Received, Verb::Off, _) => received(Write::Power(Command::Off)),
        (EventKind::Received, Verb::SoftOff, _) => received(Write::Power(Command::SoftOff)),
        (EventKind::Received, Verb::Reset, _) => received(Write::Power(Command::Reset)),
        (EventKind::Received, Verb::SetBoot, _) => received(Write::BootOverride),
        (EventKind::Received, _, _) => received(Write::Other),
        (EventKind::Effect, _, Some("on")) => Some(Fact::Power(server, PowerState::On)),
        (EventKind::Effect, _, Some("off")) => Some(Fact::Power(server, PowerState::Off)),
        (EventKind::Effect, _, _) => None,
    };
    fact.map(|fact| Event {
        at: lifecycle::Time::from_millis(at.as_millisecond().unsigned_abs()),
        fact,
    })
}

/// Carries an intent out to its end.
pub(crate) async fn carried_out(handle: &Handle, intent: Intent) -> Outcome {
    handle.carry_out(intent).await.unwrap();
    outcome(handle).await
}

pub(crate) async fn outcome(handle: &Handle) -> Outcome {
    let report = told(handle, |report| report.ended.is_some()).await;
    report.ended.unwrap().1
}

/// Waits until the report is so.
pub(crate) async fn told(handle: &Handle, so: impl FnMut(&Report) -> bool) -> Report {
    let mut reports = handle.report();
    match timeout(Duration::from_mins(1), reports.wait_for(so)).await {
        Ok(report) => report.unwrap().clone(),
        Err(late) => panic!("not told, {late}: {:#?}", handle.report().borrow().clone()),
    }
}
