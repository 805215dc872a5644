//! Why a request to a BMC failed, in classes that a caller can act on.

use std::fmt;
use std::time::Duration;

use reqwest::Method;

use crate::messages::Messages;
use crate::tls::Fingerprint;

/// What was attempted, on what, and why it failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{method} {url}: {cause}")]
pub struct Error {
    /// HTTP method of the request.
    pub method: String,
    /// Its URL; never holds credentials.
    pub url: String,
    /// Whether the change that the caller asked for may have reached the BMC. `false` is certain: it did not, and
    /// it may be tried again at once. With `true` and no answer, only a later reading can tell. Reads, log-ins
    /// and log-outs change nothing: where they fail it is `false`.
    pub maybe_sent: bool,
    /// Why it failed.
    pub cause: Box<Cause>,
}

/// Where reaching a BMC ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// No connection: name, route, refused, TLS handshake.
    Connect,
    /// No complete answer within the time limit.
    Timeout,
    /// The connection ended before the answer was complete.
    Dropped,
}

/// The classes of failure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// The caller's `before_send` said no; nothing was executed.
    #[error("not sent: {0}")]
    Fenced(String),
    /// There is no answer.
    #[error("unreachable: {reason}")]
    Unreachable {
        /// Where it ended.
        at: Reach,
        /// The error of the layer below.
        reason: String,
    },
    /// The BMC's certificate is not trusted under the policy in force. No request was sent.
    #[error("certificate not trusted: {reason}{}", fingerprint.map(|f| format!(" (offered SHA-256 fingerprint {f})")).unwrap_or_default())]
    Certificate {
        /// What is wrong with it.
        reason: String,
        /// Fingerprint of the certificate that was offered. Absent when the peer offered one but could not
        /// prove that it owns its key.
        fingerprint: Option<Fingerprint>,
    },
    /// The BMC refused this user and password, at the creation of a session or with Basic authentication.
    #[error("credentials of user {user:?} refused ({status}){messages}")]
    Refused {
        /// Who was refused.
        user: String,
        /// HTTP status: 401, 403, or 400 from BMCs that refuse credentials so.
        status: u16,
        /// What the BMC said.
        messages: Messages,
    },
    /// The credentials are good, but the account may not do this (privilege, licence, password change due).
    #[error("not permitted ({status}){messages}")]
    Forbidden {
        /// HTTP status, 401 or 403.
        status: u16,
        /// What the BMC said.
        messages: Messages,
    },
    /// The session ended before a request that is sent once; the BMC refused it. The next request logs in again.
    #[error("the session has ended")]
    SessionEnded,
    /// The BMC has no room or is starting (429, 503); it never means that credentials are wrong.
    #[error("busy ({status}){messages}")]
    Busy {
        /// HTTP status.
        status: u16,
        /// When the BMC wants to be asked again.
        retry_after: Option<Duration>,
        /// What the BMC said.
        messages: Messages,
    },
    /// The BMC does not have this resource, action or value (404, 405, 410, 501, or it does not list it).
    #[error("not supported: {0}")]
    Unsupported(String),
    /// The resource changed between reading and writing, twice (412, 428).
    #[error("precondition failed ({status}){messages}")]
    Precondition {
        /// HTTP status.
        status: u16,
        /// What the BMC said.
        messages: Messages,
    },
    /// The machine behind this link is not the one that the caller read before.
    #[error("another machine: expected UUID {expected}, the BMC now says {found}")]
    Identity {
        /// UUID that the caller's copy has.
        expected: String,
        /// UUID that the BMC shows now.
        found: String,
    },
    /// A task did not end in time.
    #[error("the task has not ended within {0:?}")]
    Unfinished(Duration),
    /// An answer that is no Redfish.
    #[error("unusable answer: {0}")]
    Protocol(String),
    /// Any other refusal, with the BMC's own words (DSP0266 §8.6 error responses).
    #[error("failed ({status}){messages}")]
    Failed {
        /// HTTP status; 200 for a task that ended badly.
        status: u16,
        /// What the BMC said.
        messages: Messages,
    },
}

impl Error {
    /// An error before any change was sent.
    pub(crate) fn new(method: &Method, url: &impl fmt::Display, cause: Cause) -> Self {
        Self {
            method: method.to_string(),
            url: url.to_string(),
            maybe_sent: false,
            cause: Box::new(cause),
        }
    }

    /// The same error, about a change that was (or was not) let out.
    pub(crate) fn sent(self, maybe_sent: bool) -> Self {
        Self { maybe_sent, ..self }
    }

    /// The BMC said that the request's preconditions do not hold.
    pub(crate) fn is_precondition(&self) -> bool {
        matches!(*self.cause, Cause::Precondition { .. })
    }

    /// HTTP 400: something in the request is not to the BMC's taste.
    pub(crate) fn is_bad_request(&self) -> bool {
        matches!(*self.cause, Cause::Failed { status: 400, .. })
    }
}
