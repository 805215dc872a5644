use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::SignedDuration;
use proptest::prelude::*;
use tokio::task::{JoinHandle, yield_now};

use super::fake::{FINE, Fate, Link, Server};
use super::*;

const STEP: Duration = Duration::from_millis(50);
const NO_SKEW: SignedDuration = SignedDuration::ZERO;

/// One process with an elector.
struct Candidate {
    leadership: Leadership,
    link: Link,
    stop: CancellationToken,
    /// Terms that began, and those that are over.
    terms: Arc<(AtomicUsize, AtomicUsize)>,
    task: JoinHandle<Result<(), Infallible>>,
}

impl Candidate {
    /// Work that ends `drain` after it was asked to.
    fn start(server: &Server, name: &str, fates: Vec<Fate>, skew: SignedDuration, drain: Duration) -> Self {
        let (client, link) = server.client(fates, skew);
        let elector = Elector::new(client, "default", "site", name.into(), Timings::default()).unwrap();
        let (leadership, stop) = (elector.leadership(), CancellationToken::new());
        let terms = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
        let count = terms.clone();
        let work = move |term: CancellationToken| {
            let count = count.clone();
            async move {
                count.0.fetch_add(1, Ordering::SeqCst);
                term.cancelled().await;
                sleep(drain).await;
                count.1.fetch_add(1, Ordering::SeqCst);
                Ok(())
            }
        };
        let task = tokio::spawn(elector.run(stop.clone(), work));
        Self {
            leadership,
            link,
            stop,
            terms,
            task,
        }
    }

    fn simple(server: &Server, name: &str) -> Self {
        Self::start(server, name, vec![FINE], NO_SKEW, Duration::ZERO)
    }

    fn terms(&self) -> (usize, usize) {
        (
            self.terms.0.load(Ordering::SeqCst),
            self.terms.1.load(Ordering::SeqCst),
        )
    }
}

/// How long it takes until `so`, looked at in small steps.
async fn until(deadline: Duration, mut so: impl FnMut() -> bool) -> Duration {
    let begin = Instant::now();
    while !so() {
        assert!(begin.elapsed() <= deadline, "not so after {deadline:?}");
        sleep(STEP).await;
    }
    begin.elapsed()
}

async fn leader_and_follower(server: &Server) -> (Candidate, Candidate) {
    let a = Candidate::simple(server, "a");
    until(STEP, || a.leadership.holds()).await;
    let b = Candidate::simple(server, "b");
    sleep(Duration::from_secs(30)).await;
    assert!(a.leadership.holds() && !b.leadership.holds());
    (a, b)
}

