//! One simulated BMC: a machine, its users and its faults, as both front ends and the control API see them.

mod command;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hardware_types::PowerState;
use serde::Serialize;
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;

pub use self::command::CommandError;
use crate::backend::{Backend, HostEvent, Run};
use crate::clock::Clock;
use crate::config::BmcConfig;
use crate::fault::{Fault, FaultError, Faults, Protocol, Spec};
use crate::machine::{
    Action, BootDevice, Event, Machine, Output, Override, PowerPolicy, RestartCause, SimTime,
};
use crate::power_log::{Entry, PowerLog};
use crate::users::{User, Users};
use crate::verb::Verb;

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The BMC has no power or is restarting: nobody listens.
    Unreachable,
    /// It is lost on its way.
    Lost,
    /// It is taken and never answered.
    Hung,
    /// It is carried out and answered.
    Answered {
        /// So late.
        delay: Duration,
        /// Whether the reply arrives.
        reply: bool,
    },
}

/// The machine as the control API shows it: the truth, whatever the BMC says.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct MachineStatus {
    /// Power state.
    pub power: PowerState,
    /// Whether mains power is there.
    pub plugged_in: bool,
    /// Whether the firmware is in its self test.
    pub in_post: bool,
    /// What it booted, while it runs. `None` for a virtual machine: its firmware goes on to the next device where one does
    /// not boot, and tells nobody.
    pub booted: Option<BootDevice>,
    /// What it was started to try, in this order, while it runs.
    pub tried: Vec<BootDevice>,
    /// What it would boot if it started now.
    pub next_boot: Option<BootDevice>,
    /// The boot override that is valid now.
    pub boot_override: Option<Override>,
    /// Why it last started.
    pub restart_cause: RestartCause,
    /// What it does when mains power comes.
    pub power_policy: PowerPolicy,
}

/// What arrived at a BMC, since it was made.
#[derive(Debug, Clone, Default)]
pub struct Counters {
    /// Requests seen by the BMC, by verb.
    commands: [u64; Verb::ALL.len()],
    /// Logins that began: RAKP 1 over IPMI, a password shown over Redfish.
    pub logins_started: u64,
    /// Logins that ended well.
    pub logins_accepted: u64,
    /// Packets and bodies that made no sense.
    pub malformed: u64,
}

impl Counters {
    /// Requests of one verb seen by the BMC.
    pub fn commands(&self, verb: Verb) -> u64 {
        self.commands[verb as usize]
    }

    /// Logins that did not end well. An IPMI console may find out by itself that the passwords differ and send
    /// nothing more, so one that is under way counts until it is accepted.
    pub fn logins_refused(&self) -> u64 {
        self.logins_started.saturating_sub(self.logins_accepted)
    }
}

struct State {
    machine: Machine,
    users: Users,
    faults: Faults,
    counters: Counters,
    run: Run,
    /// When power last changed, and what it was before.
    last_edge: Option<(SimTime, PowerState)>,
    down_until: SimTime,
    /// Counts restarts of the BMC, which end all sessions.
    generation: u64,
}

/// One BMC.
pub struct Bmc {
    name: Arc<str>,
    config: BmcConfig,
    clock: Arc<Clock>,
    log: Arc<PowerLog>,
    backend: Box<dyn Backend>,
    state: Mutex<State>,
    /// The machine's next deadline may have changed.
    changed: Notify,
    /// A fault was set or cleared.
    faults_changed: Notify,
}

impl Bmc {
    /// A BMC with the users and the fault seed given.
    pub fn new(
        config: BmcConfig,
        users: Users,
        seed: u64,
        backend: Box<dyn Backend>,
        clock: Arc<Clock>,
        log: Arc<PowerLog>,
    ) -> Self {
        let state = State {
            machine: Machine::new(config.machine.settings()),
            users,
            faults: Faults::new(seed),
            counters: Counters::default(),
            run: 0,
            last_edge: None,
            down_until: SimTime::ZERO,
            generation: 0,
        };
        Self {
            name: config.name.as_str().into(),
            config,
            clock,
            log,
            backend,
            state: Mutex::new(state),
            changed: Notify::new(),
            faults_changed: Notify::new(),
        }
    }

