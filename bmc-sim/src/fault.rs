//! Faults of a BMC: what can be wrong with it, how often, for which requests, and how often it was.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::machine::{Firmware, Post, SimTime};
use crate::verb::Verb;

/// How a request reached the BMC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// RMCP+ over UDP.
    Ipmi,
    /// HTTP.
    Redfish,
}

impl Protocol {
    /// The word, as used in the power log's `source`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ipmi => "ipmi",
            Self::Redfish => "redfish",
        }
    }
}

/// What can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Requests are lost on their way: the BMC never sees them.
    RequestLoss,
    /// Requests are carried out, their replies lost.
    ReplyLoss,
    /// Replies come `seconds` late.
    Delay,
    /// The BMC takes requests and never answers, for `seconds` or until cleared.
    Hang,
    /// Right passwords are refused.
    RefuseLogin,
    /// For `seconds` after each power edge, the state before it is reported.
    StalePower,
    /// The opposite of the power state is reported, for `seconds` or until cleared.
    InvertedPower,
    /// Commands are accepted and nothing happens.
    IgnoreCommand,
    /// The firmware passes over a valid boot override, and uses it up.
    IgnoreOverride,
    /// The boot override cannot be read.
    UnreadableOverride,
    /// A boot override set while the machine is off is lost when it is switched on.
    LoseOverride,
    /// *On* is refused for `seconds` after power went off.
    RefuseOn,
    /// The self test takes `seconds` and resets the host `resets` times on the way.
    SlowPost,
}

/// A fault that cannot be set as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// No such fault.
    #[error("unknown fault {0:?}: want one of {list}", list = Fault::ALL.map(Fault::as_str).join(", "))]
    Unknown(String),
    /// A field this fault does not have.
    #[error("fault {fault} has no field {field:?}: it takes {takes}", takes = fault.fields().join(", "))]
    Field {
        /// The fault.
        fault: Fault,
        /// The field.
        field: &'static str,
    },
    /// A field this fault cannot do without.
    #[error("fault {0} needs the field \"seconds\"")]
    Missing(Fault),
    /// A value out of its range.
    #[error("fault {fault}: {field} is {value}, want {want}")]
    Value {
        /// The fault.
        fault: Fault,
        /// The field.
        field: &'static str,
        /// Its value.
        value: String,
        /// What would do.
        want: &'static str,
    },
}

impl Fault {
    /// Every fault, in declaration order.
    pub const ALL: [Self; 13] = [
        Self::RequestLoss,
        Self::ReplyLoss,
        Self::Delay,
        Self::Hang,
        Self::RefuseLogin,
        Self::StalePower,
        Self::InvertedPower,
        Self::IgnoreCommand,
        Self::IgnoreOverride,
        Self::UnreadableOverride,
        Self::LoseOverride,
        Self::RefuseOn,
        Self::SlowPost,
    ];

    /// The word, as the control API uses it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RequestLoss => "request-loss",
            Self::ReplyLoss => "reply-loss",
            Self::Delay => "delay",
            Self::Hang => "hang",
            Self::RefuseLogin => "refuse-login",
            Self::StalePower => "stale-power",
            Self::InvertedPower => "inverted-power",
            Self::IgnoreCommand => "ignore-command",
            Self::IgnoreOverride => "ignore-override",
            Self::UnreadableOverride => "unreadable-override",
            Self::LoseOverride => "lose-override",
            Self::RefuseOn => "refuse-on",
            Self::SlowPost => "slow-post",
        }
    }

    /// The fields of [`Spec`] that mean something for this fault.
    pub const fn fields(self) -> &'static [&'static str] {
        match self {
            Self::RequestLoss | Self::ReplyLoss => &["percent", "next", "verbs", "protocol"],
            Self::Delay => &["seconds", "percent", "next", "verbs", "protocol"],
            Self::Hang | Self::InvertedPower | Self::StalePower => &["seconds", "protocol"],
            Self::RefuseLogin => &["percent", "next", "protocol"],
            Self::IgnoreCommand => &["percent", "next", "verbs"],
            Self::IgnoreOverride | Self::LoseOverride => &["next"],
            Self::UnreadableOverride => &["next", "protocol"],
            Self::RefuseOn => &["seconds", "next"],
            Self::SlowPost => &["seconds", "resets", "spends-override", "next"],
        }
    }

    /// Whether `seconds` must be given.
    const fn needs_seconds(self) -> bool {
        matches!(
            self,
            Self::Delay | Self::StalePower | Self::RefuseOn | Self::SlowPost
        )
    }

    /// Whether `seconds` is how long the fault itself lasts.
    const fn expires(self) -> bool {
        matches!(self, Self::Hang | Self::InvertedPower)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|fault| fault.as_str() == text)
            .ok_or_else(|| FaultError::Unknown(text.into()))
    }
}

/// When and how a fault bites. Absent fields mean: always, whatever the request.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Spec {
    /// Chance of each request, 1 to 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<u8>,
    /// How often it bites before it clears itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<u32>,
    /// Which requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verbs: Option<BTreeSet<Verb>>,
    /// Over which protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// What it means depends on the fault; fractions allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// Resets within the self test; 1 (a double start) if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resets: Option<u8>,
    /// Whether such a reset uses up a one-time override; it does if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spends_override: Option<bool>,
}

impl Spec {
    const MAX_SECONDS: f64 = 86_400.0;
    const MAX_RESETS: u8 = 10;

    /// [`Self::seconds`] as a duration; zero if absent.
    pub fn duration(&self) -> Duration {
        Duration::try_from_secs_f64(self.seconds.unwrap_or_default()).unwrap_or_default()
    }

