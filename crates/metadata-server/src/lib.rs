//! `/configdata`: the machine config of a machine that boots, patched for its class and its Server.
//!
//! What is served holds a cluster's secrets. It is given to whoever has the token of the machine's boot window, recorded
//! before it goes out, and neither it nor the token is in any text of ours.

use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use machine_config::{Config, PatchError};
use serde_json::Value;

#[cfg(test)]
mod tests;

/// Characters of foreign text in the log.
const MAX_LOGGED: usize = 200;
/// The label by which a Node's Server is known.
const NODE_LABEL: &str = "metal.sidero.dev/uuid";

/// Where machine configs come from.
pub trait ConfigSource: Send + Sync + 'static {
    /// What was found for a machine, to be recorded with.
    type Found: Send + Sync;

    /// The machine config of the machine `uuid`, as it is named in the query, and its patches in their order.
    fn find(
        &self,
        uuid: &str,
        token: Option<&str>,
    ) -> impl Future<Output = Result<(Material, Self::Found), Refusal>> + Send;

    /// Records that the config goes out. If that fails, it does not.
    fn record(&self, found: Self::Found) -> impl Future<Output = Result<(), Refusal>> + Send;
}

/// What a config is made of.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Material {
    /// As its bootstrap provider made it.
    pub config: String,
    /// In the order in which they are applied.
    pub patches: Vec<Patches>,
}

/// The patches of one object.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Patches {
    /// Whose, such as `ServerClass any`.
    pub of: String,
    /// Operations of one JSON patch (RFC 6902).
    pub operations: Vec<Value>,
    /// Strategic merge patches; each may be a JSON patch too.
    pub strategic: Vec<String>,
}

/// Why no config is served. Talos shows the text on the machine's console and asks again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// As the original answered.
    pub status: u16,
    /// What is wrong, and what to do; without anything secret.
    pub text: String,
}

impl Refusal {
    /// With this status and text.
    pub fn new(status: u16, text: impl Into<String>) -> Self {
        Self {
            status,
            text: text.into(),
        }
    }
}

/// The route of machine configs, from this source.
pub fn router<S: ConfigSource>(source: Arc<S>) -> Router {
    Router::new()
        .route("/configdata", any(configdata::<S>))
        .with_state(source)
}

async fn configdata<S: ConfigSource>(State(source): State<Arc<S>>, RawQuery(query): RawQuery) -> Response {
    let (uuid, token) = asked(&query.unwrap_or_default());
    let short: String = uuid.chars().take(MAX_LOGGED).collect();
    match serve(&*source, &uuid, token.as_deref()).await {
        Ok(config) => {
            tracing::info!(uuid = ?short, "machine config served");
            (StatusCode::OK, headers(), config).into_response()
        }
        Err(refusal) => {
            tracing::warn!(uuid = ?short, status = refusal.status, refusal.text, "no machine config served");
            let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            (status, headers(), format!("{}\n", refusal.text)).into_response()
        }
    }
}

const fn headers() -> [(header::HeaderName, &'static str); 3] {
    [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ]
}

/// The first `uuid` and the first `token` of a query.
fn asked(query: &str) -> (String, Option<String>) {
    let (mut uuid, mut token) = (None, None);
    for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
        match &*key {
            "uuid" => uuid = uuid.or(Some(value.into_owned())),
            "token" => token = token.or(Some(value.into_owned())),
            _ => {}
        }
    }
    (uuid.unwrap_or_default(), token)
}

async fn serve<S: ConfigSource>(source: &S, uuid: &str, token: Option<&str>) -> Result<String, Refusal> {
    if uuid.is_empty() {
        return Err(Refusal::new(500, "received metadata request with empty uuid"));
    }
    let (material, found) = source.find(uuid, token).await?;
    let config = assemble(&material, uuid).map_err(|error| Refusal::new(500, error.to_string()))?;
    source.record(found).await?;
    Ok(config)
}

/// Why a config could not be made.
#[derive(Debug, thiserror::Error)]
enum AssembleError {
    #[error("failure reading the machine config: {0}")]
    Read(PatchError),
    #[error("failure applying patches of {of}: {error}")]
    Patch { of: String, error: PatchError },
    #[error("failure adding the node label: {0}")]
    Label(PatchError),
    #[error("failure writing the machine config: {0}")]
    Write(PatchError),
}

fn assemble(material: &Material, uuid: &str) -> Result<String, AssembleError> {
    let mut config = Config::parse(&material.config).map_err(AssembleError::Read)?;
    for patches in &material.patches {
        let failed = |error| AssembleError::Patch {
            of: patches.of.clone(),
            error,
        };
        if !patches.operations.is_empty() {
            config.apply_operations(&patches.operations).map_err(failed)?;
        }
        for (number, text) in patches.strategic.iter().enumerate() {
            config
                .apply(text)
                .map_err(|error| failed(error.within(&format!("strategicPatches[{number}]"))))?;
        }
    }
    config
        .label_node(NODE_LABEL, uuid)
        .map_err(AssembleError::Label)?;
    config.to_yaml().map_err(AssembleError::Write)
}
