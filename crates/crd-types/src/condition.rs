//! The condition of all kinds but Environment: the fields of `metav1.Condition` and Cluster API's `severity`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::words::{free, words, words_schema};

words! {
    /// Whether a condition holds.
    ConditionStatus {
        /// It holds.
        True = "True",
        /// It does not hold.
        False = "False",
        /// Nobody can tell.
        Unknown = "Unknown",
    }
}
words_schema!(ConditionStatus, free);

/// One statement about an object, with its reason.
///
/// Reason and message are optional because objects of earlier releases lack them; every condition that is written
/// now has both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What the statement is about, in CamelCase. There is one condition of each type.
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = 256))]
    pub type_: String,
    /// Whether the statement holds: True, False or Unknown.
    pub status: ConditionStatus,
    /// How grave a False is: Error, Warning or Info. Absent when the status is True.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub severity: Option<String>,
    /// The `metadata.generation` of the object that the statement was made for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// When the condition last changed.
    pub last_transition_time: Time,
    /// Why, as one word in CamelCase for programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub reason: Option<String>,
    /// Why, and what to do about it, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 10240))]
    pub message: Option<String>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_condition_of_an_earlier_release_is_read_and_written_unchanged() {
        let stored =
            json!({ "type": "PXEBooted", "status": "True", "lastTransitionTime": "2024-05-01T10:00:00Z" });
        let condition: Condition = serde_json::from_value(stored.clone()).unwrap();
        assert_eq!(condition.status, ConditionStatus::True);
        assert_eq!(serde_json::to_value(condition).unwrap(), stored);
    }

    #[test]
    fn a_full_condition_keeps_every_field() {
        let full = json!({
            "type": "PowerCycle", "status": "False", "severity": "Info", "observedGeneration": 3,
            "lastTransitionTime": "2024-05-01T10:00:00Z", "reason": "InProgress", "message": "Server wipe in progress.",
        });
        let condition: Condition = serde_json::from_value(full.clone()).unwrap();
        assert_eq!(serde_json::to_value(condition).unwrap(), full);
    }
}
