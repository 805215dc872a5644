//! What the kernel command line tells the agent.

use std::net::SocketAddr;

use agent_protocol::Token;
use hardware_types::Mac;

/// The agent's kernel arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arguments {
    /// `sidero.endpoint`: where the boot services answer.
    pub endpoint: SocketAddr,
    /// `sidero.mac`: the interface that the machine booted from.
    pub mac: Mac,
    /// `sidero.token`: proves that the machine may have orders, if it was given one.
    pub token: Option<Token>,
}

/// Why the kernel command line does not do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentError {
    /// An argument without which there is nothing to do.
    #[error("kernel argument {0}= is missing or empty: the boot script must set it")]
    Missing(&'static str),
    /// Not an address: the agent has no resolver.
    #[error("kernel argument sidero.endpoint={0:?}: want an IP address and a port, such as 10.0.0.1:8081")]
    Endpoint(String),
    /// Not a MAC address.
    #[error("kernel argument sidero.mac: {0}")]
    Mac(#[from] hardware_types::ParseMacError),
    /// Not a token. What it is instead is not shown, since it may be most of one.
    #[error("kernel argument sidero.token is no token: want at most 256 visible ASCII characters")]
    Token,
}

impl Arguments {
    /// Reads a kernel command line. Of an argument given twice the last counts, as in the kernel.
    pub fn parse(command_line: &str) -> Result<Self, ArgumentError> {
        let value = |name: &'static str| {
            command_line
                .split_ascii_whitespace()
                .filter_map(|word| word.split_once('='))
                .filter(|(key, _)| *key == name)
                .map(|(_, value)| value.trim_matches('"'))
                .next_back()
                .filter(|value| !value.is_empty())
        };
        let needed = |name| value(name).ok_or(ArgumentError::Missing(name));
        let endpoint = needed("sidero.endpoint")?;
        let mac = needed("sidero.mac")?;
        let token = value("sidero.token").map(|text| Token::new(text).ok_or(ArgumentError::Token));
        Ok(Self {
            endpoint: endpoint
                .parse()
                .map_err(|_| ArgumentError::Endpoint(endpoint.into()))?,
            mac: mac.parse()?,
            token: token.transpose()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoint_and_mac_are_read_from_between_other_arguments() {
        let line = "console=ttyS0 sidero.endpoint=10.0.2.2:8081 panic=30 sidero.mac=52:54:00:AA:00:01\n";
        let arguments = Arguments::parse(line).unwrap();
        assert_eq!(arguments.endpoint, "10.0.2.2:8081".parse().unwrap());
        assert_eq!(arguments.mac.to_string(), "52:54:00:aa:00:01");
    }

    #[test]
    fn a_token_is_read_and_not_shown() {
        let parse = |token: &str| {
            let line = format!("sidero.endpoint=10.0.2.2:8081 sidero.mac=52:54:00:aa:00:01 {token}");
            Arguments::parse(&line)
        };
        let arguments = parse("sidero.token=canary-1").unwrap();
        assert_eq!(arguments.token.as_ref().unwrap().secret(), "canary-1");
        assert!(!format!("{arguments:?}").contains("canary"));
        assert_eq!(parse("sidero.token=").unwrap().token, None);
        let error = parse("sidero.token=canary-\u{e9}").unwrap_err();
        assert_eq!(error, ArgumentError::Token);
        assert!(!error.to_string().contains("canary"));
    }

    #[test]
    fn the_last_of_two_counts() {
        let line = "sidero.mac=52:54:00:00:00:01 sidero.endpoint=[fd00::1]:1 sidero.mac=52-54-00-00-00-02";
        let arguments = Arguments::parse(line).unwrap();
        assert_eq!(arguments.mac.to_string(), "52:54:00:00:00:02");
        assert_eq!(arguments.endpoint, "[fd00::1]:1".parse().unwrap());
    }

    #[test]
    fn an_empty_mac_names_no_interface() {
        let line = "sidero.endpoint=10.0.2.2:8081 sidero.mac=";
        assert_eq!(Arguments::parse(line), Err(ArgumentError::Missing("sidero.mac")));
    }

    #[test]
    fn an_error_names_the_value() {
        let error = |line| Arguments::parse(line).unwrap_err().to_string();
        assert!(error("sidero.mac=52:54:00:00:00:01").contains("sidero.endpoint= is missing"));
        assert!(error("sidero.mac=x sidero.endpoint=metal.example:8081").contains("metal.example:8081"));
        assert!(error("sidero.mac=${mac} sidero.endpoint=10.0.0.1:1").contains("${mac}"));
    }
}
