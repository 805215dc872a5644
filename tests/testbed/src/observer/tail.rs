//! Follows a power log file, whole lines only.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::fleet::Line;

/// A power log that is being read.
#[derive(Debug)]
pub(super) struct Tail {
    path: PathBuf,
    read: u64,
    /// The begin of a line whose end is not written yet.
    rest: Vec<u8>,
}

impl Tail {
    /// From the file's begin, whether it is there yet or not.
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            read: 0,
            rest: Vec::new(),
        }
    }

    /// The lines that were added since.
    pub(super) fn lines(&mut self) -> anyhow::Result<Vec<Line>> {
        self.fill()
            .with_context(|| format!("cannot read {}", self.path.display()))?;
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else {
            return Ok(Vec::new());
        };
        let rest = self.rest.split_off(end + 1);
        let whole = std::mem::replace(&mut self.rest, rest);
        let lines = whole.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines
            .map(|line| {
                serde_json::from_slice(line).with_context(|| {
                    format!(
                        "{} has a line that is none of a power log: {}",
                        self.path.display(),
                        String::from_utf8_lossy(line)
                    )
                })
            })
            .collect()
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut file = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            file => file?,
        };
        file.seek(SeekFrom::Start(self.read))?;
        self.read += file.read_to_end(&mut self.rest)? as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const LINE: &str = r#"{"t":"2026-11-24T10:00:00.250Z","bmc":"a","actor":"machine","source":"machine","verb":"boot","event":"effect","before":"post","after":"disk","cause":"boot order"}"#;

    #[test]
    fn lines_are_told_once_and_when_they_are_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut tail = Tail::new(&path);
        assert_eq!(tail.lines().unwrap().len(), 0, "there is no file yet");
        let mut file = File::create(&path).unwrap();
        write!(file, "{LINE}\n{LINE}\n{}", &LINE[..9]).unwrap();
        assert_eq!(tail.lines().unwrap().len(), 2);
        assert_eq!(tail.lines().unwrap().len(), 0);
        writeln!(file, "{}", &LINE[9..]).unwrap();
        assert_eq!(tail.lines().unwrap()[0].bmc, "a");
        writeln!(file, "no JSON").unwrap();
        let error = tail.lines().unwrap_err().to_string();
        assert!(error.contains("no JSON"), "{error}");
    }
}
