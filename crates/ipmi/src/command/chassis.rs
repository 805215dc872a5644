//! Power: status, control, why the machine restarted (IPMI 2.0 §28).

use super::{Command, NetFn, Wire, no_data};
use crate::codec::{DecodeError, Reader};
use crate::types::Privilege;

/// Get Chassis Status (IPMI 2.0 §28.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GetChassisStatus;

no_data!(GetChassisStatus);

impl Command for GetChassisStatus {
    const NET_FN: NetFn = NetFn::CHASSIS;
    const NUMBER: u8 = 0x01;
    const PRIVILEGE: Option<Privilege> = Some(Privilege::User);
    type Response = ChassisStatus;
}

/// What the machine does when mains power returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RestorePolicy {
    /// Stays off.
    StayOff,
    /// Returns to what it was.
    Previous,
    /// Switches on.
    SwitchOn,
    /// Unknown.
    Unknown,
}

impl RestorePolicy {
    const ALL: [Self; 4] = [Self::StayOff, Self::Previous, Self::SwitchOn, Self::Unknown];

    fn from_bits(bits: u8) -> Self {
        Self::ALL[usize::from(bits & 3)]
    }

    fn bits(self) -> u8 {
        match self {
            Self::StayOff => 0,
            Self::Previous => 1,
            Self::SwitchOn => 2,
            Self::Unknown => 3,
        }
    }
}

/// Why the power last changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LastPowerEvent {
    /// Mains power failed.
    pub ac_failed: bool,
    /// Power overload.
    pub overload: bool,
    /// A panel interlock.
    pub interlock: bool,
    /// A power fault.
    pub fault: bool,
    /// The last power-on was an IPMI command.
    pub on_by_command: bool,
}

/// Power and health of a chassis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChassisStatus {
    /// The machine is on.
    pub power_on: bool,
    /// Shut down by a power overload.
    pub overload: bool,
    /// Shut down by a panel interlock.
    pub interlock: bool,
    /// A fault of the main power.
    pub fault: bool,
    /// An attempt to switch on or off had no effect.
    pub control_fault: bool,
    /// What happens when mains power returns.
    pub restore_policy: RestorePolicy,
    /// Why the power last changed.
    pub last_event: LastPowerEvent,
    /// Miscellaneous state as it is sent: bit 0 intrusion, 1 front panel lockout, 2 drive fault, 3 cooling fault.
    pub misc: u8,
    /// Front panel button capabilities; optional in the standard.
    pub front_panel: Option<u8>,
}

impl Wire for ChassisStatus {
    fn encode(&self) -> Vec<u8> {
        let event = self.last_event;
        let mut out = vec![
            bits([
                self.power_on,
                self.overload,
                self.interlock,
                self.fault,
                self.control_fault,
            ]) | self.restore_policy.bits() << 5,
            bits([
                event.ac_failed,
                event.overload,
                event.interlock,
                event.fault,
                event.on_by_command,
            ]),
            self.misc,
        ];
        out.extend(self.front_panel);
        out
    }

    fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("chassis status", data);
        let [state, event, misc] = reader.array()?;
        let [power_on, overload, interlock, fault, control_fault] = flags(state);
        let restore_policy = RestorePolicy::from_bits(state >> 5);
        let front_panel = reader.u8().ok();
        let last_event = {
            let [ac_failed, overload, interlock, fault, on_by_command] = flags(event);
            LastPowerEvent {
                ac_failed,
                overload,
                interlock,
                fault,
                on_by_command,
            }
        };
        Ok(Self {
            power_on,
            overload,
            interlock,
            fault,
            control_fault,
            restore_policy,
            last_event,
            misc,
            front_panel,
        })
    }
}

/// Five flags in bits 0 to 4.
fn bits(flags: [bool; 5]) -> u8 {
    (0u8..)
        .zip(flags)
        .fold(0, |byte, (bit, flag)| byte | u8::from(flag) << bit)
}

fn flags(byte: u8) -> [bool; 5] {
    std::array::from_fn(|bit| byte >> bit & 1 == 1)
}

/// Chassis Control (IPMI 2.0 §28.3). Never idempotent: send it once, then read the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChassisControl {
    /// Off at once.
    PowerDown,
    /// On.
    PowerUp,
    /// Off, then on; a BMC may refuse it while off.
    PowerCycle,
    /// Restart without a power-off.
    HardReset,
    /// NMI.
    DiagnosticInterrupt,
    /// Ask the operating system to shut down, by an emulated thermal event.
    SoftShutdown,
}

impl ChassisControl {
    /// Every action, in the order of its number.
    pub const ALL: [Self; 6] = [
        Self::PowerDown,
        Self::PowerUp,
        Self::PowerCycle,
        Self::HardReset,
        Self::DiagnosticInterrupt,
        Self::SoftShutdown,
    ];
}

impl Wire for ChassisControl {
    fn encode(&self) -> Vec<u8> {
        let number = (0u8..).zip(Self::ALL).find(|(_, action)| action == self);
        number.map(|(number, _)| number).into_iter().collect()
    }

    fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        let number = Reader::new("Chassis Control", data).u8()? & 0x0f;
        let action = Self::ALL.get(usize::from(number)).copied();
        action.ok_or(DecodeError::Value {
            what: "chassis control action",
            value: number.into(),
        })
    }
}

impl Command for ChassisControl {
    const NET_FN: NetFn = NetFn::CHASSIS;
    const NUMBER: u8 = 0x02;
    const PRIVILEGE: Option<Privilege> = Some(Privilege::Operator);
    type Response = ();
}

/// Chassis Identify (IPMI 2.0 §28.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChassisIdentify {
    /// How long the light is on, in seconds; 0 switches it off.
    pub seconds: u8,
    /// On until told otherwise.
    pub forever: bool,
}

impl Wire for ChassisIdentify {
    fn encode(&self) -> Vec<u8> {
        vec![self.seconds, self.forever.into()]
    }

    fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        // Both bytes are optional; without them it is 15 s.
        let mut bytes = data.iter().copied();
        let seconds = bytes.next().unwrap_or(15);
        Ok(Self {
            seconds,
            forever: bytes.next().unwrap_or(0) & 1 == 1,
        })
    }
}

impl Command for ChassisIdentify {
    const NET_FN: NetFn = NetFn::CHASSIS;
    const NUMBER: u8 = 0x04;
    const PRIVILEGE: Option<Privilege> = Some(Privilege::Operator);
    type Response = ();
}

/// Get System Restart Cause (IPMI 2.0 §28.11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GetRestartCause;

no_data!(GetRestartCause);

impl Command for GetRestartCause {
    const NET_FN: NetFn = NetFn::CHASSIS;
    const NUMBER: u8 = 0x07;
    const PRIVILEGE: Option<Privilege> = Some(Privilege::User);
    type Response = RestartCause;
}

/// Why the machine last started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestartCause {
    /// Four bits: 0 unknown, 1 chassis control, 2 reset button, 3 power button, 4 watchdog, 6 mains restored, policy
    /// on, 7 mains restored, policy previous, 8 event filter reset, 9 event filter cycle, 10 soft reset.
    pub cause: u8,
    /// Channel of the command, when the cause is chassis control.
    pub channel: u8,
}

impl RestartCause {
    /// The cause "chassis control command".
    pub const CHASSIS_CONTROL: u8 = 1;
}

impl Wire for RestartCause {
    fn encode(&self) -> Vec<u8> {
        vec![self.cause & 0x0f, self.channel]
    }

    fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        let [cause, channel] = Reader::new("restart cause", data).array()?;
        Ok(Self {
            cause: cause & 0x0f,
            channel,
        })
    }
}
