//! Changing resources: preconditions by ETag, and tasks.

use std::time::Duration;

use reqwest::header::HeaderValue;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use tokio::time::{Instant, sleep};
use zeroize::Zeroizing;

use crate::client::{Client, Delivery, Outgoing};
use crate::decode::Fields;
use crate::endpoint::Link;
use crate::error::{Cause, Error};
use crate::resources::{Decode, Resource, TaskProgress, decode};
use crate::secret::Secret;
use crate::transport::Reply;

/// What became of a change that was not refused. Accepted is not done: only a reading tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    /// The BMC says that it has carried it out.
    Done,
    /// The BMC works on it (202), and says where to look.
    Task(Task),
    /// The BMC works on it, and does not say where to look.
    Untold,
}

/// Where a task shows how it stands (DSP0266 §14).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// The task monitor.
    pub monitor: Link,
    /// How long to wait before the first look.
    pub retry_after: Option<Duration>,
}

/// A resource of which only the ETag matters.
struct Tagged;

impl Decode for Tagged {
    fn decode(_: &Fields<'_>) -> Self {
        Self
    }
}

/// A change to a resource.
pub(crate) struct Patch<'a> {
    pub(crate) link: &'a Link,
    pub(crate) etag: Option<&'a str>,
    pub(crate) body: Zeroizing<Vec<u8>>,
    pub(crate) delivery: Delivery,
    pub(crate) secret: Option<&'a Secret>,
}

impl Client {
    /// Changes a resource under `If-Match`: its ETag, or `*` where it has none. A failed precondition is a refusal,
    /// so even a change that is sent once is sent again, once, under the ETag that the resource has by then. When
    /// the BMC refuses the very ETag that it gives, that is `*`.
    pub(crate) async fn patch(&self, patch: Patch<'_>) -> Result<Accepted, Error> {
        let if_match = |etag: Option<&str>| {
            let etag = etag.and_then(|etag| HeaderValue::from_str(etag).ok());
            Some(etag.unwrap_or(HeaderValue::from_static("*")))
        };
        let Patch {
            link,
            etag,
            body,
            delivery,
            secret,
        } = patch;
        let mut out = Outgoing {
            method: Method::PATCH,
            link,
            if_match: if_match(etag),
            body: Some(body),
            delivery,
            secret,
        };
        match self.send(&out).await {
            Err(error) if error.is_precondition() => {
                let Resource::<Tagged> { etag: fresh, .. } = self.read(link).await?;
                out.if_match = if_match(fresh.as_deref().filter(|fresh| Some(*fresh) != etag));
                self.accepted(&self.send(&out).await?)
            }
            other => self.accepted(&other?),
        }
    }

    /// Sends an action, once.
    pub(crate) async fn act(&self, target: &Link, body: Zeroizing<Vec<u8>>) -> Result<Accepted, Error> {
        let out = Outgoing {
            method: Method::POST,
            body: Some(body),
            delivery: Delivery::Once,
            ..Outgoing::get(target)
        };
        self.accepted(&self.send(&out).await?)
    }

    fn accepted(&self, reply: &Reply) -> Result<Accepted, Error> {
        if reply.status.is_redirection() {
            let status = reply.status.as_u16();
            return Err(reply.fail(Cause::Protocol(format!(
                "status {status}: a change is not sent anywhere else"
            ))));
        }
        if reply.status != StatusCode::ACCEPTED {
            return Ok(Accepted::Done);
        }
        let retry_after = reply.retry_after();
        let task = self.made(reply).map(|monitor| Task { monitor, retry_after });
        Ok(task.map_or(Accepted::Untold, Accepted::Task))
    }

    /// Waits for a task to end, at most [`crate::Options::task_deadline`]. `Untold` when the BMC dropped the task
    /// before it showed an end. Every error is one about a change that was sent.
    pub async fn wait(&self, task: &Task) -> Result<Accepted, Error> {
        self.follow(task).await.map_err(|error| error.sent(true))
    }

    async fn follow(&self, task: &Task) -> Result<Accepted, Error> {
        let deadline = Instant::now() + self.options.task_deadline;
        let mut pause = task.retry_after;
        let mut seen = false;
        loop {
            let next = Instant::now() + pause.unwrap_or(self.options.task_poll);
            if next > deadline {
                let cause = Cause::Unfinished(self.options.task_deadline);
                return Err(self.error(&Method::GET, &task.monitor, cause));
            }
            sleep(next - Instant::now()).await;
            let (reply, pass) = self.answer(&Outgoing::get(&task.monitor)).await?;
            pause = reply.retry_after();
            match reply.status.as_u16() {
                202 => seen = true,
                // some BMCs create the task after they have named it, and delete it once its end was shown
                404 | 410 if seen => return Ok(Accepted::Untold),
                404 | 429 | 503 => {}
                _ => {
                    let reply = self.judge(reply, Some(&pass), None)?;
                    let body = serde_json::from_slice(&reply.body).unwrap_or_default();
                    match progress(&body) {
                        TaskProgress::Completed => return Ok(Accepted::Done),
                        TaskProgress::Running => seen = true,
                        TaskProgress::Failed => {
                            let (status, messages) = (reply.status.as_u16(), self.messages(&reply, None));
                            return Err(reply.fail(Cause::Failed { status, messages }));
                        }
                    }
                }
            }
        }
    }

    /// Waits where the BMC gave a task.
    pub(crate) async fn finish(&self, accepted: Accepted) -> Result<Accepted, Error> {
        match accepted {
            Accepted::Task(task) => self.wait(&task).await,
            other => Ok(other),
        }
    }
}

/// An empty body is no task: the monitor has answered with the outcome itself.
fn progress(body: &Value) -> TaskProgress {
    if body.is_null() {
        TaskProgress::Completed
    } else {
        decode(body).0
    }
}
