//! What nodes say to each other.
//!
//! | Message | from | to | answered by |
//! | --- | --- | --- | --- |
//! | [`Prepare`] | coordinator | participant | [`Message::Vote`], once the vote is durable; [`Message::Unready`] |
//! | [`Message::Vote`] | participant | coordinator | [`Decide`], when it is known; else silence |
//! | [`Decide`] | coordinator | participant | [`Message::Acknowledge`] of a commit, once it is durable; silence of an abort |
//! | [`Message::Acknowledge`] | participant | coordinator | nothing |
//! | [`Message::Inquire`] | participant in doubt | coordinator, then all participants | [`Decide`] or [`Message::Presume`] of the coordinator, [`Message::Outcome`] of a participant that knows; else silence |
//! | [`CommitOnePhase`] | coordinator | the only participant | [`Message::Outcome`], once it is durable; [`Message::Unready`] |
//! | [`Message::InquireFinished`] | participant | coordinator | [`Finished`] |
//! | [`Message::Unready`] | participant | coordinator | nothing |
//!
//! ```text
//!                  Prepare              Vote(yes)                Decide(commit)          Acknowledge
//!  coordinator ──────────► participant ──────────► coordinator ────────────► participant ──────────► coordinator
//!                          (write, 1)              (write, 2)                (write, 3)              (End, no sync)
//! ```
//!
//! An abort needs no write and no acknowledgement: who asks for a transaction that its coordinator does not know is told that it
//! is aborted (presumed abort: Mohan, Lindsay, Obermarck, TODS 1986, §4.1).

use std::collections::BTreeSet;

use bytes::Bytes;
use quorate_protocol::{NodeId, Wire, WireError};
use serde::{Deserialize, Serialize};

use crate::{Decision, Epoch, TransactionId, TransactionNumber, Unready, Vote};

/// What nodes of a group say to each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// See [`Prepare`].
    Prepare(Prepare),
    /// A participant's vote. Yes is durable.
    Vote {
        /// Which transaction.
        transaction: TransactionId,
        /// The vote.
        vote: Vote,
    },
    /// See [`Decide`].
    Decide(Decide),
    /// A participant has committed, durably.
    Acknowledge {
        /// Which transaction.
        transaction: TransactionId,
        /// How it came to that.
        how: Acknowledgement,
    },
    /// Asks what was decided. Sent by participants that voted yes and hear nothing.
    Inquire {
        /// Which transaction.
        transaction: TransactionId,
    },
    /// The coordinator knows nothing of a transaction, so it is aborted for who is in doubt about it. Who knows it to be
    /// committed has asked before that and pays no heed.
    Presume {
        /// Who answers, and in which epoch.
        stamp: Stamp,
        /// Which transaction.
        transaction: TransactionId,
    },
    /// What a participant durably knows to be decided: told to other participants that ask, and to the coordinator that left
    /// the decision to it.
    Outcome {
        /// Which transaction.
        transaction: TransactionId,
        /// The decision.
        decision: Decision,
    },
    /// See [`CommitOnePhase`].
    CommitOnePhase(CommitOnePhase),
    /// Asks how far the coordinator's transactions are finished, so that outcomes need not be kept.
    InquireFinished,
    /// See [`Finished`].
    Finished(Finished),
    /// A participant does not take a branch now. It has not voted.
    Unready {
        /// Which transaction.
        transaction: TransactionId,
        /// Why.
        why: Unready,
    },
}

impl Message {
    /// What only a coordinator sends: about which of its transactions, and its stamp.
    pub(crate) fn of_coordinator(&self) -> Option<(Option<TransactionId>, Stamp)> {
        match self {
            Self::Prepare(prepare) => Some((Some(prepare.transaction), prepare.stamp)),
            Self::Decide(decide) => Some((Some(decide.transaction), decide.stamp)),
            Self::Presume { stamp, transaction } => Some((Some(*transaction), *stamp)),
            Self::CommitOnePhase(request) => Some((Some(request.transaction), request.stamp)),
            Self::Finished(finished) => Some((None, finished.stamp)),
            Self::Vote { .. }
            | Self::Acknowledge { .. }
            | Self::Inquire { .. }
            | Self::Outcome { .. }
            | Self::Unready { .. }
            | Self::InquireFinished => None,
        }
    }
}

/// What every message of a coordinator bears. One of an older epoch than the receiver knows is not heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Stamp {
    /// The coordinator's present epoch.
    pub epoch: Epoch,
    /// All its transactions below are finished and durably forgotten: nobody will be asked about them again.
    pub finished_below: TransactionNumber,
}

/// Asks a participant to prepare its branch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Prepare {
    /// Who asks.
    pub stamp: Stamp,
    /// Which transaction.
    pub transaction: TransactionId,
    /// Everybody who takes part, so that they can ask each other.
    pub participants: BTreeSet<NodeId>,
    /// What to do.
    pub payload: Bytes,
}

/// Tells what the coordinator decided. A commit is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Decide {
    /// Who decided.
    pub stamp: Stamp,
    /// Which transaction.
    pub transaction: TransactionId,
    /// The decision.
    pub decision: Decision,
}

