//! The folder whose files are given out; nothing outside it can be reached.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2};
use rustix::io::Errno;

/// Longest name that is looked at, in bytes.
const MAX_NAME: usize = 255;

/// Why a folder cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("cannot open folder {folder} to serve its files: {source}")]
pub struct FilesError {
    folder: PathBuf,
    source: io::Error,
}

/// Why a file is not given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// There is none.
    NotFound,
    /// It is outside the folder, no regular file, or not readable.
    Forbidden,
}

/// Whether a part of a path is a file beside those to give out: a download under way, or what is remembered of one.
fn is_hidden(part: &[u8]) -> bool {
    part.starts_with(b".") && !matches!(part, b"." | b"..")
}

/// Read access to the files of one folder.
#[derive(Debug)]
pub struct Files {
    root: OwnedFd,
}

impl Files {
    /// The files in `folder` and the folders in it.
    pub fn of(folder: &Path) -> Result<Self, FilesError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = open(folder, flags, Mode::empty()).map_err(|errno| FilesError {
            folder: folder.to_owned(),
            source: errno.into(),
        })?;
        Ok(Self { root })
    }

    /// Opens a file for reading and tells its length. Leading slashes are of no account. The kernel refuses a path that
    /// leaves the folder on any way: `..`, or a link to the outside.
    pub(crate) fn open(&self, name: &[u8]) -> Result<(File, u64), Refusal> {
        let start = name.iter().position(|byte| *byte != b'/').unwrap_or(name.len());
        let name = &name[start..];
        let is_hidden = name.split(|byte| *byte == b'/').any(is_hidden);
        if name.is_empty() || name.len() > MAX_NAME || name.contains(&0) || is_hidden {
            return Err(Refusal::NotFound);
        }
        // non-blocking: a named pipe must not hold the server up
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let file = openat2(&self.root, name, flags, Mode::empty(), resolve).map_err(|errno| match errno {
            Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG => Refusal::NotFound,
            _ => Refusal::Forbidden,
        })?;
        let file = File::from(file);
        match file.metadata() {
            Ok(metadata) if metadata.is_file() => Ok((file, metadata.len())),
            _ => Err(Refusal::Forbidden),
        }
    }
}
