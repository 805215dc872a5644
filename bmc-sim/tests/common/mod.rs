//! A fleet of one or two BMCs in this process, driven by real ipmitool and curl.

#![allow(dead_code)] // each test binary uses its part
#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

pub(crate) mod program;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bmc_sim::config::FleetConfig;
use bmc_sim::fleet::{Fleet, Member};
use serde_json::Value;
use tokio::process::Command;

pub(crate) const FLEET: &str = "\
version: 1
users:
  - {name: admin, password: admin-secret, role: administrator}
  - {name: operator, password: operator-secret, role: operator}
  - {name: viewer, password: viewer-secret, role: read-only}
bmcs:
  - name: bios
    ipmi: {listen: 127.0.0.1:0}
    redfish: {listen: 127.0.0.1:0, max-sessions: 2}
    bmc-reset: 1m
    machine:
      uuid: 4c4c4544-0039-3010-8048-b7c04f384432
      manufacturer: Metal Corp
      model: Model-X
      serial: SN-1
      firmware: bios
      macs: [52:54:00:00:00:01, 52:54:00:00:00:02]
      boot-order: [disk, network]
      timings: {on: 20ms, off: 20ms, cycle-pause: 20ms, soft-off: 20ms, post: 20ms}
  - name: uefi
    redfish: {listen: 127.0.0.1:0, tls: false}
    machine:
      uuid: 4c4c4544-0039-3010-8048-b7c04f384433
      manufacturer: Metal Corp
      model: Model-Y
      serial: SN-2
      firmware: uefi
      boot-order: [disk, network]
      timings: {on: 20ms, off: 20ms, cycle-pause: 20ms, soft-off: 20ms, post: 20ms}
";

pub(crate) struct Bench {
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) control: SocketAddr,
}

/// What a program printed and how it ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) ok: bool,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }

    pub(crate) fn message_id(&self) -> String {
        self.json()["error"]["@Message.ExtendedInfo"][0]["MessageId"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }
}

