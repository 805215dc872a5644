//! An API server of tests: answers by a function, remembers what was asked.

use std::sync::{Arc, Mutex};

use http::{Method, Request, Response, StatusCode};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tower::BoxError;

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) uri: String,
    pub(crate) content_type: String,
    pub(crate) body: Value,
}

/// A client of the server, and what it asked so far. `None` is no answer ever, as of a watch without events.
pub(crate) fn client(
    answer: impl Fn(&Asked) -> Option<(u16, Value)> + Send + Sync + 'static,
) -> (Client, Arc<Mutex<Vec<Asked>>>) {
    let (answer, asked) = (Arc::new(answer), Arc::new(Mutex::new(Vec::new())));
    let log = asked.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let (answer, log) = (answer.clone(), log.clone());
        async move {
            let asked = Asked {
                method: request.method().clone(),
                uri: request.uri().to_string(),
                content_type: header(&request),
                body: serde_json::from_slice(&request.into_body().collect_bytes().await?).unwrap_or_default(),
            };
            log.lock().unwrap().push(asked.clone());
            match answer(&asked) {
                Some((code, body)) => respond(code, &body),
                None => std::future::pending().await,
            }
        }
    });
    (Client::new(service, "default"), asked)
}

fn header(request: &Request<Body>) -> String {
    let value = request.headers().get(http::header::CONTENT_TYPE);
    value
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_owned()
}

/// A refusal as the API server words it.
pub(crate) fn failure(code: u16) -> Value {
    let reason = match code {
        404 => "NotFound",
        409 => "Conflict",
        _ => "InternalError",
    };
    json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure",
        "code": code, "reason": reason, "message": "scripted",
    })
}

pub(crate) fn respond(code: u16, body: &Value) -> Result<Response<Body>, BoxError> {
    let response = Response::builder().status(StatusCode::from_u16(code)?);
    Ok(response.body(Body::from(serde_json::to_vec(body)?))?)
}
