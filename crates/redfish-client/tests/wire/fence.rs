//! `before_send`: asked before every request, obeyed at every step.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hardware_types::BootTarget;
use redfish_client::{BeforeSend, Cause, Error, Override, Reset, TlsPolicy};

use super::server::*;

/// Says yes so many times, then no.
fn yes_so_often(times: usize) -> (BeforeSend, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let fence = move || match count.fetch_add(1, Ordering::SeqCst) {
        n if n < times => Ok(()),
        _ => Err("the lease was lost".to_owned()),
    };
    (Arc::new(fence), asked)
}

fn assert_fenced(error: &Error) {
    assert!(
        matches!(*error.cause, Cause::Fenced(_)) && !error.maybe_sent,
        "{error:?}"
    );
    assert!(
        error.to_string().ends_with("not sent: the lease was lost"),
        "{error}"
    );
}

#[tokio::test]
async fn a_refusal_stops_a_reset_at_every_step() {
    // Requests with a body ask twice: before connecting, and before the body goes out.
    let full = [ROOT, LOGIN, LOGIN, SYSTEM, RESET, RESET];
    let read = {
        let bmc = Server::start().await;
        system(&bmc.client()).await
    };
    for allowed in 0..=full.len() {
        let bmc = Server::start().await;
        let (fence, asked) = yes_so_often(allowed);
        let result = bmc
            .client_with(&TlsPolicy::Undecided, fence)
            .reset(&read, Reset::ForceOff)
            .await;
        let mut complete: Vec<_> = full[..allowed].to_vec();
        if matches!(allowed, 2 | 5) {
            complete.pop();
        }
        complete.dedup();
        assert_eq!(bmc.routes(), complete, "{allowed} times yes");
        if allowed < full.len() {
            assert_fenced(&result.unwrap_err());
            assert_eq!(
                asked.load(Ordering::SeqCst),
                allowed + 1,
                "no further attempt after a refusal"
            );
        } else {
            result.unwrap();
        }
    }
}

#[tokio::test]
async fn a_refusal_stops_the_new_log_in_and_the_second_try() {
    // first read: root, log-in (2), read; then a read that gets 401, root, log-in (2), the read again
    for (allowed, logins, reads) in [(5, 1, 2), (6, 1, 2), (8, 2, 2), (9, 2, 3)] {
        let bmc = Server::start().await;
        bmc.on(
            SYSTEM,
            [ok(system_document()), status(401), ok(system_document())],
        );
        let (fence, _) = yes_so_often(allowed);
        let client = bmc.client_with(&TlsPolicy::Undecided, fence);
        system(&client).await;
        let result = client.system(&link("/redfish/v1/Systems/1")).await;
        assert_eq!(
            (bmc.seen_at(LOGIN).len(), bmc.seen_at(SYSTEM).len()),
            (logins, reads),
            "{allowed} times yes"
        );
        match result {
            Ok(_) => assert_eq!(allowed, 9),
            Err(error) => assert_fenced(&error),
        }
    }
}

#[tokio::test]
async fn a_refusal_stops_the_repetition_after_a_dropped_connection() {
    let bmc = Server::start().await;
    bmc.on(SYSTEM, [Answer::Drop]);
    let (fence, _) = yes_so_often(4);
    let client = bmc.client_with(&TlsPolicy::Undecided, fence);
    assert_fenced(&client.system(&link("/redfish/v1/Systems/1")).await.unwrap_err());
    assert_eq!(bmc.seen_at(SYSTEM).len(), 1);
}

#[tokio::test]
async fn a_refusal_between_two_deliveries_does_not_hide_the_first() {
    let bmc = Server::start().await;
    bmc.on(PATCH, [Answer::Drop]);
    // root, log-in (2), read; the read before the change, the change (2)
    let (fence, _) = yes_so_often(7);
    let client = bmc.client_with(&TlsPolicy::Undecided, fence);
    let read = system(&client).await;
    let error = client
        .set_boot_override(&read, BootTarget::Pxe, Override::Once)
        .await
        .unwrap_err();
    assert!(
        matches!(*error.cause, Cause::Fenced(_)) && error.maybe_sent,
        "{error:?}"
    );
    assert_eq!(bmc.seen_at(PATCH).len(), 1);
}
