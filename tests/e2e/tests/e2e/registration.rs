//! What becomes of machines' reports and questions at a real manager and API server. The machines are this test:
//! it speaks the agent's protocol, so that it can also say what no agent would.

use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use agent_protocol::Registration;
use agent_protocol::api::agent_client::AgentClient;
use agent_protocol::api::{
    Address, CreateServerRequest, Order, PollRequest, PollResponse, ReconcileServerAddressesRequest,
};
use hardware_types::inventory::{Interface, System};
use hardware_types::{Hardware, Mac};
use serde_json::{Value, json};
use testbed::{Bed, Object, Process};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::played::agent_files;

const METAL: &str = "metal.sidero.dev/v1alpha2";
const SOON: Duration = Duration::from_secs(20);

/// A manager of this test's own, which may or may not lead: every replica boots machines.
pub(crate) struct Site<'a> {
    bed: &'a Bed,
    pub(crate) url: String,
    http: reqwest::Client,
    agent: AgentClient<Channel>,
    _manager: Process,
}

impl<'a> Site<'a> {
    pub(crate) async fn start(bed: &'a Bed, flags: &[&str]) -> anyhow::Result<Self> {
        static REPLICAS: AtomicU16 = AtomicU16::new(9700);
        let port = REPLICAS.fetch_add(1, Ordering::Relaxed);
        agent_files(bed, port)?;
        let program = bed.metal_controller_manager(port)?;
        let manager = bed.start_part(
            &format!("booting-manager-{port}"),
            program.args(flags.iter().copied()),
        )?;
        let url = format!("http://{}:{}", bed.run().network().inside(), port + 1000);
        let http = reqwest::Client::new();
        let answers = || async {
            // Until its caches are filled it knows of no machine, and says so.
            let answer = http
                .get(format!("{url}/ipxe?uuid={}&mac=02-00-00-00-00-01", id(0)))
                .send()
                .await?;
            Ok(answer.status().is_success().then_some(()))
        };
        bed.wait_for("the manager answers machines", SOON, &[], answers)
            .await?;
        Ok(Self {
            bed,
            agent: AgentClient::new(Endpoint::from_shared(url.clone())?.connect().await?),
            http,
            url,
            _manager: manager,
        })
    }

    /// The script that a machine gets.
    pub(crate) async fn asks(&self, id: &str, mac: Mac) -> anyhow::Result<String> {
        let mac = mac.to_string().replace(':', "-");
        let url = format!("{}/ipxe?uuid={id}&mac={mac}&arch=x86_64", self.url);
        Ok(self
            .http
            .get(url)
            .send()
            .await?
            .error_for_status()?
            .text()
            .await?)
    }

    pub(crate) async fn until_asks(&self, id: &str, mac: Mac, want: &str) -> anyhow::Result<()> {
        let what = format!("a script with {want:?} for {id}");
        self.bed
            .wait_for(&what, SOON, &[server(id)], || async {
                let script = self.asks(id, mac).await?;
                anyhow::ensure!(script.contains(want), "{script}");
                Ok(Some(()))
            })
            .await
    }

    async fn registers(&self, id: &str, mac: Mac, serial: &str) -> Result<(), Status> {
        self.agent
            .clone()
            .create_server(report(id, mac, serial))
            .await
            .map(drop)
    }

    async fn polls(&self, id: &str, waited_seconds: u32) -> Result<PollResponse, Status> {
        let request = PollRequest {
            uuid: id.into(),
            boot_mac: mac(1).to_string(),
            waited_seconds,
        };
        self.agent
            .clone()
            .poll(request)
            .await
            .map(tonic::Response::into_inner)
    }

    async fn addresses(&self, id: &str, addresses: &[&str]) -> Result<(), Status> {
        let address = addresses
            .iter()
            .map(|address| Address {
                r#type: "InternalIP".into(),
                address: (*address).into(),
            })
            .collect();
        let request = ReconcileServerAddressesRequest {
            uuid: id.into(),
            address,
        };
        self.agent
            .clone()
            .reconcile_server_addresses(request)
            .await
            .map(drop)
    }

    pub(crate) async fn server(&self, id: &str) -> anyhow::Result<Value> {
        let object = server(id).get(self.bed.client()).await?;
        Ok(object.map_or(Value::Null, |object| {
            json!({ "metadata": object.metadata, "spec": object.data["spec"], "status": object.data["status"] })
        }))
    }