/// Runs a program that Debian has in a package of the same name.
pub(crate) async fn run(program: &str, args: &[&str]) -> Ran {
    let output = Command::new(program).args(args).kill_on_drop(true).output();
    let output = match tokio::time::timeout(Duration::from_secs(30), output).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => {
            panic!("cannot run {program}: {error}; apt-get install -y --no-install-recommends {program}")
        }
        Err(late) => panic!("{program} {args:?} hangs: {late}"),
    };
    Ran {
        ok: output.status.success(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

impl Bench {
    pub(crate) async fn new() -> Self {
        let config: FleetConfig = FLEET.parse().unwrap();
        let fleet = Fleet::start(config, None).await.unwrap();
        let control = fleet.serve_control("127.0.0.1:0".parse().unwrap()).await.unwrap();
        Self { fleet, control }
    }

    pub(crate) fn member(&self, name: &str) -> &Member {
        self.fleet.member(name).unwrap()
    }

    /// ipmitool with this cipher suite, user and password against BMC `bios`.
    pub(crate) async fn ipmitool_as(&self, suite: u8, user: &str, password: &str, args: &str) -> Ran {
        let address = self.member("bios").ipmi.unwrap();
        let (suite, port) = (suite.to_string(), address.port().to_string());
        let level = if user == "admin" {
            "ADMINISTRATOR"
        } else {
            "OPERATOR"
        };
        let mut all = vec![
            "-I",
            "lanplus",
            "-C",
            &suite,
            "-H",
            "127.0.0.1",
            "-p",
            &port,
            "-L",
            level,
        ];
        all.extend(["-U", user, "-P", password]);
        all.extend(args.split(' '));
        run("ipmitool", &all).await
    }

    /// ipmitool as administrator with suite 17; it must succeed.
    pub(crate) async fn ipmitool(&self, args: &str) -> String {
        let ran = self.ipmitool_as(17, "admin", "admin-secret", args).await;
        assert!(ran.ok, "ipmitool {args}: {ran:?}");
        ran.out
    }

    /// curl against the Redfish service of BMC `bios`.
    pub(crate) async fn redfish(&self, path: &str, args: &[&str]) -> Answer {
        self.redfish_of("bios", path, args).await
    }

    pub(crate) async fn redfish_of(&self, name: &str, path: &str, args: &[&str]) -> Answer {
        let url = format!("{}{path}", self.member(name).redfish_url().unwrap());
        curl(&[args, &["-k", &url]].concat())
            .await
            .unwrap_or_else(|ran| panic!("no answer: {ran:?}"))
    }

    /// The same, as administrator.
    pub(crate) async fn as_admin(&self, path: &str, args: &[&str]) -> Answer {
        self.redfish(path, &[&["-u", "admin:admin-secret"], args].concat())
            .await
    }

    /// curl against the control API; the status must be a success.
    pub(crate) async fn control(&self, method: &str, path: &str, body: &str) -> Answer {
        let answer = self.control_raw(method, path, body).await;
        assert!(
            (200..300).contains(&answer.status),
            "{method} {path} {body}: {answer:?}"
        );
        answer
    }

    pub(crate) async fn control_raw(&self, method: &str, path: &str, body: &str) -> Answer {
        let url = format!("http://{}{path}", self.control);
        curl(&["-X", method, "-d", body, &url])
            .await
            .unwrap_or_else(|ran| panic!("no answer: {ran:?}"))
    }

    pub(crate) async fn fault(&self, fault: &str, body: &str) {
        self.control("PUT", &format!("/bmcs/bios/faults/{fault}"), body)
            .await;
    }

    pub(crate) async fn clear_faults(&self) {
        self.control("DELETE", "/bmcs/bios/faults", "").await;
    }

    pub(crate) async fn bites(&self, fault: &str) -> u64 {
        self.control("GET", "/bmcs/bios/faults", "").await.json()[fault]["bites"]
            .as_u64()
            .unwrap()
    }

    pub(crate) async fn counters(&self) -> Value {
        self.control("GET", "/bmcs/bios/counters", "").await.json()
    }

    pub(crate) async fn advance(&self, seconds: u32) {
        self.control("POST", "/clock/advance", &format!("{{\"seconds\": {seconds}}}"))
            .await;
    }

    pub(crate) async fn machine(&self) -> Value {
        self.control("GET", "/bmcs/bios", "").await.json()["machine"].clone()
    }

    /// Waits until the machine of BMC `bios` shows `value` for `key`.
    pub(crate) async fn machine_shows(&self, key: &str, value: Value) {
        until(Duration::from_secs(10), async || {
            let machine = self.machine().await;
            if machine[key] == value {
                Ok(())
            } else {
                Err(format!("{key} is not {value}: {machine}"))
            }
        })
        .await;
    }

    /// The power log of BMC `bios` as `event verb before->after`, commands and power edges only.
    pub(crate) async fn power_log(&self) -> Vec<String> {
        let page = self.control("GET", "/power-log?bmc=bios", "").await.json();
        let entries = page["entries"].as_array().unwrap();
        let text = |key: &str, entry: &Value| entry[key].as_str().unwrap_or("-").to_owned();
        entries
            .iter()
            .map(|e| {
                format!(
                    "{} {} {}->{}",
                    text("event", e),
                    text("verb", e),
                    text("before", e),
                    text("after", e)
                )
            })
            .collect()
    }

    /// Effects that are power edges.
    pub(crate) async fn power_edges(&self) -> Vec<String> {
        let power = ["on->off", "off->on", "reset on->on"];
        let lines = self.power_log().await.into_iter();
        lines
            .filter(|line| line.starts_with("effect") && power.iter().any(|edge| line.ends_with(edge)))
            .collect()
    }
}

/// curl; `Err` when the connection ended without an answer.
pub(crate) async fn curl(args: &[&str]) -> Result<Answer, Ran> {
    let ran = run("curl", &[&["-s", "-S", "-i", "--max-time", "20"], args].concat()).await;
    if !ran.ok {
        return Err(ran);
    }
    let (head, body) = ran.out.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Ok(Answer {
        status,
        head: head.into(),
        body: body.into(),
    })
}

/// Looks again and again until `look` is content; past the deadline its last complaint is the failure.
pub(crate) async fn until(deadline: Duration, look: impl AsyncFn() -> Result<(), String>) {
    let end = tokio::time::Instant::now() + deadline;
    while let Err(complaint) = look().await {
        assert!(tokio::time::Instant::now() < end, "{complaint}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
