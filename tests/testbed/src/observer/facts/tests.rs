use std::path::PathBuf;

use serde_json::json;

use super::*;

const A: &str = "0b5a6f0e-51c2-4c7e-9d43-6c1f5c1c000a";
const B: &str = "0b5a6f0e-51c2-4c7e-9d43-6c1f5c1c000b";

fn id(text: &str) -> ServerId {
    text.parse().unwrap()
}

#[expect(clippy::needless_pass_by_value, reason = "calls read better")]
fn object(name: &str, annotations: &Value, spec: Value, status: Value) -> DynamicObject {
    serde_json::from_value(json!({
        "metadata": {"name": name, "annotations": annotations, "managedFields": [{"manager": "agent-api"}]},
        "spec": spec, "status": status,
    }))
    .unwrap()
}

fn server(known: &mut Known, name: &str, spec: Value, status: Value) -> Vec<Fact> {
    let annotations = json!({"metal.sidero.dev/wipe-due": "2 for x", "metal.sidero.dev/wipe-done": "1",
        "metal.sidero.dev/powered": "w1"});
    known.changed(
        Kind::Server,
        name,
        Some(&object(name, &annotations, spec, status)),
    )
}

/// BMC `a` of machine A by IPMI.
fn fleet() -> Fleet {
    let text = format!("bmcs: [{{name: a, ipmi: {{listen: '10.0.0.2:623'}}, machine: {{uuid: {A}}}}}]");
    Fleet::read(&text, PathBuf::new()).unwrap()
}

fn line(verb: &str, event: &str, after: &str) -> Line {
    serde_json::from_value(json!({"t": "2026-11-24T10:00:00Z", "bmc": "a", "actor": "admin",
        "source": "ipmi://10.0.0.2:1", "verb": verb, "event": event, "before": "off", "after": after, "cause": "x"}))
    .unwrap()
}

fn leads_to_a() -> Value {
    json!({"accepted": true, "bmc": {"endpoint": "10.0.0.2"}})
}

#[test]
fn a_server_says_what_is_stored_and_last_whether_it_is_offered() {
    let mut known = Known::default();
    let status = json!({"phase": "Available", "wipe": {"generation": 2}});
    let facts = server(&mut known, A, leads_to_a(), status.clone());
    let wanted = [
        Fact::Accepted(id(A), true),
        Fact::HasDriver(id(A), true),
        Fact::HadAgent(id(A), true),
        Fact::Powered(id(A), Some("w1".into())),
        Fact::WipeDue(id(A), 2),
        Fact::Wiping(id(A), 2),
        Fact::WipeDone(id(A), 1),
    ];
    for fact in wanted {
        assert!(facts.contains(&fact), "{fact:?} is not in {facts:?}");
    }
    assert_eq!(facts.last(), Some(&Fact::Available(id(A), true)));
    // A wipe of which nothing new was recorded is not told again.
    let again = server(&mut known, A, leads_to_a(), status);
    assert!(!again.contains(&Fact::Wiping(id(A), 2)), "{again:?}");
    let original = json!({"ready": true, "isClean": true, "inUse": true});
    assert_eq!(
        server(&mut known, A, leads_to_a(), original).last(),
        Some(&Fact::Available(id(A), false))
    );
}

#[test]
fn a_command_is_meant_for_the_server_that_leads_to_the_bmc() {
    let mut known = Known::default();
    known.started(0, &fleet());
    let meant = |known: &mut Known| match &known.line(0, &line("on", "received", ""), |_| true)[..] {
        [Fact::Received { server, .. }] => *server,
        other => panic!("{other:?}"),
    };
    assert_eq!(meant(&mut known), id(A), "nobody leads there: the machine's own");
    server(&mut known, B, leads_to_a(), json!({}));
    assert_eq!(meant(&mut known), id(B));
    let power = known.line(0, &line("on", "effect", "on"), |_| true);
    assert_eq!(power, [A, B].map(|name| Fact::Power(id(name), PowerState::On)));
    server(&mut known, A, leads_to_a(), json!({}));
    assert_eq!(meant(&mut known), id(A));
    assert_eq!(
        known.line(1, &line("on", "received", ""), |_| true),
        [],
        "of another simulator"
    );
}

