//! Machines that are QEMU processes: power, boots, and no process left behind.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

mod common;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::program::Program;
use tempfile::TempDir;

/// Size of the disk: other than the fleet file says, and at least a cylinder, or SeaBIOS cannot read it.
const DISK: u64 = 2 << 20;

/// For things that take a fraction of a second on a quiet machine.
const WAIT: Duration = Duration::from_secs(20);

/// Waits for ever: `hlt`, and again.
const HANG: &[u8] = &[0xf4, 0xeb, 0xfd];

/// Switches the board `pc` off through its ACPI port: `out 0x604, 0x2000`.
const SWITCH_OFF: &[u8] = &[0xba, 0x04, 0x06, 0xb8, 0x00, 0x20, 0xef, 0xf4, 0xeb, 0xfd];

/// Resets the first time: it keeps in the boot sector itself, on the disk, that it did.
#[rustfmt::skip]
const RESET_ONCE: &[u8] = &[
    0x80, 0x3e, 0xf0, 0x7d, 0x00,       // cmp byte [0x7df0], 0
    0x75, 0x17,                         // jne hang
    0xc6, 0x06, 0xf0, 0x7d, 0x01,       // mov byte [0x7df0], 1
    0xb8, 0x01, 0x03, 0xbb, 0x00, 0x7c, // write one sector from 0x7c00
    0xb9, 0x01, 0x00, 0xba, 0x80, 0x00, // to the first of the first disk
    0xcd, 0x13,
    0xb0, 0xfe, 0xe6, 0x64,             // reset by the keyboard controller
    0xf4, 0xeb, 0xfd,                   // hang: hlt, and again
];

/// A boot sector that prints `text` to COM1 and does `then`.
fn boot_sector(text: &str, then: &[u8]) -> Vec<u8> {
    #[rustfmt::skip]
    let mut sector = vec![
        0xfc, 0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xc0, // cld; ds = es = 0
        0xbe, 0, 0,                               // mov si, text
        0xac, 0x84, 0xc0, 0x74, 0x06,             // next: lodsb; at its end go on
        0xba, 0xf8, 0x03, 0xee, 0xeb, 0xf5,       // out 0x3f8, al; jmp next
    ];
    sector.extend(then);
    let address = 0x7c00 + u16::try_from(sector.len()).unwrap();
    sector[8..10].copy_from_slice(&address.to_le_bytes());
    sector.extend(text.bytes().chain([0]));
    assert!(sector.len() < 0x1f0, "room for the mark of RESET_ONCE");
    sector.resize(510, 0);
    sector.extend([0x55, 0xaa]);
    sector
}

/// One BIOS machine without network cards behind the real program.
struct Bench {
    program: Program,
    control: String,
    folder: TempDir,
}

impl Bench {
    async fn new(sector: &[u8]) -> Self {
        let missing = "apt-get install -y --no-install-recommends qemu-system-x86 ipxe-qemu";
        let version = tokio::process::Command::new("qemu-system-x86_64")
            .arg("--version")
            .output();
        let version = version
            .await
            .unwrap_or_else(|error| panic!("cannot run qemu-system-x86_64: {error}; {missing}"));
        assert!(version.status.success(), "{version:?}; {missing}");

        let folder = tempfile::tempdir().unwrap();
        let mut disk = std::fs::File::create(folder.path().join("disk0.raw")).unwrap();
        disk.write_all(sector).unwrap();
        disk.set_len(DISK).unwrap();
        let fleet = format!(
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
      boot-order: [disk]
      timings: {{on: 10ms, off: 10ms}}
      qemu:
        folder: {}
        memory-mib: 64
        disks: [{{file: disk0.raw, size-mib: 1, serial: DISK-0}}]
",
            folder.path().display()
        );
        let path = folder.path().join("fleet.yaml");
        std::fs::write(&path, fleet).unwrap();
        let mut program = Program::start(&path, &["--control", "127.0.0.1:0"]);
        let control = program.says("curl http://127.0.0.1:").await;
        let control = control
            .trim_start_matches("curl ")
            .trim_end_matches("/bmcs")
            .to_owned();
        Self {
            program,
            control,
            folder,
        }
    }

