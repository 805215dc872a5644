//! The two files of an Environment: which are wanted, whether what is there is that, what is said of it. Pure.

use std::time::Duration;

use crd_types::metal::{AssetCondition, Environment, EnvironmentStatus};
use crd_types::names::conditions;
use kube::ResourceExt as _;
use reqwest::Url;
use serde::{Deserialize, Serialize};

#[cfg(test)]
mod tests;

/// Folders of the agent's own files, which are no Environment's.
const RESERVED: [&str; 2] = ["agent-amd64", "agent-arm64"];
/// Hexadecimal digits of a SHA-512.
const DIGITS: usize = 128;

/// One of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Part {
    Kernel,
    Initrd,
}

impl Part {
    pub(super) const ALL: [Self; 2] = [Self::Kernel, Self::Initrd];

    /// Its name in the Environment's folder, which boot scripts have.
    pub(super) fn file(self) -> &'static str {
        match self {
            Self::Kernel => "vmlinuz",
            Self::Initrd => "initramfs.xz",
        }
    }

    /// Where the Environment describes it.
    pub(super) fn field(self) -> &'static str {
        match self {
            Self::Kernel => "spec.kernel",
            Self::Initrd => "spec.initrd",
        }
    }

    /// URL and checksum as they stand in the Environment.
    fn texts(self, environment: &Environment) -> (Option<&String>, Option<&String>) {
        let (kernel, initrd) = (&environment.spec.kernel, &environment.spec.initrd);
        match self {
            Self::Kernel => kernel.as_ref().map_or((None, None), |kernel| {
                (kernel.url.as_ref(), kernel.sha512.as_ref())
            }),
            Self::Initrd => initrd.as_ref().map_or((None, None), |initrd| {
                (initrd.url.as_ref(), initrd.sha512.as_ref())
            }),
        }
    }
}

/// Why a file cannot be downloaded at all. Names no whole URL: it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidAsset {
    #[error("the name {0:?} is the agent's own: give this Environment another name")]
    Reserved(String),
    #[error("missing URL: set {0}.url")]
    NoUrl(&'static str),
    #[error("{field}.url is no URL: {why}")]
    NotUrl { field: &'static str, why: String },
    #[error("{field}.url: scheme {scheme:?} is not supported: use http or https")]
    Scheme { field: &'static str, scheme: String },
    #[error("{field}.sha512 {text:?} is no SHA-512: give its 128 hexadecimal digits")]
    Checksum { field: &'static str, text: String },
}

/// A file that an Environment asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) url: Url,
    /// In lower case.
    pub(super) sha512: Option<String>,
}

impl Wanted {
    pub(super) fn of(environment: &Environment, part: Part) -> Result<Self, InvalidAsset> {
        let name = environment.name_any();
        if is_reserved(&name) {
            return Err(InvalidAsset::Reserved(name));
        }
        let field = part.field();
        let (url, sha512) = part.texts(environment);
        let url = url
            .filter(|url| !url.is_empty())
            .ok_or(InvalidAsset::NoUrl(field))?;
        let url = web_url(url).map_err(|refusal| match refusal {
            NotWeb::NoUrl(why) => InvalidAsset::NotUrl { field, why },
            NotWeb::Scheme(scheme) => InvalidAsset::Scheme { field, scheme },
        })?;
        let sha512 = sha512
            .filter(|text| !text.is_empty())
            .map(|text| checksum(field, text));
        Ok(Self {
            url,
            sha512: sha512.transpose()?,
        })
    }

    /// Whether the file is the one that is wanted.
    pub(super) fn is(&self, record: &Record) -> bool {
        self.url.as_str() == record.url && self.sha512.as_ref().is_none_or(|sha512| *sha512 == record.sha512)
    }

    /// The URL as people may read it: without a password and without a query, which may be a signature.
    pub(super) fn shown(&self) -> String {
        let mut url = self.url.clone();
        // Cannot fail: an http URL has a host.
        url.set_username("").ok();
        url.set_password(None).ok();
        url.set_query(None);
        url.set_fragment(None);
        url.to_string()
    }
}

/// Whether the folder of this name is none of ours.
pub(super) fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name)
}

/// Why a text is not what a file can be downloaded from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotWeb {
    #[error("it is no URL: {0}")]
    NoUrl(String),
    #[error("scheme {0:?} is not supported: use http or https")]
    Scheme(String),
}

/// Reads an http or https URL.
pub(crate) fn web_url(text: &str) -> Result<Url, NotWeb> {
    let url = Url::parse(text).map_err(|error| NotWeb::NoUrl(error.to_string()))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        other => Err(NotWeb::Scheme(other.to_owned())),
    }
}

fn checksum(field: &'static str, text: &str) -> Result<String, InvalidAsset> {
    if text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(text.to_ascii_lowercase());
    }
    let text = text.chars().take(DIGITS + 1).collect();
    Err(InvalidAsset::Checksum { field, text })
}

/// What a file in the folder is; remembered beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) url: String,
    /// As it was computed, in lower case.
    pub(super) sha512: String,
    /// In bytes.
    pub(super) size: u64,
}

/// Whether the Environment can be booted: its status says so of both files as its spec has them now, and this replica
/// has just these. Sidero Metal looked at URLs in the status alone, and took an Environment without any for ready.
pub(super) fn is_ready(environment: &Environment, records: [Option<&Record>; 2]) -> bool {
    let status = environment.status.as_ref();
    let conditions = status.map_or(&[][..], |status| &status.conditions);
    let says_so = |part: Part| {
        let (url, sha512) = part.texts(environment);
        conditions.iter().any(|condition| {
            condition.type_ == conditions::READY
                && condition.status == "True"
                && condition.url.as_ref() == url
                && text(condition.sha512.as_ref()).eq_ignore_ascii_case(text(sha512))
        })
    };
    Part::ALL.iter().zip(records).all(|(part, record)| {
        let wanted = Wanted::of(environment, *part);
        says_so(*part) && wanted.is_ok_and(|wanted| record.is_some_and(|record| wanted.is(record)))
    })
}

fn text(text: Option<&String>) -> &str {
    text.map_or("", String::as_str)
}

/// What became of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// It is there.
    Present,
    /// It is being downloaded; why that failed the last time, if it did.
    Downloading { again_after: Option<String> },
    /// It is not there. Without a next try, the Environment has to be changed.
    Failed {
        message: String,
        retry: Option<Duration>,
    },
}

/// What the status says: one condition for each file. The first one is a column of `kubectl get`, so a file that is not
/// there goes before one that is.
pub(super) fn status(environment: &Environment, found: &[Found; 2]) -> EnvironmentStatus {
    let conditions = Part::ALL.iter().zip(found);
    let mut conditions: Vec<_> = conditions
        .map(|(part, found)| condition(environment, *part, found))
        .collect();
    conditions.sort_by(|a, b| a.status.cmp(&b.status));
    EnvironmentStatus { conditions }
}

fn condition(environment: &Environment, part: Part, found: &Found) -> AssetCondition {
    let (url, sha512) = part.texts(environment);
    let message = match found {
        Found::Present => None,
        Found::Downloading { again_after: None } => Some(format!("{} is being downloaded", part.file())),
        // What is done about a failure changes with every try, the failure does not.
        Found::Downloading {
            again_after: Some(message),
        }
        | Found::Failed { message, .. } => Some(message.clone()),
    };
    AssetCondition {
        url: url.cloned(),
        sha512: sha512.cloned(),
        status: if message.is_none() { "True" } else { "False" }.into(),
        type_: conditions::READY.into(),
        message,
    }
}
