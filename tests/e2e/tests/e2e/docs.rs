//! Every command in README and docs is run: the `console` blocks of a page are one session of a user's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use testbed::{Bed, Place};

/// Commands that are run by something else: they would run this test, or take minutes.
const RUN_ELSEWHERE: [(&str, &str); 2] = [
    ("cargo xtask test", "CI is this command"),
    (
        "cargo xtask demo",
        "joining and runs: the same function, in the test's process and as the program",
    ),
];

pub(crate) async fn every_command_in_readme_and_docs_works(bed: &Bed) -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut pages = vec![root.join("README.md")];
    markdown_files(&root.join("docs"), &mut pages)?;
    let mut commands = 0;
    for page in pages {
        let session = session(&fs::read_to_string(&page)?);
        commands += session.len();
        let typed: Vec<_> = session
            .iter()
            .filter(|line| !RUN_ELSEWHERE.iter().any(|(prefix, _)| line.starts_with(prefix)))
            .collect();
        if !typed.is_empty() {
            let script = typed
                .iter()
                .map(|line| line.as_str())
                .collect::<Vec<_>>()
                .join("\n");
            run(bed, &root, &script).with_context(|| format!("the commands of {}", page.display()))?;
        }
    }
    assert!(commands > 0, "looked at no command");
    println!("{commands} commands");
    Ok(())
}

/// The commands of a page's `console` blocks, without their prompts; a line that ends in `\` goes on in the next.
fn session(page: &str) -> Vec<String> {
    let mut commands: Vec<String> = Vec::new();
    let mut inside = false;
    let mut goes_on = false;
    for line in page.lines() {
        if line.starts_with("```") {
            inside = line == "```console";
        } else if inside {
            if let Some(command) = line.strip_prefix("$ ") {
                commands.push(command.into());
                goes_on = command.ends_with('\\');
            } else if goes_on && let Some(last) = commands.last_mut() {
                last.push('\n');
                last.push_str(line);
                goes_on = line.ends_with('\\');
            }
        }
    }
    commands
}

/// Runs one page's commands in one shell, background commands included, inside the run's network: pages name ports,
/// and those of the machine may be somebody else's.
fn run(bed: &Bed, root: &Path, script: &str) -> anyhow::Result<()> {
    let script =
        format!("set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\nset -x\n{script}");
    let mut command = bed.run().network().command(Place::Run, Path::new("timeout"));
    command
        .args(["--kill-after=5", "300", "bash", "-c", &script])
        .current_dir(root)
        .stdin(Stdio::null());
    let output = at_home(bed, &mut command).output()?;
    if !output.status.success() {
        let (out, err) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        bail!("{}:\n{out}{err}", output.status);
    }
    Ok(())
}

/// Gives `command` the test bed's kubeconfig, its tools in front of PATH, and kubectl's cache in the run's folder.
fn at_home<'a>(bed: &Bed, command: &'a mut Command) -> &'a mut Command {
    let path = std::env::var("PATH").unwrap_or_default();
    command
        .env("KUBECONFIG", bed.management.kubeconfig())
        .env("KUBECACHEDIR", bed.run().folder().join("kubectl"))
        .env(
            "PATH",
            format!("{}:{path}", bed.tools().folder().join("bin").display()),
        )
}

fn markdown_files(folder: &Path, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            markdown_files(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
    Ok(())
}

pub(crate) async fn every_page_is_in_the_summary(_bed: &Bed) -> anyhow::Result<()> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let summary = fs::read_to_string(docs.join("SUMMARY.md"))?;
    let linked: Vec<_> = summary
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .collect();
    for link in &linked {
        assert!(
            docs.join(link).is_file(),
            "SUMMARY.md names {link}, which is not there"
        );
    }
    let mut pages = Vec::new();
    markdown_files(&docs, &mut pages)?;
    for page in pages {
        let name = page.strip_prefix(&docs)?.display().to_string();
        assert!(
            name == "SUMMARY.md" || linked.contains(&name.as_str()),
            "SUMMARY.md does not name {name}"
        );
    }
    Ok(())
}
