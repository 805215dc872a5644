//! Spoils the facts of a good run, and says what the verdict is to be.

use serde_json::{Value, json};
use verifier::{Facts, Verdict, verify};

use crate::run::Run;

impl Run {
    /// What a file of facts holds.
    pub(crate) fn facts(&self) -> Value {
        // a log is in order
        let mut power = self.power.clone();
        power.sort_by_key(|line| line["t"].as_str().unwrap().to_owned());
        json!({"version": 1, "machines": self.machines, "steps": self.steps, "disks": self.disks, "power": power,
            "objects": self.objects, "run": "what nobody knows"})
    }

    pub(crate) fn verdict(&self) -> Verdict {
        verify(&Facts::parse(&self.facts().to_string()).unwrap())
    }

    /// Exactly this check fails, once, and says these words.
    #[track_caller]
    pub(crate) fn fails(&self, check: &str, words: &[&str]) {
        let verdict = self.verdict();
        let failed = verdict.findings().iter().filter(|finding| !finding.is_ok());
        let failed: Vec<_> = failed.map(verifier::Finding::check).collect();
        assert_eq!(failed, [check], "{verdict}");
        let text = verdict.to_string();
        let line = text.lines().find(|line| line.starts_with("FAILED")).unwrap();
        for word in words {
            assert!(line.contains(word), "no {word:?} in {line}");
        }
    }
}

/// Whether an entry has these words in these fields.
pub(crate) fn is(entry: &Value, fields: &[(&str, &str)]) -> bool {
    fields.iter().all(|(field, word)| entry[*field] == **word)
}

/// Spoils each entry with these words; there is one at least.
#[track_caller]
pub(crate) fn spoil(list: &mut [Value], fields: &[(&str, &str)], how: impl Fn(&mut Value)) {
    let mut found = list.iter_mut().filter(|entry| is(entry, fields)).peekable();
    assert!(found.peek().is_some(), "no entry has {fields:?}");
    found.for_each(how);
}

/// Takes away each entry with these words; there is one at least.
#[track_caller]
pub(crate) fn drop(list: &mut Vec<Value>, fields: &[(&str, &str)]) {
    let before = list.len();
    list.retain(|entry| !is(entry, fields));
    assert!(list.len() < before, "no entry has {fields:?}");
}