    pub(crate) async fn until_server(
        &self,
        id: &str,
        what: &str,
        holds: impl Fn(&Value) -> bool,
    ) -> anyhow::Result<()> {
        self.bed
            .wait_for(what, SOON, &[server(id)], || async {
                let server = self.server(id).await?;
                anyhow::ensure!(holds(&server), "{server}");
                Ok(Some(()))
            })
            .await
    }

    pub(crate) async fn forget(&self, ids: &[&str]) -> anyhow::Result<()> {
        for id in ids {
            server(id).delete(self.bed.client()).await?;
        }
        Ok(())
    }
}

pub(crate) fn id(n: u16) -> String {
    format!("7e57ab1e-0000-4000-8000-00000000{n:04x}")
}

pub(crate) fn mac(n: u8) -> Mac {
    Mac::new([2, 0, 0, 0, 0, n])
}

fn server(id: &str) -> Object {
    Object::cluster(METAL, "Server", id)
}

pub(crate) fn report(id: &str, mac: Mac, serial: &str) -> CreateServerRequest {
    let hardware = Hardware {
        system: System {
            manufacturer: "Metal Corp".into(),
            serial_number: serial.into(),
            ..System::default()
        },
        interfaces: vec![Interface {
            index: 2,
            name: "eth0".into(),
            flags: "up".into(),
            mtu: 1500,
            mac,
            addresses: Vec::new(),
        }],
        ..Hardware::default()
    };
    let id = id.parse().expect("ids of this test are UUIDs");
    let report = Registration {
        id,
        hostname: "node".into(),
        boot_mac: Some(mac),
        hardware,
    };
    report.into()
}

pub(crate) async fn an_unknown_machine_gets_the_agent_once_and_becomes_a_server(
    bed: &Bed,
) -> anyhow::Result<()> {
    let site = Site::start(bed, &["--agent-wait=30s", "--agent-poll-period=2s"]).await?;
    let (one, mac) = (id(1), mac(1));
    let script = site.asks(&one, mac).await?;
    for part in [
        "kernel /env/agent-amd64/vmlinuz",
        "sidero.mac=02:00:00:00:00:01",
        "sidero.endpoint=",
    ] {
        anyhow::ensure!(script.contains(part), "{script}");
    }
    anyhow::ensure!(
        site.polls(&one, 0)
            .await
            .is_err_and(|refused| refused.code() == Code::NotFound)
    );

    site.registers(&one, mac, "SN-1").await?;
    site.addresses(&one, &["10.77.0.100", "fd77::100", "10.77.0.100"])
        .await?;
    let made = site.server(&one).await?;
    anyhow::ensure!(
        made["spec"]["accepted"] == false && made["spec"]["hostname"] == "node",
        "{made}"
    );
    let system = &made["spec"]["hardware"]["system"];
    anyhow::ensure!(
        system["uuid"] == one.as_str() && system["serialNumber"] == "SN-1",
        "{made}"
    );
    let addresses = json!([
        { "type": "InternalIP", "address": "10.77.0.100" }, { "type": "InternalIP", "address": "fd77::100" },
    ]);
    anyhow::ensure!(made["status"]["addresses"] == addresses, "{made}");

    // The cache knows it by now or soon.
    site.until_asks(&one, mac, "exit").await?;
    let told = site.polls(&one, 29).await?;
    anyhow::ensure!(told.order() == Order::Wait && told.poll_seconds == 2, "{told:?}");
    anyhow::ensure!(told.reason.contains("not accepted"), "{told:?}");
    let told = site.polls(&one, 30).await?;
    anyhow::ensure!(told.order() == Order::Reboot, "{told:?}");

    // Seen booting, and told in an event.
    let disk = "told to boot its disk: it is registered and not accepted";
    site.until_server(&one, "its boot is recorded", |server| {
        let boot = &server["status"]["boot"];
        let asked = boot["ipxe"]["what"].as_str().unwrap_or_default();
        boot["agent"]["at"].is_string() && asked.starts_with(disk)
    })
    .await?;
    let story = bed.kubectl(&["describe", "server", &one])?;
    anyhow::ensure!(story.contains("Server auto-registered via API."), "{story}");
    site.forget(&[&one]).await
}

