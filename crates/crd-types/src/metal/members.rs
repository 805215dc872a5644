//! Which Servers belong to a ServerClass, and which of them can be taken now. Pure.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use kube::ResourceExt;
use kube::core::{ParseExpressionError, Selector, SelectorExt};
use serde_json::Value;

use super::{Hardware, Qualifiers, Server, ServerClass};

#[cfg(test)]
mod tests;

/// Longest label value, and longest name in a label's key.
const LABEL: usize = 63;
/// Longest prefix of a label's key, a DNS subdomain.
const PREFIX: usize = 253;

/// Why a ServerClass matches nothing: its selector has no meaning, as Kubernetes itself would say of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSelector {
    /// No label has such a key, so the selector would match all or nothing.
    #[error("spec.selector: {key:?} is no label key: correct it")]
    Key {
        /// The key.
        key: String,
    },
    /// No label has such a value.
    #[error("spec.selector: {value:?} of {key:?} is no label value: correct it")]
    Value {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
    /// The operator is none.
    #[error("spec.selector: operator {operator:?} of {key:?} is none: use In, NotIn, Exists or DoesNotExist")]
    Operator {
        /// The key.
        key: String,
        /// What stands for the operator.
        operator: String,
    },
    /// The operator compares with values, and there are none.
    #[error("spec.selector: {operator} of {key:?} has no values: add some")]
    NoValues {
        /// The key.
        key: String,
        /// The operator.
        operator: String,
    },
    /// The operator compares with nothing, and there are values.
    #[error("spec.selector: {operator} of {key:?} takes no values: remove them")]
    Values {
        /// The key.
        key: String,
        /// The operator.
        operator: String,
    },
    /// Something else that cannot be matched.
    #[error("spec.selector: {0}")]
    Other(String),
}

impl From<ParseExpressionError> for InvalidSelector {
    fn from(error: ParseExpressionError) -> Self {
        Self::Other(error.to_string())
    }
}

/// What the Servers of a class have in common.
///
/// The selector and all groups of qualifiers have to match; one that is absent or empty matches every Server.
#[derive(Debug, Clone)]
pub struct Members {
    selector: Selector,
    qualifiers: Qualifiers,
}

impl Members {
    /// The members of `class`.
    pub fn of(class: &ServerClass) -> Result<Self, InvalidSelector> {
        let selector = class.spec.selector.clone().unwrap_or_default();
        check(&selector)?;
        Ok(Self {
            selector: selector.try_into()?,
            qualifiers: class.spec.qualifiers.clone().unwrap_or_default(),
        })
    }

    /// Whether the Server is one, by its labels and its hardware, whatever state it is in.
    pub fn have(&self, server: &Server) -> bool {
        self.selector.matches(server.labels())
            && has_hardware(&self.qualifiers.hardware, server.spec.hardware.as_ref())
            && has_label(&self.qualifiers.label_selectors, server.labels())
    }
}

/// Whether a cluster can take the Server now.
///
/// Sidero Metal counted every accepted Server that is neither cordoned nor in use, whether it was wiped yet or not. Here
/// `status.ready` counts too, and a Server that is being deleted is out.
pub fn is_available(server: &Server) -> bool {
    let status = server.status.as_ref();
    server.spec.accepted
        && !server.spec.cordoned.unwrap_or(false)
        && server.metadata.deletion_timestamp.is_none()
        && status.and_then(|status| status.ready) == Some(true)
        && !is_in_use(server)
}

/// Whether a cluster has the Server.
pub fn is_in_use(server: &Server) -> bool {
    let status = server.status.as_ref();
    status.and_then(|status| status.in_use) == Some(true)
}

