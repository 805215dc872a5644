//! Level-triggered waits: look at the state again and again until it is as wanted, or the deadline has passed.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// Looks with `check` until it answers `Some` or `deadline` has passed. The error tells what was waited for,
/// how long, and the last reason why not.
pub async fn until<T, C, F>(what: &str, deadline: Duration, mut check: C) -> anyhow::Result<T>
where
    C: FnMut() -> F,
    F: Future<Output = anyhow::Result<Option<T>>>,
{
    let end = Instant::now() + deadline;
    let mut last = None;
    loop {
        // A look may hang as well.
        let why_not = match timeout_at(end, check()).await {
            Ok(Ok(Some(value))) => return Ok(value),
            Ok(Ok(None)) => None,
            Ok(Err(error)) => Some(error),
            // The look that the deadline cut off says less than the one before it.
            Err(_) => Some(last.unwrap_or_else(|| anyhow::anyhow!("no answer"))),
        };
        if Instant::now() >= end {
            let late = format!("{what}: not so after {} s", deadline.as_secs_f32());
            return Err(
                why_not.map_or_else(|| anyhow::anyhow!("{late}"), |error| error.context(late.clone()))
            );
        }
        last = why_not;
        sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_state_that_comes_late_is_seen() {
        let start = Instant::now();
        let check = || async move { Ok((start.elapsed() > Duration::from_secs(5)).then_some(7)) };
        assert_eq!(until("seven", Duration::from_secs(6), check).await.unwrap(), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_hangs_ends_at_the_deadline() {
        let hang = || std::future::pending::<anyhow::Result<Option<()>>>();
        let error = until("an answer", Duration::from_secs(3), hang)
            .await
            .unwrap_err();
        assert_eq!(format!("{error:#}"), "an answer: not so after 3 s: no answer");
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_tells_what_was_waited_for_and_why_not() {
        let check = || async { anyhow::bail!("connection refused") };
        let error = until::<(), _, _>("API server ready", Duration::from_secs(3), check)
            .await
            .unwrap_err();
        assert_eq!(
            format!("{error:#}"),
            "API server ready: not so after 3 s: connection refused"
        );
    }
}
