//! The one ComputerSystem: state, boot override, reset, network cards (DSP0268 §6.31).

use axum::body::Bytes;
use axum::extract::Path;
use axum::http::HeaderMap;
use axum::response::Response;
use hardware_types::{BootMode, PowerState};
use serde_json::{Map, Value, json};

use super::failure::Failure;
use super::representation::OnlyMember;
use super::{Context, body, managers, no_content, representation};
use crate::bmc::CommandError;
use crate::fault::Protocol;
use crate::machine::{BootDevice, Override};
use crate::verb::PowerVerb;

pub(super) const ONLY: OnlyMember = OnlyMember {
    collection: "/redfish/v1/Systems",
    id: "system0",
};

const RESETS: [(&str, PowerVerb); 5] = [
    ("On", PowerVerb::On),
    ("ForceOff", PowerVerb::Off),
    ("GracefulShutdown", PowerVerb::SoftOff),
    ("ForceRestart", PowerVerb::Reset),
    ("PowerCycle", PowerVerb::Cycle),
];

const TARGETS: [(&str, Option<BootDevice>); 5] = [
    ("None", None),
    ("Pxe", Some(BootDevice::Network)),
    ("Hdd", Some(BootDevice::Disk)),
    ("Cd", Some(BootDevice::Cd)),
    ("BiosSetup", Some(BootDevice::Setup)),
];

pub(super) async fn collection(_: Context, headers: HeaderMap) -> Response {
    ONLY.listed(&headers, "ComputerSystem", "Systems")
}

fn resource(context: &Context) -> Value {
    let (bmc, machine) = (context.bmc(), context.bmc().machine());
    let config = &bmc.config().machine;
    let power = match bmc.reported_power(Protocol::Redfish) {
        PowerState::On => json!("On"),
        PowerState::Off => json!("Off"),
        PowerState::PoweringOn => json!("PoweringOn"),
        PowerState::PoweringOff => json!("PoweringOff"),
        PowerState::Unknown => Value::Null,
    };
    let progress = match (machine.in_post(), machine.booted()) {
        (true, _) => "SystemHardwareInitializationComplete",
        (false, Some(BootDevice::Setup)) => "SetupEntered",
        (false, Some(_)) => "OSBootStarted",
        (false, None) => "None",
    };
    let uri = ONLY.uri();
    let mut system = json!({
        "@odata.id": uri,
        "@odata.type": "#ComputerSystem.v1_20_0.ComputerSystem",
        "Id": ONLY.id,
        "Name": "System",
        "SystemType": "Physical",
        "UUID": config.uuid,
        "Manufacturer": config.manufacturer,
        "Model": config.model,
        "SerialNumber": config.serial,
        "PowerState": power,
        "BootProgress": {"LastState": progress},
        "Status": {"State": "Enabled", "Health": "OK"},
        "Boot": boot(context),
        "EthernetInterfaces": {"@odata.id": format!("{uri}/EthernetInterfaces")},
        "Links": {"ManagedBy": [{"@odata.id": managers::ONLY.uri()}]},
        "Actions": {
            "#ComputerSystem.Reset": {
                "target": format!("{uri}/Actions/ComputerSystem.Reset"),
                "@Redfish.ActionInfo": format!("{uri}/ResetActionInfo"),
                "ResetType@Redfish.AllowableValues": RESETS.map(|(name, _)| name),
            },
        },
    });
    // not nullable: absent before the first time
    if let (Some(time), Some(system)) = (machine.last_reset(), system.as_object_mut()) {
        let date = format!("{:.3}", bmc.clock().date(time));
        system.insert("LastResetTime".to_owned(), json!(date));
    }
    system
}

const fn mode_name(mode: BootMode) -> &'static str {
    match mode {
        BootMode::Bios => "Legacy",
        BootMode::Uefi => "UEFI",
    }
}

fn boot(context: &Context) -> Value {
    let firmware = context.bmc().config().machine.firmware;
    let (enabled, target, mode) = match context.bmc().reported_override(Protocol::Redfish) {
        Ok(Some(Override {
            device,
            persistent,
            mode,
        })) => {
            let target = TARGETS
                .iter()
                .find(|(_, known)| *known == Some(device))
                .map(|(name, _)| *name);
            (
                Some(if persistent { "Continuous" } else { "Once" }),
                target,
                Some(mode_name(mode)),
            )
        }
        Ok(None) => (Some("Disabled"), Some("None"), Some(mode_name(firmware))),
        Err(_) => (None, None, None),
    };
    json!({
        "BootSourceOverrideEnabled": enabled,
        "BootSourceOverrideEnabled@Redfish.AllowableValues": ["Disabled", "Once", "Continuous"],
        "BootSourceOverrideTarget": target,
        "BootSourceOverrideTarget@Redfish.AllowableValues": TARGETS.map(|(name, _)| name),
        "BootSourceOverrideMode": mode,
        "BootSourceOverrideMode@Redfish.AllowableValues": [mode_name(firmware)],
    })
}

pub(super) async fn read(
    context: Context,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    ONLY.check(&id)?;
    Ok(representation::answer(&headers, resource(&context)))
}

