//! The facts of a good run, as JSON, which tests then spoil.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

/// SHA-256 of 4096 and of 512 zeros, as `sha256sum` says.
const ZEROS: [(u64, &str); 2] = [
    (
        4096,
        "ad7facb2586fc6e966c004d7d1d16b024f5805ff7cb47c7a85dabd8b48892ca7",
    ),
    (
        512,
        "076a27c79e5ace2a3d47f9dd2e83e4ff6ea8872b3c2218f66c92b89b55f36560",
    ),
];
pub(crate) const DISK: u64 = 1 << 30;
/// Place, offset, length, whether it is an edge.
const PLACES: [(&str, u64, u64, bool); 6] = [
    ("head", 0, 512, true),
    ("start of partition 1", 1 << 20, 4096, true),
    ("end of partition 1", (512 << 20) - 4096, 4096, true),
    ("tail", DISK - 512, 512, true),
    ("middle", 300 << 20, 4096, false),
    ("root of the system", 200 << 20, 4096, false),
];

/// A machine of the run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Host {
    pub(crate) bmc: &'static str,
    pub(crate) server: &'static str,
    pub(crate) serial: &'static str,
    pub(crate) source: &'static str,
    /// The same for every Node that it becomes.
    pub(crate) node: &'static str,
}

pub(crate) const A: Host = Host {
    bmc: "rack1-u01",
    server: "0b5a6f0e-51c2-4c7e-9d43-6c1f5c1c0001",
    serial: "DISK-0001",
    source: "ipmi://10.213.0.2:4711",
    node: "node-0001",
};
pub(crate) const B: Host = Host {
    bmc: "rack1-u02",
    server: "0b5a6f0e-51c2-4c7e-9d43-6c1f5c1c0002",
    serial: "DISK-0002",
    source: "redfish://10.213.0.2:4712",
    node: "node-0002",
};

/// What is on a disk.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Content {
    Old,
    Wiped,
    System,
}

/// The lists of the facts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Run {
    pub(crate) machines: Vec<Value>,
    pub(crate) steps: Vec<Value>,
    pub(crate) disks: Vec<Value>,
    pub(crate) power: Vec<Value>,
    pub(crate) objects: Vec<Value>,
}

/// So many seconds after the run began.
pub(crate) fn at(seconds: f64) -> String {
    let begin: Timestamp = "2026-03-01T10:00:00Z".parse().unwrap();
    format!(
        "{:.3}",
        begin + SignedDuration::try_from_secs_f64(seconds).unwrap()
    )
}

impl Run {
    /// A step, and the disks after it.
    pub(crate) fn step(&mut self, t: f64, name: &str, contents: [Content; 2]) {
        self.steps.push(json!({"t": at(t), "name": name}));
        if name == "registered" {
            return;
        }
        for (number, (host, content)) in [A, B].into_iter().zip(contents).enumerate() {
            let blocks = PLACES.iter().zip(1_u32..).map(|((place, offset, length, edge), index)| {
                let old = format!("{:064x}", 100 * (number as u32 + 1) + index);
                let zeros = ZEROS.iter().find(|(of, _)| of == length).unwrap().1.to_owned();
                let sha256 = match (content, *place) {
                    (Content::System, "head" | "root of the system") => format!("{:064x}", 7000 + index),
                    (Content::Wiped | Content::System, _) if *edge => zeros,
                    _ => old,
                };
                json!({"place": place, "offset": offset, "length": length, "edge": edge, "sha256": sha256})
            });
            let blocks: Vec<_> = blocks.collect();
            self.disks
                .push(json!({"t": at(t + 0.3), "after": name, "server": host.server, "blocks": blocks}));
        }
    }

    pub(crate) fn line(
        &mut self,
        t: f64,
        host: Host,
        (actor, source): (&str, &str),
        verb: &str,
        (before, after): (&str, Option<&str>),
        cause: &str,
    ) {
        let event = if after.is_some() { "effect" } else { "received" };
        self.power.push(
            json!({"t": at(t), "bmc": host.bmc, "actor": actor, "source": source, "verb": verb,
            "event": event, "before": before, "after": after, "cause": cause}),
        );
    }

    /// A command and, half a second later, what came of it.
    pub(crate) fn command(&mut self, t: f64, host: Host, by: (&str, &str), verb: &str, change: (&str, &str)) {
        let (before, after) = change;
        self.line(t, host, by, verb, (before, None), "accepted");
        self.line(t + 0.5, host, by, verb, (before, Some(after)), "command");
    }

    pub(crate) fn entry(&mut self, t: f64, kind: &str, name: &str, uid: &str, event: &str, more: Value) {
        let mut entry = json!({"t": at(t), "kind": kind, "namespace": "default", "name": name, "uid": uid, "event": event,
            "phase": null, "power": null, "server": null, "node": null, "owner": null, "deleting": false});
        let Value::Object(more) = more else { return };
        entry.as_object_mut().unwrap().extend(more);
        self.objects.push(entry);
    }

    pub(crate) fn object(&mut self, t: f64, kind: &str, name: &str, uid: &str, more: Value) {
        self.entry(t, kind, name, uid, "seen", more);
    }

    pub(crate) fn gone(&mut self, t: f64, kind: &str, name: &str, uid: &str, more: Value) {
        self.entry(t, kind, name, uid, "gone", more);
    }
}
