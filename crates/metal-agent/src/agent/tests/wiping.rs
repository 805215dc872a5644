//! The agent wipes on order.

use agent_protocol::api;

use super::*;

fn wipe(generation: u64) -> Answer<PollResponse> {
    let mut answer = order(Order::Wipe, "its disks are to be wiped", 2)?;
    answer.wipe = Some(api::WipeOrder {
        generation,
        include_wwids: vec![],
        heartbeat_seconds: 10,
    });
    Ok(answer)
}

fn token(token: &str) -> Answer<PollResponse> {
    let mut answer = order(Order::Wait, "its window is open", 60)?;
    answer.token = token.into();
    Ok(answer)
}

fn end() -> Answer<PollResponse> {
    order(Order::Reboot, "it is wiped and free", 1)
}

#[tokio::test(start_paused = true)]
async fn an_order_is_carried_out_once_with_heartbeats_that_end_with_it_and_a_certificate() {
    let services = services([
        token("canary-7"),
        wipe(3),
        wipe(3),
        order(Order::Wait, "off", 60),
        end(),
    ]);
    let done = api::MarkServerAsWipedResponse {
        done: true,
        reason: String::new(),
    };
    services.script().wiped = [Ok(done)].into();
    let host = Fake::new(Some(services.clone()));
    host.run().await;
    assert_eq!(*host.wipes.lock().unwrap(), [3]);
    let script = services.script();
    let bearer = Some("Bearer canary-7".to_owned());
    assert_eq!(script.bearers[0], None);
    assert!(script.bearers[1..].iter().all(|shown| *shown == bearer));
    let beats: Vec<_> = script
        .heartbeats
        .iter()
        .map(|(shown, beat)| (shown.clone(), beat.percent))
        .collect();
    assert_eq!(
        beats,
        [(bearer.clone(), 0), (bearer.clone(), 40), (bearer.clone(), 80)]
    );
    assert_eq!(script.heartbeats[0].1.generation, 3);
    // ordered twice, reported twice, the same
    assert_eq!(script.certificates.len(), 2);
    assert_eq!(script.certificates[0], script.certificates[1]);
    let (shown, certificate) = &script.certificates[0];
    assert_eq!(
        (shown, certificate.generation, certificate.disks.len()),
        (&bearer, 3, 2)
    );
    assert_eq!(host.said("canary"), 0);
    assert_eq!(host.said("/dev/sdb: not wiped: byte 0 is 7"), 1);
    assert_eq!(host.said("40 %"), 1);
}

#[tokio::test(start_paused = true)]
async fn another_generation_is_another_wipe() {
    let services = services([wipe(3), wipe(4), end()]);
    let host = Fake::new(Some(services.clone()));
    host.run().await;
    assert_eq!(*host.wipes.lock().unwrap(), [3, 4]);
    assert_eq!(
        host.said("does not count"),
        1,
        "and it is said when a wipe does not count"
    );
}

#[tokio::test(start_paused = true)]
async fn a_report_whose_answer_is_lost_is_sent_again_and_nothing_is_wiped_again() {
    let services = services([wipe(3), end()]);
    let lost = Err(Status::unavailable("lost"));
    services.script().wiped = [lost.clone(), lost, Ok(api::MarkServerAsWipedResponse::default())].into();
    let host = Fake::new(Some(services.clone()));
    host.run().await;
    assert_eq!(services.script().certificates.len(), 3);
    assert_eq!(*host.wipes.lock().unwrap(), [3]);
}

#[tokio::test(start_paused = true)]
async fn a_report_that_is_refused_is_shown_and_the_next_poll_decides() {
    let services = services([wipe(3), end()]);
    let refused = Err(Status::permission_denied("no wipe was ordered"));
    services.script().wiped = [refused].into();
    let host = Fake::new(Some(services.clone()));
    host.run().await;
    assert_eq!(services.script().certificates.len(), 1);
    assert_eq!(host.said("refused: no wipe was ordered"), 1);
}

#[tokio::test(start_paused = true)]
async fn the_token_of_the_kernel_argument_is_shown_from_the_first_call() {
    let services = services([end()]);
    let mut host = Fake::new(Some(services.clone()));
    host.arguments.as_mut().unwrap().token = Token::new("canary-8");
    host.run().await;
    assert_eq!(services.script().bearers, [Some("Bearer canary-8".to_owned())]);
    assert_eq!(
        (host.said("canary"), host.said("going on without it: set the MTU")),
        (0, 1)
    );
}
