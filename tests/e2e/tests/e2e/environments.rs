//! Environments at real managers: what is downloaded, checked, named and served.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::routing::get;
use serde_json::{Value, json};
use testbed::{Bed, Object, Process};
use tokio::task::JoinHandle;

const METAL: &str = "metal.sidero.dev/v1alpha2";
const SOON: Duration = Duration::from_secs(30);
const KERNEL: &str = "kernel of the site";
const KERNEL_SHA512: &str = "0b0ed98c2e4062b205f297057b7c2168bfa7f15407f01f82657fd627bf55aed5\
    32da37857cd2685920e4265f16c373cf5ab859cece12b99adcf26b09be22c898";
/// The replicas' ports; what they serve is 1000 above.
const LEADER: u16 = 9470;
const FOLLOWER: u16 = 9471;
/// Short, so that the tests are; the proportions are those of the defaults.
const FLAGS: [&str; 3] = [
    "--leader-elect-lease-duration=4s",
    "--leader-elect-renew-deadline=2700ms",
    "--leader-elect-retry-period=500ms",
];

/// A site's mirror, at the machine's end of the run's network.
pub(crate) struct Mirror {
    url: String,
    asked: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Mirror {
    pub(crate) async fn start(bed: &Bed) -> anyhow::Result<Self> {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let count = axum::middleware::from_fn(move |request, next: axum::middleware::Next| {
            count.fetch_add(1, Ordering::Relaxed);
            next.run(request)
        });
        let files = Router::new()
            .route("/vmlinuz", get(KERNEL))
            .route("/initramfs.xz", get("initramfs of the site"))
            .layer(count);
        let listener = tokio::net::TcpListener::bind((bed.run().network().outside(), 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, files).await {
                eprintln!("the mirror ended: {error}");
            }
        });
        Ok(Self { url, asked, task })
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    /// An Environment of this kernel; its initramfs is good.
    pub(crate) async fn environment(
        &self,
        bed: &Bed,
        name: &str,
        kernel: &str,
        sha512: &str,
    ) -> anyhow::Result<()> {
        let environment = json!({
            "apiVersion": METAL, "kind": "Environment", "metadata": { "name": name },
            "spec": {
                "kernel": { "url": format!("{}/{kernel}", self.url), "sha512": sha512, "args": ["console=ttyS0"] },
                "initrd": { "url": format!("{}/initramfs.xz", self.url) },
            },
        });
        bed.apply(&environment.to_string()).await.map(drop)
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn environment(name: &str) -> Object {
    Object::cluster(METAL, "Environment", name)
}

fn manager(bed: &Bed, port: u16) -> anyhow::Result<Process> {
    let program = bed.metal_controller_manager(port)?.args(FLAGS);
    bed.start_part(&format!("downloading-manager-{port}"), program)
}

/// Waits until the conditions say so; returns what `holds` took from them.
async fn until_conditions<T>(
    bed: &Bed,
    name: &str,
    what: &str,
    holds: impl Fn(&[Value]) -> Option<T>,
) -> anyhow::Result<T> {
    let what = format!("{name}: {what}");
    bed.wait_for(&what, SOON, &[environment(name)], || async {
        let object = environment(name).get(bed.client()).await?;
        let object = object.with_context(|| format!("there is no Environment {name}"))?;
        let conditions = object.data["status"]["conditions"].as_array();
        Ok(holds(conditions.map_or(&[][..], Vec::as_slice)))
    })
    .await
}

pub(crate) async fn until_ready(bed: &Bed, name: &str) -> anyhow::Result<()> {
    let ready = |conditions: &[Value]| {
        let all = conditions.iter().all(|condition| condition["status"] == "True");
        (conditions.len() == 2 && all).then_some(())
    };
    until_conditions(bed, name, "is ready", ready).await
}

/// Waits until a file is named as missing because of this.
async fn until_named(bed: &Bed, name: &str, why: &str) -> anyhow::Result<()> {
    let named = |conditions: &[Value]| {
        let text = conditions.first()?["message"].as_str()?;
        text.contains(why).then_some(())
    };
    until_conditions(bed, name, &format!("a condition names {why:?}"), named).await
}

/// What a machine gets from the replica.
async fn served(bed: &Bed, port: u16, path: &str) -> anyhow::Result<(u16, String)> {
    let inside = bed.run().network().inside();
    let answer = reqwest::get(format!("http://{inside}:{}/env/{path}", port + 1000)).await?;
    Ok((answer.status().as_u16(), answer.text().await?))
}

async fn until_served(bed: &Bed, port: u16, path: &str, status: u16) -> anyhow::Result<String> {
    let what = format!("the replica at {port} answers {status} for {path}");
    bed.wait_for(&what, SOON, &[], || async {
        let (now, body) = served(bed, port, path).await?;
        anyhow::ensure!(now == status, "it answers {now}: {body}");
        Ok(Some(body))
    })
    .await
}

fn stop(manager: &Process) -> anyhow::Result<()> {
    let by_itself = manager.stop(Duration::from_secs(11))?;
    anyhow::ensure!(
        by_itself,
        "the manager did not end by itself:\n{}",
        manager.log_tail(20)
    );
    Ok(())
}

pub(crate) async fn the_default_is_there_and_comes_back(bed: &Bed) -> anyhow::Result<()> {
    let manager = manager(bed, LEADER)?;
    let mut uid = None;
    for _ in 0..2 {
        let default = bed
            .wait_for("default is there", SOON, &[environment("default")], || async {
                let object = environment("default").get(bed.client()).await?;
                Ok(object.filter(|object| object.metadata.uid != uid))
            })
            .await?;
        let spec = &default.data["spec"];
        let talos = "https://github.com/siderolabs/talos/releases/download/v1.13.0";
        assert_eq!(spec["kernel"]["url"], format!("{talos}/vmlinuz-amd64"));
        assert_eq!(spec["initrd"]["url"], format!("{talos}/initramfs-amd64.xz"));
        let arguments = spec["kernel"]["args"].as_array().context("no arguments")?;
        assert!(
            arguments.contains(&json!("talos.platform=metal")),
            "{arguments:?}"
        );
        // The run's network leads nowhere.
        until_named(bed, "default", &format!("cannot download {talos}")).await?;
        assert_eq!(served(bed, LEADER, "default/vmlinuz").await?.0, 404);
        uid = default.metadata.uid;
        environment("default").delete(bed.client()).await?;
    }
    stop(&manager)
}

pub(crate) async fn a_file_is_served_once_it_is_what_was_asked_for(bed: &Bed) -> anyhow::Result<()> {
    let mirror = Mirror::start(bed).await?;
    let manager = manager(bed, LEADER)?;
    mirror
        .environment(bed, "good", "vmlinuz", &KERNEL_SHA512.to_uppercase())
        .await?;
    mirror
        .environment(bed, "forged", "vmlinuz", &"0".repeat(128))
        .await?;
    mirror.environment(bed, "missing", "nothing", "").await?;
    mirror.environment(bed, "agent-amd64", "vmlinuz", "").await?;

    until_ready(bed, "good").await?;
    assert_eq!(
        served(bed, LEADER, "good/vmlinuz").await?,
        (200, KERNEL.to_owned())
    );
    let row = bed.kubectl(&["get", "environment", "good", "--no-headers"])?;
    assert!(row.contains("True"), "{row}");

    until_named(bed, "forged", &format!("its SHA-512 is {KERNEL_SHA512}, not 000")).await?;
    until_named(
        bed,
        "missing",
        "/nothing: the server answers 404 Not Found: correct spec.kernel.url",
    )
    .await?;
    until_named(bed, "agent-amd64", "give this Environment another name").await?;
    for name in ["forged", "missing", "agent-amd64"] {
        assert_eq!(
            served(bed, LEADER, &format!("{name}/vmlinuz")).await?.0,
            404,
            "{name}"
        );
        // One of its files is there; the column is about the other.
        let row = bed.kubectl(&["get", "environment", name, "--no-headers"])?;
        assert!(row.contains("False"), "{row}");
    }
    let story = bed.kubectl(&["describe", "environment", "forged"])?;
    assert!(
        story.contains("Environment Download") && story.contains("is refused"),
        "{story}"
    );

    mirror
        .environment(bed, "forged", "vmlinuz", KERNEL_SHA512)
        .await?;
    mirror.environment(bed, "missing", "vmlinuz", "").await?;
    for name in ["forged", "missing"] {
        until_ready(bed, name).await?;
        assert_eq!(
            served(bed, LEADER, &format!("{name}/vmlinuz")).await?.0,
            200,
            "{name}"
        );
    }
    // What was good is not given out any more once something else is asked for.
    mirror.environment(bed, "good", "nothing", "").await?;
    until_named(bed, "good", "404").await?;
    assert_eq!(served(bed, LEADER, "good/vmlinuz").await?.0, 404);

    for name in ["good", "forged", "missing", "agent-amd64"] {
        environment(name).delete(bed.client()).await?;
    }
    until_served(bed, LEADER, "forged/vmlinuz", 404).await?;
    stop(&manager)
}

pub(crate) async fn every_replica_downloads_and_none_does_so_twice(bed: &Bed) -> anyhow::Result<()> {
    let mirror = Mirror::start(bed).await?;
    let leader = manager(bed, LEADER)?;
    mirror.environment(bed, "both", "vmlinuz", KERNEL_SHA512).await?;
    until_ready(bed, "both").await?;
    let follower = manager(bed, FOLLOWER)?;
    for file in ["both/vmlinuz", "both/initramfs.xz"] {
        until_served(bed, FOLLOWER, file, 200).await?;
    }
    assert_eq!(mirror.asked(), 4);

    // The follower takes over with what it has, and so does whoever starts again.
    stop(&leader)?;
    leader.begin()?;
    mirror.environment(bed, "news", "vmlinuz", "").await?;
    until_ready(bed, "news").await?;
    for port in [LEADER, FOLLOWER] {
        for file in ["both/vmlinuz", "news/vmlinuz", "news/initramfs.xz"] {
            until_served(bed, port, file, 200).await?;
        }
    }
    assert_eq!(mirror.asked(), 8);

    // One that goes while a replica is away leaves nothing there either.
    stop(&leader)?;
    environment("both").delete(bed.client()).await?;
    leader.begin()?;
    for port in [LEADER, FOLLOWER] {
        until_served(bed, port, "both/vmlinuz", 404).await?;
        assert_eq!(served(bed, port, "news/vmlinuz").await?.0, 200);
    }
    environment("news").delete(bed.client()).await?;
    stop(&leader)?;
    stop(&follower)
}
