//! The agent as something to boot: its files and its kernel arguments.

use std::path::Path;

use agent_protocol::Token;
use boot_protocols::ipxe::Endpoint;
use hardware_types::Mac;

/// Kernel arguments of the agent: Talos' own, consoles, restart after a panic.
const ARGUMENTS: &str = "init_on_alloc=1 slab_nomerge= pti=on consoleblank=0 nvme_core.io_timeout=4294967295 \
    printk.devkmsg=on selinux=1 module.sig_enforce=1 proc_mem.force_override=never console=tty0 console=ttyS0 \
    initrd=initramfs.xz panic=30";

/// The agent's environment for machines of `arch`.
pub(super) fn environment(arch: &str) -> String {
    format!("agent-{arch}")
}

/// The first file of `environment` that the data directory lacks.
pub(super) async fn missing(data_dir: &Path, environment: &str) -> Option<String> {
    for name in ["vmlinuz", "initramfs.xz"] {
        let file = format!("env/{environment}/{name}");
        let found = tokio::fs::metadata(data_dir.join(&file)).await;
        if !found.is_ok_and(|found| found.is_file()) {
            return Some(file);
        }
    }
    None
}

/// All kernel arguments; an extra one replaces all with its key.
pub(super) fn arguments(
    endpoint: &Endpoint,
    mac: Mac,
    token: Option<&Token>,
    extra: &[String],
) -> Vec<String> {
    let own = ARGUMENTS
        .split_ascii_whitespace()
        .map(String::from)
        .chain([format!("sidero.mac={mac}"), format!("sidero.endpoint={endpoint}")])
        .chain(token.map(|token| format!("sidero.token={}", token.secret())));
    let is_replaced = |own: &String| extra.iter().any(|extra| key(extra) == key(own));
    let mut arguments: Vec<_> = own.filter(|own| !is_replaced(own)).collect();
    arguments.extend_from_slice(extra);
    arguments
}

fn key(argument: &str) -> &str {
    argument.split_once('=').map_or(argument, |(key, _)| key)
}
