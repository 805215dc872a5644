//! iPXE scripts as text: the first one, and the answers to "what do I boot".
//!
//! iPXE knows no quoting: it expands `${…}` anywhere in a line, again in what an expansion brought, and takes the words
//! `&&`, `||` and `#` for its own. Text from outside is refused or changed, never escaped.

use std::fmt;

mod endpoint;
mod text;

pub use endpoint::{Endpoint, EndpointError};

use text::{query, sentence};

/// A script. Prints as what is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script(String);

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Script {
    fn of(lines: impl IntoIterator<Item = String>) -> Self {
        let mut text = String::from("#!ipxe\n");
        for line in lines {
            text.push_str(&line);
            text.push('\n');
        }
        Self(text)
    }
}

/// Why there is no script.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScriptError {
    /// A kernel argument that iPXE would change on the way.
    #[error(
        "kernel argument {argument:?} cannot be passed through iPXE: {reason} (of its settings only ${{uuid}} and ${{mac}} may stand in an argument)"
    )]
    Argument {
        /// The argument as given.
        argument: String,
        /// What iPXE would do.
        reason: &'static str,
    },
    /// An environment whose name is no path segment.
    #[error(
        "environment {0:?} cannot be booted: its name is not of lower-case letters, digits, dots and dashes"
    )]
    Environment(String),
}

/// `/boot.ipxe`: asks `/ipxe` who it is, first over the NIC by which this script came, then over every NIC with a link
/// and a lease, in ten rounds; then the machine starts again.
pub fn boot(endpoint: &Endpoint) -> Script {
    // an absolute URL: a lease from another DHCP server would move what a relative one is relative to
    let ask = |nic: &str| {
        format!(
            "chain --replace http://{endpoint}/ipxe?uuid=${{uuid}}&mac=${{{nic}/mac:hexhyp}}\
             &domain=${{domain:uristring}}&hostname=${{hostname:uristring}}&serial=${{serial:uristring}}\
             &arch=${{buildarch}}"
        )
    };
    // `dhcp` opens the interface and waits for its link; ROMs have no `iflinkwait`
    let (first, each) = (ask("netX"), ask("net${nic}"));
    Script(format!(
        "#!ipxe
{first} ||
set round:int32 1
:round
echo Nobody answered at {endpoint}: trying each network interface, round ${{round}} of 10
set nic:int32 0
:nic
isset ${{net${{nic}}/mac}} || goto rest
ifclose ||
dhcp net${{nic}} || goto next
{each} ||
:next
inc nic
goto nic
:rest
sleep 5
inc round
iseq ${{round}} 11 || goto round
echo Nobody answered at {endpoint}: starting again
sleep 5
reboot
"
    ))
}

/// Kernel and initramfs of an environment. Paths are relative to the host: they come from where this script came.
pub fn kernel<'a>(
    environment: &str,
    arguments: impl IntoIterator<Item = &'a str>,
) -> Result<Script, ScriptError> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'-';
    if environment.is_empty() || environment.starts_with('.') || !environment.bytes().all(plain) {
        return Err(ScriptError::Environment(environment.into()));
    }
    let mut kernel = format!("kernel /env/{environment}/vmlinuz");
    for argument in arguments {
        if let Some(reason) = text::objection(argument) {
            let argument = argument.into();
            return Err(ScriptError::Argument { argument, reason });
        }
        kernel.push(' ');
        kernel.push_str(argument);
    }
    let initrd = format!("initrd /env/{environment}/initramfs.xz");
    Ok(Script::of([kernel, initrd, "boot".into()]))
}

/// How a machine is sent on to its own disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DiskMethod {
    /// iPXE ends, the firmware goes on with its next boot entry.
    #[default]
    IpxeExit,
    /// No script but status 404.
    Http404,
    /// iPXE starts the first BIOS disk itself. UEFI has no such drive: there it is [`DiskMethod::IpxeExit`].
    IpxeSanboot,
}

/// The script that sends a machine on to its disk, or `None` where the answer is status 404.
pub fn disk(method: DiskMethod) -> Option<Script> {
    let lines: &[&str] = match method {
        DiskMethod::IpxeExit => &["exit"],
        DiskMethod::Http404 => return None,
        DiskMethod::IpxeSanboot => &[
            "iseq ${platform} efi && goto exit ||",
            "sanboot --no-describe --drive 0x80",
            ":exit",
            "exit",
        ],
    };
    Some(Script::of(lines.iter().map(|line| String::from(*line))))
}

/// Says why the machine waits, and asks again every `seconds` with the `query` with which it asked (the part behind `?`).
pub fn wait(why: &str, seconds: u32, asked: &str) -> Script {
    let mut lines = echo(why);
    lines.extend([
        ":wait".into(),
        format!("sleep {seconds}"),
        format!("chain --replace /ipxe?{} || goto wait", query(asked)),
    ]);
    Script::of(lines)
}

/// Says something to who stands before the machine, long enough to be read; then the firmware goes on with its next
/// boot entry.
pub fn explanation(text: &str) -> Script {
    let mut lines = echo(text);
    lines.extend(["sleep 10".into(), "exit".into()]);
    Script::of(lines)
}

fn echo(text: &str) -> Vec<String> {
    let lines = text.lines().take(text::MAX_LINES);
    // the prefix keeps a line that begins with a dash from being an option of echo
    lines
        .map(|line| format!("echo metal: {}", sentence(line)))
        .collect()
}

#[cfg(test)]
mod tests;
