//! The state that must survive a crash beside the log.

use crate::replication::codec::{decode_state, encode_state};
use crate::replication::error::Ignored;
use crate::replication::log::FOUNDING_INDEX;
use crate::replication::log_core::{INDEX_MAX, TERM_MAX};
use crate::replication::{Election, LogCore};
use crate::{LogIndex, NodeId, Operation, Outbox, RecoverError, Recovery, Term, Ticket};

/// State that must survive a crash beside the log (Raft figure 2, "persistent state"). Each record is safe to adopt
/// alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct DurableState {
    /// The latest term seen. Never goes back.
    pub(crate) term: Term,
    /// The node that got this node's vote in `term`. Never changes within a term.
    pub(crate) voted_for: Option<NodeId>,
    /// Number of starts in which this node has asked a leader for a read index. It makes the numbers of its questions
    /// unique.
    pub(crate) starts: u32,
    /// The checksum of the group's first configuration. Each founder writes entry 1 itself, so the entry is compared. A
    /// joining node does not know it until it learns it from a leader. Never changes once it is known.
    pub(crate) founding: Option<u32>,
}

/// The durable state as it is now, and the write that makes it durable. Whoever changes it writes it
/// ([`Shared::persist_state`](crate::replication::shared::Shared::persist_state)).
#[derive(Clone, Debug)]
pub(crate) struct Durable {
    state: DurableState,
    ticket: Ticket,
}

impl Durable {
    /// Makes the state from its record. The founding is taken from the log as well, as long as the log has its first
    /// entry.
    pub(crate) fn recover<E: Election>(recovery: &Recovery) -> Result<Self, RecoverError> {
        let state = recovery.state.as_ref().map(|bytes| decode_state(bytes, E::CODE)).transpose();
        let mut state = state.map_err(RecoverError::State)?.unwrap_or_default();
        let snapshot = recovery.snapshot.as_ref().map(|newest| (newest.index, newest.term));
        let (snapshot_index, snapshot_term) = snapshot.unwrap_or_default();
        if state.term.max(snapshot_term) > TERM_MAX || recovery.last.max(snapshot_index) > INDEX_MAX {
            return Err(RecoverError::Inconsistent("a term or an index that no group reaches"));
        }
        let first = recovery.configurations.iter().find(|(index, _)| *index == FOUNDING_INDEX);
        let in_log = first.map(|(_, entry)| entry.header.checksum);
        if in_log.is_some() && state.founding.is_some_and(|recorded| Some(recorded) != in_log) {
            return Err(RecoverError::Inconsistent("the first entry is not the one that the group was founded with"));
        }
        state.founding = state.founding.or(in_log);
        Ok(Self { state, ticket: Ticket(0) })
    }

    pub(crate) fn state(&self) -> &DurableState {
        &self.state
    }

    /// Returns the current term.
    pub(crate) fn term(&self) -> Term {
        self.state.term
    }

    /// Returns the checksum of the group's first configuration, if it is known.
    pub(crate) fn founding(&self) -> Option<u32> {
        self.state.founding
    }

    /// Returns the write that makes the newest state durable.
    pub(crate) fn ticket(&self) -> Ticket {
        self.ticket
    }

    /// Enters a later term, in which this node has not voted yet.
    pub(crate) fn enter(&mut self, term: Term) {
        assert!(term > self.state.term, "a term never goes back");
        self.state.term = term;
        self.state.voted_for = None;
    }

    /// Votes for a node. Returns true if this node had not voted in this term.
    pub(crate) fn vote(&mut self, node: NodeId) -> bool {
        let is_first = self.state.voted_for.is_none();
        if is_first {
            self.state.voted_for = Some(node);
        }
        is_first
    }

    /// Returns true if this node's vote of this term is free, or was given to the candidate (Raft §5.2).
    pub(crate) fn may_vote_for(&self, candidate: NodeId) -> bool {
        self.state.voted_for.is_none_or(|node| node == candidate)
    }

    /// Checks that the sender's group was founded as this node's was, as far as both know it.
    pub(crate) fn check_founding(&self, founding: Option<u32>) -> Result<(), Ignored> {
        match (self.state.founding, founding) {
            (Some(own), Some(theirs)) if own != theirs => Err(Ignored::OtherFounding),
            _ => Ok(()),
        }
    }

    /// Notes the group's founding. Returns true if it was not known.
    pub(crate) fn note_founding(&mut self, founding: Option<u32>) -> bool {
        let is_news = self.state.founding.is_none() && founding.is_some();
        self.state.founding = self.state.founding.or(founding);
        is_news
    }

    /// Counts a start in which this node asks a leader for a read index.
    pub(crate) fn count_start(&mut self) {
        self.state.starts = self.state.starts.wrapping_add(1);
    }

    /// Makes the state durable, in one write behind the operation `before`.
    pub(crate) fn write<E: Election>(
        &mut self,
        before: Option<Operation>,
        commit_hint: LogIndex,
        outbox: &mut Outbox<LogCore<E>>,
    ) {
        let state = Operation::PutState { bytes: encode_state(&self.state, E::CODE), commit_hint };
        self.ticket = outbox.persist(before.into_iter().chain([state]));
    }
}
