use std::sync::Mutex;

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt as _;
use serde_json::json;
use tower::ServiceExt as _;

use super::*;

struct Source {
    answer: Result<Material, Refusal>,
    record: Result<(), Refusal>,
    asked: Mutex<Vec<(String, Option<String>)>>,
    recorded: Mutex<usize>,
}

impl ConfigSource for Source {
    type Found = ();

    async fn find(&self, uuid: &str, token: Option<&str>) -> Result<(Material, ()), Refusal> {
        let asked = (uuid.into(), token.map(Into::into));
        self.asked.lock().unwrap().push(asked);
        self.answer.clone().map(|material| (material, ()))
    }

    async fn record(&self, (): ()) -> Result<(), Refusal> {
        *self.recorded.lock().unwrap() += 1;
        self.record.clone()
    }
}

fn source(config: &str, patches: Vec<Patches>) -> Source {
    Source {
        answer: Ok(Material {
            config: config.into(),
            patches,
        }),
        record: Ok(()),
        asked: Mutex::default(),
        recorded: Mutex::default(),
    }
}

async fn get(source: &Arc<Source>, query: &str) -> (u16, String) {
    let request = Request::get(format!("/configdata?{query}"))
        .body(Body::empty())
        .unwrap();
    let response = router(source.clone()).oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    assert_eq!(response.headers()["cache-control"], "no-store");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

const PLAIN: &str = "version: v1alpha1\nmachine:\n  type: worker\n";

#[tokio::test]
async fn a_config_is_patched_labelled_and_recorded_before_it_goes_out() {
    let class = Patches {
        of: "ServerClass any".into(),
        operations: vec![json!({ "op": "add", "path": "/machine/network", "value": { "hostname": "a" } })],
        strategic: vec!["machine: {network: {hostname: b}}".into()],
    };
    let server = Patches {
        of: "Server s".into(),
        operations: vec![json!({ "op": "replace", "path": "/machine/network/hostname", "value": "c" })],
        strategic: Vec::new(),
    };
    let source = Arc::new(source(PLAIN, vec![class, server]));
    let (status, body) = get(&source, "token=t&uuid=u-1&uuid=u-2").await;
    assert_eq!(status, 200, "{body}");
    assert!(body.contains("hostname: c"), "{body}");
    assert!(body.contains("metal.sidero.dev/uuid=u-1"), "{body}");
    assert_eq!(
        *source.asked.lock().unwrap(),
        [("u-1".to_owned(), Some("t".to_owned()))]
    );
    assert_eq!(*source.recorded.lock().unwrap(), 1);
}

#[tokio::test]
async fn what_is_refused_has_its_status_and_text() {
    let (status, body) = get(&Arc::new(source(PLAIN, Vec::new())), "token=t&uuid=").await;
    assert_eq!(
        (status, &*body),
        (500, "received metadata request with empty uuid\n")
    );
    let mut refused = source(PLAIN, Vec::new());
    refused.answer = Err(Refusal::new(403, "no token"));
    assert_eq!(
        get(&Arc::new(refused), "uuid=u").await,
        (403, "no token\n".into())
    );
}

#[tokio::test]
async fn what_cannot_be_recorded_is_not_served() {
    let mut lost = source(PLAIN, Vec::new());
    lost.record = Err(Refusal::new(500, "cannot write"));
    assert_eq!(
        get(&Arc::new(lost), "uuid=u").await,
        (500, "cannot write\n".into())
    );
}

#[tokio::test]
async fn a_patch_that_fails_is_named_and_shows_nothing_of_the_config() {
    let bad = Patches {
        of: "Server s".into(),
        strategic: vec![
            "machine: {type: x}".into(),
            "[{op: remove, path: /machine/none}]".into(),
        ],
        ..Patches::default()
    };
    let config = "version: v1alpha1\nmachine:\n  token: s3cret\n";
    let source = Arc::new(source(config, vec![bad]));
    let (status, body) = get(&source, "uuid=u").await;
    assert_eq!(status, 500);
    assert!(
        body.contains("Server s") && body.contains("strategicPatches[1]"),
        "{body}"
    );
    assert!(
        body.contains("/machine/none") && !body.contains("s3cret"),
        "{body}"
    );
    assert_eq!(*source.recorded.lock().unwrap(), 0);
}
