//! The operator's view of a node: log lines from notices, and metrics. There is never a line for each message.

use std::time::Duration;

use metrics::{Histogram, Label, counter, gauge, histogram};
use quorate_protocol::{GroupId, Instant, NodeId, Now, StorageLevel};
use quorate_transport::Transport;
use quorate_wal::{LogThread, SYNC_BUCKETS_US, WriteCompletion, WriteError};
use tracing::{error, info, warn};

use super::shutdown::Stopped;
use crate::group::notice::Notice;
use crate::metrics::{self as names, as_gauge};
use crate::node::Node;

/// Writes log lines and metrics of one node.
pub(super) struct Report {
    node: NodeId,
    label: Label,
    writes_a_sync: Histogram,
    is_poisoned: bool,
    storage: StorageLevel,
    next: Instant,
}

impl Report {
    pub(super) fn new(node: NodeId) -> Self {
        let label = Label::new("node", node.to_string());
        Self {
            node,
            writes_a_sync: histogram!(names::WRITES_A_SYNC, vec![label.clone()]),
            label,
            is_poisoned: false,
            storage: StorageLevel::Enough,
            next: Instant::ZERO,
        }
    }

    /// Reports one round of the log: one sync made these writes durable, or failed.
    pub(super) fn written(&mut self, writes: &[WriteCompletion]) {
        if !writes.is_empty() {
            self.writes_a_sync.record(u32::try_from(writes.len()).unwrap_or(u32::MAX));
        }
        let node = self.node.0;
        for write in writes {
            match &write.result {
                Err(WriteError::Poisoned(poisoned)) if !self.is_poisoned => {
                    self.is_poisoned = true;
                    error!(node, %poisoned, "the log has failed: this node takes no more writes");
                }
                Err(WriteError::Refused(refusal)) => {
                    error!(node, stream = write.stream.0, %refusal, "the log refuses a write");
                }
                _ => {}
            }
        }
    }

    pub(super) fn storage(&mut self, level: StorageLevel) {
        self.storage = level;
        let node = self.node.0;
        match level {
            StorageLevel::Low => warn!(node, "the disk's reserve is used up: new commands are refused"),
            StorageLevel::Enough => info!(node, "the disk's reserve is there again"),
        }
    }

    pub(super) fn stopped(&self, stopped: Stopped) {
        if stopped == Stopped::DiskStalled {
            let node = self.node.0;
            error!(node, "the node has stopped before its disk had finished: the directory stays locked");
        }
    }

    pub(super) fn notice(&self, group: Option<GroupId>, notice: &Notice) {
        say(self.node.0, group.map(|group| group.0), notice);
    }

    /// Publishes the counters, at most once a second.
    pub(super) fn publish(&mut self, now: Now, node: &Node, transport: &dyn Transport, log: &LogThread) {
        if now.instant < self.next {
            return;
        }
        self.next = now.instant.after(PUBLISH_INTERVAL);
        let (counters, log) = (node.counters(), log.metrics());
        let counted = [
            (names::WRITES, counters.writes),
            (names::WRITE_BATCHES, counters.write_batches),
            (names::MESSAGES_SENT, counters.messages_sent),
            (names::FRAMES_SENT, counters.frames_sent),
            (names::MESSAGES_RECEIVED, counters.messages_received),
            (names::FRAMES_RECEIVED, counters.frames_received),
            (names::MESSAGES_DROPPED, counters.messages_dropped),
            (names::FRAMES_MALFORMED, counters.frames_malformed),
            (names::GROUPS_HALTED, counters.groups_halted),
            (names::GROUPS_ADDED, counters.groups_added),
            (names::GROUPS_REMOVED, counters.groups_removed),
            (names::MESSAGES_WITHOUT_GROUP, counters.messages_without_group),
            (names::SYNCS, log.log.syncs),
            (names::SYNC_MICROSECONDS, log.sync_us),
            (names::LOG_BYTES, log.log.bytes),
        ];
        for (name, value) in counted {
            counter!(name, vec![self.label.clone()]).absolute(value);
        }
        for (what, value) in transport.counters().iter() {
            counter!(names::TRANSPORT, vec![self.label.clone(), Label::new("what", what)]).absolute(value);
        }
        let bounds = SYNC_BUCKETS_US.iter().map(u64::to_string).chain(["inf".to_owned()]);
        for (bound, count) in bounds.zip(log.sync_buckets) {
            counter!(names::SYNCS_BY_DURATION, vec![self.label.clone(), Label::new("below_us", bound)]).absolute(count);
        }
        let is_low = if self.storage == StorageLevel::Low { 1.0 } else { 0.0 };
        let gauges = [
            (names::STORAGE_LOW, is_low),
            (names::LOG_DISK_BYTES, as_gauge(log.log.disk_bytes)),
            (names::LOG_LIVE_BYTES, as_gauge(log.log.live_bytes)),
        ];
        for (name, value) in gauges {
            gauge!(name, vec![self.label.clone()]).set(value);
        }
        for (group, _) in node.groups() {
            let label = Label::new("group", group.to_string());
            node.measure(group, &mut |kind, name, value| {
                let labels = vec![self.label.clone(), label.clone()];
                match kind {
                    names::MetricKind::Counter => counter!(name, labels).absolute(value),
                    _ => gauge!(name, labels).set(as_gauge(value)),
                }
            });
        }
    }
}

