//! Calls of clients that are under way.

use std::collections::BTreeMap;

use quorate_protocol::NodeId;

use super::{ClientAnswer, ClusterInfo, Happening, Machine, Workload, World};
use crate::trace::MomentKind;

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
}

impl<M: Machine> World<'_, M> {
    pub(super) fn client_calls(&mut self, client: u64) {
        if self.calls.are_over {
            return;
        }
        let cluster = ClusterInfo {
            nodes: self.schedule.nodes,
            at_leader_percent: self.schedule.at_leader_percent,
            leader: self.leader().map(NodeId),
        };
        let (NodeId(node), what) = self.calls.workload.call(client, cluster, self.now_us);
        self.calls.made += 1;
        let call = self.calls.made;
        self.trace.count(&(self.now_us, client, &what));
        self.trace.note(self.now_us, node, || MomentKind::Client(format!("client {client} calls {what:?}")));
        self.calls.open.insert(call, Open { client, node, what: what.clone() });
        let patience_us = self.calls.workload.patience_us(&what);
        self.plan(patience_us, Happening::CallExpires { call });
        self.give_call(node, call, what);
    }

    /// Ends a call, if it is still under way.
    pub(super) fn answer(&mut self, call: u64, answer: &ClientAnswer<M::Answer>) {
        let Some(Open { client, what, .. }) = self.calls.open.remove(&call) else { return };
        if matches!(answer, ClientAnswer::Done(_)) {
            self.calls.acknowledged += 1;
            self.calls.acknowledged_writes += u64::from(self.calls.workload.is_write(&what));
        }
        self.calls.workload.answered(client, &what, answer, self.now_us);
        self.trace.note(self.now_us, 0, || MomentKind::Client(format!("client {client} is told {answer:?}")));
        let pause_us = self.calls.workload.pause_us(client);
        self.plan(pause_us, Happening::Call { client });
    }

    /// Ends the calls that wait for this node, with unknown outcome.
    pub(super) fn forget_calls(&mut self, node: u64) {
        let waiting: Vec<u64> =
            self.calls.open.iter().filter(|(_, open)| open.node == node).map(|(call, _)| *call).collect();
        for call in waiting {
            self.answer(call, &ClientAnswer::Unknown);
        }
    }
}
