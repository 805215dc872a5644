//! One writer of Kubernetes objects: status by server-side apply and annotations, each under the writer's own field
//! manager, and only when something changes.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use kube::api::{Patch, PatchParams};
use kube::core::request::Error as RequestError;
use kube::core::{Request, Status};
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

mod fields;

#[cfg(test)]
mod tests;

/// Why an object was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The object is not as it was read, or there is another one of its name, or none: plan again.
    #[error("cannot write {what}: it has changed or gone meanwhile")]
    Stale {
        /// What was written to which object.
        what: String,
    },
    /// A field of it is somebody else's, who wrote another value.
    #[error("cannot write {what}: {source}")]
    Owned {
        /// What was written to which object.
        what: String,
        /// Which fields, and whose.
        source: kube::Error,
    },
    /// What is to be written is no JSON.
    #[error("cannot write {what}: it does not become JSON: {source}")]
    Encode {
        /// What was written to which object.
        what: String,
        /// Why not.
        source: serde_json::Error,
    },
    /// The API server refused, or could not be asked.
    #[error("cannot write {what}: {source}")]
    Api {
        /// What was written to which object.
        what: String,
        /// Why not.
        source: kube::Error,
    },
}

/// Writes under one field manager.
///
/// All methods return the object as written, or `None` when there was nothing to write.
pub struct Writer {
    client: Client,
    manager: &'static str,
    /// By uid: the resourceVersion of the last write, until a cache has shown it.
    written: Mutex<HashMap<String, u64>>,
}

impl Writer {
    /// The writer called `manager`, such as `server-controller`.
    pub fn new(client: Client, manager: &'static str) -> Self {
        Self {
            client,
            manager,
            written: Mutex::default(),
        }
    }

    /// Makes the fields of `status` those of this writer: what it wrote before and does not name now goes away, what
    /// others wrote stays. Wins over other writers of the same fields.
    ///
    /// The `lastTransitionTime` of a condition whose status stays is kept: give the present time to all of them.
    pub async fn status<K, S>(&self, object: &K, status: &S) -> Result<Option<K>, WriteError>
    where
        K: Resource<DynamicType = ()> + Serialize + DeserializeOwned + Clone,
        S: Serialize,
    {
        self.apply(object, status, false).await
    }

    /// As [`status`](Self::status), for a step that was decided on what `object` says: fails with
    /// [`WriteError::Stale`] if it says anything else by now.
    pub async fn transition<K, S>(&self, object: &K, status: &S) -> Result<Option<K>, WriteError>
    where
        K: Resource<DynamicType = ()> + Serialize + DeserializeOwned + Clone,
        S: Serialize,
    {
        self.apply(object, status, true).await
    }

    /// As [`status`](Self::status), for a kind whose whole status is this writer's: compared by value, not by what it
    /// owns, so that empty lists are written too and what another program left is taken over.
    pub async fn whole_status<K, S>(&self, object: &K, status: &S) -> Result<Option<K>, WriteError>
    where
        K: Resource<DynamicType = ()> + Serialize + DeserializeOwned + Clone,
        S: Serialize,
    {
        let (desired, present) = both_statuses(object, status)?;
        if desired == present {
            return Ok(None);
        }
        self.send_status(object, &desired, false).await.map(Some)
    }

    /// Creates the cluster-scoped object called `name` with these fields as this writer's; fails with
    /// [`WriteError::Stale`] if there is one of that name.
    ///
    /// It is an apply, since a POST would also own the defaults of the schema, which are whoever's sets them first; and
    /// it names a version that no object has, without which it would write to one that is there.
    pub async fn create<K>(&self, name: &str, object: &Value) -> Result<K, WriteError>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned + Clone,
    {
        let metadata = json!({ "name": name, "resourceVersion": NO_OBJECTS_VERSION });
        self.declare_as(name, None, metadata, object).await
    }

    /// Makes the fields of `object`, such as its `spec`, those of this writer in `present`: what
    /// it declared before and does not name now goes away. Fails with [`WriteError::Stale`] if `present` is not as
    /// it was read, and with [`WriteError::Owned`] where somebody else set one of the fields to another value.
    pub async fn declare<K>(&self, present: &K, object: &Value) -> Result<K, WriteError>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned + Clone,
    {
        let metadata = identity(present, true).into();
        let (name, namespace) = (present.name_any(), present.namespace());
        self.declare_as(&name, namespace.as_deref(), metadata, object)
            .await
    }

