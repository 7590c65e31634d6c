//! The page `/metrics`: what the process counts by itself, and what is asked when somebody looks.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use quorate_runtime::metrics::{Metric, MetricKind};

use crate::process::Process;
use crate::stats::{CommandStats, Stats};
use crate::status::GroupStatus;

/// The metrics that a node counts as it goes.
pub const COUNTED: &[Metric] = &[
    metric(MetricKind::Gauge, "kv_connected_clients", "Open connections of clients."),
    metric(
        MetricKind::Gauge,
        "kv_unauthenticated_clients",
        "Those of clients that still have to encrypt or to log in.",
    ),
    metric(MetricKind::Counter, "kv_connections_received_total", "Connections of clients that came."),
    metric(
        MetricKind::Counter,
        "kv_connections_rejected_total",
        "Connections of clients that were refused, or ended for others, because there were too many.",
    ),
    metric(MetricKind::Counter, "kv_commands_processed_total", "Commands of clients."),
    metric(
        MetricKind::Counter,
        "kv_peer_requests_dropped_total",
        "Messages and questions to other nodes that were given up for want of room.",
    ),
    metric(MetricKind::Gauge, "kv_log_lines_lost", "Lines of the log that were dropped because its reader is slow."),
];

/// The metrics that are asked for each page.
pub const ASKED: &[Metric] = &[SECONDS, REJECTED, FAILED, ERRORS, MAY_VOTE, STOPPED, KEYS, BYTES, MEMORY, PROCESSOR];

const SECONDS: Metric = metric(
    MetricKind::Histogram,
    "kv_command_duration_seconds",
    "Time from taking a command to its reply, in seconds. Commands that are answered together count as long as all of them.",
);
const REJECTED: Metric = metric(
    MetricKind::Counter,
    "kv_commands_rejected_total",
    "Commands that were refused before they were carried out.",
);
const FAILED: Metric =
    metric(MetricKind::Counter, "kv_commands_failed_total", "Commands that were carried out and answered by an error.");
const ERRORS: Metric =
    metric(MetricKind::Counter, "kv_errors_total", "Errors that clients were told, by their first word.");
const MAY_VOTE: Metric =
    metric(MetricKind::Gauge, "kv_may_vote", "1 if this node votes in the shard's group, else 0: see `kv status`.");
const STOPPED: Metric =
    metric(MetricKind::Gauge, "kv_group_stopped", "1 if the shard's group has stopped on this node, else 0.");
const KEYS: Metric = metric(MetricKind::Gauge, "kv_keys", "Keys that exist, by shard.");
const BYTES: Metric =
    metric(MetricKind::Gauge, "kv_dataset_bytes", "Bytes that keys and values are charged with, by shard.");
const MEMORY: Metric =
    metric(MetricKind::Gauge, "process_resident_memory_bytes", "Bytes of memory that the process holds.");
const PROCESSOR: Metric =
    metric(MetricKind::Counter, "process_cpu_seconds_total", "Processor time of the process in seconds.");

/// What a node has measured of its clients' commands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Measures {
    /// By the full name of the command.
    pub commands: Vec<(String, CommandStats)>,
    /// Number of error replies by code.
    pub errors: BTreeMap<Box<str>, u64>,
}

impl Measures {
    /// Those of a node.
    pub fn of(stats: &Stats) -> Self {
        let commands = stats.commands().map(|(name, stats)| (name.to_owned(), stats.clone())).collect();
        Self { commands, errors: stats.error_counts().clone() }
    }
}

/// Describes all metrics of a node to the recorder.
pub fn describe() {
    quorate_runtime::metrics::describe();
    quorate_two_phase_commit::manager::metrics::describe();
    for Metric { name, kind, help } in COUNTED {
        match kind {
            MetricKind::Counter => metrics::describe_counter!(*name, *help),
            MetricKind::Gauge => metrics::describe_gauge!(*name, *help),
            MetricKind::Histogram => metrics::describe_histogram!(*name, *help),
        }
    }
}

/// The metrics that are asked, in the text form of Prometheus. What is not known is left out.
pub fn page(measures: Option<&Measures>, groups: Option<&[GroupStatus]>, process: &Process) -> String {
    let mut page = Page(String::new());
    if let Some(measures) = measures {
        page.commands(measures);
    }
    if let Some(groups) = groups {
        let whether = |is_so: bool| u64::from(is_so).to_string();
        page.by_shard(&MAY_VOTE, groups, |group| whether(group.vote.is_empty() && !group.is_stopped()));
        page.by_shard(&STOPPED, groups, |group| whether(group.is_stopped()));
        page.by_shard(&KEYS, groups, |group| group.keys.to_string());
        page.by_shard(&BYTES, groups, |group| group.bytes.to_string());
    }
    page.family(&MEMORY);
    page.sample(MEMORY.name, "", "", &process.memory_bytes.to_string());
    page.family(&PROCESSOR);
    page.sample(PROCESSOR.name, "", "", &format!("{:.2}", process.user_seconds + process.system_seconds));
    page.0
}

