//! The program itself: what it says, how it ends, what it refuses.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

mod common;

use common::FLEET;
use common::program::{Program, file};

#[tokio::test]
async fn it_says_what_listens_where_and_ends_cleanly_on_both_signals() {
    let (fleet, log) = (file(FLEET), file(""));
    for signal in ["TERM", "INT"] {
        let args = [
            "--control",
            "127.0.0.1:0",
            "--power-log",
            log.path().to_str().unwrap(),
        ];
        let mut program = Program::start(fleet.path(), &args);
        let bios = program.says("bios").await;
        assert!(
            bios.contains("ipmi 127.0.0.1:") && bios.contains("redfish https://127.0.0.1:"),
            "{bios}"
        );
        assert!(program.says("uefi").await.contains("redfish http://127.0.0.1:"));
        assert!(program.says("ipmitool").await.contains("-U admin"));
        program.says("curl -k -u admin").await;
        let control = program.says("curl http://127.0.0.1:").await;
        let url = control
            .trim_start_matches("curl ")
            .replace("/bmcs", "/bmcs/bios/power");
        let on = common::curl(&["-d", r#"{"verb": "on"}"#, &url]).await.unwrap();
        assert_eq!(on.status, 200);
        program.signal(signal).await;
        assert!(program.child.wait().await.unwrap().success());
    }
    // appended, not begun anew
    let lines = std::fs::read_to_string(log.path()).unwrap();
    let received = lines
        .lines()
        .filter(|line| line.contains("\"event\":\"received\""));
    assert_eq!(received.count(), 2, "{lines}");
}

#[tokio::test]
async fn what_keeps_it_from_starting_is_said() {
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = format!("ipmi: {{listen: {}}}", taken.local_addr().unwrap());
    for (text, args, wanted) in [
        (
            FLEET.replace("ipmi: {listen: 127.0.0.1:0}", &port),
            &[][..],
            "for IPMI of BMC \"bios\"",
        ),
        (FLEET.replace("version: 1", "version: 7"), &[], "version 7"),
        (
            FLEET.replace("firmware: bios", "firmware: coreboot"),
            &[],
            "coreboot",
        ),
        (
            FLEET.into(),
            &["--power-log", "/nonexistent/log"],
            "/nonexistent/log",
        ),
    ] {
        let fleet = file(&text);
        let mut program = Program::start(fleet.path(), args);
        let mut said = String::new();
        while let Some(line) = program.stderr.next_line().await.unwrap() {
            said += &line;
        }
        assert!(said.contains(wanted), "{wanted}: {said}");
        assert!(!program.child.wait().await.unwrap().success());
    }
}
