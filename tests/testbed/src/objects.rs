//! Kubernetes objects by kind and name, untyped: apply YAML, read, show what an object says of itself.

use std::fmt::{self, Write};

use anyhow::{Context, bail};
use futures::{StreamExt, TryStreamExt, stream};
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, Resource, ResourceExt};
use serde_json::Value;

/// Applies at once, at most: the API server's own limits are far above.
const PARALLEL: usize = 8;

/// Names one object: kind, namespace (none for a cluster-scoped kind), name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    kind: ApiResource,
    namespace: Option<String>,
    name: String,
}

impl Object {
    /// The object `name` of a cluster-scoped kind, such as `("metal.sidero.dev/v1alpha2", "Server", …)`.
    pub fn cluster(api_version: &str, kind: &str, name: &str) -> Self {
        Self {
            kind: resource(api_version, kind),
            namespace: None,
            name: name.into(),
        }
    }

    /// The object `namespace/name` of a namespaced kind.
    pub fn namespaced(api_version: &str, kind: &str, namespace: &str, name: &str) -> Self {
        Self {
            namespace: Some(namespace.into()),
            ..Self::cluster(api_version, kind, name)
        }
    }

    fn of(value: &DynamicObject) -> anyhow::Result<Self> {
        let types = value
            .types
            .as_ref()
            .context("an object has no apiVersion and kind")?;
        let name = value
            .meta()
            .name
            .clone()
            .with_context(|| format!("a {} has no metadata.name", types.kind))?;
        let kind = resource(&types.api_version, &types.kind);
        Ok(Self {
            kind,
            namespace: value.namespace(),
            name,
        })
    }

    fn api(&self, client: Client) -> Api<DynamicObject> {
        match &self.namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, &self.kind),
            None => Api::all_with(client, &self.kind),
        }
    }

    /// Reads it; `None` when there is none of that name.
    pub async fn get(&self, client: &Client) -> anyhow::Result<Option<DynamicObject>> {
        self.api(client.clone())
            .get_opt(&self.name)
            .await
            .with_context(|| format!("cannot read {self}"))
    }

    /// Begins its deletion; one that is gone already is fine.
    pub async fn delete(&self, client: &Client) -> anyhow::Result<()> {
        match self
            .api(client.clone())
            .delete(&self.name, &kube::api::DeleteParams::default())
            .await
        {
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            result => result
                .map(|_| ())
                .with_context(|| format!("cannot delete {self}")),
        }
    }

    /// Sets one annotation, as `kubectl annotate` does.
    pub async fn annotate(&self, client: &Client, key: &str, value: &str) -> anyhow::Result<()> {
        let patch = Patch::Merge(serde_json::json!({"metadata": {"annotations": {key: value}}}));
        let patched = self
            .api(client.clone())
            .patch(&self.name, &PatchParams::default(), &patch)
            .await;
        patched
            .map(|_| ())
            .with_context(|| format!("cannot annotate {self}"))
    }

    /// What the object says of itself, for the reader of a failed test: conditions, else its whole status.
    pub async fn story(&self, client: &Client) -> String {
        match self.get(client).await {
            Ok(Some(object)) => format!("{self}:\n{}", story(&object)),
            Ok(None) => format!("{self}: there is none\n"),
            Err(error) => format!("{self}: {error:#}\n"),
        }
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind.kind, self.name),
            None => write!(f, "{} {}", self.kind.kind, self.name),
        }
    }
}

/// A kind by its apiVersion and name.
pub(crate) fn resource(api_version: &str, kind: &str) -> ApiResource {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
}

fn story(object: &DynamicObject) -> String {
    let mut text = String::new();
    let status = &object.data["status"];
    if let Some(deleted) = &object.metadata.deletion_timestamp {
        writeln!(
            text,
            "  being deleted since {}, finalizers {:?}",
            deleted.0,
            object.finalizers()
        )
        .ok();
    }
    match status["conditions"].as_array() {
        Some(conditions) => {
            for condition in conditions {
                let field = |name: &str| condition[name].as_str().unwrap_or_default();
                writeln!(
                    text,
                    "  {}={} {}: {}",
                    field("type"),
                    field("status"),
                    field("reason"),
                    field("message")
                )
                .ok();
            }
            if let Some(phase) = status["phase"].as_str() {
                writeln!(text, "  phase {phase}").ok();
            }
        }
        None if status.is_null() => text.push_str("  no status\n"),
        None => writeln!(text, "  status {status}").unwrap_or_default(),
    }
    text
}

/// The objects of a YAML text with several documents; empty documents are left out.
pub fn parse(yaml: &str) -> anyhow::Result<Vec<DynamicObject>> {
    // Cluster API's CRDs are larger than what the parser takes from strangers.
    let options = serde_saphyr::options! { budget: None };
    let documents: Vec<Value> =
        serde_saphyr::from_multiple_with_options(yaml, options).context("cannot read YAML")?;
    let documents = documents.into_iter().filter(|document| !document.is_null());
    documents
        .map(|document| serde_json::from_value(document).context("a YAML document is no object"))
        .collect()
}

/// Applies objects (server-side apply): namespaces first, then definitions, then the rest.
/// An object of a namespaced kind must name its namespace.
pub async fn apply(client: &Client, objects: Vec<DynamicObject>) -> anyhow::Result<usize> {
    if objects.is_empty() {
        bail!("there is nothing to apply");
    }
    let count = objects.len();
    let wave = |object: &DynamicObject| match object.types.as_ref().map(|types| types.kind.as_str()) {
        Some("Namespace") => 0,
        Some("CustomResourceDefinition") => 1,
        _ => 2,
    };
    let mut waves = [Vec::new(), Vec::new(), Vec::new()];
    for object in objects {
        waves[wave(&object)].push(object);
    }
    for objects in waves {
        stream::iter(objects)
            .map(|object| apply_one(client, object))
            .buffer_unordered(PARALLEL)
            .try_collect::<()>()
            .await?;
    }
    Ok(count)
}

async fn apply_one(client: &Client, mut object: DynamicObject) -> anyhow::Result<()> {
    let named = Object::of(&object)?;
    object.metadata.managed_fields = None;
    let params = PatchParams::apply("testbed").force();
    named
        .api(client.clone())
        .patch(&named.name, &params, &Patch::Apply(&object))
        .await
        .with_context(|| format!("cannot apply {named}"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_without_content_are_left_out() {
        let yaml = "---\n# nothing\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n---\n";
        let objects = parse(yaml).unwrap();
        assert_eq!(objects.len(), 1);
        assert_eq!(Object::of(&objects[0]).unwrap().to_string(), "Namespace a");
    }

    #[test]
    fn a_story_tells_conditions_and_what_holds_a_deletion() {
        let object: DynamicObject = serde_json::from_value(serde_json::json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster",
            "metadata": {"name": "c", "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["f"]},
            "status": {"phase": "Deleting", "conditions": [
                {"type": "Ready", "status": "False", "reason": "NotYet", "message": "waits for x"}]}
        }))
        .unwrap();
        let story = story(&object);
        for part in [
            "finalizers [\"f\"]",
            "Ready=False NotYet: waits for x",
            "phase Deleting",
        ] {
            assert!(story.contains(part), "{story}");
        }
    }
}
