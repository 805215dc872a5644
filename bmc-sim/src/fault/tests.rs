use proptest::prelude::*;

use super::*;

const NOW: SimTime = Duration::ZERO;
const ON: Option<(Verb, Protocol)> = Some((Verb::On, Protocol::Ipmi));

fn spec(json: &str) -> Spec {
    serde_json::from_str(json).unwrap()
}

#[test]
fn a_fault_for_the_next_two_requests_bites_twice() {
    let mut faults = Faults::new(0);
    faults.set(Fault::ReplyLoss, spec(r#"{"next": 2}"#), NOW).unwrap();
    let bites = (0..5)
        .filter(|_| faults.bites(Fault::ReplyLoss, ON, NOW).is_some())
        .count();
    assert_eq!(bites, 2);
    let (_, set, counted) = faults
        .list(NOW)
        .find(|(fault, ..)| *fault == Fault::ReplyLoss)
        .unwrap();
    assert_eq!((set, counted), (None, 2));
}

#[test]
fn filters_spare_other_verbs_and_protocols() {
    let mut faults = Faults::new(0);
    let json = r#"{"verbs": ["on", "reset"], "protocol": "ipmi"}"#;
    faults.set(Fault::RequestLoss, spec(json), NOW).unwrap();
    for (request, bitten) in [
        ((Verb::On, Protocol::Ipmi), true),
        ((Verb::Off, Protocol::Ipmi), false),
        ((Verb::On, Protocol::Redfish), false),
    ] {
        assert_eq!(
            faults.bites(Fault::RequestLoss, Some(request), NOW).is_some(),
            bitten,
            "{request:?}"
        );
    }
}

#[test]
fn a_percentage_is_a_chance_and_the_seed_fixes_it() {
    let draw = |seed| {
        let mut faults = Faults::new(seed);
        faults
            .set(Fault::RequestLoss, spec(r#"{"percent": 20}"#), NOW)
            .unwrap();
        (0..1000)
            .map(|_| faults.bites(Fault::RequestLoss, ON, NOW).is_some())
            .collect::<Vec<_>>()
    };
    let bites = draw(7).into_iter().filter(|bitten| *bitten).count();
    assert!((150..250).contains(&bites), "{bites}");
    assert_eq!(draw(7), draw(7));
    assert_ne!(draw(7), draw(8));
}

#[test]
fn hang_ends_after_its_seconds() {
    let mut faults = Faults::new(0);
    faults
        .set(Fault::Hang, spec(r#"{"seconds": 5}"#), Duration::from_secs(10))
        .unwrap();
    assert!(faults.bites(Fault::Hang, ON, Duration::from_secs(14)).is_some());
    assert!(faults.bites(Fault::Hang, ON, Duration::from_secs(15)).is_none());
}

#[test]
fn wrong_faults_fields_and_values_are_refused_by_name() {
    assert!(
        "explode"
            .parse::<Fault>()
            .unwrap_err()
            .to_string()
            .starts_with("unknown fault \"explode\"")
    );
    let mut faults = Faults::new(0);
    for (fault, json, text) in [
        (
            Fault::Hang,
            r#"{"percent": 5}"#,
            "has no field \"percent\": it takes seconds, protocol",
        ),
        (Fault::Delay, "{}", "delay needs the field \"seconds\""),
        (
            Fault::Delay,
            r#"{"seconds": -1}"#,
            "seconds is -1, want 0 to 86400",
        ),
        (Fault::Delay, r#"{"seconds": 1e300}"#, "want 0 to 86400"),
        (
            Fault::ReplyLoss,
            r#"{"percent": 101}"#,
            "percent is 101, want 1 to 100",
        ),
        (Fault::ReplyLoss, r#"{"next": 0}"#, "next is 0, want at least 1"),
        (Fault::ReplyLoss, r#"{"verbs": []}"#, "want at least one verb"),
        (
            Fault::SlowPost,
            r#"{"seconds": 1, "resets": 11}"#,
            "resets is 11, want 0 to 10",
        ),
    ] {
        let error = faults.set(fault, spec(json), NOW).unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    }
    for (json, text) in [
        (r#"{"colour": 1}"#, "colour"),
        (r#"{"verbs": ["explode"]}"#, "explode"),
    ] {
        let error = serde_json::from_str::<Spec>(json).unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    }
}

proptest! {
    #[test]
    fn any_body_is_a_spec_or_an_error(body: Vec<u8>, fault in 0..Fault::ALL.len()) {
        if let Ok(spec) = serde_json::from_slice::<Spec>(&body) {
            Faults::new(0).set(Fault::ALL[fault], spec, NOW).ok();
        }
    }

    #[test]
    fn any_number_of_seconds_is_a_duration_or_an_error(seconds: f64) {
        let mut faults = Faults::new(0);
        if faults.set(Fault::Delay, Spec { seconds: Some(seconds), ..Spec::default() }, NOW).is_ok() {
            prop_assert!(faults.bites(Fault::Delay, ON, NOW).unwrap().duration() <= Duration::from_hours(24));
        }
    }
}
