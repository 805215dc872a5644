use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::Ordering;

use agent_protocol::Token;
use boot_protocols::ipxe::DiskMethod;
use lifecycle::boot::{Answer, MAX_AGENT_BOOTS, View, Why};
use tokio::io::AsyncWriteExt as _;

use super::BURST_OF_A_PEER;
use crate::fake::{MAC, Running, UUID, id, read_answer, start, start_with, view, wiping};
use crate::server::Bounds;
use crate::{Environment, NoEnvironment, Sighting, TOLD_ENVIRONMENT};

fn accepted() -> View {
    let mut view = view();
    view.observed.accepted = true;
    view
}

async fn ask(running: &Running) -> crate::fake::Answer {
    running
        .get(&format!("/ipxe?uuid={UUID}&mac={MAC}&arch=x86_64"))
        .await
}

#[tokio::test]
async fn an_unknown_machine_gets_the_agent_with_its_arguments() {
    let running = start().await;
    let answer = ask(&running).await;
    assert_eq!(answer.status, 200);
    assert!(answer.head.contains("cache-control: no-store"), "{}", answer.head);
    assert!(
        answer.head.contains("content-type: text/plain"),
        "{}",
        answer.head
    );
    assert_eq!(
        answer.body,
        "#!ipxe\n\
         kernel /env/agent-amd64/vmlinuz init_on_alloc=1 slab_nomerge= pti=on consoleblank=0 \
         nvme_core.io_timeout=4294967295 printk.devkmsg=on selinux=1 module.sig_enforce=1 \
         proc_mem.force_override=never console=tty0 console=ttyS0 initrd=initramfs.xz panic=30 \
         sidero.mac=52:54:00:77:00:01 sidero.endpoint=10.77.0.3:8081\n\
         initrd /env/agent-amd64/initramfs.xz\n\
         boot\n"
    );
    let seen = running.directory.seen.lock().unwrap().clone();
    let asked = Sighting::Asked {
        mac: Some(MAC),
        answer: Answer::Agent { with_token: false },
    };
    assert_eq!(seen, [(id(), asked)]);
}

#[tokio::test]
async fn a_machine_that_cannot_register_goes_on_to_its_disk() {
    let running = start().await;
    let told = |running: &Running| {
        running
            .directory
            .seen
            .lock()
            .unwrap()
            .pop()
            .unwrap()
            .1
            .to_string()
    };
    running.directory.is_full.store(true, Ordering::Relaxed);
    assert_eq!(ask(&running).await.body, "#!ipxe\nexit\n");
    let text = told(&running);
    assert!(text.contains("accept or delete some"), "{text}");

    running.directory.is_full.store(false, Ordering::Relaxed);
    for _ in 0..2 * MAX_AGENT_BOOTS {
        assert!(
            ask(&running).await.body.contains("env/agent-amd64"),
            "questions of one boot"
        );
    }
    {
        let mut boots = running.agent_boots.lock().unwrap();
        let now = std::time::Instant::now();
        for n in 1..MAX_AGENT_BOOTS {
            boots.given(id(), now + std::time::Duration::from_mins(n.into()));
        }
    }
    assert_eq!(ask(&running).await.body, "#!ipxe\nexit\n");
    let text = told(&running);
    assert!(text.contains("ran 3 times within an hour"), "{text}");

    let mut client = running.agent().await;
    client.create_server(crate::fake::report()).await.unwrap();
    assert!(
        ask(&running).await.body.contains("env/agent-amd64"),
        "deleted since"
    );
}

#[tokio::test]
async fn a_peer_gets_its_burst_of_questions_and_another_is_not_hurt() {
    let running = start().await;
    let mut answers = Vec::new();
    for _ in 0..2 * BURST_OF_A_PEER {
        answers.push(running.get("/ipxe").await);
    }
    let burst = BURST_OF_A_PEER as usize;
    assert!(answers[..burst].iter().all(|answer| answer.status == 200));
    let refused = answers.iter().find(|answer| answer.status == 429).unwrap();
    assert!(refused.head.contains("retry-after: 10"), "{refused:?}");
    assert!(refused.body.contains("127.0.0.1 asks too often"), "{refused:?}");
    // calls of agents are counted with them, other routes are not
    let mut client = running.agent().await;
    let mut refusals = 0;
    for _ in 0..burst {
        let called = client.poll(agent_protocol::api::PollRequest::default()).await;
        refusals += usize::from(called.is_err_and(|status| status.code() == tonic::Code::ResourceExhausted));
    }
    assert!(refusals > 0);
    assert_eq!(running.get("/boot.ipxe").await.status, 200);
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = socket.connect(running.address).await.unwrap();
    let request = b"GET /ipxe HTTP/1.1\r\nHost: boot\r\nConnection: close\r\n\r\n";
    other.write_all(request).await.unwrap();
    assert_eq!(read_answer(&mut other).await.status, 200);
}

