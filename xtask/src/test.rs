//! `cargo xtask test`: the steps of CI, each with its budget, and the table at the end.

use std::time::{Duration, Instant};

use crate::exec::{Failure, cargo};
use crate::tools;

/// The help text of the step words; kept beside the steps.
pub(crate) const STEPS_HELP: &str = "Steps: fmt, clippy, build, agent, unit, tools, e2e (all of them without arguments); \
    a last word that is no step filters the tests of unit and e2e by name";

/// One step of CI.
struct Step {
    name: &'static str,
    /// Seconds on a quiet machine with two cores and nothing cached.
    budget: u64,
    /// Runs it with the filter, adding to the count.
    run: fn(Option<&str>, &mut Count) -> Result<(), Failure>,
}

/// In the order in which they find mistakes soonest.
const STEPS: &[Step] = &[
    Step {
        name: "fmt",
        budget: 5,
        run: |_, _| cargo(["fmt", "--all", "--check"]).run(),
    },
    Step {
        name: "clippy",
        budget: 150,
        run: |_, _| clippy(),
    },
    Step {
        name: "build",
        budget: 390,
        run: |_, _| build(),
    },
    Step {
        name: "agent",
        budget: 150,
        run: |_, _| agent(),
    },
    Step {
        name: "unit",
        budget: 360,
        run: unit,
    },
    Step {
        name: "tools",
        budget: 660,
        run: |_, _| tools::ensure().map(|_| ()),
    },
    Step {
        name: "e2e",
        budget: 1200,
        run: e2e,
    },
];

/// Tests that ran in a step, as the test binaries count them.
#[derive(Default, Clone, Copy)]
struct Count {
    passed: u64,
    failed: u64,
}

/// Runs the steps that `words` name (all when none does); a last word that names none is a filter for test names.
pub(crate) fn run(words: &[String]) -> Result<(), Failure> {
    let is_step = |word: &String| STEPS.iter().any(|step| step.name == *word);
    let (steps, filter) = match words.split_last() {
        Some((last, rest)) if !is_step(last) => (rest, Some(last.as_str())),
        _ => (words, None),
    };
    if let Some(unknown) = steps.iter().find(|word| !is_step(word)) {
        let names: Vec<_> = STEPS.iter().map(|step| step.name).collect();
        return Err(Failure(format!(
            "{unknown:?} is no step; the steps are {}",
            names.join(", ")
        )));
    }
    let tested = |step: &Step| ["unit", "e2e"].contains(&step.name);
    let chosen = STEPS.iter().filter(|step| match (steps, filter) {
        ([], None) => true,
        ([], Some(_)) => tested(step),
        (steps, _) => steps.iter().any(|name| name == step.name),
    });

    let mut table = Vec::new();
    let mut total = Count::default();
    let mut failure = None;
    for step in chosen {
        eprintln!("\n=== {} (budget {} s)", step.name, step.budget);
        let start = Instant::now();
        let result = (step.run)(filter, &mut total);
        table.push((step.name, start.elapsed(), step.budget));
        if let Err(error) = result {
            failure = Some(Failure(format!("step {}: {error}", step.name)));
            // A step that is no test fails as one.
            total.failed = total.failed.max(1);
            break;
        }
    }
    print_table(&table);
    println!("total: {} passed, {} failed", total.passed, total.failed);
    match failure {
        Some(failure) => Err(failure),
        // A filter that matches nothing must not look like success.
        None if total.passed == 0 && filter.is_some() => Err(Failure(format!(
            "no test has {:?} in its name",
            filter.unwrap_or_default()
        ))),
        None => Ok(()),
    }
}

fn print_table(rows: &[(&str, Duration, u64)]) {
    println!("\n{:<8} {:>9} {:>9}", "step", "seconds", "budget");
    for (name, took, budget) in rows {
        let late = if took.as_secs() > *budget { "  over" } else { "" };
        println!("{name:<8} {:>9.1} {budget:>9}{late}", took.as_secs_f64());
    }
    let (took, budget) = rows
        .iter()
        .fold((0.0, 0), |(t, b), row| (t + row.1.as_secs_f64(), b + row.2));
    println!("{:<8} {took:>9.1} {budget:>9}", "sum");
}

