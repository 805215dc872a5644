use std::collections::BTreeSet;
use std::fs::FileTimes;
use std::time::SystemTime;

use super::*;

const HOUR: Duration = Duration::from_hours(1);

fn record(size: u64) -> Record {
    Record {
        url: "http://h/k".into(),
        sha512: "ab".into(),
        size,
    }
}

fn install(folder: &Folder, name: &str, part: Part) {
    let mut file = folder.begin(name, HOUR).unwrap();
    file.write_all(b"1234").unwrap();
    folder
        .install(file.into_temp_path(), name, part, &record(4))
        .unwrap();
}

fn names(folder: &Path) -> BTreeSet<String> {
    let listed = fs::read_dir(folder).unwrap();
    listed
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn a_file_is_what_its_record_says_until_it_is_withdrawn() {
    let data = tempfile::tempdir().unwrap();
    let folder = Folder::of(data.path());
    assert_eq!(folder.record("e", Part::Kernel), None);
    install(&folder, "e", Part::Kernel);
    assert_eq!(folder.record("e", Part::Kernel), Some(record(4)));
    assert_eq!(folder.record("e", Part::Initrd), None);
    let env = data.path().join("env/e");
    assert_eq!(
        names(&env),
        ["vmlinuz", ".vmlinuz.json"].map(str::to_owned).into()
    );

    // One that is not as it was is none.
    fs::write(env.join("vmlinuz"), "123").unwrap();
    assert_eq!(folder.record("e", Part::Kernel), None);
    folder.withdraw("e", Part::Kernel).unwrap();
    folder.withdraw("e", Part::Kernel).unwrap();
    assert!(names(&env).is_empty());
}

#[test]
fn a_download_that_is_given_up_leaves_nothing_and_old_ones_are_removed() {
    let data = tempfile::tempdir().unwrap();
    let folder = Folder::of(data.path());
    drop(folder.begin("e", HOUR).unwrap());
    assert!(names(&data.path().join("env/e")).is_empty());

    let (_, young) = folder.begin("e", HOUR).unwrap().keep().unwrap();
    let (file, old) = folder.begin("e", HOUR).unwrap().keep().unwrap();
    let then = SystemTime::now() - HOUR * 2;
    file.set_times(FileTimes::new().set_modified(then)).unwrap();
    drop(folder.begin("e", HOUR).unwrap());
    assert!(young.exists() && !old.exists());
}

#[test]
fn only_what_was_made_for_environments_that_are_gone_is_removed() {
    let data = tempfile::tempdir().unwrap();
    let folder = Folder::of(data.path());
    folder.sweep(|_| false).unwrap();
    let env = data.path().join("env");
    for name in ["gone", "there", "shared", "agent-amd64"] {
        install(&folder, name, Part::Kernel);
    }
    install(&folder, "gone", Part::Initrd);
    folder.begin("gone", HOUR).unwrap().keep().unwrap();
    fs::write(env.join("shared/initramfs.xz"), "a site's own").unwrap();
    fs::create_dir(env.join("site")).unwrap();
    fs::write(env.join("site/vmlinuz"), "a site's own").unwrap();
    fs::write(env.join("file"), "a site's own").unwrap();

    folder.sweep(|name| name == "there").unwrap();
    let left = ["agent-amd64", "there", "shared", "site", "file"];
    assert_eq!(names(&env), left.map(str::to_owned).into());
    assert_eq!(names(&env.join("shared")), ["initramfs.xz".to_owned()].into());
    assert_eq!(names(&env.join("site")), ["vmlinuz".to_owned()].into());
    assert_eq!(names(&env.join("agent-amd64")).len(), 2);
    assert_eq!(names(&env.join("there")).len(), 2);
}
