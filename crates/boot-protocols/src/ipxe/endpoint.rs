//! Where machines reach the HTTP server, as it stands in a URL.

use std::fmt;
use std::net::Ipv6Addr;

/// Host and port of the HTTP server. Prints as the authority of a URL: an IPv6 address in brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    host: String,
    port: u16,
}

/// A text that is no host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("endpoint {0:?} is neither an IP address nor a DNS name")]
pub struct EndpointError(String);

impl Endpoint {
    /// The endpoint of this host (an IPv4 or IPv6 address, the latter with or without brackets, or a DNS name) and port.
    pub fn new(host: &str, port: u16) -> Result<Self, EndpointError> {
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        if let Ok(address) = bare.parse::<Ipv6Addr>() {
            let host = format!("[{address}]");
            return Ok(Self { host, port });
        }
        let label = |label: &str| {
            (1..=63).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        if host.len() <= 253 && host.split('.').all(label) {
            let host = host.into();
            Ok(Self { host, port })
        } else {
            Err(EndpointError(host.into()))
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}
