//! The model: manager, BMC and machine, one tick a second or so.

mod bmc;
mod cases;

use std::time::Duration;

use bmc::{Bmc, Fate};
pub use cases::{Mutant, SOMETIMES};
use cases::{SCENARIOS, Scenario};
use hardware_types::{BootTarget, PowerAction, PowerState, ServerId};
use lifecycle::invariant::{Event, Fact, Monitor, Tolerance, Violation, Write};
use lifecycle::power::{BootOrder, Command, Intent, Observed, Outcome, Reading, Stage, Step, Wait, step};
use lifecycle::{Time, Timings};
use stateright::{Model, Property};

const TICK: Duration = Duration::from_millis(1);
/// No intent of the model may be under way for longer, once a manager stays with it.
const LONGEST: Duration = Duration::from_millis(30);

/// The defaults' proportions in as few ticks as possible.
fn timings() -> Timings {
    let ticks = |n| TICK * n;
    Timings {
        off: ticks(8),
        on: ticks(8),
        soft_off: ticks(10),
        reset: ticks(8),
        reading_gap: ticks(2),
        rest: ticks(3),
        ..Timings::default()
    }
}

#[derive(Debug, Clone)]
pub struct PowerModel {
    mutant: Option<Mutant>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Manager {
    seen: Observed,
    /// Stored, and not yet sent.
    unsent: Option<(Command, bool)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    scenario: Scenario,
    now: Time,
    /// Which of the scenario's requests is under way.
    request: usize,
    /// What the API server holds.
    stored: Intent,
    /// `None`: dead.
    manager: Option<Manager>,
    bmc: Bmc,
    crashes: u8,
    faults: u8,
    monitor: Monitor,
    violation: Option<Violation>,
    /// An intent ended as done although the machine was not, or did not stay, so.
    untrue: bool,
    sends: [u8; 2],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// The manager does what the step says: stores, or ends.
    Step,
    /// What it stored is sent, and meets this fate.
    Deliver(Fate),
    /// It reads, and the BMC says the truth, or for a while the contrary, or nothing.
    Read(Answer),
    Crash,
    Restart,
    /// The next request takes the place of the one under way.
    Replace,
    Tick,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Answer {
    AsIs,
    Lie,
    Unknown,
    Lost,
}

fn server() -> ServerId {
    ServerId::new(uuid::Uuid::from_u128(1)).unwrap()
}

impl PowerModel {
    pub fn of(mutant: Option<Mutant>) -> Self {
        Self { mutant }
    }

    /// The decision, with the guard taken away that the mutant names.
    fn decide(&self, state: &State, manager: &Manager) -> Step {
        let (mut intent, mut timings) = (state.stored.clone(), timings());
        match self.mutant {
            Some(Mutant::DoneOnOneReading) => timings.reading_gap = Duration::ZERO,
            Some(Mutant::OffCountsRightAfterUnconfirmedOn) => intent.on_may_act_until = None,
            Some(Mutant::SecondOffForgotten) => intent.doubtful = false,
            Some(Mutant::OnWithoutRest) => timings.rest = Duration::ZERO,
            _ => {}
        }
        let mut decided = step(&intent, &manager.seen, state.now, &timings);
        if let (Some(Mutant::SoftOffForgottenForOff), Step::Send { store, command, .. }) =
            (self.mutant, &mut decided)
            && *command == Command::Off
        {
            store.off_may_act_until = Some(state.now.after(timings.off));
        }
        match (self.mutant, &decided) {
            (Some(Mutant::DoneOnAccepted), Step::Read { .. }) if intent.attempt > 0 => Step::End {
                store: Intent {
                    outcome: Some(Outcome::Done),
                    ..intent
                },
            },
            (Some(Mutant::NoDeadline), Step::End { store }) if store.outcome != Some(Outcome::Done) => {
                Step::Wait {
                    until: state.now.after(TICK),
                    wait: Wait::Rest,
                }
            }
            (Some(mutant), Step::Read { .. })
                if intent.attempt == 1 && mutant.sends_again() == Some(intent.stage) =>
            {
                sent_again(intent, state.now)
            }
            _ => decided,
        }
    }
}

fn sent_again(mut intent: Intent, now: Time) -> Step {
    intent.attempt += 1;
    intent.last_sent = Some(now);
    intent.doubtful = true;
    let command = intent.stage.command();
    Step::Send {
        store: intent,
        boot: None,
        command,
    }
}

impl Model for PowerModel {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        SCENARIOS.iter().map(|scenario| State::new(*scenario)).collect()
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.is_over() {
            return;
        }
        let Some(manager) = &state.manager else {
            actions.push(Action::Restart);
            if state.bmc.is_at_work() {
                actions.push(Action::Tick);
            }
            return;
        };
        if state.crashes > 0 {
            actions.push(Action::Crash);
        }
        if state.may_be_replaced() {
            actions.push(Action::Replace);
        }
        if let Some((command, _)) = manager.unsent {
            let fates = Fate::of(command, state.faults > 0, state.bmc.lied);
            actions.extend(fates.iter().map(|fate| Action::Deliver(*fate)));
            return;
        }
        match self.decide(state, manager) {
            Step::Read { at, .. } if at <= state.now => {
                actions.push(Action::Read(Answer::AsIs));
                if state.faults > 0 {
                    actions.extend([Answer::Unknown, Answer::Lost].map(Action::Read));
                    // one lie, shorter than a gap, and not beside a slow command: nobody could tell these apart
                    if !state.bmc.lied && !state.bmc.was_slow {
                        actions.push(Action::Read(Answer::Lie));
                    }
                }
            }
            Step::Read { .. } | Step::Wait { .. } => actions.push(Action::Tick),
            Step::Send { .. } | Step::End { .. } | Step::Ended(_) => actions.push(Action::Step),
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Tick => {
                state.now = state.now.after(TICK);
                let edge = state.bmc.advance(state.now);
                state.tell_power(edge);
            }
            Action::Crash => {
                state.crashes -= 1;
                state.manager = None;
            }
            Action::Replace => state.next_request(),
            Action::Restart => state.manager = Some(Manager::new(state.now)),
            Action::Step => {
                let decided = self.decide(last, last.manager.as_ref()?);
                self.carry_out(&mut state, decided);
            }
            Action::Deliver(fate) => state.deliver(fate),
            Action::Read(answer) => state.read(answer),
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let always = Property::<Self>::always;
        let sometimes = Property::<Self>::sometimes;
        vec![
            always("no invariant is violated", |_, state| state.violation.is_none()),
            always("what is done stays so", |_, state| !state.untrue),
            always("no edge too many", |_, state| {
                state.bmc.edges <= state.scenario.edges
            }),
            always("soft-off and reset are sent once", |_, state| {
                state.sends.iter().all(|n| *n <= 1)
            }),
            always("the machine restarts once at most by a reset", |_, state| {
                state.bmc.resets <= 1
            }),
            always("past the deadline stands an outcome", |_, state| {
                state.manager.as_ref().is_none_or(|manager| {
                    let began = manager.seen.since.max(state.stored.entered);
                    state.stored.outcome.is_some() || state.now.since(began) <= LONGEST
                })
            }),
            always(
                "a command is sent again after half its deadline at the soonest",
                |_, state| {
                    state
                        .bmc
                        .shortest_repeat
                        .is_none_or(|gap| gap >= timings().off / 2)
                },
            ),
            always(
                "what was switched off rests before it is switched on",
                |_, state| {
                    let one_sequence = state.scenario.requests.len() == 1;
                    !one_sequence || state.bmc.shortest_rest.is_none_or(|rest| rest >= timings().rest)
                },
            ),
            sometimes(SOMETIMES[0], |_, state| state.stored.stage == Stage::SoftOff),
            sometimes(SOMETIMES[1], |_, state| {
                state.stored.action == PowerAction::SoftOff
                    && state.stored.stage == Stage::Off
                    && state.is_done()
            }),
            sometimes(SOMETIMES[2], |_, state| {
                state.stored.action == PowerAction::Cycle && state.is_done() && state.bmc.edges == 2
            }),
            sometimes(SOMETIMES[3], |_, state| {
                state.stored.action == PowerAction::Reset && state.is_done()
            }),
            sometimes(SOMETIMES[4], |_, state| {
                state.stored.boot.is_some() && state.is_done() && state.bmc.override_sets > 0
            }),
            sometimes(SOMETIMES[5], |_, state| {
                matches!(state.stored.outcome, Some(Outcome::Unconfirmed(_)))
            }),
            sometimes(SOMETIMES[6], |_, state| {
                state.manager.is_none() && state.stored.attempt > 0 && state.bmc.received == 0
            }),
            sometimes(SOMETIMES[7], |_, state| {
                state.manager.is_none() && state.bmc.is_at_work()
            }),
            sometimes(SOMETIMES[8], |_, state| {
                state.crashes == 0 && state.faults == 0 && state.is_done()
            }),
            sometimes(SOMETIMES[9], |_, state| {
                state.request == 1 && state.stored.on_may_act_until.is_some() && state.bmc.is_at_work()
            }),
            sometimes(SOMETIMES[10], |_, state| state.bmc.lied),
            sometimes(SOMETIMES[11], |_, state| {
                state.stored.attempt == 2 && state.stored.stage == Stage::On && state.is_done()
            }),
            sometimes(SOMETIMES[12], |_, state| {
                state.scenario.impatient
                    && state.request == 1
                    && state.bmc.is_at_work()
                    && state.stored.attempt > 0
            }),
        ]
    }
}

impl PowerModel {
    fn carry_out(&self, state: &mut State, decided: Step) {
        match decided {
            Step::Send { store, boot, command } => {
                if self.mutant == Some(Mutant::SentBeforeStored) {
                    state.receive(command, boot.is_some(), Fate::Now);
                }
                state.store(store);
                if let Some(manager) = &mut state.manager {
                    manager.unsent = Some((command, boot.is_some()));
                }
            }
            Step::End { store } => {
                state.untrue |= store.outcome == Some(Outcome::Done) && !state.bmc.will_stay(store.stage);
                state.store(store);
            }
            Step::Ended(_) => state.next_request(),
            Step::Read { .. } | Step::Wait { .. } => {}
        }
    }
}

impl Manager {
    fn new(now: Time) -> Self {
        Self {
            seen: Observed::nothing(now),
            unsent: None,
        }
    }
}

impl State {
    fn new(scenario: Scenario) -> Self {
        let now = Time::from_millis(100);
        let tolerance = Tolerance {
            in_flight: Duration::ZERO,
            reading_gap: timings().reading_gap,
        };
        let mut monitor = Monitor::new(tolerance);
        let accepted = Fact::Accepted(server(), true);
        monitor
            .observe(Event {
                at: Time::default(),
                fact: accepted,
            })
            .unwrap();
        let mut state = Self {
            scenario,
            now,
            request: 0,
            stored: intent(scenario, 0, now, None),
            manager: Some(Manager::new(now)),
            bmc: Bmc::new(scenario.on),
            crashes: 1,
            faults: 2,
            monitor,
            violation: None,
            untrue: false,
            sends: [0; 2],
        };
        state.tell(Fact::Power(server(), state.bmc.power()), Time::default());
        state.tell(Fact::Intent(server(), state.stored.clone()), now);
        state
    }

    fn tell(&mut self, fact: Fact, at: Time) {
        if let Err(violation) = self.monitor.observe(Event { at, fact }) {
            self.violation.get_or_insert(violation);
        }
    }

    fn tell_power(&mut self, edge: bool) {
        if edge {
            self.tell(Fact::Power(server(), self.bmc.power()), self.now);
        }
    }

    fn store(&mut self, intent: Intent) {
        self.tell(Fact::Intent(server(), intent.clone()), self.now);
        self.stored = intent;
    }

    fn is_done(&self) -> bool {
        self.stored.outcome == Some(Outcome::Done)
    }

    fn may_be_replaced(&self) -> bool {
        let sent = self
            .manager
            .as_ref()
            .is_some_and(|manager| manager.unsent.is_none())
            && self.stored.attempt > 0;
        self.scenario.impatient
            && self.request + 1 < self.scenario.requests.len()
            && sent
            && self.stored.outcome.is_none()
    }

    /// The last intent has ended, or something went wrong: further states show nothing new.
    fn is_over(&self) -> bool {
        let last = self.request + 1 == self.scenario.requests.len();
        self.violation.is_some()
            || self.untrue
            || (last && self.stored.outcome.is_some())
            || self.now > Time::from_millis(300)
    }

    fn next_request(&mut self) {
        self.bmc.last_received = None;
        self.request += 1;
        let next = intent(self.scenario, self.request, self.now, Some(&self.stored));
        self.store(next);
        self.manager = Some(Manager::new(self.now));
    }

    fn deliver(&mut self, fate: Fate) {
        let Some((command, boot)) = self.manager.as_mut().and_then(|manager| manager.unsent.take()) else {
            return;
        };
        self.faults -= u8::from(fate.is_fault());
        self.receive(command, boot, fate);
    }

    fn receive(&mut self, command: Command, boot: bool, fate: Fate) {
        if boot {
            self.tell_write(Write::BootOverride);
            self.bmc.override_sets = 1;
        }
        self.tell_write(Write::Power(command));
        match command {
            Command::SoftOff => self.sends[0] += 1,
            Command::Reset => self.sends[1] += 1,
            Command::On | Command::Off => {}
        }
        let edge = self.bmc.receive(command, fate, self.now);
        self.tell_power(edge);
    }

    fn tell_write(&mut self, write: Write) {
        let received = Fact::Received {
            server: server(),
            write,
            replica: None,
        };
        self.tell(received, self.now);
    }

    fn read(&mut self, answer: Answer) {
        self.faults -= u8::from(answer != Answer::AsIs);
        let now = self.now;
        let power = self.bmc.read(answer, now, timings().reading_gap);
        if let Some(power) = power {
            self.tell(Fact::Reading(server(), power), now);
        }
        let mark = self.bmc.mark();
        let Some(manager) = &mut self.manager else { return };
        manager.seen.asked = Some(now);
        if let Some(power) = power {
            let mark = (power == PowerState::On).then_some(mark);
            manager.seen.readings.push(Reading { at: now, power, mark });
        }
    }
}

fn intent(scenario: Scenario, request: usize, now: Time, previous: Option<&Intent>) -> Intent {
    let (action, boot) = scenario.requests[request];
    let boot = boot.then_some(BootOrder {
        target: BootTarget::Pxe,
        mode: None,
    });
    Intent::new(request.to_string(), action, boot, now, previous)
}
