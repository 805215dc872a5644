use crd_types::metal::EnvironmentSpec;
use serde_json::{Value, json};

use super::*;

fn environment(name: &str, spec: Value) -> Environment {
    let spec: EnvironmentSpec = serde_json::from_value(spec).unwrap();
    Environment::new(name, spec)
}

fn both(kernel: &Value, initrd: &Value) -> Environment {
    environment("e", json!({ "kernel": kernel, "initrd": initrd }))
}

fn record(url: &str, sha512: &str) -> Record {
    Record {
        url: url.into(),
        sha512: sha512.into(),
        size: 1,
    }
}

#[test]
fn what_cannot_be_downloaded_is_named_and_passwords_are_not() {
    let cases = [
        (json!({}), "missing URL: set spec.kernel.url"),
        (json!({ "url": "" }), "missing URL"),
        (json!({ "url": "vmlinuz" }), "spec.kernel.url is no URL"),
        (
            json!({ "url": "file:///srv/vmlinuz" }),
            "\"file\" is not supported",
        ),
        (
            json!({ "url": "http://u:canary@h:port/" }),
            "is no URL: invalid port",
        ),
        (
            json!({ "url": "http://h/k", "sha512": "abc" }),
            "spec.kernel.sha512 \"abc\"",
        ),
        (
            json!({ "url": "http://h/k", "sha512": "g".repeat(128) }),
            "128 hexadecimal",
        ),
        (
            json!({ "url": "http://h/k", "sha512": "é".repeat(64) }),
            "128 hexadecimal",
        ),
    ];
    for (kernel, named) in cases {
        let error = Wanted::of(&both(&kernel, &json!({})), Part::Kernel).unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains(named) && !error.contains("canary"),
            "{kernel}: {error}"
        );
    }
    let none = environment("e", json!({}));
    let error = Wanted::of(&none, Part::Initrd).unwrap_err();
    assert_eq!(error, InvalidAsset::NoUrl("spec.initrd"));
    let agent = environment("agent-arm64", json!({ "kernel": { "url": "http://h/k" } }));
    let error = Wanted::of(&agent, Part::Kernel).unwrap_err();
    assert!(error.to_string().contains("\"agent-arm64\""));
}

#[test]
fn a_url_is_shown_without_password_and_query() {
    let kernel = json!({ "url": "https://u:canary@h:8443/a/k?sig=canary#canary" });
    let wanted = Wanted::of(&both(&kernel, &json!({})), Part::Kernel).unwrap();
    assert_eq!(wanted.shown(), "https://h:8443/a/k");
}

#[test]
fn an_environment_is_ready_when_its_status_and_this_replica_have_what_it_asks_for_now() {
    let (upper, lower, other) = ("AB".repeat(64), "ab".repeat(64), "cd".repeat(64));
    let (kernel, initrd) = (
        json!({ "url": "http://h/k", "sha512": upper }),
        json!({ "url": "http://h/i" }),
    );
    let said = |environment: &Environment| Environment {
        status: Some(status(environment, &[Found::Present, Found::Present])),
        ..environment.clone()
    };
    let (k, i) = (record("http://h/k", &lower), record("http://h/i", &other));
    let asked = both(&kernel, &initrd);
    let ready = said(&asked);
    assert!(is_ready(&ready, [Some(&k), Some(&i)]));

    // Not said, or not here.
    assert!(!is_ready(&asked, [Some(&k), Some(&i)]));
    assert!(!is_ready(&ready, [Some(&k), None]));
    assert!(!is_ready(&ready, [Some(&record("http://h/k", &other)), Some(&i)]));
    assert!(!is_ready(
        &ready,
        [Some(&record("http://h/old", &lower)), Some(&i)]
    ));

    // Changed since: the status is of what was asked for before.
    for changed in [
        both(&json!({ "url": "http://h/k2", "sha512": upper }), &initrd),
        both(&json!({ "url": "http://h/k", "sha512": other }), &initrd),
        both(&json!({ "url": "http://h/k" }), &initrd),
        both(&kernel, &json!({ "url": "http://h/i", "sha512": other })),
    ] {
        let status = ready.status.clone();
        let changed = Environment { status, ..changed };
        assert!(!is_ready(&changed, [Some(&k), Some(&i)]), "{:?}", changed.spec);
    }
    // Without URLs there is nothing to boot.
    let nothing = said(&environment("e", json!({})));
    assert!(!is_ready(&nothing, [None, None]));
    assert!(!is_ready(&nothing, [Some(&k), Some(&i)]));
    let mut agents = ready;
    agents.metadata.name = Some("agent-amd64".into());
    assert!(!is_ready(&agents, [Some(&k), Some(&i)]));
}

#[test]
fn what_is_missing_is_said_first_and_a_retry_changes_nothing_of_it() {
    let kernel = json!({ "url": "http://h/k", "sha512": "" });
    let environment = both(&kernel, &json!({ "url": "http://h/i" }));
    let failed = Found::Failed {
        message: "why".into(),
        retry: Some(Duration::from_secs(1)),
    };
    let again = Found::Downloading {
        again_after: Some("why".into()),
    };
    let want = json!({ "conditions": [
        { "url": "http://h/i", "status": "False", "type": "Ready", "message": "why" },
        { "url": "http://h/k", "sha512": "", "status": "True", "type": "Ready" },
    ] });
    for found in [failed, again] {
        let status = status(&environment, &[Found::Present, found]);
        assert_eq!(serde_json::to_value(status).unwrap(), want);
    }
    let first = Found::Downloading { again_after: None };
    let status = status(&environment, &[first, Found::Present]);
    assert_eq!(
        status.conditions[0].message.as_deref(),
        Some("vmlinuz is being downloaded")
    );
}
