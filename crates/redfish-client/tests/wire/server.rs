//! A scripted BMC: a list of answers per route, and a record of what arrived.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redfish_client::{
    BeforeSend, Client, Credentials, Link, Options, Resource, Secret, System, TlsPolicy, Transport,
};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub(crate) const ROOT: &str = "GET /redfish/v1/";
pub(crate) const LOGIN: &str = "POST /redfish/v1/SessionService/Sessions";
pub(crate) const SYSTEM: &str = "GET /redfish/v1/Systems/1";
pub(crate) const PATCH: &str = "PATCH /redfish/v1/Systems/1";
pub(crate) const RESET: &str = "POST /redfish/v1/Systems/1/Actions/ComputerSystem.Reset";
pub(crate) const PASSWORD: &str = "opensesame-9";

/// One complete request.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) route: String,
    pub(crate) connection: usize,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Value,
}

/// What the BMC does once it has read a request.
#[derive(Clone)]
pub(crate) enum Answer {
    /// These bytes; `true`: then it closes the connection without having said so.
    Bytes(Vec<u8>, bool),
    /// Closes the connection.
    Drop,
    /// Says nothing.
    Hang,
}

pub(crate) fn answer(status: u16, headers: &[(&str, &str)], body: &Value) -> Answer {
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let headers: Vec<_> = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let length = body.len();
    let text = format!(
        "HTTP/1.1 {status} -\r\nContent-Length: {length}\r\n{}\r\n{body}",
        headers.concat()
    );
    Answer::Bytes(text.into_bytes(), false)
}

pub(crate) fn ok(body: impl Into<Value>) -> Answer {
    answer(200, &[], &body.into())
}

pub(crate) fn status(status: u16) -> Answer {
    answer(status, &[], &Value::Null)
}

impl Answer {
    pub(crate) fn then_close(self) -> Self {
        match self {
            Self::Bytes(bytes, _) => Self::Bytes(bytes, true),
            other => other,
        }
    }
}

#[derive(Default)]
struct Script {
    answers: HashMap<String, VecDeque<Answer>>,
    seen: Vec<Seen>,
    connections: usize,
}

/// A BMC on a loopback port; it ends when dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    scheme: &'static str,
    script: Arc<Mutex<Script>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::listen(None).await
    }

    pub(crate) async fn start_tls(config: rustls::ServerConfig) -> Self {
        Self::listen(Some(tokio_rustls::TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn listen(tls: Option<tokio_rustls::TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let scheme = if tls.is_some() { "redfish" } else { "redfish+http" };
        let script = Arc::new(Mutex::new(Script::default()));
        let shared = script.clone();
        let task = tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let (tls, script) = (tls.clone(), shared.clone());
                tokio::spawn(async move {
                    let stream: Box<dyn Stream> = match tls {
                        None => Box::new(tcp),
                        Some(tls) => match tls.accept(tcp).await {
                            Ok(stream) => Box::new(stream),
                            Err(_) => return,
                        },
                    };
                    serve(stream, &script).await;
                });
            }
        });
        let server = Self {
            address,
            scheme,
            script,
            task,
        };
        server.play_a_healthy_bmc();
        server
    }

    fn play_a_healthy_bmc(&self) {
        self.on(
            ROOT,
            [ok(json!({
            "RedfishVersion": "1.15.0", "Systems": {"@odata.id": "/redfish/v1/Systems"},
            "AccountService": {"@odata.id": "/redfish/v1/AccountService"},
            "Links": {"Sessions": {"@odata.id": "/redfish/v1/SessionService/Sessions"}}}))],
        );
        let session = |n: u32| {
            let location = format!("/redfish/v1/SessionService/Sessions/{n}");
            answer(
                201,
                &[("X-Auth-Token", &format!("token-{n}")), ("Location", &location)],
                &json!({}),
            )
        };
        self.on(LOGIN, [session(1), session(2), session(3)]);
        self.on(
            "GET /redfish/v1/Systems",
            [ok(json!({"Members": [{"@odata.id": "/redfish/v1/Systems/1"}]}))],
        );
        self.on(
            SYSTEM,
            [answer(200, &[("ETag", "\"header-1\"")], &system_document())],
        );
        self.on(PATCH, [status(204)]);
        self.on(RESET, [status(204)]);
    }

    /// Sets a route's answers: one per request, the last one again and again.
    pub(crate) fn on<const N: usize>(&self, route: &str, answers: [Answer; N]) {
        self.script
            .lock()
            .unwrap()
            .answers
            .insert(route.into(), answers.into());
    }

    /// The complete requests so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.script.lock().unwrap().seen.clone()
    }

    /// Those to one route.
    pub(crate) fn seen_at(&self, route: &str) -> Vec<Seen> {
        self.seen()
            .into_iter()
            .filter(|seen| seen.route == route)
            .collect()
    }

    /// Their routes.
    pub(crate) fn routes(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.route).collect()
    }

    pub(crate) fn client(&self) -> Client {
        self.client_with(&TlsPolicy::Undecided, yes())
    }

    pub(crate) fn client_with(&self, policy: &TlsPolicy, before_send: BeforeSend) -> Client {
        self.client_at("", policy, before_send)
    }

    pub(crate) fn client_at(&self, path: &str, policy: &TlsPolicy, before_send: BeforeSend) -> Client {
        let endpoint = format!("{}://{}{path}", self.scheme, self.address);
        client_of(&endpoint, policy, before_send, PATIENCE)
    }

    /// Waits a second for an answer, and two for a task.
    pub(crate) fn impatient_client(&self) -> Client {
        let endpoint = format!("{}://{}", self.scheme, self.address);
        client_of(&endpoint, &TlsPolicy::Undecided, yes(), Duration::from_secs(1))
    }
}

