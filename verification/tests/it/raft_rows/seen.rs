//! A node as the director of a row sees it, whatever stands around its core.

use std::fmt::Debug;
use std::hash::Hash;

use quorate_protocol::testing::Stream;
use quorate_protocol::{LogIndex, LogStatus, NodeId, ReplicatedLog, Term};
use quorate_raft::Raft;
use quorate_runtime::group::Hostable;
use quorate_runtime::replica::Replica;
use quorate_simulation::core_machine::CoreMachine;
use quorate_simulation::node_machine::{Kept, NodeMachine, REPLICA_GROUP, RegisterService, Replicated};
use quorate_simulation::registers::RegisterState;
use quorate_simulation::world::NodeView;

/// The shipped core, or something around it.
pub(crate) trait OfRaft: ReplicatedLog + Hostable {
    fn raft(&self) -> &Raft;
}

impl OfRaft for Raft {
    fn raft(&self) -> &Raft {
        self
    }
}

/// The shipped node, whole, with registers as a replicated service.
pub(crate) type Shipped = NodeMachine<Replicated<RegisterService<Raft>>>;

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
    pub(crate) fn bare<L: OfRaft>(view: &NodeView<'a, CoreMachine<L>>) -> Self
    where
        L::Message: Hash,
    {
        let core = view.machine.map(|machine| machine.core().raft());
        Self { node: view.node, core, log: DurableLog::Simple(&view.disk.stream) }
    }

    pub(crate) fn whole<L: OfRaft<Message: Debug>>(
        view: &NodeView<'a, NodeMachine<Replicated<RegisterService<L>>>>,
    ) -> Self {
        let replica = view.machine.and_then(|machine| machine.node().group::<Replica<L, RegisterState>>(REPLICA_GROUP));
        let log = DurableLog::Real(view.disk.durable(REPLICA_GROUP));
        Self { node: view.node, core: replica.map(|replica| replica.core().raft()), log }
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
            DurableLog::Simple(stream) => stream.base.index,
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
