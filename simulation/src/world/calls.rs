//! Calls of clients that are under way.

use std::collections::BTreeMap;

use quorate_protocol::NodeId;

use super::{ClientAnswer, ClusterInfo, Machine, Workload};

/// The open calls of a run's clients.
pub(super) struct Calls<'a, M: Machine> {
    pub(super) workload: &'a mut dyn Workload<M>,
    open: BTreeMap<u64, Open<M::Call>>,
    made: u64,
    pub(super) acknowledged: u64,
    pub(super) acknowledged_writes: u64,
    /// True once clients make no more calls.
    pub(super) are_over: bool,
}

/// A call that was just made.
pub(super) struct Made<C> {
    pub(super) call: u64,
    pub(super) node: u64,
    pub(super) what: C,
}

/// A call under way.
struct Open<C> {
    client: u64,
    node: u64,
    what: C,
}

impl<'a, M: Machine> Calls<'a, M> {
    pub(super) fn new(workload: &'a mut dyn Workload<M>) -> Self {
        Self { workload, open: BTreeMap::new(), made: 0, acknowledged: 0, acknowledged_writes: 0, are_over: false }
    }

    /// Makes the next call of a client.
    pub(super) fn make(&mut self, client: u64, cluster: ClusterInfo, now_us: u64) -> Made<M::Call> {
        let (NodeId(node), what) = self.workload.call(client, cluster, now_us);
        self.made += 1;
        self.open.insert(self.made, Open { client, node, what: what.clone() });
        Made { call: self.made, node, what }
    }

    /// Ends a call, if it is still under way. Returns its client.
    pub(super) fn end(&mut self, call: u64, answer: &ClientAnswer<M::Answer>, now_us: u64) -> Option<u64> {
        let Open { client, what, .. } = self.open.remove(&call)?;
        if matches!(answer, ClientAnswer::Done(_)) {
            self.acknowledged += 1;
            self.acknowledged_writes += u64::from(self.workload.is_write(&what));
        }
        self.workload.answered(client, &what, answer, now_us);
        Some(client)
    }

    /// The calls that wait for this node.
    pub(super) fn waiting_for(&self, node: u64) -> Vec<u64> {
        self.open.iter().filter(|(_, open)| open.node == node).map(|(call, _)| *call).collect()
    }
}
