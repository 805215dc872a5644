//! Counts what became of each request.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    outcome: &'static str,
}

/// Counter of the TFTP server.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    requests: Family<Labels, Counter>,
}

impl Metrics {
    /// Counter in `registry`: `boot_tftp_requests_total{outcome}`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "boot_tftp_requests",
            "TFTP requests by outcome: read to its end, given up before, or why there was nothing to read",
            metrics.requests.clone(),
        );
        metrics
    }

    pub(super) fn count(&self, outcome: &'static str) {
        self.requests.get_or_create(&Labels { outcome }).inc();
    }
}
