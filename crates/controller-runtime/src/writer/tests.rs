use std::sync::{Arc, Mutex};

use k8s_openapi::api::core::v1::{Node, Pod};

use super::*;
use crate::scripted::{self, Asked, failure};

/// What the writer owns of the status by one operation.
fn owned(operation: &str, field: &str) -> Value {
    json!({
        "manager": "w", "operation": operation, "subresource": "status",
        "fieldsV1": { "f:status": { field: {} } },
    })
}

fn pod(version: &str) -> Pod {
    let pod = json!({
        "metadata": {
            "name": "p", "namespace": "n", "uid": "u1", "resourceVersion": version,
            "annotations": { "fact": "1" },
            "managedFields": [
                owned("Update", "f:reason"),
                owned("Apply", "f:phase"),
            ],
        },
        "status": { "phase": "Running", "reason": "of another operation" },
    });
    serde_json::from_value(pod).unwrap()
}

/// A writer to a server that answers every write with `code`, or with the object at version 8.
fn writer(code: u16) -> (Writer, Arc<Mutex<Vec<Asked>>>) {
    let (client, asked) = scripted::client(move |_| match code {
        200 => Some((200, json!(pod("8")))),
        code => Some((code, failure(code))),
    });
    (Writer::new(client, "w"), asked)
}

#[tokio::test]
async fn status_is_applied_by_the_writers_own_manager_to_just_this_object() {
    let (writer, asked) = writer(200);
    let written = writer
        .status(&pod("7"), &json!({ "phase": "Failed", "reason": null }))
        .await
        .unwrap();
    assert_eq!(written.unwrap().resource_version().as_deref(), Some("8"));
    let asked = asked.lock().unwrap().pop().unwrap();
    assert_eq!(asked.method, "PATCH");
    assert_eq!(
        asked.uri,
        "/api/v1/namespaces/n/pods/p/status?&force=true&fieldManager=w"
    );
    assert_eq!(asked.content_type, "application/apply-patch+yaml");
    let want = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "p", "namespace": "n", "uid": "u1" },
        "status": { "phase": "Failed" },
    });
    assert_eq!(asked.body, want);
}

#[tokio::test]
async fn a_transition_is_bound_to_the_version_that_was_read() {
    let (writer, asked) = writer(409);
    let error = writer
        .transition(&pod("7"), &json!({ "phase": "Failed" }))
        .await
        .unwrap_err();
    assert!(matches!(error, WriteError::Stale { .. }));
    assert_eq!(
        error.to_string(),
        "cannot write status of Pod n/p: it has changed or gone meanwhile"
    );
    assert_eq!(asked.lock().unwrap()[0].body["metadata"]["resourceVersion"], "7");
}

