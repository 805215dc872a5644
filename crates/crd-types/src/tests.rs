//! The JSON form of the kinds: what is read is written unchanged, and what nobody expected is survived.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::infrastructure::{
    MetalCluster, MetalClusterStatus, MetalMachine, MetalMachineSpec, MetalMachineStatus,
    MetalMachineTemplate, ServerBinding, ServerBindingStatus,
};
use crate::metal::{
    BootFromDiskMethod, Environment, EnvironmentStatus, Mode, Password, ReclaimPolicy, Server, ServerClass,
    ServerClassStatus, ServerSpec, ServerStatus, WipeDisks,
};

fn read<T: DeserializeOwned>(json: &Value) -> T {
    T::deserialize(json).unwrap()
}

fn assert_unchanged<T: DeserializeOwned + Serialize>(json: &Value) {
    assert_eq!(serde_json::to_value(read::<T>(json)).unwrap(), *json);
}

#[test]
fn samples_are_read_and_written_unchanged() {
    let mut kinds = BTreeSet::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/samples");
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let sample: Value = serde_saphyr::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let kind = sample["kind"].as_str().unwrap();
        match kind {
            "Environment" => assert_unchanged::<Environment>(&sample),
            "Server" => assert_unchanged::<Server>(&sample),
            "ServerClass" => assert_unchanged::<ServerClass>(&sample),
            "MetalCluster" => assert_unchanged::<MetalCluster>(&sample),
            "MetalMachine" => assert_unchanged::<MetalMachine>(&sample),
            "MetalMachineTemplate" => assert_unchanged::<MetalMachineTemplate>(&sample),
            "ServerBinding" => assert_unchanged::<ServerBinding>(&sample),
            "Secret" => {}
            _ => panic!("{} is a {kind}", path.display()),
        }
        kinds.insert(kind.to_owned());
    }
    assert_eq!(kinds.len(), 8, "a sample of each kind, and a Secret: {kinds:?}");
}

#[test]
fn full_statuses_are_read_and_written_unchanged() {
    let conditions = json!([{
        "type": "ProviderSet", "status": "False", "severity": "Warning", "reason": "ProviderUpdateFailed",
        "message": "no matching nodes found", "lastTransitionTime": "2024-05-01T10:00:00Z",
    }]);
    assert_unchanged::<ServerStatus>(&json!({
        "ready": true, "inUse": false, "isClean": true, "power": "off", "conditions": conditions,
        "addresses": [{ "type": "InternalIP", "address": "10.4.1.18" }],
    }));
    assert_unchanged::<ServerClassStatus>(&json!({ "serversAvailable": ["a"], "serversInUse": [] }));
    assert_unchanged::<EnvironmentStatus>(&json!({ "conditions": [
        { "url": "http://a/vmlinuz", "sha512": "", "status": "True", "type": "Ready" },
        { "url": "http://a/initramfs.xz", "sha512": "", "status": "False", "type": "Ready" },
    ] }));
    assert_unchanged::<MetalClusterStatus>(&json!({
        "ready": true, "initialization": { "provisioned": true }, "conditions": conditions,
    }));
    assert_unchanged::<MetalMachineStatus>(&json!({
        "ready": true, "initialization": { "provisioned": true }, "conditions": conditions,
        "addresses": [{ "type": "InternalIP", "address": "10.4.1.18" }, { "type": "Other", "address": "x" }],
        "failureReason": "a", "failureMessage": "b",
    }));
    assert_unchanged::<ServerBindingStatus>(&json!({ "ready": true, "conditions": conditions }));
}

#[test]
fn a_class_writes_empty_lists_not_null() {
    let status = serde_json::to_value(ServerClassStatus::default()).unwrap();
    assert_eq!(status, json!({ "serversAvailable": [], "serversInUse": [] }));
}

#[test]
fn a_status_that_says_nothing_says_nothing_when_written() {
    assert_unchanged::<MetalMachineStatus>(&json!({}));
    assert_unchanged::<ServerStatus>(&json!({}));
}

#[test]
fn the_provider_id_is_spelled_as_cluster_api_spells_it() {
    let spec = MetalMachineSpec {
        provider_id: Some("sidero://one".into()),
        ..MetalMachineSpec::default()
    };
    assert_eq!(
        serde_json::to_value(spec).unwrap(),
        json!({ "providerID": "sidero://one" })
    );
}

#[test]
fn words_that_are_not_implemented_are_read_as_what_they_are() {
    let spec: ServerSpec = read(&json!({
        "accepted": true, "mode": "adopted", "reclaimPolicy": "Keep",
        "bootFromDiskMethod": "explode", "wipe": { "disks": "none" },
    }));
    assert_eq!(spec.mode, Some(Mode::Adopted));
    assert_eq!(spec.reclaim_policy, Some(ReclaimPolicy::Other("Keep".into())));
    assert_eq!(
        spec.boot_from_disk_method,
        BootFromDiskMethod::Other("explode".into())
    );
    assert_eq!(spec.wipe.unwrap().disks, Some(WipeDisks::None));
}

#[test]
fn an_empty_word_is_no_choice() {
    let spec: ServerSpec = read(&json!({ "accepted": false, "bootFromDiskMethod": "" }));
    assert_eq!(spec, ServerSpec::default());
}

#[test]
fn a_password_is_not_in_the_debug_form_of_its_server() {
    let spec: ServerSpec = read(&json!({
        "accepted": true, "bmc": { "endpoint": "10.4.0.17", "port": 623, "user": "u", "pass": "canary" },
    }));
    assert_eq!(spec.bmc.as_ref().unwrap().pass, Some(Password("canary".into())));
    assert!(!format!("{:?}", Server::new("one", spec)).contains("canary"));
}