/// A page that is being written.
struct Page(String);

impl Page {
    fn family(&mut self, metric: &Metric) {
        let kind = match metric.kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        };
        let Metric { name, help, .. } = metric;
        writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}").expect("a string takes all");
    }

    /// A line. No label for an empty name.
    fn sample(&mut self, name: &str, label: &str, value_of_label: &str, value: &str) {
        let labels =
            if label.is_empty() { String::new() } else { format!("{{{label}=\"{}\"}}", escaped(value_of_label)) };
        writeln!(self.0, "{name}{labels} {value}").expect("a string takes all");
    }

    fn by_shard(&mut self, metric: &Metric, groups: &[GroupStatus], value: impl Fn(&GroupStatus) -> String) {
        self.family(metric);
        for group in groups {
            self.sample(metric.name, "shard", &group.group.to_string(), &value(group));
        }
    }

    fn by_command(&mut self, metric: &Metric, measures: &Measures, count: fn(&CommandStats) -> u64) {
        self.family(metric);
        for (command, stats) in &measures.commands {
            self.sample(metric.name, "command", command, &count(stats).to_string());
        }
    }

    fn commands(&mut self, measures: &Measures) {
        self.family(&SECONDS);
        for (command, stats) in &measures.commands {
            self.histogram(&escaped(command), stats);
        }
        self.by_command(&REJECTED, measures, |stats| stats.rejected);
        self.by_command(&FAILED, measures, |stats| stats.failed);
        self.family(&ERRORS);
        for (code, count) in &measures.errors {
            self.sample(ERRORS.name, "code", code, &count.to_string());
        }
    }

    fn histogram(&mut self, command: &str, stats: &CommandStats) {
        let name = SECONDS.name;
        let up_to = |class: usize| stats.histogram[..=class].iter().sum::<u64>();
        let mut line = |le: &str, count: u64| {
            writeln!(self.0, "{name}_bucket{{command=\"{command}\",le=\"{le}\"}} {count}").expect("a string takes all");
        };
        for class in CLASSES {
            #[expect(clippy::cast_precision_loss, reason = "the bounds are small")]
            let seconds = (1_u64 << class) as f64 / 1e6;
            line(&seconds.to_string(), up_to(class));
        }
        let count = up_to(stats.histogram.len() - 1);
        line("+Inf", count);
        #[expect(clippy::cast_precision_loss, reason = "a sum of times")]
        let sum = stats.micros as f64 / 1e6;
        writeln!(self.0, "{name}_sum{{command=\"{command}\"}} {sum}\n{name}_count{{command=\"{command}\"}} {count}")
            .expect("a string takes all");
    }
}

/// A value of a label, as it stands between quotes.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

const fn metric(kind: MetricKind, name: &'static str, help: &'static str) -> Metric {
    Metric { name, kind, help }
}

/// The classes of duration that are shown: up to 16 us, 64 us, and so on to 67 s.
const CLASSES: [usize; 12] = [4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Spec;
    use crate::stats::Calls;

    fn measures() -> Measures {
        let mut stats = Stats::default();
        let mut calls = Calls::default();
        calls.add(Spec::place(b"get").unwrap());
        for micros in [3, 16, 17, 5_000_000_000] {
            stats.note_calls(&calls, micros);
        }
        stats.note_rejected(Spec::place(b"get").unwrap());
        stats.note_error(b"ERR no");
        // Scripts make up words.
        stats.note_error(b"A\"B\\ no");
        Measures::of(&stats)
    }

    #[test]
    fn durations_are_cumulative_and_all_are_in_the_last_class() {
        let page = page(Some(&measures()), None, &Process::default());
        for line in [
            "kv_command_duration_seconds_bucket{command=\"get\",le=\"0.000016\"} 2",
            "kv_command_duration_seconds_bucket{command=\"get\",le=\"0.000064\"} 3",
            "kv_command_duration_seconds_bucket{command=\"get\",le=\"67.108864\"} 3",
            "kv_command_duration_seconds_bucket{command=\"get\",le=\"+Inf\"} 4",
            "kv_command_duration_seconds_sum{command=\"get\"} 5000.000036",
            "kv_command_duration_seconds_count{command=\"get\"} 4",
            "kv_commands_rejected_total{command=\"get\"} 1",
            "kv_errors_total{code=\"ERR\"} 1",
            "kv_errors_total{code=\"A\\\"B\\\\\"} 1",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
        }
    }

    #[test]
    fn names_follow_the_conventions() {
        for metric in COUNTED.iter().chain(ASKED) {
            assert_eq!(metric.name.ends_with("_total"), metric.kind == MetricKind::Counter, "{}", metric.name);
            assert!(metric.help.ends_with('.'), "{}", metric.name);
        }
    }
}
