//! The label of the Node: where it stands depends on the release of Talos.

use serde_json::{Map, Value, json};

use crate::{Config, PatchError};

/// The document that has the labels since Talos 1.14, which refuses the older field beside it.
const KUBE_NODE: &str = "KubeNodeConfig";
const ARGUMENT: &str = "node-labels";

pub(crate) fn add(config: &mut Config, key: &str, value: &str) -> Result<(), PatchError> {
    let document = config
        .documents
        .iter_mut()
        .find(|document| document["kind"] == KUBE_NODE);
    if let Some(document) = document {
        let labels = mapping(document, "labels").ok_or_else(|| misplaced("KubeNodeConfig.labels"))?;
        labels.insert(key.into(), value.into());
        return Ok(());
    }
    let machine = config.machine()?;
    let arguments = mapping(machine, "machine")
        .and_then(|machine| mapping_in(machine, "kubelet"))
        .and_then(|kubelet| mapping_in(kubelet, "extraArgs"))
        .ok_or_else(|| misplaced("machine.kubelet.extraArgs"))?;
    let label = format!("{key}={value}");
    match arguments.get_mut(ARGUMENT) {
        None | Some(Value::Null) => drop(arguments.insert(ARGUMENT.into(), label.into())),
        Some(Value::String(present)) if present.is_empty() => *present = label,
        Some(Value::String(present)) => {
            present.push(',');
            present.push_str(&label);
        }
        Some(Value::Array(present)) => present.push(label.into()),
        Some(_) => return Err(misplaced("machine.kubelet.extraArgs.node-labels")),
    }
    Ok(())
}

fn mapping<'a>(value: &'a mut Value, key: &str) -> Option<&'a mut Map<String, Value>> {
    mapping_in(value.as_object_mut()?, key)
}

/// The mapping at `key`, made where there is none.
fn mapping_in<'a>(map: &'a mut Map<String, Value>, key: &str) -> Option<&'a mut Map<String, Value>> {
    let value = map.entry(key).or_insert(Value::Null);
    if value.is_null() {
        *value = json!({});
    }
    value.as_object_mut()
}

fn misplaced(path: &str) -> PatchError {
    PatchError::new(format!("{path} is of a type that labels cannot stand in"))
}