/// Writes the log line of one notice.
fn say(node: u64, group: Option<u64>, notice: &Notice) {
    match notice {
        Notice::Role { role, term, leader } => {
            let leader = leader.map(|leader| leader.0);
            info!(node, group, term = term.0, %role, leader, "the role has changed");
        }
        Notice::Voting { barred: None } => info!(node, group, "the node votes"),
        Notice::Voting { barred: Some(bar) } => warn!(node, group, reason = ?bar, "the node does not vote"),
        Notice::ClockDiffers { wall_ahead_ms: None } => {
            info!(node, group, "the wall clock agrees with log time again");
        }
        Notice::ClockDiffers { wall_ahead_ms: Some(wall_ahead_ms) } => {
            warn!(node, group, wall_ahead_ms, "the wall clock differs from log time, which does not follow it");
        }
        Notice::SnapshotBuilt { index, bytes } => info!(node, group, index = index.0, bytes, "a snapshot is built"),
        Notice::SnapshotSending { to, index } => {
            info!(node, group, peer = to.0, index = index.0, "a snapshot goes to a peer");
        }
        Notice::SnapshotInstalled { index } => info!(node, group, index = index.0, "a snapshot is installed"),
        Notice::SnapshotFailed { index, reason } => {
            warn!(node, group, index = index.0, reason, "a snapshot operation has failed");
        }
        Notice::CommandSkipped { index } => warn!(node, group, index = index.0, "a marked command is skipped"),
        Notice::Added => info!(node, group, "the group is added"),
        Notice::Removed => info!(node, group, "the group is removed for good"),
        Notice::NotOpened { groups } => {
            warn!(node, ?groups, "groups were founded on this node and are not opened: their data stay");
        }
        Notice::Halted { reason } => error!(node, group, %reason, "the group has stopped on this node"),
        Notice::Introduced { peer, incarnation } => {
            info!(node, peer = peer.0, %incarnation, "introduced to a peer");
        }
        Notice::PeerStranger { peer, found, known } => {
            warn!(node, peer = peer.0, %found, %known, "the peer's disk is not the known one: the peer does not count");
        }
        Notice::SelfStranger { peer, known } => {
            error!(node, peer = peer.0, %known, "a peer knows this node with another disk: this node does not vote");
        }
        Notice::SelfOlder { peer, known_start, start } => {
            error!(node, peer = peer.0, known_start, start, "this node's disk is an older copy: it does not vote");
        }
        Notice::PeerOlder { peer } => {
            warn!(node, peer = peer.0, "the peer's disk is an older copy: the peer does not count");
        }
        Notice::FoundedOtherwise { peer, groups, ours, theirs } => {
            error!(
                node,
                peer = peer.0,
                ?groups,
                ?ours,
                ?theirs,
                "the peer founded groups with other members: it is refused"
            );
        }
        Notice::DescribedOtherwise { founded, described } => {
            warn!(
                node,
                group,
                ?founded,
                ?described,
                "the group was founded with other members than described: the founding stays in force"
            );
        }
        Notice::PeerAddress { peer, reason } => {
            warn!(node, peer = peer.0, reason, "the peer's address cannot be read: those before it stay");
        }
        Notice::OwnStreamRefused => error!(node, "the disk has no room for what the node learned of its peers"),
        Notice::PeersFull { peer } => warn!(node, peer = peer.0, "a peer is refused: the node remembers no more peers"),
    }
}

const PUBLISH_INTERVAL: Duration = Duration::from_secs(1);
