//! What a stranger gets: nothing. Malformed packets are counted and dropped, tokens that are not for now are refused and
//! told once, and no text of ours has a secret in it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::json;
use testbed::{Bed, Place};

use crate::discovery::Site;
use crate::power::lab::{A, Lab};

const SOON: Duration = Duration::from_secs(30);
/// Of the manager that serves the lab.
const METRICS: u16 = 9460;

pub(crate) async fn malformed_packets_are_counted_and_dropped(bed: &Bed) -> anyhow::Result<()> {
    let site = Site::start(bed, &[]).await?;
    let services = testbed::Lab::BOOT_SERVICES;
    let before = metrics(bed).await?;
    for (port, bytes) in [(67, 300), (67, 3), (4011, 241), (4011, 0), (69, 512), (69, 1)] {
        from_site(
            bed,
            &format!("head -c {bytes} /dev/urandom > /dev/udp/{services}/{port}"),
        )?;
    }
    // a BOOTP request whose hardware address is longer than its field
    let request = format!(
        "{{ printf '\\001\\001\\377\\000'; head -c 232 /dev/zero; printf '\\143\\202\\123\\143\\065\\001\\001\\377'; }} > /dev/udp/{services}/67"
    );
    from_site(bed, &request)?;
    for text in [
        "nonsense\\r\\n\\r\\n",
        "GET /ipxe HTTP/9\\r\\n\\r\\n",
        "\\000\\000\\000",
    ] {
        let script = format!(
            "exec 3<>/dev/tcp/{services}/8081; printf '{text}' >&3; timeout 5 cat <&3 >/dev/null || true"
        );
        from_site(bed, &script)?;
    }
    let inside = format!("http://{services}:8081");
    from_site(
        bed,
        &format!(
            "curl -sS --max-time 5 --http2-prior-knowledge -H 'content-type: application/grpc' --data-binary nonsense {inside}/api.Agent/CreateServer -o /dev/null || true"
        ),
    )?;
    for query in ["uuid=nonsense", "uuid=", "mac=%ff", ""] {
        from_site(
            bed,
            &format!("curl -sS --max-time 5 '{inside}/ipxe?{query}' -o /dev/null"),
        )?;
    }
    bed.wait_for("all of it is counted", SOON, &[], || async {
        let now = metrics(bed).await?;
        for (name, label) in [
            ("boot_dhcp_messages_total", "malformed"),
            ("boot_http_requests_total", "ipxe"),
            ("boot_http_requests_total", "agent"),
            ("boot_answers_total", "explanation"),
        ] {
            let more = sum(&now, name, label) > sum(&before, name, label);
            ensure!(more, "{name} {label} did not grow:\n{now}");
        }
        Ok(Some(()))
    })
    .await?;
    // it serves machines still
    from_site(
        bed,
        &format!(
            "curl -sSf --max-time 5 '{inside}/ipxe?uuid={}&mac=52-54-00-00-00-0a&arch=x86_64' | grep -q kernel",
            A.name
        ),
    )?;
    from_site(
        bed,
        &format!("curl -sSf --max-time 10 tftp://{services}/snp.efi -o /dev/null"),
    )?;
    ensure!(
        !site.manager.log()?.contains("panicked"),
        "{}",
        site.manager.log_tail(20)
    );
    crate::discovery::end(bed, site).await
}

pub(crate) async fn a_bmc_that_talks_nonsense_is_named_and_its_neighbour_is_not_delayed(
    bed: &Bed,
) -> anyhow::Result<()> {
    let lab = Lab::start(bed).await?;
    let socket = tokio::net::UdpSocket::bind((bed.run().network().outside(), 0)).await?;
    let address = socket.local_addr()?;
    let nonsense = tokio::spawn(async move {
        let mut buffer = [0; 2048];
        let mut answer: Vec<u8> = (0..=255).collect();
        while let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
            // its own request, bytes in any order, and an empty packet
            socket.send_to(&buffer[..length], peer).await.ok();
            answer.rotate_left(7);
            socket.send_to(&answer[..length % 200], peer).await.ok();
            socket.send_to(&[], peer).await.ok();
        }
    });
    lab.secret("good", "admin-secret").await?;
    lab.server(A, "good", json!({ "accepted": true })).await?;
    let liar = json!({
        "apiVersion": "metal.sidero.dev/v1alpha2", "kind": "Server", "metadata": { "name": LIAR },
        "spec": { "accepted": true, "bmc": {
            "endpoint": format!("ipmi://{address}"),
            "userFrom": { "secretKeyRef": { "namespace": "default", "name": "bmc-good", "key": "user" } },
            "passFrom": { "secretKeyRef": { "namespace": "default", "name": "bmc-good", "key": "pass" } },
        } },
    });
    bed.apply(&liar.to_string()).await?;
    let server = testbed::Object::cluster("metal.sidero.dev/v1alpha2", "Server", LIAR);
    let concerned = [server.clone()];
    bed.wait_for("it is named", SOON, &concerned, || async {
        let found = server.get(bed.client()).await?.context("no Server")?;
        let (reason, message) = crate::power::lab::condition(&found, "BMCReachable");
        let named = ["Unreachable", "Protocol"].contains(&&*reason);
        Ok((named && message.contains(&address.to_string())).then_some(()))
    })
    .await?;
    lab.annotate(A, "metal.sidero.dev/power", Some("on")).await?;
    lab.until_power(A, "on").await?;
    ensure!(
        !lab.manager.log()?.contains("panicked"),
        "{}",
        lab.manager.log_tail(20)
    );
    nonsense.abort();
    server.delete(bed.client()).await?;
    lab.end().await
}

