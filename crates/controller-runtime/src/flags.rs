//! Values of flags that every manager has, read from their text.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use jiff::SignedDuration;

/// `1m30s`, `90s`, `500ms`: above zero.
pub fn duration(text: &str) -> Result<Duration, String> {
    let signed: SignedDuration = text
        .parse()
        .map_err(|error| format!("want a duration such as 90s or 1m30s: {error}"))?;
    let duration = Duration::try_from(signed)
        .ok()
        .filter(|duration| !duration.is_zero());
    duration.ok_or_else(|| "want a duration above zero".into())
}

/// As Go programs write it: without a host it is every address.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    match text.strip_prefix(':') {
        Some(port) => {
            let port = port
                .parse()
                .map_err(|error| format!("{port:?} is no port: {error}"))?;
            Ok((Ipv4Addr::UNSPECIFIED, port).into())
        }
        None => text
            .parse()
            .map_err(|error| format!("want :PORT or ADDRESS:PORT: {error}")),
    }
}
