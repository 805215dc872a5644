//! `/ipxe`: what a machine that asks is to boot.

use std::net::SocketAddr;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Instant;

use agent_protocol::Token;
use axum::extract::{ConnectInfo, RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use boot_protocols::ipxe;
use hardware_types::{Mac, ServerId};
use lifecycle::boot::{self, Answer, Prospect, View};

use super::{App, agent, script};
use crate::agent_boots::AgentBoots;
use crate::{Directory, Environment, NoEnvironment, Sighting, Unavailable};

/// Seconds until a machine that waits asks again.
const WAIT: u32 = 30;
/// Seconds until a machine asks again that could not be answered.
const RETRY_AFTER: u32 = 10;
/// The kernel argument by which Talos is told where its machine config is.
const TALOS_CONFIG: &str = "talos.config=";
/// Characters of foreign text in the log.
const MAX_LOGGED: usize = 200;

/// What the query says; the first value of a key counts.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    uuid: String,
    mac: String,
    arch: &'static str,
}

impl Asked {
    fn of(query: &str) -> Self {
        let (mut uuid, mut mac, mut arch) = (None, None, None);
        for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
            match &*key {
                "uuid" => uuid.get_or_insert(value),
                "arch" => arch.get_or_insert(value),
                key if key.eq_ignore_ascii_case("mac") => mac.get_or_insert(value),
                _ => continue,
            };
        }
        Self {
            uuid: uuid.unwrap_or_default().into_owned(),
            mac: mac.unwrap_or_default().into_owned(),
            arch: match arch.as_deref() {
                Some("arm64") => "arm64",
                _ => "amd64",
            },
        }
    }

    fn mac(&self) -> Option<Mac> {
        self.mac.parse().ok().or_else(|| dotted(&self.mac))
    }
}

/// A MAC address as `5254.0012.3456`.
fn dotted(text: &str) -> Option<Mac> {
    let groups: Vec<_> = text.split('.').collect();
    if groups.len() != 3 || groups.iter().any(|group| group.len() != 4 || !group.is_ascii()) {
        return None;
    }
    let bytes: Vec<_> = groups
        .iter()
        .flat_map(|group| [&group[..2], &group[2..]])
        .collect();
    bytes.join(":").parse().ok()
}

/// What became of the question.
enum Outcome {
    /// It was decided; `None` is status 404.
    Decided(ServerId, Answer, Option<ipxe::Script>),
    /// It is to boot its environment, and this status says why it cannot.
    NoEnvironment(ServerId, StatusCode, String),
    /// It cannot be decided or done, and only a human can help.
    Explained(String),
    /// Later.
    Later(Unavailable),
}

impl<D: Directory> App<D> {
    async fn decide(&self, asked: &Asked, query: &str) -> Outcome {
        let id: ServerId = match asked.uuid.parse() {
            Ok(id) => id,
            Err(error) => return Outcome::Explained(format!("asked with a bad uuid: {error}")),
        };
        let view = match self.directory.view(id).await {
            Ok(view) => view,
            Err(unavailable) => return Outcome::Later(unavailable),
        };
        let now = Instant::now();
        let prospect = Prospect {
            has_room: view.is_some() || self.directory.has_room(),
            agent_boots: self.boots().count(id, now),
        };
        let mut answer = boot::answer(view.as_ref(), asked.mac(), prospect);
        let mut environment = None;
        if answer == Answer::Environment {
            match self.directory.environment(id).await {
                Ok(Ok(found)) => environment = Some(found),
                Ok(Err(NoEnvironment::Instead(instead))) => answer = instead,
                Ok(Err(NoEnvironment::Missing(what))) => {
                    return Outcome::NoEnvironment(id, StatusCode::NOT_FOUND, what);
                }
                Ok(Err(NoEnvironment::NotReady(name))) => {
                    let text = format!("environment {name:?} is not ready");
                    return Outcome::NoEnvironment(id, StatusCode::PRECONDITION_FAILED, text);
                }
                Err(unavailable) => return Outcome::Later(unavailable),
            }
        }
        let script = match answer {
            Answer::Environment => {
                let script = environment.map(|found| self.environment(&found));
                match script.transpose() {
                    Ok(script) => script,
                    Err(error) => return Outcome::Explained(format!("cannot boot its environment: {error}")),
                }
            }
            Answer::Agent { with_token } => {
                match self.agent(asked, self.token(id, view.as_ref(), with_token)).await {
                    Ok(script) => {
                        self.boots().given(id, now);
                        Some(script)
                    }
                    Err(reason) => return Outcome::Explained(reason),
                }
            }
            Answer::Disk(_) => {
                let method = self.directory.disk_method(id);
                ipxe::disk(method.unwrap_or(self.config.disk_method))
            }
            Answer::Wait(why) => Some(ipxe::wait(&format!("Server {id} waits: {why}"), WAIT, query)),
        };
        Outcome::Decided(id, answer, script)
    }

    fn boots(&self) -> MutexGuard<'_, AgentBoots> {
        self.agent_boots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The token of the machine's window, if the agent is to have it.
    fn token(&self, id: ServerId, view: Option<&View>, with_token: bool) -> Option<Token> {
        let window = view?.window.as_ref().filter(|_| with_token)?;
        self.directory.token(id, window)
    }

