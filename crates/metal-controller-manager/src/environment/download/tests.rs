use std::io::Read as _;
use std::path::Path;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

use super::*;

const BODY: &str = "0123456789";
const LIMITS: Limits = Limits {
    whole: Duration::from_secs(20),
    connect: Duration::from_secs(10),
    silence: Duration::from_secs(10),
    size: 10,
};

/// A server that answers one request with these bytes, and then says nothing more until it is asked to `close`.
async fn answers(answer: &str, close: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://u:canary@{}/k?sig=canary", listener.local_addr().unwrap());
    let answer = answer.to_owned();
    tokio::spawn(async move {
        let (mut peer, _) = listener.accept().await.unwrap();
        let mut request = [0; 4096];
        assert!(peer.read(&mut request).await.unwrap() > 0);
        peer.write_all(answer.as_bytes()).await.unwrap();
        if !close {
            std::future::pending::<()>().await;
        }
    });
    url
}

fn whole(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

async fn download(
    data: &Path,
    url: &str,
    sha512: Option<&str>,
    limits: Limits,
) -> Result<(TempPath, Record), String> {
    rustls::crypto::ring::default_provider().install_default().ok();
    let downloader = Downloader::new(limits).unwrap();
    let wanted = Wanted {
        url: url.parse().unwrap(),
        sha512: sha512.map(str::to_owned),
    };
    let result = downloader
        .download(&Folder::of(data), "e", Part::Kernel, &wanted)
        .await;
    result.map_err(|error| error.to_string())
}

/// Nothing of a download that failed is left.
fn is_empty(data: &Path) -> bool {
    let folder = std::fs::read_dir(data.join("env/e"));
    folder.map_or(true, |mut entries| entries.next().is_none())
}

fn sum() -> String {
    hexadecimal(&Sha512::digest(BODY))
}

#[tokio::test]
async fn a_file_within_the_limits_is_downloaded_and_summed() {
    let data = tempfile::tempdir().unwrap();
    for answer in [
        whole(BODY),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n0123\r\n6\r\n456789\r\n0\r\n\r\n".into(),
    ] {
        let url = answers(&answer, true).await;
        let sum = sum();
        let (path, record) = download(data.path(), &url, Some(&sum), LIMITS).await.unwrap();
        let want = Record {
            url,
            sha512: sum,
            size: 10,
        };
        assert_eq!(record, want);
        let mut text = String::new();
        std::fs::File::open(&path)
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, BODY);
    }
}

#[tokio::test]
async fn what_is_wrong_is_named_and_nothing_of_it_is_left() {
    let long = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n0123456789a\r\n0\r\n\r\n";
    let cases = [
        (
            "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno".to_owned(),
            "the server answers 404 Not Found: correct spec.kernel.url",
        ),
        ("HTTP/1.1 304 Not Modified\r\n\r\n".into(), "304"),
        (whole("0123456789a"), "more than 10 bytes"),
        (long.into(), "more than 10 bytes"),
        (whole(""), "is empty"),
        ("HTTP/1.1 204 No Content\r\n\r\n".into(), "is empty"),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234".into(),
            "cannot download",
        ),
        (whole("9876543210"), "correct the file or spec.kernel.sha512"),
    ];
    for (answer, named) in cases {
        let data = tempfile::tempdir().unwrap();
        let url = answers(&answer, true).await;
        let sum = sum();
        let error = download(data.path(), &url, Some(&sum), LIMITS).await.unwrap_err();
        assert!(error.contains(named), "{answer}: {error}");
        assert!(
            error.contains("http://127.0.0.1:") && !error.contains("canary"),
            "{error}"
        );
        assert!(is_empty(data.path()), "{answer}");
    }
}

#[tokio::test]
async fn a_server_that_falls_silent_is_given_up() {
    let begun = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234";
    let short = Duration::from_millis(200);
    for limits in [
        Limits {
            whole: short,
            ..LIMITS
        },
        Limits {
            silence: short,
            ..LIMITS
        },
    ] {
        let data = tempfile::tempdir().unwrap();
        let url = answers(begun, false).await;
        let error = download(data.path(), &url, None, limits).await.unwrap_err();
        let named = if limits.whole == short {
            "not complete after 200ms"
        } else {
            "timed out"
        };
        assert!(error.contains(named), "{error}");
        assert!(is_empty(data.path()));
    }
}

#[tokio::test]
async fn nobody_there_and_nowhere_to_store_are_told_apart() {
    let data = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/k", listener.local_addr().unwrap());
    drop(listener);
    let error = download(data.path(), &url, None, LIMITS).await.unwrap_err();
    assert!(
        error.contains("cannot download") && error.contains("refused"),
        "{error}"
    );

    std::fs::write(data.path().join("env"), "in the way").unwrap();
    let url = answers(&whole(BODY), true).await;
    let error = download(data.path(), &url, None, LIMITS).await.unwrap_err();
    assert!(error.contains("cannot store http://127.0.0.1:"), "{error}");
}
