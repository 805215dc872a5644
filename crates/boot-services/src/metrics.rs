//! Counts what the HTTP port was asked and what it answered.

use axum::http::StatusCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    route: &'static str,
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answer {
    answer: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    call: &'static str,
    outcome: &'static str,
}

/// Counters of the HTTP port.
#[derive(Debug, Clone, Default)]
pub struct HttpMetrics {
    requests: Family<Request, Counter>,
    answers: Family<Answer, Counter>,
    calls: Family<Call, Counter>,
    refused_connections: Counter,
}

impl HttpMetrics {
    /// Counters in `registry`: `boot_http_requests_total{route,status}`, `boot_answers_total{answer}`,
    /// `boot_agent_calls_total{call,outcome}` and `boot_http_connections_refused_total`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "boot_http_requests",
            "HTTP requests by route and class of status",
            metrics.requests.clone(),
        );
        registry.register(
            "boot_answers",
            "Machines that asked what to boot, by what they were told",
            metrics.answers.clone(),
        );
        registry.register(
            "boot_agent_calls",
            "Calls of agents by outcome",
            metrics.calls.clone(),
        );
        registry.register(
            "boot_http_connections_refused",
            "HTTP connections closed because their peer has too many",
            metrics.refused_connections.clone(),
        );
        metrics
    }

    pub(crate) fn request(&self, route: &'static str, status: StatusCode) {
        let status = match status.as_u16() / 100 {
            2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            _ => "5xx",
        };
        self.requests.get_or_create(&Request { route, status }).inc();
    }

    pub(crate) fn refused_connection(&self) {
        self.refused_connections.inc();
    }

    pub(crate) fn answer(&self, answer: &'static str) {
        self.answers.get_or_create(&Answer { answer }).inc();
    }

    pub(crate) fn call(&self, call: &'static str, outcome: &'static str) {
        self.calls.get_or_create(&Call { call, outcome }).inc();
    }
}
