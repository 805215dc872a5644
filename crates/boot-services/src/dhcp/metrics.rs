//! Counts what became of each message.

use boot_protocols::dhcp::Port;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    port: &'static str,
    outcome: &'static str,
}

/// Counter of the proxy.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    messages: Family<Labels, Counter>,
}

impl Metrics {
    /// Counter in `registry`: `boot_dhcp_messages_total{port,outcome}`, the outcome being the class of the client that
    /// was answered, or why none was.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "boot_dhcp_messages",
            "DHCP messages by port and outcome: the class of the client that was answered, or why none was",
            metrics.messages.clone(),
        );
        metrics
    }

    pub(super) fn count(&self, port: Port, outcome: &'static str) {
        let port = match port {
            Port::Dhcp => "67",
            Port::Pxe => "4011",
        };
        self.messages.get_or_create(&Labels { port, outcome }).inc();
    }
}
