//! The Node of this machine at its cluster's API server.

use std::net::Ipv4Addr;
use std::time::Duration;

use reqwest::{Certificate, Client, Method, StatusCode};
use serde_json::{Map, Value, json};

use crate::config::Config;

/// How long a request may take.
const REQUEST: Duration = Duration::from_secs(15);
/// Most characters of a refusal that are shown.
const SHOWN: usize = 300;

/// What a Node says of the machine under it.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The Node's name.
    pub name: String,
    /// SMBIOS UUID.
    pub uuid: String,
    /// Address of the machine's lease.
    pub address: Ipv4Addr,
    /// The kernel's random id of this boot.
    pub boot_id: String,
    /// The kernel's release.
    pub kernel: String,
}

/// Why an API server did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// No client for this configuration.
    #[error("cannot use cluster.ca.crt of the configuration: {0}")]
    Ca(reqwest::Error),
    /// No answer.
    #[error("cannot {method} {url}: {source:?}")]
    Send {
        /// What was attempted.
        method: Method,
        /// Where.
        url: String,
        /// Why it failed.
        source: reqwest::Error,
    },
    /// An answer that refuses.
    #[error("{method} {url} answers {status}: {body}")]
    Refused {
        /// What was attempted.
        method: Method,
        /// Where.
        url: String,
        /// The answer's status.
        status: StatusCode,
        /// The answer, or its begin.
        body: String,
    },
}

/// The Node that is created.
pub fn node(facts: &Facts, labels: &Map<String, Value>) -> Value {
    let mut labels = labels.clone();
    labels.insert("kubernetes.io/hostname".into(), facts.name.clone().into());
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": { "name": facts.name, "labels": labels },
    })
}

/// The part of its status that the machine says, `now`.
pub fn status(facts: &Facts, now: &str) -> Value {
    json!({ "status": {
        "addresses": [
            { "type": "InternalIP", "address": facts.address },
            { "type": "Hostname", "address": facts.name },
        ],
        "conditions": [{
            "type": "Ready", "status": "True", "reason": "LabNodeReady", "message": "the lab's node runs",
            "lastHeartbeatTime": now, "lastTransitionTime": now,
        }],
        "nodeInfo": {
            "systemUUID": facts.uuid,
            "machineID": facts.uuid.replace('-', ""),
            "bootID": facts.boot_id,
            "kernelVersion": facts.kernel,
            "osImage": "lab node", "operatingSystem": "linux", "architecture": "amd64",
            "containerRuntimeVersion": "none://0", "kubeletVersion": "v1.36.3", "kubeProxyVersion": "",
        },
    } })
}

/// The API server of a configuration, with the credential of it.
pub struct ApiServer<'a> {
    client: Client,
    config: &'a Config,
}

impl<'a> ApiServer<'a> {
    /// Trusts the configuration's CA alone.
    pub fn new(config: &'a Config) -> Result<Self, RegisterError> {
        let certificates = Certificate::from_pem_bundle(&config.ca).map_err(RegisterError::Ca)?;
        let client = Client::builder().timeout(REQUEST).tls_certs_only(certificates);
        Ok(Self {
            client: client.build().map_err(RegisterError::Ca)?,
            config,
        })
    }

    /// Creates the Node, or gives the one that is there the labels.
    pub async fn register(&self, facts: &Facts) -> Result<(), RegisterError> {
        let node = node(facts, &self.config.labels);
        match self.send(Method::POST, "/api/v1/nodes", &node).await {
            Err(RegisterError::Refused {
                status: StatusCode::CONFLICT,
                ..
            }) => {
                let labels = json!({ "metadata": { "labels": node["metadata"]["labels"] } });
                self.send(Method::PATCH, &format!("/api/v1/nodes/{}", facts.name), &labels)
                    .await
            }
            done => done,
        }
    }

    /// Says that the machine runs.
    pub async fn heartbeat(&self, facts: &Facts) -> Result<(), RegisterError> {
        let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let path = format!("/api/v1/nodes/{}/status", facts.name);
        self.send(Method::PATCH, &path, &status(facts, &now)).await
    }

    async fn send(&self, method: Method, path: &str, body: &Value) -> Result<(), RegisterError> {
        let url = format!("{}{path}", self.config.endpoint);
        let kind = if method == Method::PATCH {
            "application/merge-patch+json"
        } else {
            "application/json"
        };
        let request = self.client.request(method.clone(), &url);
        let request = request
            .bearer_auth(&self.config.token)
            .header("content-type", kind);
        let answer = match request.body(body.to_string()).send().await {
            Ok(answer) => answer,
            Err(source) => return Err(RegisterError::Send { method, url, source }),
        };
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let body = answer.text().await.unwrap_or_default();
        Err(RegisterError::Refused {
            method,
            url,
            status,
            body: body.chars().take(SHOWN).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            name: "talos-0b5a6f0e".into(),
            uuid: "0b5a6f0e-51c2-4c7e-9d43-6c1f5c1c0001".into(),
            address: Ipv4Addr::new(10, 77, 0, 100),
            boot_id: "boot-1".into(),
            kernel: "6.1.0".into(),
        }
    }

    #[test]
    fn a_node_has_the_labels_of_its_configuration_and_no_provider() {
        let labels = json!({ "metal.sidero.dev/uuid": "u" });
        let node = node(&facts(), labels.as_object().unwrap());
        assert_eq!(node["metadata"]["name"], "talos-0b5a6f0e");
        assert_eq!(node["metadata"]["labels"]["metal.sidero.dev/uuid"], "u");
        assert_eq!(node.get("spec"), None);
    }

    #[test]
    fn a_status_says_ready_where_and_which_machine() {
        let all = status(&facts(), "2026-01-01T00:00:00Z");
        let status = &all["status"];
        assert_eq!(status["conditions"][0]["type"], "Ready");
        assert_eq!(
            status["conditions"][0]["lastHeartbeatTime"],
            "2026-01-01T00:00:00Z"
        );
        assert_eq!(status["addresses"][0]["address"], "10.77.0.100");
        assert_eq!(status["nodeInfo"]["systemUUID"], facts().uuid);
        assert_eq!(
            status["nodeInfo"]["machineID"],
            "0b5a6f0e51c24c7e9d436c1f5c1c0001"
        );
    }
}
