//! JSON patch operations (RFC 6902) on the machine config, as Server and ServerClass carry them.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::words::{pattern, words, words_schema};

words! {
    /// What a patch operation does (RFC 6902 §4).
    PatchOp {
        /// Adds `value` at `path`, or replaces what is there.
        Add = "add",
        /// Copies what is at `from` to `path`.
        Copy = "copy",
        /// Moves what is at `from` to `path`.
        Move = "move",
        /// Removes what is at `path`.
        Remove = "remove",
        /// Replaces what is at `path` by `value`.
        Replace = "replace",
        /// Fails unless `value` is at `path`.
        Test = "test",
    }
}
words_schema!(PatchOp, pattern);

/// One operation of a JSON patch (RFC 6902) on the machine config.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!(self.op in ['copy', 'move']) || has(self.from)",
    "message": "copy and move need from, the path to take the value from",
}]))]
pub struct ConfigPatch {
    /// What to do: add, copy, move, remove, replace or test.
    pub op: PatchOp,
    /// Where to do it, as a JSON pointer (RFC 6901), such as `/machine/install/disk`.
    pub path: String,
    /// Where copy and move take the value from, as a JSON pointer (RFC 6901).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The value that add, replace and test need; any JSON.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    #[schemars(extend("x-kubernetes-preserve-unknown-fields" = true, "nullable" = true))]
    pub value: Option<Value>,
}

/// An explicit null is a value to write, not a missing one.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(patch: Value) -> ConfigPatch {
        serde_json::from_value(patch).unwrap()
    }

    #[test]
    fn every_form_is_read_and_written_unchanged() {
        for patch in [
            json!({ "op": "add", "path": "/machine/network", "value": { "hostname": "one", "deep": [1, null] } }),
            json!({ "op": "remove", "path": "/machine/install" }),
            json!({ "op": "move", "from": "/machine/a", "path": "/machine/b" }),
            json!({ "op": "replace", "path": "/machine/install/wipe", "value": null }),
            json!({ "op": "explode", "path": "/" }),
        ] {
            assert_eq!(serde_json::to_value(parse(patch.clone())).unwrap(), patch);
        }
    }

    #[test]
    fn a_null_value_is_not_a_missing_one() {
        assert_eq!(
            parse(json!({ "op": "add", "path": "/a", "value": null })).value,
            Some(Value::Null)
        );
        assert_eq!(parse(json!({ "op": "add", "path": "/a" })).value, None);
    }

    #[test]
    fn an_operation_of_another_release_is_kept() {
        assert_eq!(
            parse(json!({ "op": "merge", "path": "/a" })).op,
            PatchOp::Other("merge".into())
        );
    }
}
