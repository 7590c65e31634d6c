//! Data of removed groups that are still on disk.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_protocol::{GroupId, Instant, Ticket};
use quorate_wal::StreamId;

use super::interface::NodeOutput;
use crate::group::snapshot::SnapshotOperation;

/// Data of removed groups that are still on disk. Their deletion is requested until it is done. What is left when the
/// node stops is requested again after its next start.
#[derive(Debug, Default)]
pub(super) struct Leftovers {
    streams: BTreeMap<StreamId, Request>,
    snapshots: BTreeMap<GroupId, Request>,
    retry_at: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    UnderWay,
    Refused,
}

impl Leftovers {
    /// Requests the deletion of a removed group's stream and snapshots.
    pub(super) fn add(&mut self, group: GroupId, stream: StreamId) -> [NodeOutput; 2] {
        self.streams.insert(stream, Request::UnderWay);
        self.snapshots.insert(group, Request::UnderWay);
        [delete_stream(stream), delete_snapshots(group)]
    }

    /// The deletion of a stream has ended.
    pub(super) fn on_stream(&mut self, stream: StreamId, is_done: bool) {
        note(&mut self.streams, &stream, is_done);
    }

    /// The deletion of a group's snapshots has ended.
    pub(super) fn on_snapshots(&mut self, group: GroupId, is_done: bool) {
        note(&mut self.snapshots, &group, is_done);
    }

    /// Requests the refused deletions again, at most once in each [`RETRY_INTERVAL`].
    pub(super) fn retry_if_due(&mut self, now: Instant) -> Vec<NodeOutput> {
        if now < self.retry_at {
            return Vec::new();
        }
        self.retry_at = now.after(RETRY_INTERVAL);
        let streams = refused(&mut self.streams).map(delete_stream);
        streams.chain(refused(&mut self.snapshots).map(delete_snapshots)).collect()
    }
}

/// Ticket of a deletion. No write of a group has it.
pub(super) const DELETION: Ticket = Ticket(u64::MAX);

fn delete_stream(stream: StreamId) -> NodeOutput {
    NodeOutput::DeleteStream { stream, ticket: DELETION }
}

fn delete_snapshots(group: GroupId) -> NodeOutput {
    NodeOutput::Snapshot { group, ticket: DELETION, operation: SnapshotOperation::DeleteAll }
}

fn note<K: Ord>(requests: &mut BTreeMap<K, Request>, key: &K, is_done: bool) {
    if is_done {
        requests.remove(key);
    } else if let Some(request) = requests.get_mut(key) {
        *request = Request::Refused;
    }
}

fn refused<K: Copy>(requests: &mut BTreeMap<K, Request>) -> impl Iterator<Item = K> + '_ {
    let is_refused = |request: &mut Request| std::mem::replace(request, Request::UnderWay) == Request::Refused;
    requests.iter_mut().filter_map(move |(key, request)| is_refused(request).then_some(*key))
}

/// Interval between two tries of a deletion that was refused.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
