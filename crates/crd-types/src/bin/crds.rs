//! Writes every CRD manifest into the folder that is its argument.

use std::path::PathBuf;
use std::{env, fs};

use anyhow::{Context as _, ensure};
use crd_types::crds;

fn main() -> anyhow::Result<()> {
    let mut arguments = env::args_os().skip(1);
    let folder = PathBuf::from(arguments.next().context("usage: crds FOLDER")?);
    ensure!(arguments.next().is_none(), "usage: crds FOLDER");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for crd in crds::all() {
        let path = folder.join(crds::file_name(&crd));
        let text = crds::yaml(&crd).with_context(|| format!("cannot render {}", path.display()))?;
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