#[tokio::test]
async fn a_token_goes_to_a_known_interface_inside_the_window_only() {
    let running = start().await;
    running.know(wiping());
    let script = ask(&running).await.body;
    assert!(script.contains(" sidero.token=token-of-w-1\n"), "{script}");
    let strange = format!("/ipxe?uuid={UUID}&mac=02:00:00:00:00:09&arch=x86_64");
    let script = running.get(&strange).await.body;
    assert!(
        script.contains("sidero.mac=") && !script.contains("token"),
        "{script}"
    );
    running.know(View {
        window: None,
        ..wiping()
    });
    let script = ask(&running).await.body;
    assert!(!script.contains("token") && script.contains("waits"), "{script}");
}

#[tokio::test]
async fn extra_arguments_replace_all_of_the_same_key() {
    let running = start_with(Bounds::default(), |config| {
        let extra = [
            "console=ttyS1",
            "console=ttyS2",
            "quiet",
            "sidero.endpoint=proxy:80",
        ];
        config.extra_agent_kernel_args = extra.map(String::from).to_vec();
    })
    .await;
    let script = ask(&running).await.body;
    let kernel = script.lines().nth(1).unwrap();
    let of = |key: &str| {
        kernel
            .split(' ')
            .filter(|word| word.starts_with(key))
            .collect::<Vec<_>>()
    };
    assert_eq!(of("console="), ["console=ttyS1", "console=ttyS2"]);
    assert_eq!(of("sidero.endpoint"), ["sidero.endpoint=proxy:80"]);
    assert_eq!(of("quiet"), ["quiet"]);
    assert_eq!(of("panic"), ["panic=30"]);
}

#[tokio::test]
async fn paused_and_bound_and_clean_and_unaccepted_machines_get_their_disk() {
    let running = start().await;
    let mut paused = accepted();
    paused.observed.paused = true;
    let bound = View {
        bound: true,
        ..accepted()
    };
    let clean = View {
        clean: true,
        ..accepted()
    };
    for view in [paused, bound, clean, view()] {
        running.know(view.clone());
        let answer = ask(&running).await;
        assert_eq!(
            (answer.status, &*answer.body),
            (200, "#!ipxe\nexit\n"),
            "{view:?}"
        );
        let seen = running.directory.seen.lock().unwrap().pop().unwrap();
        assert!(
            matches!(
                seen,
                (
                    _,
                    Sighting::Asked {
                        answer: Answer::Disk(_),
                        ..
                    }
                )
            ),
            "{seen:?}"
        );
    }
}

/// In the window of its environment.
fn taken() -> View {
    View {
        bound: true,
        window: "w-1 environment 1800000000".parse().ok(),
        ..accepted()
    }
}

fn environment(arguments: &[&str], token: Option<&str>) -> Environment {
    Environment {
        name: "talos-1.13".into(),
        arguments: arguments.iter().map(|argument| (*argument).into()).collect(),
        token: token.and_then(Token::new),
    }
}

#[tokio::test]
async fn a_machine_that_somebody_has_boots_its_environment_with_the_token_of_its_window() {
    let running = start().await;
    running.know(taken());
    let find = |found| *running.directory.environment.lock().unwrap() = Some(found);
    find(Ok(environment(&["console=ttyS0"], Some("t0ken"))));
    let answer = ask(&running).await;
    let kernel = answer.body.lines().nth(1).unwrap();
    assert!(
        kernel.starts_with("kernel /env/talos-1.13/vmlinuz console=ttyS0 talos.config=http://")
            && kernel.ends_with("/configdata?token=t0ken&uuid="),
        "{kernel}"
    );
    assert!(answer.body.contains("initrd /env/talos-1.13/initramfs.xz\nboot"));
    let (_, seen) = running.directory.seen.lock().unwrap().pop().unwrap();
    assert_eq!(seen.to_string(), TOLD_ENVIRONMENT);
    // no window, no token; and what its user wrote is not written again
    find(Ok(environment(&[], None)));
    assert!(ask(&running).await.body.contains("/configdata?uuid=\n"));
    find(Ok(environment(&["talos.config=http://own/"], Some("t0ken"))));
    let body = ask(&running).await.body;
    assert!(
        body.contains("talos.config=http://own/\n") && !body.contains("t0ken"),
        "{body}"
    );
}

