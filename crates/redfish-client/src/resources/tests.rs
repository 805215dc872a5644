use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn system_document() -> Value {
    serde_json::from_str(include_str!("../../testdata/corpus/system.json")).unwrap()
}

fn system(document: &Value) -> (System, Vec<String>) {
    let (system, warnings) = decode(document);
    (system, warnings.iter().map(ToString::to_string).collect())
}

#[test]
fn a_valid_system_reads_completely_and_without_warnings() {
    let (system, warnings) = system(&system_document());
    assert_eq!(warnings, [""; 0]);
    assert_eq!(system.id.as_deref(), Some("1"));
    assert_eq!(system.system_type.as_deref(), Some("Physical"));
    assert_eq!(system.uuid, "4c4c4544-0039-3010-8048-b7c04f384432".parse().ok());
    assert_eq!(system.manufacturer.as_deref(), Some("Contoso"));
    assert_eq!(system.serial_number.as_deref(), Some("9T0D8D2"));
    assert_eq!(system.bios_version.as_deref(), Some("2.1.8"));
    assert_eq!(system.power_state, PowerState::On);
    assert_eq!(system.health.as_deref(), Some("OK"));
    assert_eq!(
        system.last_reset_time,
        "2026-11-01T09:00:00Z".parse::<Timestamp>().ok()
    );
    assert_eq!(system.processors, Some(2));
    assert_eq!(system.managed_by, [Link::new("/redfish/v1/Managers/1").unwrap()]);
    let boot = system.boot.unwrap();
    assert_eq!(
        (boot.next_boot(), boot.mode.as_deref()),
        (Some(BootTarget::Pxe), Some("UEFI"))
    );
    let reset = system.reset.unwrap();
    assert_eq!(
        reset.target.as_str(),
        "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset"
    );
    assert_eq!(reset.allowed.unwrap().len(), 4);
}

#[test]
fn each_known_defect_costs_one_warning_and_never_the_system() {
    let defects = [
        ("LastResetTime", json!("0000-00-00T00:00:00")),
        ("LastResetTime", json!("00:00:00Z")),
        ("UUID", json!("")),
        ("UUID", json!("FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF")),
        ("Status", json!("OK")),
        ("ProcessorSummary", json!({"Count": "2"})),
        ("ProcessorSummary", json!({"Count": 2.0})),
        ("PowerState", json!("Dreaming")),
        ("Boot", json!({"BootSourceOverrideEnabled": "UefiOnce"})),
        ("Links", json!({"ManagedBy": [{}]})),
        ("Name", json!(1)),
    ];
    for (property, value) in defects {
        let mut document = system_document();
        document[property] = value.clone();
        let (system, warnings) = system(&document);
        assert_eq!(warnings.len(), 1, "{property}: {value}: {warnings:?}");
        assert_eq!(system.serial_number.as_deref(), Some("9T0D8D2"));
        assert_eq!(system.power_state == PowerState::On, property != "PowerState");
    }
}

#[test]
fn properties_that_are_absent_or_null_cost_nothing() {
    for empty in [
        json!({}),
        json!({"PowerState": null, "Boot": null, "Actions": null, "UUID": null, "Links": null}),
    ] {
        let (system, warnings) = system(&empty);
        assert_eq!(warnings, [""; 0]);
        assert_eq!(
            (system.power_state, system.boot, system.reset),
            (PowerState::Unknown, None, None)
        );
    }
    let (_, warnings) = system(&json!([]));
    assert_eq!(warnings, ["(resource): want an object, got an array"]);
}