/// Any item has to match as a whole. A machine without inventory matches none, not even an empty one.
fn has_hardware(any_of: &[Hardware], hardware: Option<&Hardware>) -> bool {
    if any_of.is_empty() {
        return true;
    }
    // Types without maps and floats always become JSON; if they did not, nothing would match.
    let json = |hardware: &Hardware| serde_json::to_value(hardware).ok();
    let Some(actual) = hardware.and_then(json) else {
        return false;
    };
    any_of
        .iter()
        .filter_map(json)
        .any(|wanted| partly_equal(&wanted, &actual))
}

/// Any one pair of any item is enough, as Sidero Metal had it.
fn has_label(any_of: &[BTreeMap<String, String>], labels: &BTreeMap<String, String>) -> bool {
    any_of.is_empty()
        || any_of
            .iter()
            .flatten()
            .any(|(key, value)| labels.get(key) == Some(value))
}

/// Whether `actual` has all that `wanted` names. Empty texts, zeros and absent fields name nothing; the items of a list
/// are compared one by one, from its beginning.
fn partly_equal(wanted: &Value, actual: &Value) -> bool {
    match wanted {
        Value::Null => true,
        Value::Bool(wanted) => !wanted || *actual == Value::Bool(true),
        Value::Number(number) => number.as_i64() == Some(0) || wanted == actual,
        Value::String(text) => text.is_empty() || wanted == actual,
        Value::Array(items) => {
            let actual = actual.as_array().map_or(&[][..], Vec::as_slice);
            let mut pairs = items.iter().zip(actual);
            items.len() <= actual.len() && pairs.all(|(wanted, actual)| partly_equal(wanted, actual))
        }
        Value::Object(fields) => fields
            .iter()
            .all(|(key, wanted)| partly_equal(wanted, actual.get(key).unwrap_or(&Value::Null))),
    }
}

/// What Kubernetes checks before it uses a selector. A key that no label can have would match every Server by
/// `DoesNotExist`.
fn check(selector: &LabelSelector) -> Result<(), InvalidSelector> {
    for (key, value) in selector.match_labels.iter().flatten() {
        check_key(key)?;
        check_value(key, value)?;
    }
    let requirements = selector.match_expressions.iter().flatten();
    requirements.into_iter().try_for_each(check_requirement)
}

fn check_requirement(requirement: &LabelSelectorRequirement) -> Result<(), InvalidSelector> {
    let (key, operator) = (requirement.key.clone(), requirement.operator.clone());
    let values = requirement.values.as_deref().unwrap_or_default();
    check_key(&key)?;
    match (operator.as_str(), values) {
        ("In" | "NotIn", []) => Err(InvalidSelector::NoValues { key, operator }),
        ("In" | "NotIn", values) => values.iter().try_for_each(|value| check_value(&key, value)),
        ("Exists" | "DoesNotExist", []) => Ok(()),
        ("Exists" | "DoesNotExist", _) => Err(InvalidSelector::Values { key, operator }),
        _ => Err(InvalidSelector::Operator { key, operator }),
    }
}

fn check_key(key: &str) -> Result<(), InvalidSelector> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let is_subdomain = |prefix: &str| {
        let is_part = |part: &str| {
            is_word(part)
                && part
                    .bytes()
                    .all(|byte| !byte.is_ascii_uppercase() && byte != b'_')
        };
        prefix.len() <= PREFIX && prefix.split('.').all(is_part)
    };
    if is_word(name) && name.len() <= LABEL && prefix.is_none_or(is_subdomain) {
        Ok(())
    } else {
        Err(InvalidSelector::Key { key: key.to_owned() })
    }
}

fn check_value(key: &str, value: &str) -> Result<(), InvalidSelector> {
    if value.is_empty() || (is_word(value) && value.len() <= LABEL) {
        return Ok(());
    }
    let (key, value) = (key.to_owned(), value.to_owned());
    Err(InvalidSelector::Value { key, value })
}

/// Letters and digits, and between them also `-`, `_` and `.`.
fn is_word(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let is_end = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    is_end(text.bytes().next()) && is_end(text.bytes().last()) && text.bytes().all(is_inner)
}
