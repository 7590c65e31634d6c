//! The names of a manager's metrics, in one place. They are part of the public interface, because dashboards depend on
//! them. All have the label `manager`, the manager's identity.

use quorate_runtime::metrics::{Metric, MetricKind, as_gauge};

use super::core::{Ended, ManagerStatus};

macro_rules! metrics {
    ($($ident:ident = $kind:ident $name:literal, $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $ident: &str = $name;
        )*

        /// Every metric of a manager.
        pub const METRICS: &[Metric] = &[$(Metric { name: $name, kind: MetricKind::$kind, help: $help }),*];
    };
}

metrics! {
    ENDED = Counter "quorate_transactions_ended_total", "Transactions by the label `outcome`: committed, mixed or aborted.";
    OPEN = Gauge "quorate_transactions_open", "Transactions that are not decided.";
    IN_DOUBT = Gauge "quorate_transactions_in_doubt", "Transactions that are decided, or left to a resource, and not the same everywhere yet.";
    OLDEST_SECONDS = Gauge "quorate_transactions_oldest_in_doubt_seconds", "Age of the oldest of them in seconds.";
    HAZARDS = Gauge "quorate_transactions_hazards", "Branches that did not follow the decision and were not dealt with.";
    STUCK = Gauge "quorate_transactions_stuck_requests", "Work that a resource fails to do, or has not done for long.";
}

/// Describes the metrics to the recorder. Call it once in a process, after the recorder is installed.
pub fn describe() {
    for metric in METRICS {
        match metric.kind {
            MetricKind::Counter => metrics::describe_counter!(metric.name, metric.help),
            MetricKind::Gauge => metrics::describe_gauge!(metric.name, metric.help),
            MetricKind::Histogram => metrics::describe_histogram!(metric.name, metric.help),
        }
    }
}

/// Counts the outcome of a transaction.
pub(super) fn count(manager: &str, outcome: &Ended) {
    let outcome = match outcome {
        Ended::Committed { without } if without.is_empty() => "committed",
        Ended::Committed { .. } => "mixed",
        Ended::Aborted(_) => "aborted",
    };
    metrics::counter!(ENDED, "manager" => manager.to_owned(), "outcome" => outcome).increment(1);
}

/// Publishes the state of a manager.
pub(super) fn publish(manager: &str, status: &ManagerStatus) {
    let gauge = |name: &'static str, value: f64| metrics::gauge!(name, "manager" => manager.to_owned()).set(value);
    let number = |count: usize| as_gauge(u64::try_from(count).unwrap_or(u64::MAX));
    let oldest = status.in_doubt.values().map(|doubt| doubt.age).max().unwrap_or_default();
    gauge(OPEN, number(status.open));
    gauge(IN_DOUBT, number(status.in_doubt.len()));
    gauge(OLDEST_SECONDS, oldest.as_secs_f64());
    gauge(HAZARDS, number(status.hazards.values().map(std::collections::BTreeMap::len).sum()));
    gauge(STUCK, number(status.stuck.len()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_never_change_and_follow_the_conventions() {
        let names: Vec<&str> = METRICS.iter().map(|metric| metric.name).collect();
        let published = [
            "quorate_transactions_ended_total",
            "quorate_transactions_open",
            "quorate_transactions_in_doubt",
            "quorate_transactions_oldest_in_doubt_seconds",
            "quorate_transactions_hazards",
            "quorate_transactions_stuck_requests",
        ];
        assert_eq!(names, published);
        for metric in METRICS {
            assert_eq!(metric.name.ends_with("_total"), metric.kind == MetricKind::Counter, "{}", metric.name);
            assert!(metric.help.ends_with('.'), "{}", metric.name);
        }
    }
}
