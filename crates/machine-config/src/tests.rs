use proptest::prelude::*;
use serde_json::json;

use super::*;

fn config(text: &str) -> Config {
    Config::parse(text).unwrap()
}

fn after(base: &str, patches: &[&str]) -> Vec<Value> {
    let mut config = config(base);
    for patch in patches {
        config.apply(patch).unwrap();
    }
    config.documents
}

fn one(base: &str, patch: &str) -> Value {
    let mut documents = after(base, &[patch]);
    assert_eq!(documents.len(), 1, "{documents:?}");
    documents.remove(0)
}

fn labelled(text: &str) -> Vec<Value> {
    let mut config = config(text);
    config.label_node("metal.sidero.dev/uuid", "u").unwrap();
    config.documents
}

#[test]
fn the_label_is_added_whatever_of_the_kubelet_is_there() {
    let label = |document: &Value| document["machine"]["kubelet"]["extraArgs"]["node-labels"].clone();
    for text in [
        "version: v1alpha1\nmachine: {kubelet: {}}",
        "version: v1alpha1\nmachine:",
        "version: v1alpha1\ncluster: {}",
        "machine: {kubelet: {extraArgs: {node-labels: ''}}}",
    ] {
        assert_eq!(label(&labelled(text)[0]), "metal.sidero.dev/uuid=u", "{text}");
    }
    let present = labelled("machine: {kubelet: {extraArgs: {foo: bar, node-labels: a=b}}}");
    assert_eq!(label(&present[0]), "a=b,metal.sidero.dev/uuid=u");
    assert_eq!(present[0]["machine"]["kubelet"]["extraArgs"]["foo"], "bar");
    // Talos 1.13 takes lists
    let list = labelled("machine: {kubelet: {extraArgs: {v: [1], node-labels: [a=b]}}}");
    assert_eq!(label(&list[0]), json!(["a=b", "metal.sidero.dev/uuid=u"]));
}

#[test]
fn the_label_stands_in_the_document_that_has_labels() {
    let documents = labelled("machine: {type: worker}\n---\napiVersion: v1alpha1\nkind: KubeNodeConfig\n");
    assert_eq!(documents[0], json!({ "machine": { "type": "worker" } }));
    assert_eq!(documents[1]["labels"], json!({ "metal.sidero.dev/uuid": "u" }));
    let error = config("apiVersion: v1alpha1\nkind: HostnameConfig\n").label_node("k", "v");
    assert!(error.unwrap_err().to_string().contains("unknown config type"));
}

#[test]
fn operations_change_the_machines_own_document_of_several() {
    let base = "apiVersion: v1alpha1\nkind: HostnameConfig\nauto: stable\n---\nmachine: {kubelet: {extraArgs: {foo: bar}}}\n";
    let mut config = config(base);
    config
        .apply_operations(&[
            json!({ "op": "add", "path": "/machine/network", "value": { "hostname": "example2" } }),
            json!({ "op": "add", "path": "/machine/empty" }),
        ])
        .unwrap();
    let machine = &config.documents[1]["machine"];
    assert_eq!(machine["network"]["hostname"], "example2");
    assert_eq!(machine["kubelet"]["extraArgs"]["foo"], "bar");
    assert!(machine["empty"].is_null() && machine.as_object().unwrap().contains_key("empty"));
}

#[test]
fn a_patch_that_fails_changes_nothing_and_shows_nothing() {
    let mut config = config("machine: {token: s3cret, type: worker}");
    let before = config.documents.clone();
    for operations in [
        json!([{ "op": "add", "path": "/machine/a", "value": 1 }, { "op": "remove", "path": "/machine/none" }]),
        json!([{ "op": "test", "path": "/machine/token", "value": "guess" }]),
        json!([{ "op": "explode", "path": "/machine" }]),
    ] {
        let error = config
            .apply_operations(operations.as_array().unwrap())
            .unwrap_err();
        let text = error.to_string();
        assert!(!text.contains("s3cret") && !text.contains("guess"), "{text}");
        assert_eq!(config.documents, before);
    }
    for text in ["a: [", "just text", "- 1\n---\n- 2", "a: b\na: s3cret"] {
        let error = config.apply(text).unwrap_err().to_string();
        assert!(!error.contains("s3cret") && !error.is_empty(), "{error}");
    }
}

#[test]
fn a_strategic_patch_may_be_a_json_patch_in_json_or_yaml() {
    for patch in [
        r#"[{"op": "replace", "path": "/machine/type", "value": "controlplane"}]"#,
        "- op: replace\n  path: /machine/type\n  value: controlplane\n",
    ] {
        assert_eq!(
            one("machine: {type: worker}", patch)["machine"]["type"],
            "controlplane"
        );
    }
}

#[test]
fn mappings_are_merged_lists_appended_and_values_replaced() {
    let merged = one(
        "machine: {certSANs: [a], sysctls: {x: '1'}, install: {disk: /dev/sda, wipe: true}}",
        "machine: {certSANs: [b], sysctls: {y: '2'}, install: {disk: /dev/vda, wipe: false}, kubelet:}",
    );
    assert_eq!(
        merged["machine"],
        json!({
            "certSANs": ["a", "b"], "sysctls": { "x": "1", "y": "2" },
            "install": { "disk": "/dev/vda", "wipe": false }, "kubelet": null,
        })
    );
}

