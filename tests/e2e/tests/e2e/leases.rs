//! Leader election on a real API server: one acts at a time, and another takes over.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use controller_runtime::lease::{Elector, Leadership, Timings, unique_identity};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, DeleteParams};
use kube::client::Client;
use testbed::{Bed, until};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Short, so that the test is; the proportions are those of the defaults.
const TIMINGS: Timings = Timings {
    lease_duration: Duration::from_secs(4),
    renew_deadline: Duration::from_millis(2700),
    retry_period: Duration::from_millis(500),
};
/// A takeover comes when the lease is over for the follower, which may have seen it one look late: 4.7 s, and what a
/// loaded machine adds.
const TAKEOVER: Duration = Duration::from_secs(8);

/// One manager's part of the election.
struct Candidate {
    leadership: Leadership,
    cut: Arc<AtomicBool>,
    stop: CancellationToken,
    task: JoinHandle<Result<(), Infallible>>,
}

impl Candidate {
    fn start(bed: &Bed, lease: &str, name: &str) -> anyhow::Result<Self> {
        let (client, cut) = breakable(bed.client());
        let elector = Elector::new(client, "default", lease, unique_identity(name), TIMINGS)?;
        let (leadership, stop) = (elector.leadership(), CancellationToken::new());
        let work = async |term: CancellationToken| {
            term.cancelled().await;
            Ok(())
        };
        let task = tokio::spawn(elector.run(stop.clone(), work));
        Ok(Self {
            leadership,
            cut,
            stop,
            task,
        })
    }
}

/// A client that can be cut off: requests then never arrive.
fn breakable(client: &Client) -> (Client, Arc<AtomicBool>) {
    let (client, cut) = (client.clone(), Arc::new(AtomicBool::new(false)));
    let is_cut = cut.clone();
    let service = tower::service_fn(move |request| {
        let (client, is_cut) = (client.clone(), is_cut.load(Ordering::SeqCst));
        async move {
            if is_cut {
                std::future::pending::<()>().await;
            }
            client.send(request).await
        }
    });
    (Client::new(service, "default"), cut)
}

/// Waits until `so`; fails if two lead at any look meanwhile.
async fn never_both(
    what: &str,
    deadline: Duration,
    pair: [&Candidate; 2],
    so: impl Fn() -> bool,
) -> anyhow::Result<Duration> {
    let begin = Instant::now();
    while !so() {
        anyhow::ensure!(begin.elapsed() <= deadline, "{what}: not so after {deadline:?}");
        anyhow::ensure!(!pair.iter().all(|one| one.leadership.holds()), "{what}: two lead");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(begin.elapsed())
}

async fn leader_and_follower(bed: &Bed, lease: &str) -> anyhow::Result<(Candidate, Candidate)> {
    let leader = Candidate::start(bed, lease, "first")?;
    until("the first leads", TAKEOVER, || async {
        Ok(leader.leadership.holds().then_some(()))
    })
    .await?;
    let follower = Candidate::start(bed, lease, "second")?;
    Ok((leader, follower))
}

async fn delete(bed: &Bed, lease: &str) -> anyhow::Result<()> {
    let leases: Api<Lease> = Api::namespaced(bed.client().clone(), "default");
    leases.delete(lease, &DeleteParams::default()).await?;
    Ok(())
}

pub(crate) async fn a_follower_takes_over_from_a_leader_that_is_cut_off(bed: &Bed) -> anyhow::Result<()> {
    let (a, b) = leader_and_follower(bed, "cut").await?;
    // Longer than a lease: renewing keeps it.
    let renewed = Instant::now() + TIMINGS.lease_duration * 2;
    never_both("renewed", TIMINGS.lease_duration * 3, [&a, &b], || {
        Instant::now() > renewed
    })
    .await?;
    assert!(a.leadership.holds() && !b.leadership.holds());

    a.cut.store(true, Ordering::SeqCst);
    let stopped = never_both("the first stops", TIMINGS.renew_deadline, [&a, &b], || {
        !a.leadership.holds()
    })
    .await?;
    let more = never_both(
        "the second takes over",
        TAKEOVER.saturating_sub(stopped),
        [&a, &b],
        || b.leadership.holds(),
    )
    .await?;
    println!("stopped {stopped:?} after the cut, taken over {more:?} later");

    a.cut.store(false, Ordering::SeqCst);
    let looked = Instant::now() + TIMINGS.retry_period * 4;
    never_both("the first follows", TAKEOVER, [&a, &b], || {
        Instant::now() > looked
    })
    .await?;
    assert!(b.leadership.holds());
    for candidate in [a, b] {
        candidate.stop.cancel();
        candidate.task.await??;
    }
    delete(bed, "cut").await
}

pub(crate) async fn a_stopped_leader_hands_over_at_once(bed: &Bed) -> anyhow::Result<()> {
    let (a, b) = leader_and_follower(bed, "released").await?;
    a.stop.cancel();
    let taken = never_both("handed over", Duration::from_secs(2), [&a, &b], || {
        b.leadership.holds()
    })
    .await?;
    println!("handed over after {taken:?}");
    a.task.await??;
    b.stop.cancel();
    b.task.await??;
    delete(bed, "released").await
}
