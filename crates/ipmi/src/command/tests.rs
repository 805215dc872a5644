use std::fmt::Debug;

use proptest::prelude::*;

use super::*;
use crate::types::{CipherSuite, Secret, UserName};

/// A value and its bytes, as the standard's tables have them.
fn golden<T: Wire + PartialEq + Debug>(value: &T, bytes: &[u8]) {
    assert_eq!(value.encode(), bytes, "{value:?}");
    assert_eq!(T::decode(bytes).as_ref(), Ok(value), "{bytes:02x?}");
    // Every byte is needed, and more are ignored unless they are data of variable length.
    if let Some(short) = bytes.len().checked_sub(1) {
        assert_ne!(
            T::decode(&bytes[..short]).as_ref(),
            Ok(value),
            "without its last byte: {bytes:02x?}"
        );
    }
}

#[test]
fn power_commands_have_the_bytes_of_the_standard() {
    for (number, action) in (0u8..).zip(ChassisControl::ALL) {
        golden(&action, &[number]);
    }
    assert!(ChassisControl::decode(&[6]).is_err());
    let status = ChassisStatus {
        power_on: true,
        overload: false,
        interlock: false,
        fault: true,
        control_fault: false,
        restore_policy: RestorePolicy::Previous,
        last_event: LastPowerEvent {
            ac_failed: true,
            on_by_command: true,
            ..LastPowerEvent::default()
        },
        misc: 0x40,
        front_panel: None,
    };
    golden(&status, &[0x29, 0x11, 0x40]);
    golden(
        &ChassisStatus {
            front_panel: Some(0x0f),
            ..status
        },
        &[0x29, 0x11, 0x40, 0x0f],
    );
    golden(
        &RestartCause {
            cause: RestartCause::CHASSIS_CONTROL,
            channel: 1,
        },
        &[1, 1],
    );
    golden(
        &ChassisIdentify {
            seconds: 15,
            forever: true,
        },
        &[15, 1],
    );
    assert_eq!(
        ChassisIdentify::decode(&[]),
        Ok(ChassisIdentify {
            seconds: 15,
            forever: false
        })
    );
}

#[test]
fn boot_options_have_the_bytes_that_the_original_sends() {
    let set = |option: BootOption| SetBootOption::from(option);
    let flags = |efi| BootOption::Flags(BootFlags::once(BootDevice::Pxe, efi));
    golden(
        &set(BootOption::SetInProgress(SetInProgress::InProgress)),
        &[0, 1],
    );
    golden(
        &set(BootOption::InfoAcknowledge {
            write_mask: 1,
            data: 1,
        }),
        &[4, 1, 1],
    );
    golden(&set(flags(false)), &[5, 0x80, 4, 0, 0, 0]);
    golden(&set(flags(true)), &[5, 0xa0, 4, 0, 0, 0]);
    golden(
        &set(BootOption::SetInProgress(SetInProgress::CommitWrite)),
        &[0, 2],
    );
    golden(&set(BootOption::SetInProgress(SetInProgress::Complete)), &[0, 0]);
    golden(&set(BootOption::ValidBitClearing(0x08)), &[3, 8]);
    golden(&GetBootOption::from(BootParameter::FLAGS), &[5, 0, 0]);
    golden(
        &BootOptionResponse {
            invalid: true,
            option: flags(true),
        },
        &[1, 0x85, 0xa0, 4, 0, 0, 0],
    );
}

#[test]
fn boot_flags_keep_the_bits_they_do_not_name() {
    let flags = BootFlags([0xff; 5]);
    assert!(flags.valid() && flags.persistent() && flags.efi());
    assert_eq!(flags.device(), BootDevice::Other(0x0f));
    let cleared = flags.with_valid(false).with_persistent(false);
    assert_eq!(cleared, BootFlags([0x3f, 0xff, 0xff, 0xff, 0xff]));
    for number in 0..16 {
        assert_eq!(BootDevice::from_number(number).number(), number);
    }
}

#[test]
fn user_commands_have_the_bytes_that_the_original_sends() {
    let access = SetUserAccess {
        channel: 1,
        user: 3,
        change_flags: true,
        callback_only: false,
        link_auth: false,
        messaging: true,
        limit: Some(Privilege::Administrator),
        session_limit: Some(0),
    };
    golden(&access, &[0x91, 3, 4, 0]);
    golden(&GetUserAccess { channel: 1, user: 1 }, &[1, 1]);
    golden(&GetUserName(3), &[3]);
    let name = UserName::new("sidero").unwrap();
    golden(&SetUserName { user: 3, name }, b"\x03sidero\0\0\0\0\0\0\0\0\0\0");
    golden(
        &UserAccess {
            max_users: 63,
            enabled_users: 2,
            fixed_names: 1,
            state: UserState::Enabled,
            callback_only: false,
            link_auth: false,
            messaging: true,
            limit: None,
        },
        &[63, 0x42, 1, 0x1f],
    );
}

