//! Laws that hold across the nodes of a group.

use std::collections::{BTreeMap, BTreeSet};

use quorate_protocol::{Law, NodeId, Violation};

use crate::base::Base;
use crate::state::{BranchEnd, BranchStage, Stage, Tombstone};
use crate::{CoordinatorId, Decision, TransactionId, TransactionNumber, TwoPhaseCommit};

/// All laws.
pub fn laws() -> Vec<Box<dyn Law<TwoPhaseCommit>>> {
    vec![
        Box::<OneOutcome>::default(),
        Box::<DurableDecision>::default(),
        Box::<UnanimousCommit>::default(),
        Box::<CompleteCommit>::default(),
        Box::<NoNumberTwice>::default(),
    ]
}

/// No participant commits a transaction that another aborts (Gray and Lamport 2006, §2, "TCommit"). A participant that
/// voted read-only and returns to the transaction after a crash does not count, because it has written nothing. Nor
/// does an abort without a decision that was lost in a crash: when asked again, the participant may commit.
#[derive(Clone, Debug, Default, Hash)]
pub struct OneOutcome {
    committed: BTreeMap<TransactionId, NodeId>,
    aborted: BTreeMap<TransactionId, BTreeSet<NodeId>>,
    writers: BTreeMap<TransactionId, BTreeSet<NodeId>>,
    /// Transactions whose decision was left to their only participant.
    delegated: BTreeSet<TransactionId>,
}

impl Law<TwoPhaseCommit> for OneOutcome {
    fn name(&self) -> &'static str {
        "one outcome"
    }

    fn check(&mut self, nodes: &[(NodeId, &TwoPhaseCommit)]) -> Result<(), Violation> {
        for (_, core) in nodes {
            for (transaction, writers) in decided(core) {
                self.writers.entry(transaction).or_insert_with(|| writers.clone());
            }
            let delegated =
                core.coordinator.coordinated().iter().filter(|(_, it)| matches!(it.stage, Stage::Delegated { .. }));
            self.delegated.extend(delegated.map(|(number, _)| core.base.id_of(*number)));
        }
        // New ends, and ends that may be undone, are judged once all nodes were checked.
        let mut suspects = Vec::new();
        for (node, core) in nodes {
            for (transaction, end) in ends(core) {
                match end {
                    BranchEnd::Decided(Decision::Commit) => {
                        if self.committed.insert(transaction, *node).is_none() {
                            let aborted = self.aborted.get(&transaction).into_iter().flatten();
                            suspects.extend(aborted.map(|node| (transaction, *node)));
                        }
                    }
                    BranchEnd::Decided(Decision::Abort) if !self.delegated.contains(&transaction) => {
                        if self.aborted.entry(transaction).or_default().insert(*node) {
                            suspects.push((transaction, *node));
                        }
                    }
                    BranchEnd::Decided(Decision::Abort) | BranchEnd::Abandoned => suspects.push((transaction, *node)),
                    // What an operator forced is nobody's decision.
                    BranchEnd::ReadOnly | BranchEnd::Heuristic(_) => {}
                }
            }
        }
        suspects.into_iter().try_for_each(|(transaction, node)| self.judge(transaction, node))
    }
}

impl OneOutcome {
    /// Judges a branch that is aborted on this node.
    fn judge(&self, transaction: TransactionId, node: NodeId) -> Result<(), Violation> {
        let Some(other) = self.committed.get(&transaction) else { return Ok(()) };
        if self.writers.get(&transaction).is_some_and(|writers| !writers.contains(&node)) {
            return Ok(());
        }
        let detail = format!("{transaction} is committed on node {other} and aborted on node {node}");
        Err(Violation { law: "one outcome", detail })
    }
}

/// No participant commits before the decision, or the delegation to the participant, is durable at the coordinator
/// (Mohan, Lindsay, Obermarck 1986, §2).
#[derive(Clone, Debug, Default, Hash)]
pub struct DurableDecision {
    durable: BTreeSet<TransactionId>,
}

