//! The durable record of power commands: `Server.status.powerIntent`, under a field manager of its own.

use controller_runtime::lease::Leadership;
use controller_runtime::telemetry::causes;
use controller_runtime::writer::{WriteError, Writer};
use crd_types::metal::Server;
use hardware_types::ServerId;
use kube::{Api, Client};
use lifecycle::power::Intent;
use power_manager::{IntentStore, StoreError};
use serde::Serialize;

/// Tries of one write: whoever writes other fields of the Server makes it stale.
const TRIES: usize = 5;

/// Reads and writes the intents of all Servers.
pub(crate) struct Intents {
    servers: Api<Server>,
    writer: Writer,
    leadership: Leadership,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status<'a> {
    power_intent: &'a Intent,
}

impl Intents {
    pub(crate) fn new(client: Client, leadership: Leadership) -> Self {
        Self {
            servers: Api::all(client.clone()),
            writer: Writer::new(client, "power-manager"),
            leadership,
        }
    }

    /// Makes `intent` the Server's, if the Server still is as it was read.
    pub(crate) async fn begin(&self, server: &Server, intent: &Intent) -> Result<(), WriteError> {
        self.write(server, intent).await
    }

    /// Whether `server` is older than what was last stored of its intent.
    pub(crate) fn is_behind(&self, server: &Server) -> bool {
        self.writer.is_behind(server)
    }

    async fn write(&self, server: &Server, intent: &Intent) -> Result<(), WriteError> {
        let status = Status { power_intent: intent };
        self.writer.transition(server, &status).await.map(drop)
    }
}

/// The intent that the Server carries. One that cannot be read is of another release: it is never resumed.
pub(crate) fn stored(server: &Server) -> Option<Intent> {
    let value = server.status.as_ref()?.power_intent.clone()?;
    serde_json::from_value(value).ok()
}

impl IntentStore for Intents {
    async fn store(&self, server: ServerId, intent: &Intent) -> Result<(), StoreError> {
        let mut last = None;
        for _ in 0..TRIES {
            if !self.leadership.holds() {
                return Err(StoreError::Retry("this replica does not lead".into()));
            }
            let read = self.servers.get_opt(&server.to_string()).await;
            let read = read.map_err(|error| StoreError::Retry(causes(&error)))?;
            let present = read.ok_or_else(|| StoreError::Replaced("the Server is gone".into()))?;
            if self::stored(&present).is_none_or(|stored| stored.id != intent.id) {
                return Err(StoreError::Replaced("the Server carries another one".into()));
            }
            match self.write(&present, intent).await {
                Ok(()) => return Ok(()),
                Err(error @ WriteError::Stale { .. }) => last = Some(error),
                Err(error) => return Err(StoreError::Retry(causes(&error))),
            }
        }
        Err(StoreError::Retry(
            last.map(|error| causes(&error)).unwrap_or_default(),
        ))
    }
}