#[tokio::test]
async fn a_live_look_decides_over_an_environment_and_what_lacks_is_named() {
    let running = start().await;
    running.know(taken());
    let find = |why| *running.directory.environment.lock().unwrap() = Some(Err(why));
    find(NoEnvironment::Instead(Answer::Disk(Why::ManyBoots)));
    let answer = ask(&running).await;
    assert_eq!((answer.status, &*answer.body), (200, "#!ipxe\nexit\n"));
    find(NoEnvironment::Missing("there is no Environment \"x\"".into()));
    let answer = ask(&running).await;
    assert_eq!(
        (answer.status, &*answer.body),
        (404, "there is no Environment \"x\"\n")
    );
    find(NoEnvironment::NotReady("x".into()));
    let answer = ask(&running).await;
    assert_eq!(
        (answer.status, &*answer.body),
        (412, "environment \"x\" is not ready\n")
    );
}

#[tokio::test]
async fn the_servers_own_way_to_its_disk_goes_before_the_flags() {
    let running = start_with(Bounds::default(), |config| {
        config.disk_method = DiskMethod::Http404;
    })
    .await;
    running.know(view());
    let answer = ask(&running).await;
    assert_eq!((answer.status, &*answer.body), (404, ""));
    assert!(answer.head.contains("cache-control: no-store"), "{}", answer.head);
    *running.directory.method.lock().unwrap() = Some(DiskMethod::IpxeSanboot);
    let answer = ask(&running).await;
    assert_eq!(answer.status, 200);
    assert!(
        answer.body.contains("sanboot --no-describe --drive 0x80"),
        "{}",
        answer.body
    );
}

#[tokio::test]
async fn a_machine_that_waits_asks_again_with_its_own_question() {
    let running = start().await;
    running.know(accepted());
    let script = ask(&running).await.body;
    assert!(script.contains("its disks are to be wiped first"), "{script}");
    assert!(script.contains("sleep 30\n"), "{script}");
    let again = format!("chain --replace /ipxe?uuid={UUID}&mac={MAC}&arch=x86_64 ");
    assert!(script.contains(&again), "{script}");
    let seen = running.directory.seen.lock().unwrap().pop().unwrap().1;
    let answer = Answer::Wait(Why::Dirty);
    assert_eq!(
        seen,
        Sighting::Asked {
            mac: Some(MAC),
            answer
        }
    );
}

