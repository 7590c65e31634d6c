//! The status of a node, for operators.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate_protocol::{HaltReason, NodeId};

use crate::state::{BranchStage, Stage};
use crate::{
    CoordinatorId, Decision, Deviation, Epoch, RequestKind, TransactionId, TransactionNumber, TwoPhaseCommit, Unready,
};

/// State of a node's transactions and branches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Id of the node.
    pub node: NodeId,
    /// The coordinator that it serves, or served.
    pub coordinator: CoordinatorId,
    /// The epoch in which it serves or served the coordinator.
    pub epoch: Epoch,
    /// The node that has taken over the coordinator; `None` while this node serves it.
    pub served_by: Option<NodeId>,
    /// Number of unfinished transactions that it coordinates.
    pub coordinated: usize,
    /// Committed transactions that are not fully acknowledged, with the participants that have not acknowledged.
    pub unacknowledged: BTreeMap<TransactionId, BTreeSet<NodeId>>,
    /// Number of committed and finished transactions that are remembered.
    pub remembered: usize,
    /// Number of branches at this node that are not settled.
    pub branches: usize,
    /// Branches that have voted yes and wait for the decision, and transactions whose only participant has not told its
    /// decision, each with the time in doubt, as far as this start knows.
    pub in_doubt: BTreeMap<TransactionId, Duration>,
    /// Mixed transactions of the coordinator that this node serves, each with the participants that did not do what was
    /// decided. Kept until `Command::ForgetMixed`.
    pub mixed: BTreeMap<TransactionId, BTreeMap<NodeId, Deviation>>,
    /// Branches here whose outcome an operator forced. Kept until the decision is known and the same, or until
    /// `Command::ForgetMixed`.
    pub forced: BTreeMap<TransactionId, ForcedOutcome>,
    /// Branches with an open request to the application, or with one to repeat after a failure: the kind of request and
    /// its age, as far as this start knows.
    pub asked: BTreeMap<TransactionId, UnansweredRequest>,
    /// Number of settled branches that are remembered.
    pub tombstones: usize,
    /// Bytes of payloads in both roles.
    pub payload_bytes: usize,
    /// Bytes of records that wait for the log.
    pub journal_bytes: usize,
    /// All transactions of this coordinator below this number are finished.
    pub finished_below: TransactionNumber,
    /// Nodes that an operator has given up.
    pub forgotten: BTreeSet<NodeId>,
    /// Coordinators that an operator has given up.
    pub forgotten_coordinators: BTreeSet<CoordinatorId>,
    /// Reason why branches are not accepted; `None` if the last one was accepted.
    pub unready: Option<Unready>,
    /// Reason why the group stopped on this node; `None` if it runs.
    pub halted: Option<HaltReason>,
    /// Number of inputs that changed nothing, by reason.
    pub ignored: BTreeMap<&'static str, u64>,
}

/// A request to the application without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnansweredRequest {
    /// Kind of the request.
    pub request: RequestKind,
    /// Time since the application was first asked.
    pub age: Duration,
}

/// The outcome of a branch that an operator forced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForcedOutcome {
    /// What was done.
    pub forced: Decision,
    /// What was decided; `None` if this is not known yet.
    pub decision: Option<Decision>,
}

impl Status {
    pub(crate) fn of(core: &TwoPhaseCommit) -> Self {
        let (base, coordinator, participant) = (&core.base, &core.coordinator, &core.participant);
        let (now, mut in_doubt, mut unacknowledged) = (base.now(), BTreeMap::new(), BTreeMap::new());
        for (transaction, branch) in participant.branches() {
            if branch.stage == BranchStage::Prepared && branch.forced.is_none() {
                in_doubt.insert(*transaction, now.since(branch.since));
            }
        }
        for (number, it) in coordinator.coordinated() {
            match &it.stage {
                Stage::Delegated { .. } => {
                    in_doubt.insert(base.id_of(*number), now.since(it.since));
                }
                Stage::Committed { unacknowledged: silent, .. } => {
                    unacknowledged.insert(base.id_of(*number), silent.clone());
                }
                _ => {}
            }
        }
        let known = participant.outcomes().known().iter();
        Self {
            node: base.config.node(),
            coordinator: base.config.coordinator(),
            epoch: base.journal.epoch(),
            served_by: base.served_by,
            coordinated: coordinator.coordinated().len(),
            unacknowledged,
            remembered: coordinator.remembered().len(),
            branches: participant.branches().len(),
            in_doubt,
            mixed: coordinator.mixed().iter().map(|(number, it)| (base.id_of(*number), it.by.clone())).collect(),
            forced: participant.forced().collect(),
            asked: participant.asked(base),
            tombstones: participant.outcomes().tombstones().len(),
            payload_bytes: coordinator.held().payload_bytes() + participant.room().all().payload_bytes,
            journal_bytes: base.journal.bytes(),
            finished_below: coordinator.stamp(base).finished_below,
            forgotten: participant.outcomes().given_up().keys().copied().collect(),
            forgotten_coordinators: known.filter(|(_, known)| known.is_forgotten).map(|(id, _)| *id).collect(),
            unready: participant.room().unready(),
            halted: base.chassis.halted().cloned(),
            ignored: base.chassis.ignored().map(|(ignored, count)| (ignored.name(), count)).collect(),
        }
    }
}
