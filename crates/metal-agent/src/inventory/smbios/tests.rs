//! Tables are built here from the standard's offsets.

use super::*;

const UUID: [u8; 16] = [
    0xd2, 0x01, 0x25, 0x3e, 0x48, 0xe6, 0xe8, 0x11, 0x9b, 0x9f, 0, 1, 2, 3, 4, 5,
];

/// One structure: type, length and handle, then `fields` (offset, bytes) in a formatted area of `length`, then texts.
fn structure(kind: u8, length: u8, fields: &[(usize, &[u8])], texts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = vec![0; length.into()];
    bytes[0] = kind;
    bytes[1] = length;
    for (offset, field) in fields {
        bytes[*offset..offset + field.len()].copy_from_slice(field);
    }
    for text in texts {
        bytes.extend_from_slice(text);
        bytes.push(0);
    }
    bytes.extend(if texts.is_empty() { &[0, 0][..] } else { &[0] });
    bytes
}

fn system(uuid: &[u8; 16]) -> Vec<u8> {
    let texts: [&[u8]; 6] = [
        b" Metal Corp ",
        b"Model-X",
        b"1.0\x07",
        b"SN-0001",
        b"SKU9",
        b"F\xff",
    ];
    let fields: [(usize, &[u8]); 4] = [(4, &[1, 2, 3, 4]), (8, uuid), (25, &[5]), (26, &[6])];
    structure(1, 27, &fields, &texts)
}

fn processor_table(status: u8, cores: u8, cores2: u16) -> Vec<u8> {
    let fields: [(usize, &[u8]); 8] = [
        (0x07, &[1]),                        // manufacturer
        (0x10, &[2]),                        // version
        (0x16, &2400_u16.to_le_bytes()),     // current speed
        (0x18, &[status]),                   // status
        (0x23, &[cores, cores, cores]),      // cores, enabled, threads
        (0x2a, &cores2.to_le_bytes()),       // cores 2
        (0x2c, &cores2.to_le_bytes()),       // enabled 2
        (0x2e, &(2 * cores2).to_le_bytes()), // threads 2
    ];
    structure(4, 0x30, &fields, &[b"Maker", b"Maker(R) CPU @ 2.4GHz"])
}

fn memory_table(size: u16, extended: u32, kind: u8, speed: u16, extended_speed: u32) -> Vec<u8> {
    let fields: [(usize, &[u8]); 8] = [
        (0x0c, &size.to_le_bytes()),
        (0x12, &[kind]),
        (0x15, &speed.to_le_bytes()),
        (0x17, &[1]), // manufacturer
        (0x18, &[2]), // serial number
        (0x1a, &[3]), // part number
        (0x1c, &extended.to_le_bytes()),
        (0x54, &extended_speed.to_le_bytes()),
    ];
    structure(17, 0x5c, &fields, &[b"Maker", b"S1", b"PART-1   "])
}

fn parsed(tables: &[Vec<u8>]) -> Smbios {
    let mut bytes = tables.concat();
    bytes.extend([127, 4, 0, 0, 0, 0]);
    parse((3, 0), bytes).unwrap()
}

#[test]
fn the_uuid_is_printed_as_ipxe_prints_it() {
    let id = |version| parse(version, system(&UUID)).unwrap().id.to_string();
    assert_eq!(id((2, 6)), "3e2501d2-e648-11e8-9b9f-000102030405");
    assert_eq!(id((3, 3)), "3e2501d2-e648-11e8-9b9f-000102030405");
    assert_eq!(id((2, 5)), "d201253e-48e6-e811-9b9f-000102030405");
}

#[test]
fn a_uuid_that_was_never_set_is_refused() {
    let error = |byte| parse((3, 0), system(&[byte; 16])).unwrap_err().to_string();
    assert!(error(0).contains("00000000-0000-0000-0000-000000000000, which names no machine"));
    assert!(error(0xff).contains("ffffffff-ffff-ffff-ffff-ffffffffffff, which names no machine"));
}

