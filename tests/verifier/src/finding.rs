//! What a check found, and what follows from all of them.

use std::fmt;

/// What one check found.
#[derive(Debug, Clone)]
pub struct Finding {
    check: &'static str,
    items: usize,
    looked_at: String,
    failures: Vec<String>,
}

impl Finding {
    pub(crate) const fn new(check: &'static str) -> Self {
        Self {
            check,
            items: 0,
            looked_at: String::new(),
            failures: Vec::new(),
        }
    }

    /// So many things more were looked at, whatever came of it.
    pub(crate) const fn looked(&mut self, items: usize) {
        self.items += items;
    }

    pub(crate) fn fail(&mut self, what: impl Into<String>) {
        self.failures.push(what.into());
    }

    pub(crate) fn fail_if(&mut self, wrong: bool, what: impl FnOnce() -> String) {
        if wrong {
            self.fail(what());
        }
    }

    /// What is said if nothing is wrong. Whoever looked at nothing has not found that nothing is wrong.
    pub(crate) fn end(mut self, looked_at: impl Into<String>) -> Self {
        if self.items == 0 {
            self.fail("there was nothing to look at");
        }
        self.looked_at = looked_at.into();
        self
    }

    /// The check's name.
    pub const fn check(&self) -> &'static str {
        self.check
    }

    /// What is wrong.
    pub fn failures(&self) -> &[String] {
        &self.failures
    }

    /// Nothing is wrong.
    pub const fn is_ok(&self) -> bool {
        self.failures.is_empty()
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_ok() {
            write!(f, "ok  {}: {}", self.check, self.looked_at)
        } else {
            write!(f, "FAILED  {}: {}", self.check, self.failures.join("; "))
        }
    }
}

/// What all checks found: a line each, and a summary.
#[derive(Debug, Clone)]
pub struct Verdict {
    findings: Vec<Finding>,
}

impl Verdict {
    pub(crate) const fn new(findings: Vec<Finding>) -> Self {
        Self { findings }
    }

    /// What each check found.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// The main job was really done.
    pub fn is_good(&self) -> bool {
        self.findings.iter().all(Finding::is_ok)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        let all = self.findings.len();
        let failed = self.findings.iter().filter(|finding| !finding.is_ok());
        let failed: Vec<_> = failed.map(Finding::check).collect();
        if failed.is_empty() {
            write!(f, "all {all} checks are ok: the main job was done")
        } else {
            write!(
                f,
                "{} of {all} checks FAILED: {}",
                failed.len(),
                failed.join(", ")
            )
        }
    }
}
