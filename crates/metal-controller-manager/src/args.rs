//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use boot_protocols::ipxe::{DiskMethod, Endpoint};
use clap::Parser;
use controller_runtime::flags::{address, duration};
use controller_runtime::lease;
use controller_runtime::telemetry::Format;

use crate::environment::DefaultFlags;

/// Runs the controllers of Environments, Servers and ServerClasses.
#[derive(Debug, Clone, Parser)]
#[command(name = "metal-controller-manager", version)]
pub struct Args {
    /// The kubeconfig file; without it that of the pod, of KUBECONFIG or of the home directory.
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Where probes and metrics are served: `:PORT` or `ADDRESS:PORT`.
    #[arg(long, value_name = "ADDR", default_value = ":9440", value_parser = address)]
    pub(crate) health_addr: SocketAddr,
    /// What is logged: a level, or a list such as `info,power_manager=debug`.
    #[arg(long, value_name = "FILTER", default_value = "info")]
    pub(crate) log: String,
    /// Form of a log line: `text` or `json`.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) logging_format: Format,
    /// Whether replicas elect the one that acts. Without election this process must be the only one.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub(crate) enable_leader_election: bool,
    /// Namespace of the lease.
    #[arg(long, value_name = "NAME", default_value = "sidero-system")]
    pub(crate) leader_election_namespace: String,
    #[command(flatten)]
    pub(crate) boot: BootFlags,
    #[command(flatten)]
    pub(crate) default_environment: DefaultFlags,
    #[command(flatten)]
    pub(crate) timings: TimingFlags,
}

/// What machines are served while they boot, and where.
#[derive(Debug, Clone, Parser)]
pub(crate) struct BootFlags {
    /// Address by which machines reach this manager: an IP address or a host name. Empty or `-`: that of the variable
    /// API_ENDPOINT.
    #[arg(long, value_name = "HOST", default_value = "-")]
    api_endpoint: String,
    /// Port by which machines reach it.
    #[arg(long, value_name = "PORT", default_value_t = 8081)]
    api_port: u16,
    /// Port that it listens on for them, HTTP and gRPC.
    #[arg(long, value_name = "PORT", default_value_t = 8081)]
    pub(crate) http_port: u16,
    /// Serves no TFTP: the loaders come from elsewhere.
    #[arg(long, value_name = "BOOL", default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub(crate) disable_tftp: bool,
    /// Folder of what machines load: `env/` and `tftp/`.
    #[arg(long, value_name = "FOLDER", default_value = "/var/lib/sidero")]
    pub(crate) data_dir: PathBuf,
    /// Leaves DHCP alone: the site's own DHCP server names the boot files.
    #[arg(long, value_name = "BOOL", default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub(crate) disable_dhcp_proxy: bool,
    /// How iPXE hands over to the disk: `ipxe-exit`, `http-404` or `ipxe-sanboot`; a Server's own choice goes before.
    #[arg(long, value_name = "METHOD", default_value = "ipxe-exit", value_parser = disk_method)]
    pub(crate) boot_from_disk_method: DiskMethod,
    /// Kernel arguments of the agent, apart by blanks; they replace those of the same name. `-`: none.
    #[arg(long, value_name = "ARGS", default_value = "-", allow_hyphen_values = true)]
    extra_agent_kernel_args: String,
    /// Most registered machines that nobody accepted; more are refused.
    #[arg(long, value_name = "NUMBER", default_value_t = 1000)]
    pub(crate) max_unaccepted_servers: usize,
    /// How often a waiting agent asks what to do; whole seconds.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub(crate) agent_poll_period: Duration,
    /// How long the agent of a machine waits to be accepted before the machine goes on to its disk.
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration)]
    pub(crate) agent_wait: Duration,
}

impl BootFlags {
    /// The address by which machines reach this manager, and the port.
    pub(crate) fn endpoint(&self) -> anyhow::Result<Endpoint> {
        let host = match self.api_endpoint.as_str() {
            "" | "-" => std::env::var("API_ENDPOINT").context(
                "say by which address machines reach this manager: give --api-endpoint, or set API_ENDPOINT",
            )?,
            host => host.to_owned(),
        };
        self.endpoint_of(&host)
    }

    fn endpoint_of(&self, host: &str) -> anyhow::Result<Endpoint> {
        Endpoint::new(host, self.api_port).with_context(|| format!("--api-endpoint: {host:?} cannot be used"))
    }

    /// Kernel arguments to add to the agent's, or to put in their place.
    pub(crate) fn extra_agent_kernel_args(&self) -> Vec<String> {
        let text = self.extra_agent_kernel_args.as_str();
        let words = text.split_whitespace().map(str::to_owned);
        words.filter(|_| text != "-").collect()
    }
}

fn disk_method(text: &str) -> anyhow::Result<DiskMethod> {
    match text {
        "ipxe-exit" => Ok(DiskMethod::IpxeExit),
        "http-404" => Ok(DiskMethod::Http404),
        "ipxe-sanboot" => Ok(DiskMethod::IpxeSanboot),
        _ => anyhow::bail!("want ipxe-exit, http-404 or ipxe-sanboot"),
    }
}

