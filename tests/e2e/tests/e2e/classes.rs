//! ServerClasses at a real manager: which Servers they list.

use std::time::Duration;

use anyhow::Context;
use kube::ResourceExt;
use serde_json::{Value, json};
use testbed::{Bed, Object, Process};

const METAL: &str = "metal.sidero.dev/v1alpha2";
const SOON: Duration = Duration::from_secs(30);
const PORT: u16 = 9475;
const NAMES: [&str; 3] = ["dummy-a", "dummy-b", "dummy-c"];

fn class(name: &str) -> Object {
    Object::cluster(METAL, "ServerClass", name)
}

fn server(name: &str) -> Object {
    Object::cluster(METAL, "Server", name)
}

/// The only manager: nobody else runs beside these tests.
fn manager(bed: &Bed) -> anyhow::Result<Process> {
    let program = bed
        .metal_controller_manager(PORT)?
        .arg("--enable-leader-election=false");
    bed.start_part("classifying-manager", program)
}

/// Three accepted machines, ready as their clients say: `a` and `b` have QEMU's processors, `b` and `c` are in rack 2.
async fn machines(bed: &Bed) -> anyhow::Result<()> {
    for (name, maker, rack) in [
        ("dummy-a", "QEMU", "1"),
        ("dummy-b", "QEMU", "2"),
        ("dummy-c", "AMD", "2"),
    ] {
        let server = json!({
            "apiVersion": METAL, "kind": "Server", "metadata": { "name": name, "labels": { "rack": rack } },
            "spec": { "accepted": true, "hardware": { "compute": { "processors": [{ "manufacturer": maker }] } } },
        });
        bed.apply(&server.to_string()).await?;
        let status = r#"{"status":{"ready":true,"isClean":true}}"#;
        bed.kubectl(&[
            "patch",
            "server",
            name,
            "--subresource=status",
            "--type=merge",
            "-p",
            status,
        ])?;
    }
    Ok(())
}

fn patch(bed: &Bed, kind: &str, name: &str, patch: &Value) -> anyhow::Result<()> {
    bed.kubectl(&["patch", kind, name, "--type=merge", "-p", &patch.to_string()])
        .map(drop)
}

async fn until_lists(bed: &Bed, name: &str, available: &[&str], in_use: &[&str]) -> anyhow::Result<()> {
    let what = format!("class {name} lists {available:?} and {in_use:?}");
    bed.wait_for(&what, SOON, &[class(name)], || async {
        let object = class(name).get(bed.client()).await?.context("there is none")?;
        let status = &object.data["status"];
        let has = *status == json!({ "serversAvailable": available, "serversInUse": in_use });
        anyhow::ensure!(has, "{status}");
        Ok(Some(()))
    })
    .await
}

async fn forget(bed: &Bed, manager: &Process, classes: &[&str]) -> anyhow::Result<()> {
    for name in NAMES {
        server(name).delete(bed.client()).await?;
    }
    until_lists(bed, "any", &[], &[]).await?;
    anyhow::ensure!(
        manager.stop(Duration::from_secs(11))?,
        "the manager did not end by itself"
    );
    for name in classes {
        class(name).delete(bed.client()).await?;
    }
    Ok(())
}

