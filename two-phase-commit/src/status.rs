//! What an operator sees.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate_protocol::{HaltReason, NodeId};

use crate::state::{BranchStage, Stage};
use crate::{Epoch, RequestKind, TransactionId, TransactionNumber, TwoPhaseCommit, Unready};

/// A node's part, to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The node.
    pub node: NodeId,
    /// Its present epoch as a coordinator.
    pub epoch: Epoch,
    /// Transactions that it coordinates and that are not finished.
    pub coordinated: usize,
    /// Committed transactions whose participants have not all said so, and who has not.
    pub unacknowledged: BTreeMap<TransactionId, BTreeSet<NodeId>>,
    /// Committed and finished transactions that are remembered.
    pub remembered: usize,
    /// Branches at this node that are not settled.
    pub branches: usize,
    /// Branches that have voted yes and wait for the decision, and transactions whose only participant has not said what it
    /// did: for how long, as far as this start knows.
    pub in_doubt: BTreeMap<TransactionId, Duration>,
    /// Branches about which the application is asked, or is to be asked again after it failed: what, and for how long, as far as this
    /// start knows.
    pub asked: BTreeMap<TransactionId, (RequestKind, Duration)>,
    /// Settled branches that are remembered.
    pub tombstones: usize,
    /// Bytes of payloads held in both roles.
    pub payload_bytes: usize,
    /// Bytes of records that wait for the log.
    pub journal_bytes: usize,
    /// All transactions of this coordinator below are finished.
    pub finished_below: TransactionNumber,
    /// Nodes that an operator has given up.
    pub forgotten: BTreeSet<NodeId>,
    /// Why branches are not taken, if the last one was not.
    pub unready: Option<Unready>,
    /// Why it stopped, if it did.
    pub halted: Option<HaltReason>,
    /// How many inputs changed nothing, by the reason.
    pub ignored: BTreeMap<&'static str, u64>,
}

impl TwoPhaseCommit {
    /// What this node is doing.
    pub fn status(&self) -> Status {
        let (now, mut in_doubt, mut unacknowledged) = (self.now.instant, BTreeMap::new(), BTreeMap::new());
        let asked = self.branches.iter().filter_map(|(transaction, branch)| {
            let request = self.request_of(*transaction)?;
            let is_over = branch.stage == BranchStage::Prepared && !self.recovering.contains(transaction);
            (!is_over).then(|| (*transaction, (request.kind(), now.since(branch.asked_since))))
        });
        let asked = asked.collect();
        for (transaction, branch) in &self.branches {
            if branch.stage == BranchStage::Prepared {
                in_doubt.insert(*transaction, now.since(branch.since));
            }
        }
        for (number, it) in &self.coordinated {
            match &it.stage {
                Stage::Delegated { .. } => {
                    in_doubt.insert(self.id_of(*number), now.since(it.since));
                }
                Stage::Committed { unacknowledged: silent, .. } => {
                    unacknowledged.insert(self.id_of(*number), silent.clone());
                }
                _ => {}
            }
        }
        Status {
            node: self.config.node(),
            epoch: self.state.epoch,
            coordinated: self.coordinated.len(),
            unacknowledged,
            remembered: self.remembered.len(),
            branches: self.branches.len(),
            in_doubt,
            asked,
            tombstones: self.tombstones.len(),
            payload_bytes: self.coordinated_bytes + self.branch_bytes,
            journal_bytes: self.journal.bytes(),
            finished_below: self.stamp().finished_below,
            forgotten: self.known.iter().filter(|(_, known)| known.is_forgotten).map(|(node, _)| *node).collect(),
            unready: self.unready,
            halted: self.halted.clone(),
            ignored: self.ignored.iter().map(|(ignored, count)| (ignored.name(), *count)).collect(),
        }
    }
}