impl Law<TwoPhaseCommit> for DurableDecision {
    fn name(&self) -> &'static str {
        "durable decision"
    }

    fn check(&mut self, nodes: &[(NodeId, &TwoPhaseCommit)]) -> Result<(), Violation> {
        for (_, core) in nodes {
            let durable = core.coordinator.coordinated().iter().filter(|(_, it)| match it.stage {
                Stage::Committed { key, .. } | Stage::Delegated { key, .. } => core.base.journal.is_on_disk(key),
                // Its end may be on its way to the disk. The decision before it was seen earlier.
                _ => false,
            });
            self.durable.extend(durable.map(|(number, _)| core.base.id_of(*number)));
        }
        for (node, core) in nodes {
            if let Some(transaction) = committed(core).find(|transaction| !self.durable.contains(transaction)) {
                let detail = format!("{transaction} is committed on node {node}, and was never decided durably");
                return Err(Violation { law: "durable decision", detail });
            }
        }
        Ok(())
    }
}

/// A coordinator commits only transactions for which every participant has durably prepared or has nothing to write
/// (Gray and Lamport 2006, §3).
#[derive(Clone, Debug, Default, Hash)]
pub struct UnanimousCommit {
    prepared: BTreeSet<(TransactionId, NodeId)>,
    read_only: BTreeSet<(TransactionId, NodeId)>,
    /// The participants that are asked for their votes.
    participants: BTreeMap<TransactionId, BTreeSet<NodeId>>,
}

impl Law<TwoPhaseCommit> for UnanimousCommit {
    fn name(&self) -> &'static str {
        "unanimous commit"
    }

    fn check(&mut self, nodes: &[(NodeId, &TwoPhaseCommit)]) -> Result<(), Violation> {
        for (node, core) in nodes {
            let prepared = core.participant.branches().iter().filter(|(_, branch)| {
                branch.stage == BranchStage::Prepared && branch.key.is_some_and(|key| core.base.journal.is_on_disk(key))
            });
            self.prepared.extend(prepared.map(|(transaction, _)| (*transaction, *node)));
            let read_only = ends(core).filter(|(_, end)| *end == BranchEnd::ReadOnly);
            self.read_only.extend(read_only.map(|(transaction, _)| (transaction, *node)));
            for (number, it) in core.coordinator.coordinated() {
                if let Stage::Voting(voting) = &it.stage {
                    self.participants.insert(core.base.id_of(*number), voting.payloads.keys().copied().collect());
                }
            }
        }
        for (_, core) in nodes {
            for (number, it) in core.coordinator.coordinated() {
                let (Stage::Deciding { writers, .. } | Stage::Committed { writers, .. }) = &it.stage else { continue };
                let transaction = core.base.id_of(*number);
                if let Some(writer) = writers.iter().find(|node| !self.prepared.contains(&(transaction, **node))) {
                    let detail = format!("{transaction} is decided, and node {writer} never prepared it");
                    return Err(Violation { law: "unanimous commit", detail });
                }
                let has_voted = |node: &&NodeId| {
                    let branch = (transaction, **node);
                    self.prepared.contains(&branch) || self.read_only.contains(&branch)
                };
                let mut participants = self.participants.get(&transaction).into_iter().flatten();
                if let Some(silent) = participants.find(|node| !has_voted(node)) {
                    let detail = format!("{transaction} is decided, and node {silent} never voted for it");
                    return Err(Violation { law: "unanimous commit", detail });
                }
            }
        }
        Ok(())
    }
}

/// A coordinator forgets a committed transaction only once every writer has committed durably.
#[derive(Clone, Debug, Default, Hash)]
pub struct CompleteCommit {
    committed: BTreeSet<(TransactionId, NodeId)>,
}

