//! The durable facts of a Server: what must survive a crash, a move and a restore, one annotation each.
//!
//! Their text is what is stored. A text that cannot be read proves nothing: whoever decides on it does nothing.

use std::fmt;
use std::str::FromStr;

use crate::Time;

/// All facts of a Server but its installation, which the gate reads, and its [`Quarantine`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Facts {
    /// Annotation `wipe-due`: the wipe that must be done before it is clean.
    pub wipe_due: Option<WipeDue>,
    /// Annotation `wipe-done`: the last generation that was wiped and read back.
    pub wipe_done: Option<u64>,
    /// Annotation `powered`: window or intent by which it is on, not yet confirmed off.
    pub powered: Option<String>,
    /// Annotation `boot-window`: the boot that it may do now.
    pub window: Option<Window>,
}

impl Facts {
    /// Generation of the wipe that is due, done or not.
    pub fn due(&self) -> Option<u64> {
        self.wipe_due.as_ref().map(|due| due.generation)
    }

    /// Wiped since it was last used (I-4): the wipe that is due is done.
    pub fn is_clean(&self) -> bool {
        self.due().is_some_and(|due| self.wipe_done == Some(due))
    }

    /// Generation of the wipe that is due and not done.
    pub fn undone(&self) -> Option<u64> {
        self.due().filter(|_| !self.is_clean())
    }

    /// The allocation for which a wipe is due and not done.
    pub fn undone_for(&self) -> Option<&str> {
        let due = self.wipe_due.as_ref().filter(|_| !self.is_clean());
        due.and_then(|due| due.allocation.as_deref())
    }

    /// Neither wiped here nor ever asked to be.
    pub const fn knows_no_wipe(&self) -> bool {
        self.wipe_due.is_none() && self.wipe_done.is_none()
    }
}

/// A wipe that must be done.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WipeDue {
    /// Counted from 1, over the machine's life.
    pub generation: u64,
    /// The allocation that it was raised for; none for the wipe at acceptance.
    pub allocation: Option<String>,
}

/// What a machine may boot within a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// The agent, to be wiped or looked at.
    Agent,
    /// The environment of its cluster.
    Environment,
}

impl Purpose {
    /// As it is stored, and as the token is bound to it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Environment => "environment",
        }
    }
}

/// A boot that a machine may do now.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Window {
    /// Names it, in the token and in what is sent for it.
    pub id: String,
    /// What may be booted.
    pub purpose: Purpose,
    /// Since when, in whole seconds.
    pub opened: Time,
}

/// Annotation `quarantined`: its release ended before the machine was confirmed off. Nobody gets it before it is.
///
/// It is asked even where another fact cannot be read, so it is read whatever its text is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Quarantine {
    /// The allocation whose release ended.
    pub allocation: String,
    /// When, in whole seconds.
    pub since: Time,
}

/// A fact that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{value:?} is not {want}")]
pub struct BadFact {
    value: String,
    want: &'static str,
}

impl fmt::Display for WipeDue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.generation)?;
        match &self.allocation {
            Some(allocation) => write!(f, " for {allocation}"),
            None => Ok(()),
        }
    }
}

impl FromStr for WipeDue {
    type Err = BadFact;

    fn from_str(text: &str) -> Result<Self, BadFact> {
        let (number, allocation) = match text.split_once(" for ") {
            Some((number, allocation)) => (number, Some(allocation)),
            None => (text, None),
        };
        let generation = number.parse().ok().filter(|generation| *generation > 0);
        match (generation, allocation) {
            (Some(generation), allocation) if allocation != Some("") => Ok(Self {
                generation,
                allocation: allocation.map(Into::into),
            }),
            _ => Err(BadFact {
                value: text.into(),
                want: "a number from 1, or such a number, \"for\" and an allocation id",
            }),
        }
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.opened.as_millis() / 1000;
        write!(f, "{} {} {seconds}", self.id, self.purpose.word())
    }
}

impl FromStr for Window {
    type Err = BadFact;

    fn from_str(text: &str) -> Result<Self, BadFact> {
        let mut words = text.split(' ');
        let parts = (words.next(), words.next(), words.next(), words.next());
        let (Some(id), Some(purpose), Some(opened), None) = parts else {
            return Err(bad_window(text));
        };
        let purpose = [Purpose::Agent, Purpose::Environment]
            .into_iter()
            .find(|known| known.word() == purpose);
        let opened = opened.parse::<u64>().ok().and_then(|at| at.checked_mul(1000));
        match (purpose, opened) {
            (Some(purpose), Some(opened)) if !id.is_empty() => Ok(Self {
                id: id.into(),
                purpose,
                opened: Time::from_millis(opened),
            }),
            _ => Err(bad_window(text)),
        }
    }
}

impl fmt::Display for Quarantine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.allocation, self.since.as_millis() / 1000)
    }
}

impl From<&str> for Quarantine {
    fn from(text: &str) -> Self {
        let (allocation, since) = text.split_once(' ').unwrap_or((text, ""));
        let since = since.parse::<u64>().ok().and_then(|at| at.checked_mul(1000));
        Self {
            allocation: allocation.into(),
            // of an unknown time nothing is later
            since: Time::from_millis(since.unwrap_or(u64::MAX)),
        }
    }
}

fn bad_window(text: &str) -> BadFact {
    BadFact {
        value: text.into(),
        want: "an id, a purpose (agent or environment) and seconds since 1970",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_read_as_they_were_written() {
        for text in ["1", "18446744073709551615", "3 for 5f0c"] {
            assert_eq!(text.parse::<WipeDue>().unwrap().to_string(), text);
        }
        for text in ["w-1 agent 1800000000", "w-2 environment 0"] {
            assert_eq!(text.parse::<Window>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_quarantine_is_one_whatever_its_text_is() {
        assert_eq!(Quarantine::from("a-1 1800000000").to_string(), "a-1 1800000000");
        for text in ["", "a-1", "a-1 soon", "a-1 -5", "a-1 99999999999999999999"] {
            assert_eq!(
                Quarantine::from(text).since,
                Time::from_millis(u64::MAX),
                "{text:?}"
            );
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for text in ["", "0", "-1", "1 for ", "one", "1 by x", " 1"] {
            let error = text.parse::<WipeDue>().unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
        for text in [
            "",
            "w-1",
            "w-1 agent",
            "w-1 disk 5",
            " agent 5",
            "w-1 agent 5 x",
            "w-1 agent x",
        ] {
            let error = text.parse::<Window>().unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
    }

    #[test]
    fn clean_is_the_present_generation_and_nothing_less() {
        let facts = |due: Option<u64>, done| Facts {
            wipe_due: due.map(|generation| WipeDue {
                generation,
                allocation: None,
            }),
            wipe_done: done,
            ..Facts::default()
        };
        for (due, done, clean) in [
            (None, None, false),
            (None, Some(1), false),
            (Some(1), None, false),
            (Some(2), Some(1), false),
            (Some(1), Some(2), false),
            (Some(2), Some(2), true),
        ] {
            assert_eq!(facts(due, done).is_clean(), clean, "due {due:?}, done {done:?}");
        }
    }
}
