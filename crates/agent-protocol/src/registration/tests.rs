use proptest::prelude::*;

use super::*;

const UUID: &str = "4c4c4544-0039-3010-8048-b7c04f384432";

fn report() -> Registration {
    Registration {
        id: UUID.parse().unwrap(),
        hostname: "rack1-u01".into(),
        boot_mac: Some(Mac::new([0x52, 0x54, 0, 0x77, 0, 1])),
        hardware: Hardware {
            system: System {
                manufacturer: "Metal Corp".into(),
                product_name: "Model-X".into(),
                serial_number: "SN-0001".into(),
                ..System::default()
            },
            processors: vec![Processor {
                core_count: 4,
                thread_count: 8,
                speed: 2000,
                ..Processor::default()
            }],
            memory: vec![MemoryModule {
                kind: "DDR5".into(),
                size: 131_072,
                ..MemoryModule::default()
            }],
            disks: vec![Disk {
                kind: DiskKind::Nvme,
                size: 1 << 40,
                serial: "D-1".into(),
                ..Disk::default()
            }],
            interfaces: vec![Interface {
                index: 2,
                name: "eth0".into(),
                flags: "up|broadcast|multicast".into(),
                mtu: 1500,
                mac: Mac::new([0x52, 0x54, 0, 0x77, 0, 1]),
                addresses: vec!["10.77.0.100/24".into()],
            }],
        },
    }
}

#[test]
fn a_report_comes_out_of_its_message_as_it_went_in() {
    let message = api::CreateServerRequest::from(report());
    let compute = message.hardware.clone().unwrap().compute.unwrap();
    assert_eq!(
        (
            compute.total_core_count,
            compute.total_thread_count,
            compute.processor_count
        ),
        (4, 8, 1)
    );
    assert_eq!(Registration::try_from(message), Ok(report()));
}

#[test]
fn what_a_report_must_not_say_is_refused_by_name() {
    type Spoil = fn(&mut api::CreateServerRequest);
    let cases: [(Spoil, &str); 9] = [
        (|r| r.hardware = None, "hardware is missing"),
        (
            |r| r.hardware.as_mut().unwrap().system = None,
            "hardware.system is missing",
        ),
        (
            |r| system(r).uuid = "00000000-0000-0000-0000-000000000000".into(),
            "\"00000000-0000-0000-0000-000000000000\" does not name a machine",
        ),
        (
            |r| system(r).serial_number = "x".repeat(257),
            "system.serial_number is 257 bytes long",
        ),
        (
            |r| system(r).family = "a\u{1b}[2J".into(),
            "system.family has control characters",
        ),
        (
            |r| r.boot_mac = "52:54".into(),
            "boot_mac: \"52:54\" is not a MAC address",
        ),
        (
            |r| r.hardware.as_mut().unwrap().memory.as_mut().unwrap().modules[0].size = u32::MAX,
            "modules.size is 4294967295",
        ),
        (
            |r| r.hardware.as_mut().unwrap().storage.as_mut().unwrap().devices[0].size = u64::MAX,
            "devices.size is 18446744073709551615",
        ),
        (
            |r| {
                let network = r.hardware.as_mut().unwrap().network.as_mut().unwrap();
                network.interfaces = vec![network.interfaces[0].clone(); MAX_ITEMS + 1];
            },
            "interfaces has 257 items, 256 are allowed",
        ),
    ];
    for (spoil, text) in cases {
        let mut message = report().into();
        spoil(&mut message);
        let error = Registration::try_from(message).unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    }
}

#[test]
fn as_many_items_as_allowed_are_taken() {
    let mut full = report();
    full.hardware.interfaces = vec![full.hardware.interfaces[0].clone(); MAX_ITEMS];
    let message = api::CreateServerRequest::from(full.clone());
    assert_eq!(Registration::try_from(message), Ok(full));
}

#[test]
fn counts_that_do_not_fit_their_lists_are_not_believed() {
    let mut message = api::CreateServerRequest::from(report());
    let hardware = message.hardware.as_mut().unwrap();
    hardware.storage.as_mut().unwrap().device_count = u32::MAX;
    hardware.compute.as_mut().unwrap().processor_count = 0;
    assert_eq!(Registration::try_from(message), Ok(report()));
}

fn system(request: &mut api::CreateServerRequest) -> &mut api::SystemInformation {
    request.hardware.as_mut().unwrap().system.as_mut().unwrap()
}

proptest! {
    #[test]
    fn any_bytes_are_a_report_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        use prost::Message as _;
        if let Ok(message) = api::CreateServerRequest::decode(bytes.as_slice()) {
            let _ = Registration::try_from(message);
        }
    }
}
