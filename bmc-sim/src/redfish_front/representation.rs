//! Resources as answers: JSON, ETag, conditional requests (DSP0266 §6.5, §7.5).

use std::hash::{DefaultHasher, Hash, Hasher};

use axum::http::header::{CONTENT_TYPE, ETAG, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::failure::Failure;

/// The strong ETag of a resource: equal as long as its content is.
fn etag(resource: &Value) -> String {
    let mut hasher = DefaultHasher::new();
    resource.to_string().hash(&mut hasher);
    format!("\"{:016x}\"", hasher.finish())
}

/// Answers a GET (304 where the client has this state), or shows the state after a change.
pub(super) fn answer(request: &HeaderMap, mut resource: Value) -> Response {
    let etag = etag(&resource);
    let mut response = if listed(request, IF_NONE_MATCH.as_str(), &etag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        resource["@odata.etag"] = json!(etag);
        let mut response = resource.to_string().into_response();
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    };
    if let Ok(value) = HeaderValue::from_str(&etag) {
        response.headers_mut().insert(ETAG, value);
    }
    response
}

/// Refuses a change whose `If-Match` names another state of the resource.
pub(super) fn check_if_match(request: &HeaderMap, resource: &Value) -> Result<(), Failure> {
    if request.contains_key(IF_MATCH) && !listed(request, IF_MATCH.as_str(), &etag(resource)) {
        return Err(Failure::precondition_failed());
    }
    Ok(())
}

/// Whether a header lists this ETag, or `*`. Weak ETags are other ETags.
fn listed(request: &HeaderMap, header: &str, etag: &str) -> bool {
    request
        .get_all(header)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|value| matches!(value.trim(), "*") || value.trim() == etag)
}

/// A collection of members at `uri`.
pub(super) fn collection(
    uri: &str,
    kind: &str,
    name: &str,
    members: impl IntoIterator<Item = String>,
) -> Value {
    let members: Vec<_> = members
        .into_iter()
        .map(|member| json!({"@odata.id": format!("{uri}/{member}")}))
        .collect();
    json!({
        "@odata.id": uri,
        "@odata.type": format!("#{kind}Collection.{kind}Collection"),
        "Name": name,
        "Members@odata.count": members.len(),
        "Members": members,
    })
}

/// A resource that is the only member of its collection. Clients find its Id through the collection.
pub(super) struct OnlyMember {
    pub(super) collection: &'static str,
    pub(super) id: &'static str,
}

impl OnlyMember {
    pub(super) fn uri(&self) -> String {
        format!("{}/{}", self.collection, self.id)
    }

    /// Refuses any other Id.
    pub(super) fn check(&self, id: &str) -> Result<(), Failure> {
        let missing = || Failure::resource_missing(&format!("{}/{id}", self.collection));
        if id == self.id { Ok(()) } else { Err(missing()) }
    }

    /// The collection.
    pub(super) fn listed(&self, request: &HeaderMap, kind: &str, name: &str) -> Response {
        answer(
            request,
            collection(self.collection, kind, name, [self.id.to_owned()]),
        )
    }
}

/// An ActionInfo with one required parameter `ResetType`.
pub(super) fn reset_info(uri: &str, allowed: &[&str]) -> Value {
    json!({
        "@odata.id": uri,
        "@odata.type": "#ActionInfo.v1_3_0.ActionInfo",
        "Id": "ResetActionInfo",
        "Name": "Reset Action Info",
        "Parameters": [{
            "Name": "ResetType",
            "Required": true,
            "DataType": "String",
            "AllowableValues": allowed,
        }],
    })
}
