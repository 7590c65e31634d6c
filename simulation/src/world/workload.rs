//! What clients do.

use quorate_protocol::{NodeId, Random, Violation};

use super::{Answer, Machine};
use crate::history::Event;

/// What the clients of a run call, and whether what they saw is as it must be.
///
/// Chance is to be drawn from the run's seed alone.
pub trait Workload<M: Machine> {
    /// What a client calls now, and at which node. It has no other call under way.
    fn call(&mut self, client: u64, cluster: Cluster, at_us: u64) -> (NodeId, M::Call);

    /// A client learns what became of its call.
    fn answered(&mut self, client: u64, what: &M::Call, answer: &Answer<M::Answer>, at_us: u64);

    /// Whether a call changes anything: a cluster that serves must do such ones.
    fn is_write(&self, _what: &M::Call) -> bool {
        true
    }

    /// How long a client waits for this call, in microseconds: then it is told [`Answer::Unknown`] and goes on.
    fn patience_us(&mut self, _what: &M::Call) -> u64 {
        2_000_000
    }

    /// How long a client thinks before its next call, in microseconds.
    fn pause_us(&mut self, client: u64) -> u64;

    /// Judges at the end what the clients saw.
    ///
    /// # Errors
    /// When it cannot have been, and why.
    fn judge(&mut self) -> Result<(), Violation>;

    /// What the clients saw, as it is written into a history file; nothing for a workload that has no such form.
    fn history(&self) -> Vec<Event> {
        Vec::new()
    }
}

/// What a client can know of the cluster that it calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Nodes are 1 to this.
    pub nodes: u64,
    /// Of a hundred calls so many ought to go to the node that leads.
    pub at_leader_percent: u64,
    /// Who leads, if a running node says that it does.
    pub leader: Option<NodeId>,
}

impl Cluster {
    /// A node to call: the leader so often as the schedule says, otherwise any.
    pub fn choose(&self, random: &mut Random) -> NodeId {
        let any = NodeId(random.between(1, self.nodes + 1));
        let is_at_leader = random.between(0, 100) < self.at_leader_percent;
        self.leader.filter(|_| is_at_leader).unwrap_or(any)
    }
}