    fn check(&self, fault: Fault) -> Result<(), FaultError> {
        let given = [
            ("percent", self.percent.is_some()),
            ("next", self.next.is_some()),
            ("verbs", self.verbs.is_some()),
            ("protocol", self.protocol.is_some()),
            ("seconds", self.seconds.is_some()),
            ("resets", self.resets.is_some()),
            ("spends-override", self.spends_override.is_some()),
        ];
        if let Some((field, _)) = given
            .iter()
            .find(|(field, given)| *given && !fault.fields().contains(field))
        {
            return Err(FaultError::Field { fault, field });
        }
        if fault.needs_seconds() && self.seconds.is_none() {
            return Err(FaultError::Missing(fault));
        }
        let value = |field, value: String, want| {
            Err(FaultError::Value {
                fault,
                field,
                value,
                want,
            })
        };
        match self {
            Self { percent: Some(n), .. } if !(1..=100).contains(n) => {
                value("percent", n.to_string(), "1 to 100")
            }
            Self { next: Some(0), .. } => value("next", "0".into(), "at least 1"),
            Self {
                verbs: Some(verbs), ..
            } if verbs.is_empty() => value("verbs", "[]".into(), "at least one verb"),
            Self { resets: Some(n), .. } if *n > Self::MAX_RESETS => {
                value("resets", n.to_string(), "0 to 10")
            }
            Self { seconds: Some(s), .. } if !(0.0..=Self::MAX_SECONDS).contains(s) => {
                value("seconds", s.to_string(), "0 to 86400")
            }
            _ => Ok(()),
        }
    }

    fn covers(&self, request: Option<(Verb, Protocol)>) -> bool {
        let Some((verb, protocol)) = request else {
            return true;
        };
        self.protocol.is_none_or(|only| only == protocol)
            && self.verbs.as_ref().is_none_or(|only| only.contains(&verb))
    }
}

#[derive(Debug)]
struct Active {
    spec: Spec,
    expires: Option<SimTime>,
}

/// The faults of one BMC.
#[derive(Debug)]
pub struct Faults {
    active: Vec<(Fault, Active)>,
    bites: [u64; Fault::ALL.len()],
    dice: StdRng,
}

impl Faults {
    /// None; chances are drawn from a sequence that `seed` fixes.
    pub fn new(seed: u64) -> Self {
        Self {
            active: Vec::new(),
            bites: [0; Fault::ALL.len()],
            dice: StdRng::seed_from_u64(seed),
        }
    }

    /// Sets a fault, in place of what was set before.
    pub fn set(&mut self, fault: Fault, spec: Spec, now: SimTime) -> Result<(), FaultError> {
        spec.check(fault)?;
        self.clear(fault);
        let expires = (fault.expires() && spec.seconds.is_some()).then(|| now + spec.duration());
        self.active.push((fault, Active { spec, expires }));
        Ok(())
    }

    /// Clears a fault. Its count of bites stays.
    pub fn clear(&mut self, fault: Fault) {
        self.active.retain(|(active, _)| *active != fault);
    }

    /// Clears all.
    pub fn clear_all(&mut self) {
        self.active.clear();
    }

    /// Each fault with what is set, if it is, and how often it bit.
    pub fn list(&self, now: SimTime) -> impl Iterator<Item = (Fault, Option<&Spec>, u64)> {
        Fault::ALL
            .into_iter()
            .map(move |fault| (fault, self.spec(fault, now), self.bites[fault as usize]))
    }

    /// What is set for a fault that is in force at `now`.
    pub fn spec(&self, fault: Fault, now: SimTime) -> Option<&Spec> {
        let (_, active) = self.active.iter().find(|(active, _)| *active == fault)?;
        active
            .expires
            .is_none_or(|expires| now < expires)
            .then_some(&active.spec)
    }

    /// When a fault that is set clears itself; `None` if it stays.
    pub fn expires(&self, fault: Fault) -> Option<SimTime> {
        self.active.iter().find(|(active, _)| *active == fault)?.1.expires
    }

    /// Whether a fault bites this request (`None`: no request is concerned); counted if so.
    pub fn bites(&mut self, fault: Fault, request: Option<(Verb, Protocol)>, now: SimTime) -> Option<Spec> {
        let spec = self.spec(fault, now).filter(|spec| spec.covers(request))?.clone();
        if spec
            .percent
            .is_some_and(|percent| self.dice.random_range(0..100) >= percent)
        {
            return None;
        }
        self.bites[fault as usize] += 1;
        match spec.next {
            Some(1) => self.clear(fault),
            Some(next) => {
                for (_, active) in self.active.iter_mut().filter(|(active, _)| *active == fault) {
                    active.spec.next = Some(next - 1);
                }
            }
            None => {}
        }
        Some(spec)
    }

    /// The firmware as these faults make it, at `now`.
    pub fn firmware(&mut self, now: SimTime) -> impl Firmware {
        FaultyFirmware { faults: self, now }
    }
}

struct FaultyFirmware<'a> {
    faults: &'a mut Faults,
    now: SimTime,
}

impl Firmware for FaultyFirmware<'_> {
    fn post(&mut self, usual: Duration) -> Post {
        match self.faults.bites(Fault::SlowPost, None, self.now) {
            Some(spec) => Post {
                duration: spec.duration(),
                resets: spec.resets.unwrap_or(1),
                spends_override: spec.spends_override.unwrap_or(true),
            },
            None => Post {
                duration: usual,
                resets: 0,
                spends_override: false,
            },
        }
    }

    fn ignores_override(&mut self) -> bool {
        self.faults.bites(Fault::IgnoreOverride, None, self.now).is_some()
    }

    fn forgets_override_set_while_off(&mut self) -> bool {
        self.faults.bites(Fault::LoseOverride, None, self.now).is_some()
    }
}
