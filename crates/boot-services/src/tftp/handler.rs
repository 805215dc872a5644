//! Joins the TFTP library to the files: opens, bounds, counts.

use std::io;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_tftp::packet::Error;
use futures::io::{AsyncRead, Sink};
use tokio::fs::File;
use tokio::io::BufReader;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

use super::metrics::Metrics;
use crate::files::{Files, Refusal};
use crate::sightings::{Sighting, Sightings};

/// Bytes read from disk at once per transfer.
const READ_AHEAD: usize = 64 * 1024;

/// Answers the library's questions. Nothing in it waits: the library asks under a lock that all requests share.
#[derive(Clone)]
pub(super) struct Handler {
    files: Arc<Files>,
    transfers: Arc<Semaphore>,
    metrics: Metrics,
    sightings: Arc<dyn Sightings>,
}

impl Handler {
    pub(super) fn new(
        files: Files,
        metrics: Metrics,
        sightings: Arc<dyn Sightings>,
        transfers: usize,
    ) -> Self {
        Self {
            files: Arc::new(files),
            transfers: Arc::new(Semaphore::new(transfers)),
            metrics,
            sightings,
        }
    }

    pub(super) fn open(
        &self,
        client: SocketAddr,
        path: &Path,
    ) -> Result<(Reader, u64), (&'static str, Error)> {
        let transfer = Arc::clone(&self.transfers)
            .try_acquire_owned()
            .map_err(|_| ("busy", Error::Msg("too many transfers, try again".into())))?;
        let (file, size) = self
            .files
            .open(path.as_os_str().as_bytes())
            .map_err(|refusal| match refusal {
                Refusal::NotFound => ("not-found", Error::FileNotFound),
                Refusal::Forbidden => ("forbidden", Error::PermissionDenied),
            })?;
        let file = BufReader::with_capacity(READ_AHEAD, File::from_std(file)).compat();
        let reader = Reader {
            file,
            name: path.to_string_lossy().into_owned(),
            client,
            finished: false,
            metrics: self.metrics.clone(),
            sightings: Arc::clone(&self.sightings),
            _transfer: transfer,
        };
        Ok((reader, size))
    }
}

impl async_tftp::server::Handler for Handler {
    type Reader = Reader;
    type Writer = Sink;

    async fn read_req_open(
        &mut self,
        client: &SocketAddr,
        path: &Path,
    ) -> Result<(Reader, Option<u64>), Error> {
        match self.open(*client, path) {
            Ok((reader, size)) => Ok((reader, Some(size))),
            Err((outcome, error)) => {
                tracing::debug!(%client, ?path, outcome, "TFTP request refused");
                self.metrics.count(outcome);
                Err(error)
            }
        }
    }

    async fn write_req_open(&mut self, _: &SocketAddr, _: &Path, _: Option<u64>) -> Result<Sink, Error> {
        self.metrics.count("write");
        Err(Error::PermissionDenied)
    }
}

/// A file on its way to a client.
pub(super) struct Reader {
    file: Compat<BufReader<File>>,
    name: String,
    client: SocketAddr,
    finished: bool,
    metrics: Metrics,
    sightings: Arc<dyn Sightings>,
    _transfer: OwnedSemaphorePermit,
}

impl AsyncRead for Reader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let read = Pin::new(&mut self.file).poll_read(context, buffer);
        if matches!(read, Poll::Ready(Ok(0))) && !buffer.is_empty() && !self.finished {
            self.finished = true;
            tracing::debug!(client = %self.client, file = self.name, "TFTP read to its end");
            self.sightings.seen(&Sighting::Tftp {
                client: self.client.ip(),
                file: &self.name,
            });
        }
        read
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.metrics
            .count(if self.finished { "read" } else { "given-up" });
    }
}
