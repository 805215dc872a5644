//! Where a BMC is, and the links inside it.

use std::fmt;
use std::str::FromStr;

use url::Url;

/// Longest link that is followed, in bytes.
const MAX_LINK: usize = 1024;

/// A BMC's address: scheme, host and port, and the System that the user named, if any.
///
/// Text form: `redfish://HOST[:PORT][/PATH]` (TLS) or `redfish+http://HOST[:PORT][/PATH]`, where PATH is the link
/// of a System such as `/redfish/v1/Systems/1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    base: Url,
    system: Option<Link>,
}

/// A text that names no Redfish endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a Redfish endpoint: {reason}; want redfish://HOST[:PORT][/redfish/v1/Systems/ID] or redfish+http://…"
)]
pub struct ParseEndpointError {
    text: String,
    reason: String,
}

impl Endpoint {
    /// The System that the user named in the endpoint.
    pub fn system(&self) -> Option<&Link> {
        self.system.as_ref()
    }

    /// The URL of a link at this BMC, or `None` when the link leads to another host.
    pub(crate) fn resolve(&self, link: &Link) -> Option<Url> {
        let url = self.base.join(&link.0).ok()?;
        self.owns(&url).then_some(url)
    }

    /// Whether a URL has this BMC's scheme, host and port.
    pub(crate) fn owns(&self, url: &Url) -> bool {
        url.origin() == self.base.origin()
    }

    /// The link in a `Location` header. Only path and query are kept: BMCs put names and schemes there that
    /// lead nowhere, and credentials go to no other host than the one that the user named.
    pub(crate) fn location(&self, text: &str) -> Option<Link> {
        let mut url = self.base.join(text).ok()?;
        url.set_fragment(None);
        Link::new(&url[url::Position::BeforePath..])
    }
}

impl FromStr for Endpoint {
    type Err = ParseEndpointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.contains('@') {
            let why = "credentials belong into a Secret, not into the endpoint";
            return Err(refuse("[redacted]", why));
        }
        let web = match text.split_once("://") {
            Some(("redfish", rest)) => format!("https://{rest}"),
            Some(("redfish+http", rest)) => format!("http://{rest}"),
            _ => return Err(refuse(text, "its scheme is neither redfish nor redfish+http")),
        };
        let mut base = Url::parse(&web).map_err(|error| refuse(text, &error.to_string()))?;
        if base.query().is_some() || base.fragment().is_some() {
            return Err(refuse(text, "it has a query or a fragment"));
        }
        let system = match base.path() {
            "/" | "/redfish/v1" | "/redfish/v1/" => None,
            path => Some(Link::new(path).ok_or_else(|| refuse(text, "its path is too long"))?),
        };
        base.set_path("/");
        Ok(Self { base, system })
    }
}

fn refuse(text: &str, reason: &str) -> ParseEndpointError {
    ParseEndpointError {
        text: text.chars().take(200).collect(),
        reason: reason.into(),
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.base.as_str())
    }
}

/// A link to a resource of the same BMC (DSP0266 §6.3): what its `@odata.id` says, never a built path.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Link(String);

impl Link {
    /// The service root, the one URI that the standard fixes (DSP0266 §6.2).
    pub fn service_root() -> Self {
        Self("/redfish/v1/".into())
    }

    /// An absolute path of at most 1024 printable characters.
    pub fn new(path: &str) -> Option<Self> {
        let clean =
            path.starts_with('/') && path.len() <= MAX_LINK && path.bytes().all(|b| b.is_ascii_graphic());
        clean.then(|| Self(path.into()))
    }

    /// The path as the BMC wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether two links name one resource; a slash at the end makes no difference.
    pub fn same(&self, other: &Self) -> bool {
        self.0.trim_end_matches('/') == other.0.trim_end_matches('/')
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(text: &str) -> Endpoint {
        text.parse().unwrap()
    }

    #[test]
    fn both_schemes_hosts_ports_and_a_system_are_read() {
        assert_eq!(endpoint("redfish://10.0.0.1").to_string(), "https://10.0.0.1/");
        assert_eq!(
            endpoint("redfish+http://bmc.rack1:8000/").to_string(),
            "http://bmc.rack1:8000/"
        );
        let named = endpoint("redfish://[fd00::1]:8443/redfish/v1/Systems/System.Embedded.1");
        assert_eq!(named.to_string(), "https://[fd00::1]:8443/");
        assert_eq!(
            named.system(),
            Link::new("/redfish/v1/Systems/System.Embedded.1").as_ref()
        );
        assert_eq!(endpoint("redfish://h/redfish/v1/").system(), None);
    }

    #[test]
    fn other_texts_are_refused_by_name_and_credentials_are_not_echoed() {
        for text in [
            "10.0.0.1",
            "https://h",
            "ipmi://h",
            "redfish://",
            "redfish://h:99999",
            "redfish://h/?x=1",
        ] {
            let error = text.parse::<Endpoint>().unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
        let broken = "redfish://root:calvin @h:x"
            .parse::<Endpoint>()
            .unwrap_err()
            .to_string();
        assert!(!broken.contains("calvin"), "{broken}");
        let error = "redfish://root:calvin@h"
            .parse::<Endpoint>()
            .unwrap_err()
            .to_string();
        assert!(!error.contains("calvin") && error.contains("Secret"), "{error}");
    }

    #[test]
    fn a_link_never_leads_to_another_host() {
        let bmc = endpoint("redfish://bmc");
        let url = |link: &str| {
            Link::new(link)
                .and_then(|link| bmc.resolve(&link))
                .map(String::from)
        };
        assert_eq!(
            url("/redfish/v1/Systems/1").as_deref(),
            Some("https://bmc/redfish/v1/Systems/1")
        );
        for link in [
            "//evil/redfish",
            "/\\evil/redfish",
            "https://evil/",
            "redfish/v1",
            "",
            "/a b",
            "/a\r\nb",
        ] {
            assert_eq!(url(link), None, "{link:?}");
        }
    }

    #[test]
    fn a_location_keeps_its_path_only() {
        let bmc = endpoint("redfish://bmc:8443");
        for text in [
            "/a/1?x=2",
            "https://evil/a/1?x=2",
            "http://bmc/a/1?x=2",
            "//evil/a/1?x=2#f",
        ] {
            assert_eq!(bmc.location(text).unwrap().as_str(), "/a/1?x=2", "{text}");
        }
    }
}