    /// Follows the clock and the back end until `stop`.
    pub async fn run(&self, mut events: UnboundedReceiver<(Run, HostEvent)>, stop: CancellationToken) {
        loop {
            let deadline = self.settled().machine.next_deadline();
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.clock.sleep_until(deadline) => {}
                () = self.changed.notified() => {}
                Some((run, event)) = events.recv() => self.host_event(run, event),
            }
        }
    }

    /// Its name in the fleet file.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What the fleet file says of it.
    pub fn config(&self) -> &BmcConfig {
        &self.config
    }

    /// The fleet's clock.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// What keeps a request from being read at all: no power, a restart, and the faults that take any request.
    pub fn stopped(&self, protocol: Protocol) -> Option<Fate> {
        let mut state = self.settled();
        let now = self.clock.now();
        // no such fault asks for the verb
        let request = Some((Verb::Other, protocol));
        if !state.reachable(now) {
            return Some(Fate::Unreachable);
        }
        if state.faults.bites(Fault::Hang, request, now).is_some() {
            return Some(Fate::Hung);
        }
        let any_verb = state
            .faults
            .spec(Fault::RequestLoss, now)
            .is_some_and(|spec| spec.verbs.is_none());
        let lost = any_verb && state.faults.bites(Fault::RequestLoss, request, now).is_some();
        lost.then_some(Fate::Lost)
    }

    /// Takes a request that was read: counts it, unless a fault for its verb lost it on its way.
    pub fn receive(&self, verb: Verb, protocol: Protocol) -> Fate {
        let mut state = self.settled();
        let now = self.clock.now();
        let request = Some((verb, protocol));
        let by_verb = state
            .faults
            .spec(Fault::RequestLoss, now)
            .is_some_and(|spec| spec.verbs.is_some());
        if by_verb && state.faults.bites(Fault::RequestLoss, request, now).is_some() {
            return Fate::Lost;
        }
        state.counters.commands[verb as usize] += 1;
        let delay = state
            .faults
            .bites(Fault::Delay, request, now)
            .map_or(Duration::ZERO, |spec| spec.duration());
        let reply = state.faults.bites(Fault::ReplyLoss, request, now).is_none();
        Fate::Answered { delay, reply }
    }

    /// Whether the BMC has power and is not restarting.
    pub fn reachable(&self) -> bool {
        self.settled().reachable(self.clock.now())
    }

    /// Waits until no fault `hang` is in force for `protocol`.
    pub async fn hang_over(&self, protocol: Protocol) {
        loop {
            let changed = self.faults_changed.notified();
            let hanging = {
                let (state, now) = (self.settled(), self.clock.now());
                let spec = state.faults.spec(Fault::Hang, now);
                let covers = spec.filter(|spec| spec.protocol.is_none_or(|only| only == protocol));
                covers.map(|_| state.faults.expires(Fault::Hang))
            };
            let Some(end) = hanging else { return };
            tokio::select! {
                () = changed => {}
                () = self.clock.sleep_until(end) => {}
            }
        }
    }

    /// Counts a packet or body that made no sense.
    pub fn count_malformed(&self) {
        self.lock().counters.malformed += 1;
    }

    /// Whether fault `refuse-login` refuses a right password now.
    pub fn refuses_login(&self, protocol: Protocol) -> bool {
        let request = Some((Verb::Login, protocol));
        self.lock()
            .faults
            .bites(Fault::RefuseLogin, request, self.clock.now())
            .is_some()
    }

    /// Counts a login that begins.
    pub fn count_login(&self) {
        self.lock().counters.logins_started += 1;
    }

    /// Counts a login that ended well.
    pub fn count_login_accepted(&self) {
        self.lock().counters.logins_accepted += 1;
    }

    /// The user table as it is.
    pub fn users(&self) -> Users {
        self.lock().users.clone()
    }

    /// The user in a slot.
    pub fn user(&self, slot: u8) -> Option<User> {
        self.lock().users.get(slot).cloned()
    }

    /// The enabled user with this name and password.
    pub fn authenticate(&self, name: &str, password: &str) -> Option<(u8, User)> {
        self.lock()
            .users
            .authenticate(name, password)
            .map(|(slot, user)| (slot, user.clone()))
    }

    /// Counts restarts of the BMC and losses of its power; each ends all sessions.
    pub fn generation(&self) -> u64 {
        self.lock().generation
    }

    /// The power state as the BMC reports it, faults included.
    pub fn reported_power(&self, protocol: Protocol) -> PowerState {
        let mut state = self.settled();
        let now = self.clock.now();
        let request = Some((Verb::GetPower, protocol));
        let real = state.machine.power();
        if let Some((at, before)) = state.last_edge
            && before != real
            && state
                .faults
                .spec(Fault::StalePower, now)
                .is_some_and(|spec| now < at + spec.duration())
            && state.faults.bites(Fault::StalePower, request, now).is_some()
        {
            return before;
        }
        if state.faults.bites(Fault::InvertedPower, request, now).is_some() {
            return match real {
                PowerState::On | PowerState::PoweringOff => PowerState::Off,
                PowerState::Off | PowerState::PoweringOn | PowerState::Unknown => PowerState::On,
            };
        }
        real
    }

    /// The boot override as the BMC reports it; `Err` where a fault makes it unreadable.
    pub fn reported_override(&self, protocol: Protocol) -> Result<Option<Override>, Unreadable> {
        let mut state = self.settled();
        match state.faults.bites(
            Fault::UnreadableOverride,
            Some((Verb::GetBoot, protocol)),
            self.clock.now(),
        ) {
            Some(_) => Err(Unreadable),
            None => Ok(state.machine.boot_override()),
        }
    }

    /// The machine, as it really is.
    pub fn machine(&self) -> Machine {
        self.settled().machine.clone()
    }

    /// The machine, for the control API.
    pub fn status(&self) -> MachineStatus {
        let state = self.settled();
        let machine = &state.machine;
        MachineStatus {
            power: machine.power(),
            plugged_in: machine.plugged_in(),
            in_post: machine.in_post(),
            booted: machine.booted().filter(|_| self.config.machine.qemu.is_none()),
            tried: machine.tried().to_vec(),
            next_boot: machine.next_boot(),
            boot_override: machine.boot_override(),
            restart_cause: machine.restart_cause(),
            power_policy: machine.policy(),
        }
    }

    /// What arrived so far.
    pub fn counters(&self) -> Counters {
        self.lock().counters.clone()
    }

    /// Every fault with what is set, if it is, and how often it bit.
    pub fn faults(&self) -> Vec<(Fault, Option<Spec>, u64)> {
        let state = self.lock();
        state
            .faults
            .list(self.clock.now())
            .map(|(fault, spec, bites)| (fault, spec.cloned(), bites))
            .collect()
    }

    /// Sets a fault.
    pub fn set_fault(&self, fault: Fault, spec: Spec) -> Result<(), FaultError> {
        self.lock().faults.set(fault, spec, self.clock.now())?;
        self.faults_changed.notify_waiters();
        Ok(())
    }

    /// Clears a fault, or all.
    pub fn clear_fault(&self, fault: Option<Fault>) {
        match fault {
            Some(fault) => self.lock().faults.clear(fault),
            None => self.lock().faults.clear_all(),
        }
        self.faults_changed.notify_waiters();
    }

    fn host_event(&self, run: Run, event: HostEvent) {
        let mut state = self.settled();
        if run == state.run {
            let event = match event {
                HostEvent::ShutDown => Event::HostOff,
                HostEvent::Restarted => Event::HostReset,
            };
            let (outputs, _) = self.handle(&mut state, event);
            self.apply(&mut state, outputs);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state with everything done that fell due until now.
    fn settled(&self) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        let (outputs, _) = self.handle(&mut state, Event::Tick);
        self.apply(&mut state, outputs);
        state
    }

    fn handle(&self, state: &mut State, event: Event) -> (Vec<Output>, Result<(), crate::machine::Refusal>) {
        let now = self.clock.now();
        let State { machine, faults, .. } = state;
        machine.handle(event, now, &mut faults.firmware(now))
    }

    /// Writes the edges to the log and hands the actions to the back end.
    fn apply(&self, state: &mut State, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Edge(edge) => {
                    state.note_power_edge(&edge.before, &edge.after, edge.at);
                    self.log
                        .append(Entry::effect(self.clock.date(edge.at), &self.name, edge));
                }
                Output::Action(Action::PowerOn { order }) => {
                    state.run += 1;
                    self.backend.power_on(state.run, &order);
                }
                Output::Action(Action::PowerOff) => self.backend.power_off(),
                Output::Action(Action::ShutDown) => self.backend.shut_down(),
            }
        }
    }
}

/// The boot override cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the boot override cannot be read")]
pub struct Unreadable;

impl State {
    /// The power state as the log's `before` tells it.
    fn power_word(&self) -> &'static str {
        if self.machine.plugged_in() {
            self.machine.power().as_str()
        } else {
            "unplugged"
        }
    }

    fn reachable(&self, now: SimTime) -> bool {
        self.machine.plugged_in() && now >= self.down_until
    }

    fn note_power_edge(&mut self, before: &str, after: &str, at: SimTime) {
        match (before, after) {
            ("on", "off" | "unplugged") => self.last_edge = Some((at, PowerState::On)),
            ("off", "on") => self.last_edge = Some((at, PowerState::Off)),
            _ => {}
        }
        if after == "unplugged" {
            self.generation += 1;
        }
    }
}
