//! The resources that the client understands: plain data, every field optional.

use hardware_types::{BootTarget, PowerState, ServerId};
use serde_json::Value;

use crate::decode::{Fields, Warning, Warnings};
use crate::endpoint::Link;

/// A resource as it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Resource<T> {
    /// Where it was read.
    pub link: Link,
    /// Its ETag: from the header, else from the body's `@odata.etag`.
    pub etag: Option<String>,
    /// What could be read.
    pub value: T,
    /// What could not.
    pub warnings: Vec<Warning>,
}

/// What can be read from a JSON object.
pub(crate) trait Decode {
    fn decode(fields: &Fields<'_>) -> Self;
}

/// Reads `T` and the warnings on the way. Never fails: an object without a usable field is an empty `T`.
pub(crate) fn decode<T: Decode>(json: &Value) -> (T, Vec<Warning>) {
    let warnings = Warnings::default();
    let value = T::decode(&Fields::new(json, &warnings));
    (value, warnings.into_vec())
}

/// The service root (DSP0268 `ServiceRoot`), readable without credentials.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceRoot {
    /// Version of the protocol.
    pub redfish_version: Option<String>,
    /// Vendor of the service.
    pub vendor: Option<String>,
    /// Product name.
    pub product: Option<String>,
    /// The collection of Systems.
    pub systems: Option<Link>,
    /// The collection of Managers.
    pub managers: Option<Link>,
    /// The account service.
    pub account_service: Option<Link>,
    /// The session service.
    pub session_service: Option<Link>,
    /// The collection of sessions, readable without credentials (DSP0266 §13.3.4).
    pub sessions: Option<Link>,
}

impl Decode for ServiceRoot {
    fn decode(fields: &Fields<'_>) -> Self {
        Self {
            redfish_version: fields.text("RedfishVersion"),
            vendor: fields.text("Vendor"),
            product: fields.text("Product"),
            systems: fields.link("Systems"),
            managers: fields.link("Managers"),
            account_service: fields.link("AccountService"),
            session_service: fields.link("SessionService"),
            sessions: fields.object("Links").link("Sessions"),
        }
    }
}

/// One page of a collection (DSP0266 §9.10).
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) members: Vec<Link>,
    pub(crate) next: Option<Link>,
}

impl Decode for Page {
    fn decode(fields: &Fields<'_>) -> Self {
        Self {
            members: fields.links("Members"),
            next: fields.path("Members@odata.nextLink"),
        }
    }
}

/// The services that lead to a collection: `SessionService` and `AccountService`.
#[derive(Debug, Default)]
pub(crate) struct Service {
    pub(crate) sessions: Option<Link>,
    pub(crate) accounts: Option<Link>,
}

impl Decode for Service {
    fn decode(fields: &Fields<'_>) -> Self {
        Self {
            sessions: fields.link("Sessions"),
            accounts: fields.link("Accounts"),
        }
    }
}

/// A machine (DSP0268 `ComputerSystem`).
#[derive(Debug, Clone, PartialEq)]
pub struct System {
    /// Identifier inside its collection.
    pub id: Option<String>,
    /// Name for people.
    pub name: Option<String>,
    /// Kind of System, such as `Physical` or `DPU`.
    pub system_type: Option<String>,
    /// SMBIOS UUID.
    pub uuid: Option<ServerId>,
    /// Manufacturer.
    pub manufacturer: Option<String>,
    /// Model.
    pub model: Option<String>,
    /// Serial number.
    pub serial_number: Option<String>,
    /// Version of the firmware.
    pub bios_version: Option<String>,
    /// Power; `Unknown` when the BMC gives none.
    pub power_state: PowerState,
    /// `Status.State`, such as `Enabled` or `StandbyOffline`.
    pub state: Option<String>,
    /// `Status.Health`, such as `OK` or `Critical`.
    pub health: Option<String>,
    /// When the machine was last reset.
    pub last_reset_time: Option<jiff::Timestamp>,
    /// Number of processors.
    pub processors: Option<u64>,
    /// Boot override, when the System has a Boot object.
    pub boot: Option<Boot>,
    /// The action `#ComputerSystem.Reset`.
    pub reset: Option<ResetAction>,
    /// Managers of this System (`Links.ManagedBy`).
    pub managed_by: Vec<Link>,
}

