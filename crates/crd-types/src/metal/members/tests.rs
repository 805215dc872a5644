#![expect(clippy::needless_pass_by_value, reason = "the cases of a table are literals")]

use serde_json::{Value, json};

use super::*;

const NAME: &str = "4c4c4544-0039-3010-8048-b7c04f384432";

fn server(spec: Value, status: Value, labels: Value) -> Server {
    let metadata = json!({ "name": NAME, "labels": labels });
    let mut spec = spec;
    if spec.get("accepted").is_none() {
        spec["accepted"] = true.into();
    }
    let server = json!({
        "apiVersion": "metal.sidero.dev/v1alpha2", "kind": "Server",
        "metadata": metadata, "spec": spec, "status": status,
    });
    serde_json::from_value(server).unwrap()
}

fn matches(class: &ServerClass, server: &Server) -> Result<bool, InvalidSelector> {
    Ok(Members::of(class)?.have(server))
}

fn class(spec: Value) -> ServerClass {
    let class = json!({
        "apiVersion": "metal.sidero.dev/v1alpha2", "kind": "ServerClass",
        "metadata": { "name": "c" }, "spec": spec,
    });
    serde_json::from_value(class).unwrap()
}

fn with_hardware(hardware: &Value) -> Server {
    server(json!({ "hardware": hardware }), json!({}), json!({}))
}

fn with_labels(labels: &Value) -> Server {
    server(json!({}), json!({}), labels.clone())
}

fn dual_socket() -> Value {
    json!({
        "system": { "manufacturer": "QEMU", "serialNumber": "1" },
        "compute": { "processorCount": 2, "processors": [{ "manufacturer": "Intel", "coreCount": 8 }, { "manufacturer": "AMD" }] },
        "memory": { "totalSize": "8 GB" },
    })
}

#[test]
fn hardware_matches_in_part_by_any_item() {
    let cases = [
        (json!([]), true),
        (json!([{}]), true),
        (json!([{ "system": {} }]), true),
        (json!([{ "system": { "manufacturer": "" } }]), true),
        (
            json!([{ "network": { "interfaceCount": 0, "interfaces": [] } }]),
            true,
        ),
        (json!([{ "network": { "interfaces": [{}] } }]), false),
        (json!([{ "storage": { "deviceCount": 1 } }]), false),
        (json!([{ "system": { "manufacturer": "QEMU" } }]), true),
        (json!([{ "system": { "manufacturer": "qemu" } }]), false),
        (
            json!([{ "system": { "manufacturer": "QEMU", "serialNumber": "2" } }]),
            false,
        ),
        (
            json!([{ "system": { "serialNumber": "2" } }, { "memory": { "totalSize": "8 GB" } }]),
            true,
        ),
        (json!([{ "memory": { "totalSize": "8" } }]), false),
        (json!([{ "compute": { "processorCount": 2 } }]), true),
        (json!([{ "compute": { "processorCount": 1 } }]), false),
        (
            json!([{ "compute": { "processors": [{ "manufacturer": "Intel" }] } }]),
            true,
        ),
        (
            json!([{ "compute": { "processors": [{ "manufacturer": "AMD" }] } }]),
            false,
        ),
        (
            json!([{ "compute": { "processors": [{}, { "manufacturer": "AMD" }] } }]),
            true,
        ),
        (json!([{ "compute": { "processors": [{}, {}, {}] } }]), false),
        (
            json!([{ "compute": { "processors": [{ "manufacturer": "Intel", "coreCount": 4 }] } }]),
            false,
        ),
    ];
    for (hardware, want) in cases {
        let class = class(json!({ "qualifiers": { "hardware": hardware } }));
        assert_eq!(
            matches(&class, &with_hardware(&dual_socket())),
            Ok(want),
            "{hardware}"
        );
    }
}

#[test]
fn a_server_without_inventory_matches_no_hardware_at_all() {
    let bare = server(json!({}), json!({}), json!({}));
    for (hardware, want) in [
        (json!([]), true),
        (json!([{}]), false),
        (json!([{ "system": {} }]), false),
    ] {
        let class = class(json!({ "qualifiers": { "hardware": hardware } }));
        assert_eq!(matches(&class, &bare), Ok(want), "{hardware}");
    }
}

#[test]
fn one_pair_of_the_old_label_selectors_is_enough() {
    let cases = [
        (json!([]), true),
        (json!([{}]), false),
        (json!([{ "a": "1" }]), true),
        (json!([{ "a": "2" }]), false),
        (json!([{ "a": "2", "b": "1" }]), true),
        (json!([{ "a": "2" }, { "b": "1" }]), true),
        (json!([{ "c": "" }]), false),
    ];
    for (selectors, want) in cases {
        let class = class(json!({ "qualifiers": { "labelSelectors": selectors } }));
        let server = with_labels(&json!({ "a": "1", "b": "1" }));
        assert_eq!(matches(&class, &server), Ok(want), "{selectors}");
    }
}

