//! Which addresses of a machine are worth reporting. Agent and boot services must agree: one address that will not do
//! has the whole report refused.

use std::net::IpAddr;

/// Why others cannot reach a machine at this address; `None` if they may.
pub fn why_not_reachable(address: IpAddr) -> Option<&'static str> {
    // ::ffff:127.0.0.1 is 127.0.0.1
    let address = address.to_canonical();
    let is_link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    if address.is_unspecified() {
        Some("unspecified")
    } else if address.is_loopback() {
        Some("a loopback address")
    } else if address.is_multicast() {
        Some("a multicast address")
    } else if is_link_local {
        Some("a link-local address")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_host_or_one_link_are_not_reachable() {
        for (text, reachable) in [
            ("10.77.0.100", true),
            ("fd77::100", true),
            ("0.0.0.0", false),
            ("127.0.0.1", false),
            ("::ffff:127.0.0.1", false),
            ("169.254.1.1", false),
            ("224.0.0.1", false),
            ("fe80::1", false),
            ("ff02::1", false),
            ("::", false),
        ] {
            assert_eq!(
                why_not_reachable(text.parse().unwrap()).is_none(),
                reachable,
                "{text}"
            );
        }
    }
}
