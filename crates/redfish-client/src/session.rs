//! Logging in and out: sessions (DSP0266 §13.3.4), or Basic authentication where there are none.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};
use zeroize::Zeroizing;

use crate::client::{Client, Delivery, Outgoing, json_body};
use crate::endpoint::Link;
use crate::error::{Cause, Error};
use crate::resources::{Resource, Service, ServiceRoot};
use crate::secret::Credentials;
use crate::transport::Reply;

const TOKEN: HeaderName = HeaderName::from_static("x-auth-token");

/// Key of the message with which HPE's BMCs refuse credentials, under status 400 too.
const LOGIN_REFUSED: &str = "UnauthorizedLoginAttempt";

/// How the client is logged in at present.
#[derive(Debug, Default)]
pub(crate) struct Login {
    pass: Option<Pass>,
    count: u64,
}

/// What a request shows to be let in. Header values are marked sensitive: they print as `Sensitive`.
#[derive(Debug, Clone)]
pub(crate) struct Pass {
    /// Which log-in of this client it comes from.
    number: u64,
    pub(crate) kind: PassKind,
}

#[derive(Debug, Clone)]
pub(crate) enum PassKind {
    Session {
        token: HeaderValue,
        location: Option<Link>,
    },
    Basic {
        header: HeaderValue,
        /// Why there is no session although the BMC has them: its table is full. A refusal proves nothing then.
        instead_of: Option<Box<Cause>>,
    },
}

impl Pass {
    pub(crate) fn is_session(&self) -> bool {
        matches!(self.kind, PassKind::Session { .. })
    }

    pub(crate) fn header(&self) -> (HeaderName, HeaderValue) {
        match &self.kind {
            PassKind::Session { token, .. } => (TOKEN, token.clone()),
            PassKind::Basic { header, .. } => (AUTHORIZATION, header.clone()),
        }
    }
}

impl Client {
    /// The present log-in, or a new one when there is none or `stale` is what failed. Requests that fail together
    /// log in once together.
    pub(crate) async fn pass(&self, stale: Option<&Pass>) -> Result<Pass, Error> {
        let mut login = self.login.lock().await;
        let stale = stale.map(|stale| stale.number);
        if let Some(pass) = login.pass.as_ref().filter(|pass| Some(pass.number) != stale) {
            return Ok(pass.clone());
        }
        login.pass = None;
        // what a log-in sends is not the change that was asked for
        let kind = self.log_in().await.map_err(|error| error.sent(false))?;
        login.count += 1;
        let pass = Pass {
            number: login.count,
            kind,
        };
        // A pass for lack of a session slot is for one request; the next one tries again.
        let keep = !matches!(
            pass.kind,
            PassKind::Basic {
                instead_of: Some(_),
                ..
            }
        );
        login.pass = keep.then(|| pass.clone());
        Ok(pass)
    }

    /// Drops a log-in that the BMC no longer honours.
    pub(crate) async fn forget(&self, pass: &Pass) {
        let mut login = self.login.lock().await;
        login.pass.take_if(|present| present.number == pass.number);
    }

    /// Logs out, so that the BMC's session slot is free. Without a session nothing is sent.
    pub async fn close(&self) -> Result<(), Error> {
        let pass = self.login.lock().await.pass.take();
        let Some(pass) = pass else { return Ok(()) };
        let PassKind::Session {
            location: Some(link), ..
        } = &pass.kind
        else {
            return Ok(());
        };
        let delete = Outgoing {
            method: Method::DELETE,
            ..Outgoing::get(link)
        };
        let reply = self.deliver(&delete, Some(&pass)).await?;
        match reply.status.as_u16() {
            // it has ended by itself
            401 | 404 => Ok(()),
            _ => self.judge(reply, Some(&pass), None).map(drop),
        }
    }

    async fn log_in(&self) -> Result<PassKind, Error> {
        let Some(sessions) = self.sessions().await? else {
            return Ok(self.basic(None));
        };
        let user = self.credentials.username.as_str();
        let password = self.credentials.password.expose();
        let names = BTreeMap::from([("UserName", user), ("Password", password)]);
        let body = json_body(&names, user.len() + password.len());
        let out = Outgoing {
            method: Method::POST,
            body: Some(body),
            delivery: Delivery::Once,
            ..Outgoing::get(&sessions)
        };
        let reply = self.deliver(&out, None).await?;
        let messages = self.messages(&reply, None);
        let status = reply.status.as_u16();
        let proved = self.proved.load(Ordering::Relaxed);
        match status {
            200..300 => Ok(self.session(&reply)),
            _ if status == 429 || status == 503 || messages.has_key("SessionLimitExceeded") => {
                let busy = Cause::Busy {
                    status,
                    retry_after: reply.retry_after(),
                    messages,
                };
                // The refusal of a wrong password would say nothing here, and so be asked for again and again.
                if proved {
                    Ok(self.basic(Some(busy)))
                } else {
                    Err(reply.fail(busy))
                }
            }
            // Nothing but these credentials is in the request: they are what is wrong with it.
            400 if proved && !messages.has_key(LOGIN_REFUSED) => {
                Err(reply.fail(Cause::Failed { status, messages }))
            }
            400 | 401 | 403 => Err(reply.fail(Cause::Refused {
                user: user.into(),
                status,
                messages,
            })),
            404 | 405 | 501 => Ok(self.basic(None)),
            _ => Err(reply.fail(Cause::Failed { status, messages })),
        }
    }

    /// The pass in the answer to a log-in; an answer without a usable token is as good as no session service.
    fn session(&self, reply: &Reply) -> PassKind {
        let Some(mut token) = reply
            .headers
            .get(TOKEN)
            .filter(|token| !token.is_empty())
            .cloned()
        else {
            return self.basic(None);
        };
        token.set_sensitive(true);
        self.proved.store(true, Ordering::Relaxed);
        let location = self.made(reply);
        PassKind::Session { token, location }
    }

    /// Where sessions are made, or `None` where the BMC shows no such place to strangers.
    async fn sessions(&self) -> Result<Option<Link>, Error> {
        let root: Resource<ServiceRoot> = match self.service_root().await {
            Ok(root) => root,
            Err(error) if hidden(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        match (root.value.sessions, root.value.session_service) {
            (Some(sessions), _) => Ok(Some(sessions)),
            (None, None) => Ok(None),
            (None, Some(service)) => match self.read_open::<Service>(&service).await {
                Ok(service) => Ok(service.value.sessions),
                Err(error) if hidden(&error) => Ok(None),
                Err(error) => Err(error),
            },
        }
    }

    fn basic(&self, instead_of: Option<Cause>) -> PassKind {
        let Credentials { username, password } = &self.credentials;
        let plain = Zeroizing::new(format!("{username}:{}", password.expose()));
        let text = Zeroizing::new(format!("Basic {}", STANDARD.encode(plain.as_bytes())));
        // Base64 is always a valid header value.
        let mut header = HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""));
        header.set_sensitive(true);
        PassKind::Basic {
            header,
            instead_of: instead_of.map(Box::new),
        }
    }
}

/// The BMC shows this resource to nobody who has not logged in, or does not have it.
fn hidden(error: &Error) -> bool {
    matches!(*error.cause, Cause::Forbidden { .. } | Cause::Unsupported(_))
}
