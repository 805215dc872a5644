//! SessionService and Sessions (DSP0266 §13.3.4): log in, log out, limit and time-out.

use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::Path;
use axum::http::header::{HeaderName, HeaderValue, LOCATION};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};
use subtle::ConstantTimeEq;

use super::auth::{self, Caller};
use super::failure::Failure;
use super::{Context, body, no_content, representation};
use crate::machine::SimTime;

pub(super) const COLLECTION: &str = "/redfish/v1/SessionService/Sessions";

struct Session {
    id: String,
    token: String,
    slot: u8,
    user: String,
    /// The user's epoch at login: a changed password ends the session.
    epoch: u32,
    last_used: SimTime,
}

/// The open sessions of one BMC.
#[derive(Default)]
pub(super) struct Sessions {
    open: Vec<Session>,
    last_id: u64,
    /// The BMC's generation they belong to.
    generation: u64,
}

/// The sessions without those that ended.
fn open(context: &Context) -> MutexGuard<'_, Sessions> {
    let mut sessions = context
        .front
        .sessions
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let (bmc, timeout) = (context.bmc(), context.front.config.session_timeout);
    let (now, generation) = (bmc.clock().now(), bmc.generation());
    if std::mem::replace(&mut sessions.generation, generation) != generation {
        sessions.open.clear();
    }
    sessions.open.retain(|session| {
        let user = bmc.user(session.slot);
        now < session.last_used + timeout
            && user.is_some_and(|user| user.enabled && user.epoch == session.epoch)
    });
    sessions
}

/// The user of a token, if its session is open.
pub(super) fn caller(context: &Context, token: &str) -> Option<Caller> {
    let mut sessions = open(context);
    let session = sessions
        .open
        .iter_mut()
        .find(|session| bool::from(session.token.as_bytes().ct_eq(token.as_bytes())))?;
    session.last_used = context.bmc().clock().now();
    let user = context.bmc().user(session.slot)?;
    Some(Caller {
        slot: session.slot,
        name: user.name,
        role: user.role,
    })
}

pub(super) async fn service(context: Context, headers: HeaderMap) -> Response {
    let timeout: Duration = context.front.config.session_timeout;
    representation::answer(
        &headers,
        json!({
            "@odata.id": "/redfish/v1/SessionService",
            "@odata.type": "#SessionService.v1_1_9.SessionService",
            "Id": "SessionService",
            "Name": "Session Service",
            "ServiceEnabled": true,
            "SessionTimeout": timeout.as_secs(),
            "Status": {"State": "Enabled", "Health": "OK"},
            "Sessions": {"@odata.id": COLLECTION},
        }),
    )
}

pub(super) async fn collection(context: Context, headers: HeaderMap) -> Response {
    let ids: Vec<_> = open(&context)
        .open
        .iter()
        .map(|session| session.id.clone())
        .collect();
    representation::answer(
        &headers,
        representation::collection(COLLECTION, "Session", "Sessions", ids),
    )
}

fn resource(session: &Session) -> Value {
    json!({
        "@odata.id": format!("{COLLECTION}/{}", session.id),
        "@odata.type": "#Session.v1_7_0.Session",
        "Id": session.id,
        "Name": "User Session",
        "UserName": session.user,
        "Password": null,
        "SessionType": "Redfish",
    })
}

pub(super) async fn create(context: Context, headers: HeaderMap, bytes: Bytes) -> Result<Response, Failure> {
    let object = body::object(&headers, &bytes)?;
    if let Some(unknown) = object
        .keys()
        .find(|key| !matches!(key.as_str(), "UserName" | "Password"))
    {
        return Err(Failure::property_unknown(unknown));
    }
    let name = body::string(&object, "UserName")?.ok_or_else(|| Failure::property_missing("UserName"))?;
    let password = body::string(&object, "Password")?.ok_or_else(|| Failure::property_missing("Password"))?;
    let caller = auth::log_in(&context, name, password).ok_or_else(|| Failure::unauthorized(COLLECTION))?;
    let user = context.bmc().user(caller.slot).ok_or_else(Failure::internal)?;
    let mut sessions = open(&context);
    if sessions.open.len() >= context.front.config.max_sessions {
        return Err(Failure::session_limit());
    }
    sessions.last_id += 1;
    let session = Session {
        id: sessions.last_id.to_string(),
        token: format!("{:032x}", rand::random::<u128>()),
        slot: caller.slot,
        user: caller.name,
        epoch: user.epoch,
        last_used: context.bmc().clock().now(),
    };
    let mut response = representation::answer(&HeaderMap::new(), resource(&session));
    *response.status_mut() = StatusCode::CREATED;
    let header = |text: &str| HeaderValue::from_str(text).map_err(|_| Failure::internal());
    response
        .headers_mut()
        .insert(HeaderName::from_static("x-auth-token"), header(&session.token)?);
    response
        .headers_mut()
        .insert(LOCATION, header(&format!("{COLLECTION}/{}", session.id))?);
    sessions.open.push(session);
    Ok(response)
}

pub(super) async fn read(
    context: Context,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let sessions = open(&context);
    let session = sessions.open.iter().find(|session| session.id == id);
    let session = session.ok_or_else(|| Failure::resource_missing(&format!("{COLLECTION}/{id}")))?;
    Ok(representation::answer(&headers, resource(session)))
}

/// One's own session (ConfigureSelf), or anybody's (ConfigureManager).
pub(super) async fn delete(context: Context, Path(id): Path<String>) -> Result<Response, Failure> {
    let caller = context.caller.clone().ok_or_else(Failure::no_session)?;
    let mut sessions = open(&context);
    let index = sessions.open.iter().position(|session| session.id == id);
    let index = index.ok_or_else(|| Failure::resource_missing(&format!("{COLLECTION}/{id}")))?;
    if sessions.open[index].slot != caller.slot {
        caller.may_administer()?;
    }
    sessions.open.remove(index);
    Ok(no_content())
}
