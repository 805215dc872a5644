use std::fs;
use std::net::SocketAddr;
use std::sync::Mutex;

use prometheus_client::registry::Registry;
use tempfile::TempDir;
use tokio::net::UdpSocket as Client;
use tokio::time::{Instant, timeout};

use super::*;
use crate::sightings::Sighting;

#[derive(Default)]
struct Seen(Mutex<Vec<String>>);

impl Sightings for Seen {
    fn seen(&self, sighting: &Sighting<'_>) {
        self.0.lock().unwrap().push(format!("{sighting:?}"));
    }
}

/// The server on a port that the kernel chose, with files of a folder.
struct Running {
    folder: TempDir,
    /// Holds `folder` and a file that must not be reached.
    _outside: TempDir,
    seen: Arc<Seen>,
    registry: Registry,
    address: SocketAddr,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

fn start() -> Running {
    let outside = tempfile::tempdir().unwrap();
    let folder = tempfile::tempdir_in(outside.path()).unwrap();
    let root = folder.path();
    fs::write(root.join("snp.efi"), content()).unwrap();
    fs::create_dir(root.join("serial")).unwrap();
    fs::write(root.join("serial/start.elf"), b"elf").unwrap();
    fs::write(outside.path().join("secret"), b"secret").unwrap();
    std::os::unix::fs::symlink("../secret", root.join("link-out")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", root.join("link-absolute")).unwrap();
    std::os::unix::fs::symlink("snp.efi", root.join("link-in")).unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (seen, stop) = (Arc::new(Seen::default()), CancellationToken::new());
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let address = socket.local_addr().unwrap();
    let files = Files::of(root).unwrap();
    let task = tokio::spawn(serve(socket, files, metrics, seen.clone(), stop.clone()));
    Running {
        folder,
        _outside: outside,
        seen,
        registry,
        address,
        stop,
        task,
    }
}

fn content() -> Vec<u8> {
    (0..100_000u32).map(|n| (n % 251) as u8).collect()
}

fn request(opcode: u8, name: &str, options: &[(&str, &str)]) -> Vec<u8> {
    let mut packet = vec![0, opcode];
    for text in [name, "octet"]
        .into_iter()
        .chain(options.iter().flat_map(|(key, value)| [*key, *value]))
    {
        packet.extend(text.as_bytes());
        packet.push(0);
    }
    packet
}

async fn client() -> Client {
    Client::bind("127.0.0.1:0").await.unwrap()
}

async fn receive(client: &Client) -> (Vec<u8>, SocketAddr) {
    let mut buffer = vec![0; 70_000];
    let deadline = Duration::from_secs(10);
    let (length, from) = timeout(deadline, client.recv_from(&mut buffer))
        .await
        .unwrap()
        .unwrap();
    buffer.truncate(length);
    (buffer, from)
}

/// Reads a file, window 1; what the server agreed to, and the content. `Err` is its error code.
async fn read(
    server: SocketAddr,
    name: &str,
    options: &[(&str, &str)],
) -> Result<(Vec<String>, Vec<u8>), u8> {
    let client = client().await;
    client.send_to(&request(1, name, options), server).await.unwrap();
    let (mut agreed, mut content, mut block) = (Vec::new(), Vec::new(), 512);
    loop {
        let (packet, from) = receive(&client).await;
        match packet[1] {
            3 => {
                content.extend(&packet[4..]);
                client.send_to(&[0, 4, packet[2], packet[3]], from).await.unwrap();
                if packet.len() - 4 < block {
                    return Ok((agreed, content));
                }
            }
            5 => return Err(packet[3]),
            6 => {
                let words = packet[2..packet.len() - 1].split(|byte| *byte == 0);
                agreed = words
                    .map(|word| String::from_utf8(word.to_vec()).unwrap())
                    .collect();
                let size = agreed.iter().position(|word| word == "blksize");
                block = size.map_or(512, |at| agreed[at + 1].parse().unwrap());
                client.send_to(&[0, 4, 0, 0], from).await.unwrap();
            }
            other => panic!("opcode {other}"),
        }
    }
}

#[tokio::test]
async fn a_loader_is_read_whole_and_the_reading_is_seen() {
    let running = start();
    for name in ["snp.efi", "/snp.efi", "link-in", "serial/../snp.efi"] {
        assert_eq!(read(running.address, name, &[]).await.unwrap().1, content());
    }
    assert_eq!(
        read(running.address, "serial/start.elf", &[]).await.unwrap().1,
        b"elf"
    );
    let seen = running.seen.0.lock().unwrap().clone();
    assert_eq!(seen.len(), 5);
    assert_eq!(seen[0], "Tftp { client: 127.0.0.1, file: \"snp.efi\" }");
}

#[tokio::test]
async fn options_are_kept_within_a_frame_and_a_window() {
    let running = start();
    let options = [
        ("tsize", "0"),
        ("blksize", "65464"),
        ("windowsize", "65535"),
        ("timeout", "255"),
    ];
    let client = client().await;
    client
        .send_to(&request(1, "snp.efi", &options), running.address)
        .await
        .unwrap();
    let (packet, _) = receive(&client).await;
    let agreed = String::from_utf8_lossy(&packet[2..]).into_owned();
    let mut agreed: Vec<_> = agreed.trim_end_matches('\0').split('\0').collect();
    let pairs: Vec<_> = agreed
        .chunks_mut(2)
        .map(|pair| format!("{}={}", pair[0], pair[1]))
        .collect();
    assert!(pairs.contains(&"tsize=100000".into()), "{pairs:?}");
    assert!(pairs.contains(&"blksize=1468".into()), "{pairs:?}");
    assert!(pairs.contains(&"windowsize=16".into()), "{pairs:?}");
    assert_eq!(pairs.len(), 3, "{pairs:?}");
    let (_, large) = read(running.address, "snp.efi", &[("blksize", "1468")])
        .await
        .unwrap();
    assert_eq!(large, content());
}

#[tokio::test]
async fn nothing_outside_the_folder_is_reached_and_nothing_is_written() {
    let running = start();
    let (not_found, denied) = (1, 2);
    for (name, code) in [
        ("../secret", denied),
        ("/../secret", denied),
        ("serial/../../secret", denied),
        ("link-out", denied),
        ("link-absolute", denied),
        ("serial", denied),
        ("etc/passwd", not_found),
        ("/etc/passwd", not_found),
        ("absent", not_found),
        ("", not_found),
        ("/", not_found),
        (&"x".repeat(256), not_found),
    ] {
        assert_eq!(read(running.address, name, &[]).await, Err(code), "{name:?}");
    }
    let client = client().await;
    client
        .send_to(&request(2, "new", &[]), running.address)
        .await
        .unwrap();
    assert_eq!(receive(&client).await.0[..4], [0, 5, 0, denied]);
    assert!(!running.folder.path().join("new").exists());
    assert!(running.seen.0.lock().unwrap().is_empty());
    let mut metrics = String::new();
    prometheus_client::encoding::text::encode(&mut metrics, &running.registry).unwrap();
    assert!(metrics.contains("outcome=\"forbidden\"} 6"), "{metrics}");
    assert!(metrics.contains("outcome=\"not-found\"} 6"), "{metrics}");
    assert!(metrics.contains("outcome=\"write\"} 1"), "{metrics}");
}

#[tokio::test]
async fn one_transfer_more_than_allowed_is_refused_until_one_ends() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a"), b"a").unwrap();
    let (files, seen) = (Files::of(folder.path()).unwrap(), Arc::new(Seen::default()));
    let handler = Handler::new(files, Metrics::default(), seen, 2);
    let open = || handler.open("127.0.0.1:2000".parse().unwrap(), "a".as_ref());
    let (first, _second) = (open().ok().unwrap(), open().ok().unwrap());
    assert_eq!(open().err().unwrap().0, "busy");
    drop(first);
    assert!(open().is_ok());
}

#[test]
fn a_name_with_a_zero_byte_names_no_file() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a"), b"a").unwrap();
    let files = Files::of(folder.path()).unwrap();
    assert!(files.open(b"a").is_ok());
    assert!(files.open(b"a\0b").is_err());
    let error = Files::of(&folder.path().join("b")).unwrap_err().to_string();
    assert!(error.contains("/b"), "{error}");
}

