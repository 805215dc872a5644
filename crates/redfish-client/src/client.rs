//! The client of one BMC: authenticated requests, links, collections.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::header::{ACCEPT, HeaderMap, HeaderName, HeaderValue, IF_MATCH, LOCATION};
use reqwest::{Method, StatusCode};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use crate::endpoint::{Endpoint, Link};
use crate::error::{Cause, Error, Reach};
use crate::messages::Messages;
use crate::resources::{Decode, Page, Resource, ServiceRoot, decode};
use crate::secret::{Credentials, Secret};
use crate::session::{Login, Pass, PassKind};
use crate::transport::{BeforeSend, Limits, Reply, Request, Transport};

/// Bounds of a client.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Time for one exchange, connecting included. BMCs may take half a minute to read and longer to write.
    pub request_timeout: Duration,
    /// Longest answer in bytes.
    pub max_body: usize,
    /// Most pages of one collection.
    pub max_pages: usize,
    /// Time for a task to end.
    pub task_deadline: Duration,
    /// Pause between looks at a task, where the BMC does not name one by `Retry-After`.
    pub task_poll: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            request_timeout: Duration::from_mins(1),
            max_body: 4 << 20,
            max_pages: 64,
            task_deadline: Duration::from_mins(2),
            task_poll: Duration::from_secs(1),
        }
    }
}

/// Most hops inside one BMC that a read follows.
const MAX_REDIRECTS: usize = 3;

/// The client of one BMC.
///
/// Reads, and writes that may be repeated without harm, are sent a second time when the connection drops before
/// the answer, and after a new log-in when the session has ended. Power commands, clearing the boot override and
/// password changes are sent once. Call [`Client::close`] at the end: a session that is left behind occupies one of
/// the BMC's few slots until it expires.
pub struct Client {
    pub(crate) transport: Transport,
    pub(crate) endpoint: Endpoint,
    pub(crate) credentials: Credentials,
    pub(crate) options: Options,
    pub(crate) login: Mutex<Login>,
    /// The BMC accepted these credentials, by whatever way, and did not refuse them since.
    pub(crate) proved: AtomicBool,
    /// The BMC accepted a request under Basic authentication.
    basic_proved: AtomicBool,
    before_send: BeforeSend,
}

/// How often a request may reach the BMC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// A second time does no harm.
    Repeatable,
    /// Exactly once, on a connection of its own; what comes instead of an answer is the caller's to find out.
    Once,
}

/// A request before authentication.
pub(crate) struct Outgoing<'a> {
    pub(crate) method: Method,
    pub(crate) link: &'a Link,
    pub(crate) if_match: Option<HeaderValue>,
    pub(crate) body: Option<Zeroizing<Vec<u8>>>,
    pub(crate) delivery: Delivery,
    /// A secret in the body that the answer's messages must not repeat.
    pub(crate) secret: Option<&'a Secret>,
}

impl<'a> Outgoing<'a> {
    pub(crate) fn get(link: &'a Link) -> Self {
        Self {
            method: Method::GET,
            link,
            if_match: None,
            body: None,
            delivery: Delivery::Repeatable,
            secret: None,
        }
    }
}

/// JSON text in memory that is wiped; room for every character escaped, so that it is never moved.
pub(crate) fn json_body(value: &impl Serialize, text_bytes: usize) -> Zeroizing<Vec<u8>> {
    let mut body = Zeroizing::new(Vec::with_capacity(128 + 6 * text_bytes));
    // Maps of texts into a Vec: neither the keys nor the writer can fail.
    let _ = serde_json::to_writer(&mut *body, value);
    body
}

impl Client {
    /// A client; nothing is sent yet.
    pub fn new(
        transport: Transport,
        endpoint: Endpoint,
        credentials: Credentials,
        options: Options,
        before_send: BeforeSend,
    ) -> Self {
        let (proved, basic_proved) = (AtomicBool::new(false), AtomicBool::new(false));
        Self {
            transport,
            endpoint,
            credentials,
            options,
            login: Mutex::default(),
            proved,
            basic_proved,
            before_send,
        }
    }

    /// Where the BMC is.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The service root, read without credentials: whether there is a Redfish service, and what it offers.
    pub async fn service_root(&self) -> Result<Resource<ServiceRoot>, Error> {
        self.read_open(&Link::service_root()).await
    }

    /// Any resource as JSON: for what this crate has no type for.
    pub async fn get(&self, link: &Link) -> Result<Value, Error> {
        json(&self.send(&Outgoing::get(link)).await?)
    }

    /// The members of a collection, its further pages included (DSP0266 §7.6).
    pub async fn members(&self, collection: &Link) -> Result<Vec<Link>, Error> {
        let mut members = Vec::new();
        let mut next = Some(collection.clone());
        for _ in 0..self.options.max_pages {
            let Some(link) = next else { return Ok(members) };
            let page: Resource<Page> = self.read(&link).await?;
            for warning in &page.warnings {
                tracing::debug!(collection = %link, %warning, "unreadable part of a collection");
            }
            members.extend(page.value.members);
            next = page.value.next;
        }
        if next.is_none() {
            return Ok(members);
        }
        let cause = Cause::Protocol(format!(
            "the collection has more than {} pages",
            self.options.max_pages
        ));
        Err(self.error(&Method::GET, collection, cause))
    }