pub(crate) async fn a_class_lists_the_servers_that_match_and_can_be_taken(bed: &Bed) -> anyhow::Result<()> {
    let manager = manager(bed)?;
    machines(bed).await?;
    until_lists(bed, "any", &NAMES, &[]).await?;
    let processors = json!([{ "compute": { "processors": [{ "manufacturer": "QEMU" }] } }]);
    for (name, spec) in [
        (
            "qemu",
            json!({ "qualifiers": { "hardware": processors }, "environmentRef": { "name": "default" } }),
        ),
        (
            "rack-2",
            json!({ "selector": { "matchExpressions": [{ "key": "rack", "operator": "In", "values": ["2", "3"] }] } }),
        ),
        (
            "both",
            json!({ "qualifiers": { "hardware": processors }, "selector": { "matchLabels": { "rack": "2" } } }),
        ),
        ("none", json!({ "selector": { "matchLabels": { "rack": "7" } } })),
    ] {
        let class =
            json!({ "apiVersion": METAL, "kind": "ServerClass", "metadata": { "name": name }, "spec": spec });
        bed.apply(&class.to_string()).await?;
    }
    until_lists(bed, "qemu", &["dummy-a", "dummy-b"], &[]).await?;
    until_lists(bed, "rack-2", &["dummy-b", "dummy-c"], &[]).await?;
    until_lists(bed, "both", &["dummy-b"], &[]).await?;
    until_lists(bed, "none", &[], &[]).await?;
    let row = bed.kubectl(&["get", "serverclass", "qemu", "--no-headers"])?;
    assert!(row.contains(r#"["dummy-a","dummy-b"]"#), "{row}");

    patch(bed, "server", "dummy-b", &json!({ "spec": { "cordoned": true } }))?;
    until_lists(bed, "any", &["dummy-a", "dummy-c"], &[]).await?;
    until_lists(bed, "both", &[], &[]).await?;
    patch(
        bed,
        "server",
        "dummy-b",
        &json!({ "spec": { "cordoned": false } }),
    )?;
    until_lists(bed, "any", &NAMES, &[]).await?;
    patch(
        bed,
        "server",
        "dummy-b",
        &json!({ "metadata": { "labels": { "rack": "1" } } }),
    )?;
    until_lists(bed, "rack-2", &["dummy-c"], &[]).await?;
    forget(bed, &manager, &["qemu", "rack-2", "both", "none"]).await
}

pub(crate) async fn the_class_any_comes_back_and_has_no_qualifiers(bed: &Bed) -> anyhow::Result<()> {
    let manager = manager(bed)?;
    machines(bed).await?;
    until_lists(bed, "any", &NAMES, &[]).await?;
    let qualifiers = json!({ "hardware": [{ "system": { "manufacturer": "nobody" } }] });
    let narrowed = json!({ "spec": { "qualifiers": qualifiers, "environmentRef": { "name": "site" } } });
    patch(bed, "serverclass", "any", &narrowed)?;
    let emptied = bed
        .wait_for("its qualifiers are removed", SOON, &[class("any")], || async {
            let any = class("any").get(bed.client()).await?;
            Ok(any.filter(|any| any.data["spec"]["qualifiers"].is_null()))
        })
        .await?;
    assert_eq!(emptied.data["spec"]["environmentRef"]["name"], "site");
    until_lists(bed, "any", &NAMES, &[]).await?;

    class("any").delete(bed.client()).await?;
    let again = bed
        .wait_for(
            "it is there again",
            Duration::from_secs(10),
            &[class("any")],
            || async {
                let any = class("any").get(bed.client()).await?;
                Ok(any.filter(|any| any.uid() != emptied.uid()))
            },
        )
        .await?;
    assert_eq!(again.data["spec"], json!({}));
    until_lists(bed, "any", &NAMES, &[]).await?;
    forget(bed, &manager, &[]).await
}

pub(crate) async fn a_selector_without_meaning_is_named_and_changes_nothing(bed: &Bed) -> anyhow::Result<()> {
    let manager = manager(bed)?;
    machines(bed).await?;
    let odd = |operator: &str| {
        let requirement = json!({ "key": "rack", "operator": operator, "values": ["2"] });
        json!({
            "apiVersion": METAL, "kind": "ServerClass", "metadata": { "name": "odd" },
            "spec": { "selector": { "matchExpressions": [requirement] } },
        })
    };
    bed.apply(&odd("In").to_string()).await?;
    until_lists(bed, "odd", &["dummy-b", "dummy-c"], &[]).await?;
    bed.apply(&odd("Near").to_string()).await?;
    bed.wait_for("an event names it", SOON, &[class("odd")], || async {
        let story = bed.kubectl(&["describe", "serverclass", "odd"])?;
        Ok(story
            .contains(r#"operator "Near" of "rack" is none"#)
            .then_some(()))
    })
    .await?;
    patch(bed, "server", "dummy-c", &json!({ "spec": { "cordoned": true } }))?;
    until_lists(bed, "any", &["dummy-a", "dummy-b"], &[]).await?;
    until_lists(bed, "odd", &["dummy-b", "dummy-c"], &[]).await?;
    bed.apply(&odd("In").to_string()).await?;
    until_lists(bed, "odd", &["dummy-b"], &[]).await?;
    forget(bed, &manager, &["odd"]).await
}
