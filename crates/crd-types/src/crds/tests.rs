//! The manifests as a whole: against the folder, against the original's schema, against what the API server wants.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::*;

mod outline;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Plural, name of the version, and root schema of every served version.
fn served() -> Vec<(String, String, Value)> {
    let mut schemas = Vec::new();
    for crd in all() {
        for version in crd.spec.versions.into_iter().filter(|version| version.served) {
            let schema = version.schema.unwrap().open_api_v3_schema.unwrap();
            schemas.push((
                crd.spec.names.plural.clone(),
                version.name,
                serde_json::to_value(schema).unwrap(),
            ));
        }
    }
    schemas
}

/// Calls `f` with path and schema of every field below `schema`.
fn each_field(path: &str, schema: &Value, f: &mut impl FnMut(&str, &Value)) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        f(&path, field);
        each_field(&path, field, f);
    }
    for (inner, mark) in [("items", "[]"), ("additionalProperties", "{}")] {
        if let Some(inner) = schema.get(inner) {
            each_field(&format!("{path}{mark}"), inner, f);
        }
    }
}

#[test]
fn the_folder_crds_equals_the_types() {
    let folder = repository().join("crds");
    let on_disk: BTreeMap<String, String> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            (
                entry.file_name().into_string().unwrap(),
                fs::read_to_string(entry.path()).unwrap(),
            )
        })
        .collect();
    let generated: BTreeMap<String, String> = all()
        .iter()
        .map(|crd| (file_name(crd), yaml(crd).unwrap()))
        .collect();
    assert_eq!(generated.len(), 7);
    let names: BTreeSet<&String> = on_disk.keys().chain(generated.keys()).collect();
    let differing: Vec<_> = names
        .into_iter()
        .filter(|name| on_disk.get(*name) != generated.get(*name))
        .collect();
    assert!(
        differing.is_empty(),
        "crds/ is not what the types say: {differing:?}; run `cargo xtask crds`"
    );
}

#[test]
fn a_manifest_reads_back_as_what_was_written() {
    for crd in all() {
        let read: Value = serde_saphyr::from_str(&yaml(&crd).unwrap()).unwrap();
        assert_eq!(read, serde_json::to_value(&crd).unwrap(), "{}", file_name(&crd));
    }
}

#[test]
fn every_field_of_every_served_version_is_described() {
    let (mut seen, mut bare) = (0, Vec::new());
    for (plural, version, schema) in served() {
        assert!(schema["description"].is_string(), "{plural} {version}");
        each_field(&plural, &schema, &mut |path, field| {
            seen += 1;
            if field["description"]
                .as_str()
                .is_none_or(|text| text.trim().is_empty())
            {
                bare.push(path.to_owned());
            }
        });
    }
    println!("{seen} fields");
    assert!(seen > 0, "no field was looked at");
    assert!(bare.is_empty(), "without description: {bare:#?}");
}

#[test]
fn no_format_is_unknown_to_the_api_server() {
    let mut formats = BTreeSet::new();
    for (plural, _, schema) in served() {
        each_field(&plural, &schema, &mut |_, field| {
            formats.extend(field["format"].as_str().map(str::to_owned));
        });
    }
    assert_eq!(formats, ["date-time", "int32", "int64"].map(str::to_owned).into());
}

#[test]
fn only_arbitrary_json_may_be_null() {
    let mut nullable = BTreeSet::new();
    for (plural, _, schema) in served() {
        each_field(&plural, &schema, &mut |path, field| {
            nullable.extend((field["nullable"] == true).then(|| path.to_owned()));
        });
    }
    assert_eq!(
        nullable,
        [
            "servers.spec.configPatches[].value",
            "serverclasses.spec.configPatches[].value"
        ]
        .map(str::to_owned)
        .into()
    );
}

/// What a user sees of a kind: scope, versions as `name`, `name (stored)` or `name (unserved)`, whether status is a
/// subresource, categories, and columns as `Name` or `Name*` where only `-o wide` shows it.
fn seen(crd: &CustomResourceDefinition) -> String {
    let spec = &crd.spec;
    let versions: Vec<String> = spec
        .versions
        .iter()
        .map(|version| match (version.served, version.storage) {
            (true, true) => format!("{} (stored)", version.name),
            (false, false) => format!("{} (unserved)", version.name),
            other => panic!("{} is served, stored: {other:?}", version.name),
        })
        .collect();
    let subresource = spec.versions.iter().all(|version| version.subresources.is_some());
    let columns = spec
        .versions
        .last()
        .unwrap()
        .additional_printer_columns
        .iter()
        .flatten();
    let columns: Vec<String> = columns
        .map(|column| {
            format!(
                "{}{}",
                column.name,
                if column.priority == Some(1) { "*" } else { "" }
            )
        })
        .collect();
    format!(
        "{} {} [{}] status={subresource} {:?} [{}]",
        spec.names.plural,
        spec.scope,
        versions.join(", "),
        spec.names.categories.iter().flatten().collect::<Vec<_>>(),
        columns.join(", "),
    )
}

