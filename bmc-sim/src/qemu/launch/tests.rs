use super::*;
use crate::config::FleetConfig;

fn blueprint(folder: &Path, more: &str) -> Blueprint {
    let fleet: FleetConfig = format!(
        "
version: 1
users: [{{name: admin, password: admin-secret, role: administrator}}]
bmcs:
  - name: one
    ipmi: {{listen: 127.0.0.1:0}}
    machine:
      uuid: 4c4c4544-0039-3010-8048-b7c04f384432
      manufacturer: Metal Corp
      model: Model-X
      serial: SN-1
      firmware: bios
      macs: [52:54:00:00:00:01]
      qemu: {{folder: {}, taps: [no-such-tap], {more}}}
",
        folder.display()
    )
    .parse()
    .unwrap();
    let machine = fleet.bmcs[0].machine.clone();
    Blueprint {
        name: "one".into(),
        qemu: machine.qemu.clone().unwrap(),
        machine,
    }
}

#[test]
fn a_missing_disk_is_made_sparse_and_a_present_one_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let blueprint = blueprint(folder.path(), "disks: [{file: disk0.raw, size-mib: 1024}]");
    let (path, disk) = (folder.path().join("disk0.raw"), &blueprint.qemu.disks[0]);
    make_disk(&path, disk).unwrap();
    let made = fs::metadata(&path).unwrap();
    assert_eq!(made.len(), 1 << 30);
    assert!(std::os::unix::fs::MetadataExt::blocks(&made) < 100);
    fs::write(&path, "an operating system").unwrap();
    make_disk(&path, disk).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "an operating system");
}

#[test]
fn a_tap_that_does_not_exist_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut blueprint = blueprint(folder.path(), "");
    let error = blueprint.check_taps().unwrap_err().to_string();
    assert!(error.contains("\"no-such-tap\""), "{error}");
    blueprint.qemu.taps = vec!["lo".into()];
    blueprint.check_taps().unwrap();
}

#[tokio::test]
async fn an_old_socket_is_replaced_and_a_folder_in_its_place_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("qmp.sock");
    drop(listen(&path).unwrap());
    assert!(path.exists(), "the old socket stays until then");
    listen(&path).unwrap();
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let error = listen(&path).unwrap_err().to_string();
    assert!(error.contains(&path.display().to_string()), "{error}");
}

#[test]
fn only_the_end_of_a_long_standard_error_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let blueprint = blueprint(folder.path(), "");
    assert_eq!(blueprint.stderr(), "", "nothing started yet");
    let text = format!("{}the reason\n", "x".repeat(10_000));
    fs::write(folder.path().join(STDERR_LOG), text).unwrap();
    let shown = blueprint.stderr();
    assert!(
        shown.len() < STDERR_SHOWN && shown.ends_with("xthe reason"),
        "{shown}"
    );
}
