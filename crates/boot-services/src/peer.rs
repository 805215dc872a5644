//! Who asks, as far as limits go: by address, and how many connections each has.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// An IPv4 address, or a network of 64 bits in IPv6, which is what one host is given (RFC 4291 §2.5.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Peer(IpAddr);

impl From<IpAddr> for Peer {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = address.to_bits() & (u128::MAX << 64);
                Ipv6Addr::from_bits(network).into()
            }
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

/// Connections of each peer. As long as there are connections: their number bounds the table.
pub(crate) struct Connections {
    most: u32,
    open: Mutex<HashMap<Peer, u32>>,
}

impl Connections {
    pub(crate) fn new(most: u32) -> Arc<Self> {
        let open = Mutex::default();
        Arc::new(Self { most, open })
    }

    /// One more connection of `peer`, unless it has as many as are allowed.
    pub(crate) fn admit(self: &Arc<Self>, peer: Peer) -> Option<Admitted> {
        let mut open = self.lock();
        let count = open.entry(peer).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        drop(open);
        let connections = Arc::clone(self);
        Some(Admitted { connections, peer })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Peer, u32>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection, until it is dropped.
pub(crate) struct Admitted {
    connections: Arc<Connections>,
    peer: Peer,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut open = self.connections.lock();
        if let Some(count) = open.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(address: &str) -> Peer {
        address.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn a_peer_is_an_ipv4_address_or_an_ipv6_network() {
        assert_eq!(peer("2001:db8:0:1::7"), peer("2001:db8:0:1:ffff::1"));
        assert_ne!(peer("2001:db8:0:1::7"), peer("2001:db8:0:2::7"));
        assert_eq!(peer("10.0.0.1"), peer("::ffff:10.0.0.1"));
        assert_ne!(peer("10.0.0.1"), peer("10.0.0.2"));
    }

    #[test]
    fn a_peer_has_its_connections_another_is_not_hurt_and_an_ended_one_is_free_again() {
        let connections = Connections::new(2);
        let (one, other) = (peer("10.0.0.1"), peer("10.0.0.2"));
        let mut open: Vec<_> = (0..2).map(|_| connections.admit(one).unwrap()).collect();
        assert!(connections.admit(one).is_none());
        open.push(connections.admit(other).unwrap());
        open.remove(0);
        open.push(connections.admit(one).unwrap());
        assert!(connections.admit(one).is_none());
        open.clear();
        assert!(connections.lock().is_empty(), "the table keeps peers that left");
    }
}
