//! The HTTP control API: the hand at the machine, faults, counters, power log and clock of a test.

mod body;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post, put};
use serde::Deserialize;
use serde_json::{Value, json};

use self::body::{Advance, Button, By, Press, Problem, json_body};
use crate::bmc::{Bmc, CommandError};
use crate::fault::{Fault, Spec};
use crate::fleet::{Fleet, Member};
use crate::machine::Origin;
use crate::verb::Verb;

/// Longest request body.
const MAX_BODY: usize = 64 * 1024;
/// Lines of the power log in one answer.
const MAX_LINES: usize = 10_000;
/// Longest wait for a line of the power log.
const MAX_WAIT: Duration = Duration::from_mins(1);

type Shared = State<Arc<Fleet>>;
type Peer = ConnectInfo<SocketAddr>;
type Answer = Result<Response, Problem>;

/// The routes.
pub fn router(fleet: Arc<Fleet>) -> Router {
    Router::new()
        .route("/bmcs", get(list))
        .route("/bmcs/{name}", get(read))
        .route("/bmcs/{name}/plug-in", post(plug_in))
        .route("/bmcs/{name}/unplug", post(unplug))
        .route("/bmcs/{name}/button", post(button))
        .route("/bmcs/{name}/power", post(power))
        .route("/bmcs/{name}/counters", get(counters))
        .route("/bmcs/{name}/faults", get(faults).delete(clear_faults))
        .route("/bmcs/{name}/faults/{fault}", put(set_fault).delete(clear_fault))
        .route("/bmcs/{name}/certificate", get(certificate))
        .route("/power-log", get(power_log))
        .route("/clock", get(clock))
        .route("/clock/advance", post(advance))
        .fallback(unknown)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(fleet)
}

async fn unknown(uri: Uri) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("no such path: {}", uri.path()))
}

fn member<'a>(fleet: &'a Fleet, name: &str) -> Result<&'a Member, Problem> {
    fleet
        .member(name)
        .ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, format!("no BMC is named {name:?}")))
}

fn bmc<'a>(fleet: &'a Fleet, name: &str) -> Result<&'a Bmc, Problem> {
    Ok(&member(fleet, name)?.bmc)
}

fn describe(member: &Member) -> Value {
    let machine = &member.bmc.config().machine;
    json!({
        "name": member.bmc.name(),
        "ipmi": member.ipmi,
        "redfish": member.redfish_url(),
        "uuid": machine.uuid,
        "firmware": machine.firmware,
        "machine": member.bmc.status(),
    })
}

async fn list(State(fleet): Shared) -> Json<Value> {
    Json(fleet.members().map(describe).collect())
}

async fn read(State(fleet): Shared, Path(name): Path<String>) -> Answer {
    Ok(Json(describe(member(&fleet, &name)?)).into_response())
}

fn origin(actor: Option<&str>, ConnectInfo(peer): Peer) -> Origin {
    Origin::new(actor.unwrap_or("control-api"), format!("control://{peer}"))
}

/// The state after a command, or why it was refused.
fn outcome(bmc: &Bmc, result: Result<(), CommandError>) -> Answer {
    result.map_err(|why| Problem::new(StatusCode::CONFLICT, why.to_string()))?;
    Ok(Json(bmc.status()).into_response())
}

async fn plug_in(State(fleet): Shared, Path(name): Path<String>, peer: Peer) -> Answer {
    let bmc = bmc(&fleet, &name)?;
    outcome(bmc, bmc.mains(true, &origin(None, peer)))
}

async fn unplug(State(fleet): Shared, Path(name): Path<String>, peer: Peer) -> Answer {
    let bmc = bmc(&fleet, &name)?;
    outcome(bmc, bmc.mains(false, &origin(None, peer)))
}

async fn button(State(fleet): Shared, Path(name): Path<String>, peer: Peer, body: Bytes) -> Answer {
    let bmc = bmc(&fleet, &name)?;
    let Button { press, actor } = json_body(&body)?;
    outcome(
        bmc,
        bmc.button(press == Press::Long, &origin(actor.as_deref(), peer)),
    )
}

async fn power(State(fleet): Shared, Path(name): Path<String>, peer: Peer, body: Bytes) -> Answer {
    let bmc = bmc(&fleet, &name)?;
    let By { verb, actor } = json_body(&body)?;
    outcome(bmc, bmc.power(verb.into(), &origin(actor.as_deref(), peer), None))
}

