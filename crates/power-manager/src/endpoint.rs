//! Where a BMC is and what it speaks, as users write it.

use std::fmt;

use url::Url;

/// IPMI's UDP port (IPMI 2.0 §13.1.2).
const IPMI_PORT: u16 = 623;

/// The fields of `Server.spec.bmc` that say where the BMC is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct EndpointSpec {
    /// Host, or URL whose scheme picks the driver.
    pub endpoint: String,
    /// UDP port of IPMI; 0 is none.
    pub port: Option<u32>,
    /// IPMI interface; empty is none.
    pub interface: Option<String>,
}

/// Where a BMC is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// IPMI at this host and UDP port.
    Ipmi {
        /// Name or address; an IPv6 address without brackets.
        host: String,
        /// UDP port.
        port: u16,
    },
    /// Redfish.
    Redfish(redfish_client::Endpoint),
    /// A host that says nothing of what it speaks: [`crate::driver::probe`] finds out.
    Undecided {
        /// Name or address; an IPv6 address without brackets.
        host: String,
    },
}

/// An endpoint that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "spec.bmc.{field} {value:?} cannot be used: {reason}; want a host, ipmi://HOST[:PORT], redfish://HOST[:PORT] or redfish+http://HOST[:PORT]"
)]
pub struct EndpointError {
    field: &'static str,
    value: String,
    reason: String,
}

impl EndpointSpec {
    /// Reads the fields. Explicit wins: a scheme picks the driver, and so do `port` and `interface`, which only IPMI has.
    pub fn parse(&self) -> Result<Endpoint, EndpointError> {
        let text = self.endpoint.as_str();
        let refuse = |reason: &str| Err(error("endpoint", text, reason));
        if text.contains('@') {
            return Err(error(
                "endpoint",
                "[redacted]",
                "credentials belong into a Secret",
            ));
        }
        match text.split_once("://") {
            None => self.bare(text),
            Some(("ipmi", rest)) => self.ipmi_url(text, rest),
            Some(("redfish" | "redfish+http", _)) => text
                .parse()
                .map(Endpoint::Redfish)
                .map_err(|why: redfish_client::ParseEndpointError| error("endpoint", text, &why.to_string())),
            Some((scheme, _)) => refuse(&format!(
                "its scheme {scheme:?} is none of ipmi, redfish, redfish+http"
            )),
        }
    }

    fn bare(&self, text: &str) -> Result<Endpoint, EndpointError> {
        let (host, _) = host_and_port(text, text, false)?;
        let interface = self.interface.as_deref().filter(|name| !name.is_empty());
        match (interface, self.port()?) {
            (None, None) => Ok(Endpoint::Undecided { host }),
            (None | Some("lan" | "lanplus"), port) => Ok(Endpoint::Ipmi {
                host,
                port: port.unwrap_or(IPMI_PORT),
            }),
            (Some(other), _) => Err(error(
                "interface",
                other,
                "over a network IPMI has lan and lanplus only, and both are spoken as lanplus",
            )),
        }
    }

    fn ipmi_url(&self, text: &str, rest: &str) -> Result<Endpoint, EndpointError> {
        let (host, port) = host_and_port(text, rest.strip_suffix('/').unwrap_or(rest), true)?;
        Ok(Endpoint::Ipmi {
            host,
            port: port.or(self.port()?).unwrap_or(IPMI_PORT),
        })
    }

    fn port(&self) -> Result<Option<u16>, EndpointError> {
        let port = self.port.filter(|port| *port != 0);
        port.map(|port| {
            u16::try_from(port).map_err(|_| error("port", &port.to_string(), "it is above 65535"))
        })
        .transpose()
    }
}

fn error(field: &'static str, value: &str, reason: &str) -> EndpointError {
    EndpointError {
        field,
        value: value.chars().take(200).collect(),
        reason: reason.into(),
    }
}

/// Splits and checks a host, with a port where one may be. An IPv6 address may stand bare where no port may follow.
fn host_and_port(
    text: &str,
    authority: &str,
    may_have_port: bool,
) -> Result<(String, Option<u16>), EndpointError> {
    let refuse = |reason: &str| Err(error("endpoint", text, reason));
    if authority.parse::<std::net::Ipv6Addr>().is_ok() {
        return Ok((authority.into(), None));
    }
    let Ok(url) = Url::parse(&format!("http://{authority}/")) else {
        return refuse("it is no host");
    };
    let Some(host) = url.host_str() else {
        return refuse("it has no host");
    };
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return refuse("it has more than a host");
    }
    if !may_have_port && authority_has_port(authority) {
        return refuse("a bare host has no port here: write ipmi://HOST:PORT, or set spec.bmc.port");
    }
    // 80 is the scheme's default in `url` and would be dropped
    let port = authority_has_port(authority)
        .then(|| url.port_or_known_default())
        .flatten();
    Ok((host.trim_matches(['[', ']']).into(), port))
}

