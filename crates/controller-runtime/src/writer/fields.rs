//! What a writer owns of an object, compared with what it is about to apply. Pure JSON.
//!
//! Ownership is read from `managedFields` (`FieldsV1`): `f:` is a field, `k:` an item of a list by its keys, `v:` an
//! item of a set, `.` the container itself; an empty tree is a leaf with all that is in it.

use serde_json::{Map, Value};

/// Whether applying `desired` would change nothing: the writer owns exactly its fields, and `present` has their
/// values.
pub(super) fn is_as_applied(desired: &Value, present: &Value, owned: Option<&Value>) -> bool {
    match owned.and_then(Value::as_object) {
        Some(owned) => same(desired, Some(present), owned),
        None => desired.as_object().is_some_and(Map::is_empty),
    }
}

fn same(desired: &Value, present: Option<&Value>, owned: &Map<String, Value>) -> bool {
    let Some(present) = present else {
        return false;
    };
    let parts: Vec<_> = owned.iter().filter(|(key, _)| *key != ".").collect();
    if parts.is_empty() {
        // The container itself, whatever others put into it, or a leaf.
        let container = owned.contains_key(".") && (desired.is_object() || desired.is_array());
        return if container {
            is_empty(desired)
        } else {
            desired == present
        };
    }
    let count = match desired {
        Value::Object(fields) => fields.len(),
        Value::Array(items) => items.len(),
        _ => return false,
    };
    count == parts.len()
        && parts.into_iter().all(|(key, owned)| {
            let empty = Map::new();
            let owned = owned.as_object().unwrap_or(&empty);
            part(desired, key).is_some_and(|desired| same(desired, part(present, key), owned))
        })
}

/// The part of `value` that an ownership key names.
fn part<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    let (kind, rest) = key.split_once(':')?;
    match kind {
        "f" => value.get(rest),
        "k" => {
            let keys: Map<String, Value> = serde_json::from_str(rest).ok()?;
            let has_keys = |item: &&Value| keys.iter().all(|(key, value)| item.get(key) == Some(value));
            value.as_array()?.iter().find(has_keys)
        }
        "v" => {
            let wanted: Value = serde_json::from_str(rest).ok()?;
            value.as_array()?.iter().find(|item| **item == wanted)
        }
        _ => None,
    }
}

fn is_empty(value: &Value) -> bool {
    value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
}

/// Removes fields that are null: applied, they would claim a field to say nothing.
pub(super) fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// A condition that says what it said before says so since when it said it first.
pub(super) fn keep_transition_times(desired: &mut Value, present: &Value) {
    const TIME: &str = "lastTransitionTime";
    let Some(present) = present["conditions"].as_array() else {
        return;
    };
    let desired = desired.get_mut("conditions").and_then(Value::as_array_mut);
    for condition in desired.into_iter().flatten() {
        let same = |old: &&Value| old["type"] == condition["type"] && old["status"] == condition["status"];
        let since = present.iter().find(same).and_then(|old| old.get(TIME));
        if let (Some(since), Some(time)) = (since, condition.get_mut(TIME)) {
            *time = since.clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn conditions_owned() -> Value {
        json!({
            "f:power": {},
            "f:bmc": { ".": {}, "f:driver": {} },
            "f:conditions": { ".": {}, "k:{\"type\":\"Ready\"}": { ".": {}, "f:type": {}, "f:status": {} } },
        })
    }

    fn present() -> Value {
        json!({
            "power": "on",
            "bmc": { "driver": "ipmi", "seen": "by another writer" },
            "conditions": [{ "type": "NodeSeen", "status": "True" }, { "type": "Ready", "status": "True" }],
        })
    }

    fn desired() -> Value {
        json!({
            "power": "on",
            "bmc": { "driver": "ipmi" },
            "conditions": [{ "type": "Ready", "status": "True" }],
        })
    }

    #[test]
    fn fields_of_other_writers_are_no_difference() {
        assert!(is_as_applied(&desired(), &present(), Some(&conditions_owned())));
    }

    #[test]
    fn every_difference_in_own_fields_is_seen() {
        let changes: [(&str, fn(&mut Value)); 7] = [
            ("a value", |status| status["power"] = json!("off")),
            ("a nested value", |status| {
                status["bmc"]["driver"] = json!("redfish")
            }),
            ("a condition", |status| {
                status["conditions"][0]["status"] = json!("False")
            }),
            ("a new field", |status| status["phase"] = json!("Wiping")),
            ("a new nested field", |status| {
                status["bmc"]["vendor"] = json!("Dell")
            }),
            ("a new condition", |status| {
                status["conditions"] =
                    json!([{ "type": "Ready", "status": "True" }, { "type": "Paused", "status": "True" }]);
            }),
            ("a field given up", |status| {
                drop(status.as_object_mut().unwrap().remove("power"))
            }),
        ];
        for (change, apply) in changes {
            let mut status = desired();
            apply(&mut status);
            assert!(
                !is_as_applied(&status, &present(), Some(&conditions_owned())),
                "{change}"
            );
        }
    }

    #[test]
    fn a_value_that_another_writer_overwrote_is_a_difference() {
        let mut overwritten = present();
        overwritten["power"] = json!("unknown");
        assert!(!is_as_applied(
            &desired(),
            &overwritten,
            Some(&conditions_owned())
        ));
        let mut taken = conditions_owned();
        taken.as_object_mut().unwrap().remove("f:power");
        assert!(!is_as_applied(&desired(), &present(), Some(&taken)));
    }

    #[test]
    fn a_writer_that_never_wrote_writes_unless_it_has_nothing_to_say() {
        assert!(!is_as_applied(&desired(), &desired(), None));
        assert!(is_as_applied(&json!({}), &desired(), None));
    }

    #[test]
    fn sets_and_whole_values_are_compared() {
        let owned = json!({ "f:disks": { "v:\"sda\"": {}, "v:\"sdb\"": {} }, "f:blob": {} });
        let present = json!({ "disks": ["other", "sdb", "sda"], "blob": { "a": [1, 2] } });
        let with = |disks: Value, blob: Value| json!({ "disks": disks, "blob": blob });
        let same = |desired: &Value| is_as_applied(desired, &present, Some(&owned));
        assert!(same(&with(json!(["sda", "sdb"]), json!({ "a": [1, 2] }))));
        assert!(!same(&with(json!(["sda"]), json!({ "a": [1, 2] }))));
        assert!(!same(&with(json!(["sda", "sdc"]), json!({ "a": [1, 2] }))));
        assert!(!same(&with(json!(["sda", "sdb"]), json!({ "a": [2, 1] }))));
    }

    #[test]
    fn the_time_of_a_condition_moves_only_with_its_status() {
        let condition = |kind: &str, status: &str, time: &str| json!({ "type": kind, "status": status, "lastTransitionTime": time, "message": time });
        let present = json!({ "conditions": [condition("A", "True", "old"), condition("B", "True", "old")] });
        let mut desired = json!({ "conditions": [
            condition("A", "True", "new"), condition("B", "False", "new"), condition("C", "True", "new"),
        ] });
        keep_transition_times(&mut desired, &present);
        let times: Vec<_> = desired["conditions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| &c["lastTransitionTime"])
            .collect();
        assert_eq!(times, ["old", "new", "new"]);
        assert_eq!(desired["conditions"][0]["message"], "new");
    }
}
