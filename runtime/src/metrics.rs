//! The names of all metrics, in one place. They are part of the public interface, because dashboards depend on
//! them.

/// The kind of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution.
    Histogram,
}

/// One metric. All have the label `node`; those of a group also have the label `group`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// The name.
    pub name: &'static str,
    /// The kind.
    pub kind: MetricKind,
    /// The description, with the unit.
    pub help: &'static str,
}

macro_rules! metrics {
    ($($ident:ident = $kind:ident $name:literal, $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $ident: &str = $name;
        )*

        /// Every metric of this crate.
        pub const METRICS: &[Metric] = &[$(Metric { name: $name, kind: MetricKind::$kind, help: $help }),*];
    };
}

metrics! {
    WRITES = Counter "quorate_node_writes_total", "Writes of groups to the log.";
    WRITE_BATCHES = Counter "quorate_node_write_batches_total", "Submissions to the log that the writes went in.";
    MESSAGES_SENT = Counter "quorate_node_messages_sent_total", "Messages of groups that were sent.";
    FRAMES_SENT = Counter "quorate_node_frames_sent_total", "Frames that the messages went in, heartbeats included.";
    MESSAGES_RECEIVED = Counter "quorate_node_messages_received_total", "Messages of groups that came in.";
    FRAMES_RECEIVED = Counter "quorate_node_frames_received_total", "Frames that came in.";
    MESSAGES_DROPPED = Counter "quorate_node_messages_dropped_total", "Messages for unknown or stopped groups, or without room.";
    FRAMES_MALFORMED = Counter "quorate_node_frames_malformed_total", "Node frames that no correct peer sends.";
    GROUPS_HALTED = Counter "quorate_node_groups_halted_total", "Groups that stopped on this node.";
    GROUPS_ADDED = Counter "quorate_node_groups_added_total", "Groups that were added to the running node.";
    GROUPS_REMOVED = Counter "quorate_node_groups_removed_total", "Groups that were removed from the running node.";
    MESSAGES_WITHOUT_GROUP = Counter "quorate_node_messages_without_group_total", "Dropped messages whose group is not on this node: not yet, or no more.";
    SYNCS = Counter "quorate_log_syncs_total", "Syncs of the log.";
    SYNC_MICROSECONDS = Counter "quorate_log_sync_microseconds_total", "Time spent in syncs of the log.";
    SYNCS_BY_DURATION = Counter "quorate_log_syncs_by_duration_total", "Syncs by how long they took: at most `below_us`, and more than the label before.";
    LOG_BYTES = Counter "quorate_log_bytes_total", "Bytes of batches written to the log, padding included.";
    LOG_DISK_BYTES = Gauge "quorate_log_disk_bytes", "Bytes of all segment files.";
    LOG_LIVE_BYTES = Gauge "quorate_log_live_bytes", "Bytes that live records keep.";
    WRITES_A_SYNC = Histogram "quorate_log_writes_per_sync", "Writes that one sync made durable.";
    STORAGE_LOW = Gauge "quorate_log_storage_low", "1 while the disk's reserve is used up, else 0.";
    TRANSPORT = Counter "quorate_transport_total", "What the transport counts, by the label `what`.";
    TERM = Gauge "quorate_group_term", "The term of the group on this node.";
    IS_LEADER = Gauge "quorate_group_is_leader", "1 on the node that leads the group, else 0.";
    COMMIT_INDEX = Gauge "quorate_group_commit_index", "The last entry known to be committed.";
    APPLIED_INDEX = Gauge "quorate_group_applied_index", "The last entry that the state machine has applied.";
    LAST_INDEX = Gauge "quorate_group_last_index", "The last entry of the log.";
    SNAPSHOT_INDEX = Gauge "quorate_group_snapshot_index", "The last entry that the newest snapshot covers.";
    PROPOSALS_WAITING = Gauge "quorate_group_proposals_waiting", "Proposals of this node that wait for their outcome.";
    SESSIONS = Gauge "quorate_group_sessions", "Open sessions of all nodes.";
    PROPOSALS_APPLIED = Counter "quorate_group_proposals_applied_total", "Proposals of this node that were applied.";
    PROPOSALS_NOT_APPLIED = Counter "quorate_group_proposals_not_applied_total", "Proposals of this node that certainly were not applied.";
    PROPOSALS_UNKNOWN = Counter "quorate_group_proposals_unknown_total", "Proposals of this node whose outcome is unknown.";
    PROPOSALS_FORWARDED = Counter "quorate_group_proposals_forwarded_total", "Proposals of this node that were forwarded to the leader.";
    READS = Counter "quorate_group_reads_total", "Linearizable reads that this node answered.";
    SNAPSHOTS_BUILT = Counter "quorate_group_snapshots_built_total", "Snapshots that this node made.";
    SNAPSHOTS_SENT = Counter "quorate_group_snapshots_sent_total", "Snapshots of this node that a peer has whole.";
    SNAPSHOTS_RECEIVED = Counter "quorate_group_snapshots_received_total", "Snapshots that this node took in whole.";
    CAUGHT_UP_BY_LOG = Counter "quorate_group_caught_up_by_log_total", "Times that this node was far behind and caught up by the log.";
    CAUGHT_UP_BY_SNAPSHOT = Counter "quorate_group_caught_up_by_snapshot_total", "Times that this node was far behind and caught up by a snapshot.";
    PEERS_CAUGHT_UP_BY_LOG = Counter "quorate_group_peers_caught_up_by_log_total", "Times that a peer of this leader was far behind and caught up by the log.";
    PEERS_CAUGHT_UP_BY_SNAPSHOT = Counter "quorate_group_peers_caught_up_by_snapshot_total", "Times that a peer of this leader was brought up by a snapshot.";
    SERVES_CORE = Gauge "quorate_group_serves_core", "1 on the node that serves the core of a bound group, else 0.";
    RECORD_BYTES = Gauge "quorate_group_record_bytes", "Bytes in memory of the records of a bound group's core.";
    MESSAGES_NOT_SERVED = Counter "quorate_group_messages_not_served_total", "Messages for the core of a bound group that came while this node did not serve it.";
}

