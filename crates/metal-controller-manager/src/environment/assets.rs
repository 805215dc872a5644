//! The files of all Environments on this replica: downloaded as their specs have them now, tried again with back-off.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use controller_runtime::backoff::{Backoff, Pauses};
use crd_types::metal::Environment;
use futures::channel::mpsc;
use kube::ResourceExt as _;
use kube::runtime::reflector::ObjectRef;
use tempfile::TempPath;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use super::asset::{Found, Part, Record, Wanted, is_reserved};
use super::download::{DownloadError, Downloader};
use super::folder::Folder;

#[cfg(test)]
mod tests;

/// The files, and the downloads under way.
pub(super) struct Assets {
    folder: Folder,
    downloader: Downloader,
    kernels: Backoff,
    initrds: Backoff,
    jobs: Mutex<HashMap<(String, Part), Job>>,
    /// Told of every Environment whose download ended.
    wake: mpsc::UnboundedSender<ObjectRef<Environment>>,
}

/// A file that is not there yet.
struct Job {
    wanted: Wanted,
    /// While one is under way.
    download: Option<AbortOnDropHandle<()>>,
    /// Why the last download failed.
    failure: Option<String>,
}

impl Assets {
    pub(super) fn new(
        folder: Folder,
        downloader: Downloader,
        pauses: Pauses,
        wake: mpsc::UnboundedSender<ObjectRef<Environment>>,
    ) -> Self {
        Self {
            folder,
            downloader,
            kernels: Backoff::new(pauses, &[]),
            initrds: Backoff::new(pauses, &[]),
            jobs: Mutex::default(),
            wake,
        }
    }

    /// Says what became of a file, and begins to download it where that is due. What is in its place and is not what is
    /// wanted is removed first: it must not be served meanwhile.
    pub(super) fn pursue(self: &Arc<Self>, environment: &Environment, part: Part) -> Found {
        let name = environment.name_any();
        let key = (name.clone(), part);
        let mut jobs = self.lock();
        let wanted = Wanted::of(environment, part);
        let record = (!is_reserved(&name))
            .then(|| self.folder.record(&name, part))
            .flatten();
        if let Some(record) = record {
            if wanted.as_ref().is_ok_and(|wanted| wanted.is(&record)) {
                jobs.remove(&key);
                self.backoff(part).succeeded(environment);
                return Found::Present;
            }
            if let Err(error) = self.folder.withdraw(&name, part) {
                return Found::Failed {
                    message: format!("cannot remove the former {}: {error}", part.file()),
                    retry: Some(self.backoff(part).failed(environment)),
                };
            }
        }
        let wanted = match wanted {
            Ok(wanted) => wanted,
            Err(invalid) => {
                jobs.remove(&key);
                let message = invalid.to_string();
                return Found::Failed { message, retry: None };
            }
        };
        let begun = || Job {
            wanted: wanted.clone(),
            download: None,
            failure: None,
        };
        let job = jobs.entry(key).or_insert_with(begun);
        if job.wanted != wanted {
            *job = begun();
        }
        if job.download.is_none() {
            let pause = self.backoff(part).remaining(environment);
            if let (Some(message), retry @ Some(_)) = (job.failure.clone(), pause) {
                return Found::Failed { message, retry };
            }
            job.download = Some(self.start(environment.clone(), part, wanted));
        }
        Found::Downloading {
            again_after: job.failure.clone(),
        }
    }

    fn start(
        self: &Arc<Self>,
        environment: Environment,
        part: Part,
        wanted: Wanted,
    ) -> AbortOnDropHandle<()> {
        let this = self.clone();
        AbortOnDropHandle::new(tokio::spawn(async move {
            let name = environment.name_any();
            info!(environment = name, url = wanted.shown(), "downloading");
            let result = this.downloader.download(&this.folder, &name, part, &wanted).await;
            this.ended(&environment, part, &wanted, result);
        }))
    }

    /// Puts a complete file in place, unless another one is wanted by now.
    fn ended(
        &self,
        environment: &Environment,
        part: Part,
        wanted: &Wanted,
        result: Result<(TempPath, Record), DownloadError>,
    ) {
        let name = environment.name_any();
        let mut jobs = self.lock();
        let job = jobs.get_mut(&(name.clone(), part));
        let Some(job) = job.filter(|job| job.wanted == *wanted) else {
            return;
        };
        let result = result.and_then(|(file, record)| {
            let installed = self.folder.install(file, &name, part, &record);
            installed.map(|()| record).map_err(|source| DownloadError::Store {
                url: wanted.shown(),
                source,
            })
        });
        job.failure = match result {
            Ok(Record { sha512, size, .. }) => {
                let file = part.file();
                info!(environment = name, file, size, sha512, "downloaded");
                None
            }
            Err(error) => {
                warn!(environment = name, %error, "a file is missing");
                self.backoff(part).failed(environment);
                Some(error.to_string())
            }
        };
        job.download = None;
        // Nobody listens any more only when the process ends.
        self.wake.unbounded_send(ObjectRef::from_obj(environment)).ok();
    }

    /// Removes what was made for Environments that are gone: `is_there` says which are not.
    pub(super) fn sweep(&self, is_there: impl Fn(&str) -> bool) {
        let mut jobs = self.lock();
        let gone: Vec<_> = jobs.keys().filter(|(name, _)| !is_there(name)).cloned().collect();
        let forgotten = gone.into_iter().try_for_each(|key| {
            jobs.remove(&key);
            self.folder.forget(&key.0)
        });
        if let Err(error) = forgotten.and_then(|()| self.folder.sweep(is_there)) {
            warn!(%error, "cannot remove files of an Environment that is gone");
        }
    }

    /// Ends all downloads.
    pub(super) fn stop(&self) {
        self.lock().clear();
    }

    fn backoff(&self, part: Part) -> &Backoff {
        match part {
            Part::Kernel => &self.kernels,
            Part::Initrd => &self.initrds,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(String, Part), Job>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
