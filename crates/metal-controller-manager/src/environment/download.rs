//! One download: bounded in time and size, checked, on the disk before it counts.

use std::io;
use std::time::Duration;

use controller_runtime::telemetry::causes;
use reqwest::StatusCode;
use sha2::{Digest as _, Sha512};
use tempfile::TempPath;
use tokio::fs::File;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::asset::{Part, Record, Wanted};
use super::folder::Folder;

#[cfg(test)]
mod tests;

/// Downloads at one time; more wait.
const PARALLEL: usize = 4;

/// Bounds of one download.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// From the request to the last byte.
    pub(super) whole: Duration,
    /// For a connection.
    pub(super) connect: Duration,
    /// Without a byte.
    pub(super) silence: Duration,
    /// In bytes.
    pub(super) size: u64,
}

impl Default for Limits {
    /// 30 min, 30 s, 1 min, 2 GiB. A Talos initramfs has about 100 MB.
    fn default() -> Self {
        Self {
            whole: Duration::from_mins(30),
            connect: Duration::from_secs(30),
            silence: Duration::from_mins(1),
            size: 2 << 30,
        }
    }
}

/// Why a file was not downloaded. URLs are shown without passwords and queries.
#[derive(Debug, thiserror::Error)]
pub(super) enum DownloadError {
    #[error("cannot download {url}: {why}")]
    Broken { url: String, why: String },
    #[error("cannot download {url}: the server answers {status}: correct {field}.url")]
    Refused {
        url: String,
        status: StatusCode,
        field: &'static str,
    },
    #[error("cannot download {url}: it is not complete after {longest:?}")]
    Slow { url: String, longest: Duration },
    #[error("{url} is refused: it has more than {limit} bytes")]
    TooLarge { url: String, limit: u64 },
    #[error("{url} is refused: it is empty")]
    Empty { url: String },
    #[error("{url} is refused: its SHA-512 is {actual}, not {wanted}: correct the file or {field}.sha512")]
    Checksum {
        url: String,
        actual: String,
        wanted: String,
        field: &'static str,
    },
    #[error("cannot store {url}: {source}")]
    Store { url: String, source: io::Error },
}

/// Downloads files into a folder.
pub(super) struct Downloader {
    http: reqwest::Client,
    limits: Limits,
    slots: Semaphore,
}

impl Downloader {
    /// Proxies are those of the usual environment variables, roots of trust those of the system.
    pub(super) fn new(limits: Limits) -> reqwest::Result<Self> {
        let http = reqwest::Client::builder()
            .connect_timeout(limits.connect)
            .read_timeout(limits.silence);
        Ok(Self {
            http: http.build()?,
            limits,
            slots: Semaphore::new(PARALLEL),
        })
    }

    /// Downloads what is wanted as a part of the Environment `name`; the file is gone again unless it is installed.
    pub(super) async fn download(
        &self,
        folder: &Folder,
        name: &str,
        part: Part,
        wanted: &Wanted,
    ) -> Result<(TempPath, Record), DownloadError> {
        let url = wanted.shown();
        // Never closed.
        let _slot = self.slots.acquire().await;
        let fetched = timeout(self.limits.whole, self.fetch(folder, name, part, wanted, &url)).await;
        let longest = self.limits.whole;
        let (file, record) = fetched.map_err(|_| DownloadError::Slow {
            url: url.clone(),
            longest,
        })??;
        match &wanted.sha512 {
            Some(sha512) if *sha512 != record.sha512 => Err(DownloadError::Checksum {
                url,
                actual: record.sha512,
                wanted: sha512.clone(),
                field: part.field(),
            }),
            _ => Ok((file, record)),
        }
    }

    async fn fetch(
        &self,
        folder: &Folder,
        name: &str,
        part: Part,
        wanted: &Wanted,
        shown: &str,
    ) -> Result<(TempPath, Record), DownloadError> {
        let url = || shown.to_owned();
        let broken = |error: reqwest::Error| DownloadError::Broken {
            url: url(),
            why: causes(&error.without_url()),
        };
        let store = |source| DownloadError::Store { url: url(), source };
        let limit = self.limits.size;
        let too_large = || DownloadError::TooLarge { url: url(), limit };

        let request = self.http.get(wanted.url.clone());
        let mut answer = request.send().await.map_err(broken)?;
        let status = answer.status();
        if !status.is_success() {
            let field = part.field();
            return Err(DownloadError::Refused {
                url: url(),
                status,
                field,
            });
        }
        if answer.content_length().is_some_and(|length| length > limit) {
            return Err(too_large());
        }
        let (file, path) = folder.begin(name, self.limits.whole).map_err(store)?.into_parts();
        let (mut file, mut digest, mut size) = (File::from_std(file), Sha512::new(), 0);
        while let Some(chunk) = answer.chunk().await.map_err(broken)? {
            size += chunk.len() as u64;
            if size > limit {
                return Err(too_large());
            }
            digest.update(&chunk);
            file.write_all(&chunk).await.map_err(store)?;
        }
        if size == 0 {
            return Err(DownloadError::Empty { url: url() });
        }
        file.flush().await.map_err(store)?;
        file.sync_all().await.map_err(store)?;
        let sha512 = hexadecimal(&digest.finalize());
        let url = wanted.url.to_string();
        Ok((path, Record { url, sha512, size }))
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Cannot fail: it is a String.
        write!(text, "{byte:02x}").ok();
        text
    })
}