#[test]
fn tables_without_system_information_are_refused() {
    assert!(matches!(
        parse((3, 0), vec![127, 4, 0, 0, 0, 0]),
        Err(InventoryError::NoSystem)
    ));
    assert!(matches!(parse((3, 0), vec![]), Err(InventoryError::NoSystem)));
}

#[test]
fn texts_of_the_system_are_cleaned() {
    let system = parsed(&[system(&UUID)]).system;
    assert_eq!(system.manufacturer, "Metal Corp");
    assert_eq!(system.product_name, "Model-X");
    assert_eq!(system.version, "1.0");
    assert_eq!(system.serial_number, "SN-0001");
    assert_eq!(system.sku_number, "SKU9");
    assert_eq!(system.family, "F\u{fffd}");
}

#[test]
fn empty_sockets_are_left_out_and_many_cores_are_counted_in_16_bits() {
    let sockets = [
        processor_table(0x41, 8, 8),
        processor_table(0, 8, 8),
        processor_table(0x41, 0xff, 300),
    ];
    let processors = parsed(&[vec![system(&UUID)], sockets.to_vec()].concat()).processors;
    let seen: Vec<_> = processors
        .iter()
        .map(|cpu| (cpu.core_count, cpu.thread_count, cpu.speed))
        .collect();
    assert_eq!(seen, [(8, 16, 2400), (300, 600, 2400)]);
    assert_eq!(processors[0].manufacturer, "Maker");
    assert_eq!(processors[0].product_name, "Maker(R) CPU @ 2.4GHz");
}

#[test]
fn memory_of_any_size_is_in_mib_with_the_standards_names() {
    let devices = [
        memory_table(16384, 0, 0x1a, 3200, 0),
        memory_table(0x7fff, 131_072, 0x22, 0xffff, 70_000),
        memory_table(0x8000 | 2048, 0, 0x18, 0, 0),
        memory_table(0, 0, 0x1a, 3200, 0),      // an empty slot
        memory_table(0xffff, 0, 0x1a, 3200, 0), // nobody knows
    ];
    let memory = parsed(&[vec![system(&UUID)], devices.to_vec()].concat()).memory;
    let seen: Vec<_> = memory
        .iter()
        .map(|module| (module.size, module.kind.as_str(), module.speed))
        .collect();
    assert_eq!(
        seen,
        [(16384, "DDR4", 3200), (131_072, "DDR5", 70_000), (2, "DDR3", 0)]
    );
    assert_eq!(memory[0].product_name, "PART-1");
    assert_eq!(memory[0].serial_number, "S1");
}

#[test]
fn the_version_is_in_either_entry_point() {
    let tables = |entry_point: &[u8]| {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("smbios_entry_point"), entry_point).unwrap();
        fs::write(folder.path().join("DMI"), system(&UUID)).unwrap();
        read(folder.path()).map(|smbios| smbios.id.to_string())
    };
    assert!(tables(b"_SM_\0\x1f\x02\x05\0").unwrap().starts_with("d201253e"));
    assert!(tables(b"_SM_\0\x1f\x02\x08\0").unwrap().starts_with("3e2501d2"));
    assert!(tables(b"_SM3_\0\x18\x03\x03\0").unwrap().starts_with("3e2501d2"));
    assert!(matches!(tables(b"_DMI_"), Err(InventoryError::EntryPoint(_))));
    assert!(matches!(tables(b"_SM_"), Err(InventoryError::EntryPoint(_))));
}

#[test]
fn no_table_ends_the_process() {
    let good = [
        system(&UUID),
        processor_table(0x41, 0xff, 300),
        memory_table(0x7fff, 131_072, 0x22, 0xffff, 70_000),
        vec![127, 4, 0, 0, 0, 0],
    ]
    .concat();
    for length in 0..good.len() {
        let _ = parse((3, 0), good[..length].to_vec());
    }
    for at in 0..good.len() {
        for value in 0..=u8::MAX {
            let mut tables = good.clone();
            tables[at] = value;
            let _ = parse((3, 0), tables);
        }
    }
}
