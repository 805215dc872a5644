//! Strategic merge: mappings key by key, lists appended, single values replaced; the exceptions are a table.

use serde_json::{Map, Value};

/// The directive that removes what it stands in.
const DIRECTIVE: &str = "$patch";
const DELETE: &str = "delete";

/// How a list is merged that is not appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// As a whole.
    Replace,
    /// Entries with an equal value of one of these keys are one, the first key that both have counts.
    By(&'static [&'static str]),
}

/// The exceptions, by path; `KIND:` begins those of other documents than the machine's own.
const RULES: &[(&str, Rule)] = &[
    ("cluster.network.podSubnets", Rule::Replace),
    ("cluster.network.serviceSubnets", Rule::Replace),
    ("cluster.apiServer.auditPolicy", Rule::Replace),
    ("NetworkRuleConfig:ingress", Rule::Replace),
    ("NetworkRuleConfig:portSelector.ports", Rule::Replace),
    (
        "machine.network.interfaces",
        Rule::By(&["interface", "deviceSelector"]),
    ),
    ("machine.network.interfaces.vlans", Rule::By(&["vlanId"])),
    ("cluster.apiServer.admissionControl", Rule::By(&["name"])),
    ("ExtensionServiceConfig:configFiles", Rule::By(&["mountPath"])),
];

/// Whether a patch, or a part of one, says that what it stands for is removed.
pub(crate) fn is_deletion(patch: &Value) -> bool {
    patch.get(DIRECTIVE).and_then(Value::as_str) == Some(DELETE)
}

/// What is added by a patch where nothing was: there is nothing to delete.
pub(crate) fn without_directives(mut patch: Value) -> Value {
    match &mut patch {
        Value::Object(fields) => {
            fields.retain(|_, value| !is_deletion(value));
            for value in fields.values_mut() {
                *value = without_directives(value.take());
            }
        }
        Value::Array(items) => {
            items.retain(|item| !is_deletion(item));
            for item in items {
                *item = without_directives(item.take());
            }
        }
        _ => {}
    }
    patch
}

/// Merges a document with a patch of its kind.
pub(crate) fn merge(base: &mut Value, patch: Value, place: &str) {
    let start = match (place, base.get("kind").and_then(Value::as_str)) {
        ("", Some(kind)) => format!("{kind}:"),
        _ => place.to_owned(),
    };
    merge_at(base, patch, &start);
}

fn merge_at(base: &mut Value, patch: Value, place: &str) {
    let rule = RULES
        .iter()
        .find(|(known, _)| *known == place)
        .map(|(_, rule)| *rule);
    match (base, patch) {
        (base, patch) if rule == Some(Rule::Replace) => *base = without_directives(patch),
        (Value::Object(base), Value::Object(patch)) => merge_mappings(base, patch, place),
        (Value::Array(base), Value::Array(patch)) => merge_lists(base, patch, place, rule),
        // a mapping that is there stays where the patch has nothing: `kubelet:` alone means no change
        (Value::Object(_) | Value::Array(_), Value::Null) => {}
        (base, patch) => *base = without_directives(patch),
    }
}

fn merge_mappings(base: &mut Map<String, Value>, patch: Map<String, Value>, place: &str) {
    for (key, value) in patch {
        if is_deletion(&value) {
            base.remove(&key);
            continue;
        }
        let below = if place.is_empty() || place.ends_with(':') {
            format!("{place}{key}")
        } else {
            format!("{place}.{key}")
        };
        match base.get_mut(&key) {
            Some(present) => merge_at(present, value, &below),
            None => drop(base.insert(key, without_directives(value))),
        }
    }
}

fn merge_lists(base: &mut Vec<Value>, patch: Vec<Value>, place: &str, rule: Option<Rule>) {
    for item in patch {
        if is_deletion(&item) {
            delete(base, &item);
            continue;
        }
        let same = match rule {
            Some(Rule::By(keys)) => base.iter().position(|present| are_one(present, &item, keys)),
            Some(Rule::Replace) | None => None,
        };
        match same {
            Some(at) => merge_at(&mut base[at], item, place),
            None => base.push(without_directives(item)),
        }
    }
}

/// Removes the first entry that has what the directive's mapping says besides.
fn delete(base: &mut Vec<Value>, directive: &Value) {
    let wanted = directive.as_object();
    let wanted = wanted.and_then(|fields| fields.iter().find(|(key, _)| *key != DIRECTIVE));
    if let Some((key, value)) = wanted
        && let Some(at) = base.iter().position(|item| item.get(key) == Some(value))
    {
        base.remove(at);
    }
}

fn are_one(a: &Value, b: &Value, keys: &[&str]) -> bool {
    let both = keys.iter().find_map(|key| Some((a.get(key)?, b.get(key)?)));
    both.is_some_and(|(a, b)| a == b)
}