/// Every deadline and interval.
#[derive(Debug, Clone, Parser)]
pub(crate) struct TimingFlags {
    /// How long followers wait for a leader that they hear nothing of; whole seconds.
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = duration)]
    leader_elect_lease_duration: Duration,
    /// How long a leader acts after it last renewed its lease.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    leader_elect_renew_deadline: Duration,
    /// Pause between renewals, and between a follower's looks.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration)]
    leader_elect_retry_period: Duration,
    /// From a power-on to its confirmation; past it the command is unconfirmed.
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = duration)]
    power_on_deadline: Duration,
    /// From a power-off to its confirmation.
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = duration)]
    power_off_deadline: Duration,
    /// From a reset to a sign of it.
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = duration)]
    power_reset_deadline: Duration,
    /// How long a machine that is power-cycled stays off.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    power_cycle_rest: Duration,
    /// What a machine that is switched on to be wiped is given to ask what to boot, then to load the agent, and then
    /// between two heartbeats; past it the machine is switched off and tried once more.
    #[arg(long, value_name = "DURATION", default_value = "20m", value_parser = duration)]
    server_reboot_timeout: Duration,
    /// How long an agent that runs is given to fetch its orders before the machine is power-cycled for them.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    agent_grace: Duration,
    /// How long a machine that is given back may take to be confirmed off; past it its Machine goes, and the Server is
    /// barred until it is.
    #[arg(long, value_name = "DURATION", default_value = "30m", value_parser = duration)]
    release_deadline: Duration,
    /// How often the power state is read when nothing is under way. An IPMI session that is idle for a minute is gone.
    #[arg(long, value_name = "DURATION", default_value = "45s", value_parser = duration)]
    pub(crate) power_check_period: Duration,
    /// First pause after a BMC failed; doubles with each further failure.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration)]
    pub(crate) bmc_first_retry: Duration,
    /// Longest pause after a BMC failed.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    pub(crate) bmc_longest_retry: Duration,
}

impl TimingFlags {
    pub(crate) fn lease(&self) -> lease::Timings {
        lease::Timings {
            lease_duration: self.leader_elect_lease_duration,
            renew_deadline: self.leader_elect_renew_deadline,
            retry_period: self.leader_elect_retry_period,
        }
    }

    pub(crate) fn lifecycle(&self) -> lifecycle::Timings {
        lifecycle::Timings {
            on: self.power_on_deadline,
            off: self.power_off_deadline,
            reset: self.power_reset_deadline,
            rest: self.power_cycle_rest,
            boot: self.server_reboot_timeout,
            agent_grace: self.agent_grace,
            release: self.release_deadline,
            ..lifecycle::Timings::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(flags: &[&str]) -> Result<Args, String> {
        let all = std::iter::once("metal-controller-manager").chain(flags.iter().copied());
        Args::try_parse_from(all).map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_are_those_of_the_parts() {
        let args = parse(&[]).unwrap();
        assert_eq!(args.timings.lifecycle(), lifecycle::Timings::default());
        let (ours, theirs) = (args.timings.lease(), lease::Timings::default());
        assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
        assert!(args.enable_leader_election);
        assert_eq!(args.health_addr.to_string(), "0.0.0.0:9440");
    }

    #[test]
    fn flags_are_taken_as_the_original_and_go_programs_write_them() {
        for (flags, elects) in [
            (&["--enable-leader-election"][..], true),
            (&["--enable-leader-election=false"], false),
        ] {
            assert_eq!(parse(flags).unwrap().enable_leader_election, elects);
        }
        let args = parse(&["--health-addr=127.0.0.1:1", "--power-on-deadline=1m30s"]).unwrap();
        assert_eq!(args.health_addr.port(), 1);
        assert_eq!(args.timings.lifecycle().on, Duration::from_secs(90));
    }

    #[test]
    fn a_bad_value_is_named() {
        for flag in [
            "--power-on-deadline=soon",
            "--power-on-deadline=0s",
            "--power-on-deadline=-3s",
            "--health-addr=:x",
            "--boot-from-disk-method=explode",
            "--http-port=70000",
        ] {
            let (_, value) = flag.split_once('=').unwrap();
            let error = parse(&[flag]).unwrap_err();
            assert!(error.contains(value), "{error}");
        }
    }

    #[test]
    fn machines_are_told_the_endpoint_of_the_flags_and_a_dash_is_none() {
        let boot = parse(&["--api-endpoint=fd77::3", "--api-port=80"]).unwrap().boot;
        assert_eq!(boot.endpoint().unwrap().to_string(), "[fd77::3]:80");
        assert_eq!(boot.extra_agent_kernel_args(), [""; 0]);
        let boot = parse(&[
            "--api-endpoint=a b",
            "--extra-agent-kernel-args=console=ttyS1  -x",
        ])
        .unwrap()
        .boot;
        assert!(boot.endpoint().unwrap_err().to_string().contains("\"a b\""));
        assert_eq!(boot.extra_agent_kernel_args(), ["console=ttyS1", "-x"]);
    }

    #[test]
    fn the_page_names_every_flag() {
        let page = include_str!("../../../docs/metal-controller-manager.md");
        let command = Args::command();
        let flags: Vec<_> = command.get_arguments().filter_map(clap::Arg::get_long).collect();
        assert!(flags.len() > 10, "{flags:?}");
        for flag in flags {
            let documented = page.contains(&format!("`--{flag}"));
            assert!(
                documented || ["help", "version"].contains(&flag),
                "--{flag} is not in the page"
            );
        }
    }
}
