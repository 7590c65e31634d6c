//! A transaction at one of its participants.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quorate_protocol::{NodeId, Ticket};
use serde::{Deserialize, Serialize};

use crate::Decision;

/// Number of an attempt to decide a transaction. Later attempts have higher numbers, and no two nodes make the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Attempt {
    /// Number of the round; the coordinator's first attempt is round 1.
    pub round: u64,
    /// The node that makes the attempt.
    pub node: NodeId,
}

impl Attempt {
    /// The coordinator's first attempt, which needs no election.
    pub(super) fn first(node: NodeId) -> Self {
        Self { round: 1, node }
    }
}

/// How far a transaction has come at a participant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Phase {
    /// The application has been asked for its vote. Nothing is written: after a crash the transaction is aborted here.
    Asked,
    /// The vote was yes.
    Ready,
    /// An attempt to decide like this was accepted.
    Accepted(Decision),
    /// It is decided.
    Decided(Decision),
}

/// A transaction at a participant.
#[derive(Clone, Debug)]
pub(super) struct Site {
    /// Key of its record.
    pub(super) key: u64,
    /// All participants; empty if this node only knows that the transaction was aborted before it was asked.
    pub(super) participants: BTreeSet<NodeId>,
    /// The work.
    pub(super) payload: Bytes,
    pub(super) phase: Phase,
    /// The highest attempt that this node has answered. It takes no part in lower ones.
    pub(super) elected: Attempt,
    /// The attempt in which the phase was last accepted; zero if none was.
    pub(super) attempted: Attempt,
    /// The attempt that this node makes itself.
    pub(super) leading: Leading,
    /// The open request to the application.
    pub(super) request: Option<Ticket>,
    /// At the coordinator, once it is decided: the participants that have not said that they know.
    pub(super) unaware: BTreeSet<NodeId>,
    /// Number of timeouts in a row, for the length of the next wait.
    pub(super) timeouts: u32,
}

/// What a node does for a transaction beyond taking part.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Leading {
    /// Nothing.
    No,
    /// The coordinator collects votes. These have voted yes.
    Voting(BTreeSet<NodeId>),
    /// The answers to the question how far each participant is.
    Electing(BTreeMap<NodeId, (Phase, Attempt)>),
    /// This decision is proposed, and these have accepted it.
    Proposing(Decision, BTreeSet<NodeId>),
}

impl Site {
    pub(super) fn new(key: u64, participants: BTreeSet<NodeId>, payload: Bytes) -> Self {
        Self {
            key,
            participants,
            payload,
            phase: Phase::Asked,
            elected: Attempt::default(),
            attempted: Attempt::default(),
            leading: Leading::No,
            request: None,
            unaware: BTreeSet::new(),
            timeouts: 0,
        }
    }

    /// The number of participants that decide together.
    pub(super) fn majority(&self) -> usize {
        self.participants.len() / 2 + 1
    }

    pub(super) fn is_decided(&self) -> bool {
        matches!(self.phase, Phase::Decided(_))
    }
}
