//! One HTTP exchange with a BMC: bounded, never retried here, and its failures put into classes.

use std::error::Error as StdError;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode};
use url::Url;
use zeroize::Zeroizing;

use crate::error::{Cause, Error, Reach};
use crate::tls::{self, NotTrusted, TlsPolicy};

/// Asked immediately before every request, log-ins and retries included; `Err(why)` stops it.
///
/// It is asked once before a connection is looked for and, where the request changes something, again when the
/// connection stands and the request's body is about to be written: connecting may take many seconds, and a
/// leader may have lost its lease meanwhile.
pub type BeforeSend = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// The connections under one TLS policy; clones share them.
///
/// A transport costs about 6 kB and no I/O, so each pinned certificate may have its own. Proxies of the environment
/// are not used, redirects are not followed, HTTP/2 is not offered.
#[derive(Debug, Clone)]
pub struct Transport {
    /// For requests that may be repeated: keeps one idle connection per BMC.
    pooled: reqwest::Client,
    /// For requests that are sent once: always a fresh connection. One from the pool may have been closed by
    /// the BMC while the request was on its way, and nobody could tell whether it had arrived.
    fresh: reqwest::Client,
}

/// A transport that cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("preparing TLS for BMCs: {0}")]
pub struct TransportError(String);

/// Time to establish TCP and TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// An idle connection is closed after this time: short enough for a thousand BMCs, and for BMCs that drop idle
/// connections without a word.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

impl Transport {
    /// A transport that trusts what `policy` trusts.
    pub fn new(policy: &TlsPolicy) -> Result<Self, TransportError> {
        let client = |idle_connections| {
            let config = tls::client_config(policy).map_err(|error| TransportError(error.to_string()))?;
            reqwest::Client::builder()
                .tls_backend_preconfigured(config)
                .http1_only()
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
                .referer(false)
                .retry(reqwest::retry::never())
                .connect_timeout(CONNECT_TIMEOUT)
                .pool_max_idle_per_host(idle_connections)
                .pool_idle_timeout(IDLE_TIMEOUT)
                .user_agent(concat!("redfish-client/", env!("CARGO_PKG_VERSION")))
                .build()
                .map_err(|error| TransportError(chain(&error)))
        };
        Ok(Self {
            pooled: client(1)?,
            fresh: client(0)?,
        })
    }

    /// Sends one request and reads the whole answer. Any status is an answer.
    pub(crate) async fn exchange(&self, request: Request, limits: Limits) -> Result<Reply, Error> {
        let Request {
            method,
            url,
            headers,
            body,
            fresh,
            before_send,
        } = request;
        let fail = |cause| Error::new(&method, &url, cause);
        before_send().map_err(|why| fail(Cause::Fenced(why)))?;

        let client = if fresh { &self.fresh } else { &self.pooled };
        let mut builder = client
            .request(method.clone(), url.clone())
            .headers(headers)
            .timeout(limits.timeout);
        let gate = Arc::new(Gate {
            before_send,
            verdict: OnceLock::new(),
        });
        if let Some(json) = body {
            let body = reqwest::Body::wrap(OnceBody {
                json: Some(json),
                gate: gate.clone(),
            });
            builder = builder
                .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
                .body(body);
        }
        let taken = || gate.verdict.get().is_some_and(Result::is_ok);
        let failed = |error: &reqwest::Error| match gate.verdict.get() {
            Some(Err(why)) => fail(Cause::Fenced(why.clone())),
            _ => fail(classify(error)).sent(taken()),
        };

        let mut response = builder.send().await.map_err(|error| failed(&error))?;
        let too_large = || {
            let cause = Cause::Protocol(format!("the answer is larger than {} bytes", limits.body));
            fail(cause).sent(taken())
        };
        if response
            .content_length()
            .is_some_and(|length| length > limits.body as u64)
        {
            return Err(too_large());
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| failed(&error))? {
            if body.len() + chunk.len() > limits.body {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        tracing::debug!(%method, %url, status = response.status().as_u16(), bytes = body.len(), "redfish exchange");
        Ok(Reply {
            method,
            url,
            status: response.status(),
            headers: response.headers().clone(),
            body,
            change: taken(),
        })
    }
}

/// One request, complete but for what HTTP adds by itself.
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    /// JSON text.
    pub(crate) body: Option<Zeroizing<Vec<u8>>>,
    /// Never on a connection that was used before.
    pub(crate) fresh: bool,
    pub(crate) before_send: BeforeSend,
}

/// Bounds of one exchange.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// From looking for a connection to the last byte of the answer.
    pub(crate) timeout: Duration,
    /// Longest answer in bytes.
    pub(crate) body: usize,
}

