//! Laws that hold across the nodes of a group (Raft figure 3).

use std::collections::BTreeMap;

use crate::replication::codec::decode_state;
use crate::replication::{Election, LogCore};
use crate::{Entry, Law, LogIndex, NodeId, Role, Term, Violation};

/// Returns every law.
pub fn laws<E: Election>() -> Vec<Box<dyn Law<LogCore<E>>>> {
    vec![
        Box::<OneLeaderATerm>::default(),
        Box::<CommittedForever>::default(),
        Box::<LeaderCompleteness>::default(),
        Box::<MonotoneState>::default(),
    ]
}

/// Returns the term in a durable state record, and the node that got the vote in it; `None` if the bytes are not a
/// state record.
#[must_use]
pub fn durable_vote<E: Election>(state: &[u8]) -> Option<(Term, Option<NodeId>)> {
    decode_state(state, E::CODE).ok().map(|state| (state.term, state.voted_for))
}

/// At most one node leads in a term (Raft §5.2, "election safety").
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct OneLeaderATerm {
    leaders: BTreeMap<Term, NodeId>,
}

impl<E: Election> Law<LogCore<E>> for OneLeaderATerm {
    fn name(&self) -> &'static str {
        "one leader a term"
    }

    fn check(&mut self, nodes: &[(NodeId, &LogCore<E>)]) -> Result<(), Violation> {
        for (node, core) in nodes.iter().filter(|(_, core)| core.role.name() == Role::Leader) {
            let leader = *self.leaders.entry(core.shared.term()).or_insert(*node);
            if leader != *node {
                let detail = format!("{leader} and {node} both lead in term {}", core.shared.term());
                return Err(Violation { law: "one leader a term", detail });
            }
        }
        Ok(())
    }
}

/// A committed entry is the same on all nodes and for ever (Raft §5.4, "state machine safety"): logs match on their
/// committed prefixes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct CommittedForever {
    /// The entry that was first seen committed at each index, from 1 on.
    committed: Vec<(Term, Option<Entry>)>,
    /// The index up to which each node was checked.
    checked: BTreeMap<NodeId, LogIndex>,
}

impl<E: Election> Law<LogCore<E>> for CommittedForever {
    fn name(&self) -> &'static str {
        "committed for ever"
    }

    fn check(&mut self, nodes: &[(NodeId, &LogCore<E>)]) -> Result<(), Violation> {
        for (node, core) in nodes {
            // A node that restarted is checked again from its new commit index.
            let checked = self.checked.get(node).copied().unwrap_or_default().min(core.shared.commitment.index());
            let mut index = checked.max(core.shared.log.base().index).next();
            while index <= core.shared.commitment.index() {
                self.look_at(*node, core, index)?;
                index = index.next();
            }
            self.checked.insert(*node, core.shared.commitment.index());
        }
        Ok(())
    }
}

impl CommittedForever {
    /// Returns the term of the entry that was seen committed at each index, from 1 on. It is the largest possible term
    /// if a snapshot covers the entry, so that it is unknown.
    pub fn committed(&self) -> impl Iterator<Item = (LogIndex, Term)> + '_ {
        (1..).map(LogIndex).zip(self.committed.iter().map(|(term, _)| *term))
    }

    fn look_at<E: Election>(&mut self, node: NodeId, core: &LogCore<E>, index: LogIndex) -> Result<(), Violation> {
        let term = core.shared.log.term_at(index).unwrap_or_default();
        let entry = core.shared.log.read(index, index, usize::MAX).and_then(|mut entries| entries.pop());
        let entry = entry.map(|(_, _, entry)| entry);
        let position = usize::try_from(index.0 - 1).expect("a small log");
        if self.committed.len() <= position {
            // Entries that a snapshot covers are unknown, so they cannot be compared.
            self.committed.resize(position + 1, (Term(u64::MAX), None));
        }
        let known = &mut self.committed[position];
        if known.0 == Term(u64::MAX) {
            *known = (term, entry);
            return Ok(());
        }
        let is_same_entry = known.1.is_none() || entry.is_none() || known.1 == entry;
        if known.0 != term || !is_same_entry {
            let detail = format!("entry {index} of term {} is another on node {node}, of term {term}", known.0);
            return Err(Violation { law: "committed for ever", detail });
        }
        Ok(())
    }
}

/// A leader has every entry that was committed in earlier terms (Raft §5.4, "leader completeness").
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LeaderCompleteness {
    /// The highest index seen committed, its term, and the highest term in which that was seen.
    committed: Vec<(LogIndex, Term, Term)>,
    /// The term in which each node leads, and the number of the above entries that it was seen to have. It never loses
    /// one (Raft §5.3, "leader append-only").
    checked: BTreeMap<NodeId, (Term, usize)>,
}

impl<E: Election> Law<LogCore<E>> for LeaderCompleteness {
    fn name(&self) -> &'static str {
        "leader completeness"
    }

    fn check(&mut self, nodes: &[(NodeId, &LogCore<E>)]) -> Result<(), Violation> {
        for (_, core) in nodes {
            let newest = self.committed.last().map_or(LogIndex::ZERO, |(index, ..)| *index);
            if core.shared.commitment.index() > newest {
                let term = core.shared.log.term_at(core.shared.commitment.index()).unwrap_or_default();
                self.committed.push((core.shared.commitment.index(), term, core.shared.term()));
            }
        }
        let leaders = || nodes.iter().filter(|(_, core)| core.role.name() == Role::Leader);
        self.checked.retain(|node, _| leaders().any(|(leader, _)| leader == node));
        for (node, core) in leaders() {
            let known = self.checked.entry(*node).or_default();
            if known.0 != core.shared.term() {
                *known = (core.shared.term(), 0);
            }
            for (index, term, seen) in &self.committed[known.1..] {
                let is_there = *index <= core.shared.log.base().index || core.shared.log.term_at(*index) == Some(*term);
                if *seen <= core.shared.term() && !is_there {
                    let detail = format!("node {node} leads in term {} without entry {index}", core.shared.term());
                    return Err(Violation { law: "leader completeness", detail });
                }
            }
            known.1 = self.committed.len();
        }
        Ok(())
    }
}

/// Term, vote and commit index of a node never go back while it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct MonotoneState {
    seen: BTreeMap<NodeId, (Term, Option<NodeId>, LogIndex)>,
}

impl<E: Election> Law<LogCore<E>> for MonotoneState {
    fn name(&self) -> &'static str {
        "monotone state"
    }

    fn check(&mut self, nodes: &[(NodeId, &LogCore<E>)]) -> Result<(), Violation> {
        let gone: Vec<NodeId> =
            self.seen.keys().copied().filter(|node| nodes.iter().all(|(id, _)| id != node)).collect();
        // A node may forget state that was not durable when it stopped, because no output depended on it.
        for node in gone {
            self.seen.remove(&node);
        }
        for (node, core) in nodes {
            let now = (core.shared.term(), core.shared.durable.state().voted_for, core.shared.commitment.index());
            let before = self.seen.insert(*node, now).unwrap_or_default();
            let changed_vote = before.0 == now.0 && before.1.is_some() && before.1 != now.1;
            if now.0 < before.0
                || changed_vote
                || now.2 < before.2
                || core.shared.commitment.index() < core.shared.commitment.reported()
            {
                let detail = format!("node {node} went from term, vote and commit index {before:?} to {now:?}");
                return Err(Violation { law: "monotone state", detail });
            }
        }
        Ok(())
    }
}
