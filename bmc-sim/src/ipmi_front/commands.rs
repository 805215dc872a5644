//! Commands: what each does to the BMC, and its answer.

use hardware_types::{BootMode, PowerState};
use ipmi::Privilege;
use ipmi::codec::DecodeError;
use ipmi::command::{
    self as ipmi_command, BootFlags, BootOption, BootOptionResponse, BootParameter, ChassisControl,
    ChassisIdentify, ChassisStatus, Command, CompletionCode, DeviceId, GetBootOption, GetChassisStatus,
    GetDeviceId, GetLanConfig, GetRestartCause, GetUserAccess, GetUserName, LanConfig, LanParameter,
    LastPowerEvent, NetFn, RestorePolicy, SetBootOption, SetInProgress, SetUserAccess, SetUserName,
    SetUserPassword, Wire,
};
use ipmi::session::bmc::Request;

use super::IpmiFront;
use crate::fault::Protocol;
use crate::machine::{BootDevice, FlagClearing, Origin, Override, PowerPolicy, RestartCause};
use crate::verb::{PowerVerb, Verb};

/// The one LAN channel.
pub(super) const CHANNEL: u8 = 1;

/// Response data, or the completion code of a refusal.
pub(super) type Answer = Result<Vec<u8>, CompletionCode>;

/// Done, and nothing to say.
pub(super) const DONE: Answer = Ok(Vec::new());

/// Boot option parameters that only the front end has: they change no machine.
#[derive(Debug, Default)]
pub(super) struct BootOptions {
    in_progress: bool,
    acknowledge: (u8, u8),
}

// Commands that the `ipmi` crate has no types for, since no console of ours sends them.
const COLD_RESET: (NetFn, u8) = (NetFn::APP, 0x02);
const WARM_RESET: (NetFn, u8) = (NetFn::APP, 0x03);
const GET_CHANNEL_ACCESS: (NetFn, u8) = (NetFn::APP, 0x41);
const GET_CHANNEL_INFO: (NetFn, u8) = (NetFn::APP, 0x42);
const SET_POWER_POLICY: (NetFn, u8) = (NetFn::CHASSIS, 0x06);

/// Who acts, for the power log.
pub(super) fn origin(request: &Request) -> Origin {
    Origin::new(
        request.session.user.to_string(),
        format!("ipmi://{}", request.session.peer),
    )
}

/// What a request asks for, in the words of counters and faults.
pub(super) fn verb_of(request: &Request) -> Verb {
    if let Some(control) = request.parse::<ChassisControl>() {
        return control.ok().and_then(power_verb).map_or(Verb::Other, Verb::from);
    }
    if let Some(set) = request.parse::<SetUserPassword>() {
        return match set.map(|set| set.operation) {
            Ok(ipmi_command::PasswordOperation::Set(_)) => Verb::SetPassword,
            Ok(ipmi_command::PasswordOperation::Test(_)) => Verb::Other,
            _ => Verb::SetUser,
        };
    }
    if let Some(Ok(set)) = request.parse::<SetBootOption>() {
        // the steps around it are no change of what is booted
        return if matches!(set.option, BootOption::Flags(_)) {
            Verb::SetBoot
        } else {
            Verb::Other
        };
    }
    if let Some(Ok(get)) = request.parse::<GetBootOption>() {
        return if get.parameter == BootParameter::FLAGS {
            Verb::GetBoot
        } else {
            Verb::Other
        };
    }
    match (request.message.net_fn, request.message.command) {
        (GetChassisStatus::NET_FN, GetChassisStatus::NUMBER) => Verb::GetPower,
        (SetUserName::NET_FN, SetUserName::NUMBER | SetUserAccess::NUMBER) => Verb::SetUser,
        COLD_RESET | WARM_RESET => Verb::BmcReset,
        SET_POWER_POLICY => Verb::SetPolicy,
        _ => Verb::Other,
    }
}

const fn power_verb(control: ChassisControl) -> Option<PowerVerb> {
    match control {
        ChassisControl::PowerDown => Some(PowerVerb::Off),
        ChassisControl::PowerUp => Some(PowerVerb::On),
        ChassisControl::PowerCycle => Some(PowerVerb::Cycle),
        ChassisControl::HardReset => Some(PowerVerb::Reset),
        ChassisControl::SoftShutdown => Some(PowerVerb::SoftOff),
        ChassisControl::DiagnosticInterrupt => None,
    }
}

fn well_formed<C>(parsed: Result<C, DecodeError>) -> Result<C, CompletionCode> {
    parsed.map_err(|error| match error {
        DecodeError::Short { .. } => CompletionCode::DATA_LENGTH,
        _ => CompletionCode::INVALID_FIELD,
    })
}

