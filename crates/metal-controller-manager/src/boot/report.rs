//! What a machine's report of itself makes of its Server: pure. Anybody can send one, so it takes nothing from users, and
//! the API server is not made to write on and on.

use agent_protocol::Registration;
use crd_types::metal::{Hardware, NetworkInterface, Server};
use jiff::Timestamp;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::inventory;
use crate::server::observed::AGENT_API;

/// Seconds between two changes of one Server that reports without a token may make.
const PAUSE: i64 = 60;

/// The fields of the spec that a report sets; never `accepted`: the schema's default is false, and whoever sets it owns it.
#[derive(Debug, PartialEq)]
pub(super) struct Wanted {
    hardware: Hardware,
    hostname: Option<String>,
}

/// What `present` is to say after the report.
pub(super) fn wanted(present: Option<&Server>, report: &Registration) -> Wanted {
    let is_free = |hostname: &&str| {
        present.is_none_or(|server| {
            server.spec.hostname.as_deref() == Some(hostname) || !is_somebody_elses_hostname(server)
        })
    };
    let reported = Some(report.hostname.as_str()).filter(|hostname| !hostname.is_empty());
    Wanted {
        hardware: inventory::hardware(report.id, &report.hardware),
        hostname: reported.filter(is_free).map(String::from),
    }
}

/// What `present` is to say after a report of which only the network interfaces are taken: they are the report's, with
/// the one that the machine booted from.
pub(super) fn interfaces(present: Option<&Server>, report: &Registration) -> Wanted {
    let all = wanted(present, report);
    let Some(mut hardware) = present.and_then(|server| server.spec.hardware.clone()) else {
        return all;
    };
    hardware.network = all.hardware.network;
    let network = hardware.network.get_or_insert_default();
    if let Some(mac) = report.boot_mac.map(|mac| mac.to_string())
        && !network
            .interfaces
            .iter()
            .any(|known| known.mac.as_ref() == Some(&mac))
    {
        network.interfaces.push(NetworkInterface {
            mac: Some(mac),
            ..NetworkInterface::default()
        });
        network.interface_count = i32::try_from(network.interfaces.len()).ok();
    }
    Wanted { hardware, ..all }
}

impl Wanted {
    /// As an object to declare.
    pub(super) fn object(&self) -> Value {
        let mut spec = json!({ "hardware": self.hardware });
        if let Some(hostname) = &self.hostname {
            spec["hostname"] = hostname.as_str().into();
        }
        json!({ "spec": spec })
    }

    /// Whether the Server says so already.
    pub(super) fn is_said_by(&self, server: &Server) -> bool {
        let same_hostname = self.hostname.is_none() || self.hostname == server.spec.hostname;
        same_hostname && server.spec.hardware.as_ref() == Some(&self.hardware)
    }
}

/// Server-side apply would refuse another value of it.
fn is_somebody_elses_hostname(server: &Server) -> bool {
    server.managed_fields().iter().any(|entry| {
        let is_ours =
            entry.manager.as_deref() == Some(AGENT_API) && entry.operation.as_deref() == Some("Apply");
        let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
        !is_ours && fields.is_some_and(|fields| !fields["f:spec"]["f:hostname"].is_null())
    })
}

/// Whether reports changed the Server less than a minute ago, or its `subresource`. The API server's own record tells: all
/// replicas see it, and a restart does not lose it.
pub(super) fn is_too_soon(server: &Server, subresource: Option<&str>, now: Timestamp) -> bool {
    let ours = server.managed_fields().iter().find(|entry| {
        entry.manager.as_deref() == Some(AGENT_API)
            && entry.operation.as_deref() == Some("Apply")
            && entry.subresource.as_deref() == subresource
    });
    let last = ours.and_then(|entry| entry.time.as_ref());
    // A time ahead of ours is that of another clock: it bars nothing.
    last.is_some_and(|last| (0..PAUSE).contains(&now.duration_since(last.0).as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4c4c4544-0039-3010-8048-b7c04f384432";

    fn report(hostname: &str) -> Registration {
        Registration {
            id: ID.parse().unwrap(),
            hostname: hostname.into(),
            boot_mac: None,
            hardware: hardware_types::Hardware::default(),
        }
    }

    /// A Server whose hostname `manager` set.
    fn server(manager: &str, hostname: &str) -> Server {
        let entry = |manager: &str, subresource: Value, time: &str, fields: Value| {
            json!({
                "manager": manager, "operation": "Apply", "subresource": subresource, "time": time, "fieldsV1": fields,
            })
        };
        let server = json!({
            "apiVersion": "metal.sidero.dev/v1alpha2", "kind": "Server",
            "metadata": { "name": ID, "managedFields": [
                entry(manager, Value::Null, "2026-01-01T00:00:00Z", json!({ "f:spec": { "f:hostname": {} } })),
                entry(AGENT_API, json!("status"), "2026-01-01T01:00:00Z", json!({})),
            ] },
            "spec": { "accepted": false, "hostname": hostname },
        });
        serde_json::from_value(server).unwrap()
    }

    #[test]
    fn a_users_hostname_stays_and_the_inventory_is_written_all_the_same() {
        let hostname = |present: Option<&Server>| wanted(present, &report("dhcp-7")).hostname;
        assert_eq!(hostname(None).as_deref(), Some("dhcp-7"));
        assert_eq!(
            hostname(Some(&server(AGENT_API, "old"))).as_deref(),
            Some("dhcp-7")
        );
        assert_eq!(hostname(Some(&server("kubectl", "rack1"))), None);
        // Both say the same: both own it.
        assert_eq!(
            hostname(Some(&server("kubectl", "dhcp-7"))).as_deref(),
            Some("dhcp-7")
        );
        let object = wanted(Some(&server("kubectl", "rack1")), &report("dhcp-7")).object();
        assert_eq!(object["spec"]["hardware"]["system"]["uuid"], ID);
        assert_eq!(object["spec"].as_object().unwrap().len(), 1, "{object}");
        assert_eq!(wanted(None, &report("")).hostname, None);
    }

    #[test]
    fn what_a_server_says_already_is_not_written_again() {
        let mut present = server("kubectl", "rack1");
        let before = wanted(Some(&present), &report("dhcp-7"));
        assert!(!before.is_said_by(&present));
        present.spec.hardware = serde_json::from_value(before.object()["spec"]["hardware"].clone()).unwrap();
        assert!(before.is_said_by(&present));
        let ours = server(AGENT_API, "rack1");
        present.metadata.managed_fields = ours.metadata.managed_fields;
        assert!(!wanted(Some(&present), &report("dhcp-7")).is_said_by(&present));
        assert!(wanted(Some(&present), &report("rack1")).is_said_by(&present));
    }

    #[test]
    fn reports_change_a_server_once_a_minute() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let ours = server(AGENT_API, "a");
        assert!(is_too_soon(&ours, None, at("2026-01-01T00:00:00Z")));
        assert!(is_too_soon(&ours, None, at("2026-01-01T00:00:59Z")));
        assert!(!is_too_soon(&ours, None, at("2026-01-01T00:01:00Z")));
        assert!(
            !is_too_soon(&ours, None, at("2025-12-31T23:59:59Z")),
            "another clock"
        );
        assert!(is_too_soon(&ours, Some("status"), at("2026-01-01T01:00:30Z")));
        assert!(
            !is_too_soon(&ours, None, at("2026-01-01T01:00:30Z")),
            "the status was"
        );
        let by_hand = server("kubectl", "a");
        assert!(
            !is_too_soon(&by_hand, None, at("2026-01-01T00:00:00Z")),
            "the first report"
        );
    }
}