async fn counters(State(fleet): Shared, Path(name): Path<String>) -> Answer {
    let bmc = bmc(&fleet, &name)?;
    let counters = bmc.counters();
    let commands: serde_json::Map<_, _> = Verb::ALL
        .iter()
        .map(|verb| (verb.to_string(), json!(counters.commands(*verb))))
        .collect();
    let bites = |wanted: Fault| {
        bmc.faults()
            .into_iter()
            .find(|(fault, ..)| *fault == wanted)
            .map(|(.., n)| n)
    };
    let body = json!({
        "commands": commands,
        "requests-lost": bites(Fault::RequestLoss),
        "replies-lost": bites(Fault::ReplyLoss),
        "logins-accepted": counters.logins_accepted,
        "logins-refused": counters.logins_refused(),
        "malformed": counters.malformed,
    });
    Ok(Json(body).into_response())
}

async fn faults(State(fleet): Shared, Path(name): Path<String>) -> Answer {
    let faults: serde_json::Map<_, _> = bmc(&fleet, &name)?
        .faults()
        .into_iter()
        .map(|(fault, spec, bites)| (fault.to_string(), json!({"set": spec, "bites": bites})))
        .collect();
    Ok(Json(faults).into_response())
}

fn fault(text: &str) -> Result<Fault, Problem> {
    text.parse().map_err(|error| Problem::bad_request(&error))
}

async fn set_fault(State(fleet): Shared, Path((name, text)): Path<(String, String)>, body: Bytes) -> Answer {
    let (bmc, fault) = (bmc(&fleet, &name)?, fault(&text)?);
    let spec: Spec = json_body(&body)?;
    bmc.set_fault(fault, spec)
        .map_err(|error| Problem::bad_request(&error))?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn clear_fault(State(fleet): Shared, Path((name, text)): Path<(String, String)>) -> Answer {
    bmc(&fleet, &name)?.clear_fault(Some(fault(&text)?));
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn clear_faults(State(fleet): Shared, Path(name): Path<String>) -> Answer {
    bmc(&fleet, &name)?.clear_fault(None);
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn certificate(State(fleet): Shared, Path(name): Path<String>) -> Answer {
    match member(&fleet, &name)?.certificate_pem() {
        Ok(Some(pem)) => Ok(([(CONTENT_TYPE, "application/x-pem-file")], pem).into_response()),
        Ok(None) => Err(Problem::new(
            StatusCode::NOT_FOUND,
            format!("BMC {name:?} does not speak TLS"),
        )),
        Err(error) => Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogQuery {
    #[serde(default)]
    since: u64,
    /// Seconds to wait for a line, if there is none yet.
    #[serde(default)]
    wait: u64,
    bmc: Option<String>,
}

/// Lines from position `since` on; waits up to `wait` seconds until there is one.
async fn power_log(
    State(fleet): Shared,
    query: Result<Query<LogQuery>, axum::extract::rejection::QueryRejection>,
) -> Answer {
    let Query(LogQuery { since, wait, bmc }) = query.map_err(|error| Problem::bad_request(&error))?;
    if let Some(name) = &bmc {
        member(&fleet, name)?;
    }
    let wait = Duration::from_secs(wait).min(MAX_WAIT);
    let deadline = tokio::time::Instant::now() + wait;
    let mut page = fleet.log().since(since, bmc.as_deref(), MAX_LINES);
    while page.entries.is_empty() {
        if tokio::time::timeout_at(deadline, fleet.log().reached(page.next))
            .await
            .is_err()
        {
            break;
        }
        page = fleet.log().since(page.next, bmc.as_deref(), MAX_LINES);
    }
    Ok(Json(page).into_response())
}

async fn clock(State(fleet): Shared) -> Json<Value> {
    let now = fleet.clock().now();
    Json(json!({"t": format!("{:.3}", fleet.clock().date(now)), "seconds": now.as_secs_f64()}))
}

/// Test control: sets the clock forward and brings every machine up to it.
async fn advance(State(fleet): Shared, body: Bytes) -> Answer {
    let Advance { seconds } = json_body(&body)?;
    let step = Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|step| *step <= crate::clock::Clock::MAX_STEP)
        .ok_or_else(|| Problem::bad_request(&format!("\"seconds\" is {seconds}, want 0 to 31622400")))?;
    fleet.clock().advance(step);
    for member in fleet.members() {
        member.bmc.status();
    }
    Ok(clock(State(fleet)).await.into_response())
}