impl IpmiFront {
    /// Carries out a command that the session machine has let through.
    pub(super) fn execute(&mut self, request: &Request) -> Answer {
        /// Runs the handler whose command this is.
        macro_rules! dispatch {
            ($($command:ty => $handler:expr,)*) => {
                $(if let Some(parsed) = request.parse::<$command>() {
                    return well_formed(parsed).and_then($handler);
                })*
            };
        }
        dispatch! {
            GetDeviceId => |_| Ok(device_id().encode()),
            GetChassisStatus => |_| Ok(self.chassis_status().encode()),
            ChassisControl => |control| self.chassis_control(request, control),
            ChassisIdentify => |_| DONE,
            GetRestartCause => |_| Ok(self.restart_cause().encode()),
            SetBootOption => |set| self.set_boot_option(request, &set),
            GetBootOption => |get| self.get_boot_option(get),
            GetUserAccess => |get| self.get_user_access(get),
            GetUserName => |get| self.get_user_name(get),
            SetUserName => |set| self.set_user_name(request, set),
            SetUserAccess => |set| self.set_user_access(request, set),
            SetUserPassword => |set| self.set_user_password(request, &set),
            GetLanConfig => |get| self.lan_config(get),
        }
        let command = (request.message.net_fn, request.message.command);
        // the session machine asks User for commands that it does not know (levels: IPMI 2.0 appendix G)
        let needed = match command {
            COLD_RESET | WARM_RESET => Privilege::Administrator,
            SET_POWER_POLICY => Privilege::Operator,
            _ => Privilege::User,
        };
        if request.session.privilege < needed {
            self.bmc
                .refused(verb_of(request), &origin(request), "insufficient privilege");
            return Err(CompletionCode::INSUFFICIENT_PRIVILEGE);
        }
        match command {
            COLD_RESET | WARM_RESET => {
                let result = self.bmc.reset_bmc(&origin(request), Protocol::Ipmi);
                result
                    .map_err(|_| CompletionCode::UNSPECIFIED)
                    .map(|()| Vec::new())
            }
            SET_POWER_POLICY => self.set_power_policy(request),
            // always available, every kind of authentication, up to Administrator (IPMI 2.0 §22.23)
            GET_CHANNEL_ACCESS => Ok(vec![0x22, 0x04]),
            GET_CHANNEL_INFO => channel_info(&request.message.data),
            _ => Err(CompletionCode::INVALID_COMMAND),
        }
    }

    fn chassis_status(&self) -> ChassisStatus {
        let machine = self.bmc.machine();
        // IPMI knows no "powering on": what has not happened yet is not so
        let power = self.bmc.reported_power(Protocol::Ipmi);
        ChassisStatus {
            power_on: matches!(power, PowerState::On | PowerState::PoweringOff),
            overload: false,
            interlock: false,
            fault: false,
            control_fault: false,
            restore_policy: match machine.policy() {
                PowerPolicy::AlwaysOff => RestorePolicy::StayOff,
                PowerPolicy::Previous => RestorePolicy::Previous,
                PowerPolicy::AlwaysOn => RestorePolicy::SwitchOn,
            },
            last_event: LastPowerEvent {
                on_by_command: machine.restart_cause() == RestartCause::ChassisControl,
                ..LastPowerEvent::default()
            },
            misc: 0,
            front_panel: None,
        }
    }

    fn chassis_control(&self, request: &Request, control: ChassisControl) -> Answer {
        let verb = power_verb(control).ok_or(CompletionCode::INVALID_FIELD)?;
        let result = self.bmc.power(verb, &origin(request), Some(Protocol::Ipmi));
        result.map_err(|_| CompletionCode::WRONG_STATE)?;
        DONE
    }

    fn restart_cause(&self) -> ipmi_command::RestartCause {
        // IPMI 2.0 table 28-11
        let cause = match self.bmc.machine().restart_cause() {
            RestartCause::Unknown => 0x0,
            RestartCause::ChassisControl => 0x1,
            RestartCause::PowerButton => 0x3,
            RestartCause::AlwaysRestore => 0x6,
            RestartCause::RestorePrevious => 0x7,
            RestartCause::SoftReset => 0xa,
        };
        ipmi_command::RestartCause {
            cause,
            channel: CHANNEL,
        }
    }

    fn set_power_policy(&self, request: &Request) -> Answer {
        let policy = match request.message.data.first().ok_or(CompletionCode::DATA_LENGTH)? & 7 {
            0 => Some(PowerPolicy::AlwaysOff),
            1 => Some(PowerPolicy::Previous),
            2 => Some(PowerPolicy::AlwaysOn),
            3 => None,
            _ => return Err(CompletionCode::INVALID_FIELD),
        };
        if let Some(policy) = policy {
            self.bmc
                .set_policy(policy, &origin(request))
                .map_err(|_| CompletionCode::WRONG_STATE)?;
        }
        Ok(vec![0x07]) // all three policies are supported
    }

