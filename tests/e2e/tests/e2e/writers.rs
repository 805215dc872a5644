//! Writers on a real API server: server-side apply keeps them apart, and nothing is written that is already so.

use controller_runtime::writer::{WriteError, Writer};
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::{Value, json};
use testbed::Bed;

/// A Service without a selector: no controller of Kubernetes writes its conditions, which are a list by type.
async fn create(bed: &Bed, name: &str) -> anyhow::Result<(Api<Service>, Service)> {
    let services: Api<Service> = Api::namespaced(bed.client().clone(), "default");
    let service = json!({ "metadata": { "name": name }, "spec": { "ports": [{ "port": 80 }] } });
    let service = services
        .create(&PostParams::default(), &serde_json::from_value(service)?)
        .await?;
    Ok((services, service))
}

/// A status of one condition.
fn status(kind: &str, status: &str, time: &str) -> Value {
    json!({ "conditions": [{
        "type": kind, "status": status, "lastTransitionTime": time, "reason": "Test", "message": "",
        "observedGeneration": null,
    }] })
}

/// Type, status and time of all conditions.
fn conditions(service: &Service) -> Vec<(String, String, String)> {
    let conditions = service
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    conditions
        .map(|condition| {
            let time = condition.last_transition_time.0.to_string();
            (condition.type_.clone(), condition.status.clone(), time)
        })
        .collect()
}

fn seen(kind: &str, status: &str, time: &str) -> (String, String, String) {
    (kind.into(), status.into(), time.into())
}

const EARLY: &str = "2026-01-01T00:00:00Z";
const LATE: &str = "2026-01-02T00:00:00Z";

pub(crate) async fn a_status_is_written_once_and_others_keep_theirs(bed: &Bed) -> anyhow::Result<()> {
    let (services, service) = create(bed, "written").await?;
    let (ours, theirs) = (
        Writer::new(bed.client().clone(), "ours"),
        Writer::new(bed.client().clone(), "theirs"),
    );
    let fresh = async || services.get("written").await;

    let first = ours.status(&service, &status("Ready", "True", EARLY)).await?;
    assert!(first.is_some() && ours.is_behind(&service));
    theirs
        .status(&fresh().await?, &status("NodeSeen", "True", EARLY))
        .await?;
    let both = [seen("Ready", "True", EARLY), seen("NodeSeen", "True", EARLY)];
    assert_eq!(conditions(&fresh().await?), both);

    // Said again at a later time: nothing to write for either of them.
    assert!(!ours.is_behind(&fresh().await?));
    assert!(
        ours.status(&fresh().await?, &status("Ready", "True", LATE))
            .await?
            .is_none()
    );
    assert!(
        theirs
            .transition(&fresh().await?, &status("NodeSeen", "True", LATE))
            .await?
            .is_none()
    );

    ours.status(&fresh().await?, &status("Ready", "False", LATE))
        .await?;
    assert_eq!(
        conditions(&fresh().await?),
        [seen("Ready", "False", LATE), both[1].clone()]
    );
    // What a writer does not say any more goes away.
    ours.status(&fresh().await?, &json!({ "conditions": [] })).await?;
    assert_eq!(conditions(&fresh().await?), [both[1].clone()]);
    assert!(
        ours.status(&fresh().await?, &json!({ "conditions": [] }))
            .await?
            .is_none()
    );

    let annotated = ours
        .annotate(&fresh().await?, &[("example.org/fact", Some("1"))])
        .await?;
    assert_eq!(
        annotated
            .map(|service| service.annotations()["example.org/fact"].clone())
            .as_deref(),
        Some("1")
    );
    ours.annotate(&fresh().await?, &[("example.org/fact", None)])
        .await?;
    assert!(fresh().await?.annotations().is_empty());
    services.delete("written", &DeleteParams::default()).await?;
    Ok(())
}

pub(crate) async fn a_stale_transition_is_refused(bed: &Bed) -> anyhow::Result<()> {
    let (services, old) = create(bed, "stale").await?;
    let writer = Writer::new(bed.client().clone(), "ours");
    writer.annotate(&old, &[("example.org/fact", Some("1"))]).await?;
    let ready = status("Ready", "True", EARLY);
    for result in [
        writer.transition(&old, &ready).await.err(),
        writer
            .annotate(&old, &[("example.org/fact", Some("2"))])
            .await
            .err(),
    ] {
        assert!(matches!(result, Some(WriteError::Stale { .. })), "{result:?}");
    }
    writer.status(&old, &ready).await?;

    // A namesake is another object.
    services.delete("stale", &DeleteParams::default()).await?;
    let not_ready = status("Ready", "False", EARLY);
    let gone = writer.status(&old, &not_ready).await.err();
    assert!(matches!(gone, Some(WriteError::Stale { .. })), "{gone:?}");
    let (services, namesake) = create(bed, "stale").await?;
    let gone = writer.status(&old, &not_ready).await.err();
    assert!(matches!(gone, Some(WriteError::Stale { .. })), "{gone:?}");
    assert_eq!(conditions(&services.get("stale").await?), conditions(&namesake));
    services.delete("stale", &DeleteParams::default()).await?;
    Ok(())
}