    async fn declare_as<K>(
        &self,
        name: &str,
        namespace: Option<&str>,
        metadata: Value,
        object: &Value,
    ) -> Result<K, WriteError>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned + Clone,
    {
        let mut object = object.clone();
        object["apiVersion"] = K::api_version(&()).into();
        object["kind"] = K::kind(&()).into();
        object["metadata"] = metadata;
        let request = Request::new(K::url_path(&(), namespace));
        let parameters = PatchParams::apply(self.manager);
        let request = request.patch(name, &parameters, &Patch::Apply(object));
        self.request(|| format!("{} {name}", K::kind(&())), request).await
    }

    /// Sets annotations, or removes those that are `None`; fails with [`WriteError::Stale`] if the object is not
    /// as it was read.
    pub async fn annotate<K>(
        &self,
        object: &K,
        facts: &[(&str, Option<&str>)],
    ) -> Result<Option<K>, WriteError>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned + Clone,
    {
        let present = object.annotations();
        if facts
            .iter()
            .all(|(key, value)| present.get(*key).map(String::as_str) == *value)
        {
            return Ok(None);
        }
        let annotations: Map<_, _> = facts
            .iter()
            .map(|(key, value)| ((*key).to_owned(), json!(value)))
            .collect();
        let mut metadata = identity(object, true);
        metadata.insert("annotations".into(), annotations.into());
        let parameters = PatchParams {
            field_manager: Some(self.manager.into()),
            ..PatchParams::default()
        };
        let patch = Patch::Merge(json!({ "metadata": metadata }));
        self.send(object, None, &parameters, &patch).await.map(Some)
    }

    /// Merges `fields`, such as those of its `spec`, into the object; fails with [`WriteError::Stale`] if it is not as it
    /// was read.
    pub async fn merge<K>(&self, object: &K, fields: &Value) -> Result<K, WriteError>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned + Clone,
    {
        let mut patch = fields.clone();
        patch["metadata"] = identity(object, true).into();
        let parameters = PatchParams {
            field_manager: Some(self.manager.into()),
            ..PatchParams::default()
        };
        self.send(object, None, &parameters, &Patch::Merge(patch)).await
    }

    /// Adds a finalizer, or removes it; fails with [`WriteError::Stale`] if the object is not as it was read.
    pub async fn finalizer<K>(
        &self,
        object: &K,
        finalizer: &str,
        present: bool,
    ) -> Result<Option<K>, WriteError>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned + Clone,
    {
        let mut finalizers = object.finalizers().to_vec();
        if finalizers.iter().any(|known| known == finalizer) == present {
            return Ok(None);
        }
        if present {
            finalizers.push(finalizer.to_owned());
        } else {
            finalizers.retain(|known| known != finalizer);
        }
        let mut metadata = identity(object, true);
        metadata.insert("finalizers".into(), json!(finalizers));
        let parameters = PatchParams {
            field_manager: Some(self.manager.into()),
            ..PatchParams::default()
        };
        let patch = Patch::Merge(json!({ "metadata": metadata }));
        self.send(object, None, &parameters, &patch).await.map(Some)
    }

    /// Whether `object`, read from a cache, is older than this writer's own last write of it. Nothing may be planned
    /// on it then.
    pub fn is_behind<K: Resource>(&self, object: &K) -> bool {
        let (Some(uid), Some(version)) = (object.uid(), version(object)) else {
            return false;
        };
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let behind = written.get(&uid).is_some_and(|written| version < *written);
        if !behind {
            written.remove(&uid);
        }
        behind
    }

    async fn apply<K, S>(&self, object: &K, status: &S, unchanged: bool) -> Result<Option<K>, WriteError>
    where
        K: Resource<DynamicType = ()> + Serialize + DeserializeOwned + Clone,
        S: Serialize,
    {
        let (mut desired, present) = both_statuses(object, status)?;
        fields::keep_transition_times(&mut desired, &present);
        if fields::is_as_applied(&desired, &present, self.owned(object)) {
            return Ok(None);
        }
        self.send_status(object, &desired, unchanged).await.map(Some)
    }

