//! What the lab's node takes from its machine configuration, which is written as Talos reads it, and from its address.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value};

/// What a node needs to know. All of it comes from the configuration.
#[derive(Clone, PartialEq, Eq)]
pub struct Config {
    /// `machine.install.disk`, if it is there.
    pub disk: Option<String>,
    /// `cluster.controlPlane.endpoint`, without slash at its end.
    pub endpoint: String,
    /// `cluster.ca.crt`: PEM.
    pub ca: Vec<u8>,
    /// `cluster.token`: the node's credential.
    pub token: String,
    /// `HostnameConfig.hostname`, else `machine.network.hostname`.
    pub hostname: Option<String>,
    /// `machine.kubelet.extraArgs.node-labels` and `KubeNodeConfig.labels`.
    pub labels: Map<String, Value>,
}

/// Why a configuration does not do. No text of it shows a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not YAML. What the parser says is left out, since it may quote the text.
    #[error("the configuration is no YAML")]
    Yaml,
    /// Without the document that is the machine's.
    #[error("the configuration has no document with `version: v1alpha1`")]
    NoMachine,
    /// A value that must be there.
    #[error("the configuration has no {0}")]
    Missing(&'static str),
    /// A certificate that is none.
    #[error("cluster.ca.crt of the configuration is no base64")]
    Ca,
    /// A label that is none.
    #[error("node label {0:?} of the configuration has no `=`")]
    Label(String),
}

impl Config {
    /// Reads the documents of a configuration; those of other kinds are passed over.
    pub fn parse(yaml: &str) -> Result<Self, ConfigError> {
        let documents: Vec<Value> = serde_saphyr::from_multiple(yaml).map_err(|_| ConfigError::Yaml)?;
        let kind = |kind: &str| documents.iter().find(|document| document["kind"] == kind);
        let machine = documents
            .iter()
            .find(|document| document["version"] == "v1alpha1")
            .ok_or(ConfigError::NoMachine)?;
        let text = |value: &Value| {
            let text = value.as_str().map(str::to_owned);
            text.filter(|text| !text.is_empty())
        };
        let cluster = &machine["cluster"];
        let endpoint = text(&cluster["controlPlane"]["endpoint"])
            .ok_or(ConfigError::Missing("cluster.controlPlane.endpoint"))?;
        let ca = text(&cluster["ca"]["crt"]).ok_or(ConfigError::Missing("cluster.ca.crt"))?;
        let hostname = kind("HostnameConfig").and_then(|document| text(&document["hostname"]));
        let mut labels = kubelet_labels(&machine["machine"]["kubelet"]["extraArgs"]["node-labels"])?;
        if let Some(more) = kind("KubeNodeConfig").and_then(|document| document["labels"].as_object()) {
            labels.extend(
                more.iter()
                    .map(|(key, value)| (key.clone(), scalar(value).into())),
            );
        }
        Ok(Self {
            disk: text(&machine["machine"]["install"]["disk"]),
            endpoint: endpoint.trim_end_matches('/').into(),
            ca: BASE64_STANDARD.decode(ca.trim()).map_err(|_| ConfigError::Ca)?,
            token: text(&cluster["token"]).ok_or(ConfigError::Missing("cluster.token"))?,
            hostname: hostname.or_else(|| text(&machine["machine"]["network"]["hostname"])),
            labels,
        })
    }

    /// The Node's name: the hostname, else one made of the machine's UUID.
    pub fn node_name(&self, uuid: &str) -> String {
        // the end: machines of one maker often begin alike
        let end = uuid.rsplit('-').next().unwrap_or(uuid);
        self.hostname.clone().unwrap_or_else(|| format!("talos-{end}"))
    }
}

/// Labels of an argument of the kubelet: a text, or a list of them, each with labels between commas.
fn kubelet_labels(argument: &Value) -> Result<Map<String, Value>, ConfigError> {
    let texts: Vec<String> = match argument {
        Value::Null => Vec::new(),
        Value::Array(texts) => texts.iter().map(scalar).collect(),
        text => vec![scalar(text)],
    };
    let words = texts.iter().flat_map(|text| text.split(','));
    words
        .map(str::trim)
        .filter(|word| !word.is_empty())
        .map(|word| match word.split_once('=') {
            Some((key, value)) => Ok((key.into(), value.into())),
            None => Err(ConfigError::Label(word.into())),
        })
        .collect()
}

