//! What the tests share: one test bed, started by the first test that needs it.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use libtest_mimic::Failed;
use testbed::{Bed, Tools};
use tokio::runtime::Runtime;
use tokio::sync::RwLock;

/// No test may take longer, whatever it waits for.
const TEST_DEADLINE: Duration = Duration::from_mins(10);

/// The shared bed. Tests that break parts of it take it alone.
pub(crate) struct World {
    runtime: Runtime,
    bed: OnceLock<Result<RwLock<Option<Bed>>, String>>,
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

    fn bed(&self) -> Result<&RwLock<Option<Bed>>, Failed> {
        // One starter; a start that failed fails every test with the same words.
        let _starting = self.starting.lock().unwrap_or_else(PoisonError::into_inner);
        let bed = self.bed.get_or_init(|| {
            let tell = |line: &str| eprintln!("test bed: {line}");
            let start = async { Bed::start(Tools::from_env()?, &tell).await };
            self.runtime
                .block_on(start)
                .map(|bed| RwLock::new(Some(bed)))
                .map_err(|error| format!("{error:#}"))
        });
        bed.as_ref()
            .map_err(|error| Failed::from(format!("the test bed does not start: {error}")))
    }

    /// Stops and removes the bed; keeps its logs when a test failed.
    pub(crate) fn stop(&self, failed: bool) {
        if let Some(Ok(bed)) = self.bed.get() {
            if failed && let Some(bed) = self.runtime.block_on(bed.read()).as_ref() {
                eprintln!("the logs of all parts are in {}", bed.run().keep_logs().display());
            }
            drop(self.runtime.block_on(bed.write()).take());
        }
    }
}

async fn bounded(
    test: impl AsyncFnOnce(&Bed) -> anyhow::Result<()>,
    bed: Option<&Bed>,
) -> Result<(), Failed> {
    let bed = bed.ok_or("the test bed is stopped")?;
    match tokio::time::timeout(TEST_DEADLINE, test(bed)).await {
        Ok(result) => result.map_err(|error| Failed::from(format!("{error:#}"))),
        Err(_) => Err(format!("not done after {} s", TEST_DEADLINE.as_secs()).into()),
    }
}
