//! Who asks: session token or HTTP Basic (DSP0266 §13.3).

use axum::extract::Request;
use axum::http::Method;
use axum::http::header::AUTHORIZATION;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::failure::Failure;
use super::{Context, sessions};
use crate::fault::Protocol;
use crate::users::Role;

/// The user behind a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) slot: u8,
    pub(super) name: String,
    pub(super) role: Role,
}

impl Caller {
    /// Redfish privilege *ConfigureComponents*: Operator and up.
    pub(super) fn may_operate(&self) -> Result<(), Failure> {
        self.at_least(Role::Operator)
    }

    /// Privileges *ConfigureUsers* and *ConfigureManager*: Administrator.
    pub(super) fn may_administer(&self) -> Result<(), Failure> {
        self.at_least(Role::Administrator)
    }

    fn at_least(&self, role: Role) -> Result<(), Failure> {
        if self.role >= role {
            Ok(())
        } else {
            Err(Failure::insufficient_privilege())
        }
    }
}

/// What needs no credentials (DSP0266 §13.3.1).
fn is_public(method: &Method, path: &str) -> bool {
    match *method {
        Method::GET | Method::HEAD => matches!(
            path,
            "/redfish" | "/redfish/v1" | "/redfish/v1/" | "/redfish/v1/odata" | "/redfish/v1/$metadata"
        ),
        Method::POST => path == sessions::COLLECTION,
        _ => false,
    }
}

/// Puts the caller into the request's [`Context`], or refuses.
pub(super) fn authenticate(request: &mut Request) -> Result<(), Failure> {
    let public = is_public(request.method(), request.uri().path());
    let context = request
        .extensions()
        .get::<Context>()
        .ok_or_else(Failure::internal)?;
    let token = request
        .headers()
        .get("x-auth-token")
        .map(|value| value.to_str().unwrap_or_default());
    let basic = request
        .headers()
        .get(AUTHORIZATION)
        .map(|value| value.to_str().unwrap_or_default());
    let caller = match (token, basic) {
        _ if public => None,
        (Some(token), _) => Some(sessions::caller(context, token).ok_or_else(Failure::no_session)?),
        (None, Some(basic)) => {
            Some(check_basic(context, basic).ok_or_else(|| Failure::unauthorized(request.uri().path()))?)
        }
        (None, None) => return Err(Failure::no_session()),
    };
    if let Some(context) = request.extensions_mut().get_mut::<Context>() {
        context.caller = caller;
    }
    Ok(())
}

fn check_basic(context: &Context, header: &str) -> Option<Caller> {
    let credentials = header
        .strip_prefix("Basic ")
        .and_then(|encoded| STANDARD.decode(encoded.trim()).ok());
    let text = credentials
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .unwrap_or_default();
    let (name, password) = text.split_once(':').unwrap_or_default();
    log_in(context, name, password)
}

/// Checks a password; counted at the BMC either way.
pub(super) fn log_in(context: &Context, name: &str, password: &str) -> Option<Caller> {
    context.bmc().count_login();
    let user = context.bmc().authenticate(name, password);
    let user = user.filter(|_| !context.bmc().refuses_login(Protocol::Redfish));
    if user.is_some() {
        context.bmc().count_login_accepted();
    }
    user.map(|(slot, user)| Caller {
        slot,
        name: user.name,
        role: user.role,
    })
}
