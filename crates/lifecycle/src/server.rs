//! What a Server does next: from accepted to wiped, off and available.
//!
//! [`plan`] is asked again whenever something was seen, and whoever asks does the one thing that it says and nothing
//! else. What it says it would do to a machine's disks or power is preceded by the fact that lets a successor find it.

mod bound;
mod by_hand;
mod step;
mod words;

#[cfg(test)]
mod tests;

use std::time::Duration;

use hardware_types::{PowerAction, PowerState};

use crate::claim::Claim;
use crate::facts::{Facts, Purpose, Quarantine, Window};
use crate::power::Outcome;
use crate::{Time, Timings, hands_off};

pub use bound::MAX_CONFIG_BOOTS;
use step::Step;
pub use words::Why;

/// An agent that waits is known to run if it was heard of so long before its window opened: what it says is recorded
/// every ten minutes at most.
const AGENT_HEARD: Duration = Duration::from_mins(11);
/// Begins the ids of windows, and so of what is sent for them.
pub const WINDOW_PREFIX: &str = "w-";

/// What is known of a Server when its next step is due.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Observed {
    /// For the gate, which is asked first.
    pub gate: crate::Observed,
    /// The durable facts; an annotation that cannot be read is named, and nothing is done on it.
    pub facts: Result<Facts, String>,
    /// Its last release ended before it was confirmed off.
    pub quarantine: Option<Quarantine>,
    /// Who has it, by a live look.
    pub claim: Claim,
    /// Boots in which it fetched its config, for whoever has it now.
    pub config_boots: u32,
    /// Its own agent reported it here.
    pub registered: bool,
    /// A client said that it is clean, and it never had an agent.
    pub marked_clean: bool,
    /// It is kept out of new clusters.
    pub cordoned: bool,
    /// How its power is controlled.
    pub driver: Driver,
    /// The last power command.
    pub intent: Option<Command>,
    /// When it last asked what to boot and was given what it is to boot: the agent, or the environment of who has it.
    pub asked: Option<Time>,
    /// When it last asked what to boot, if its environment could not be had, and why.
    pub unserved: Option<(Time, String)>,
    /// When it last asked what to boot, if it was told to wait or to boot the agent: it ran nobody's system then.
    pub started: Option<Time>,
    /// When its agent was last heard of.
    pub agent: Option<Time>,
    /// The last wipe that its agent reported about.
    pub wipe: Option<Wipe>,
    /// When this process began to look. Silence before that says nothing.
    pub since: Time,
}

/// How a Server's power is controlled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Driver {
    /// By hand: no BMC is configured.
    None,
    /// Its BMC does not answer now, or has not said whose it is.
    Silent,
    /// Its BMC answers.
    Ready {
        /// What it reads.
        power: Option<PowerState>,
    },
}

/// The last power command, as far as its outcome matters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Command {
    /// Its id; one sent for a window begins with the window's.
    pub id: String,
    /// What was asked for.
    pub action: PowerAction,
    /// When it was first asked for, or sent.
    pub began: Time,
    /// How it ended.
    pub outcome: Option<Outcome>,
}

impl Command {
    /// It has not ended yet.
    const fn is_under_way(&self) -> bool {
        self.outcome.is_none()
    }

    /// It was to switch the machine off, and that was not read back.
    const fn is_off_unconfirmed(&self) -> bool {
        matches!(self.action, PowerAction::Off) && matches!(self.outcome, Some(Outcome::Unconfirmed(_)))
    }
}

/// A wipe as the agent reported it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Wipe {
    /// Which.
    pub generation: u64,
    /// How far it is, for people.
    pub progress: String,
    /// When the agent was last heard of.
    pub heard: Time,
    /// When it ended, and how: well, or why not.
    pub ended: Option<(Time, Result<(), String>)>,
}

