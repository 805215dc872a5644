//! The rules of the house that a compiler does not check, read from `cargo metadata`.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test file")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// What `cargo metadata` says of the workspace and all it depends on.
struct Graph {
    members: BTreeMap<String, Value>,
    names: BTreeMap<String, String>,
    edges: BTreeMap<String, Vec<(String, bool)>>,
    packages: Vec<Value>,
}

impl Graph {
    fn read() -> Self {
        let output = Command::new(env!("CARGO"))
            .args([
                "metadata",
                "--format-version=1",
                "--locked",
                "--all-features",
                "--manifest-path",
            ])
            .arg(root().join("Cargo.toml"))
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let list = |value: &Value| value.as_array().unwrap().clone();
        let members: BTreeSet<_> = list(&metadata["workspace_members"]).iter().map(text).collect();
        let packages = list(&metadata["packages"]);
        let names = packages
            .iter()
            .map(|package| (text(&package["id"]), text(&package["name"])))
            .collect();
        let edges = list(&metadata["resolve"]["nodes"])
            .iter()
            .map(|node| {
                let deps = list(&node["deps"]).into_iter().map(|dep| {
                    let only_dev = list(&dep["dep_kinds"]).iter().all(|kind| kind["kind"] == "dev");
                    (text(&dep["pkg"]), only_dev)
                });
                (text(&node["id"]), deps.collect())
            })
            .collect();
        let members = packages
            .iter()
            .filter(|package| members.contains(package["id"].as_str().unwrap()))
            .map(|package| (text(&package["name"]), package.clone()))
            .collect();
        Self {
            members,
            names,
            edges,
            packages,
        }
    }

    /// Names of all that `member` links in the product: its normal and build dependencies, all the way down.
    fn product_tree(&self, member: &str) -> BTreeSet<&str> {
        let mut seen = BTreeSet::new();
        let mut queue = VecDeque::from([self.members[member]["id"].as_str().unwrap()]);
        while let Some(id) = queue.pop_front() {
            for (dependency, only_dev) in &self.edges[id] {
                if !only_dev && seen.insert(dependency.as_str()) {
                    queue.push_back(dependency);
                }
            }
        }
        seen.into_iter().map(|id| self.names[id].as_str()).collect()
    }

    /// Members among `names` that exist; the house grows room by room.
    fn present<'a>(&self, names: &[&'a str]) -> Vec<&'a str> {
        names
            .iter()
            .copied()
            .filter(|name| self.members.contains_key(*name))
            .collect()
    }

    fn assert_none(&self, members: &[&str], banned: &[&str]) {
        let members = self.present(members);
        assert!(!members.is_empty(), "looked at no crate");
        for member in &members {
            let tree = self.product_tree(member);
            for ban in banned {
                assert!(
                    !tree.contains(ban),
                    "{member} must not depend on {ban}: see docs/architecture.md"
                );
            }
        }
        println!("{} crates looked at: {members:?}", members.len());
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().into()
}

#[test]
fn protocol_and_decision_crates_know_no_kubernetes_and_no_servers() {
    let crates = [
        "ipmi",
        "redfish-client",
        "boot-protocols",
        "machine-config",
        "hardware-types",
        "lifecycle",
        "power-manager",
    ];
    Graph::read().assert_none(
        &crates,
        &["kube", "kube-core", "kube-client", "k8s-openapi", "axum", "tonic"],
    );
}

#[test]
fn pure_crates_know_no_runtime() {
    Graph::read().assert_none(
        &["hardware-types", "lifecycle", "boot-protocols", "machine-config"],
        &["tokio"],
    );
}

#[test]
fn nothing_outside_tests_depends_on_tests() {
    let graph = Graph::read();
    let tests = root().join("tests");
    let in_tests =
        |package: &Value| Path::new(package["manifest_path"].as_str().unwrap()).starts_with(&tests);
    let test_crates: BTreeSet<_> = graph
        .members
        .iter()
        .filter(|(_, package)| in_tests(package))
        .map(|(name, _)| name.as_str())
        .collect();
    assert!(!test_crates.is_empty());
    for (name, package) in graph.members.iter().filter(|(_, package)| !in_tests(package)) {
        for dependency in package["dependencies"].as_array().unwrap() {
            let dependency = dependency["name"].as_str().unwrap();
            assert!(
                !test_crates.contains(dependency),
                "{name} must not depend on {dependency}"
            );
        }
    }
}

