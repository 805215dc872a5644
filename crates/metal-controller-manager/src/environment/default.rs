//! The Environment `default`, for Servers that name none.

use clap::Parser;
use crd_types::metal::{Asset, Environment, EnvironmentSpec, Kernel};
use crd_types::names::ENVIRONMENT_DEFAULT;
use kube::Client;
use tokio_util::sync::CancellationToken;

use super::ENVIRONMENT_CONTROLLER;
use super::asset::{NotWeb, web_url};
use crate::keep::keep;

/// What `default` is made with.
#[derive(Debug, Clone, Parser)]
pub(crate) struct DefaultFlags {
    /// Kernel of the Environment `default`, when that is made.
    #[arg(long, value_name = "URL", value_parser = url, default_value = "https://github.com/siderolabs/talos/releases/download/v1.13.0/vmlinuz-amd64")]
    default_environment_kernel: String,
    /// Initramfs of the Environment `default`, when that is made.
    #[arg(long, value_name = "URL", value_parser = url, default_value = "https://github.com/siderolabs/talos/releases/download/v1.13.0/initramfs-amd64.xz")]
    default_environment_initrd: String,
}

/// Kernel arguments of Talos 1.13 on metal, sorted.
const ARGUMENTS: [&str; 14] = [
    "console=tty0",
    "console=ttyS0",
    "consoleblank=0",
    "earlyprintk=ttyS0",
    "init_on_alloc=1",
    "initrd=initramfs.xz",
    "module.sig_enforce=1",
    "nvme_core.io_timeout=4294967295",
    "printk.devkmsg=on",
    "proc_mem.force_override=never",
    "pti=on",
    "selinux=1",
    "slab_nomerge=",
    "talos.platform=metal",
];

impl DefaultFlags {
    fn environment(&self) -> Environment {
        let kernel = Kernel {
            url: Some(self.default_environment_kernel.clone()),
            sha512: None,
            args: ARGUMENTS.map(str::to_owned).to_vec(),
        };
        let initrd = Asset {
            url: Some(self.default_environment_initrd.clone()),
            sha512: None,
        };
        let spec = EnvironmentSpec {
            kernel: Some(kernel),
            initrd: Some(initrd),
        };
        Environment::new(ENVIRONMENT_DEFAULT, spec)
    }
}

/// Makes `default` whenever it is missing. One that is there stays as it is, whatever the flags say by now.
pub(crate) async fn keep_default(client: Client, flags: &DefaultFlags, over: CancellationToken) {
    keep(client, ENVIRONMENT_CONTROLLER, &flags.environment(), over).await;
}

fn url(text: &str) -> Result<String, NotWeb> {
    web_url(text).map(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_the_originals_unless_flags_say_otherwise() {
        let of = |flags: &[&str]| {
            let all = std::iter::once("m").chain(flags.iter().copied());
            DefaultFlags::try_parse_from(all).map(|flags| flags.environment().spec)
        };
        let spec = of(&[]).unwrap();
        let (kernel, initrd) = (spec.kernel.unwrap(), spec.initrd.unwrap());
        assert!(kernel.url.unwrap().ends_with("/v1.13.0/vmlinuz-amd64"));
        assert!(initrd.url.unwrap().ends_with("/v1.13.0/initramfs-amd64.xz"));
        assert!(kernel.args.is_sorted(), "{:?}", kernel.args);
        assert_eq!((kernel.sha512, initrd.sha512), (None, None));
        let spec = of(&["--default-environment-kernel=http://mirror/k"]).unwrap();
        assert_eq!(spec.kernel.unwrap().url.as_deref(), Some("http://mirror/k"));
        let refused = of(&["--default-environment-initrd=file:///srv/i"]).unwrap_err();
        assert!(refused.to_string().contains("\"file\""), "{refused}");
    }
}
