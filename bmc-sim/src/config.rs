//! The fleet file: one versioned YAML that describes every simulated BMC.

mod qemu;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use hardware_types::{BootMode, Mac, ServerId};
use serde::Deserialize;

pub use self::qemu::{Bus, DiskConfig, Pxe, QemuConfig};
use crate::machine::{BootDevice, PowerPolicy, Settings, Timings};
use crate::users::{Role, UserError, Users};

/// The only version there is.
pub const VERSION: u32 = 1;

/// A fleet file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the fleet file {path}")]
    Read {
        /// Its path.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// It is no YAML, or has a field that is unknown, missing or of the wrong kind.
    #[error("the fleet file is not valid: {0}")]
    Syntax(Box<serde_saphyr::Error>),
    /// It is of another version.
    #[error("the fleet file has version {0}, this simulator reads version {VERSION}")]
    Version(u32),
    /// It describes no BMC.
    #[error("the fleet file describes no BMC: \"bmcs\" is empty")]
    NoBmc,
    /// Two BMCs have the same of something.
    #[error("BMCs {first:?} and {second:?} have the same {what}: {value}")]
    Duplicate {
        /// What.
        what: &'static str,
        /// Which.
        value: String,
        /// The one that had it first.
        first: String,
        /// The other.
        second: String,
    },
    /// A BMC has a value that will not do.
    #[error("BMC {bmc:?}: {what}")]
    Bmc {
        /// Its name.
        bmc: String,
        /// What is wrong.
        what: String,
    },
}

/// The file as a whole.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct FleetConfig {
    /// See [`VERSION`].
    pub version: u32,
    /// Fixes the chances of faults with a percentage.
    #[serde(default)]
    pub seed: u64,
    /// The users of each BMC that lists none of its own.
    #[serde(default)]
    pub users: Vec<UserConfig>,
    /// The BMCs.
    pub bmcs: Vec<BmcConfig>,
}

/// A user of a BMC.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct UserConfig {
    /// At most 16 bytes.
    pub name: String,
    /// At most 20 bytes.
    pub password: String,
    /// See [`Role`].
    pub role: Role,
}

/// All but the password.
impl std::fmt::Debug for UserConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UserConfig")
            .field("name", &self.name)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

/// One BMC and its machine.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct BmcConfig {
    /// Its name in the power log and the control API.
    pub name: String,
    /// Where it speaks IPMI (UDP); nowhere if absent.
    pub ipmi: Option<IpmiConfig>,
    /// Where it speaks Redfish (TCP); nowhere if absent.
    pub redfish: Option<RedfishConfig>,
    /// Its users; those of the fleet if empty.
    #[serde(default)]
    pub users: Vec<UserConfig>,
    /// How long the BMC is gone after it was told to restart.
    #[serde(
        default = "default_bmc_reset",
        with = "jiff::fmt::serde::unsigned_duration::required"
    )]
    pub bmc_reset: Duration,
    /// The machine behind it.
    pub machine: MachineConfig,
}

/// The IPMI front end.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct IpmiConfig {
    /// Address and UDP port.
    pub listen: SocketAddr,
    /// Sessions at a time; more are refused.
    #[serde(default = "default_ipmi_sessions")]
    pub max_sessions: usize,
}

/// The Redfish front end.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RedfishConfig {
    /// Address and TCP port.
    pub listen: SocketAddr,
    /// HTTPS with a self-signed certificate; `false`: plain HTTP.
    #[serde(default = "default_true")]
    pub tls: bool,
    /// Sessions at a time; more are refused, none is thrown out.
    #[serde(default = "default_redfish_sessions")]
    pub max_sessions: usize,
    /// How long a session lives without a request.
    #[serde(
        default = "default_session_timeout",
        with = "jiff::fmt::serde::unsigned_duration::required"
    )]
    pub session_timeout: Duration,
}

/// A machine.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct MachineConfig {
    /// SMBIOS system UUID; Redfish shows it, the IPMI GUID is made of it.
    pub uuid: ServerId,
    /// SMBIOS manufacturer.
    pub manufacturer: String,
    /// SMBIOS product name.
    pub model: String,
    /// SMBIOS serial number.
    pub serial: String,
    /// What it boots with.
    pub firmware: BootMode,
    /// Addresses of its network cards.
    #[serde(default)]
    pub macs: Vec<Mac>,
    /// What it boots from when no override says otherwise; `network` and `disk`.
    #[serde(default = "default_boot_order")]
    pub boot_order: Vec<BootDevice>,
    /// Whether mains power is there from the start.
    #[serde(default = "default_true")]
    pub plugged_in: bool,
    /// What it does when mains power comes.
    #[serde(default = "default_policy")]
    pub power_policy: PowerPolicy,
    /// How long things take.
    #[serde(default)]
    pub timings: TimingsConfig,
    /// The virtual machine it is; absent: it exists in memory only.
    pub qemu: Option<QemuConfig>,
}

/// How long things take, as durations such as `500ms`, `2s`, `1m`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct TimingsConfig {
    /// From an accepted *on* until the power is on.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::required")]
    pub on: Duration,
    /// From an accepted *off* until the power is off.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::required")]
    pub off: Duration,
    /// From off to on within a power cycle.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::required")]
    pub cycle_pause: Duration,
    /// From a request to shut down until the host is off.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::required")]
    pub soft_off: Duration,
    /// Self test until the boot device is chosen; see [`MachineConfig::post`].
    #[serde(with = "jiff::fmt::serde::unsigned_duration::optional")]
    pub post: Option<Duration>,
    /// Validity of IPMI boot flags.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::required")]
    pub flag_lapse: Duration,
}