impl Law<TwoPhaseCommit> for CompleteCommit {
    fn name(&self) -> &'static str {
        "complete commit"
    }

    fn check(&mut self, nodes: &[(NodeId, &TwoPhaseCommit)]) -> Result<(), Violation> {
        for (node, core) in nodes {
            let is_durable = |tombstone: &Tombstone| {
                tombstone.end == BranchEnd::Decided(Decision::Commit)
                    && tombstone.key.is_some_and(|key| core.base.journal.is_on_disk(key))
            };
            let committed =
                core.participant.outcomes().tombstones().iter().filter(|(_, tombstone)| is_durable(tombstone));
            self.committed.extend(committed.map(|(transaction, _)| (*transaction, *node)));
        }
        for (node, core) in nodes {
            for (number, it) in core.coordinator.coordinated() {
                let Stage::Ending { writers, .. } = &it.stage else { continue };
                let transaction = core.base.id_of(*number);
                // An operator may have given one up, or have forced its outcome.
                let mixed = core.coordinator.mixed().get(number);
                let is_missing = |writer: &&NodeId| {
                    !mixed.is_some_and(|mixed| mixed.by.contains_key(writer))
                        && !self.committed.contains(&(transaction, **writer))
                        && !core.participant.outcomes().is_given_up(**writer)
                };
                if let Some(writer) = writers.iter().find(is_missing) {
                    let detail =
                        format!("node {node} has finished {transaction}, and node {writer} never committed it durably");
                    return Err(Violation { law: "complete commit", detail });
                }
            }
        }
        Ok(())
    }
}

/// A coordinator never uses a number twice.
#[derive(Clone, Debug, Default, Hash)]
pub struct NoNumberTwice {
    /// The current epoch and next number of each node that serves a coordinator; removed while it is down.
    next: BTreeMap<NodeId, TransactionNumber>,
    /// The highest number of each coordinator that was seen in use.
    used: BTreeMap<CoordinatorId, TransactionNumber>,
}

impl Law<TwoPhaseCommit> for NoNumberTwice {
    fn name(&self) -> &'static str {
        "no number twice"
    }

    fn check(&mut self, nodes: &[(NodeId, &TwoPhaseCommit)]) -> Result<(), Violation> {
        self.next.retain(|node, _| nodes.iter().any(|(id, _)| id == node));
        // A node that was not introduced begins nothing, nor does one whose coordinator was taken over.
        let begins = |base: &Base, node| base.chassis.is_member(node) && base.served_by.is_none();
        for (node, core) in nodes.iter().filter(|(node, core)| begins(&core.base, *node)) {
            let next = core.coordinator.next_number(&core.base);
            let before = self.next.insert(*node, next);
            let used = self.used.entry(core.base.config.coordinator()).or_default();
            if before.is_none_or(|before| before > next) && next <= *used {
                let detail = format!("node {node} gives out {next} after {used}");
                return Err(Violation { law: "no number twice", detail });
            }
            // A number that only this node knows is not in use: after a restart it may be used again.
            let known = core.coordinator.coordinated().keys().next_back().copied().unwrap_or_default();
            if core.base.is_epoch_durable() {
                *used = (*used).max(known);
            }
        }
        Ok(())
    }
}

/// The ends of a node's branches.
fn ends(core: &TwoPhaseCommit) -> impl Iterator<Item = (TransactionId, BranchEnd)> + '_ {
    let live = core.participant.branches().iter().filter_map(|(transaction, branch)| match branch.stage {
        BranchStage::Committing => Some((*transaction, BranchEnd::Decided(Decision::Commit))),
        BranchStage::Aborting(end) => Some((*transaction, end)),
        _ => None,
    });
    live.chain(
        core.participant.outcomes().tombstones().iter().map(|(transaction, tombstone)| (*transaction, tombstone.end)),
    )
}

/// The transactions that are committed on a node and that it remembers.
pub fn committed(core: &TwoPhaseCommit) -> impl Iterator<Item = TransactionId> + '_ {
    ends(core).filter(|(_, end)| *end == BranchEnd::Decided(Decision::Commit)).map(|(transaction, _)| transaction)
}

/// The transactions that a coordinator has decided to commit, with their writers.
fn decided(core: &TwoPhaseCommit) -> impl Iterator<Item = (TransactionId, &BTreeSet<NodeId>)> + '_ {
    let live = core.coordinator.coordinated().iter().filter_map(|(number, it)| match &it.stage {
        Stage::Committed { writers, .. } | Stage::Ending { writers, .. } => Some((core.base.id_of(*number), writers)),
        _ => None,
    });
    live.chain(core.coordinator.remembered().iter().map(|(number, it)| (core.base.id_of(*number), &it.writers)))
}
