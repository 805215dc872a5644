//! Brings the kernel that the lab's machines boot: Debian's cloud kernel, unpacked and not installed.

use std::fs;
use std::path::Path;

use super::{in_path, is_root};
use crate::exec::{Failure, Progress, program};

/// Depends on the newest one that Debian has.
const META_PACKAGE: &str = "linux-image-cloud-amd64";
/// What the name of a fit one starts with: QEMU 7.2 lets kernels from 6.12 on die of a double fault now and then.
const SERIES: &str = "linux-image-6.1.";

/// Makes sure that `folder` has `vmlinuz` and `lib/modules/VERSION/` with `modules.dep`.
pub(super) fn ensure(folder: &Path) -> Result<(), Failure> {
    if folder.exists() {
        return Ok(());
    }
    for command in ["apt-get", "dpkg"] {
        if !in_path(command) {
            return Err(Failure(format!(
                "the lab's machines boot the kernel of Debian 12, and this machine has no {command} to fetch it"
            )));
        }
    }
    let package = package()?;
    let progress = Progress::new(format!("fetching the lab's kernel, {package}"));
    // Renamed when whole.
    let partial = folder.with_extension("partial");
    fs::remove_dir_all(&partial).ok();
    fs::create_dir_all(&partial)?;
    unpack(&package, &partial)?;
    fs::rename(&partial, folder)?;
    progress.done();
    Ok(())
}

/// The name of the package that has the kernel.
fn package() -> Result<String, Failure> {
    let depends = || program("apt-cache").args(["depends", META_PACKAGE]).output();
    let mut answer = depends();
    if answer.as_ref().is_ok_and(|text| kernel_of(text).is_none()) || answer.is_err() {
        // A fresh machine knows no packages.
        if is_root()? {
            program("apt-get").args(["update"]).output()?;
        }
        answer = depends();
    }
    let answer = answer?;
    match kernel_of(&answer) {
        Some(package) if package.starts_with(SERIES) => Ok(package.to_owned()),
        Some(other) => Err(Failure(format!(
            "the lab's machines need kernel 6.1 (Debian 12), and {META_PACKAGE} is {other} here"
        ))),
        None => Err(Failure(format!(
            "apt knows no {META_PACKAGE}: as root run apt-get update, with the sources of Debian 12"
        ))),
    }
}

/// What `apt-cache depends` says the meta package stands for.
fn kernel_of(depends: &str) -> Option<&str> {
    let mut packages = depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "));
    packages.find(|package| package.starts_with("linux-image-"))
}

/// Fetches the package into `folder`, and leaves of it there what a machine boots from.
fn unpack(package: &str, folder: &Path) -> Result<(), Failure> {
    program("apt-get")
        .args(["download", package])
        .dir(folder)
        .output()?;
    let file = fs::read_dir(folder)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .ok_or_else(|| Failure(format!("`apt-get download {package}` left no file")))?;
    program("dpkg").args(["-x"]).args([&file, folder]).output()?;
    let version = package.trim_start_matches("linux-image-");
    fs::rename(
        folder.join("boot").join(format!("vmlinuz-{version}")),
        folder.join("vmlinuz"),
    )
    .map_err(|error| {
        Failure(format!(
            "{package} has no kernel where one was looked for: {error}"
        ))
    })?;
    // Users other than root lack the folder in PATH.
    program("/usr/sbin/depmod")
        .args(["-b"])
        .args([folder])
        .args([version])
        .output()?;
    fs::remove_file(file)?;
    fs::remove_dir_all(folder.join("boot"))?;
    fs::remove_dir_all(folder.join("usr"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_what_the_meta_package_depends_on() {
        let answer =
            "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-56-cloud-amd64\n  Conflicts: other\n";
        assert_eq!(kernel_of(answer), Some("linux-image-6.1.0-56-cloud-amd64"));
        assert_eq!(kernel_of("linux-image-cloud-amd64\n"), None);
    }
}