/// Where a Server stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Known, and nobody accepted it.
    Discovered,
    /// Accepted.
    Accepted,
    /// To be wiped, or being wiped.
    Wiping,
    /// Wiped, off and free.
    Available,
    /// Somebody has it, and nothing is done for them yet.
    Allocated,
    /// It boots into the environment of its cluster, or is installed.
    Provisioning,
    /// It is a Node of its cluster.
    Provisioned,
    /// It is given back.
    Releasing,
    /// It was given back before it was confirmed off; nobody gets it before it is.
    Quarantined,
    /// Left alone.
    HandsOff,
    /// A human is needed.
    Error,
}

/// What to do for a Server, and what to say of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Plan {
    /// The one thing to do now.
    pub act: Option<Act>,
    /// Where it stands.
    pub phase: Phase,
    /// Why, and what it waits for.
    pub why: Why,
    /// When to look again at the latest, whatever is seen.
    pub again: Option<Time>,
}

/// A step. Each is one write of the API server; the machine is touched by those who read it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Act {
    /// Record that the machine belongs here.
    Claim,
    /// Record that this wipe is due: before acceptance takes effect, or before what the wipe is to remove is installed.
    RaiseWipe {
        /// Which.
        generation: u64,
        /// For whom.
        allocation: Option<String>,
    },
    /// Look live at who has it: nobody, for the agent, or the claim that is confirmed, for its environment. If it is so,
    /// open a window, and record in the same write that the machine is on by that window's will, unless it was before.
    OpenWindow(Purpose),
    /// The window has had its time.
    CloseWindow,
    /// Record that this wipe is done, and close the window: its token is dead from now on.
    WipeDone(u64),
    /// Store this power command.
    Power {
        /// Its id.
        id: String,
        /// What to do.
        action: PowerAction,
        /// Have the machine boot from the network once.
        network_boot: bool,
    },
    /// Record that the machine is confirmed off.
    ConfirmOff,
    /// Delete the ServerBinding that is marked, whose MetalMachine is gone.
    Unbind,
    /// Record that the release ended before the machine was confirmed off.
    Quarantine(Quarantine),
    /// Let the ServerBinding go that is given back.
    LetGo,
}

/// What a Server does next.
pub fn plan(seen: &Observed, now: Time, timings: &Timings) -> Plan {
    let plan = next(seen, now, timings);
    bound::within_deadline(seen, now, timings, plan)
}

fn next(seen: &Observed, now: Time, timings: &Timings) -> Plan {
    if let Some(reason) = hands_off(&seen.gate) {
        return bound::left_alone(seen, reason);
    }
    let facts = match &seen.facts {
        Ok(facts) => facts,
        Err(what) => return wait(Phase::Error, Why::BadFact(what.clone())),
    };
    if seen.gate.installation.is_none() {
        return act(Act::Claim, Phase::Discovered, Why::NotAccepted);
    }
    let decision = Decision {
        seen,
        facts,
        now,
        timings,
    };
    let plan = if let Some(plan) = decision.bound() {
        plan
    } else if !seen.gate.accepted {
        wait(Phase::Discovered, Why::NotAccepted) // I-1
    } else if let Some(quarantine) = &seen.quarantine {
        decision.quarantined(quarantine)
    } else if decision.is_off_after_request() {
        act(Act::ConfirmOff, Phase::Accepted, Why::SwitchingOff)
    } else if facts.is_clean() {
        decision.clean()
    } else if facts.knows_no_wipe() {
        decision.unknown()
    } else {
        decision.dirty()
    };
    // I-6: a command that is under way ends first, whosever it is
    let under_way = seen.intent.as_ref().is_some_and(Command::is_under_way);
    match (&plan.act, seen.driver) {
        (Some(Act::Power { .. }), Driver::None) => wait(plan.phase, Why::PressButton),
        (Some(Act::Power { .. }), Driver::Silent) => wait(plan.phase, Why::BmcSilent),
        (Some(Act::Power { .. }), Driver::Ready { .. }) if under_way => wait(plan.phase, Why::Powering),
        _ => plan,
    }
}

