//! The Redfish front end of one BMC (DSP0266, DSP0268): routes, and what every answer has in common.
//!
//! Written from the standard, strict where real services are strict. It shares nothing with any client.

mod accounts;
mod auth;
mod body;
mod connection;
mod failure;
mod managers;
mod representation;
mod root;
mod sessions;
mod systems;
#[cfg(test)]
mod tests;
mod tls;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};

use axum::Router;
use axum::extract::{FromRequestParts, Request};
use axum::http::header::{CACHE_CONTROL, HeaderValue};
use axum::http::request::Parts;
use axum::http::{HeaderName, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use self::auth::Caller;
use self::failure::Failure;
use self::sessions::Sessions;
use self::tls::Identity;
pub use self::tls::TlsError;
use crate::bmc::Bmc;
use crate::config::RedfishConfig;
use crate::machine::Origin;

/// Longest request body.
pub const MAX_BODY: usize = 64 * 1024;
/// Connections to one BMC at a time; more wait to be accepted.
pub const MAX_CONNECTIONS: usize = 32;

/// The Redfish side of one BMC.
pub struct RedfishFront {
    bmc: Arc<Bmc>,
    config: RedfishConfig,
    sessions: Mutex<Sessions>,
    /// Made when the first client connects.
    identity: OnceLock<Identity>,
}

impl RedfishFront {
    /// The front end of `bmc`.
    pub fn new(bmc: Arc<Bmc>, config: RedfishConfig) -> Self {
        Self {
            bmc,
            config,
            sessions: Mutex::default(),
            identity: OnceLock::new(),
        }
    }

    /// The certificate as PEM, made if it was not yet; `None` over plain HTTP.
    pub fn certificate_pem(&self) -> Result<Option<String>, TlsError> {
        if !self.config.tls {
            return Ok(None);
        }
        Ok(Some(self.identity()?.pem.clone()))
    }

    fn identity(&self) -> Result<&Identity, TlsError> {
        if let Some(identity) = self.identity.get() {
            return Ok(identity);
        }
        let identity = Identity::make(self.bmc.name(), self.config.listen.ip())?;
        Ok(self.identity.get_or_init(|| identity))
    }
}

/// The routes; one router serves all BMCs, each request carries its [`RedfishFront`] as an extension.
pub fn router() -> Router {
    Router::new()
        .route("/redfish", get(root::versions))
        .route("/redfish/v1", get(root::service_root))
        .route("/redfish/v1/", get(root::service_root))
        .route("/redfish/v1/odata", get(root::odata))
        .route("/redfish/v1/$metadata", get(root::metadata))
        .route("/redfish/v1/SessionService", get(sessions::service))
        .route(
            "/redfish/v1/SessionService/Sessions",
            get(sessions::collection).post(sessions::create),
        )
        .route(
            "/redfish/v1/SessionService/Sessions/{id}",
            get(sessions::read).delete(sessions::delete),
        )
        .route("/redfish/v1/AccountService", get(accounts::service))
        .route("/redfish/v1/AccountService/Accounts", get(accounts::collection))
        .route(
            "/redfish/v1/AccountService/Accounts/{id}",
            get(accounts::read).patch(accounts::update),
        )
        .route("/redfish/v1/AccountService/Roles", get(accounts::roles))
        .route("/redfish/v1/AccountService/Roles/{id}", get(accounts::role))
        .route("/redfish/v1/Systems", get(systems::collection))
        .route(
            "/redfish/v1/Systems/{id}",
            get(systems::read).patch(systems::update),
        )
        .route(
            "/redfish/v1/Systems/{id}/ResetActionInfo",
            get(systems::reset_action_info),
        )
        .route(
            "/redfish/v1/Systems/{id}/Actions/ComputerSystem.Reset",
            post(systems::reset),
        )
        .route(
            "/redfish/v1/Systems/{id}/EthernetInterfaces",
            get(systems::interfaces),
        )
        .route(
            "/redfish/v1/Systems/{id}/EthernetInterfaces/{nic}",
            get(systems::interface),
        )
        .route("/redfish/v1/Managers", get(managers::collection))
        .route("/redfish/v1/Managers/{id}", get(managers::read))
        .route(
            "/redfish/v1/Managers/{id}/ResetActionInfo",
            get(managers::reset_action_info),
        )
        .route(
            "/redfish/v1/Managers/{id}/Actions/Manager.Reset",
            post(managers::reset),
        )
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn(every_request))
}

async fn unknown(request: Request) -> Failure {
    Failure::resource_missing(request.uri().path())
}

async fn wrong_method(_: Context) -> Failure {
    Failure::method_not_allowed()
}

/// What holds for every request: protocol version, queries, authentication, common headers (DSP0266 §6.5, §8).
async fn every_request(mut request: Request, next: Next) -> Response {
    let admitted = admit(&mut request);
    let context = request.extensions().get::<Context>().cloned();
    let mut response = match admitted {
        Ok(()) => next.run(request).await,
        Err(failure) => failure.into_response(),
    };
    response.extensions_mut().insert(context);
    let headers = response.headers_mut();
    headers.insert(
        HeaderName::from_static("odata-version"),
        HeaderValue::from_static("4.0"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

fn admit(request: &mut Request) -> Result<(), Failure> {
    let version = request.headers().get("odata-version");
    if version.is_some_and(|version| version != "4.0") {
        return Err(Failure::odata_version());
    }
    let query = request.uri().query().unwrap_or_default();
    if let Some(unsupported) = query.split('&').find(|part| part.starts_with('$')) {
        return Err(Failure::query_not_supported(unsupported));
    }
    auth::authenticate(request)
}

/// Who asks what of whom; every handler takes it.
#[derive(Clone)]
struct Context {
    front: Arc<RedfishFront>,
    /// `None` only for the few resources that anybody may read.
    caller: Option<Caller>,
    peer: SocketAddr,
}

impl Context {
    fn bmc(&self) -> &Bmc {
        &self.front.bmc
    }

    /// Who acts, for the power log.
    fn origin(&self) -> Origin {
        let actor = self
            .caller
            .as_ref()
            .map_or("anonymous", |caller| caller.name.as_str());
        Origin::new(actor, format!("redfish://{}", self.peer))
    }
}

impl<S: Sync> FromRequestParts<S> for Context {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        parts
            .extensions
            .get::<Self>()
            .cloned()
            .ok_or_else(Failure::internal)
    }
}

/// Answers without a body.
fn no_content() -> Response {
    StatusCode::NO_CONTENT.into_response()
}
