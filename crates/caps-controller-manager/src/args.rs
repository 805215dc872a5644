//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use controller_runtime::flags::{address, duration};
use controller_runtime::lease;
use controller_runtime::telemetry::Format;

/// Runs the controllers of MetalClusters, MetalMachines and ServerBindings.
#[derive(Debug, Clone, Parser)]
#[command(name = "caps-controller-manager", version)]
pub struct Args {
    /// The kubeconfig file; without it that of the pod, of KUBECONFIG or of the home directory.
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Where probes and metrics are served: `:PORT` or `ADDRESS:PORT`.
    #[arg(long, value_name = "ADDR", default_value = ":9440", value_parser = address)]
    pub(crate) health_addr: SocketAddr,
    /// What is logged: a level, or a list such as `info,caps_controller_manager=debug`.
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
    /// How long followers wait for a leader that they hear nothing of; whole seconds.
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = duration)]
    leader_elect_lease_duration: Duration,
    /// How long a leader acts after it last renewed its lease.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    leader_elect_renew_deadline: Duration,
    /// Pause between renewals, and between a follower's looks.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration)]
    leader_elect_retry_period: Duration,
}

impl Args {
    pub(crate) fn lease(&self) -> lease::Timings {
        lease::Timings {
            lease_duration: self.leader_elect_lease_duration,
            renew_deadline: self.leader_elect_renew_deadline,
            retry_period: self.leader_elect_retry_period,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_page_names_every_flag() {
        let page = include_str!("../../../docs/caps-controller-manager.md");
        let command = Args::command();
        let flags: Vec<_> = command.get_arguments().filter_map(clap::Arg::get_long).collect();
        assert!(flags.len() > 5, "{flags:?}");
        for flag in flags {
            let documented = page.contains(&format!("`--{flag}"));
            assert!(
                documented || ["help", "version"].contains(&flag),
                "--{flag} is not in the page"
            );
        }
    }

    #[test]
    fn a_bad_value_is_named() {
        for flag in ["--health-addr=:x", "--leader-elect-retry-period=soon"] {
            let (_, value) = flag.split_once('=').unwrap();
            let error = Args::try_parse_from(["caps-controller-manager", flag]).unwrap_err();
            assert!(error.to_string().contains(value), "{error}");
        }
    }
}