#[tokio::test]
async fn nothing_is_sent_when_nothing_changes() {
    let (writer, asked) = writer(500);
    assert!(
        writer
            .status(&pod("7"), &json!({ "phase": "Running" }))
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        writer
            .transition(&pod("7"), &json!({ "phase": "Running" }))
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        writer
            .annotate(&pod("7"), &[("fact", Some("1")), ("none", None)])
            .await
            .unwrap()
            .is_none()
    );
    assert!(asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_whole_status_is_written_when_a_value_differs_and_its_empty_lists_are_values() {
    let (writer, asked) = writer(200);
    let has = json!({ "phase": "Running", "reason": "of another operation" });
    assert!(writer.whole_status(&pod("7"), &has).await.unwrap().is_none());
    assert!(asked.lock().unwrap().is_empty());
    let empty = json!({ "conditions": [] });
    assert!(writer.whole_status(&pod("7"), &empty).await.unwrap().is_some());
    let asked = asked.lock().unwrap().pop().unwrap();
    assert_eq!(asked.body["status"], empty);
    assert_eq!(
        asked.uri,
        "/api/v1/namespaces/n/pods/p/status?&force=true&fieldManager=w"
    );
}

#[tokio::test]
async fn facts_are_patched_at_the_version_that_was_read() {
    let (writer, asked) = writer(200);
    writer
        .annotate(&pod("7"), &[("fact", None), ("other", Some("2"))])
        .await
        .unwrap()
        .unwrap();
    let asked = asked.lock().unwrap().pop().unwrap();
    assert_eq!(asked.uri, "/api/v1/namespaces/n/pods/p?&fieldManager=w");
    assert_eq!(asked.content_type, "application/merge-patch+json");
    let want = json!({ "metadata": {
        "name": "p", "namespace": "n", "uid": "u1", "resourceVersion": "7",
        "annotations": { "fact": null, "other": "2" },
    } });
    assert_eq!(asked.body, want);
}

#[tokio::test]
async fn a_stale_object_and_a_server_that_fails_are_told_apart() {
    let gone = writer(404)
        .0
        .annotate(&pod("7"), &[("fact", None)])
        .await
        .unwrap_err();
    assert_eq!(
        gone.to_string(),
        "cannot write annotations of Pod n/p: it has changed or gone meanwhile"
    );
    let failed = writer(500)
        .0
        .annotate(&pod("7"), &[("fact", None)])
        .await
        .unwrap_err();
    assert!(matches!(&failed, WriteError::Api { .. }), "{failed}");
}

#[tokio::test]
async fn a_cache_is_behind_until_it_shows_the_last_write() {
    let (writer, _asked) = writer(200);
    assert!(!writer.is_behind(&pod("7")));
    writer.annotate(&pod("7"), &[("fact", None)]).await.unwrap();
    assert!(writer.is_behind(&pod("7")));
    assert!(writer.is_behind(&pod("7")));
    assert!(!writer.is_behind(&pod("10")), "compared as numbers");
    assert!(!writer.is_behind(&pod("7")), "forgotten once seen");
}

#[tokio::test]
async fn a_declaration_forces_nothing_and_is_bound_to_the_version_that_was_read() {
    let (writer, asked) = writer(200);
    let body = json!({ "spec": { "nodeName": "n" } });
    writer.declare(&pod("7"), &body).await.unwrap();
    let asked = asked.lock().unwrap().pop().unwrap();
    assert_eq!(
        (asked.method.as_str(), asked.uri.as_str()),
        ("PATCH", "/api/v1/namespaces/n/pods/p?&fieldManager=w")
    );
    let want = json!({
        "apiVersion": "v1", "kind": "Pod", "spec": { "nodeName": "n" },
        "metadata": { "name": "p", "namespace": "n", "uid": "u1", "resourceVersion": "7" },
    });
    assert_eq!(asked.body, want);
}

#[tokio::test]
async fn a_creation_never_lands_on_an_object_that_is_there() {
    let (writer, asked) = writer(409);
    let there = writer
        .create::<Node>("p", &json!({ "spec": {} }))
        .await
        .unwrap_err();
    assert_eq!(
        there.to_string(),
        "cannot write Node p: it has changed or gone meanwhile"
    );
    assert!(matches!(there, WriteError::Stale { .. }));
    let asked = asked.lock().unwrap().pop().unwrap();
    assert_eq!(
        (asked.method.as_str(), asked.uri.as_str()),
        ("PATCH", "/api/v1/nodes/p?&fieldManager=w")
    );
    assert_eq!(
        asked.body["metadata"],
        json!({ "name": "p", "resourceVersion": "1" })
    );
}

#[tokio::test]
async fn a_field_of_somebody_else_is_told_from_an_object_that_changed() {
    let (client, _) = scripted::client(|_| {
        let mut conflict = failure(409);
        conflict["details"] =
            json!({ "causes": [{ "reason": "FieldManagerConflict", "field": ".spec.nodeName" }] });
        Some((409, conflict))
    });
    let owned = Writer::new(client, "w").declare(&pod("7"), &json!({})).await;
    assert!(matches!(owned, Err(WriteError::Owned { .. })), "{owned:?}");
    let (writer, _) = writer(409);
    let stale = writer.declare(&pod("7"), &json!({})).await;
    assert!(matches!(stale, Err(WriteError::Stale { .. })), "{stale:?}");
}