#[test]
fn the_selector_is_kubernetes_own() {
    let expression = |operator: &str, key: &str, values: &[&str]| json!({ "matchExpressions": [{ "key": key, "operator": operator, "values": values }] });
    let cases = [
        (json!({}), true),
        (json!({ "matchLabels": { "a": "1" } }), true),
        (json!({ "matchLabels": { "a": "1", "b": "2" } }), false),
        (expression("In", "a", &["2", "1"]), true),
        (expression("In", "c", &["1"]), false),
        (expression("NotIn", "a", &["1"]), false),
        (expression("NotIn", "c", &["1"]), true),
        (expression("Exists", "b", &[]), true),
        (expression("DoesNotExist", "b", &[]), false),
        (expression("DoesNotExist", "example.org/c", &[]), true),
    ];
    for (selector, want) in cases {
        let class = class(json!({ "selector": selector }));
        let server = with_labels(&json!({ "a": "1", "b": "1" }));
        assert_eq!(matches(&class, &server), Ok(want), "{selector}");
    }
}

#[test]
fn selector_and_qualifiers_have_to_match_both() {
    let server = server(
        json!({ "hardware": dual_socket() }),
        json!({}),
        json!({ "a": "1" }),
    );
    let qemu = json!({ "hardware": [{ "system": { "manufacturer": "QEMU" } }] });
    for (label, hardware, want) in [
        ("1", &qemu, true),
        ("2", &qemu, false),
        (
            "1",
            &json!({ "hardware": [{ "system": { "manufacturer": "X" } }] }),
            false,
        ),
    ] {
        let class = class(json!({ "selector": { "matchLabels": { "a": label } }, "qualifiers": hardware }));
        assert_eq!(matches(&class, &server), Ok(want), "{label} {hardware}");
    }
    let labels_too = json!({ "hardware": [{}], "labelSelectors": [{ "a": "2" }] });
    assert_eq!(
        matches(&class(json!({ "qualifiers": labels_too })), &server),
        Ok(false)
    );
}

#[test]
fn a_selector_without_meaning_is_refused_by_name() {
    let expression = |operator: &str, key: &str, values: &[&str]| json!({ "matchExpressions": [{ "key": key, "operator": operator, "values": values }] });
    let long = "x".repeat(64);
    let cases = [
        (expression("Near", "disk", &["a"]), "\"Near\" of \"disk\""),
        (expression("In", "disk", &[]), "In of \"disk\" has no values"),
        (
            expression("Exists", "disk", &["a"]),
            "Exists of \"disk\" takes no values",
        ),
        (
            expression("DoesNotExist", "my disk", &[]),
            "\"my disk\" is no label key",
        ),
        (expression("Exists", "", &[]), "\"\" is no label key"),
        (
            expression("Exists", "Example.org/a", &[]),
            "\"Example.org/a\" is no label key",
        ),
        (expression("Exists", "a/b/c", &[]), "\"a/b/c\" is no label key"),
        (
            expression("In", "disk", &["a", "-b"]),
            "\"-b\" of \"disk\" is no label value",
        ),
        (json!({ "matchLabels": { "a": long } }), "is no label value"),
        (json!({ "matchLabels": { long.clone(): "a" } }), "is no label key"),
    ];
    for (selector, named) in cases {
        let error = matches(&class(json!({ "selector": selector })), &with_labels(&json!({}))).unwrap_err();
        assert!(error.to_string().contains(named), "{selector}: {error}");
    }
    let most = "x".repeat(63);
    let class = class(json!({ "selector": { "matchLabels": { format!("example.org/{most}"): most } } }));
    assert_eq!(matches(&class, &with_labels(&json!({}))), Ok(false));
}

#[test]
fn available_is_what_a_cluster_can_take_now() {
    let ready = json!({ "ready": true });
    let cases = [
        (json!({}), ready.clone(), true),
        (json!({ "cordoned": false }), ready.clone(), true),
        (json!({ "cordoned": true }), ready.clone(), false),
        (json!({ "accepted": false }), ready.clone(), false),
        (json!({}), json!({ "ready": false }), false),
        (json!({}), json!({}), false),
        (json!({}), json!({ "ready": true, "inUse": true }), false),
    ];
    for (spec, status, want) in cases {
        let server = server(spec, status, json!({}));
        assert_eq!(is_available(&server), want, "{server:?}");
    }
    let mut going = server(json!({}), ready, json!({}));
    going.metadata.deletion_timestamp = Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap());
    assert!(!is_available(&going));
}