pub(crate) async fn a_report_changes_nothing_about_machines_that_are_not_its_own(
    bed: &Bed,
) -> anyhow::Result<()> {
    let site = Site::start(bed, &[]).await?;
    let (stranger, accepted, paused) = (id(2), id(3), id(4));
    site.registers(&stranger, mac(2), "SN-2").await?;
    let conflict = site.registers(&stranger, mac(9), "STOLEN").await;
    let text = conflict.map_err(|refused| refused.message().to_owned());
    let names_both = |text: &String| text.contains("02:00:00:00:00:02") && text.contains("02:00:00:00:00:09");
    anyhow::ensure!(text.as_ref().is_err_and(names_both), "{text:?}");
    let serial = |server: &Value| server["spec"]["hardware"]["system"]["serialNumber"].clone();
    // Its own machine may say more of itself, and not at once.
    let soon = site.registers(&stranger, mac(2), "SN-2b").await;
    anyhow::ensure!(
        soon.as_ref()
            .is_err_and(|later| later.code() == Code::Unavailable && later.message().contains("minute")),
        "{soon:?}"
    );
    anyhow::ensure!(serial(&site.server(&stranger).await?) == "SN-2");

    for (id, mac, why) in [(&accepted, mac(3), "accepted"), (&paused, mac(4), "paused")] {
        site.registers(id, mac, "BEFORE").await?;
        let patch = match why {
            "accepted" => vec![
                "patch",
                "server",
                id,
                "--type=merge",
                "-p",
                r#"{"spec":{"accepted":true}}"#,
            ],
            _ => vec!["annotate", "server", id, "metal.sidero.dev/pause="],
        };
        bed.kubectl(&patch)?;
        // Of an accepted machine nothing is taken, so that its agent goes on to ask for orders.
        let told = site.registers(id, mac, "AFTER").await;
        let told = told.map_err(|refused| (refused.code(), refused.message().to_owned()));
        let refused = told
            .as_ref()
            .is_err_and(|(code, text)| *code == Code::FailedPrecondition && text.contains(why));
        anyhow::ensure!(
            told.is_ok() == (why == "accepted") && refused == (why == "paused"),
            "{told:?}"
        );
        anyhow::ensure!(site.addresses(id, &["10.0.0.1"]).await.is_err());
        anyhow::ensure!(serial(&site.server(id).await?) == "BEFORE");
    }
    site.until_asks(&accepted, mac(3), "sidero.token=").await?;
    let strange = site.asks(&accepted, mac(9)).await?;
    anyhow::ensure!(
        strange.contains("kernel /env/agent-amd64") && !strange.contains("token"),
        "{strange}"
    );
    site.until_asks(&paused, mac(4), "exit").await?;
    let told = site.polls(&paused, 10_000).await?;
    anyhow::ensure!(
        told.order() == Order::Wait && told.reason.contains("paused"),
        "{told:?}"
    );
    site.forget(&[&stranger, &accepted, &paused]).await
}

pub(crate) async fn a_machine_of_a_cluster_gets_its_disk_whatever_else_is_known_of_it(
    bed: &Bed,
) -> anyhow::Result<()> {
    let site = Site::start(bed, &[]).await?;
    let bound = id(5);
    let binding = json!({
        "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha3", "kind": "ServerBinding", "metadata": { "name": bound },
        "spec": { "metalMachineRef": { "namespace": "default", "name": "worker" } },
    });
    let unaccepted = json!({
        "apiVersion": METAL, "kind": "Server", "metadata": { "name": bound }, "spec": { "accepted": false },
    });
    bed.apply(&unaccepted.to_string()).await?;
    site.until_asks(&bound, mac(5), "kernel /env/agent-amd64/vmlinuz")
        .await?;
    bed.apply(&binding.to_string()).await?;
    site.until_asks(&bound, mac(5), "exit").await?;
    let binding = Object::cluster(
        "infrastructure.cluster.x-k8s.io/v1alpha3",
        "ServerBinding",
        &bound,
    );
    binding.delete(bed.client()).await?;
    site.until_asks(&bound, mac(5), "kernel /env/agent-amd64/vmlinuz")
        .await?;
    site.forget(&[&bound]).await
}

pub(crate) async fn no_more_strangers_are_registered_than_allowed(bed: &Bed) -> anyhow::Result<()> {
    let site = Site::start(bed, &["--max-unaccepted-servers=0"]).await?;
    let refused = site.registers(&id(6), mac(6), "SN-6").await;
    let told = refused.map_err(|refused| (refused.code(), refused.message().to_owned()));
    anyhow::ensure!(
        told.as_ref()
            .is_err_and(|(code, text)| *code == Code::ResourceExhausted && text.contains("0 are allowed")),
        "{told:?}"
    );
    anyhow::ensure!(site.server(&id(6)).await?.is_null());
    site.until_asks(&id(6), mac(6), "exit").await
}