#[test]
fn passwords_have_16_or_20_bytes() {
    let secret = Secret::new("0123456789abcdefghij").unwrap();
    assert!(!secret.fits_16());
    assert!(Secret::new("0123456789abcdef").unwrap().fits_16());
    assert!(Secret::new("0123456789abcdefghijk").is_err());
    let set = |long, operation| SetUserPassword {
        user: 3,
        long,
        operation,
    };
    golden(
        &set(true, PasswordOperation::Set(secret)),
        b"\x83\x020123456789abcdefghij",
    );
    let short = Secret::new("0123456789abcdef").unwrap();
    golden(
        &set(false, PasswordOperation::Test(short)),
        b"\x03\x030123456789abcdef",
    );
    golden(&set(false, PasswordOperation::Enable), &[3, 1]);
    // ipmitool sends 16 zeros with *enable*.
    let padded = [&[3, 1][..], &[0; 16]].concat();
    assert_eq!(
        SetUserPassword::decode(&padded),
        Ok(set(false, PasswordOperation::Enable))
    );
}

#[test]
fn a_device_id_without_auxiliary_bytes_is_read() {
    let id = DeviceId {
        device_id: 0x20,
        device_revision: 1,
        provides_sdrs: true,
        initializing: true,
        firmware_major: 2,
        firmware_minor: 0x15,
        ipmi_version: 2,
        support: 0xbf,
        manufacturer: 674,
        product: 0x0100,
        auxiliary: None,
    };
    golden(&id, &[0x20, 0x81, 0x82, 0x15, 2, 0xbf, 0xa2, 2, 0, 0, 1]);
    assert_eq!(id.firmware(), "2.15");
    let auxiliary = Some([1, 2, 3, 4]);
    golden(
        &DeviceId { auxiliary, ..id },
        &[0x20, 0x81, 0x82, 0x15, 2, 0xbf, 0xa2, 2, 0, 0, 1, 1, 2, 3, 4],
    );
}

#[test]
fn lan_parameters_are_read_as_address_mac_and_port() {
    golden(&GetLanConfig::new(1, LanParameter::IP_ADDRESS), &[1, 3, 0, 0]);
    let config = LanConfig {
        revision: 0x11,
        data: vec![192, 168, 0, 1, 5, 6],
    };
    golden(&config, &[0x11, 192, 168, 0, 1, 5, 6]);
    assert_eq!(config.ipv4().unwrap().to_string(), "192.168.0.1");
    assert_eq!(config.mac(), Ok([192, 168, 0, 1, 5, 6]));
    assert_eq!(
        LanConfig {
            revision: 0x11,
            data: vec![0x6f, 2]
        }
        .port(),
        Ok(623)
    );
    assert!(
        LanConfig {
            revision: 0x11,
            data: vec![1]
        }
        .ipv4()
        .is_err()
    );
}

#[test]
fn channel_questions_have_the_bytes_that_ipmitool_sends_and_reads() {
    let question = GetChannelAuthCapabilities {
        channel: CHANNEL_PRESENT,
        extended: true,
        privilege: Privilege::Operator,
    };
    golden(&question, &[0x8e, 3]);
    let answer = AuthCapabilities {
        channel: 1,
        types_15: 0,
        two_key: false,
        per_message_disabled: false,
        user_level_disabled: false,
        named_users: true,
        null_users: false,
        anonymous: false,
        extended: Some((false, true)),
        oem: 0,
        oem_data: 0,
    };
    golden(&answer, &[1, 0x80, 4, 2, 0, 0, 0, 0]);
    assert!(answer.speaks_rmcp_plus());
    golden(&SetSessionPrivilegeLevel(None), &[0]);
    golden(&SetSessionPrivilegeLevel(Some(Privilege::Administrator)), &[4]);
    golden(&CloseSession(0x0403_0201), &[1, 2, 3, 4]);
}

#[test]
fn the_suite_list_travels_in_pieces_of_16_bytes_and_foreign_records_are_skipped() {
    let records = cipher_suite_records(&CipherSuite::ALL);
    assert_eq!(records, [0xc0, 17, 0x03, 0x44, 0x81, 0xc0, 3, 0x01, 0x41, 0x81]);
    assert_eq!(suites_in_records(&records), CipherSuite::ALL);
    let oem = [&[0xc1, 17, 1, 2, 3, 0x01, 0xc0, 0, 0, 0x40, 0x80], &records[5..]].concat();
    assert_eq!(suites_in_records(&oem), [CipherSuite::Suite3]);
    let long: Vec<u8> = (0..20).collect();
    let [first, second, third] = [0, 1, 2].map(|index| CipherSuiteChunk::of(1, &long, index));
    assert_eq!(
        (first.records.len(), second.records.len(), third.records.len()),
        (16, 4, 0)
    );
    assert!(!first.is_last() && second.is_last());
}

#[test]
fn power_needs_operator_and_user_management_administrator() {
    assert_eq!(required_privilege(NetFn::CHASSIS, 1), Some(Privilege::User));
    assert_eq!(required_privilege(NetFn::CHASSIS, 2), Some(Privilege::Operator));
    assert_eq!(
        required_privilege(NetFn::APP, 0x47),
        Some(Privilege::Administrator)
    );
    assert_eq!(required_privilege(NetFn::APP, 0x38), None);
    assert_eq!(required_privilege(NetFn::new(0x2c), 0), Some(Privilege::User));
}

proptest! {
    #[test]
    fn whatever_decodes_as_data_of_a_command_survives_encoding(data in prop::collection::vec(any::<u8>(), 0..40)) {
        crate::fuzz::commands(&data);
    }
}
