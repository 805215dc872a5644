//! The simulated BMCs of a fleet file: which machine each has, where it listens, what its power log says.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use anyhow::Context;
use hardware_types::{PowerState, ServerId};
use jiff::Timestamp;
use lifecycle::Time;
use lifecycle::invariant::Write;
use lifecycle::power::Command;
use serde::Deserialize;

/// A simulator that was started, or will be.
#[derive(Debug, Clone)]
pub(crate) struct Fleet {
    /// Where it writes its power log.
    pub(crate) power_log: PathBuf,
    /// When it was made.
    pub(crate) made: Time,
    /// Its BMCs.
    pub(crate) bmcs: Vec<Bmc>,
}

/// One simulated BMC.
#[derive(Debug, Clone)]
pub(crate) struct Bmc {
    /// As the power log calls it.
    pub(crate) name: String,
    /// The machine's SMBIOS UUID, and what Redfish and IPMI say of it.
    pub(crate) machine: ServerId,
    ipmi: Option<SocketAddr>,
    redfish: Option<SocketAddr>,
}

/// What the observer needs of a fleet file; the simulator checks the rest.
#[derive(Deserialize)]
struct File {
    bmcs: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    ipmi: Option<Front>,
    redfish: Option<Front>,
    machine: Machine,
}

#[derive(Deserialize)]
struct Front {
    listen: SocketAddr,
}

#[derive(Deserialize)]
struct Machine {
    uuid: ServerId,
}

impl Fleet {
    /// The fleet of a fleet file, whose simulator writes `power_log`.
    pub(crate) fn read(text: &str, power_log: PathBuf) -> anyhow::Result<Self> {
        let file: File = serde_saphyr::from_str(text).context("cannot read the fleet file")?;
        let bmcs = file.bmcs.into_iter().map(|entry| Bmc {
            name: entry.name,
            machine: entry.machine.uuid,
            ipmi: entry.ipmi.map(|front| front.listen),
            redfish: entry.redfish.map(|front| front.listen),
        });
        Ok(Self {
            power_log,
            made: time(Timestamp::now()),
            bmcs: bmcs.collect(),
        })
    }
}

impl Bmc {
    /// By which protocol a Server's `spec.bmc` leads here, if it does: whether by Redfish.
    pub(crate) fn is_reached_by(&self, endpoint: &str, port: Option<u16>) -> Option<bool> {
        let (scheme, rest) = endpoint.split_once("://").unwrap_or(("", endpoint));
        let host = rest.split('/').next().unwrap_or_default();
        let is = |listens: Option<SocketAddr>, default: u16| {
            let address = match host.parse::<IpAddr>() {
                Ok(ip) => Some(SocketAddr::new(ip, port.unwrap_or(default))),
                Err(_) => host.parse().ok(),
            };
            listens.is_some() && listens == address
        };
        let redfish = match scheme {
            "redfish" | "" => is(self.redfish, 443),
            "redfish+http" => is(self.redfish, 80),
            _ => false,
        };
        let ipmi = matches!(scheme, "ipmi" | "") && is(self.ipmi, 623);
        match (redfish, ipmi) {
            (true, _) => Some(true),
            (false, true) => Some(false),
            (false, false) => None,
        }
    }
}

/// A line of a power log.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Line {
    pub(crate) t: Timestamp,
    pub(crate) bmc: String,
    pub(crate) actor: String,
    pub(crate) source: String,
    pub(crate) verb: String,
    pub(crate) event: String,
    pub(crate) before: String,
    pub(crate) after: Option<String>,
    pub(crate) cause: String,
}

impl Line {
    /// When it was written.
    pub(crate) fn at(&self) -> Time {
        time(self.t)
    }

    /// What this asks of the BMC, if it is a command of `user` from an address that `is_ours`.
    pub(crate) fn command(&self, user: &str, is_ours: impl Fn(IpAddr) -> bool) -> Option<Write> {
        let (scheme, peer) = self.source.split_once("://")?;
        let peer: SocketAddr = peer.parse().ok()?;
        let ours = matches!(scheme, "ipmi" | "redfish") && self.actor == user && is_ours(peer.ip());
        (self.event == "received" && ours).then(|| match &*self.verb {
            "on" => Write::Power(Command::On),
            "off" => Write::Power(Command::Off),
            "soft-off" => Write::Power(Command::SoftOff),
            "reset" => Write::Power(Command::Reset),
            "set-boot" => Write::BootOverride,
            _ => Write::Other,
        })
    }

