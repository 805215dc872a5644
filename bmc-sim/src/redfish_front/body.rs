//! Request bodies, read as strictly as real services read them.

use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use serde_json::{Map, Value};

use super::failure::Failure;

/// The JSON object of a body (DSP0266 §6.2: `application/json`).
pub(super) fn object(headers: &HeaderMap, body: &Bytes) -> Result<Map<String, Value>, Failure> {
    let media = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let media = media.split(';').next().unwrap_or_default().trim();
    if !media.eq_ignore_ascii_case("application/json") {
        return Err(Failure::media_type());
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(map)) => Ok(map),
        _ => Err(Failure::malformed_json()),
    }
}

/// Refuses what a PATCH may not change: unknown or read-only members of `resource`, or nothing at all.
pub(super) fn check_patch(
    patch: &Map<String, Value>,
    writable: &[&str],
    resource: &Value,
) -> Result<(), Failure> {
    let mut settable = false;
    for property in patch.keys().filter(|name| !name.contains('@')) {
        match (writable.contains(&property.as_str()), resource.get(property)) {
            (true, _) => settable = true,
            (false, Some(_)) => return Err(Failure::property_not_writable(property)),
            (false, None) => return Err(Failure::property_unknown(property)),
        }
    }
    if settable {
        Ok(())
    } else {
        Err(Failure::no_operation())
    }
}

/// A member that must be a string, if it is there.
pub(super) fn string<'a>(object: &'a Map<String, Value>, property: &str) -> Result<Option<&'a str>, Failure> {
    match object.get(property) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(Failure::property_type(&other.to_string(), property)),
    }
}

/// A member that must be a Boolean, if it is there.
pub(super) fn boolean(object: &Map<String, Value>, property: &str) -> Result<Option<bool>, Failure> {
    match object.get(property) {
        None => Ok(None),
        Some(Value::Bool(value)) => Ok(Some(*value)),
        Some(other) => Err(Failure::property_type(&other.to_string(), property)),
    }
}

/// The one string parameter of an action; `None` if the body leaves it out.
pub(super) fn parameter(
    headers: &HeaderMap,
    body: &Bytes,
    action: &str,
    parameter: &str,
    allowed: &[&str],
) -> Result<Option<String>, Failure> {
    let object = object(headers, body)?;
    if let Some(unknown) = object.keys().find(|name| *name != parameter) {
        return Err(Failure::parameter_unknown(action, unknown));
    }
    match object.get(parameter) {
        None => Ok(None),
        Some(Value::String(value)) if allowed.contains(&value.as_str()) => Ok(Some(value.clone())),
        Some(Value::String(value)) => Err(Failure::parameter_not_in_list(value, parameter, action)),
        Some(other) => Err(Failure::property_type(&other.to_string(), parameter)),
    }
}
