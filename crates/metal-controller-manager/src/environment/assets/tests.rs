use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use crd_types::metal::EnvironmentSpec;
use futures::StreamExt as _;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::super::download::Limits;
use super::*;

const SOON: Duration = Duration::from_secs(20);
const PAUSES: Pauses = Pauses {
    first: Duration::from_mins(10),
    cap: Duration::from_mins(10),
};

/// A server of two files that counts what it is asked.
struct Site {
    data: tempfile::TempDir,
    url: String,
    asked: Arc<AtomicUsize>,
}

impl Site {
    async fn start() -> Self {
        rustls::crypto::ring::default_provider().install_default().ok();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let count = axum::middleware::from_fn(move |request, next: axum::middleware::Next| {
            count.fetch_add(1, Ordering::Relaxed);
            next.run(request)
        });
        let app = Router::new()
            .route("/new", get("new"))
            .route("/old", get("old"))
            .route("/never", get(std::future::pending::<StatusCode>))
            .layer(count);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async { axum::serve(listener, app).await });
        let data = tempfile::tempdir().unwrap();
        Self { data, url, asked }
    }

    /// As a process that starts.
    fn replica(&self) -> Replica {
        let (wake, woken) = mpsc::unbounded();
        let downloader = Downloader::new(Limits::default()).unwrap();
        let assets = Assets::new(Folder::of(self.data.path()), downloader, PAUSES, wake);
        Replica {
            assets: Arc::new(assets),
            woken,
        }
    }

    fn environment(&self, path: &str, generation: i64) -> Environment {
        let spec = json!({ "kernel": { "url": format!("{}{path}", self.url) } });
        environment(spec, generation)
    }

    fn kernel(&self) -> Option<String> {
        fs::read_to_string(self.data.path().join("env/e/vmlinuz")).ok()
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

struct Replica {
    assets: Arc<Assets>,
    woken: mpsc::UnboundedReceiver<ObjectRef<Environment>>,
}

impl Replica {
    /// What becomes of the kernel.
    async fn ends(&mut self, environment: &Environment) -> Found {
        loop {
            match self.assets.pursue(environment, Part::Kernel) {
                Found::Downloading { .. } => {
                    let woken = timeout(SOON, self.woken.next()).await.unwrap();
                    assert_eq!(woken.unwrap().name, "e");
                }
                ended => return ended,
            }
        }
    }
}

fn environment(spec: Value, generation: i64) -> Environment {
    let spec: EnvironmentSpec = serde_json::from_value(spec).unwrap();
    let mut environment = Environment::new("e", spec);
    environment.metadata.uid = Some("u".into());
    environment.metadata.generation = Some(generation);
    environment
}

fn message(found: &Found) -> &str {
    match found {
        Found::Failed { message, .. } => message,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_file_is_downloaded_once_whoever_starts_and_again_when_another_is_wanted() {
    let site = Site::start().await;
    let old = site.environment("/old", 1);
    assert_eq!(site.replica().ends(&old).await, Found::Present);
    let mut again = site.replica();
    assert_eq!(again.ends(&old).await, Found::Present);
    assert_eq!((site.kernel().as_deref(), site.asked()), (Some("old"), 1));

    // From here on the old one is not to be had.
    let new = site.environment("/new", 2);
    let found = again.assets.pursue(&new, Part::Kernel);
    assert_eq!(
        (found, site.kernel()),
        (Found::Downloading { again_after: None }, None)
    );
    assert_eq!(again.ends(&new).await, Found::Present);
    assert_eq!((site.kernel().as_deref(), site.asked()), (Some("new"), 2));
}

#[tokio::test]
async fn a_checksum_that_is_not_the_files_takes_it_away() {
    let site = Site::start().await;
    let mut replica = site.replica();
    assert_eq!(replica.ends(&site.environment("/new", 1)).await, Found::Present);
    let url = format!("{}/new", site.url);
    let checked = |sha512: &str, generation| {
        environment(json!({ "kernel": { "url": url, "sha512": sha512 } }), generation)
    };
    let found = replica.ends(&checked(&"0".repeat(128), 2)).await;
    assert!(message(&found).contains("its SHA-512 is "), "{found:?}");
    assert_eq!(site.kernel(), None);
    // What it should have been stands in the text; upper case is as good.
    let actual = message(&found).split("its SHA-512 is ").nth(1).unwrap()[..128].to_uppercase();
    assert_eq!(replica.ends(&checked(&actual, 3)).await, Found::Present);
    assert_eq!(site.kernel().as_deref(), Some("new"));
}

#[tokio::test]
async fn a_failure_is_named_waited_out_and_forgotten_with_an_edit() {
    let site = Site::start().await;
    let mut replica = site.replica();
    let missing = site.environment("/missing", 1);
    let found = replica.ends(&missing).await;
    assert!(message(&found).contains("404"), "{found:?}");
    assert!(matches!(found, Found::Failed { retry: Some(_), .. }), "{found:?}");
    // Not asked again before the pause is over.
    assert_eq!(message(&replica.ends(&missing).await), message(&found));
    assert_eq!(site.asked(), 1);
    assert_eq!(replica.ends(&site.environment("/new", 2)).await, Found::Present);
}

#[tokio::test]
async fn an_edit_ends_a_download_that_hangs() {
    let site = Site::start().await;
    let mut replica = site.replica();
    let hangs = site.environment("/never", 1);
    let found = replica.assets.pursue(&hangs, Part::Kernel);
    assert_eq!(found, Found::Downloading { again_after: None });
    assert_eq!(replica.ends(&site.environment("/new", 2)).await, Found::Present);

    // And one that comes to its end after the edit changes nothing.
    let job = Wanted::of(&hangs, Part::Kernel).unwrap();
    let folder = Folder::of(site.data.path());
    let path = folder.begin("e", SOON).unwrap().into_temp_path();
    let record = Record {
        url: job.url.to_string(),
        sha512: String::new(),
        size: 0,
    };
    replica
        .assets
        .ended(&hangs, Part::Kernel, &job, Ok((path, record)));
    assert_eq!(site.kernel().as_deref(), Some("new"));
}

#[tokio::test]
async fn what_cannot_be_wanted_takes_the_former_file_away_and_is_not_tried_again() {
    let site = Site::start().await;
    let mut replica = site.replica();
    assert_eq!(replica.ends(&site.environment("/new", 1)).await, Found::Present);
    let found = replica.ends(&environment(json!({}), 2)).await;
    assert!(message(&found).contains("missing URL"), "{found:?}");
    assert!(matches!(found, Found::Failed { retry: None, .. }), "{found:?}");
    assert_eq!((site.kernel(), site.asked()), (None, 1));
}

#[tokio::test]
async fn the_agents_folder_is_never_touched() {
    let site = Site::start().await;
    let agent = site.data.path().join("env/agent-amd64");
    fs::create_dir_all(&agent).unwrap();
    let files = [
        ("vmlinuz", "agent"),
        (".vmlinuz.json", r#"{"url":"http://h/k","sha512":"","size":5}"#),
    ];
    let look = |agent: &Path| files.map(|(name, _)| fs::read_to_string(agent.join(name)).unwrap());
    for (name, text) in files {
        fs::write(agent.join(name), text).unwrap();
    }
    let mut environment = site.environment("/new", 1);
    environment.metadata.name = Some("agent-amd64".into());
    let mut replica = site.replica();
    let found = replica.ends(&environment).await;
    assert!(message(&found).contains("\"agent-amd64\""), "{found:?}");
    replica.assets.sweep(|_| false);
    assert_eq!(look(&agent), files.map(|(_, text)| text.to_owned()));
    assert_eq!(site.asked(), 0);
}

#[tokio::test]
async fn a_deleted_environment_leaves_no_file_and_no_download() {
    let site = Site::start().await;
    let mut replica = site.replica();
    assert_eq!(replica.ends(&site.environment("/new", 1)).await, Found::Present);
    let folder = site.data.path().join("env/e");
    replica.assets.sweep(|name| name == "e");
    assert!(folder.join("vmlinuz").exists());
    let hangs = site.environment("/never", 2);
    replica.assets.pursue(&hangs, Part::Kernel);
    replica.assets.sweep(|_| false);
    assert!(!folder.exists() && replica.assets.lock().is_empty());
}
