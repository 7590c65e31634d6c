//! A node as the director of a row sees it, whatever stands around its core.

use quorate_protocol::{GroupId, LogIndex, LogStatus, NodeId, ReplicatedLog, Term};
use quorate_raft::Raft;
use quorate_runtime::Replica;
use quorate_simulation::core_machine::{CoreMachine, Stream};
use quorate_simulation::node_machine::{Kept, NodeMachine, RegisterService, Replicated};
use quorate_simulation::registers::Registers;
use quorate_simulation::world::NodeView;

/// The shipped node, whole, with registers as a replicated service.
pub(crate) type Whole = NodeMachine<Replicated<RegisterService<Raft>>>;

/// A node after a step.
pub(crate) struct Seen<'a> {
    pub(crate) node: NodeId,
    /// Its core while it runs.
    pub(crate) core: Option<&'a Raft>,
    log: DurableLog<'a>,
}

/// What is durable of its log.
enum DurableLog<'a> {
    Simple(&'a Stream),
    Real(Option<&'a Kept>),
}

impl<'a> Seen<'a> {
    pub(crate) fn bare(view: &NodeView<'a, CoreMachine<Raft>>) -> Self {
        let log = DurableLog::Simple(&view.disk.stream);
        Self { node: view.node, core: view.machine.map(CoreMachine::core), log }
    }

    pub(crate) fn whole(view: &NodeView<'a, Whole>) -> Self {
        let group = |machine: &'a Whole| machine.node().group::<Replica<Raft, Registers>>(GROUP).map(Replica::core);
        Self { node: view.node, core: view.machine.and_then(group), log: DurableLog::Real(view.disk.durable(GROUP)) }
    }

    pub(crate) fn status(&self) -> Option<LogStatus> {
        self.core.map(Raft::status)
    }

    /// The term of an entry that is durable, or of the last that was compacted.
    pub(crate) fn term_at(&self, index: LogIndex) -> Option<Term> {
        match self.log {
            DurableLog::Simple(stream) => stream.term_at(index),
            DurableLog::Real(kept) => kept.and_then(|kept| kept.term_at(index)),
        }
    }

    /// The last entry that was compacted.
    pub(crate) fn base(&self) -> LogIndex {
        match self.log {
            DurableLog::Simple(stream) => stream.base(),
            DurableLog::Real(kept) => kept.map(Kept::base).unwrap_or_default(),
        }
    }

    /// The last entry that is durable.
    pub(crate) fn last(&self) -> LogIndex {
        match self.log {
            DurableLog::Simple(stream) => stream.last(),
            DurableLog::Real(kept) => kept.map(Kept::last).unwrap_or_default(),
        }
    }
}

const GROUP: GroupId = GroupId(1);