#[test]
fn the_simulator_shares_no_code_with_the_redfish_client() {
    let graph = Graph::read();
    for member in graph.present(&["bmc-sim"]) {
        assert!(
            !graph.product_tree(member).contains("redfish-client"),
            "{member} would only test the client's own view"
        );
    }
}

#[test]
fn no_second_tls_stack_is_in_any_tree() {
    let graph = Graph::read();
    assert!(graph.names.len() > 50, "looked at {} packages", graph.names.len());
    for name in graph.names.values() {
        for ban in ["aws-lc-rs", "aws-lc-sys", "openssl", "openssl-sys", "native-tls"] {
            assert_ne!(
                name, ban,
                "TLS is rustls with ring everywhere: cargo tree -i {ban}"
            );
        }
    }
    println!("{} packages looked at", graph.names.len());
}

#[test]
fn licences_and_sources_are_those_we_accept() {
    let accepted = [
        "MIT",
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "ISC",
        "Zlib",
        "Unicode-3.0",
        "Unlicense",
        "CC0-1.0",
        "0BSD",
        "BSL-1.0",
        "MIT-0",
        "CDLA-Permissive-2.0",
        "Apache-2.0 WITH LLVM-exception",
    ];
    let packages = Graph::read().packages;
    for package in &packages {
        let name = &package["name"];
        let licence = package["license"]
            .as_str()
            .unwrap_or_default()
            .replace('/', " OR ");
        // Each AND part needs one accepted alternative.
        let fine = licence.split(" AND ").all(|part| {
            part.split(" OR ")
                .any(|one| accepted.contains(&one.trim_matches(['(', ')', ' '])))
        });
        assert!(fine, "{name}: licence {licence:?} is not accepted");
        let source = package["source"].as_str().unwrap_or("path");
        assert!(
            source == "path" || source.starts_with("registry+"),
            "{name} comes from {source}"
        );
    }
    assert!(packages.len() > 50, "looked at {} packages", packages.len());
    println!("{} packages looked at", packages.len());
}

/// The `[workspace.dependencies]` lines of the root manifest.
fn pins() -> Vec<(String, String)> {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let table = manifest
        .split("[workspace.dependencies]")
        .nth(1)
        .unwrap()
        .split("\n[")
        .next()
        .unwrap();
    let lines = table.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.split_once(" = "))
        .map(|(name, rest)| (name.into(), rest.into()))
        .collect()
}

#[test]
fn every_pin_has_a_reason_and_a_user() {
    let graph = Graph::read();
    let used: BTreeSet<_> = graph
        .members
        .values()
        .flat_map(|package| package["dependencies"].as_array().unwrap())
        .map(|dependency| dependency["name"].as_str().unwrap())
        .collect();
    let pins = pins();
    assert!(pins.len() > 10, "looked at {} pins", pins.len());
    for (name, rest) in &pins {
        assert!(
            rest.contains("path = ") || rest.contains(" # "),
            "{name} has no reason beside its pin"
        );
        assert!(
            used.contains(name.as_str()),
            "{name} is pinned but no member uses it"
        );
    }
}

#[test]
fn members_take_versions_and_lints_from_the_workspace() {
    let graph = Graph::read();
    for (name, package) in &graph.members {
        let manifest = std::fs::read_to_string(package["manifest_path"].as_str().unwrap()).unwrap();
        assert!(
            manifest.contains("[lints]\nworkspace = true"),
            "{name} has no workspace lints"
        );
        let own = manifest.lines().find(|line| line.contains("version = \""));
        assert_eq!(own, None, "{name} has a version of its own");
        let folder = Path::new(package["manifest_path"].as_str().unwrap())
            .parent()
            .unwrap();
        assert_eq!(
            folder.file_name().unwrap().to_str().unwrap(),
            name,
            "folder and package names are equal"
        );
    }
}

#[test]
fn binaries_are_a_library_plus_a_short_main() {
    let graph = Graph::read();
    let mut mains = 0;
    for target in graph
        .members
        .values()
        .flat_map(|package| package["targets"].as_array().unwrap())
    {
        if target["kind"][0] != "bin" || target["name"] == "xtask" {
            continue;
        }
        let path = target["src_path"].as_str().unwrap();
        let lines = std::fs::read_to_string(path).unwrap().lines().count();
        assert!(
            lines <= 30,
            "{path} has {lines} lines: move them into the library"
        );
        mains += 1;
    }
    assert!(mains > 0, "looked at no binary");
}
