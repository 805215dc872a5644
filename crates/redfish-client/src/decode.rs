//! Reads JSON field by field: what is wrong costs that field and one warning, never the resource.

use std::cell::RefCell;
use std::fmt;

use hardware_types::ServerId;
use serde_json::{Map, Value};

use crate::endpoint::Link;

/// Kept warnings of one resource.
const MAX_WARNINGS: usize = 32;
/// Kept characters of one text field.
const MAX_TEXT: usize = 512;
/// Kept entries of one array.
const MAX_ITEMS: usize = 4096;

/// One field that could not be read as the standard has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Path of the property inside the resource, such as `Boot.BootSourceOverrideMode`.
    pub field: String,
    /// What was wanted and what was found.
    pub problem: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.problem)
    }
}

/// Collects the warnings of one resource.
#[derive(Debug, Default)]
pub(crate) struct Warnings(RefCell<Vec<Warning>>);

impl Warnings {
    pub(crate) fn into_vec(self) -> Vec<Warning> {
        self.0.into_inner()
    }

    fn add(&self, field: String, wanted: &str, found: &Value) {
        let mut list = self.0.borrow_mut();
        if list.len() < MAX_WARNINGS {
            let shown = match found {
                Value::Object(_) => "an object".into(),
                Value::Array(_) => "an array".into(),
                Value::String(text) => format!("{:?}", text.chars().take(40).collect::<String>()),
                other => other.to_string(),
            };
            list.push(Warning {
                field,
                problem: format!("want {wanted}, got {shown}"),
            });
        }
    }
}

/// The properties of one JSON object. Absent and null properties read as `None` without a warning.
#[derive(Clone)]
pub(crate) struct Fields<'a> {
    object: Option<&'a Map<String, Value>>,
    path: String,
    warnings: &'a Warnings,
}

impl<'a> Fields<'a> {
    /// The properties of a resource.
    pub(crate) fn new(value: &'a Value, warnings: &'a Warnings) -> Self {
        if !value.is_object() {
            warnings.add("(resource)".into(), "an object", value);
        }
        Self {
            object: value.as_object(),
            path: String::new(),
            warnings,
        }
    }

    /// The properties of an object inside this one; all absent when there is none.
    pub(crate) fn object(&self, name: &str) -> Self {
        let value = self.get(name);
        if let Some(other) = value.filter(|value| !value.is_object()) {
            self.warn(name, "an object", other);
        }
        Self {
            object: value.and_then(Value::as_object),
            path: format!("{}{name}.", self.path),
            warnings: self.warnings,
        }
    }

    /// Whether there is such an object at all.
    pub(crate) fn is_present(&self) -> bool {
        self.object.is_some()
    }

    fn get(&self, name: &str) -> Option<&'a Value> {
        self.object?.get(name).filter(|value| !value.is_null())
    }

    /// Records that a property is not what was wanted.
    pub(crate) fn warn(&self, name: &str, wanted: &str, found: &Value) {
        self.warnings.add(format!("{}{name}", self.path), wanted, found);
    }

    /// A property through `read`; a warning where it finds nothing.
    fn read<T>(&self, name: &str, wanted: &str, read: impl FnOnce(&'a Value) -> Option<T>) -> Option<T> {
        let value = self.get(name)?;
        let result = read(value);
        if result.is_none() {
            self.warn(name, wanted, value);
        }
        result
    }

    /// A text of at most 512 characters, without white space around it; empty is absent.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.read(name, "a text of at most 512 characters", |value| {
            value.as_str().filter(|text| text.chars().count() <= MAX_TEXT)
        })
        .map(|text| text.trim().to_owned())
        .filter(|text| !text.is_empty())
    }

    /// A whole number. One written as a text (`"2"`) or with a fraction of zero is taken, with a warning.
    pub(crate) fn count(&self, name: &str) -> Option<u64> {
        let value = self.get(name)?;
        value.as_u64().or_else(|| {
            self.warn(name, "a whole number", value);
            match value {
                Value::String(text) => text.trim().parse().ok(),
                other => format!("{:.0}", other.as_f64().filter(|n| n.fract() == 0.0)?)
                    .parse()
                    .ok(),
            }
        })
    }

    /// A boolean.
    pub(crate) fn flag(&self, name: &str) -> Option<bool> {
        self.read(name, "true or false", Value::as_bool)
    }

    /// A date and time with an offset (DSP0266 §9.6.7).
    pub(crate) fn time(&self, name: &str) -> Option<jiff::Timestamp> {
        self.read(name, "a date and time", |value| value.as_str()?.parse().ok())
    }

    /// A machine's identity; empty, all zeros and all ones are none.
    pub(crate) fn machine(&self, name: &str) -> Option<ServerId> {
        self.read(name, "a UUID that names a machine", |value| {
            value.as_str()?.trim().parse().ok()
        })
    }

    /// One of a set of words that `read` knows.
    pub(crate) fn word<T>(&self, name: &str, wanted: &str, read: impl Fn(&str) -> Option<T>) -> Option<T> {
        self.read(name, wanted, |value| read(value.as_str()?))
    }

    /// A text that is a link by itself, such as an action's `target`.
    pub(crate) fn path(&self, name: &str) -> Option<Link> {
        self.read(name, "a link", |value| Link::new(value.as_str()?))
    }

    /// A reference `{"@odata.id": …}`. A bare text in its place is taken too.
    pub(crate) fn link(&self, name: &str) -> Option<Link> {
        self.read(name, "a link", reference)
    }

    /// An array of references; entries that are none cost a warning each. A single one in its place is taken.
    pub(crate) fn links(&self, name: &str) -> Vec<Link> {
        self.items(name, "a link", reference)
    }

    /// An array of texts, `None` when it holds none: an empty list of allowed values forbids nothing.
    pub(crate) fn texts(&self, name: &str) -> Option<Vec<String>> {
        let texts = self.items(name, "a text", |value| value.as_str().map(Into::into));
        (!texts.is_empty()).then_some(texts)
    }

    /// The objects of an array; entries that are none are left out.
    pub(crate) fn objects(&self, name: &str) -> Vec<Self> {
        self.items(name, "an object", Value::as_object)
            .into_iter()
            .map(|object| Self {
                object: Some(object),
                path: format!("{}{name}.", self.path),
                warnings: self.warnings,
            })
            .collect()
    }

    fn items<T>(&self, name: &str, wanted: &str, read: impl Fn(&'a Value) -> Option<T>) -> Vec<T> {
        let items = match self.get(name) {
            None => return Vec::new(),
            Some(Value::Array(items)) => items.as_slice(),
            Some(single) => {
                self.warn(name, "an array", single);
                std::slice::from_ref(single)
            }
        };
        let kept = items.iter().take(MAX_ITEMS).filter_map(|item| {
            let result = read(item);
            if result.is_none() {
                self.warn(name, wanted, item);
            }
            result
        });
        kept.collect()
    }
}