impl Default for TimingsConfig {
    fn default() -> Self {
        Self {
            on: Duration::from_secs(1),
            off: Duration::from_secs(1),
            cycle_pause: Duration::from_secs(1),
            soft_off: Duration::from_secs(5),
            post: None,
            flag_lapse: Duration::from_mins(1),
        }
    }
}

fn default_bmc_reset() -> Duration {
    Duration::from_secs(30)
}

fn default_ipmi_sessions() -> usize {
    4
}

fn default_redfish_sessions() -> usize {
    8
}

fn default_session_timeout() -> Duration {
    Duration::from_mins(30)
}

fn default_true() -> bool {
    true
}

fn default_boot_order() -> Vec<BootDevice> {
    vec![BootDevice::Network, BootDevice::Disk]
}

fn default_policy() -> PowerPolicy {
    PowerPolicy::AlwaysOff
}

impl FleetConfig {
    /// Reads the file at `path`.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.display().to_string(),
            source,
        })?;
        text.parse()
    }

    fn check(&self) -> Result<(), ConfigError> {
        if self.version != VERSION {
            return Err(ConfigError::Version(self.version));
        }
        if self.bmcs.is_empty() {
            return Err(ConfigError::NoBmc);
        }
        let mut seen = HashMap::new();
        for bmc in &self.bmcs {
            bmc.check(&self.users)?;
            for (what, value) in bmc.unique_values() {
                if let Some(first) = seen.insert((what, value.clone()), &bmc.name) {
                    let (first, second) = (first.clone(), bmc.name.clone());
                    return Err(ConfigError::Duplicate {
                        what,
                        value,
                        first,
                        second,
                    });
                }
            }
        }
        Ok(())
    }
}

impl std::str::FromStr for FleetConfig {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // line and column, but not the lines around: there are passwords in them
        let options = serde_saphyr::options! { with_snippet: false };
        let config: Self = serde_saphyr::from_str_with_options(text, options)
            .map_err(|error| ConfigError::Syntax(Box::new(error)))?;
        config.check()?;
        Ok(config)
    }
}

impl BmcConfig {
    /// The user table: its own users, or those of the fleet.
    pub fn user_table(&self, fleet: &[UserConfig]) -> Result<Users, UserError> {
        let list = if self.users.is_empty() { fleet } else { &self.users };
        let mut users = Users::default();
        for (slot, user) in (Users::FIRST..=u8::MAX).zip(list) {
            users.insert(slot, &user.name, &user.password, user.role)?;
        }
        Ok(users)
    }

    fn unique_values(&self) -> Vec<(&'static str, String)> {
        let mut values = vec![
            ("name", self.name.clone()),
            ("uuid", self.machine.uuid.to_string()),
        ];
        // port 0 is "any free port", as often as one likes
        let listens = |listen: SocketAddr| (listen.port() != 0).then(|| listen.to_string());
        values.extend(
            self.ipmi
                .as_ref()
                .and_then(|ipmi| listens(ipmi.listen))
                .map(|v| ("ipmi address", v)),
        );
        values.extend(
            self.redfish
                .as_ref()
                .and_then(|r| listens(r.listen))
                .map(|v| ("redfish address", v)),
        );
        values.extend(
            self.machine
                .macs
                .iter()
                .map(|mac| ("MAC address", mac.to_string())),
        );
        values.extend(self.machine.qemu.iter().flat_map(QemuConfig::unique_values));
        values
    }

    fn check(&self, fleet_users: &[UserConfig]) -> Result<(), ConfigError> {
        let error = |what: String| {
            Err(ConfigError::Bmc {
                bmc: self.name.clone(),
                what,
            })
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if self.name.is_empty() || self.name.len() > 64 || !self.name.chars().all(plain) {
            return error("its name is not 1 to 64 letters, digits, '-', '_' or '.'".into());
        }
        if self.ipmi.is_none() && self.redfish.is_none() {
            return error("it has neither \"ipmi\" nor \"redfish\"".into());
        }
        if self.users.is_empty() && fleet_users.is_empty() {
            return error("it has no users, and neither has the fleet".into());
        }
        if let Err(what) = self.user_table(fleet_users) {
            return error(format!("users: {what}"));
        }
        if self.machine.boot_order.is_empty() {
            return error("machine.boot-order is empty".into());
        }
        if let Some(device) = self.machine.boot_order.iter().find(|d| **d == BootDevice::Setup) {
            return error(format!(
                "machine.boot-order: {} is no device to boot from",
                device.as_str()
            ));
        }
        match &self.machine.qemu {
            Some(qemu) => qemu.check(&self.machine).or_else(error),
            None => Ok(()),
        }
    }
}

impl MachineConfig {
    /// How long the simulated self test takes: as configured, else 5 s in memory and nothing with QEMU, whose own
    /// firmware takes its time.
    pub fn post(&self) -> Duration {
        let default = if self.qemu.is_some() {
            Duration::ZERO
        } else {
            Duration::from_secs(5)
        };
        self.timings.post.unwrap_or(default)
    }

    /// What the machine model needs of it.
    pub fn settings(&self) -> Settings {
        let TimingsConfig {
            on,
            off,
            cycle_pause,
            soft_off: _,
            post: _,
            flag_lapse,
        } = self.timings;
        Settings {
            timings: Timings {
                on,
                off,
                cycle_pause,
                post: self.post(),
                flag_lapse,
            },
            boot_order: self.boot_order.clone(),
            firmware: self.firmware,
            policy: self.power_policy,
            plugged_in: self.plugged_in,
        }
    }
}

#[cfg(test)]
mod tests;
