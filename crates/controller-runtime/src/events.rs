//! Events of one reporter: each text once, repeats counted and held back.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource};
use tokio::time::Instant;
use tracing::warn;

use crate::telemetry::causes;

/// A repeat within this time is not sent. kube's recorder counts a later one into the same event for 6 min.
const QUIET: Duration = Duration::from_mins(5);
/// What was not repeated for this long is forgotten, as kube's recorder does.
const FORGET: Duration = Duration::from_mins(6);
/// Longest note that the API server accepts, in bytes.
const NOTE_LIMIT: usize = 1024;

/// Publishes events about objects. A failure to publish is logged and stops nobody.
pub struct Events {
    client: Client,
    reporter: Reporter,
    told: Mutex<HashMap<Told, (Instant, Recorder)>>,
}

/// What was said about whom.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Told {
    uid: Option<String>,
    name: Option<String>,
    kind: EventType,
    reason: String,
    action: String,
    note: String,
}

impl Events {
    /// Events reported by `controller`, from the process `instance`.
    pub fn new(client: Client, controller: &str, instance: &str) -> Self {
        let reporter = Reporter {
            controller: controller.into(),
            instance: Some(instance.into()),
        };
        Self {
            client,
            reporter,
            told: Mutex::default(),
        }
    }

    /// Something was done. `action` is the verb for programs, `reason` and `note` are what `kubectl describe` shows.
    pub async fn normal<K>(&self, object: &K, reason: &str, action: &str, note: &str)
    where
        K: Resource<DynamicType = ()>,
    {
        self.publish(EventType::Normal, object, reason, action, note)
            .await;
    }

    /// Something needs attention.
    pub async fn warning<K>(&self, object: &K, reason: &str, action: &str, note: &str)
    where
        K: Resource<DynamicType = ()>,
    {
        self.publish(EventType::Warning, object, reason, action, note)
            .await;
    }

    async fn publish<K>(&self, kind: EventType, object: &K, reason: &str, action: &str, note: &str)
    where
        K: Resource<DynamicType = ()>,
    {
        let note = &note[..note.floor_char_boundary(NOTE_LIMIT)];
        let told = Told {
            uid: object.meta().uid.clone(),
            name: object.meta().name.clone(),
            kind,
            reason: reason.to_owned(),
            action: action.to_owned(),
            note: note.to_owned(),
        };
        let Some(recorder) = self.recorder(&told) else {
            return;
        };
        let event = Event {
            type_: kind,
            reason: reason.to_owned(),
            action: action.to_owned(),
            note: Some(note.to_owned()),
            secondary: None,
        };
        let reference = object.object_ref(&());
        match recorder.publish(&event, &reference).await {
            Ok(()) => drop(self.lock().insert(told, (Instant::now(), recorder))),
            Err(error) => {
                let object = reference.name.unwrap_or_default();
                warn!(
                    error = causes(&error),
                    reason, note, object, "cannot publish an event"
                );
            }
        }
    }

    /// The recorder for this text, or `None` where it was just told. One for each text: kube's recorder would count
    /// another text with the same reason and action into the first one and lose it.
    fn recorder(&self, event: &Told) -> Option<Recorder> {
        let now = Instant::now();
        let mut told = self.lock();
        told.retain(|_, (last, _)| now < *last + FORGET);
        match told.get(event) {
            Some((last, _)) if now < *last + QUIET => None,
            Some((_, recorder)) => Some(recorder.clone()),
            None => Some(Recorder::new(self.client.clone(), self.reporter.clone())),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Told, (Instant, Recorder)>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Node;
    use kube::api::ObjectMeta;
    use tokio::time::advance;

    use super::*;
    use crate::scripted;

    fn node(version: &str) -> Node {
        let metadata = ObjectMeta {
            name: Some("n".into()),
            uid: Some("u".into()),
            resource_version: Some(version.into()),
            ..ObjectMeta::default()
        };
        Node {
            metadata,
            ..Node::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_repeat_is_held_back_then_counted_and_another_text_is_another_event() {
        let (client, asked) = scripted::client(|asked| Some((200, asked.body.clone())));
        let events = Events::new(client, "server-controller", "pod-1");
        let sent = || {
            asked
                .lock()
                .unwrap()
                .iter()
                .map(|asked| asked.method.to_string())
                .collect::<Vec<_>>()
        };
        for version in ["1", "2", "3"] {
            events
                .warning(
                    &node(version),
                    "Server Management",
                    "PowerOn",
                    "BMC does not answer",
                )
                .await;
        }
        assert_eq!(sent(), ["POST"]);
        events
            .warning(
                &node("4"),
                "Server Management",
                "PowerOn",
                "BMC refuses the password",
            )
            .await;
        events
            .normal(&node("4"), "Server Management", "PowerOn", "BMC does not answer")
            .await;
        assert_eq!(sent(), ["POST"; 3]);
        advance(QUIET + Duration::from_secs(1)).await;
        events
            .warning(&node("5"), "Server Management", "PowerOn", "BMC does not answer")
            .await;
        assert_eq!(sent(), ["POST", "POST", "POST", "PATCH"]);

        let asked = asked.lock().unwrap();
        assert_eq!(asked[3].body["series"]["count"], 2);
        let event = &asked[0].body;
        assert_eq!(asked[0].uri, "/apis/events.k8s.io/v1/namespaces/default/events?");
        assert_eq!(event["reportingController"], "server-controller");
        assert_eq!(event["reportingInstance"], "pod-1");
        assert_eq!(
            (&event["type"], &event["note"]),
            (&"Warning".into(), &"BMC does not answer".into())
        );
        assert_eq!(event["regarding"]["kind"], "Node");
    }

    #[tokio::test(start_paused = true)]
    async fn what_could_not_be_published_is_tried_again_and_a_long_note_is_cut() {
        let refuse = std::sync::atomic::AtomicBool::new(true);
        let (client, asked) = scripted::client(move |asked| {
            let refused = refuse.swap(false, std::sync::atomic::Ordering::SeqCst);
            Some(if refused {
                (500, scripted::failure(500))
            } else {
                (201, asked.body.clone())
            })
        });
        let events = Events::new(client, "server-controller", "pod-1");
        let note = "é".repeat(NOTE_LIMIT);
        for _ in 0..3 {
            events.normal(&node("1"), "Server Wipe", "Wipe", &note).await;
        }
        let asked = asked.lock().unwrap();
        assert_eq!(asked.len(), 2);
        assert_eq!(asked[1].body["note"].as_str().unwrap().len(), NOTE_LIMIT);
    }
}