fn reference(value: &Value) -> Option<Link> {
    Link::new(value.as_str().or_else(|| value.get("@odata.id")?.as_str())?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn warnings_of(value: &Value, read: impl FnOnce(&Fields<'_>)) -> Vec<String> {
        let warnings = Warnings::default();
        read(&Fields::new(value, &warnings));
        warnings.into_vec().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn numbers_as_texts_and_fractions_of_zero_count_and_warn() {
        for (value, count) in [
            (json!("2"), Some(2)),
            (json!(2.0), Some(2)),
            (json!(2.5), None),
            (json!(-1), None),
        ] {
            let warnings = warnings_of(&json!({"Count": value}), |fields| {
                assert_eq!(fields.count("Count"), count);
            });
            assert_eq!(warnings.len(), 1, "{value}");
        }
        assert!(
            warnings_of(&json!({"Count": 2}), |fields| assert_eq!(
                fields.count("Count"),
                Some(2)
            ))
            .is_empty()
        );
    }

    #[test]
    fn absent_and_null_are_silent_and_wrong_kinds_name_their_path() {
        let value = json!({"A": null, "Boot": {"Mode": 7}, "Status": "OK"});
        let warnings = warnings_of(&value, |fields| {
            assert_eq!(fields.text("A").or(fields.text("B")), None);
            assert_eq!(fields.object("Boot").text("Mode"), None);
            assert!(!fields.object("Status").is_present());
        });
        assert_eq!(
            warnings,
            [
                "Boot.Mode: want a text of at most 512 characters, got 7",
                "Status: want an object, got \"OK\""
            ]
        );
    }

    #[test]
    fn broken_members_cost_themselves_only() {
        let value =
            json!({"Members": [{"@odata.id": "/a"}, {}, null, 7, "/b", {"@odata.id": "https://evil/"}]});
        let warnings = warnings_of(&value, |fields| {
            let links: Vec<_> = fields.links("Members").iter().map(ToString::to_string).collect();
            assert_eq!(links, ["/a", "/b"]);
        });
        assert_eq!(warnings.len(), 4, "{warnings:?}");
    }

    #[test]
    fn texts_and_warnings_are_bounded() {
        let fits = json!({"A": "é".repeat(MAX_TEXT)});
        assert!(warnings_of(&fits, |fields| assert!(fields.text("A").is_some())).is_empty());
        let over = json!({"A": "é".repeat(MAX_TEXT + 1)});
        assert_eq!(
            warnings_of(&over, |fields| assert_eq!(fields.text("A"), None)).len(),
            1
        );
        let many = json!({"Members": vec![7; MAX_WARNINGS + 1]});
        assert_eq!(
            warnings_of(&many, |fields| drop(fields.links("Members"))).len(),
            MAX_WARNINGS
        );
    }
}