#[test]
fn an_override_is_read_as_what_it_makes_the_machine_boot() {
    let next = |enabled: Value, target: Value| {
        let boot = json!({"BootSourceOverrideEnabled": enabled, "BootSourceOverrideTarget": target});
        system(&json!({"Boot": boot})).0.boot.unwrap().next_boot()
    };
    assert_eq!(next(json!("Disabled"), json!("Pxe")), Some(BootTarget::None));
    assert_eq!(next(json!("Once"), json!("None")), Some(BootTarget::None));
    assert_eq!(next(json!("Continuous"), json!("Hdd")), Some(BootTarget::Disk));
    assert_eq!(next(json!("Once"), json!("BiosSetup")), Some(BootTarget::Setup));
    assert_eq!(next(json!("Once"), json!("UefiHttp")), None);
    assert_eq!(next(Value::Null, json!("Pxe")), None);
}

#[test]
fn a_reset_is_chosen_among_the_allowed_values_and_never_replaced_by_a_harder_one() {
    let list = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(Reset::On.choose(None), Some("On"));
    assert_eq!(
        Reset::On.choose(Some(&list(&["ForceOn", "ForceOff"]))),
        Some("ForceOn")
    );
    assert_eq!(
        Reset::GracefulShutdown.choose(Some(&list(&["ForceOff", "PushPowerButton"]))),
        None
    );
    assert_eq!(
        Reset::ForceRestart.choose(Some(&list(&["PowerCycle", "GracefulRestart"]))),
        None
    );
    assert_eq!(Reset::ForceOff.choose(Some(&[])), None);
}

#[test]
fn action_info_gives_the_values_of_its_reset_type() {
    let (info, warnings) = decode::<ActionInfo>(&json!({"Parameters": [
        {"Name": "Delay", "AllowableValues": ["1"]}, {"Name": "ResetType", "AllowableValues": ["On", 7]}]}));
    assert_eq!(info.reset_types, Some(vec!["On".to_owned()]));
    assert_eq!(warnings.len(), 1);
}

#[test]
fn a_task_without_a_state_has_ended_and_unknown_states_run_on() {
    let progress = |state: Value| decode::<TaskProgress>(&json!({"TaskState": state})).0;
    assert_eq!(progress(Value::Null), TaskProgress::Completed);
    assert_eq!(progress(json!("Completed")), TaskProgress::Completed);
    for state in ["New", "Pending", "Running", "Starting", "Unheard"] {
        assert_eq!(progress(json!(state)), TaskProgress::Running);
    }
    assert_eq!(progress(json!("Exception")), TaskProgress::Failed);
}

/// What each top-level property of the document ends up as.
fn by_property(system: &System) -> Vec<(&'static str, String)> {
    let System {
        boot,
        reset,
        managed_by,
        state,
        health,
        processors,
        last_reset_time,
        ..
    } = system;
    vec![
        ("Id", format!("{:?}", system.id)),
        ("Name", format!("{:?}", system.name)),
        ("SystemType", format!("{:?}", system.system_type)),
        ("UUID", format!("{:?}", system.uuid)),
        ("Manufacturer", format!("{:?}", system.manufacturer)),
        ("Model", format!("{:?}", system.model)),
        ("SerialNumber", format!("{:?}", system.serial_number)),
        ("BiosVersion", format!("{:?}", system.bios_version)),
        ("PowerState", format!("{:?}", system.power_state)),
        ("Status", format!("{state:?} {health:?}")),
        ("LastResetTime", format!("{last_reset_time:?}")),
        ("ProcessorSummary", format!("{processors:?}")),
        ("Boot", format!("{boot:?}")),
        ("Actions", format!("{reset:?}")),
        ("Links", format!("{managed_by:?}")),
    ]
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[A-Za-z@.]{0,12}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_value_in_one_property_leaves_all_others_alone(property in 0usize..15, value in any_json()) {
        let intact = by_property(&system(&system_document()).0);
        let (mutated, _) = intact[property].clone();
        let mut document = system_document();
        document[mutated] = value;
        for (before, after) in intact.iter().zip(by_property(&system(&document).0)) {
            prop_assert!(before.0 == mutated || *before == after, "{}: {} became {}", before.0, before.1, after.1);
        }
    }
}