/// Everything with the features of the whole workspace, tests included: any other selection would flip features and rebuild.
const ALL: [&str; 3] = ["--locked", "--workspace", "--all-targets"];
/// The one target that `--all-targets` leaves out (it sets `test = false`, so that the step `unit` does not run it).
const E2E: [&str; 4] = ["--locked", "--workspace", "--test", "e2e"];

fn clippy() -> Result<(), Failure> {
    for selection in [&ALL[..], &E2E[..]] {
        cargo(["clippy"])
            .args(selection)
            .args(["--", "-D", "warnings"])
            .run()?;
    }
    Ok(())
}

/// Builds everything, also for the demo: what one command built, the other uses.
pub(crate) fn build() -> Result<(), Failure> {
    for selection in [&ALL[..], &E2E[..]] {
        cargo(["build"]).args(selection).run()?;
    }
    Ok(())
}

/// Builds the agent, and the lab's own node, as machines boot them: the first program of an initramfs that has no libraries.
///
/// The target is named although it is the host's: else the flags would hold for build scripts and proc-macros too, and
/// everything else would be built anew.
pub(crate) fn agent() -> Result<(), Failure> {
    cargo([
        "build",
        "--locked",
        "-p",
        "metal-agent",
        "-p",
        "node-image",
        "--profile",
        "agent",
    ])
    .args(["--target", "x86_64-unknown-linux-gnu"])
    .env(
        "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS",
        "-C target-feature=+crt-static",
    )
    .run()
}

/// Unit, property and model tests; the e2e target sets `test = false` and is a step of its own.
fn unit(filter: Option<&str>, count: &mut Count) -> Result<(), Failure> {
    let test = cargo(["test"])
        .args(ALL)
        .args(["--quiet", "--no-fail-fast", "--"])
        .args(filter);
    counted(test, filter, count)
}

/// The tests on real parts. The binaries that they start are built first.
fn e2e(filter: Option<&str>, count: &mut Count) -> Result<(), Failure> {
    let tools = tools::ensure()?;
    build()?;
    agent()?;
    let test = cargo(["test"]).args(E2E).args(["--"]).args(filter);
    counted(test.env(tools::TOOLS_VARIABLE, tools), filter, count)
}

/// Runs a test command, shows its output and adds up its `test result:` lines.
fn counted(command: crate::exec::Program, filter: Option<&str>, count: &mut Count) -> Result<(), Failure> {
    let before = count.passed;
    command.watch_stdout(|line| {
        println!("{line}");
        if let Some(result) = parse_result(line) {
            count.passed += result.passed;
            count.failed += result.failed;
        }
    })?;
    // A check that looked at nothing proves nothing.
    if count.passed == before && filter.is_none() {
        return Err(Failure("no test ran".into()));
    }
    Ok(())
}

/// `test result: ok. 3 passed; 0 failed; …` → 3 and 0.
fn parse_result(line: &str) -> Option<Count> {
    let (_, rest) = line.trim().strip_prefix("test result: ")?.split_once(". ")?;
    let mut count = Count::default();
    for part in rest.split("; ") {
        match part.split_once(' ') {
            Some((n, "passed")) => count.passed = n.parse().ok()?,
            Some((n, "failed")) => count.failed = n.parse().ok()?,
            _ => {}
        }
    }
    Some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_are_counted() {
        let line =
            "test result: ok. 31 passed; 2 failed; 0 ignored; 0 measured; 1 filtered out; finished in 0.06s";
        let count = parse_result(line).unwrap();
        assert_eq!((count.passed, count.failed), (31, 2));
        assert!(parse_result("test foo ... ok").is_none());
    }

    #[test]
    fn the_help_names_every_step() {
        for step in STEPS {
            assert!(STEPS_HELP.contains(step.name), "{}", step.name);
        }
    }

    #[test]
    fn a_word_in_front_that_is_no_step_is_refused_by_name() {
        let error = run(&["unitt".into(), "e2e".into()]).unwrap_err();
        assert!(error.to_string().contains("\"unitt\" is no step"), "{error}");
    }
}