#[test]
fn a_guid_contradicts_when_it_is_another_servers_and_only_then() {
    let mut known = Known::default();
    known.started(0, &fleet());
    let says = |facts: &[Fact], verdict| facts.contains(&Fact::Identity(id(B), verdict));
    let facts = server(&mut known, B, leads_to_a(), json!({}));
    assert!(says(&facts, IdentityVerdict::Different), "{facts:?}");
    let facts = server(&mut known, A, json!({}), json!({}));
    assert!(says(&facts, IdentityVerdict::Contradicts), "{facts:?}");
}

#[test]
fn a_server_is_claimed_as_long_as_a_metal_machine_names_it() {
    let mut known = Known::default();
    let none = json!({});
    let by_name = object("m", &none, json!({"serverRef": {"name": A}}), json!({}));
    let by_id = object(
        "n",
        &none,
        json!({"providerID": format!("sidero://{A}")}),
        json!({}),
    );
    let claimed = |claimed| vec![Fact::Claimed(id(A), claimed)];
    assert_eq!(known.changed(Kind::Machine, "x/m", Some(&by_name)), claimed(true));
    let both = [Fact::Claimed(id(A), true), Fact::Owners(id(A), 1)];
    assert_eq!(known.changed(Kind::Machine, "x/n", Some(&by_id)), both);
    assert_eq!(known.changed(Kind::Machine, "x/m", None), claimed(true));
    assert_eq!(known.changed(Kind::Machine, "x/n", None), claimed(false));
}

#[test]
fn only_a_change_of_the_holder_is_told_of_a_lease() {
    let mut known = Known::default();
    let lease = |holder: &str| object("x", &json!({}), json!({ "holderIdentity": holder }), json!({}));
    let name = format!("sidero-system/{LEASE}");
    let mut tell = |holder| known.changed(Kind::Lease, &name, Some(&lease(holder)));
    assert_eq!(tell("a"), [Fact::Lease(Some("a".into()))]);
    assert_eq!(tell("a"), []);
    assert_eq!(tell(""), [Fact::Lease(None)]);
}

#[test]
fn who_has_a_server_and_who_has_two_is_counted() {
    let mut known = Known::default();
    let machine = |known: &mut Known, name: &str, provider: Option<&str>| {
        let spec = provider.map_or(json!({}), |id| json!({ "providerID": format!("sidero://{id}") }));
        let facts = known.changed(
            Kind::Machine,
            name,
            Some(&object(name, &json!({}), spec, json!({}))),
        );
        facts.into_iter().find(|fact| matches!(fact, Fact::Owners(..)))
    };
    assert_eq!(machine(&mut known, "n/a", None), None);
    assert_eq!(machine(&mut known, "n/a", Some(A)), Some(Fact::Owners(id(A), 1)));
    assert_eq!(machine(&mut known, "n/b", Some(B)), Some(Fact::Owners(id(B), 1)));
    assert_eq!(machine(&mut known, "n/b", Some(A)), Some(Fact::Owners(id(A), 2)));
    let binding = |known: &mut Known, server: &str, annotations: Value| {
        let spec = json!({ "metalMachineRef": { "namespace": "n", "name": "a" } });
        let facts = known.changed(
            Kind::Binding,
            server,
            Some(&object(server, &annotations, spec, json!({}))),
        );
        facts
            .into_iter()
            .find(|fact| matches!(fact, Fact::BindingsOfOwner(..)))
    };
    let marked = json!({ "metal.sidero.dev/release": "x", "metal.sidero.dev/allocation": "x" });
    assert_eq!(
        binding(&mut known, A, json!({})),
        Some(Fact::BindingsOfOwner(id(A), 1))
    );
    let by_another = json!({ "metal.sidero.dev/release": "x", "metal.sidero.dev/allocation": "y" });
    assert_eq!(
        binding(&mut known, A, by_another),
        Some(Fact::BindingsOfOwner(id(A), 1)),
        "the mark is of another allocation"
    );
    assert_eq!(binding(&mut known, A, marked), None, "rolled back");
    assert_eq!(
        binding(&mut known, B, json!({})),
        Some(Fact::BindingsOfOwner(id(B), 1))
    );
    assert_eq!(
        binding(&mut known, A, json!({})),
        Some(Fact::BindingsOfOwner(id(A), 2))
    );
}