    /// A resource as `T`, with its ETag.
    pub(crate) async fn read<T: Decode>(&self, link: &Link) -> Result<Resource<T>, Error> {
        self.resource(link, &self.send(&Outgoing::get(link)).await?)
    }

    /// The same without credentials.
    pub(crate) async fn read_open<T: Decode>(&self, link: &Link) -> Result<Resource<T>, Error> {
        let reply = self.deliver(&Outgoing::get(link), None).await?;
        self.resource(link, &self.judge(reply, None, None)?)
    }

    /// The resource that was asked for at `link`; its own link is where a redirect found it.
    fn resource<T: Decode>(&self, link: &Link, reply: &Reply) -> Result<Resource<T>, Error> {
        let body = json(reply)?;
        // An empty ETag is none: sent back it would never match.
        let tags = [reply.header("etag"), body["@odata.etag"].as_str()];
        let etag = tags
            .into_iter()
            .flatten()
            .find(|etag| !etag.is_empty())
            .map(Into::into);
        let moved = self
            .endpoint
            .resolve(link)
            .filter(|url| *url != reply.url)
            .and_then(|_| path_of(&reply.url));
        let (value, warnings) = decode(&body);
        Ok(Resource {
            link: moved.unwrap_or_else(|| link.clone()),
            etag,
            value,
            warnings,
        })
    }

    /// Where a redirect leads inside this BMC. One to another host is refused: the token goes with the request.
    fn redirected(&self, reply: &Reply) -> Result<Link, Error> {
        let target = reply.header(LOCATION).and_then(|text| reply.url.join(text).ok());
        let why = match &target {
            Some(url) if !self.endpoint.owns(url) => {
                let host: String = url.origin().ascii_serialization().chars().take(200).collect();
                format!("it redirects to {host}; other hosts are not followed")
            }
            _ => format!("status {} without a usable target", reply.status.as_u16()),
        };
        target
            .filter(|url| self.endpoint.owns(url))
            .and_then(|url| path_of(&url))
            .ok_or_else(|| reply.fail(Cause::Protocol(why)))
    }

    /// The members of a collection that the service root names.
    pub(crate) async fn root_members(
        &self,
        what: &str,
        collection: fn(ServiceRoot) -> Option<Link>,
    ) -> Result<Vec<Link>, Error> {
        let root = self.service_root().await?;
        let missing = self.unsupported(&root.link, &format!("the service has no {what}"));
        self.members(&collection(root.value).ok_or(missing)?).await
    }

    /// What an answer made or began: its `Location`, else the link in its body.
    pub(crate) fn made(&self, reply: &Reply) -> Option<Link> {
        let body = || {
            serde_json::from_slice::<Value>(&reply.body).ok()?["@odata.id"]
                .as_str()
                .and_then(Link::new)
        };
        reply
            .header(LOCATION)
            .and_then(|text| self.endpoint.location(text))
            .or_else(body)
    }

    /// Sends with credentials, logging in first and, where the request may be repeated, again when the session has
    /// ended. `Ok` is a success or a redirect.
    pub(crate) async fn send(&self, out: &Outgoing<'_>) -> Result<Reply, Error> {
        let (reply, pass) = self.answer(out).await?;
        self.judge(reply, Some(&pass), out.secret)
    }

    /// The same before its status is judged.
    pub(crate) async fn answer(&self, out: &Outgoing<'_>) -> Result<(Reply, Pass), Error> {
        let pass = self.pass(None).await?;
        let reply = self.deliver(out, Some(&pass)).await?;
        if reply.status != StatusCode::UNAUTHORIZED || !pass.is_session() {
            return Ok((reply, pass));
        }
        if out.delivery == Delivery::Once {
            self.forget(&pass).await;
            return Err(reply.fail(Cause::SessionEnded));
        }
        let pass = self.pass(Some(&pass)).await?;
        Ok((self.deliver(out, Some(&pass)).await?, pass))
    }

    /// Exchanges until there is an answer that is no redirect; only reads are redirected, inside the BMC.
    pub(crate) async fn deliver(&self, out: &Outgoing<'_>, pass: Option<&Pass>) -> Result<Reply, Error> {
        let mut link = out.link.clone();
        for _ in 0..=MAX_REDIRECTS {
            let reply = self.deliver_to(&link, out, pass).await?;
            if !reply.status.is_redirection() || out.method != Method::GET {
                return Ok(reply);
            }
            link = self.redirected(&reply)?;
        }
        let cause = Cause::Protocol(format!("redirected more than {MAX_REDIRECTS} times"));
        Err(self.error(&Method::GET, &link, cause))
    }