/// Leaves the decision to the only participant. That it was left is durable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CommitOnePhase {
    /// Who asks.
    pub stamp: Stamp,
    /// Which transaction.
    pub transaction: TransactionId,
    /// What to do.
    pub payload: Bytes,
}

/// Tells which of the coordinator's transactions are finished. Transactions end in another order than they begin: one that takes
/// long keeps nobody from forgetting those behind it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Finished {
    /// Who tells it.
    pub stamp: Stamp,
    /// All its transactions below are finished and durably forgotten, except those named next.
    pub until: TransactionNumber,
    /// The transactions below `until` that are not finished. At most as many as it coordinates at a time.
    pub unfinished: BTreeSet<TransactionNumber>,
}

/// How a participant came to acknowledge a commit. All of them let the coordinator forget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Acknowledgement {
    /// It has just committed.
    Applied,
    /// It had committed before.
    AlreadyDone,
    /// It has no record of the transaction.
    Forgotten,
}

/// The small section of a message. Variants are only appended, and a variant's fields never change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Small {
    /// The payload is the raw section.
    Prepare {
        /// Who asks.
        stamp: Stamp,
        /// Which transaction.
        transaction: TransactionId,
        /// Everybody who takes part.
        participants: BTreeSet<NodeId>,
    },
    /// All of it.
    Vote {
        /// Which transaction.
        transaction: TransactionId,
        /// The vote.
        vote: Vote,
    },
    /// All of it.
    Decide(Decide),
    /// All of it.
    Acknowledge {
        /// Which transaction.
        transaction: TransactionId,
        /// How it came to that.
        how: Acknowledgement,
    },
    /// All of it.
    Inquire {
        /// Which transaction.
        transaction: TransactionId,
    },
    /// All of it.
    Presume {
        /// Who answers.
        stamp: Stamp,
        /// Which transaction.
        transaction: TransactionId,
    },
    /// All of it.
    Outcome {
        /// Which transaction.
        transaction: TransactionId,
        /// The decision.
        decision: Decision,
    },
    /// The payload is the raw section.
    CommitOnePhase {
        /// Who asks.
        stamp: Stamp,
        /// Which transaction.
        transaction: TransactionId,
    },
    /// All of it.
    InquireFinished,
    /// All of it.
    Finished(Finished),
    /// All of it.
    Unready {
        /// Which transaction.
        transaction: TransactionId,
        /// Why.
        why: Unready,
    },
}

impl Wire for Message {
    type Small = Small;

    fn to_parts(&self, raw: &mut Vec<Bytes>) -> Small {
        match self {
            Self::Prepare(Prepare { stamp, transaction, participants, payload }) => {
                raw.push(payload.clone());
                Small::Prepare { stamp: *stamp, transaction: *transaction, participants: participants.clone() }
            }
            Self::Vote { transaction, vote } => Small::Vote { transaction: *transaction, vote: *vote },
            Self::Decide(decide) => Small::Decide(*decide),
            Self::Acknowledge { transaction, how } => Small::Acknowledge { transaction: *transaction, how: *how },
            Self::Inquire { transaction } => Small::Inquire { transaction: *transaction },
            Self::Presume { stamp, transaction } => Small::Presume { stamp: *stamp, transaction: *transaction },
            Self::Outcome { transaction, decision } => {
                Small::Outcome { transaction: *transaction, decision: *decision }
            }
            Self::CommitOnePhase(CommitOnePhase { stamp, transaction, payload }) => {
                raw.push(payload.clone());
                Small::CommitOnePhase { stamp: *stamp, transaction: *transaction }
            }
            Self::InquireFinished => Small::InquireFinished,
            Self::Finished(finished) => Small::Finished(finished.clone()),
            Self::Unready { transaction, why } => Small::Unready { transaction: *transaction, why: *why },
        }
    }

    fn from_parts(small: Small, raw: Vec<Bytes>) -> Result<Self, WireError> {
        match small {
            Small::Prepare { stamp, transaction, participants } => {
                let [payload] = raw.try_into().map_err(|_| WireError::Sections)?;
                Ok(Self::Prepare(Prepare { stamp, transaction, participants, payload }))
            }
            Small::CommitOnePhase { stamp, transaction } => {
                let [payload] = raw.try_into().map_err(|_| WireError::Sections)?;
                Ok(Self::CommitOnePhase(CommitOnePhase { stamp, transaction, payload }))
            }
            _ if !raw.is_empty() => Err(WireError::Sections),
            Small::Vote { transaction, vote } => Ok(Self::Vote { transaction, vote }),
            Small::Decide(decide) => Ok(Self::Decide(decide)),
            Small::Acknowledge { transaction, how } => Ok(Self::Acknowledge { transaction, how }),
            Small::Inquire { transaction } => Ok(Self::Inquire { transaction }),
            Small::Presume { stamp, transaction } => Ok(Self::Presume { stamp, transaction }),
            Small::Outcome { transaction, decision } => Ok(Self::Outcome { transaction, decision }),
            Small::InquireFinished => Ok(Self::InquireFinished),
            Small::Finished(finished) => Ok(Self::Finished(finished)),
            Small::Unready { transaction, why } => Ok(Self::Unready { transaction, why }),
        }
    }
}