/// One complete answer.
pub(crate) struct Reply {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    /// The request had a body.
    pub(crate) change: bool,
}

/// Neither headers nor body: a log-in's answer has the token in one and, with some BMCs, what was sent in the other.
impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (method, url, status) = (&self.method, &self.url, self.status);
        write!(f, "{method} {url}: {status}, {} bytes", self.body.len())
    }
}

impl Reply {
    pub(crate) fn fail(&self, cause: Cause) -> Error {
        Error::new(&self.method, &self.url, cause).sent(self.change)
    }

    pub(crate) fn header(&self, name: impl reqwest::header::AsHeaderName) -> Option<&str> {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::trim)
    }

    /// `Retry-After` in seconds, at most a day. The form with a date is not read: BMC clocks are not to be believed.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        let seconds: u64 = self.header("retry-after")?.parse().ok()?;
        Some(Duration::from_secs(seconds.min(86_400)))
    }
}

/// A request body that exists once. hyper sends a request again when it finds a pooled connection closed before
/// the request was written; the body has not been taken then. Once taken it is gone, so whatever the layers
/// below do, these bytes leave this process at most once.
struct OnceBody {
    json: Option<Zeroizing<Vec<u8>>>,
    gate: Arc<Gate>,
}

/// Asks `before_send` when the body is taken, and remembers the answer; unset means that it never was.
struct Gate {
    before_send: BeforeSend,
    verdict: OnceLock<Result<(), String>>,
}

impl http_body::Body for OnceBody {
    type Data = Bytes;
    type Error = Fenced;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fenced>>> {
        let Some(json) = self.json.take() else {
            return Poll::Ready(None);
        };
        let verdict = self.gate.verdict.get_or_init(|| (self.gate.before_send)());
        Poll::Ready(Some(match verdict {
            Ok(()) => Ok(Frame::data(Bytes::from_owner(json))),
            Err(_) => Err(Fenced),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.json.is_none()
    }

    // An exact size makes hyper send Content-Length: some BMCs cannot read chunked bodies.
    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.json.as_ref().map_or(0, |json| json.len() as u64))
    }
}

/// Ends a request whose body was not let out.
#[derive(Debug, thiserror::Error)]
#[error("fenced")]
struct Fenced;

fn classify(error: &reqwest::Error) -> Cause {
    let mut source: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(current) = source {
        if let Some(refused) = current.downcast_ref::<NotTrusted>() {
            return Cause::Certificate {
                reason: refused.reason.clone(),
                fingerprint: Some(refused.fingerprint),
            };
        }
        if let Some(rustls::Error::InvalidCertificate(why)) = current.downcast_ref() {
            return match why {
                rustls::CertificateError::Other(rustls::OtherError(inner)) => {
                    source = Some(inner.as_ref());
                    continue;
                }
                _ => Cause::Certificate {
                    reason: why.to_string(),
                    fingerprint: None,
                },
            };
        }
        // io::Error hides the error it wraps from source()
        source = match current
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref)
        {
            Some(inner) => Some(inner),
            None => current.source(),
        };
    }
    let at = if error.is_connect() {
        Reach::Connect
    } else if error.is_timeout() {
        Reach::Timeout
    } else {
        Reach::Dropped
    };
    Cause::Unreachable {
        at,
        reason: chain(error),
    }
}

/// The innermost texts of an error, which name the fact; the outer ones repeat the URL.
fn chain(error: &reqwest::Error) -> String {
    let mut texts = Vec::new();
    let mut source = error.source();
    while let Some(current) = source {
        texts.push(current.to_string());
        source = current.source();
    }
    texts.dedup();
    if texts.is_empty() {
        error.to_string()
    } else {
        texts.join(": ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_prints_neither_its_token_nor_its_body() {
        let reply = Reply {
            method: Method::POST,
            url: "https://bmc/redfish/v1/SessionService/Sessions".parse().unwrap(),
            status: StatusCode::CREATED,
            headers: HeaderMap::from_iter([(
                reqwest::header::HeaderName::from_static("x-auth-token"),
                HeaderValue::from_static("token-1"),
            )]),
            body: b"opensesame-9".to_vec(),
            change: true,
        };
        assert_eq!(
            format!("{reply:?}"),
            "POST https://bmc/redfish/v1/SessionService/Sessions: 201 Created, 12 bytes"
        );
    }
}