    async fn send_status<K>(&self, object: &K, desired: &Value, unchanged: bool) -> Result<K, WriteError>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned + Clone,
    {
        let patch = Patch::Apply(json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            "metadata": identity(object, unchanged),
            "status": desired,
        }));
        let parameters = PatchParams::apply(self.manager).force();
        self.send(object, Some("status"), &parameters, &patch).await
    }

    /// What this writer owns of the status, as the API server keeps it.
    fn owned<'a, K: Resource>(&self, object: &'a K) -> Option<&'a Value> {
        let entries = object.meta().managed_fields.as_ref()?;
        let ours = entries.iter().find(|entry| {
            entry.manager.as_deref() == Some(self.manager)
                && entry.operation.as_deref() == Some("Apply")
                && entry.subresource.as_deref() == Some("status")
        })?;
        ours.fields_v1.as_ref()?.0.get("f:status")
    }

    async fn send<K>(
        &self,
        object: &K,
        subresource: Option<&str>,
        parameters: &PatchParams,
        patch: &Patch<Value>,
    ) -> Result<K, WriteError>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned + Clone,
    {
        let name = object.name_any();
        let request = Request::new(K::url_path(&(), object.namespace().as_deref()));
        let request = match subresource {
            Some(subresource) => request.patch_subresource(subresource, &name, parameters, patch),
            None => request.patch(&name, parameters, patch),
        };
        self.request(|| what(object, subresource), request).await
    }

    async fn request<K>(
        &self,
        what: impl Fn() -> String,
        request: Result<http::Request<Vec<u8>>, RequestError>,
    ) -> Result<K, WriteError>
    where
        K: Resource + DeserializeOwned,
    {
        let api = |source| WriteError::Api { what: what(), source };
        let request = request.map_err(|source| api(kube::Error::BuildRequest(source)))?;
        let written: K = self.client.request(request).await.map_err(|error| match &error {
            kube::Error::Api(status) if is_owned(status) => WriteError::Owned {
                what: what(),
                source: error,
            },
            kube::Error::Api(status) if is_stale(status) => WriteError::Stale { what: what() },
            _ => api(error),
        })?;
        if let (Some(uid), Some(version)) = (written.uid(), version(&written)) {
            let mut all = self.written.lock().unwrap_or_else(PoisonError::into_inner);
            all.insert(uid, version);
        }
        Ok(written)
    }
}

/// The store counts from 1 when it is empty: the first object has a later version (etcd's revisions).
const NO_OBJECTS_VERSION: &str = "1";
/// The status to be, and the one that `object` has.
fn both_statuses<K, S>(object: &K, status: &S) -> Result<(Value, Value), WriteError>
where
    K: Resource<DynamicType = ()> + Serialize,
    S: Serialize,
{
    let encode = |source| WriteError::Encode {
        what: what(object, Some("status")),
        source,
    };
    let mut desired = serde_json::to_value(status).map_err(encode)?;
    fields::drop_nulls(&mut desired);
    let mut present = serde_json::to_value(object).map_err(encode)?;
    Ok((desired, present["status"].take()))
}

/// Metadata that keeps a patch from landing on a namesake, or on an object that changed.
fn identity<K: Resource>(object: &K, unchanged: bool) -> Map<String, Value> {
    let meta = object.meta();
    let version = meta.resource_version.as_ref().filter(|_| unchanged);
    let parts = [
        ("name", meta.name.as_ref()),
        ("namespace", meta.namespace.as_ref()),
        ("uid", meta.uid.as_ref()),
        ("resourceVersion", version),
    ];
    parts
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), json!(value?))))
        .collect()
}

/// Server-side apply would take a field from another field manager.
fn is_owned(status: &Status) -> bool {
    let mut causes = status.details.iter().flat_map(|details| &details.causes);
    status.is_conflict() && causes.any(|cause| cause.reason == "FieldManagerConflict")
}

/// Conflict, not found, or the complaint that a namesake has another uid.
fn is_stale(status: &Status) -> bool {
    let mut causes = status.details.iter().flat_map(|details| &details.causes);
    status.is_conflict() || status.is_not_found() || causes.any(|cause| cause.field == "metadata.uid")
}

/// Versions of one object are numbers that grow (KEP 5504).
fn version<K: Resource>(object: &K) -> Option<u64> {
    object.resource_version()?.parse().ok()
}

fn what<K: Resource<DynamicType = ()>>(object: &K, part: Option<&str>) -> String {
    let namespace = object
        .namespace()
        .map(|namespace| namespace + "/")
        .unwrap_or_default();
    let part = part.unwrap_or("annotations");
    format!("{part} of {} {namespace}{}", K::kind(&()), object.name_any())
}
