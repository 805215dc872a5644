use std::process::{Command, Output};

use serde_json::json;

use crate::run::Run;

fn verifier(text: &str) -> Output {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    command(file.path().to_str().unwrap())
}

fn command(path: &str) -> Output {
    let program = env!("CARGO_BIN_EXE_verifier");
    Command::new(program).arg(path).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_exit_code_tells_good_from_bad_from_unreadable() {
    let good = verifier(&Run::good().facts().to_string());
    assert_eq!(good.status.code(), Some(0));
    assert!(text(&good.stdout).ends_with("all 6 checks are ok: the main job was done\n"));

    let mut run = Run::good();
    run.disks.pop();
    let bad = verifier(&run.facts().to_string());
    assert_eq!(bad.status.code(), Some(1));
    let said = text(&bad.stdout);
    assert!(
        said.contains("\nFAILED  wipe: disk DISK-0002 of rack1-u02 was read 0 times"),
        "{said}"
    );
    assert!(said.ends_with("1 of 6 checks FAILED: wipe\n"), "{said}");
}

#[test]
fn what_cannot_be_read_is_said_on_stderr() {
    let mut other = Run::good().facts();
    other["version"] = json!(2);
    let mut partial = Run::good().facts();
    partial.as_object_mut().unwrap().remove("power");
    for (facts, said) in [
        (
            other.to_string(),
            "the facts are of version 2, this verifier reads version 1",
        ),
        (partial.to_string(), "missing field `power`"),
        ("{}".into(), "missing field `version`"),
        ("no JSON".into(), "these are no facts of a run: expected"),
    ] {
        let output = verifier(&facts);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
        let error = text(&output.stderr);
        assert!(
            error.starts_with("verifier: cannot use ") && error.contains(said),
            "{error}"
        );
    }
    let output = command("/nowhere/facts.json");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("cannot read /nowhere/facts.json"));
}