    /// The script of an environment. An argument that its user gives is not added again.
    fn environment(&self, found: &Environment) -> Result<ipxe::Script, ipxe::ScriptError> {
        let mut arguments = found.arguments.clone();
        if !arguments
            .iter()
            .any(|argument| argument.starts_with(TALOS_CONFIG))
        {
            let endpoint = &self.config.endpoint;
            // uuid last: Talos fills it
            let token = found.token.as_ref();
            let token = token.map_or_else(String::new, |token| format!("token={}&", token.secret()));
            arguments.push(format!("{TALOS_CONFIG}http://{endpoint}/configdata?{token}uuid="));
        }
        ipxe::kernel(&found.name, arguments.iter().map(String::as_str))
    }

    /// The agent's script, or why it cannot boot here.
    async fn agent(&self, asked: &Asked, token: Option<Token>) -> Result<ipxe::Script, String> {
        let mac = asked.mac().ok_or_else(|| {
            format!(
                "cannot boot the agent: mac={:?} is no MAC address of the network interface that asks",
                asked.mac
            )
        })?;
        let environment = agent::environment(asked.arch);
        if let Some(file) = agent::missing(&self.config.data_dir, &environment).await {
            return Err(format!(
                "cannot boot the agent: {file} is missing in the data directory of the manager ({})",
                self.config.data_dir.display()
            ));
        }
        let arguments = agent::arguments(
            &self.config.endpoint,
            mac,
            token.as_ref(),
            &self.config.extra_agent_kernel_args,
        );
        ipxe::kernel(&environment, arguments.iter().map(String::as_str))
            .map_err(|error| format!("cannot boot the agent: {error}"))
    }
}

pub(super) async fn ipxe<D: Directory>(
    State(app): State<Arc<App<D>>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    RawQuery(query): RawQuery,
) -> Response {
    let query = query.unwrap_or_default();
    let asked = Asked::of(&query);
    let outcome = app.decide(&asked, &query).await;
    let (kind, response, text) = match outcome {
        Outcome::Decided(id, answer, decided) => {
            let sighting = Sighting::Asked {
                mac: asked.mac(),
                answer,
            };
            let text = sighting.to_string();
            app.directory.seen(id, sighting);
            let response = decided.map_or_else(not_found, |decided| script(&decided));
            (kind(answer), response, text)
        }
        Outcome::NoEnvironment(id, status, text) => {
            app.directory.seen(id, Sighting::Unserved(text.clone()));
            let headers = [(header::CACHE_CONTROL, "no-store")];
            (
                "no environment",
                (status, headers, format!("{text}\n")).into_response(),
                text,
            )
        }
        Outcome::Explained(reason) => {
            let response = script(&ipxe::explanation(&reason));
            ("explanation", response, reason)
        }
        Outcome::Later(unavailable) => {
            let text = unavailable.to_string();
            ("unavailable", later(StatusCode::SERVICE_UNAVAILABLE, &text), text)
        }
    };
    app.metrics.answer(kind);
    let short = |text: &str| -> String { text.chars().take(MAX_LOGGED).collect() };
    let (uuid, mac, answer) = (short(&asked.uuid), short(&asked.mac), short(&text));
    tracing::info!(?uuid, ?mac, %peer, answer, "machine asked what to boot");
    response
}

fn kind(answer: Answer) -> &'static str {
    match answer {
        Answer::Agent { .. } => "agent",
        Answer::Environment => "environment",
        Answer::Disk(_) => "disk",
        Answer::Wait(_) => "wait",
    }
}

fn not_found() -> Response {
    (StatusCode::NOT_FOUND, [(header::CACHE_CONTROL, "no-store")]).into_response()
}

/// An answer that is to be asked for again.
pub(super) fn later(status: StatusCode, text: &str) -> Response {
    let headers = [
        (header::CACHE_CONTROL, "no-store".to_owned()),
        (header::RETRY_AFTER, RETRY_AFTER.to_string()),
    ];
    (status, headers, format!("{text}\n")).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_leniently_and_its_first_values_count() {
        let asked = Asked::of("uuid=a%2Db&uuid=c&MAC=52-54-00-12-34-56&mac=x&arch=arm64&serial=%00%ff");
        assert_eq!((&*asked.uuid, asked.arch), ("a-b", "arm64"));
        assert_eq!(asked.mac(), Some(Mac::new([0x52, 0x54, 0, 0x12, 0x34, 0x56])));
        for arch in ["", "arch=i386", "arch=x86_64", "arch=ARM64", "arch=../x"] {
            assert_eq!(Asked::of(arch).arch, "amd64", "{arch}");
        }
    }

    #[test]
    fn a_mac_is_read_with_colons_hyphens_and_dots() {
        let mac = |text: &str| Asked::of(&format!("mac={text}")).mac();
        let want = Some(Mac::new([0x52, 0x54, 0, 0xab, 0xcd, 0xef]));
        for text in ["52:54:00:ab:cd:ef", "52-54-00-AB-CD-EF", "5254.00ab.cdef"] {
            assert_eq!(mac(text), want, "{text}");
        }
        for text in [
            "",
            "5254.00ab",
            "5254.00ab.cdef.0000",
            "5254.00ab.cd",
            "%C3%A94.00ab.cdef",
            "+254.00ab.cdef",
        ] {
            assert_eq!(mac(text), None, "{text}");
        }
    }
}