/// A machine that is on although nobody here switched it on (never switched off, allocated or re-imaged): a clean,
/// unbound one without the fact `powered`. It ends when it reads off twice; until that is known it goes on.
pub fn is_unexpectedly_on(
    facts: &Facts,
    bound: bool,
    was: bool,
    power: Option<PowerState>,
    read_twice: bool,
) -> bool {
    let may_be = facts.is_clean() && !bound && facts.powered.is_none();
    may_be
        && match power {
            Some(PowerState::On) => true,
            Some(PowerState::Off) => was && !read_twice,
            _ => was,
        }
}

fn wait(phase: Phase, why: Why) -> Plan {
    Plan {
        act: None,
        phase,
        why,
        again: None,
    }
}

fn act(act: Act, phase: Phase, why: Why) -> Plan {
    Plan {
        act: Some(act),
        phase,
        why,
        again: None,
    }
}

fn until(again: Time, phase: Phase, why: Why) -> Plan {
    Plan {
        again: Some(again),
        ..wait(phase, why)
    }
}

fn raise_wipe(generation: u64) -> Plan {
    let raise = Act::RaiseWipe {
        generation,
        allocation: None,
    };
    act(raise, Phase::Wiping, Why::WipeBegins)
}

/// Where a Server stands within this window.
const fn phase_of(window: &Window) -> Phase {
    match window.purpose {
        Purpose::Agent => Phase::Wiping,
        Purpose::Environment => Phase::Provisioning,
    }
}

/// It may be running the last tenant's disk.
fn no_boot(window: &Window, attempt: u32) -> Plan {
    let off = Step::Off(attempt).power(&window.id);
    act(off, phase_of(window), Why::NoBoot { attempt })
}

/// Attempts to boot from the network before a human is asked.
const ATTEMPTS: u32 = 2;

#[derive(Clone, Copy)]
struct Decision<'a> {
    seen: &'a Observed,
    facts: &'a Facts,
    now: Time,
    timings: &'a Timings,
}

