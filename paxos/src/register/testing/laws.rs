//! Laws that hold across the nodes of a group.

use std::collections::{BTreeMap, BTreeSet};

use quorate_protocol::{Law, NodeId, Violation};

use crate::Ballot;
use crate::register::content::Key;
use crate::register::work::Phase;
use crate::register::{CHANGES_REMEMBERED, Content, Register, RolesInForce, Version};

/// All laws.
pub fn laws() -> Vec<Box<dyn Law<Register>>> {
    vec![Box::<OneHistory>::default(), Box::<PromisesKept>::default(), Box::<BallotsOfTheirOwn>::default()]
}

/// Each register has one history: the contents that are chosen, whether or not any node knows it, follow from each
/// other in the order of their ballots, and nothing that was deleted comes back.
///
/// The chosen contents are computed from the acceptances of acceptors, step by step, over crashes and lost disks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct OneHistory {
    votes: BTreeMap<(Key, Ballot), Votes>,
    /// The roles of each epoch.
    roles: BTreeMap<u64, RolesInForce>,
    /// The epoch of each ballot, but for those of the first.
    epochs: BTreeMap<(Key, Ballot), u64>,
    /// The chosen content of each register in the highest ballot.
    newest: BTreeMap<Key, (Ballot, Content)>,
    /// Number of changes that were chosen.
    changes: BTreeMap<Key, BTreeSet<Version>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Votes {
    content: Content,
    durable: BTreeSet<NodeId>,
    is_chosen: bool,
}

impl OneHistory {
    /// The versions of a register that were chosen.
    pub fn versions(&self, key: &[u8]) -> usize {
        self.changes.get(key).map_or(0, BTreeSet::len)
    }

    fn count(&mut self, node: NodeId, core: &Register) -> Result<(), Violation> {
        let quorums = core.roles();
        let epoch = quorums.epoch();
        let first = self.roles.entry(epoch).or_insert_with(|| quorums.clone());
        if first != quorums {
            return Err(broken(format!("epoch {epoch} has {first:?}, and {quorums:?} on {node}")));
        }
        // Nothing that an acceptor had before it became one anew counts.
        if core.base.state().is_erasing {
            return Ok(());
        }
        for (key, slot) in core.acceptor.table.iter().filter(|(_, slot)| slot.accepted != Ballot::ZERO) {
            let at = (key.clone(), slot.accepted);
            let votes = match (self.votes.get_mut(&at), &slot.content) {
                (Some(votes), _) => votes,
                (None, Some(content)) => self.votes.entry(at.clone()).or_insert_with(|| Votes {
                    content: (**content).clone(),
                    durable: BTreeSet::new(),
                    is_chosen: false,
                }),
                (None, None) => continue,
            };
            if slot.content.as_ref().is_some_and(|content| **content != votes.content) {
                let detail =
                    format!("ballot {} has {:?}, and {:?} on {node}", slot.accepted, votes.content, slot.content);
                return Err(broken(detail));
            }
            if core.base.chassis.outbox.is_durable(slot.ticket) {
                votes.durable.insert(node);
            }
            let epoch = self.epochs.get(&at).copied().unwrap_or_default();
            let Some(quorums) = self.roles.get(&epoch) else { continue };
            if !votes.is_chosen && quorums.is_accept_quorum(|other| votes.durable.contains(&other)) {
                votes.is_chosen = true;
                let content = votes.content.clone();
                self.choose(at, content)?;
            }
        }
        Ok(())
    }

    fn choose(&mut self, (key, ballot): (Key, Ballot), content: Content) -> Result<(), Violation> {
        if content.version != Version::ZERO {
            self.changes.entry(key.clone()).or_default().insert(content.version);
        }
        let Some((before, newest)) = self.newest.get(&key) else {
            self.newest.insert(key, (ballot, content));
            return Ok(());
        };
        if ballot < *before {
            return Ok(());
        }
        let is_same = *newest == content;
        let follows = content.past.iter().any(|past| past.version == newest.version);
        // A deleted register may have been removed, so that nobody remembers what it was.
        let is_forgotten = newest.value.is_none() && (content.version > newest.version || content.value.is_none());
        // Contents that are not in memory are not seen. Behind so many later changes the newest one is forgotten.
        let later = content.past.iter().filter(|past| past.version > newest.version).count();
        if !(is_same || follows || is_forgotten || later >= CHANGES_REMEMBERED) {
            let detail = format!("{newest:?} was chosen in ballot {before}, and {content:?} in {ballot}");
            return Err(broken(detail));
        }
        self.newest.insert(key, (ballot, content));
        Ok(())
    }
}

impl Law<Register> for OneHistory {
    fn name(&self) -> &'static str {
        "one history"
    }

    fn check(&mut self, nodes: &[(NodeId, &Register)]) -> Result<(), Violation> {
        for (_, core) in nodes.iter().filter(|(_, core)| core.roles().epoch() > 0) {
            for (key, work) in core.proposer.works() {
                if let Some(attempt) = &work.attempt {
                    self.epochs.insert((key.clone(), attempt.ballot), core.roles().epoch());
                }
            }
        }
        nodes.iter().try_for_each(|(node, core)| self.count(*node, core))
    }
}