    async fn power(&self, verb: &str) {
        let (body, url) = (
            format!("{{\"verb\": \"{verb}\"}}"),
            format!("{}/bmcs/one/power", self.control),
        );
        let answer = common::curl(&["-d", &body, &url]).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    fn serial_log(&self) -> String {
        let bytes = std::fs::read(self.folder.path().join("serial.log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until the serial log has `text` so often.
    async fn serial_says(&self, text: &str, times: usize) {
        common::until(WAIT, async || {
            let log = self.serial_log();
            if log.matches(text).count() == times {
                Ok(())
            } else {
                Err(format!("{text:?} is not there {times} times: {log}"))
            }
        })
        .await;
    }

    /// The effects in the power log so far: verb, before, after, cause.
    async fn effects(&self) -> Vec<String> {
        let answer = common::curl(&[&format!("{}/power-log", self.control)])
            .await
            .unwrap()
            .json();
        let entries = answer["entries"].as_array().unwrap().iter();
        entries
            .filter(|entry| entry["event"] == "effect")
            .map(|entry| {
                let words = ["verb", "before", "after", "cause"].map(|key| entry[key].as_str().unwrap());
                words.join(" ")
            })
            .collect()
    }

    /// Waits until the last effect is that.
    async fn goes_off_by_itself(&self) {
        common::until(WAIT, async || {
            let effects = self.effects().await;
            if effects.last().unwrap() == "off on off host shut itself down" {
                Ok(())
            } else {
                Err(format!("{effects:?}"))
            }
        })
        .await;
    }

    async fn no_process_is_left(&self) {
        common::until(WAIT, async || {
            if qemus(self.folder.path()).is_empty() {
                Ok(())
            } else {
                Err("QEMU still runs".into())
            }
        })
        .await;
    }
}

/// The QEMU processes whose files are in `folder`.
fn qemus(folder: &Path) -> Vec<PathBuf> {
    let folder = folder.to_str().unwrap();
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    processes
        .map(|entry| entry.path())
        .filter(|path| {
            let line = std::fs::read(path.join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line);
            line.contains("-uuid") && line.contains(folder)
        })
        .collect()
}

#[tokio::test]
async fn a_machine_boots_from_its_disk_resets_and_goes_off() {
    let bench = Bench::new(&boot_sector("hello from disk\r\n", HANG)).await;
    assert!(qemus(bench.folder.path()).is_empty(), "it starts off");

    bench.power("on").await;
    bench.serial_says("hello from disk", 1).await;
    assert!(bench.serial_log().contains("power on, boot order disk ---"));
    let first = qemus(bench.folder.path());
    assert_eq!(first.len(), 1);
    // Which of the devices it booted is the firmware's secret.
    let shown = common::curl(&[&format!("{}/bmcs/one", bench.control)])
        .await
        .unwrap()
        .json();
    assert_eq!(
        (&shown["machine"]["tried"], &shown["machine"]["booted"]),
        (&serde_json::json!(["disk"]), &serde_json::Value::Null)
    );

    bench.power("reset").await;
    bench.serial_says("hello from disk", 2).await;
    let second = qemus(bench.folder.path());
    assert_eq!(second.len(), 1, "one at a time");
    assert_ne!(first, second, "a reset is a new process");

    bench.power("off").await;
    bench.no_process_is_left().await;
    assert_eq!(
        bench.effects().await,
        [
            "on off on command",
            "boot post disk boot order",
            "reset on on command",
            "boot post disk boot order",
            "off on off command",
        ]
    );
    let disk = std::fs::metadata(bench.folder.path().join("disk0.raw")).unwrap();
    assert_eq!(disk.len(), DISK, "a disk that was there keeps its size");
}

#[tokio::test]
async fn no_process_outlives_the_simulator_however_it_ends() {
    let sector = boot_sector("hello from disk\r\n", HANG);
    for signal in ["KILL", "TERM"] {
        let mut bench = Bench::new(&sector).await;
        bench.power("on").await;
        bench.serial_says("hello from disk", 1).await;
        bench.program.signal(signal).await;
        bench.program.child.wait().await.unwrap();
        bench.no_process_is_left().await;
    }
}

#[tokio::test]
async fn a_host_that_resets_itself_is_started_anew() {
    let bench = Bench::new(&boot_sector("about to reset\r\n", RESET_ONCE)).await;
    bench.power("on").await;
    bench.serial_says("about to reset", 2).await;
    assert_eq!(
        bench.serial_log().matches("--- ").count(),
        2,
        "{}",
        bench.serial_log()
    );
    assert_eq!(qemus(bench.folder.path()).len(), 1);
    assert_eq!(
        bench.effects().await,
        [
            "on off on command",
            "boot post disk boot order",
            "reset on on host restarted itself",
            "boot post disk boot order",
        ]
    );
}

#[tokio::test]
async fn a_host_that_switches_itself_off_is_off() {
    let bench = Bench::new(&boot_sector("good night\r\n", SWITCH_OFF)).await;
    bench.power("on").await;
    bench.serial_says("good night", 1).await;
    bench.no_process_is_left().await;
    bench.goes_off_by_itself().await;
}

#[tokio::test]
async fn a_qemu_that_dies_is_a_machine_that_is_off_and_says_why() {
    let mut bench = Bench::new(&boot_sector("hello from disk\r\n", HANG)).await;
    bench.power("on").await;
    bench.serial_says("hello from disk", 1).await;
    let process = qemus(bench.folder.path());
    let pid = process[0].file_name().unwrap().to_str().unwrap();
    assert!(common::run("kill", &["-s", "KILL", pid]).await.ok);
    let said = said_with(&mut bench.program, "QEMU ended unexpectedly").await;
    assert!(said.contains("signal: 9"), "{said}");
    bench.goes_off_by_itself().await;

    // and one that cannot even start
    std::fs::remove_file(bench.folder.path().join("disk0.raw")).unwrap();
    std::fs::create_dir(bench.folder.path().join("disk0.raw")).unwrap();
    bench.power("on").await;
    let said = said_with(&mut bench.program, "cannot be started").await;
    assert!(said.contains("disk0.raw"), "{said}");
    bench.goes_off_by_itself().await;
}

/// Reads up to the line of the program's log that contains `text`.
async fn said_with(program: &mut Program, text: &str) -> String {
    let line = async {
        while let Some(line) = program.stderr.next_line().await.unwrap() {
            if line.contains(text) {
                return line;
            }
        }
        panic!("the program ended without {text:?}")
    };
    tokio::time::timeout(WAIT, line).await.unwrap()
}