#[tokio::test(start_paused = true)]
async fn a_leader_stays_one_and_its_record_reads_as_other_components_write_it() {
    let server = Server::default();
    let (a, b) = leader_and_follower(&server).await;
    assert_eq!((a.terms(), b.terms()), ((1, 0), (0, 0)));
    let spec = server.lease().unwrap().spec.unwrap();
    assert_eq!(spec.holder_identity.as_deref(), Some("a"));
    assert_eq!(
        (spec.lease_duration_seconds, spec.lease_transitions),
        (Some(15), Some(0))
    );
    assert!(spec.acquire_time.is_some() && spec.renew_time.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_follower_takes_over_when_the_leader_is_cut_off_and_the_leader_has_stopped_before() {
    let server = Server::default();
    let (a, b) = leader_and_follower(&server).await;
    a.link.set(Fate::LostRequest);
    let stopped = until(Duration::from_secs(10), || !a.leadership.holds()).await;
    sleep(STEP).await;
    assert_eq!(a.terms(), (1, 1), "the term's work was told");
    assert!(!b.leadership.holds(), "there is a margin");
    let more = until(Duration::from_secs(8), || b.leadership.holds()).await;
    // The lease, one look of the follower's before it, and the jitter.
    assert!(
        stopped + more <= Duration::from_secs_f64(15.0 + 2.4 + 0.4) + STEP * 2,
        "{stopped:?} {more:?}"
    );
    assert_eq!(server.lease().unwrap().spec.unwrap().lease_transitions, Some(1));

    a.link.set(FINE);
    sleep(Duration::from_mins(1)).await;
    assert!(
        b.leadership.holds() && !a.leadership.holds(),
        "who comes back follows"
    );
    b.stop.cancel();
    until(Duration::from_secs(3), || a.leadership.holds()).await;
    assert_eq!(a.terms(), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_stopped_leader_hands_over_once_its_work_is_done() {
    let server = Server::default();
    let a = Candidate::start(&server, "a", vec![FINE], NO_SKEW, Duration::from_secs(5));
    until(STEP, || a.leadership.holds()).await;
    let b = Candidate::simple(&server, "b");
    a.stop.cancel();
    sleep(Duration::from_millis(4900)).await;
    assert!(a.leadership.holds(), "work that drains is still covered");
    until(Duration::from_millis(200), || a.task.is_finished()).await;
    assert!(!a.leadership.holds());
    assert_eq!(a.terms(), (1, 1));
    until(Duration::from_millis(2500), || b.leadership.holds()).await;
}

#[tokio::test(start_paused = true)]
async fn work_that_does_not_drain_is_dropped_in_time() {
    let server = Server::default();
    let a = Candidate::start(&server, "a", vec![FINE], NO_SKEW, Duration::from_hours(1));
    until(STEP, || a.leadership.holds()).await;
    a.stop.cancel();
    until(DRAIN + STEP, || a.task.is_finished()).await;
    assert_eq!(a.terms(), (1, 0));
    assert_eq!(server.lease().unwrap().spec.unwrap().holder_identity, None);

    // Cut off as well: what cannot be given back is left behind, and losing the lease meanwhile buys no more time.
    let a = Candidate::start(&server, "a", vec![FINE], NO_SKEW, Duration::from_hours(1));
    until(STEP, || a.leadership.holds()).await;
    a.link.set(Fate::LostRequest);
    sleep(Duration::from_secs(5)).await;
    a.stop.cancel();
    until(DRAIN + RELEASE + STEP, || a.task.is_finished()).await;
    assert!(!a.leadership.holds());
}

#[tokio::test(start_paused = true)]
async fn a_stuck_elector_loses_by_the_clock() {
    let server = Server::default();
    let (client, _link) = server.client([FINE], NO_SKEW);
    let elector = Elector::new(client, "default", "site", "a".into(), Timings::default()).unwrap();
    let leadership = elector.leadership();
    let mut run = pin!(elector.run(
        CancellationToken::new(),
        |_term| pending::<Result<(), Infallible>>()
    ));
    assert!(timeout(Duration::from_secs(61), &mut run).await.is_err());
    assert!(leadership.holds());
    // From here on nobody polls the elector. Its last renewal is at most a retry period old.
    sleep(Duration::from_millis(7950)).await;
    assert!(leadership.holds());
    sleep(Duration::from_secs(2) + STEP).await;
    assert!(!leadership.holds());
    assert_eq!(
        server.lease().unwrap().spec.unwrap().holder_identity.as_deref(),
        Some("a")
    );
}

#[tokio::test(start_paused = true)]
async fn a_renewal_counts_from_when_it_was_sent() {
    let server = Server::default();
    let (a, _b) = leader_and_follower(&server).await;
    a.link.set(Fate::Slow {
        there: Duration::ZERO,
        back: Duration::from_secs(3),
    });
    sleep(Duration::from_secs(30)).await;
    assert!(a.leadership.holds());
    // The write that was answered last was sent 3 s before its answer; count from its effect on the server.
    let version = || server.lease().unwrap().metadata.resource_version;
    let before = version();
    until(Duration::from_secs(10), || version() != before).await;
    let sent = Instant::now();
    sleep(Duration::from_secs(3) + STEP).await;
    a.link.set(Fate::LostRequest);
    until(Duration::from_secs(10), || !a.leadership.holds()).await;
    assert!(
        sent.elapsed() <= Duration::from_secs(10) + STEP,
        "{:?}",
        sent.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn times_in_the_record_do_not_matter() {
    for hours in [-1000, 1000] {
        let server = Server::default();
        let skew = SignedDuration::from_hours(hours);
        let a = Candidate::start(&server, "a", vec![FINE], skew, Duration::ZERO);
        until(STEP, || a.leadership.holds()).await;
        let b = Candidate::simple(&server, "b");
        sleep(Duration::from_mins(2)).await;
        assert!(
            a.leadership.holds() && !b.leadership.holds(),
            "skew of {hours} h: a living leader is one"
        );
        a.link.set(Fate::LostRequest);
        until(Duration::from_secs(18), || b.leadership.holds()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_reads_another_name_stops_at_once() {
    let server = Server::default();
    let (a, b) = leader_and_follower(&server).await;
    let mut lease = server.lease().unwrap();
    lease.spec.as_mut().unwrap().holder_identity = Some("restored from a backup".into());
    server.set(Some(lease));
    until(Duration::from_millis(2100), || !a.leadership.holds()).await;
    assert!(!b.leadership.holds());
    until(Duration::from_secs(18), || {
        a.leadership.holds() || b.leadership.holds()
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_deleted_record_gives_the_lease_to_no_follower() {
    let server = Server::default();
    let (a, b) = leader_and_follower(&server).await;
    for _ in 0..20 {
        server.set(None);
        for _ in 0..100 {
            sleep(STEP).await;
            assert!(a.leadership.holds() && !b.leadership.holds());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_holder_with_a_longer_lease_is_waited_for_as_long_as_it_asks() {
    let server = Server::default();
    let (a, b) = leader_and_follower(&server).await;
    a.task.abort();
    let mut lease = server.lease().unwrap();
    lease.spec.as_mut().unwrap().lease_duration_seconds = Some(60);
    server.set(Some(lease));
    let taken = until(Duration::from_secs(64), || b.leadership.holds()).await;
    assert!(taken >= Duration::from_mins(1), "{taken:?}");
}

#[tokio::test(start_paused = true)]
async fn work_that_fails_ends_the_run_and_frees_the_lease() {
    let server = Server::default();
    let (client, _link) = server.client([FINE], NO_SKEW);
    let elector = Elector::new(client, "default", "site", "a".into(), Timings::default()).unwrap();
    let result = elector
        .run(CancellationToken::new(), async |_term| Err::<(), _>("no CRDs"))
        .await;
    assert_eq!(result, Err("no CRDs"));
    assert_eq!(server.lease().unwrap().spec.unwrap().holder_identity, None);
}

#[test]
fn timings_that_are_not_safe_are_refused_with_their_values() {
    let refusal = |lease: f64, renew: f64, retry: f64| {
        let [lease_duration, renew_deadline, retry_period] =
            [lease, renew, retry].map(Duration::from_secs_f64);
        let timings = Timings {
            lease_duration,
            renew_deadline,
            retry_period,
        };
        timings
            .check()
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default()
    };
    assert_eq!(refusal(15.0, 10.0, 2.0), "");
    assert_eq!(
        refusal(2.5, 1.0, 0.1),
        "lease duration 2.5s is not a whole number of seconds above zero"
    );
    assert_eq!(
        refusal(10.0, 10.0, 2.0),
        "renew deadline 10s must be shorter than the lease duration 10s"
    );
    assert_eq!(
        refusal(15.0, 10.0, 5.0),
        "renew deadline 10s must be more than twice the retry period 5s"
    );
}

fn fate() -> impl Strategy<Value = Fate> {
    let way = || (0..6000u64).prop_map(Duration::from_millis);
    let short = || (0..200u64).prop_map(Duration::from_millis);
    prop_oneof![
        4 => (short(), short()).prop_map(|(there, back)| Fate::Slow { there, back }),
        2 => (way(), way()).prop_map(|(there, back)| Fate::Slow { there, back }),
        1 => way().prop_map(|there| Fate::LostReply { there }),
        1 => Just(Fate::LostRequest),
        1 => Just(Fate::Error),
        1 => Just(Fate::ErrorAfterwards),
    ]
}

/// A link's life: bursts of the same fate are what partitions and overloads look like.
fn fates() -> impl Strategy<Value = Vec<Fate>> {
    prop::collection::vec((fate(), 1..8usize), 4..14).prop_map(|bursts| {
        let mut fates: Vec<_> = bursts.into_iter().flat_map(|(fate, n)| vec![fate; n]).collect();
        fates.push(FINE);
        fates
    })
}

/// Both links fail as scripted, one process may end; returns how often the lease changed hands.
async fn two_candidates(links: [Vec<Fate>; 2], skew: i64, crash: Option<(usize, u64)>) -> usize {
    let server = Server::default();
    let mut candidates = Vec::new();
    for (name, fates) in ["a", "b"].into_iter().zip(links) {
        let skew = SignedDuration::from_secs(if name == "a" { skew } else { 0 });
        candidates.push(Candidate::start(
            &server,
            name,
            fates,
            skew,
            Duration::from_millis(300),
        ));
        yield_now().await;
    }
    let begin = Instant::now();
    let mut led_at_the_end = false;
    while begin.elapsed() < Duration::from_mins(3) {
        if let Some((which, at)) = crash
            && begin.elapsed() >= Duration::from_secs(at)
        {
            candidates[which].task.abort();
        }
        let holding = candidates
            .iter()
            .filter(|candidate| candidate.leadership.holds())
            .count();
        assert!(holding < 2, "both hold after {:?}", begin.elapsed());
        for candidate in &candidates {
            let (started, over) = candidate.terms();
            assert!(started - over <= 1, "a term began before the last one was over");
        }
        led_at_the_end = holding == 1;
        sleep(STEP * 2).await;
    }
    for candidate in &candidates {
        candidate.link.set(FINE);
    }
    if !led_at_the_end {
        until(Duration::from_secs(30), || {
            candidates.iter().any(|c| c.leadership.holds())
        })
        .await;
    }
    server.holders().len()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn two_never_hold_at_once_and_one_does_when_the_network_heals(
        a in fates(),
        b in fates(),
        skew in -100_000..100_000i64,
        crash in prop::option::weighted(0.3, (0..2usize, 20..120u64)),
    ) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        let changes = runtime.block_on(two_candidates([a, b], skew, crash));
        prop_assert!(changes > 0);
    }
}
