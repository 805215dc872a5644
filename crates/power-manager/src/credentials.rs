//! When a password may be shown to a BMC: a wrong one, shown again and again, locks the account for everybody.
//!
//! [`Discipline`] is one BMC's: it decides by what this endpoint said of this version of the Secret, and its [`Verdict`] is to be
//! stored, so that a new leader does not try again. [`Ledger`] is shared: it stops a Secret that nobody likes from being shown to the rest.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lifecycle::Time;
use serde::{Deserialize, Serialize};

/// What a verdict is about. Another key is another question: a user's edit, or another version of the Secret.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CredentialKey {
    /// The endpoint, as it was resolved.
    pub endpoint: String,
    /// Namespace and name of the Secret with its resourceVersion.
    pub secret: String,
}

/// What is known of a key: `Server.status.bmc` holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// What it is about.
    pub key: CredentialKey,
    /// The BMC accepted the credentials at least once.
    pub proved: bool,
    /// Refusals since it last accepted them.
    pub refusals: u32,
    /// When it last refused them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_at: Option<Time>,
}

/// Waits after the first, second and third refusal of credentials that were proved; then silence.
const RETRIES: [Duration; 3] = [
    Duration::from_mins(1),
    Duration::from_mins(5),
    Duration::from_mins(15),
];

/// A Secret that this many BMCs in a row refused is not shown to others for the first time.
const DISLIKED: usize = 3;

/// Whether credentials may be shown now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// Yes.
    Granted,
    /// Not before this time.
    NotBefore(Time),
    /// Not until Secret or endpoint change, or a user asks.
    Silence,
}

/// The discipline of one BMC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discipline {
    verdict: Verdict,
}

impl Discipline {
    /// Begins with what was stored, if that is about the same key.
    pub fn new(key: CredentialKey, stored: Option<Verdict>) -> Self {
        let verdict = stored.filter(|verdict| verdict.key == key).unwrap_or(Verdict {
            key,
            proved: false,
            refusals: 0,
            refused_at: None,
        });
        Self { verdict }
    }

    /// What to store.
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// Whether the credentials may be shown at `now`.
    pub fn may_try(&self, now: Time) -> Permission {
        let Some(refused_at) = self.verdict.refused_at.filter(|_| self.verdict.refusals > 0) else {
            return Permission::Granted;
        };
        if !self.verdict.proved {
            return Permission::Silence;
        }
        match RETRIES.get(self.verdict.refusals as usize - 1) {
            None => Permission::Silence,
            Some(wait) if now >= refused_at.after(*wait) => Permission::Granted,
            Some(wait) => Permission::NotBefore(refused_at.after(*wait)),
        }
    }

    /// The BMC accepted them; whether that changes the verdict.
    pub fn accepted(&mut self) -> bool {
        let changed = !self.verdict.proved || self.verdict.refusals > 0;
        self.verdict.proved = true;
        self.verdict.refusals = 0;
        self.verdict.refused_at = None;
        changed
    }

    /// The BMC refused them. Busy, 5xx and a full session table are no refusals.
    pub fn refused(&mut self, now: Time) {
        self.verdict.refusals = self.verdict.refusals.saturating_add(1);
        self.verdict.refused_at = Some(now);
    }

    /// A user asks to try again.
    pub fn asked(&mut self) {
        self.verdict.refusals = 0;
        self.verdict.refused_at = None;
    }
}

/// What all BMCs together say of each Secret. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Ledger(Arc<Mutex<HashMap<String, Standing>>>);

#[derive(Debug, Default)]
struct Standing {
    /// Endpoints of the BMCs that refused it since one accepted it.
    refused: HashSet<String>,
    /// BMCs that are being shown it for the first time.
    asking: usize,
    /// Some BMC accepted it, and none refused it since.
    liked: bool,
}

/// Leave to show a Secret to a BMC for the first time; say what became of it, or drop it if nothing did.
#[derive(Debug)]
pub struct FirstUse {
    ledger: Ledger,
    secret: String,
}

impl Ledger {
    fn standings(&self) -> MutexGuard<'_, HashMap<String, Standing>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for a first use. As long as nobody has accepted the Secret, no more BMCs are asked at a time than may refuse it.
    pub fn first_use(&self, secret: &str) -> Option<FirstUse> {
        let mut standings = self.standings();
        let standing = standings.entry(secret.to_owned()).or_default();
        if !standing.liked && standing.refused.len() + standing.asking >= DISLIKED {
            return None;
        }
        standing.asking += 1;
        Some(FirstUse {
            ledger: self.clone(),
            secret: secret.to_owned(),
        })
    }

    /// Whether enough BMCs in a row refused the Secret that it is not shown to others.
    pub fn is_disliked(&self, secret: &str) -> bool {
        self.standings()
            .get(secret)
            .is_some_and(|standing| standing.refused.len() >= DISLIKED)
    }

    /// Takes in a refusal: one that was stored, or a fresh one. However often one BMC refuses, it is one BMC.
    pub fn refused(&self, key: &CredentialKey) {
        let mut standings = self.standings();
        let standing = standings.entry(key.secret.clone()).or_default();
        standing.refused.insert(key.endpoint.clone());
        standing.liked = false;
    }

    /// Takes in that a BMC accepted the Secret, which answers every doubt about it.
    pub fn accepted(&self, secret: &str) {
        let mut standings = self.standings();
        let standing = standings.entry(secret.to_owned()).or_default();
        standing.refused.clear();
        standing.liked = true;
    }

