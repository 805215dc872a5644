//! Conditions as they are written here.

use crd_types::{Condition, ConditionStatus};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource;

/// A statement about `object` made now; the writer keeps the time of the last change.
pub(crate) fn condition<K: Resource>(
    object: &K,
    kind: &str,
    holds: bool,
    reason: &str,
    message: &str,
) -> Condition {
    Condition {
        type_: kind.into(),
        status: if holds {
            ConditionStatus::True
        } else {
            ConditionStatus::False
        },
        severity: (!holds).then(|| "Info".into()),
        observed_generation: object.meta().generation,
        last_transition_time: Time(Timestamp::now()),
        reason: Some(reason.into()),
        message: Some(message.into()),
    }
}

/// The condition of this type.
pub(crate) fn find<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == kind)
}