/// A Server whose BMC this test plays.
const LIAR: &str = "0b5a6f0e-51c2-4c7e-9d43-6c1f5c1c00cc";

/// What the run's logs, objects and metrics must not have, and a canary that shows that it would be found.
pub(crate) async fn no_text_of_ours_has_a_secret_in_it(bed: &Bed) -> anyhow::Result<()> {
    let lab = Lab::start(bed).await?;
    lab.secret("good", "admin-secret").await?;
    lab.server(A, "good", json!({ "accepted": true })).await?;
    lab.until_power(A, "off").await?;
    let canary = "canary-5e5f0c1d";
    lab.annotate(A, "canary", Some(canary)).await?;
    let log = bed.run().folder().join("log/canary.log");
    std::fs::write(&log, format!("2026 INFO something token={canary}\n"))?;
    let mut texts = texts(bed)?;
    texts.push(("metrics".into(), lab.metrics().await?));
    let found = |secret: &str| -> Vec<&str> {
        let with = texts.iter().filter(|(_, text)| text.contains(secret));
        with.map(|(name, _)| name.as_str()).collect()
    };
    ensure!(
        found(canary) == ["objects", "canary.log"],
        "the canary was found in {:?} of {} texts",
        found(canary),
        texts.len()
    );
    for secret in ["admin-secret", bed.node_token()] {
        ensure!(found(secret).is_empty(), "a secret is in {:?}", found(secret));
    }
    // tokens of boot windows: 43 characters of base64 after these words
    for (name, text) in &texts {
        for begin in ["token=", "Bearer "] {
            for rest in text.split(begin).skip(1) {
                let word = rest
                    .chars()
                    .take_while(|c| c.is_ascii_alphanumeric() || "-_".contains(*c));
                ensure!(word.count() < 40, "a token is in {name}");
            }
        }
    }
    println!(
        "no secret in {} texts of {} bytes",
        texts.len(),
        texts.iter().map(|(_, text)| text.len()).sum::<usize>()
    );
    std::fs::remove_file(log)?;
    lab.end().await
}

/// All that we wrote in this run, by name: what objects say but for their specs, events, metrics, and the managers' logs.
fn texts(bed: &Bed) -> anyhow::Result<Vec<(String, String)>> {
    let kinds = "servers,serverclasses,environments,metalmachines,metalclusters,serverbindings";
    let objects = bed.kubectl(&[
        "get",
        kinds,
        "--all-namespaces",
        "--show-managed-fields",
        "-ojson",
    ])?;
    let mut objects: serde_json::Value = serde_json::from_str(&objects)?;
    for object in objects["items"].as_array_mut().context("no items")? {
        if let Some(object) = object.as_object_mut() {
            object.remove("spec");
        }
    }
    let events = bed.kubectl(&["get", "events.events.k8s.io", "--all-namespaces", "-ojson"])?;
    let mut texts = vec![("objects".into(), objects.to_string()), ("events".into(), events)];
    for entry in std::fs::read_dir(bed.run().folder().join("log"))? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        // consoles show a machine's kernel arguments, and the API server's and Cluster API's logs are not ours
        let ours = ["manager", "canary"].iter().any(|part| name.contains(part)) && !name.contains("kube");
        if ours && path.extension().is_some_and(|extension| extension == "log") {
            texts.push((name, String::from_utf8_lossy(&std::fs::read(&path)?).into_owned()));
        }
    }
    ensure!(
        texts.len() > 3,
        "only {:?}",
        texts.iter().map(|(name, _)| name).collect::<Vec<_>>()
    );
    Ok(texts)
}

/// What the manager of the lab counts.
async fn metrics(bed: &Bed) -> anyhow::Result<String> {
    let inside = bed.run().network().inside();
    let answer = reqwest::get(format!("http://{inside}:{METRICS}/metrics")).await?;
    Ok(answer.error_for_status()?.text().await?)
}

/// The sum of a counter's values over the labels that have this text.
fn sum(metrics: &str, name: &str, label: &str) -> f64 {
    let lines = metrics
        .lines()
        .filter(|line| line.starts_with(name) && line.contains(label));
    let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    values.sum()
}

/// A line of bash where the site's DHCP server is, as a machine on the provisioning network.
fn from_site(bed: &Bed, script: &str) -> anyhow::Result<()> {
    let mut command = bed.run().network().command(Place::Site, Path::new("timeout"));
    let output = command.args(["20", "bash", "-c", script]).output()?;
    ensure!(
        output.status.success(),
        "{script}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
