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
        None => says_nothing(desired),
    }
}

fn same(desired: &Value, present: Option<&Value>, owned: &Map<String, Value>) -> bool {
    let Some(present) = present else {
        return false;
    };
    let parts: Vec<_> = owned.iter().filter(|(key, _)| *key != ".").collect();
    if parts.is_empty() {
        // Only the container is owned, or it is a leaf.
        return desired == present || (owned.contains_key(".") && says_nothing(desired));
    }
    let unowned = match desired {
        Value::Object(fields) => {
            let mut unowned = fields
                .iter()
                .filter(|(key, _)| !owned.contains_key(&format!("f:{key}")));
            unowned.any(|(_, field)| !says_nothing(field))
        }
        Value::Array(items) => items.len() != parts.len(),
        _ => true,
    };
    let empty = Map::new();
    !unowned
        && parts.into_iter().all(|(key, owned)| {
            let owned = owned.as_object().unwrap_or(&empty);
            part(desired, key).is_some_and(|desired| same(desired, part(present, key), owned))
        })
}

/// Whether a writer of `value` owns nothing by it: nobody owns a list of conditions without conditions.
fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields.values().all(says_nothing),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
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
        let two = json!([{ "type": "Ready", "status": "True" }, { "type": "Paused", "status": "True" }]);
        let changes = [
            ("", "power", json!("off")),
            ("/bmc", "driver", json!("redfish")),
            ("/conditions/0", "status", json!("False")),
            ("", "phase", json!("Wiping")),
            ("/bmc", "vendor", json!("Dell")),
            ("", "conditions", two),
            ("", "conditions", json!([])),
            ("", "power", Value::Null),
        ];
        for (at, field, value) in changes {
            let mut status = desired();
            status.pointer_mut(at).unwrap()[field] = value;
            drop_nulls(&mut status);
            assert_ne!(status, desired());
            assert!(
                !is_as_applied(&status, &present(), Some(&conditions_owned())),
                "{status}"
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
        let nothing = json!({ "bmc": {}, "conditions": [] });
        assert!(is_as_applied(&nothing, &desired(), None));
        let mut more = desired();
        more["addresses"] = json!([]);
        assert!(is_as_applied(&more, &present(), Some(&conditions_owned())));
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
        let condition = |kind: &str, status: &str, time: &str| {
            let mut condition = json!({ "type": kind, "status": status, "message": time });
            condition["lastTransitionTime"] = json!(time);
            condition
        };
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