fn broken(detail: String) -> Violation {
    Violation { law: "one history", detail }
}

/// A durable promise or acceptance is never taken back, even over crashes, unless its register is deleted and removed.
/// Then only higher ballots come: what was deleted does not come back.
/// For a node that lost its disk the check starts again, because that node never counts again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PromisesKept {
    seen: BTreeMap<(NodeId, Key), (Ballot, Ballot)>,
    /// The ballots of the tombstones that were removed.
    removed: BTreeMap<(NodeId, Key), Ballot>,
    /// The epoch in which each node became an acceptor.
    since: BTreeMap<NodeId, u64>,
}

impl Law<Register> for PromisesKept {
    fn name(&self) -> &'static str {
        "promises kept"
    }

    fn check(&mut self, nodes: &[(NodeId, &Register)]) -> Result<(), Violation> {
        for (node, core) in nodes.iter().filter(|(node, core)| core.base.chassis.is_member(*node)) {
            // A node that leaves and becomes an acceptor anew begins with nothing.
            let since = core.roles().since(*node);
            if self.since.insert(*node, since).unwrap_or_default() != since || core.base.state().is_erasing {
                self.seen.retain(|(of, _), _| of != node);
                self.removed.retain(|(of, _), _| of != node);
            }
            if core.base.state().is_erasing {
                continue;
            }
            for (key, slot) in core.acceptor.table.iter() {
                if !core.base.chassis.outbox.is_durable(slot.ticket) {
                    continue;
                }
                let now = (slot.promised, slot.accepted);
                let removed = self.removed.get(&(*node, key.clone()));
                if removed.is_some_and(|removed| now.0 <= *removed || now.1 <= *removed && now.1 != Ballot::ZERO) {
                    let detail = format!("{now:?} is back on node {node} after the removal at {removed:?}");
                    return Err(Violation { law: "promises kept", detail });
                }
                let before = self.seen.insert((*node, key.clone()), now).unwrap_or_default();
                let is_removed = before.1 != Ballot::ZERO && core.base.state().removed >= before.1.round;
                if (now.0 < before.0 || now.1 < before.1) && !is_removed {
                    let detail = format!("node {node} went from promised and accepted {before:?} to {now:?}");
                    return Err(Violation { law: "promises kept", detail });
                }
            }
            let table = &core.acceptor.table;
            for ((_, key), before) in self.seen.iter().filter(|((of, _), _)| of == node) {
                if table.get(key).is_none() && core.base.state().removed < before.1.round.max(1) {
                    let detail = format!("node {node} lost what it promised for {key:?}: {before:?}");
                    return Err(Violation { law: "promises kept", detail });
                }
            }
            // A removal that is not durable may still be undone by a crash.
            let is_durable = core.base.chassis.outbox.is_durable(core.base.state_ticket());
            let is_gone = |of: &NodeId, key: &Key| is_durable && of == node && table.get(key).is_none();
            let gone = self.seen.iter().filter(|((of, key), _)| is_gone(of, key));
            self.removed.extend(gone.map(|(at, (_, accepted))| (at.clone(), *accepted)));
            self.seen.retain(|(of, key), _| !is_gone(of, key));
        }
        Ok(())
    }
}

/// A node begins a ballot only once, even over crashes, and proposes one content in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct BallotsOfTheirOwn {
    /// The highest ballot of each node, and the highest one of its earlier starts.
    used: BTreeMap<NodeId, (Ballot, Ballot)>,
    proposed: BTreeMap<(Key, Ballot), Content>,
}

impl Law<Register> for BallotsOfTheirOwn {
    fn name(&self) -> &'static str {
        "ballots of their own"
    }

    fn check(&mut self, nodes: &[(NodeId, &Register)]) -> Result<(), Violation> {
        let broken = |detail| Err(Violation { law: "ballots of their own", detail });
        for (node, core) in nodes {
            let (highest, earlier) = self.used.entry(*node).or_default();
            for (key, work) in core.proposer.works() {
                let Some(attempt) = &work.attempt else { continue };
                if attempt.ballot <= *earlier {
                    return broken(format!("node {node} begins ballot {} after a restart", attempt.ballot));
                }
                // A ballot that was not durable was heard of by nobody.
                if core.base.chassis.outbox.is_durable(core.base.ballot_ticket(attempt.ballot)) {
                    *highest = (*highest).max(attempt.ballot);
                }
                if let Phase::Accepting { content, .. } = &attempt.phase {
                    let first = self.proposed.entry((key.clone(), attempt.ballot)).or_insert_with(|| content.clone());
                    if first != content {
                        return broken(format!("ballot {} proposes {first:?} and {content:?}", attempt.ballot));
                    }
                }
            }
        }
        for (node, (highest, earlier)) in &mut self.used {
            if !nodes.iter().any(|(running, _)| running == node) {
                *earlier = (*earlier).max(*highest);
            }
        }
        Ok(())
    }
}
