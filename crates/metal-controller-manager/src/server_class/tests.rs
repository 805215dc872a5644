#![expect(clippy::needless_pass_by_value, reason = "the cases of a table are literals")]

use serde_json::Value;

use super::*;

fn server(name: &str, spec: Value, status: Value) -> Arc<Server> {
    let server = json!({
        "apiVersion": "metal.sidero.dev/v1alpha2", "kind": "Server",
        "metadata": { "name": name, "labels": { "rack": "1" } }, "spec": spec, "status": status,
    });
    Arc::new(serde_json::from_value(server).unwrap())
}

fn class(spec: Value) -> ServerClass {
    let mut class = ServerClass::new("c", ServerClassSpec::default());
    class.spec = serde_json::from_value(spec).unwrap();
    class
}

fn fleet() -> Vec<Arc<Server>> {
    let qemu = json!({ "system": { "manufacturer": "QEMU" } });
    let (ready, used) = (json!({ "ready": true }), json!({ "ready": true, "inUse": true }));
    vec![
        server("d", json!({ "accepted": true }), ready.clone()),
        server("b", json!({ "accepted": true, "hardware": qemu }), ready.clone()),
        server("a", json!({ "accepted": true, "cordoned": true }), ready.clone()),
        server("c", json!({ "accepted": false, "hardware": qemu }), ready),
        server(
            "f",
            json!({ "accepted": true, "cordoned": true, "hardware": qemu }),
            used.clone(),
        ),
        server("e", json!({ "accepted": true }), used),
        server(
            "g",
            json!({ "accepted": true, "hardware": qemu }),
            json!({ "ready": false }),
        ),
    ]
}

#[test]
fn servers_that_match_are_listed_by_name_as_available_or_in_use() {
    let lists = |spec: Value| {
        let status = status(&class(spec), &fleet()).unwrap();
        (status.servers_available.concat(), status.servers_in_use.concat())
    };
    assert_eq!(lists(json!({})), ("bd".into(), "ef".into()));
    let qemu = json!({ "hardware": [{ "system": { "manufacturer": "QEMU" } }] });
    assert_eq!(lists(json!({ "qualifiers": qemu })), ("b".into(), "f".into()));
    let elsewhere = json!({ "matchLabels": { "rack": "2" } });
    assert_eq!(
        lists(json!({ "selector": elsewhere })),
        (String::new(), String::new())
    );
}

#[test]
fn a_selector_without_meaning_is_refused_although_there_is_no_server() {
    let class = class(json!({ "selector": { "matchExpressions": [{ "key": "rack", "operator": "Near" }] } }));
    assert!(status(&class, &[]).unwrap_err().to_string().contains("\"Near\""));
}

#[test]
fn only_qualifiers_that_say_something_are_emptied() {
    for (qualifiers, want) in [
        (json!(null), false),
        (json!({}), false),
        (json!({ "hardware": [], "labelSelectors": [] }), false),
        (json!({ "hardware": [{}] }), true),
        (json!({ "labelSelectors": [{ "a": "1" }] }), true),
    ] {
        let class = class(json!({ "qualifiers": qualifiers }));
        assert_eq!(is_qualified(&class), want, "{qualifiers}");
    }
}

#[tokio::test(start_paused = true)]
async fn changes_that_come_together_are_one_and_the_last_one_counts() {
    let changed = Arc::new(Notify::new());
    let mut together = std::pin::pin!(together(changed.clone()));
    for _ in 0..3 {
        for _ in 0..50 {
            changed.notify_one();
        }
        assert_eq!(together.next().await, Some(()));
    }
    // One that comes while the last ones are waited out is told of as well.
    changed.notify_one();
    let begun = tokio::time::timeout(TOGETHER / 2, together.next()).await;
    assert!(begun.is_err());
    changed.notify_one();
    assert_eq!(together.next().await, Some(()));
    assert_eq!(together.next().await, Some(()));
    assert!(
        tokio::time::timeout(TOGETHER * 10, together.next())
            .await
            .is_err()
    );
}
