//! A schema as a table from path to text: what two schemas are compared by.
//!
//! The text is `*` if the field is required, then two spaces, the type, and its constraints.

use std::collections::BTreeMap;

use serde_json::Value;

pub(super) type Outline = BTreeMap<String, String>;

/// Reads the outlines of a file: a section for each kind, in which `ObjectReference` and `Condition` stand for their
/// own sections.
pub(super) fn read(text: &str) -> BTreeMap<String, Outline> {
    let mut sections: BTreeMap<String, Outline> = BTreeMap::new();
    let mut section = String::new();
    for line in text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
    {
        if let Some(name) = line.strip_prefix("= ") {
            section = name.into();
            continue;
        }
        let (path, type_) = line.split_once("  ").unwrap_or_else(|| panic!("{line:?}"));
        let (path, required) = path.strip_suffix('*').map_or((path, ""), |path| (path, "*"));
        let outline = match sections.get(type_).cloned() {
            Some(named) => named
                .into_iter()
                .map(|(end, text)| (format!("{path}{end}"), text))
                .collect(),
            None => Outline::from([(path.to_owned(), format!("  {type_}"))]),
        };
        let wanted = sections.entry(section.clone()).or_default();
        for (at, text) in outline {
            let required = if at == path { required } else { "" };
            assert!(
                wanted.insert(at, format!("{required}{text}")).is_none(),
                "{section}: {line:?} twice"
            );
        }
    }
    sections
}

/// The outline of a root schema. Of `spec` and `status` themselves only what is remarkable is in it.
pub(super) fn of(root: &Value) -> Outline {
    let mut outline = Outline::new();
    fields("", root, &mut outline);
    outline.retain(|path, text| path.contains('.') || text.as_str() != "  object");
    outline
}

fn fields(prefix: &str, schema: &Value, outline: &mut Outline) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let required = schema["required"]
            .as_array()
            .is_some_and(|names| names.contains(&name.as_str().into()));
        field_at(format!("{prefix}{name}"), required, field, outline);
    }
}

fn field_at(path: String, required: bool, field: &Value, outline: &mut Outline) {
    let required = if required { "*" } else { "" };
    let items = &field["items"];
    let is_list_of_objects = items["type"] == "object";
    let path = if is_list_of_objects {
        format!("{path}[]")
    } else {
        path
    };
    let inner = if is_list_of_objects { items } else { field };
    let outer = if is_list_of_objects {
        constraints(field)
    } else {
        String::new()
    };
    outline.insert(
        path.clone(),
        format!("{required}  {}{}{outer}", type_of(inner), constraints(inner)),
    );
    fields(&format!("{path}."), inner, outline);
}

fn type_of(schema: &Value) -> String {
    match schema["type"].as_str() {
        None => "any".into(),
        Some("array") => format!("[]{}", type_of(&schema["items"])),
        Some("object") if schema["additionalProperties"].is_object() => {
            format!("map[string]{}", type_of(&schema["additionalProperties"]))
        }
        Some("object") if schema["properties"].is_null() => "object (empty)".into(),
        Some(scalar) => scalar.into(),
    }
}

fn constraints(schema: &Value) -> String {
    let keys = [
        ("format", "format"),
        ("enum", "enum"),
        ("maxLength", "maxLength"),
        ("minLength", "minLength"),
        ("minimum", "minimum"),
        ("maximum", "maximum"),
        ("pattern", "pattern"),
        ("default", "default"),
        ("nullable", "nullable"),
        ("x-kubernetes-map-type", "mapType"),
        ("x-kubernetes-list-map-keys", "listMapKeys"),
    ];
    let keyed = keys
        .into_iter()
        .filter_map(|(key, name)| Some((name, schema.get(key)?)));
    let rules = schema["x-kubernetes-validations"]
        .as_array()
        .into_iter()
        .flatten();
    let rules = rules.map(|rule| ("rule", &rule["rule"]));
    keyed
        .chain(rules)
        .flat_map(|(name, value)| [" ".into(), name.into(), "=".into(), plain(value)])
        .collect()
}

/// A value without quotes; the items of a list are parted by `|`.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join("|"),
        other => other.to_string(),
    }
}