/// Converts a number to the type of a gauge. Exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
#[must_use]
pub fn as_gauge(value: u64) -> f64 {
    value as f64
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

#[cfg(test)]
mod tests {
    use super::{METRICS, MetricKind};

    #[test]
    fn names_follow_the_conventions_and_do_not_repeat() {
        let mut names: Vec<&str> = METRICS.iter().map(|metric| metric.name).collect();
        for metric in METRICS {
            let is_plain = metric.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            assert!(is_plain && metric.name.starts_with("quorate_"), "{}", metric.name);
            assert_eq!(metric.name.ends_with("_total"), metric.kind == MetricKind::Counter, "{}", metric.name);
            assert!(metric.help.ends_with('.'), "{}", metric.name);
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), METRICS.len());
    }

    #[test]
    fn names_never_change() {
        let names: Vec<&str> = METRICS.iter().map(|metric| metric.name).collect();
        let published = [
            "quorate_node_writes_total",
            "quorate_node_write_batches_total",
            "quorate_node_messages_sent_total",
            "quorate_node_frames_sent_total",
            "quorate_node_messages_received_total",
            "quorate_node_frames_received_total",
            "quorate_node_messages_dropped_total",
            "quorate_node_frames_malformed_total",
            "quorate_node_groups_halted_total",
            "quorate_node_groups_added_total",
            "quorate_node_groups_removed_total",
            "quorate_node_messages_without_group_total",
            "quorate_log_syncs_total",
            "quorate_log_sync_microseconds_total",
            "quorate_log_syncs_by_duration_total",
            "quorate_log_bytes_total",
            "quorate_log_disk_bytes",
            "quorate_log_live_bytes",
            "quorate_log_writes_per_sync",
            "quorate_log_storage_low",
            "quorate_transport_total",
            "quorate_group_term",
            "quorate_group_is_leader",
            "quorate_group_commit_index",
            "quorate_group_applied_index",
            "quorate_group_last_index",
            "quorate_group_snapshot_index",
            "quorate_group_proposals_waiting",
            "quorate_group_sessions",
            "quorate_group_proposals_applied_total",
            "quorate_group_proposals_not_applied_total",
            "quorate_group_proposals_unknown_total",
            "quorate_group_proposals_forwarded_total",
            "quorate_group_reads_total",
            "quorate_group_snapshots_built_total",
            "quorate_group_snapshots_sent_total",
            "quorate_group_snapshots_received_total",
            "quorate_group_caught_up_by_log_total",
            "quorate_group_caught_up_by_snapshot_total",
            "quorate_group_peers_caught_up_by_log_total",
            "quorate_group_peers_caught_up_by_snapshot_total",
            "quorate_group_serves_core",
            "quorate_group_record_bytes",
            "quorate_group_messages_not_served_total",
        ];
        assert_eq!(names, published);
    }
}