impl Decode for System {
    fn decode(fields: &Fields<'_>) -> Self {
        let status = fields.object("Status");
        Self {
            id: fields.text("Id"),
            name: fields.text("Name"),
            system_type: fields.text("SystemType"),
            uuid: fields.machine("UUID"),
            manufacturer: fields.text("Manufacturer"),
            model: fields.text("Model"),
            serial_number: fields.text("SerialNumber"),
            bios_version: fields.text("BiosVersion"),
            power_state: fields
                .word("PowerState", "a power state", power_state)
                .unwrap_or(PowerState::Unknown),
            state: status.text("State"),
            health: status.text("Health"),
            last_reset_time: fields.time("LastResetTime"),
            processors: fields.object("ProcessorSummary").count("Count"),
            boot: Boot::read(&fields.object("Boot")),
            reset: ResetAction::read(&fields.object("Actions").object("#ComputerSystem.Reset")),
            managed_by: fields.object("Links").links("ManagedBy"),
        }
    }
}

fn power_state(word: &str) -> Option<PowerState> {
    Some(match word {
        "On" => PowerState::On,
        "Off" => PowerState::Off,
        "PoweringOn" => PowerState::PoweringOn,
        "PoweringOff" => PowerState::PoweringOff,
        "Paused" => PowerState::Unknown,
        _ => return None,
    })
}

/// How long an override of the boot source holds (`BootSourceOverrideEnabled`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Override {
    /// No override.
    Disabled,
    /// For the next boot.
    Once,
    /// Until it is disabled.
    Continuous,
}

impl Override {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Disabled => "Disabled",
            Self::Once => "Once",
            Self::Continuous => "Continuous",
        }
    }
}

/// The boot override of a System (DSP0268 `ComputerSystem.Boot`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Boot {
    /// `BootSourceOverrideEnabled`.
    pub enabled: Option<Override>,
    /// `BootSourceOverrideTarget` in the BMC's word.
    pub target: Option<String>,
    /// `BootSourceOverrideMode` in the BMC's word; sent back exactly so.
    pub mode: Option<String>,
    /// Targets that the BMC lists as allowed; `None` when it lists none.
    pub allowed_targets: Option<Vec<String>>,
}

impl Boot {
    fn read(fields: &Fields<'_>) -> Option<Self> {
        let enabled = |word: &str| {
            [Override::Disabled, Override::Once, Override::Continuous]
                .into_iter()
                .find(|value| value.as_str() == word)
        };
        fields.is_present().then(|| Self {
            enabled: fields.word(
                "BootSourceOverrideEnabled",
                "Disabled, Once or Continuous",
                enabled,
            ),
            target: fields.text("BootSourceOverrideTarget"),
            mode: fields.text("BootSourceOverrideMode"),
            allowed_targets: fields.texts("BootSourceOverrideTarget@Redfish.AllowableValues"),
        })
    }

    /// Whether the override reads as exactly this.
    pub(crate) fn is(&self, target: &str, enabled: Override) -> bool {
        self.target.as_deref() == Some(target) && self.enabled == Some(enabled)
    }

    /// What the override makes the machine boot: `BootTarget::None` without one, `None` when the BMC does not say
    /// or says what this crate has no word for.
    pub fn next_boot(&self) -> Option<BootTarget> {
        match (self.enabled?, self.target.as_deref()) {
            (Override::Disabled, _) | (_, Some("None")) => Some(BootTarget::None),
            (_, target) => [BootTarget::Pxe, BootTarget::Disk, BootTarget::Setup]
                .into_iter()
                .find(|&known| Some(target_word(known)) == target),
        }
    }
}

/// The word of DSP0268 `BootSource` for a target.
pub(crate) const fn target_word(target: BootTarget) -> &'static str {
    match target {
        BootTarget::None => "None",
        BootTarget::Pxe => "Pxe",
        BootTarget::Disk => "Hdd",
        BootTarget::Setup => "BiosSetup",
    }
}

/// What is asked of a System or Manager (DSP0268 `ResetType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reset {
    /// Switch on.
    On,
    /// Switch off at once.
    ForceOff,
    /// Ask the operating system to shut down.
    GracefulShutdown,
    /// Restart at once.
    ForceRestart,
    /// Restart after an orderly end; what most Managers take.
    GracefulRestart,
}