impl Decision<'_> {
    /// Accepted, and no fact says anything of a wipe.
    fn unknown(self) -> Plan {
        if self.has_clients_word() {
            return self.free();
        }
        if !self.seen.registered {
            // Made by hand or brought from elsewhere: what is on it is not ours to erase before it has reported here.
            return wait(Phase::Accepted, Why::NotRegistered);
        }
        raise_wipe(1)
    }

    /// A client said that it is clean, of a machine that never had an agent.
    fn has_clients_word(self) -> bool {
        self.facts.knows_no_wipe() && self.seen.marked_clean && !self.seen.registered
    }

    /// A wipe is due.
    fn dirty(self) -> Plan {
        let Some(due) = self.facts.due() else {
            // a generation was done and none is due: whoever removed the fact means another wipe
            let next = self.facts.wipe_done.unwrap_or_default().saturating_add(1);
            return raise_wipe(next);
        };
        match &self.facts.window {
            Some(window) if window.purpose == Purpose::Agent => self.wiping(due, window),
            // of an allocation that is over
            Some(_) => act(Act::CloseWindow, Phase::Wiping, Why::WipeBegins),
            None if self.is_on_by_window() && self.has_user_off() => {
                act(Act::ConfirmOff, Phase::Wiping, Why::WipeBegins)
            }
            None if self.is_on_by_window() => wait(Phase::Error, Why::WindowLapsed),
            None => act(Act::OpenWindow(Purpose::Agent), Phase::Wiping, Why::WipeBegins),
        }
    }

    /// A user's *on* is over.
    fn is_off_after_request(self) -> bool {
        self.facts.powered.is_some() && !self.is_on_by_window() && self.has_user_off()
    }

    /// The last command is a user's *off*, and was read back.
    fn has_user_off(self) -> bool {
        self.seen.intent.as_ref().is_some_and(|intent| {
            matches!(intent.action, PowerAction::Off | PowerAction::SoftOff)
                && intent.outcome == Some(Outcome::Done)
                && !intent.id.starts_with(WINDOW_PREFIX)
        })
    }

    fn is_on_by_window(self) -> bool {
        let powered = self.facts.powered.as_deref();
        powered.is_some_and(|id| id.starts_with(WINDOW_PREFIX))
    }

    /// Inside the window of a wipe.
    fn wiping(self, due: u64, window: &Window) -> Plan {
        let wipe = self.seen.wipe.as_ref().filter(|wipe| wipe.generation == due);
        match wipe.and_then(|wipe| wipe.ended.as_ref()) {
            Some((_, Ok(()))) => return act(Act::WipeDone(due), Phase::Wiping, Why::WipeDone),
            Some((at, Err(error))) if !self.is_tried_again(*at) => {
                return wait(Phase::Error, Why::WipeFailed(error.clone()));
            }
            _ => {}
        }
        if let Some(wipe) = wipe.filter(|wipe| wipe.ended.is_none()) {
            let silent_at = wipe.heard.max(self.seen.since).after(self.timings.boot);
            if self.now < silent_at {
                let why = Why::Wiping(wipe.progress.clone());
                return until(silent_at, Phase::Wiping, why);
            }
        }
        let lapses = self.last_sign(window).after(self.timings.window);
        if self.now >= lapses {
            return act(Act::CloseWindow, Phase::Error, Why::WindowLapsed);
        }
        let plan = self.boot(window);
        Plan {
            again: Some(plan.again.map_or(lapses, |again| again.min(lapses))),
            ..plan
        }
    }

    /// A wipe that failed is tried again when the machine boots again, which a user's power command is the way to; what
    /// is sent for it then has its deadlines as at first.
    fn is_tried_again(self, failed: Time) -> bool {
        let commanded = self.seen.intent.as_ref().map(|intent| intent.began);
        [self.seen.asked, commanded]
            .into_iter()
            .flatten()
            .any(|at| at > failed)
    }

    fn last_sign(self, window: &Window) -> Time {
        let wipe = self.seen.wipe.as_ref().map(|wipe| wipe.heard);
        let intent = self.seen.intent.as_ref().map(|intent| intent.began);
        let signs = [self.seen.asked, self.seen.agent, wipe, intent];
        signs.into_iter().flatten().fold(window.opened, Time::max)
    }

    /// Gets the machine to boot what its window is for. An agent that runs already is given its orders, else the machine
    /// is switched on.
    fn boot(self, window: &Window) -> Plan {
        if self.seen.driver == Driver::None {
            return self.booted_by_hand(window);
        }
        let phase = phase_of(window);
        let sent = self.seen.intent.as_ref();
        let step = sent.and_then(|intent| Step::of(&intent.id, &window.id));
        let (Some(intent), Some(step)) = (sent, step) else {
            return self.begin(window);
        };
        let Some(outcome) = intent.outcome else {
            return wait(phase, Why::Powering);
        };
        let power = |step: Step, why| act(step.power(&window.id), phase, why);
        match (step, outcome) {
            // Twice: the BMC may have lost the override, which was set while the machine was off.
            (Step::On(n), Outcome::Done) if n >= ATTEMPTS => {
                power(Step::Reset(n), Why::Booting { attempt: n })
            }
            (Step::On(n), Outcome::Done) | (Step::Reset(n), _) => match window.purpose {
                Purpose::Agent => self.booting_agent(window, intent, n),
                Purpose::Environment => self.booting_environment(window, intent, n),
            },
            (Step::On(n), Outcome::Unconfirmed(_)) => power(Step::Off(n), Why::NoBoot { attempt: n }),
            (Step::Off(n), _) if n < ATTEMPTS => power(Step::On(n + 1), Why::Booting { attempt: n + 1 }),
            (Step::Off(_) | Step::End(_), _) => wait(Phase::Error, Why::NeverBooted),
        }
    }

    /// Nothing was sent for this window yet.
    fn begin(self, window: &Window) -> Plan {
        let heard = self
            .seen
            .agent
            .is_some_and(|at| at.after(AGENT_HEARD) >= window.opened);
        let grace = window.opened.after(self.timings.agent_grace);
        let may_run = window.purpose == Purpose::Agent && heard && !self.reads_off();
        if may_run && self.now < grace {
            return until(grace, Phase::Wiping, Why::AgentRuns);
        }
        let why = Why::Booting { attempt: 1 };
        act(Step::On(1).power(&window.id), phase_of(window), why)
    }

    /// It is on for the agent; what has it done since?
    fn booting_agent(self, window: &Window, intent: &Command, attempt: u32) -> Plan {
        let since = |time: Option<Time>| time.is_some_and(|time| time >= intent.began);
        let began = intent.began.max(self.seen.since);
        let (deadline, why) = if since(self.seen.agent) {
            // it runs, and its orders are with its next question
            (began.max(self.seen.agent.unwrap_or(began)), Why::AgentRuns)
        } else if since(self.seen.asked) {
            (began.max(self.seen.asked.unwrap_or(began)), Why::AgentLoads)
        } else {
            (began, Why::Booting { attempt })
        };
        let deadline = deadline.after(self.timings.boot);
        if self.now < deadline {
            return until(deadline, Phase::Wiping, why);
        }
        no_boot(window, attempt)
    }

    /// The wipe that is due is done.
    fn clean(self) -> Plan {
        if self.facts.window.is_some() {
            return act(Act::CloseWindow, Phase::Accepted, Why::WipeDone);
        }
        match (&self.facts.powered, self.seen.driver) {
            (None, _) | (Some(_), Driver::None) => self.free(),
            (Some(window), _) if window.starts_with(WINDOW_PREFIX) => {
                self.switch_off(window, Phase::Accepted)
            }
            (Some(_), _) => wait(Phase::Accepted, Why::OnByRequest),
        }
    }

    /// On by our will, and no more needed: off, until that is confirmed (I-4, I-11).
    fn switch_off(self, powered: &str, phase: Phase) -> Plan {
        if self.seen.driver == Driver::Silent {
            return wait(phase, Why::BmcSilent);
        }
        let sent = self.seen.intent.as_ref();
        let step = sent.and_then(|intent| Step::of(&intent.id, powered));
        let (Some(intent), Some(Step::End(n))) = (sent, step) else {
            return act(Step::End(1).power(powered), phase, Why::SwitchingOff);
        };
        match intent.outcome {
            None => wait(phase, Why::SwitchingOff),
            // a record of then says nothing of a machine that reads on now
            Some(Outcome::Done) if self.reads_off() => act(Act::ConfirmOff, phase, Why::SwitchingOff),
            Some(Outcome::Done | Outcome::Unconfirmed(_)) => {
                let again = intent.began.after(self.timings.off_again(n));
                if self.now < again {
                    return until(again, phase, Why::OffUnconfirmed);
                }
                act(Step::End(n + 1).power(powered), phase, Why::OffUnconfirmed)
            }
        }
    }

    /// Its BMC reads off, now.
    fn reads_off(self) -> bool {
        let off = Driver::Ready {
            power: Some(PowerState::Off),
        };
        self.seen.driver == off
    }

    /// Clean and not on by our will.
    fn free(self) -> Plan {
        match self.seen.driver {
            _ if self.seen.cordoned => wait(Phase::Accepted, Why::Cordoned),
            Driver::None => wait(Phase::Available, Why::PowerUnverified),
            Driver::Ready {
                power: Some(PowerState::Off),
            } => wait(Phase::Available, Why::Free),
            Driver::Ready { .. } | Driver::Silent => wait(Phase::Accepted, Why::PowerUnknown),
        }
    }
}
