//! What the tests share: one test bed, started by the first test that needs it.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use libtest_mimic::Failed;
use testbed::{Bed, Observer, Scope, Tools};
use tokio::runtime::Runtime;
use tokio::sync::RwLock;

/// No test may take longer, whatever it waits for. The longest does the main job, after another one that it must not overlap.
const TEST_DEADLINE: Duration = Duration::from_mins(15);

/// The bed, and what watches the invariants over it.
struct Watched {
    observer: Observer,
    bed: Bed,
}

/// The shared bed. Tests that break parts of it take it alone.
pub(crate) struct World {
    runtime: Runtime,
    bed: OnceLock<Result<RwLock<Option<Watched>>, String>>,
    starting: Mutex<()>,
}

impl World {
    pub(crate) fn new() -> Arc<Self> {
        let runtime = Runtime::new().expect("a tokio runtime");
        Arc::new(Self {
            runtime,
            bed: OnceLock::new(),
            starting: Mutex::new(()),
        })
    }

    /// Runs a test that leaves the bed as it is for others.
    pub(crate) fn beside(&self, test: impl AsyncFnOnce(&Bed) -> anyhow::Result<()>) -> Result<(), Failed> {
        let lock = self.bed()?;
        self.runtime
            .block_on(async { bounded(test, lock.read().await.as_ref()).await })
    }

    /// Runs a test that breaks parts of the bed, while no other test uses it.
    pub(crate) fn alone(&self, test: impl AsyncFnOnce(&Bed) -> anyhow::Result<()>) -> Result<(), Failed> {
        let lock = self.bed()?;
        self.runtime
            .block_on(async { bounded(test, lock.write().await.as_ref()).await })
    }

    fn bed(&self) -> Result<&RwLock<Option<Watched>>, Failed> {
        // One starter; a start that failed fails every test with the same words.
        let _starting = self.starting.lock().unwrap_or_else(PoisonError::into_inner);
        let bed = self.bed.get_or_init(|| {
            let tell = |line: &str| eprintln!("test bed: {line}");
            let start = async {
                let bed = Bed::start(Tools::from_env()?, &tell).await?;
                let observer = bed.observe(Scope::Run).await?;
                anyhow::Ok(Watched { observer, bed })
            };
            self.runtime
                .block_on(start)
                .map(|watched| RwLock::new(Some(watched)))
                .map_err(|error| format!("{error:#}"))
        });
        bed.as_ref()
            .map_err(|error| Failed::from(format!("the test bed does not start: {error}")))
    }

    /// Stops and removes the bed; keeps its logs when a test failed, or when the observer found something in the end.
    pub(crate) fn stop(&self, failed: bool) -> anyhow::Result<()> {
        let Some(Ok(lock)) = self.bed.get() else {
            return Ok(());
        };
        let Some(Watched { observer, bed }) = self.runtime.block_on(lock.write()).take() else {
            return Ok(());
        };
        let looked = self.runtime.block_on(observer.finish());
        if failed || looked.is_err() {
            eprintln!("the logs of all parts are in {}", bed.run().keep_logs().display());
        }
        println!("the observer of the invariants looked at {}", looked?);
        Ok(())
    }
}

/// Runs the test; it also fails with what the observer found meanwhile.
async fn bounded(
    test: impl AsyncFnOnce(&Bed) -> anyhow::Result<()>,
    watched: Option<&Watched>,
) -> Result<(), Failed> {
    let Watched { observer, bed } = watched.ok_or("the test bed is stopped")?;
    match tokio::time::timeout(TEST_DEADLINE, test(bed)).await {
        Ok(result) => {
            let failures = [result.err(), observer.verdict().err()];
            let failures: Vec<_> = failures
                .iter()
                .flatten()
                .map(|error| format!("{error:#}"))
                .collect();
            if failures.is_empty() {
                Ok(())
            } else {
                Err(failures.join("\n\n").into())
            }
        }
        Err(_) => Err(format!("not done after {} s", TEST_DEADLINE.as_secs()).into()),
    }
}
