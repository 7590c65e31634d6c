//! Laws that hold across the nodes of a group.

use std::collections::{BTreeMap, BTreeSet};

use quorate_protocol::{Law, NodeId, Violation};

use crate::state::{BranchEnd, BranchStage, Stage};
use crate::{Decision, TransactionId, TransactionNumber, TwoPhaseCommit};

/// Every law.
pub fn laws() -> Vec<Box<dyn Law<TwoPhaseCommit>>> {
    vec![
        Box::<OneOutcome>::default(),
        Box::<DurableDecision>::default(),
        Box::<UnanimousCommit>::default(),
        Box::<NoNumberTwice>::default(),
    ]
}

/// No participant commits a transaction that another aborts (Gray and Lamport 2006, §2, "TCommit"). Who voted read-only
/// and comes back to the transaction after a crash does not count: it has written nothing.
#[derive(Debug, Default)]
pub struct OneOutcome {
    committed: BTreeMap<TransactionId, NodeId>,
    aborted: BTreeMap<TransactionId, BTreeSet<NodeId>>,
    writers: BTreeMap<TransactionId, BTreeSet<NodeId>>,
}

impl Law<TwoPhaseCommit> for OneOutcome {
    fn name(&self) -> &'static str {
        "one outcome"
    }

    fn check(&mut self, nodes: &[(NodeId, &TwoPhaseCommit)]) -> Result<(), Violation> {
        for (node, core) in nodes {
            for (transaction, writers) in decided(core) {
                self.writers.insert(transaction, writers.clone());
            }
            for (transaction, decision) in branches(core) {
                match decision {
                    Decision::Commit => {
                        self.committed.insert(transaction, *node);
                    }
                    Decision::Abort => {
                        self.aborted.entry(transaction).or_default().insert(*node);
                    }
                }
            }
        }
        for (transaction, node) in &self.committed {
            let aborted = self.aborted.get(transaction).into_iter().flatten();
            let mut writers = aborted.filter(|other| self.writers.get(transaction).is_none_or(|it| it.contains(other)));
            if let Some(other) = writers.next() {
                let detail = format!("{transaction} is committed on node {node} and aborted on node {other}");
                return Err(Violation { law: "one outcome", detail });
            }
        }
        Ok(())
    }
}

/// No participant commits before the decision, or that the decision is the participant's, is durable at the coordinator
/// (Mohan, Lindsay, Obermarck 1986, §2).
#[derive(Debug, Default)]
pub struct DurableDecision {
    durable: BTreeSet<TransactionId>,
}

impl Law<TwoPhaseCommit> for DurableDecision {
    fn name(&self) -> &'static str {
        "durable decision"
    }

    fn check(&mut self, nodes: &[(NodeId, &TwoPhaseCommit)]) -> Result<(), Violation> {
        for (_, core) in nodes {
            let durable = core.coordinated.iter().filter(|(_, it)| {
                matches!(it.stage, Stage::Committed { .. } | Stage::Ending { .. } | Stage::Delegated { .. })
            });
            self.durable.extend(durable.map(|(number, _)| core.id_of(*number)));
        }
        for (node, core) in nodes {
            let mut early =
                branches(core).filter(|(id, decision)| *decision == Decision::Commit && !self.durable.contains(id));
            if let Some((transaction, _)) = early.next() {
                let detail = format!("{transaction} is committed on node {node}, and was never decided durably");
                return Err(Violation { law: "durable decision", detail });
            }
        }
        Ok(())
    }
}

/// A coordinator decides to commit only what every writer has durably prepared (Gray and Lamport 2006, §3).
#[derive(Debug, Default)]
pub struct UnanimousCommit {
    prepared: BTreeSet<(TransactionId, NodeId)>,
}

impl Law<TwoPhaseCommit> for UnanimousCommit {
    fn name(&self) -> &'static str {
        "unanimous commit"
    }

    fn check(&mut self, nodes: &[(NodeId, &TwoPhaseCommit)]) -> Result<(), Violation> {
        for (node, core) in nodes {
            let prepared = core.branches.iter().filter(|(_, branch)| branch.stage == BranchStage::Prepared);
            self.prepared.extend(prepared.map(|(transaction, _)| (*transaction, *node)));
        }
        for (_, core) in nodes {
            for (number, it) in &core.coordinated {
                let (Stage::Deciding { writers, .. } | Stage::Committed { writers, .. }) = &it.stage else { continue };
                let transaction = core.id_of(*number);
                if let Some(writer) = writers.iter().find(|node| !self.prepared.contains(&(transaction, **node))) {
                    let detail = format!("{transaction} is decided, and node {writer} never prepared it");
                    return Err(Violation { law: "unanimous commit", detail });
                }
            }
        }
        Ok(())
    }
}

/// A coordinator never uses a number again.
#[derive(Debug, Default)]
pub struct NoNumberTwice {
    /// Each coordinator's present epoch and next number; gone while it is down.
    next: BTreeMap<NodeId, TransactionNumber>,
    /// The highest number that was seen at work.
    used: BTreeMap<NodeId, TransactionNumber>,
}

impl Law<TwoPhaseCommit> for NoNumberTwice {
    fn name(&self) -> &'static str {
        "no number twice"
    }

    fn check(&mut self, nodes: &[(NodeId, &TwoPhaseCommit)]) -> Result<(), Violation> {
        self.next.retain(|node, _| nodes.iter().any(|(id, _)| id == node));
        // Who was not introduced begins nothing.
        for (node, core) in nodes.iter().filter(|(node, core)| core.check_standing(*node).is_ok()) {
            let next = core.next_number();
            let before = self.next.insert(*node, next);
            let used = self.used.entry(*node).or_default();
            if before.is_none_or(|before| before > next) && next <= *used {
                let detail = format!("node {node} gives out {next} after {used}");
                return Err(Violation { law: "no number twice", detail });
            }
            // What only this node knows of is not in use: it may start again from there.
            let known = core.coordinated.keys().next_back().copied().unwrap_or_default();
            if core.outbox.is_durable(core.epoch_ticket) {
                *used = (*used).max(known);
            }
        }
        Ok(())
    }
}

/// What a node's branches came to.
fn branches(core: &TwoPhaseCommit) -> impl Iterator<Item = (TransactionId, Decision)> + '_ {
    let live = core.branches.iter().filter_map(|(transaction, branch)| match branch.stage {
        BranchStage::Committing => Some((*transaction, Decision::Commit)),
        BranchStage::Aborting(_) => Some((*transaction, Decision::Abort)),
        _ => None,
    });
    let buried = core.tombstones.iter().filter_map(|(transaction, tombstone)| match tombstone.end {
        BranchEnd::Decided(decision) => Some((*transaction, decision)),
        BranchEnd::Abandoned => Some((*transaction, Decision::Abort)),
        BranchEnd::ReadOnly => None,
    });
    live.chain(buried)
}

/// What a coordinator has decided to commit, and who wrote.
fn decided(core: &TwoPhaseCommit) -> impl Iterator<Item = (TransactionId, &BTreeSet<NodeId>)> + '_ {
    let live = core.coordinated.iter().filter_map(|(number, it)| match &it.stage {
        Stage::Committed { writers, .. } | Stage::Ending { writers, .. } => Some((core.id_of(*number), writers)),
        _ => None,
    });
    live.chain(core.remembered.iter().map(|(number, it)| (core.id_of(*number), &it.writers)))
}
