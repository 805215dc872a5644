use proptest::prelude::*;

use super::*;

const FLEET: &str = "\
version: 1
users:
  - {name: admin, password: admin-secret, role: administrator}
  - {name: operator, password: operator-secret, role: operator}
bmcs:
  - name: one
    ipmi: {listen: 127.0.0.1:6230}
    machine:
      uuid: 4c4c4544-0039-3010-8048-b7c04f384432
      manufacturer: Metal Corp
      model: Model-X
      serial: SN-1
      firmware: bios
      macs: [52:54:00:00:00:01, 52:54:00:00:00:02]
      boot-order: [disk, network]
      timings: {post: 500ms, off: 2s}
  - name: two
    redfish: {listen: '127.0.0.1:8443', max-sessions: 3}
    users:
      - {name: root, password: calvin, role: administrator}
    machine:
      uuid: 4c4c4544-0039-3010-8048-b7c04f384433
      manufacturer: Metal Corp
      model: Model-Y
      serial: SN-2
      firmware: uefi
";

#[test]
fn a_fleet_file_gives_values_and_defaults() {
    let fleet: FleetConfig = FLEET.parse().unwrap();
    let [one, two] = &fleet.bmcs[..] else {
        panic!("two BMCs")
    };
    assert_eq!(one.machine.post(), Duration::from_millis(500));
    assert_eq!(two.machine.post(), Duration::from_secs(5));
    assert_eq!(one.machine.timings.flag_lapse, Duration::from_mins(1));
    assert_eq!(one.machine.boot_order, [BootDevice::Disk, BootDevice::Network]);
    assert_eq!(two.machine.boot_order, [BootDevice::Network, BootDevice::Disk]);
    let redfish = two.redfish.as_ref().unwrap();
    assert!(redfish.tls);
    assert_eq!(
        (redfish.max_sessions, redfish.session_timeout.as_secs()),
        (3, 1800)
    );
    assert!(
        one.user_table(&fleet.users)
            .unwrap()
            .by_name("operator")
            .is_some()
    );
    assert!(
        two.user_table(&fleet.users)
            .unwrap()
            .by_name("operator")
            .is_none()
    );
}

#[test]
fn what_is_wrong_is_named() {
    for (from, to, texts) in [
        ("version: 1", "version: 2", &["version 2"][..]),
        ("bios", "coreboot", &["coreboot", "line 13"]),
        ("serial: SN-1", "serail: SN-1", &["serail", "line 12"]),
        ("      serial: SN-1\n", "", &["serial"]),
        (
            "127.0.0.1:6230",
            "localhost",
            &["socket address", "line 7, column 20"],
        ),
        ("500ms", "fast", &["duration", "line 16, column 23"]),
        ("role: operator", "role: king", &["king"]),
        ("[disk, network]", "[disk, setup]", &["\"one\"", "setup"]),
        ("[disk, network]", "[]", &["\"one\"", "boot-order is empty"]),
        ("name: two", "name: one", &["\"one\" and \"one\"", "name"]),
        (
            "384433",
            "384432",
            &["same uuid: 4c4c4544-0039-3010-8048-b7c04f384432"],
        ),
        ("00:00:02", "00:00:01", &["same MAC address: 52:54:00:00:00:01"]),
        ("name: two", "name: a/b", &["\"a/b\"", "letters"]),
        (
            "    ipmi: {listen: 127.0.0.1:6230}\n",
            "",
            &["\"one\"", "neither"],
        ),
        (
            "password: calvin",
            "password: calvin-and-hobbes-too",
            &["\"two\"", "21 bytes"],
        ),
        ("name: one", "name: one\n    name: uno", &["name"]),
    ] {
        let text = FLEET.replacen(from, to, 1);
        assert_ne!(text, FLEET, "{from}");
        let error = text.parse::<FleetConfig>().unwrap_err().to_string();
        for text in texts {
            assert!(error.contains(text), "{text:?} is not in: {error}");
        }
    }
}

#[test]
fn no_password_is_printed() {
    let fleet: FleetConfig = FLEET.parse().unwrap();
    assert!(!format!("{fleet:?}").contains("secret") && format!("{fleet:?}").contains("operator"));
    for (from, to, line) in [
        ("role: administrator", "role: king", "line 3"),
        ("password: operator-secret", "passwort: operator-secret", "line 4"),
        ("role: operator}", "role: operator", "line 6"),
        ("bmcs:", "\tbmcs:", "line 5"),
    ] {
        let error = FLEET.replacen(from, to, 1).parse::<FleetConfig>().unwrap_err();
        for text in [error.to_string(), format!("{error:?}")] {
            assert!(!text.contains("secret"), "{text}");
        }
        assert!(error.to_string().contains(line), "{error}");
    }
}

#[test]
fn a_file_without_bmcs_or_users_is_refused() {
    let error = "version: 1\nbmcs: []".parse::<FleetConfig>().unwrap_err();
    assert!(matches!(error, ConfigError::NoBmc), "{error}");
    let (_, bmcs) = FLEET.split_once("bmcs:").unwrap();
    let error = format!("version: 1\nbmcs:{bmcs}")
        .parse::<FleetConfig>()
        .unwrap_err()
        .to_string();
    assert!(error.contains("\"one\": it has no users"), "{error}");
}

#[test]
fn two_bmcs_may_not_listen_at_one_address() {
    let text = FLEET.replace(
        "redfish: {listen: '127.0.0.1:8443', max-sessions: 3}",
        "ipmi: {listen: 127.0.0.1:6230}",
    );
    let error = text.parse::<FleetConfig>().unwrap_err().to_string();
    assert!(error.contains("same ipmi address: 127.0.0.1:6230"), "{error}");
    // IPMI is UDP and Redfish TCP: one number for both is no conflict; nor is port 0, any free one
    FLEET.replace(":8443", ":6230").parse::<FleetConfig>().unwrap();
    FLEET
        .replace(":6230", ":0")
        .replace(":8443", ":0")
        .parse::<FleetConfig>()
        .unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_text_is_a_fleet_or_an_error(text in "\\PC{0,200}", cut in 0..FLEET.len(), junk in "[\\[\\]{}:&*!|>'\"%@`, \n\t-]{0,8}") {
        text.parse::<FleetConfig>().ok();
        let mutated = format!("{}{junk}{}", &FLEET[..cut], &FLEET[cut..]);
        mutated.parse::<FleetConfig>().ok();
    }
}

#[test]
fn the_example_of_the_docs_is_a_fleet() {
    let fleet: FleetConfig = include_str!("../../examples/fleet.yaml").parse().unwrap();
    assert_eq!(fleet.bmcs.len(), 2);
}
