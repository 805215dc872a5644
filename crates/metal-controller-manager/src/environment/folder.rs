//! The folder of Environments' files: `NAME/vmlinuz` and `NAME/initramfs.xz`, and beside each what it is.
//!
//! All that we make has a record, written before the file; so a process that is killed leaves nothing that is taken for
//! something else. Files that others put there are replaced by a download and otherwise left alone.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::{NamedTempFile, TempPath};

use super::asset::{Part, Record, is_reserved};

#[cfg(test)]
mod tests;

/// Names of downloads under way begin so. Names that begin with a dot are not given out.
const PARTIAL: &str = ".part-";

/// The folder.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    root: PathBuf,
}

impl Folder {
    /// In the folder of all that machines load.
    pub(super) fn of(data_dir: &Path) -> Self {
        Self {
            root: data_dir.join("env"),
        }
    }

    fn file(&self, name: &str, part: Part) -> PathBuf {
        self.root.join(name).join(part.file())
    }

    fn record_file(&self, name: &str, part: Part) -> PathBuf {
        self.root.join(name).join(format!(".{}.json", part.file()))
    }

    /// What the file is; `None` if it is missing, or none that was downloaded, or not as it was.
    pub(super) fn record(&self, name: &str, part: Part) -> Option<Record> {
        let bytes = fs::read(self.record_file(name, part)).ok()?;
        let record: Record = serde_json::from_slice(&bytes).ok()?;
        let size = fs::metadata(self.file(name, part)).ok()?.len();
        (size == record.size).then_some(record)
    }

    /// Removes a file that was downloaded.
    pub(super) fn withdraw(&self, name: &str, part: Part) -> io::Result<()> {
        let record = self.record_file(name, part);
        if !record.exists() {
            return Ok(());
        }
        remove(&self.file(name, part))?;
        remove(&record)
    }

    /// An empty file for a download, gone again unless it is [installed](Self::install). Removes what downloads of
    /// processes that were killed left, once it is older than any download may be.
    pub(super) fn begin(&self, name: &str, longest: Duration) -> io::Result<NamedTempFile> {
        let folder = self.root.join(name);
        fs::create_dir_all(&folder)?;
        for partial in partials(&folder)? {
            // One that has just gone was installed.
            let written = partial.metadata().and_then(|metadata| metadata.modified());
            let age = written.ok().and_then(|written| written.elapsed().ok());
            if age.is_some_and(|age| age > longest) {
                remove(&partial.path())?;
            }
        }
        tempfile::Builder::new().prefix(PARTIAL).tempfile_in(&folder)
    }

    /// Puts a complete download in place. It has to be on the disk already.
    pub(super) fn install(
        &self,
        download: TempPath,
        name: &str,
        part: Part,
        record: &Record,
    ) -> io::Result<()> {
        let folder = self.root.join(name);
        let mut file = tempfile::Builder::new().prefix(PARTIAL).tempfile_in(&folder)?;
        file.write_all(&serde_json::to_vec(record)?)?;
        file.as_file().sync_all()?;
        file.persist(self.record_file(name, part))?;
        download.persist(self.file(name, part))?;
        File::open(folder)?.sync_all()
    }

    /// Removes what we made for the Environment: no other file, and the folder only if nothing else is in it.
    pub(super) fn forget(&self, name: &str) -> io::Result<()> {
        for part in Part::ALL {
            self.withdraw(name, part)?;
        }
        let folder = self.root.join(name);
        for partial in partials(&folder)? {
            remove(&partial.path())?;
        }
        match fs::remove_dir(&folder) {
            Err(error)
                if ![io::ErrorKind::DirectoryNotEmpty, io::ErrorKind::NotFound].contains(&error.kind()) =>
            {
                Err(error)
            }
            _ => Ok(()),
        }
    }

    /// Removes what we made for Environments that are gone: `is_there` says which are not.
    pub(super) fn sweep(&self, is_there: impl Fn(&str) -> bool) -> io::Result<()> {
        for entry in entries(&self.root)? {
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type()?.is_dir()
                && !is_reserved(&name)
                && !is_there(&name)
                && self.is_ours(&name)?
            {
                self.forget(&name)?;
            }
        }
        Ok(())
    }

    /// Whether we made anything in the folder of this name.
    fn is_ours(&self, name: &str) -> io::Result<bool> {
        let has_record = Part::ALL
            .iter()
            .any(|part| self.record_file(name, *part).exists());
        Ok(has_record || !partials(&self.root.join(name))?.is_empty())
    }
}

fn partials(folder: &Path) -> io::Result<Vec<fs::DirEntry>> {
    let is_partial = |entry: &fs::DirEntry| {
        entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(PARTIAL.as_bytes())
    };
    Ok(entries(folder)?.into_iter().filter(is_partial).collect())
}

/// None where there is no folder.
fn entries(folder: &Path) -> io::Result<Vec<fs::DirEntry>> {
    match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed?.collect(),
    }
}

/// One that is gone already is fine.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