/// YAML's `true` and `1` are texts where a text is meant.
fn scalar(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The configuration's address of a kernel command line; of two the last counts.
pub fn config_url(command_line: &str) -> Option<&str> {
    let words = command_line.split_ascii_whitespace();
    let mut urls = words.filter_map(|word| word.strip_prefix("talos.config="));
    urls.rfind(|url| !url.is_empty())
}

/// Fills an empty `uuid` of the address's query, as Talos does.
pub fn fill_uuid(url: &str, uuid: &str) -> String {
    let Some((base, query)) = url.split_once('?') else {
        return url.into();
    };
    let filled = query.split('&').map(|pair| match pair {
        "uuid=" | "uuid" => format!("uuid={uuid}"),
        pair => pair.into(),
    });
    format!("{base}?{}", filled.collect::<Vec<_>>().join("&"))
}

/// An address without its query, which may have a token in it.
pub fn without_query(url: &str) -> &str {
    url.split('?').next().unwrap_or(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: &str = "version: v1alpha1\n\
        machine:\n  install: {disk: /dev/vda}\n  network: {hostname: old}\n  \
        kubelet:\n    extraArgs:\n      node-labels: a=1,metal.sidero.dev/uuid=u\n\
        cluster:\n  token: canary.0123\n  ca: {crt: UEVN}\n  controlPlane: {endpoint: 'https://10.0.0.1:6443/'}\n";

    #[test]
    fn all_that_a_node_needs_is_read() {
        let config = Config::parse(MACHINE).unwrap();
        assert_eq!(config.disk.as_deref(), Some("/dev/vda"));
        assert_eq!(config.endpoint, "https://10.0.0.1:6443");
        assert_eq!(
            (config.ca.as_slice(), config.token.as_str()),
            (&b"PEM"[..], "canary.0123")
        );
        assert_eq!(config.labels["metal.sidero.dev/uuid"], "u");
        assert_eq!((config.labels["a"].as_str(), config.labels.len()), (Some("1"), 2));
        assert_eq!(config.node_name("0b5a6f0e-51c2"), "old");
    }

    #[test]
    fn hostname_and_labels_of_their_own_documents_count_too() {
        let more = "---\napiVersion: v1alpha1\nkind: HostnameConfig\nhostname: new\n\
            ---\napiVersion: v1alpha1\nkind: KubeNodeConfig\nlabels: {b: 'true', c: true}\n";
        let config = Config::parse(&format!("{MACHINE}{more}")).unwrap();
        assert_eq!(config.node_name("u"), "new");
        assert_eq!(
            (config.labels["b"].as_str(), config.labels["c"].as_str()),
            (Some("true"), Some("true"))
        );
    }

    #[test]
    fn the_kubelets_labels_may_be_a_list() {
        let yaml = MACHINE.replace("a=1,metal.sidero.dev/uuid=u", "[a=1, 'b=2,c=3']");
        assert_eq!(Config::parse(&yaml).unwrap().labels.len(), 3);
        let wrong = MACHINE.replace("a=1,", "nothing,");
        assert_eq!(
            Config::parse(&wrong).err(),
            Some(ConfigError::Label("nothing".into()))
        );
    }

    #[test]
    fn without_hostname_the_name_is_of_the_uuid() {
        let config = Config::parse(&MACHINE.replace("{hostname: old}", "{}")).unwrap();
        assert_eq!(config.node_name("0b5a6f0e-51c2-4c7e"), "talos-4c7e");
    }

    #[test]
    fn what_is_missing_is_named_and_no_secret_is_shown() {
        let error = |from, to| {
            Config::parse(&MACHINE.replace(from, to))
                .err()
                .unwrap()
                .to_string()
        };
        assert!(error("token: canary.0123", "x: y").contains("cluster.token"));
        assert!(error("UEVN", "'%'").contains("cluster.ca.crt"));
        assert!(error("v1alpha1", "v2").contains("v1alpha1"));
        let broken = error("canary.0123", "[canary");
        assert!(
            broken.contains("no YAML") && !broken.contains("canary"),
            "{broken}"
        );
        assert_eq!(
            Config::parse(&MACHINE.replace("{disk: /dev/vda}", "{}"))
                .unwrap()
                .disk,
            None
        );
    }

    #[test]
    fn an_empty_uuid_of_the_query_is_filled_and_nothing_else() {
        let fill = |url| fill_uuid(url, "u-1");
        assert_eq!(
            fill("http://h:1/c?token=t&uuid="),
            "http://h:1/c?token=t&uuid=u-1"
        );
        assert_eq!(fill("http://h:1/c?uuid=&a=b"), "http://h:1/c?uuid=u-1&a=b");
        for kept in ["http://h:1/c?uuid=x", "http://h:1/c", "http://h:1/c?myuuid="] {
            assert_eq!(fill(kept), kept);
        }
        assert_eq!(without_query("http://h:1/c?token=t"), "http://h:1/c");
    }

    #[test]
    fn the_last_address_of_the_command_line_counts() {
        assert_eq!(
            config_url("a talos.config=http://1 talos.config=http://2?x=y b\n"),
            Some("http://2?x=y")
        );
        assert_eq!(config_url("talos.config= console=ttyS0"), None);
    }
}