    /// The machine's power from now on, if this changes it.
    pub(crate) fn power(&self) -> Option<PowerState> {
        let after = self.after.as_deref().filter(|_| self.event == "effect")?;
        let power = |word: &str| match word {
            "on" => Some(PowerState::On),
            "off" | "unplugged" => Some(PowerState::Off),
            _ => None,
        };
        power(after).filter(|power_after| power(&self.before) != Some(*power_after))
    }
}

/// A moment of the machine's clock.
pub(crate) fn time(at: Timestamp) -> Time {
    Time::from_millis(u64::try_from(at.as_millisecond()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLEET: &str = "
version: 1
bmcs:
  - {name: a, ipmi: {listen: '10.0.0.2:623'}, machine: {uuid: 0b5a6f0e-51c2-4c7e-9d43-6c1f5c1c000a, serial: X}}
  - {name: b, redfish: {listen: '10.0.0.2:443', tls: true}, machine: {uuid: 0b5a6f0e-51c2-4c7e-9d43-6c1f5c1c000b}}
";

    fn line(fields: &str) -> Line {
        let rest = r#""t":"2026-11-24T10:00:00.250Z","bmc":"a","cause":"accepted""#;
        serde_json::from_str(&format!("{{{fields},{rest}}}")).unwrap()
    }

    fn received(actor: &str, source: &str, verb: &str) -> Option<Write> {
        let line = line(&format!(
            r#""actor":"{actor}","source":"{source}","verb":"{verb}","event":"received","before":"off","after":null"#
        ));
        line.command("admin", |address| address.to_string() == "10.0.0.2")
    }

    #[test]
    fn a_server_leads_to_the_bmc_that_listens_there() {
        let fleet = Fleet::read(FLEET, PathBuf::new()).unwrap();
        for (endpoint, port, a, b) in [
            ("10.0.0.2", None, Some(false), Some(true)),
            ("10.0.0.2", Some(623), Some(false), None),
            ("10.0.0.2", Some(624), None, None),
            ("ipmi://10.0.0.2", None, Some(false), None),
            ("ipmi://10.0.0.2:623", None, Some(false), None),
            ("redfish://10.0.0.2", None, None, Some(true)),
            (
                "redfish://10.0.0.2:443/redfish/v1/Systems/1",
                None,
                None,
                Some(true),
            ),
            ("redfish+http://10.0.0.2", None, None, None),
            ("10.0.0.3", None, None, None),
            ("bmc.example", None, None, None),
        ] {
            let reached = fleet.bmcs.iter().map(|bmc| bmc.is_reached_by(endpoint, port));
            assert_eq!(reached.collect::<Vec<_>>(), [a, b], "{endpoint} {port:?}");
        }
    }

    #[test]
    fn ours_is_what_our_user_sends_from_our_addresses() {
        let on = Some(Write::Power(Command::On));
        assert_eq!(received("admin", "ipmi://10.0.0.2:4711", "on"), on);
        assert_eq!(received("admin", "redfish://10.0.0.2:4711", "on"), on);
        assert_eq!(
            received("admin", "ipmi://10.0.0.2:1", "cycle"),
            Some(Write::Other)
        );
        for (actor, source) in [
            ("operator", "ipmi://10.0.0.2:4711"),
            ("admin", "ipmi://10.0.0.9:4711"),
            ("admin", "control://10.0.0.2:4711"),
            ("machine", "machine"),
        ] {
            assert_eq!(received(actor, source, "on"), None, "{actor} {source}");
        }
    }

    #[test]
    fn only_a_change_of_power_is_one() {
        for (before, after, power) in [
            ("off", "on", Some(PowerState::On)),
            ("on", "off", Some(PowerState::Off)),
            ("on", "unplugged", Some(PowerState::Off)),
            ("off", "unplugged", None),
            ("on", "on", None),
            ("post", "disk", None),
            ("none", "network once bios", None),
        ] {
            let fields = format!(
                r#""actor":"admin","source":"machine","verb":"on","event":"effect","before":"{before}","after":"{after}""#
            );
            assert_eq!(line(&fields).power(), power, "{before} {after}");
        }
    }
}
