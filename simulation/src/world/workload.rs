//! The behaviour of clients.

use quorate_protocol::{NodeId, Random, Violation};

use super::{ClientAnswer, Machine};
use crate::history::HistoryEvent;

/// The calls of a run's clients, and the judgement of their answers.
///
/// Random numbers must be drawn from the run's seed only.
pub trait Workload<M: Machine> {
    /// The next call of a client, and the node that it calls. The client has no other call under way.
    fn call(&mut self, client: u64, cluster: ClusterInfo, at_us: u64) -> (NodeId, M::Call);

    /// Gives a client the answer to its call.
    fn answered(&mut self, client: u64, what: &M::Call, answer: &ClientAnswer<M::Answer>, at_us: u64);

    /// True if a call changes state. A cluster that serves must carry out such calls.
    fn is_write(&self, _what: &M::Call) -> bool {
        true
    }

    /// Time in microseconds that a client waits for this call. Then it gets [`ClientAnswer::Unknown`] and goes on.
    fn patience_us(&mut self, _what: &M::Call) -> u64 {
        2_000_000
    }

    /// Time in microseconds between an answer and the client's next call.
    fn pause_us(&mut self, client: u64) -> u64;

    /// Judges the history of the clients at the end.
    ///
    /// # Errors
    /// When the history is impossible; the violation says why.
    fn judge(&mut self) -> Result<(), Violation>;

    /// The history of the clients as it is written into a file. Empty for a workload without this form.
    fn history(&self) -> Vec<HistoryEvent> {
        Vec::new()
    }
}

/// Information that a client can have about the cluster that it calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterInfo {
    /// Number of nodes. Their ids run from 1 to this number.
    pub nodes: u64,
    /// Percentage of calls that go to the leader.
    pub at_leader_percent: u64,
    /// The leader, if a running node says that it leads.
    pub leader: Option<NodeId>,
}

impl ClusterInfo {
    /// A node to call: the leader in the given percentage of calls, otherwise any node.
    pub fn choose(&self, random: &mut Random) -> NodeId {
        let any = NodeId(random.between(1, self.nodes + 1));
        let is_at_leader = random.between(0, 100) < self.at_leader_percent;
        self.leader.filter(|_| is_at_leader).unwrap_or(any)
    }
}