#[test]
fn the_exceptions_of_lists_are_those_of_talos() {
    let base = "cluster: {network: {podSubnets: [10.0.0.0/8]}, apiServer: {admissionControl: [{name: a, configuration: {x: 1}}]}}
machine: {network: {interfaces: [{interface: eth0, mtu: 1, vlans: [{vlanId: 1, dhcp: true}]}, {deviceSelector: {mac: m}, mtu: 2}]}}";
    let patch = "cluster: {network: {podSubnets: [10.1.0.0/16]}, apiServer: {admissionControl: [{name: a, configuration: {y: 2}}, {name: b}]}}
machine: {network: {interfaces: [{interface: eth0, addresses: [c], vlans: [{vlanId: 1, mtu: 9}, {vlanId: 2}]}, {deviceSelector: {mac: m}, mtu: 3}, {interface: eth1}]}}";
    let merged = one(base, patch);
    assert_eq!(merged["cluster"]["network"]["podSubnets"], json!(["10.1.0.0/16"]));
    assert_eq!(
        merged["cluster"]["apiServer"]["admissionControl"],
        json!([{ "name": "a", "configuration": { "x": 1, "y": 2 } }, { "name": "b" }])
    );
    assert_eq!(
        merged["machine"]["network"]["interfaces"],
        json!([
            { "interface": "eth0", "mtu": 1, "addresses": ["c"], "vlans": [{ "vlanId": 1, "dhcp": true, "mtu": 9 }, { "vlanId": 2 }] },
            { "deviceSelector": { "mac": "m" }, "mtu": 3 },
            { "interface": "eth1" },
        ])
    );
}

#[test]
fn documents_are_told_apart_by_version_kind_and_name_and_others_are_added_in_order() {
    let base = "machine: {type: worker}\n---\napiVersion: v1alpha1\nkind: ExtensionServiceConfig\nname: a\nconfigFiles: [{mountPath: /x, content: 1}]\n";
    let patch = "machine: {type: controlplane}\n---\napiVersion: v1alpha1\nkind: ExtensionServiceConfig\nname: b\n---\napiVersion: v1alpha1\nkind: ExtensionServiceConfig\nname: a\nconfigFiles: [{mountPath: /x, content: 2}, {mountPath: /y}]\n";
    let documents = after(base, &[patch]);
    assert_eq!(documents.len(), 3);
    assert_eq!(documents[0]["machine"]["type"], "controlplane");
    assert_eq!(
        documents[1]["configFiles"],
        json!([{ "mountPath": "/x", "content": 2 }, { "mountPath": "/y" }])
    );
    assert_eq!(documents[2]["name"], "b");
}

#[test]
fn what_is_deleted_is_gone_wherever_it_stands() {
    let base = "machine: {kubelet: {a: 1}, network: {interfaces: [{interface: eth0}, {interface: eth1}]}}\n---\napiVersion: v1\nkind: X\n";
    let patch = "machine: {kubelet: {$patch: delete}, network: {interfaces: [{interface: eth0, $patch: delete}]}, none: {$patch: delete}}\n---\napiVersion: v1\nkind: X\n$patch: delete\n---\napiVersion: v1\nkind: Y\n$patch: delete\n";
    let documents = after(base, &[patch]);
    assert_eq!(
        documents,
        [json!({ "machine": { "network": { "interfaces": [{ "interface": "eth1" }] } } })]
    );
}

#[test]
fn texts_that_older_yaml_reads_as_something_else_stay_texts() {
    let text = config("machine: {a: 'no', b: '22:22', c: '0644', d: '1e3', e: 'null', f: \"x\\ny\"}")
        .to_yaml()
        .unwrap();
    for bare in ["a: no\n", "b: 22:22\n", "c: 0644\n", "d: 1e3\n", "e: null\n"] {
        assert!(!text.contains(bare), "{text}");
    }
    let again = config(&text);
    assert_eq!(again.documents[0]["machine"]["f"], "x\ny");
}

#[test]
fn a_text_that_grows_without_end_is_refused() {
    let mut text = String::from("a: &a [x,x,x,x,x,x,x,x,x]\n");
    for (name, of) in ["b", "c", "d", "e", "f", "g", "h", "i"]
        .iter()
        .zip("abcdefgh".chars())
    {
        let aliases = vec![format!("*{of}"); 9].join(",");
        text = [text, format!("{name}: &{name} [{aliases}]\n")].concat();
    }
    assert!(Config::parse(&text).is_err());
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[ -~]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{1,6}", inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_as_the_same(value in any_value()) {
        let config = Config { documents: vec![json!({ "machine": value })] };
        let again = Config::parse(&config.to_yaml().unwrap()).unwrap();
        prop_assert_eq!(again.documents, config.documents);
    }

    #[test]
    fn an_empty_patch_changes_nothing(value in any_value()) {
        let mut config = Config { documents: vec![json!({ "machine": value })] };
        let before = config.documents.clone();
        config.apply("machine: {}").ok();
        if before[0]["machine"].is_object() {
            prop_assert_eq!(config.documents, before);
        }
    }

    #[test]
    fn nothing_that_anybody_sends_panics(data in prop::collection::vec(any::<u8>(), 0..400)) {
        fuzz(&data);
    }
}