/// Longer than any answer takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn client_of(endpoint: &str, policy: &TlsPolicy, fence: BeforeSend, patience: Duration) -> Client {
    let credentials = Credentials {
        username: "operator".into(),
        password: Secret::new(PASSWORD),
    };
    let options = Options {
        request_timeout: patience,
        max_body: 8192,
        max_pages: 3,
        task_deadline: patience * 2,
        task_poll: Duration::from_millis(5),
    };
    let transport = Transport::new(policy).unwrap();
    Client::new(transport, endpoint.parse().unwrap(), credentials, options, fence)
}

/// Permits everything.
pub(crate) fn yes() -> BeforeSend {
    Arc::new(|| Ok(()))
}

pub(crate) fn system_document() -> Value {
    serde_json::from_str(include_str!("../../testdata/corpus/system.json")).unwrap()
}

/// The healthy document with one property replaced.
pub(crate) fn system_with(property: &str, value: Value) -> Answer {
    let mut document = system_document();
    document[property] = value;
    ok(document)
}

pub(crate) fn link(text: &str) -> Link {
    Link::new(text).unwrap()
}

pub(crate) async fn system(client: &Client) -> Resource<System> {
    client.system(&link("/redfish/v1/Systems/1")).await.unwrap()
}

async fn serve(mut stream: Box<dyn Stream>, script: &Mutex<Script>) {
    let connection = {
        let mut script = script.lock().unwrap();
        script.connections += 1;
        script.connections
    };
    let mut buffer = Vec::new();
    loop {
        let Some(seen) = read_request(&mut stream, &mut buffer, connection).await else {
            return;
        };
        let answer = {
            let mut script = script.lock().unwrap();
            let answer = match script.answers.get_mut(&seen.route) {
                None => status(404),
                Some(answers) if answers.len() > 1 => answers.pop_front().unwrap(),
                Some(answers) => answers[0].clone(),
            };
            script.seen.push(seen);
            answer
        };
        match answer {
            Answer::Hang => std::future::pending().await,
            Answer::Drop => return,
            Answer::Bytes(bytes, close) => {
                if stream.write_all(&bytes).await.is_err() || stream.flush().await.is_err() || close {
                    return;
                }
            }
        }
    }
}

/// The next complete request; `None` at the end of the connection, what is left of it in `buffer`.
async fn read_request(stream: &mut Box<dyn Stream>, buffer: &mut Vec<u8>, connection: usize) -> Option<Seen> {
    let head = loop {
        if let Some(end) = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break end;
        }
        fill(stream, buffer).await?;
    };
    let text = String::from_utf8(buffer[..head].to_vec()).unwrap();
    let mut lines = text.lines();
    let route = lines.next().unwrap().rsplit_once(' ').unwrap().0.to_owned();
    let headers: BTreeMap<_, _> = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length: usize = headers
        .get("content-length")
        .map_or(0, |length| length.parse().unwrap());
    while buffer.len() < head + 4 + length {
        fill(stream, buffer).await?;
    }
    let body = serde_json::from_slice(&buffer[head + 4..head + 4 + length]).unwrap_or(Value::Null);
    buffer.drain(..head + 4 + length);
    Some(Seen {
        route,
        connection,
        headers,
        body,
    })
}

async fn fill(stream: &mut Box<dyn Stream>, buffer: &mut Vec<u8>) -> Option<()> {
    let mut chunk = [0; 4096];
    let length = stream.read(&mut chunk).await.ok().filter(|&length| length > 0)?;
    buffer.extend_from_slice(&chunk[..length]);
    Some(())
}