    /// Forgets a version of a Secret that no Server uses any more, or that a user wants tried again.
    pub fn forget(&self, secret: &str) {
        self.standings().remove(secret);
    }
}

impl Drop for FirstUse {
    fn drop(&mut self) {
        if let Some(standing) = self.ledger.standings().get_mut(&self.secret) {
            standing.asking = standing.asking.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(secret: &str) -> CredentialKey {
        key_of(1, secret)
    }

    fn key_of(bmc: u32, secret: &str) -> CredentialKey {
        CredentialKey {
            endpoint: format!("ipmi://bmc{bmc}:623"),
            secret: secret.into(),
        }
    }

    fn at(minutes: u64) -> Time {
        Time::default().after(Duration::from_mins(1000 + minutes))
    }

    #[test]
    fn credentials_that_never_worked_get_one_refusal_and_then_silence() {
        let mut discipline = Discipline::new(key("s@1"), None);
        assert_eq!(discipline.may_try(at(0)), Permission::Granted);
        discipline.refused(at(0));
        assert_eq!(discipline.may_try(at(100_000)), Permission::Silence);
    }

    #[test]
    fn proved_credentials_are_retried_after_1_5_and_15_minutes_and_then_silence() {
        let mut discipline = Discipline::new(key("s@1"), None);
        assert!(discipline.accepted());
        assert!(!discipline.accepted(), "nothing new to store");
        let mut now = 0;
        for wait in [1, 5, 15] {
            discipline.refused(at(now));
            assert_eq!(
                discipline.may_try(at(now + wait - 1)),
                Permission::NotBefore(at(now + wait))
            );
            assert_eq!(discipline.may_try(at(now + wait)), Permission::Granted);
            now += wait;
        }
        discipline.refused(at(now));
        assert_eq!(discipline.may_try(at(now + 100_000)), Permission::Silence);
    }

    #[test]
    fn a_success_in_between_begins_the_retries_anew() {
        let mut discipline = Discipline::new(key("s@1"), None);
        discipline.accepted();
        discipline.refused(at(0));
        discipline.refused(at(1));
        assert!(discipline.accepted());
        discipline.refused(at(2));
        assert_eq!(discipline.may_try(at(2)), Permission::NotBefore(at(3)));
    }

    #[test]
    fn a_new_leader_goes_on_with_the_stored_verdict_and_another_version_or_endpoint_begins_anew() {
        let mut discipline = Discipline::new(key("s@1"), None);
        discipline.refused(at(0));
        let stored = serde_json::to_string(discipline.verdict()).unwrap();
        let stored: Verdict = serde_json::from_str(&stored).unwrap();
        let successor = Discipline::new(key("s@1"), Some(stored.clone()));
        assert_eq!(successor.may_try(at(1)), Permission::Silence);
        let other_endpoint = CredentialKey {
            endpoint: "ipmi://bmc2:623".into(),
            ..key("s@1")
        };
        for changed in [key("s@2"), other_endpoint] {
            assert_eq!(
                Discipline::new(changed, Some(stored.clone())).may_try(at(1)),
                Permission::Granted
            );
        }
    }

    #[test]
    fn a_user_may_ask_again() {
        let mut discipline = Discipline::new(key("s@1"), None);
        discipline.refused(at(0));
        discipline.asked();
        assert_eq!(discipline.may_try(at(0)), Permission::Granted);
    }

    #[test]
    fn a_secret_that_three_bmcs_refused_is_shown_to_no_fourth() {
        let ledger = Ledger::default();
        for bmc in 0..3 {
            let first = ledger.first_use("s@1").unwrap();
            ledger.refused(&key_of(bmc, "s@1"));
            drop(first);
        }
        assert!(ledger.is_disliked("s@1") && ledger.first_use("s@1").is_none());
        assert!(
            ledger.first_use("s@2").is_some(),
            "another version is another Secret"
        );
        ledger.forget("s@1");
        assert!(ledger.first_use("s@1").is_some());
    }

    #[test]
    fn an_unproved_secret_is_shown_to_three_at_a_time_and_a_proved_one_to_all() {
        let ledger = Ledger::default();
        let first: Vec<_> = (0..3).map(|_| ledger.first_use("s@1").unwrap()).collect();
        assert!(ledger.first_use("s@1").is_none() && !ledger.is_disliked("s@1"));
        drop(first);
        ledger.accepted("s@1");
        let many: Vec<_> = (0..100).map_while(|_| ledger.first_use("s@1")).collect();
        assert_eq!(many.len(), 100);
    }

    #[test]
    fn an_acceptance_ends_the_row_of_refusals() {
        let ledger = Ledger::default();
        ledger.refused(&key_of(1, "s@1"));
        ledger.refused(&key_of(2, "s@1"));
        ledger.accepted("s@1");
        ledger.refused(&key_of(3, "s@1"));
        assert!(!ledger.is_disliked("s@1"));
    }

    #[test]
    fn one_bmc_that_refuses_again_and_again_is_one_refusal() {
        let ledger = Ledger::default();
        for _ in 0..10 {
            ledger.refused(&key("s@1"));
        }
        assert!(!ledger.is_disliked("s@1") && ledger.first_use("s@1").is_some());
    }
}