#[tokio::test]
async fn malformed_requests_are_dropped_and_the_next_one_is_served() {
    let running = start();
    let client = client().await;
    for rubbish in [
        &[][..],
        &[0],
        &[0, 1],
        &[0, 1, b'a'],
        &[0, 9, 0, 0],
        &[0, 4, 0, 1],
        &[255; 600],
    ] {
        client.send_to(rubbish, running.address).await.unwrap();
    }
    assert_eq!(read(running.address, "snp.efi", &[]).await.unwrap().1, content());
}

/// What remains of the library's defects: a ROM that asks for the size, aborts and asks again from the same port is
/// answered only once the aborted transfer has run out.
#[tokio::test]
async fn after_an_aborted_size_probe_the_same_port_waits_a_bounded_time() {
    let running = start();
    let client = client().await;
    let probe = request(1, "snp.efi", &[("tsize", "0")]);
    client.send_to(&probe, running.address).await.unwrap();
    let (_, transfer) = receive(&client).await;
    client.send_to(&[0, 5, 0, 0, 0], transfer).await.unwrap();
    let (start, bound) = (Instant::now(), TIMEOUT * (RETRIES + 1));
    // another client is not held up meanwhile
    assert_eq!(read(running.address, "snp.efi", &[]).await.unwrap().1, content());
    assert!(start.elapsed() < bound / 2, "{:?}", start.elapsed());
    loop {
        client.send_to(&probe, running.address).await.unwrap();
        let (packet, from) = receive(&client).await;
        if from != transfer && packet[1] == 6 {
            break;
        }
        assert!(
            start.elapsed() < bound + Duration::from_secs(5),
            "{:?}",
            start.elapsed()
        );
    }
}

#[tokio::test]
async fn stopping_ends_the_server() {
    let running = start();
    assert!(read(running.address, "snp.efi", &[]).await.is_ok());
    running.stop.cancel();
    timeout(Duration::from_secs(5), running.task)
        .await
        .unwrap()
        .unwrap();
}

#[test]
fn an_address_that_no_interface_has_is_named_with_what_to_do() {
    let error = bind("192.0.2.1".parse().unwrap()).unwrap_err().to_string();
    assert!(
        error.contains("192.0.2.1:69") && error.contains("hostNetwork"),
        "{error}"
    );
}
