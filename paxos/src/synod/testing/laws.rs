//! Laws that hold across the nodes of a group.

use std::collections::{BTreeMap, BTreeSet};

use quorate_protocol::{Law, NodeId, Violation};

use crate::Ballot;
use crate::synod::{Proposal, Synod};

/// All laws.
pub fn laws() -> Vec<Box<dyn Law<Synod>>> {
    vec![Box::<OneChosen>::default(), Box::<PromisesKept>::default(), Box::<BallotsOfTheirOwn>::default()]
}

/// One proposal is chosen, whether or not any node knows it, and no other is ever learned (Paxos Made Simple §2.1).
///
/// The chosen proposal is computed from the acceptances of acceptors, step by step, over crashes and lost disks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct OneChosen {
    ballots: BTreeMap<Ballot, Votes>,
    /// The first proposal that a quorum had accepted durably.
    chosen: Option<(Ballot, Proposal)>,
    /// The first proposal that was learned.
    learned: Option<Proposal>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Votes {
    proposal: Proposal,
    accepted: BTreeSet<NodeId>,
    durable: BTreeSet<NodeId>,
}

impl OneChosen {
    /// The proposal that a quorum has durably accepted, with its first such ballot, whether or not any node knows it.
    pub fn chosen(&self) -> Option<&(Ballot, Proposal)> {
        self.chosen.as_ref()
    }

    fn count(&mut self, node: NodeId, core: &Synod) -> Result<(), Violation> {
        let Some(accepted) = core.acceptor.accepted() else { return Ok(()) };
        let ballot = accepted.ballot;
        let votes = self.ballots.entry(ballot).or_insert_with(|| Votes {
            proposal: accepted.proposal.clone(),
            accepted: BTreeSet::new(),
            durable: BTreeSet::new(),
        });
        if votes.proposal != accepted.proposal {
            let detail =
                format!("ballot {ballot} has {:?}, and {:?} on node {node}", votes.proposal, accepted.proposal);
            return Err(broken(detail));
        }
        votes.accepted.insert(node);
        if !core.acceptor.is_accepted_durable(&core.base) || !votes.durable.insert(node) {
            return Ok(());
        }
        if core.config().group().quorums().is_accept_quorum(|other| votes.durable.contains(&other)) {
            let (first, chosen) = self.chosen.get_or_insert_with(|| (ballot, votes.proposal.clone()));
            if *chosen != votes.proposal {
                let detail = format!("{chosen:?} is chosen in ballot {first}, and {:?} in {ballot}", votes.proposal);
                return Err(broken(detail));
            }
        }
        Ok(())
    }

    fn compare(&mut self, node: NodeId, core: &Synod) -> Result<(), Violation> {
        let Some(learned) = core.learner.chosen() else { return Ok(()) };
        if self.learned.as_ref() != Some(learned) {
            let quorums = core.config().group().quorums();
            let is_chosen = |votes: &Votes| {
                votes.proposal == *learned && quorums.is_accept_quorum(|other| votes.accepted.contains(&other))
            };
            if !self.ballots.values().any(is_chosen) {
                return Err(broken(format!("node {node} learned {learned:?}, which no quorum has accepted")));
            }
        }
        let first = self.learned.get_or_insert_with(|| learned.clone());
        let chosen = self.chosen.as_ref().map_or(&*first, |(_, chosen)| chosen);
        if first != learned || chosen != learned {
            return Err(broken(format!("node {node} learned {learned:?}, others {first:?}, and {chosen:?} is chosen")));
        }
        Ok(())
    }
}

impl Law<Synod> for OneChosen {
    fn name(&self) -> &'static str {
        "one chosen"
    }

    fn check(&mut self, nodes: &[(NodeId, &Synod)]) -> Result<(), Violation> {
        nodes.iter().try_for_each(|(node, core)| self.count(*node, core))?;
        nodes.iter().try_for_each(|(node, core)| self.compare(*node, core))
    }
}

fn broken(detail: String) -> Violation {
    Violation { law: "one chosen", detail }
}

/// A durable promise or acceptance is never taken back, even over crashes. For a node that lost its disk the check
/// starts again, because that node never counts again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PromisesKept {
    seen: BTreeMap<NodeId, (Ballot, Option<Ballot>)>,
}

impl Law<Synod> for PromisesKept {
    fn name(&self) -> &'static str {
        "promises kept"
    }

    fn check(&mut self, nodes: &[(NodeId, &Synod)]) -> Result<(), Violation> {
        for (node, core) in nodes.iter().filter(|(node, core)| core.base.chassis.is_member(*node)) {
            if !core.acceptor.is_durable(&core.base) {
                continue;
            }
            let now = (core.acceptor.promised(), core.acceptor.accepted().map(|accepted| accepted.ballot));
            let before = self.seen.insert(*node, now).unwrap_or_default();
            if now.0 < before.0 || now.1 < before.1 {
                let detail = format!("node {node} went from promised and accepted {before:?} to {now:?}");
                return Err(Violation { law: "promises kept", detail });
            }
        }
        Ok(())
    }
}

/// A node begins a ballot only once, even over crashes, and proposes one proposal in it (Paxos Made Simple §2.2).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct BallotsOfTheirOwn {
    /// The newest ballot of each node that others may know of, and whether the same start of the node still pursues it.
    heard: BTreeMap<NodeId, (Ballot, bool)>,
    proposed: BTreeMap<Ballot, Proposal>,
}

impl Law<Synod> for BallotsOfTheirOwn {
    fn name(&self) -> &'static str {
        "ballots of their own"
    }

    fn check(&mut self, nodes: &[(NodeId, &Synod)]) -> Result<(), Violation> {
        let broken = |detail| Err(Violation { law: "ballots of their own", detail });
        for (node, core) in nodes {
            let attempt = core.proposer.attempt().filter(|_| core.acceptor.is_durable(&core.base));
            let heard = self.heard.entry(*node).or_default();
            let Some(attempt) = attempt else { continue };
            if attempt.ballot() < heard.0 || attempt.ballot() == heard.0 && !heard.1 {
                return broken(format!("node {node} begins ballot {} after it was heard of", attempt.ballot()));
            }
            *heard = (attempt.ballot(), true);
            if let Some(proposal) = attempt.proposal() {
                let first = self.proposed.entry(attempt.ballot()).or_insert_with(|| proposal.clone());
                if first != proposal {
                    return broken(format!("ballot {} proposes {first:?} and {proposal:?}", attempt.ballot()));
                }
            }
        }
        for (node, heard) in &mut self.heard {
            let is_under_way = nodes.iter().any(|(other, core)| other == node && core.proposer.attempt().is_some());
            heard.1 &= is_under_way;
        }
        Ok(())
    }
}