#[tokio::test]
async fn a_manager_that_knows_nothing_yet_asks_for_patience() {
    let running = start().await;
    running.directory.is_down.store(true, Ordering::Relaxed);
    let answer = ask(&running).await;
    assert_eq!(answer.status, 503);
    for header in ["retry-after: 10", "cache-control: no-store"] {
        assert!(answer.head.contains(header), "{}", answer.head);
    }
    assert!(running.directory.seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn what_cannot_be_booted_is_explained_on_the_machines_console() {
    let running = start().await;
    let uuid_only = format!("/ipxe?uuid={UUID}");
    let bad_mac = format!("/ipxe?uuid={UUID}&mac=52%3A54");
    let arm = format!("/ipxe?uuid={UUID}&mac={MAC}&arch=arm64");
    for (target, text) in [
        ("/ipxe", "bad uuid: \"\" does not name a machine"),
        ("/ipxe?uuid=x", "bad uuid: \"x\" does not name a machine"),
        (
            "/ipxe?uuid=00000000-0000-0000-0000-000000000000",
            "\"00000000-0000-0000-0000-000000000000\"",
        ),
        (&uuid_only, "mac=\"\" is no MAC address"),
        (&bad_mac, "mac=\"52:54\" is no MAC address"),
        (&arm, "env/agent-arm64/vmlinuz is missing"),
    ] {
        let answer = running.get(target).await;
        assert_eq!(answer.status, 200, "{target}");
        assert!(
            answer.body.starts_with("#!ipxe\necho "),
            "{target}: {}",
            answer.body
        );
        assert!(answer.body.contains(text), "{target}: {}", answer.body);
        assert!(answer.body.ends_with("exit\n"), "{target}: {}", answer.body);
    }
    assert!(running.directory.seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn hostile_values_do_not_become_commands() {
    let running = start().await;
    running.know(accepted());
    for value in [
        "x%0Aboot",
        "x%0D%0Aboot",
        "x || boot".replace(' ', "%20").as_str(),
        "$%7Bmanufacturer%7D",
        "%00%FF%1B%5B2J",
    ] {
        let explained = running.get(&format!("/ipxe?uuid={value}")).await.body;
        assert_eq!(explained.lines().count(), 4, "{explained:?}");
        let waiting = running
            .get(&format!("/ipxe?uuid={UUID}&serial={value}"))
            .await
            .body;
        assert_eq!(waiting.lines().count(), 5, "{waiting:?}");
        for script in [explained, waiting] {
            assert!(script.is_ascii() && !script.contains("${"), "{script:?}");
            assert!(
                !script.contains("|| boot") && !script.contains("\nboot"),
                "{script:?}"
            );
        }
    }
}

#[tokio::test]
async fn the_first_script_names_the_endpoint() {
    let running = start().await;
    let answer = running.get("/boot.ipxe").await;
    assert_eq!(answer.status, 200);
    assert!(
        answer
            .body
            .starts_with("#!ipxe\nchain --replace http://10.77.0.3:8081/ipxe?uuid=${uuid}"),
        "{}",
        answer.body
    );
}

#[tokio::test]
async fn files_are_given_whole_in_part_and_by_their_head() {
    let running = start().await;
    let whole = running.get("/env/agent-amd64/vmlinuz").await;
    assert_eq!((whole.status, &*whole.body), (200, "0123456789"));
    let part = running.ask("GET", "/tftp/snp.efi", "Range: bytes=2-4\r\n").await;
    assert_eq!((part.status, &*part.body), (206, "234"));
    let head = running.ask("HEAD", "/tftp/snp.efi", "").await;
    assert_eq!((head.status, &*head.body), (200, ""));
    for header in ["content-length: 10", "content-type: application/octet-stream"] {
        assert!(head.head.contains(header), "{}", head.head);
    }
    assert_eq!(running.ask("POST", "/tftp/snp.efi", "").await.status, 405);
}

#[tokio::test]
async fn nothing_outside_the_two_folders_is_given() {
    let running = start().await;
    let data = running.folder.path().join("data");
    for secret in [running.folder.path().join("secret"), data.join("secret")] {
        fs::write(secret, "secret").unwrap();
    }
    symlink("../../secret", data.join("env/out")).unwrap();
    symlink("/etc/passwd", data.join("env/absolute")).unwrap();
    symlink("..", data.join("env/up")).unwrap();
    symlink("agent-amd64/vmlinuz", data.join("env/inside")).unwrap();
    fs::write(data.join("env/agent-amd64/.vmlinuz.part"), "half").unwrap();
    assert_eq!(running.get("/env/inside").await.status, 200);
    for target in [
        "/env/../secret",
        "/env/../../secret",
        "/env/%2e%2e/secret",
        "/env/%2E%2E%2Fsecret",
        "/env/%252e%252e/secret",
        "/env/agent-amd64/../../secret",
        "/env/..%2f..%2f..%2f..%2f..%2f..%2fetc/passwd",
        "/env//etc/passwd",
        "/env/%2Fetc%2Fpasswd",
        "/env/x%00",
        "/env/out",
        "/env/absolute",
        "/env/up/secret",
        "/env/agent-amd64/.vmlinuz.part",
        "/env/agent-amd64",
        "/env/agent-amd64/",
        "/env/",
        "/env",
        "/secret",
        "/",
    ] {
        let answer = running.get(target).await;
        assert!(answer.status == 404, "{target}: {answer:?}");
    }
    let not_text = running.get("/env/%FF").await;
    assert_eq!(not_text.status, 400);
}

#[tokio::test]
async fn what_happened_is_counted() {
    let running = start().await;
    ask(&running).await;
    running.know(view());
    ask(&running).await;
    running.get("/ipxe").await;
    running.get("/tftp/none").await;
    running.get("/nothing").await;
    let metrics = running.metrics();
    for line in [
        "boot_http_requests_total{route=\"ipxe\",status=\"2xx\"} 3",
        "boot_http_requests_total{route=\"tftp\",status=\"4xx\"} 1",
        "boot_http_requests_total{route=\"other\",status=\"4xx\"} 1",
        "boot_answers_total{answer=\"agent\"} 1",
        "boot_answers_total{answer=\"disk\"} 1",
        "boot_answers_total{answer=\"explanation\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
}