pub(super) async fn update(
    context: Context,
    Path(id): Path<String>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Response, Failure> {
    ONLY.check(&id)?;
    context
        .caller
        .as_ref()
        .ok_or_else(Failure::no_session)?
        .may_operate()?;
    let patch = body::object(&headers, &bytes)?;
    let current = resource(&context);
    representation::check_if_match(&headers, &current)?;
    body::check_patch(&patch, &["Boot"], &current)?;
    let boot = match patch.get("Boot") {
        Some(Value::Object(boot)) => boot,
        other => {
            return Err(Failure::property_type(
                &other.unwrap_or(&Value::Null).to_string(),
                "Boot",
            ));
        }
    };
    let writable = [
        "BootSourceOverrideEnabled",
        "BootSourceOverrideTarget",
        "BootSourceOverrideMode",
    ];
    body::check_patch(boot, &writable, &current["Boot"])?;
    let boot = wanted(&context, boot)?;
    let result = context.bmc().set_boot(boot, &context.origin(), Protocol::Redfish);
    result.map_err(|error| conflict(&error, "Boot", "override").logged())?;
    Ok(representation::answer(&HeaderMap::new(), resource(&context)))
}

/// The override that a PATCH asks for, what it leaves out taken from the present one.
fn wanted(context: &Context, patch: &Map<String, Value>) -> Result<Option<Override>, Failure> {
    const ENABLED: &str = "BootSourceOverrideEnabled";
    const TARGET: &str = "BootSourceOverrideTarget";
    const MODE: &str = "BootSourceOverrideMode";
    let machine = context.bmc().machine();
    let present = machine.boot_override();
    let firmware = machine.settings().firmware;
    if let Some(mode) = body::string(patch, MODE)?.filter(|mode| *mode != mode_name(firmware)) {
        return Err(Failure::property_not_in_list(mode, MODE));
    }
    let target = match body::string(patch, TARGET)? {
        None => present.map(|present| Some(present.device)),
        Some(name) => {
            let known = TARGETS.iter().find(|(known, _)| *known == name);
            Some(
                known
                    .ok_or_else(|| Failure::property_not_in_list(name, TARGET))?
                    .1,
            )
        }
    };
    let persistent = match body::string(patch, ENABLED)? {
        Some("Disabled") => return Ok(None),
        Some("Once") => Some(false),
        Some("Continuous") => Some(true),
        Some(other) => return Err(Failure::property_not_in_list(other, ENABLED)),
        None => present.map(|present| present.persistent),
    };
    let Some(device) = target.ok_or_else(|| Failure::property_missing(TARGET))? else {
        return Ok(None);
    };
    let persistent = persistent.ok_or_else(|| Failure::property_missing(ENABLED))?;
    Ok(Some(Override {
        device,
        persistent,
        mode: firmware,
    }))
}

pub(super) async fn reset(
    context: Context,
    Path(id): Path<String>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Response, Failure> {
    const ACTION: &str = "ComputerSystem.Reset";
    ONLY.check(&id)?;
    context
        .caller
        .as_ref()
        .ok_or_else(Failure::no_session)?
        .may_operate()?;
    let allowed = RESETS.map(|(name, _)| name);
    let name = body::parameter(&headers, &bytes, ACTION, "ResetType", &allowed)?
        .ok_or_else(|| Failure::parameter_missing(ACTION, "ResetType"))?;
    let verb = RESETS
        .iter()
        .find(|(known, _)| *known == name)
        .ok_or_else(Failure::internal)?
        .1;
    let result = context
        .bmc()
        .power(verb, &context.origin(), Some(Protocol::Redfish));
    result.map_err(|error| conflict(&error, "ResetType", &name).logged())?;
    Ok(no_content())
}

fn conflict(error: &CommandError, parameter: &str, value: &str) -> Failure {
    match error {
        CommandError::Machine(_) | CommandError::AlreadyOn | CommandError::JustOff => {
            Failure::parameter_conflict(parameter, value)
        }
        CommandError::User(_) => Failure::internal(),
    }
}

pub(super) async fn reset_action_info(
    _: Context,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    ONLY.check(&id)?;
    let info = representation::reset_info(
        &format!("{}/ResetActionInfo", ONLY.uri()),
        &RESETS.map(|(name, _)| name),
    );
    Ok(representation::answer(&headers, info))
}

pub(super) async fn interfaces(
    context: Context,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    ONLY.check(&id)?;
    let ids = (1..=context.bmc().config().machine.macs.len()).map(|n| format!("nic{n}"));
    let uri = format!("{}/EthernetInterfaces", ONLY.uri());
    Ok(representation::answer(
        &headers,
        representation::collection(&uri, "EthernetInterface", "Interfaces", ids),
    ))
}

pub(super) async fn interface(
    context: Context,
    Path((id, nic)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    ONLY.check(&id)?;
    let uri = format!("{}/EthernetInterfaces/{nic}", ONLY.uri());
    let macs = &context.bmc().config().machine.macs;
    let mac = (1..)
        .zip(macs)
        .find(|(n, _)| format!("nic{n}") == nic)
        .map(|(_, mac)| mac);
    let mac = mac.ok_or_else(|| Failure::resource_missing(&uri))?;
    Ok(representation::answer(
        &headers,
        json!({
            "@odata.id": uri,
            "@odata.type": "#EthernetInterface.v1_9_0.EthernetInterface",
            "Id": nic,
            "Name": "Ethernet Interface",
            "MACAddress": mac,
            "PermanentMACAddress": mac,
            "Status": {"State": "Enabled", "Health": "OK"},
        }),
    ))
}