    fn set_boot_option(&mut self, request: &Request, set: &SetBootOption) -> Answer {
        match set.option {
            BootOption::SetInProgress(SetInProgress::InProgress) if self.boot_options.in_progress => {
                return Err(CompletionCode::SPECIFIC_81);
            }
            BootOption::SetInProgress(state) => {
                self.boot_options.in_progress = state == SetInProgress::InProgress;
            }
            BootOption::ValidBitClearing(bits) => self.bmc.set_flag_clearing(FlagClearing(bits)),
            BootOption::InfoAcknowledge { write_mask, data } => {
                self.boot_options.acknowledge = (write_mask, data);
            }
            BootOption::Flags(flags) => {
                let boot = if flags.valid() && !set.invalid {
                    wanted(flags)?
                } else {
                    None
                };
                let result = self.bmc.set_boot(boot, &origin(request), Protocol::Ipmi);
                result.map_err(|_| CompletionCode::WRONG_STATE)?;
            }
            BootOption::Other { .. } => return Err(CompletionCode::SPECIFIC_80),
        }
        DONE
    }

    fn get_boot_option(&self, get: GetBootOption) -> Answer {
        let option = match get.parameter {
            BootParameter::SET_IN_PROGRESS if self.boot_options.in_progress => {
                BootOption::SetInProgress(SetInProgress::InProgress)
            }
            BootParameter::SET_IN_PROGRESS => BootOption::SetInProgress(SetInProgress::Complete),
            BootParameter::VALID_BIT_CLEARING => {
                BootOption::ValidBitClearing(self.bmc.machine().flag_clearing().0)
            }
            BootParameter::INFO_ACKNOWLEDGE => {
                let (write_mask, data) = self.boot_options.acknowledge;
                BootOption::InfoAcknowledge { write_mask, data }
            }
            BootParameter::FLAGS => {
                let boot = self
                    .bmc
                    .reported_override(Protocol::Ipmi)
                    .map_err(|_| CompletionCode::NOT_PRESENT)?;
                BootOption::Flags(boot.map_or_else(BootFlags::default, flags_of))
            }
            BootParameter(_) => return Err(CompletionCode::SPECIFIC_80),
        };
        Ok(BootOptionResponse {
            invalid: false,
            option,
        }
        .encode())
    }

    fn lan_config(&self, get: GetLanConfig) -> Answer {
        let listen = self.bmc.config().ipmi.as_ref().map(|ipmi| ipmi.listen);
        let data = match (get.parameter, listen) {
            (LanParameter::IP_ADDRESS, Some(std::net::SocketAddr::V4(address))) => {
                address.ip().octets().to_vec()
            }
            (LanParameter::IP_SOURCE, _) => vec![1], // static
            (LanParameter::PRIMARY_PORT, Some(address)) => address.port().to_le_bytes().to_vec(),
            _ => return Err(CompletionCode::SPECIFIC_80),
        };
        Ok(LanConfig { revision: 0x11, data }.encode())
    }
}

fn device_id() -> DeviceId {
    DeviceId {
        device_id: 0x20,
        device_revision: 1,
        provides_sdrs: false,
        initializing: false,
        firmware_major: 0,
        firmware_minor: 0x70,
        ipmi_version: 0x02,
        support: 0x80, // chassis
        manufacturer: 0,
        product: 0,
        auxiliary: None,
    }
}

/// The override that boot flags ask for; `None` for no override.
fn wanted(flags: BootFlags) -> Result<Option<Override>, CompletionCode> {
    let device = match flags.device() {
        ipmi_command::BootDevice::None => return Ok(None),
        ipmi_command::BootDevice::Pxe => BootDevice::Network,
        ipmi_command::BootDevice::Disk => BootDevice::Disk,
        ipmi_command::BootDevice::Cdrom => BootDevice::Cd,
        ipmi_command::BootDevice::Setup => BootDevice::Setup,
        _ => return Err(CompletionCode::INVALID_FIELD),
    };
    let mode = if flags.efi() {
        BootMode::Uefi
    } else {
        BootMode::Bios
    };
    Ok(Some(Override {
        device,
        persistent: flags.persistent(),
        mode,
    }))
}

fn flags_of(boot: Override) -> BootFlags {
    let device = match boot.device {
        BootDevice::Network => ipmi_command::BootDevice::Pxe,
        BootDevice::Disk => ipmi_command::BootDevice::Disk,
        BootDevice::Cd => ipmi_command::BootDevice::Cdrom,
        BootDevice::Setup => ipmi_command::BootDevice::Setup,
    };
    BootFlags::once(device, boot.mode == BootMode::Uefi).with_persistent(boot.persistent)
}

/// Get Channel Info (IPMI 2.0 §22.24): one LAN channel with many sessions.
fn channel_info(data: &[u8]) -> Answer {
    match data.first().ok_or(CompletionCode::DATA_LENGTH)? & 0x0f {
        CHANNEL | ipmi_command::CHANNEL_PRESENT => {
            // medium 802.3 LAN, protocol IPMB-1.0, multi-session; the protocol's vendor is the IPMI forum
            Ok(vec![CHANNEL, 0x04, 0x01, 0x80, 0xf2, 0x1b, 0x00, 0x00, 0x00])
        }
        _ => Err(CompletionCode::INVALID_FIELD),
    }
}