impl Reset {
    /// Values that do exactly this, best first. Nothing here does more than was asked for: no
    /// `PushPowerButton` (it toggles) and no `PowerCycle` (it cuts power to cards that a restart keeps alive).
    pub(crate) const fn words(self) -> &'static [&'static str] {
        match self {
            Self::On => &["On", "ForceOn"],
            Self::ForceOff => &["ForceOff"],
            Self::GracefulShutdown => &["GracefulShutdown"],
            Self::ForceRestart => &["ForceRestart"],
            Self::GracefulRestart => &["GracefulRestart"],
        }
    }

    /// The value to send where `allowed` is offered; without a list, the standard's first word.
    pub(crate) fn choose(self, allowed: Option<&[String]>) -> Option<&'static str> {
        let mut words = self.words().iter().copied();
        match allowed {
            None => words.next(),
            Some(list) => words.find(|word| list.iter().any(|offered| offered == word)),
        }
    }
}

/// The action that resets a System or Manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResetAction {
    /// Where to send it.
    pub target: Link,
    /// Values that the BMC lists beside the action; `None` when it lists none there.
    pub allowed: Option<Vec<String>>,
    /// Where the BMC describes the action's parameters (`@Redfish.ActionInfo`).
    pub info: Option<Link>,
}

impl ResetAction {
    fn read(fields: &Fields<'_>) -> Option<Self> {
        Some(Self {
            target: fields.path("target")?,
            allowed: fields.texts("ResetType@Redfish.AllowableValues"),
            info: fields.path("@Redfish.ActionInfo"),
        })
    }
}

/// The parameters of an action (DSP0268 `ActionInfo`): the values of `ResetType`.
#[derive(Debug, Default)]
pub(crate) struct ActionInfo {
    pub(crate) reset_types: Option<Vec<String>>,
}

impl Decode for ActionInfo {
    fn decode(fields: &Fields<'_>) -> Self {
        let parameters = fields.objects("Parameters");
        let reset_type = parameters
            .iter()
            .find(|each| each.text("Name").as_deref() == Some("ResetType"));
        Self {
            reset_types: reset_type.and_then(|each| each.texts("AllowableValues")),
        }
    }
}

/// A BMC (DSP0268 `Manager`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manager {
    /// Identifier inside its collection.
    pub id: Option<String>,
    /// Kind of Manager, such as `BMC`.
    pub manager_type: Option<String>,
    /// Model.
    pub model: Option<String>,
    /// Version of its firmware.
    pub firmware_version: Option<String>,
    /// The action `#Manager.Reset`.
    pub reset: Option<ResetAction>,
}

impl Decode for Manager {
    fn decode(fields: &Fields<'_>) -> Self {
        Self {
            id: fields.text("Id"),
            manager_type: fields.text("ManagerType"),
            model: fields.text("Model"),
            firmware_version: fields.text("FirmwareVersion"),
            reset: ResetAction::read(&fields.object("Actions").object("#Manager.Reset")),
        }
    }
}

/// An account of the BMC (DSP0268 `ManagerAccount`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Identifier inside its collection.
    pub id: Option<String>,
    /// Name; empty slots have none.
    pub username: Option<String>,
    /// Role, such as `Administrator`.
    pub role: Option<String>,
    /// Whether it may log in.
    pub enabled: Option<bool>,
    /// Whether it was locked after failed log-ins.
    pub locked: Option<bool>,
    /// Whether it must set a new password before it may do anything else.
    pub password_change_required: Option<bool>,
}

impl Decode for Account {
    fn decode(fields: &Fields<'_>) -> Self {
        Self {
            id: fields.text("Id"),
            username: fields.text("UserName"),
            role: fields.text("RoleId"),
            enabled: fields.flag("Enabled"),
            locked: fields.flag("Locked"),
            password_change_required: fields.flag("PasswordChangeRequired"),
        }
    }
}

/// How a task stands (DSP0268 `Task`). A monitor that shows no task has ended (DSP0266 §14.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TaskProgress {
    Running,
    Completed,
    Failed,
}

impl Decode for TaskProgress {
    fn decode(fields: &Fields<'_>) -> Self {
        match fields.text("TaskState").as_deref() {
            None | Some("Completed") => Self::Completed,
            Some("Exception" | "Killed" | "Cancelled" | "Interrupted") => Self::Failed,
            Some(_) => Self::Running,
        }
    }
}

#[cfg(test)]
mod tests;
