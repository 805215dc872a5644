//! Which Server has a MAC address: an index kept from the watch of Servers, asked at each DHCP message.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use crd_types::metal::Server;
use hardware_types::{Mac, ServerId};
use kube::ResourceExt as _;
use kube::runtime::watcher::Event;

use crate::server::facts::macs;

/// The index.
#[derive(Debug, Default)]
pub(super) struct Macs(RwLock<Listed>);

#[derive(Debug, Default)]
struct Listed {
    now: Table,
    /// What a list that is under way brought so far; it replaces the table at its end.
    next: Table,
}

#[derive(Debug, Default)]
struct Table {
    of: HashMap<ServerId, Vec<Mac>>,
    /// More than one owner is a mistake in somebody's records.
    owners: HashMap<Mac, Vec<ServerId>>,
}

impl Macs {
    /// Follows the watch.
    pub(super) fn note(&self, event: &Event<Server>) {
        let mut listed = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Apply(server) => listed.now.set(server, macs(server).collect()),
            Event::Delete(server) => listed.now.set(server, Vec::new()),
            Event::Init => listed.next = Table::default(),
            Event::InitApply(server) => listed.next.set(server, macs(server).collect()),
            Event::InitDone => listed.now = std::mem::take(&mut listed.next),
        }
    }

    /// The machine behind a message from `mac`: the one it `claims` to be, unless that has other MAC addresses; without a
    /// claim the one Server that has the address.
    pub(super) fn machine(&self, mac: Mac, claims: Option<ServerId>) -> Option<ServerId> {
        let listed = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let Table { of, owners } = &listed.now;
        match claims {
            Some(id) => of.get(&id).is_none_or(|known| known.contains(&mac)).then_some(id),
            None => match owners.get(&mac)?.as_slice() {
                [one] => Some(*one),
                _ => None,
            },
        }
    }
}

impl Table {
    fn set(&mut self, server: &Server, mut macs: Vec<Mac>) {
        let Ok(id) = server.name_any().parse::<ServerId>() else {
            return;
        };
        macs.sort_unstable();
        macs.dedup();
        for mac in self.of.remove(&id).unwrap_or_default() {
            if let Some(owners) = self.owners.get_mut(&mac) {
                owners.retain(|owner| *owner != id);
                if owners.is_empty() {
                    self.owners.remove(&mac);
                }
            }
        }
        for mac in &macs {
            self.owners.entry(*mac).or_default().push(id);
        }
        if !macs.is_empty() {
            self.of.insert(id, macs);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const FIRST: Mac = Mac::new([2, 0, 0, 0, 0, 1]);
    const SECOND: Mac = Mac::new([2, 0, 0, 0, 0, 2]);

    fn id(n: u8) -> ServerId {
        format!("4c4c4544-0039-3010-8048-0000000000{n:02x}")
            .parse()
            .unwrap()
    }

    fn server(n: u8, macs: &[Mac]) -> Server {
        let interfaces: Vec<_> = macs.iter().map(|mac| json!({ "mac": mac.to_string() })).collect();
        let server = json!({
            "apiVersion": "metal.sidero.dev/v1alpha2", "kind": "Server", "metadata": { "name": id(n).to_string() },
            "spec": { "accepted": false, "hardware": { "network": { "interfaces": interfaces } } },
        });
        serde_json::from_value(server).unwrap()
    }

    #[test]
    fn the_index_follows_the_watch() {
        let macs = Macs::default();
        for event in [
            Event::Init,
            Event::InitApply(server(1, &[FIRST, FIRST])),
            Event::InitApply(server(2, &[])),
        ] {
            macs.note(&event);
        }
        assert_eq!(macs.machine(FIRST, None), None, "the list is not at its end");
        macs.note(&Event::InitDone);
        assert_eq!(macs.machine(FIRST, None), Some(id(1)));
        macs.note(&Event::Apply(server(1, &[SECOND])));
        assert_eq!(
            (macs.machine(FIRST, None), macs.machine(SECOND, None)),
            (None, Some(id(1)))
        );
        macs.note(&Event::Delete(server(1, &[SECOND])));
        assert_eq!(macs.machine(SECOND, None), None);
        macs.note(&Event::Apply(server(3, &[FIRST])));
        for event in [
            Event::Init,
            Event::InitApply(server(1, &[SECOND])),
            Event::InitDone,
        ] {
            macs.note(&event);
        }
        assert_eq!(
            (macs.machine(FIRST, None), macs.machine(SECOND, None)),
            (None, Some(id(1)))
        );
        assert_eq!(
            macs.0.read().unwrap().now.owners.len(),
            1,
            "what is gone is forgotten"
        );
    }

    #[test]
    fn who_claims_to_be_a_machine_has_one_of_its_mac_addresses() {
        let macs = Macs::default();
        macs.note(&Event::Apply(server(1, &[FIRST])));
        macs.note(&Event::Apply(server(2, &[])));
        assert_eq!(macs.machine(FIRST, Some(id(1))), Some(id(1)));
        assert_eq!(macs.machine(SECOND, Some(id(1))), None);
        assert_eq!(macs.machine(SECOND, Some(id(2))), Some(id(2)), "it has none yet");
        assert_eq!(macs.machine(SECOND, Some(id(9))), Some(id(9)), "nobody knows it");
        macs.note(&Event::Apply(server(3, &[FIRST])));
        assert_eq!(macs.machine(FIRST, None), None, "two Servers have it");
    }
}