fn authority_has_port(authority: &str) -> bool {
    let after_address = authority.rsplit(']').next().unwrap_or(authority);
    after_address.contains(':')
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ipmi { host, port } if host.contains(':') => write!(f, "ipmi://[{host}]:{port}"),
            Self::Ipmi { host, port } => write!(f, "ipmi://{host}:{port}"),
            Self::Redfish(endpoint) => endpoint.fmt(f),
            Self::Undecided { host } => f.write_str(host),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(endpoint: &str, port: Option<u32>, interface: Option<&str>) -> Result<Endpoint, EndpointError> {
        EndpointSpec {
            endpoint: endpoint.into(),
            port,
            interface: interface.map(Into::into),
        }
        .parse()
    }

    fn ipmi(host: &str, port: u16) -> Endpoint {
        Endpoint::Ipmi {
            host: host.into(),
            port,
        }
    }

    #[test]
    fn a_scheme_picks_the_driver_whatever_port_and_interface_say() {
        assert_eq!(spec("ipmi://bmc1", None, None).unwrap(), ipmi("bmc1", 623));
        assert_eq!(spec("ipmi://bmc1:80", Some(624), None).unwrap(), ipmi("bmc1", 80));
        assert_eq!(spec("ipmi://bmc1/", Some(624), None).unwrap(), ipmi("bmc1", 624));
        assert_eq!(
            spec("ipmi://[fd00::1]:7000", None, None).unwrap(),
            ipmi("fd00::1", 7000)
        );
        for text in [
            "redfish://bmc1",
            "redfish+http://10.0.0.1:8000/redfish/v1/Systems/1",
        ] {
            assert!(matches!(
                spec(text, Some(623), Some("lanplus")).unwrap(),
                Endpoint::Redfish(_)
            ));
        }
    }

    #[test]
    fn port_and_interface_of_old_manifests_mean_ipmi_without_probing() {
        for (port, interface, expected) in [
            (Some(623), None, 623),
            (Some(6230), Some(""), 6230),
            (None, Some("lanplus"), 623),
            (Some(0), Some("lan"), 623),
        ] {
            assert_eq!(
                spec("10.0.0.1", port, interface).unwrap(),
                ipmi("10.0.0.1", expected)
            );
        }
    }

    #[test]
    fn a_bare_host_is_undecided() {
        for (text, host) in [
            ("10.0.0.1", "10.0.0.1"),
            ("bmc.rack1", "bmc.rack1"),
            ("fd00::1", "fd00::1"),
            ("[fd00::1]", "fd00::1"),
        ] {
            for (port, interface) in [(None, None), (Some(0), Some(""))] {
                assert_eq!(
                    spec(text, port, interface).unwrap(),
                    Endpoint::Undecided { host: host.into() }
                );
            }
        }
    }

    #[test]
    fn what_cannot_be_used_is_named_with_the_reason() {
        for (endpoint, port, interface, expected) in [
            ("", None, None, "\"\""),
            ("https://bmc1", None, None, "scheme \"https\""),
            ("bmc1:6230", None, None, "ipmi://HOST:PORT"),
            ("bmc1/redfish/v1", None, None, "more than a host"),
            ("ipmi://bmc1/x", None, None, "more than a host"),
            ("ipmi://", None, None, "no host"),
            ("a b", None, None, "no host"),
            ("bmc1", Some(70_000), None, "70000"),
            ("bmc1", None, Some("open"), "\"open\""),
        ] {
            let error = spec(endpoint, port, interface).unwrap_err().to_string();
            assert!(error.contains(expected), "{endpoint:?}: {error}");
        }
    }

    #[test]
    fn credentials_in_an_endpoint_are_refused_and_not_echoed() {
        for text in ["root:calvin@bmc1", "ipmi://root:calvin@bmc1"] {
            let error = spec(text, None, None).unwrap_err().to_string();
            assert!(!error.contains("calvin") && error.contains("Secret"), "{error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused_and_what_was_read_survives_its_text(text in ".{0,40}", port: Option<u32>) {
            if let Ok(endpoint @ Endpoint::Ipmi { .. }) = spec(&text, port, None) {
                proptest::prop_assert_eq!(spec(&endpoint.to_string(), None, None), Ok(endpoint));
            }
        }
    }
}
