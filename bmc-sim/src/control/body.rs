//! Bodies of the control API, and its one form of error.

use std::fmt::Display;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::verb::PowerVerb;

/// What went wrong, as `{"error": "…"}`.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    text: String,
}

impl Problem {
    pub(super) fn new(status: StatusCode, text: String) -> Self {
        Self { status, text }
    }

    pub(super) fn bad_request(why: &dyn Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, why.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.status, Json(json!({"error": self.text}))).into_response()
    }
}

/// `POST …/power`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct By {
    pub(super) verb: PowerWord,
    /// Whom the power log names.
    pub(super) actor: Option<String>,
}

/// The power verbs as words.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum PowerWord {
    On,
    Off,
    SoftOff,
    Cycle,
    Reset,
}

impl From<PowerWord> for PowerVerb {
    fn from(word: PowerWord) -> Self {
        match word {
            PowerWord::On => Self::On,
            PowerWord::Off => Self::Off,
            PowerWord::SoftOff => Self::SoftOff,
            PowerWord::Cycle => Self::Cycle,
            PowerWord::Reset => Self::Reset,
        }
    }
}

/// `POST …/button`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Button {
    pub(super) press: Press,
    /// Whom the power log names.
    pub(super) actor: Option<String>,
}

/// How long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Press {
    Short,
    Long,
}

/// `POST /clock/advance`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Advance {
    pub(super) seconds: f64,
}

/// Reads a JSON body; an empty one is `{}`.
pub(super) fn json_body<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body)
        .map_err(|error| Problem::bad_request(&format!("the body will not do: {error}")))
}