    /// One exchange, or two when the connection dropped under a request that may be repeated.
    async fn deliver_to(&self, link: &Link, out: &Outgoing<'_>, pass: Option<&Pass>) -> Result<Reply, Error> {
        let limits = Limits {
            timeout: self.options.request_timeout,
            body: self.options.max_body,
        };
        let first = self
            .transport
            .exchange(self.request(link, out, pass)?, limits)
            .await;
        match first {
            Err(error) if out.delivery == Delivery::Repeatable && is_dropped(&error) => {
                tracing::debug!(%error, "connection dropped, asking again");
                let again = self
                    .transport
                    .exchange(self.request(link, out, pass)?, limits)
                    .await;
                // the first one may have arrived, whatever becomes of the second
                again.map_err(|second| Error {
                    maybe_sent: second.maybe_sent || error.maybe_sent,
                    ..second
                })
            }
            other => other,
        }
    }

    fn request(&self, link: &Link, out: &Outgoing<'_>, pass: Option<&Pass>) -> Result<Request, Error> {
        let foreign = || {
            self.error(
                &out.method,
                link,
                Cause::Protocol("the link leads to another host".into()),
            )
        };
        let url = self.endpoint.resolve(link).ok_or_else(foreign)?;
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(
            HeaderName::from_static("odata-version"),
            HeaderValue::from_static("4.0"),
        );
        if let Some(etag) = &out.if_match {
            headers.insert(IF_MATCH, etag.clone());
        }
        if let Some(pass) = pass {
            let (name, value) = pass.header();
            headers.insert(name, value);
        }
        Ok(Request {
            method: out.method.clone(),
            url,
            headers,
            body: out.body.clone(),
            fresh: out.delivery == Delivery::Once,
            before_send: self.before_send.clone(),
        })
    }

    /// Puts a status into its class. Successes and redirects pass.
    pub(crate) fn judge(
        &self,
        reply: Reply,
        pass: Option<&Pass>,
        secret: Option<&Secret>,
    ) -> Result<Reply, Error> {
        let status = reply.status.as_u16();
        if reply.status.is_success() || reply.status.is_redirection() {
            if pass.is_some_and(|pass| !pass.is_session()) {
                self.basic_proved.store(true, Ordering::Relaxed);
                self.proved.store(true, Ordering::Relaxed);
            }
            return Ok(reply);
        }
        let messages = self.messages(&reply, secret);
        let cause = match status {
            401 | 403 => self.not_admitted(status, messages, pass),
            404 | 405 | 410 | 501 => Cause::Unsupported(format!("status {status}{messages}")),
            412 | 428 => Cause::Precondition { status, messages },
            429 | 503 => Cause::Busy {
                status,
                retry_after: reply.retry_after(),
                messages,
            },
            _ => Cause::Failed { status, messages },
        };
        Err(reply.fail(cause))
    }

    /// What 401 and 403 mean depends on what the credentials have proved so far.
    fn not_admitted(&self, status: u16, messages: Messages, pass: Option<&Pass>) -> Cause {
        let refused = |messages| Cause::Refused {
            user: self.credentials.username.clone(),
            status,
            messages,
        };
        match pass.map(|pass| &pass.kind) {
            Some(PassKind::Basic {
                instead_of: Some(busy),
                ..
            }) => {
                // perhaps it takes no Basic, perhaps the password was changed: a free slot tells, another attempt would not
                self.proved.store(false, Ordering::Relaxed);
                busy.as_ref().clone()
            }
            Some(PassKind::Basic { .. }) if status == 401 || !self.basic_proved.load(Ordering::Relaxed) => {
                refused(messages)
            }
            _ => Cause::Forbidden { status, messages },
        }
    }

    /// The messages of an answer, without the secrets that this client knows.
    pub(crate) fn messages(&self, reply: &Reply, secret: Option<&Secret>) -> Messages {
        let mut secrets = vec![self.credentials.password.expose()];
        secrets.extend(secret.map(Secret::expose));
        // a secret that contains another one goes first
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Messages::read(&reply.body, &secrets)
    }

    /// The BMC does not have what an operation on this resource needs.
    pub(crate) fn unsupported(&self, link: &Link, why: &str) -> Error {
        self.error(&Method::GET, link, Cause::Unsupported(why.into()))
    }

    /// An error about a link for which nothing was sent.
    pub(crate) fn error(&self, method: &Method, link: &Link, cause: Cause) -> Error {
        let base = self.endpoint.to_string();
        Error::new(method, &format!("{}{link}", base.trim_end_matches('/')), cause)
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("endpoint", &self.endpoint)
            .field("credentials", &self.credentials)
            .finish_non_exhaustive()
    }
}

fn is_dropped(error: &Error) -> bool {
    matches!(
        *error.cause,
        Cause::Unreachable {
            at: Reach::Dropped,
            ..
        }
    )
}

/// An answer's body as JSON.
pub(crate) fn json(reply: &Reply) -> Result<Value, Error> {
    serde_json::from_slice(&reply.body).map_err(|error| {
        let kind = reply
            .header("content-type")
            .unwrap_or("no content type")
            .chars()
            .take(60)
            .collect::<String>();
        reply.fail(Cause::Protocol(format!("the body is no JSON ({kind}): {error}")))
    })
}

/// Path and query of a URL.
fn path_of(url: &url::Url) -> Option<Link> {
    Link::new(&url[url::Position::BeforePath..url::Position::AfterQuery])
}