#[test]
fn kinds_look_as_users_know_them() {
    let want = [
        "environments Cluster [v1alpha1 (unserved), v1alpha2 (stored)] status=true [] [Kernel, Initrd, Ready, Age]",
        "serverclasses Cluster [v1alpha1 (unserved), v1alpha2 (stored)] status=true [] [Available, In Use, Age]",
        "servers Cluster [v1alpha1 (unserved), v1alpha2 (stored)] status=true [] \
         [Hostname, BMC IP*, Accepted, Cordoned, Allocated, Clean, Power, Ready, Driver, Firmware, Age]",
        "metalclusters Namespaced [v1alpha2 (unserved), v1alpha3 (stored)] status=true [\"cluster-api\"] \
         [Cluster, Ready, Endpoint*, Age]",
        "metalmachines Namespaced [v1alpha2 (unserved), v1alpha3 (stored)] status=true [\"cluster-api\"] \
         [Ready, Cluster, Machine, Server, Age]",
        "metalmachinetemplates Namespaced [v1alpha2 (unserved), v1alpha3 (stored)] status=false [\"cluster-api\"] []",
        "serverbindings Cluster [v1alpha3 (stored)] status=true [] \
         [Ready, Server*, ServerClass*, MetalMachine, Cluster, Age]",
    ];
    assert_eq!(all().iter().map(seen).collect::<Vec<_>>(), want);
}

#[test]
fn an_object_of_an_old_version_loses_nothing_and_gets_the_current_defaults() {
    let mut looked_at = 0;
    for crd in all() {
        let [old, current] = &crd.spec.versions[..] else {
            continue;
        };
        looked_at += 1;
        let schema_of = |version: &CustomResourceDefinitionVersion| {
            serde_json::to_value(
                version
                    .schema
                    .as_ref()
                    .unwrap()
                    .open_api_v3_schema
                    .as_ref()
                    .unwrap(),
            )
            .unwrap()
        };
        let (old, current) = (schema_of(old), schema_of(current));
        for open in [&old, &old["properties"]["spec"]] {
            assert_eq!(
                open["x-kubernetes-preserve-unknown-fields"], true,
                "{}",
                crd.spec.names.kind
            );
        }
        let defaults = |root: &Value| {
            let mut defaults = BTreeMap::new();
            each_field("", root, &mut |path, field| {
                defaults.extend(field.get("default").map(|value| (path.to_owned(), value.clone())));
            });
            defaults
        };
        assert_eq!(defaults(&old), defaults(&current), "{}", crd.spec.names.kind);
    }
    assert_eq!(looked_at, 6);
}

#[test]
fn cluster_api_finds_its_labels_and_no_webhook() {
    for crd in all() {
        let labels = crd.metadata.labels.unwrap();
        for contract in ["v1beta1", "v1beta2"] {
            assert_eq!(labels[&format!("cluster.x-k8s.io/{contract}")], "v1alpha3");
        }
        assert_eq!(
            labels.contains_key(MOVE),
            crd.spec.group == crate::metal::GROUP,
            "{}",
            crd.spec.names.kind
        );
        assert_eq!(
            labels.contains_key(MOVE_HIERARCHY),
            crd.spec.names.kind == "Server"
        );
        assert_eq!(crd.spec.conversion, None);
    }
}

#[test]
fn the_schema_is_the_originals_and_the_listed_additions() {
    let original = outline::read(include_str!("../../testdata/original-schema.txt"));
    let additions = outline::read(include_str!("../../testdata/additions.txt"));
    let mut looked_at = 0;
    for (plural, _, schema) in served() {
        let mut want = original[&plural].clone();
        looked_at += want.len();
        for (path, ours) in &additions[&plural] {
            if let Some(theirs) = want.insert(path.clone(), ours.clone()) {
                assert!(
                    ours.starts_with(&theirs) && *ours != theirs,
                    "{plural} {path}: {ours:?} does not add to the original's {theirs:?}"
                );
            } else {
                let may_be_required = match path.trim_end_matches("[]").rsplit_once('.') {
                    None => true, // spec itself
                    Some(("spec" | "status", _)) => false,
                    Some((parent, _)) => !original[&plural].contains_key(parent),
                };
                assert!(
                    may_be_required || !ours.starts_with('*'),
                    "{plural} {path} is new and required"
                );
            }
        }
        let ours = outline::of(&schema);
        for path in want.keys().chain(ours.keys()).collect::<BTreeSet<_>>() {
            assert_eq!(
                ours.get(path),
                want.get(path),
                "{plural} {path}: ours left, wanted right"
            );
        }
    }
    println!("{looked_at} fields of the original");
    assert!(looked_at > 200);
}
