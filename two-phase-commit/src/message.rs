//! Messages between the nodes of a group.
//!
//! | Message | from | to | answered by |
//! | --- | --- | --- | --- |
//! | [`Prepare`] | coordinator | participant | [`Message::Vote`], once the vote is durable; [`Message::Unready`] |
//! | [`Message::Vote`] | participant | coordinator | [`Decide`], once it is known; otherwise nothing |
//! | [`Decide`] | coordinator | participant | [`Message::Acknowledge`] of a commit, once it is durable; nothing for an abort |
//! | [`Message::Acknowledge`] | participant | coordinator | nothing |
//! | [`Message::Inquire`] | participant in doubt | coordinator, then all participants | [`Decide`] or [`Message::Presume`] from the coordinator, [`Message::Outcome`] from a participant that knows; otherwise nothing |
//! | [`CommitOnePhase`] | coordinator | the only participant | [`Message::Outcome`], once it is durable; [`Message::Unready`] |
//! | [`Message::InquireFinished`] | participant | coordinator | [`Finished`] |
//! | [`Message::Unready`] | participant | coordinator | nothing |
//! | [`Message::Noted`] | coordinator | participant that committed an aborted transaction | nothing |
//! | [`Message::Served`] | participant | node that served the coordinator before | nothing; the node asks the new one |
//!
//! ```text
//!                  Prepare              Vote(yes)                Decide(commit)          Acknowledge
//!  coordinator ──────────► participant ──────────► coordinator ────────────► participant ──────────► coordinator
//!                          (write, 1)              (write, 2)                (no sync)               (End, no sync)
//! ```
//!
//! Messages to a coordinator go to the node that serves it: the one that sent the newest [`Stamp`]. A message of a
//! coordinator counts by its coordinator and epoch, whichever node sends it.
//!
//! An abort needs no write and no acknowledgement: a node that asks for a transaction that its coordinator does not
//! know is told that it is aborted (presumed abort: Mohan, Lindsay, Obermarck, TODS 1986, §4.1).

use std::collections::BTreeSet;

use bytes::Bytes;
use quorate_protocol::{NodeId, Wire, WireError};
use serde::{Deserialize, Serialize};

use crate::{CoordinatorId, Decision, Epoch, TransactionId, TransactionNumber, Unready, Vote};

/// A message between nodes of a group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// See [`Prepare`].
    Prepare(Prepare),
    /// A participant's vote. A yes is durable.
    Vote {
        /// The transaction.
        transaction: TransactionId,
        /// The vote.
        vote: Vote,
    },
    /// See [`Decide`].
    Decide(Decide),
    /// A participant has committed durably.
    Acknowledge {
        /// The transaction.
        transaction: TransactionId,
        /// How the participant came to acknowledge it.
        how: Acknowledgement,
    },
    /// Asks for the decision. Participants send it that voted yes and hear nothing.
    Inquire {
        /// The transaction.
        transaction: TransactionId,
    },
    /// The coordinator does not know the transaction, so it is aborted for a participant in doubt. A participant that
    /// knows that it is committed sent its question before, and ignores this.
    Presume {
        /// Stamp of the coordinator.
        stamp: Stamp,
        /// The transaction.
        transaction: TransactionId,
    },
    /// A decision that a participant knows durably, for other participants that ask, and for the coordinator that left
    /// the decision to it.
    Outcome {
        /// The transaction.
        transaction: TransactionId,
        /// The decision.
        decision: Decision,
    },
    /// See [`CommitOnePhase`].
    CommitOnePhase(CommitOnePhase),
    /// Asks which transactions of the coordinator are finished, so that their outcomes need not be kept.
    InquireFinished {
        /// The coordinator.
        coordinator: CoordinatorId,
    },
    /// See [`Finished`].
    Finished(Finished),
    /// A participant does not accept a branch now. It has not voted.
    Unready {
        /// The transaction.
        transaction: TransactionId,
        /// The reason.
        why: Unready,
    },
    /// Answers a message of an older epoch: another node serves the coordinator now. This is hearsay, and the receiver
    /// only asks that node.
    Served {
        /// The coordinator.
        coordinator: CoordinatorId,
        /// Its newest epoch.
        epoch: Epoch,
        /// The node that serves it in this epoch.
        server: NodeId,
    },
    /// The coordinator has durably noted that a participant committed its branch of an aborted transaction.
    Noted {
        /// Stamp of the coordinator.
        stamp: Stamp,
        /// The transaction.
        transaction: TransactionId,
    },
}

impl Message {
    /// For messages that only a coordinator sends: the transaction, if there is one, and the stamp.
    pub(crate) fn of_coordinator(&self) -> Option<(Option<TransactionId>, Stamp)> {
        match self {
            Self::Prepare(prepare) => Some((Some(prepare.transaction), prepare.stamp)),
            Self::Decide(decide) => Some((Some(decide.transaction), decide.stamp)),
            Self::Presume { stamp, transaction } | Self::Noted { stamp, transaction } => {
                Some((Some(*transaction), *stamp))
            }
            Self::CommitOnePhase(request) => Some((Some(request.transaction), request.stamp)),
            Self::Finished(finished) => Some((None, finished.stamp)),
            Self::Vote { .. }
            | Self::Acknowledge { .. }
            | Self::Inquire { .. }
            | Self::Outcome { .. }
            | Self::Unready { .. }
            | Self::Served { .. }
            | Self::InquireFinished { .. } => None,
        }
    }
}

/// State of a coordinator, in every message that is sent for it. A receiver that knows a newer epoch ignores the
/// message. A newer epoch is taken over from whichever member sends it, and that member serves the coordinator from
/// then on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Stamp {
    /// The coordinator.
    pub coordinator: CoordinatorId,
    /// The coordinator's present epoch.
    pub epoch: Epoch,
    /// All its transactions below this number are finished and durably forgotten: no node will ask about them again.
    pub finished_below: TransactionNumber,
}

/// Asks a participant to prepare its branch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Prepare {
    /// Stamp of the coordinator.
    pub stamp: Stamp,
    /// The transaction.
    pub transaction: TransactionId,
    /// All participants, so that they can ask each other.
    pub participants: BTreeSet<NodeId>,
    /// The work of the branch.
    pub payload: Bytes,
}

/// Tells the coordinator's decision. A commit is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Decide {
    /// Stamp of the coordinator.
    pub stamp: Stamp,
    /// The transaction.
    pub transaction: TransactionId,
    /// The decision.
    pub decision: Decision,
}

/// Leaves the decision to the only participant. The delegation is durable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CommitOnePhase {
    /// Stamp of the coordinator.
    pub stamp: Stamp,
    /// The transaction.
    pub transaction: TransactionId,
    /// The work of the branch.
    pub payload: Bytes,
}

/// Tells which transactions of the coordinator are finished. Transactions do not end in the order in which they begin,
/// and with this message one long transaction does not prevent participants from forgetting later ones.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Finished {
    /// Stamp of the coordinator.
    pub stamp: Stamp,
    /// All its transactions below this number are finished and durably forgotten, except `unfinished`.
    pub until: TransactionNumber,
    /// The transactions below `until` that are not finished; at most as many as it coordinates at a time.
    pub unfinished: BTreeSet<TransactionNumber>,
}

/// How a participant came to acknowledge a decision. After each of them the coordinator may forget the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Acknowledgement {
    /// It has just committed.
    Applied,
    /// It had committed before.
    AlreadyDone,
    /// It has no record of the transaction.
    Forgotten,
    /// An operator, or somebody else, made it abort its branch before the decision came.
    HeuristicallyAborted,
    /// An operator, or somebody else, made it commit its branch before the decision came. Sent of an aborted
    /// transaction too, until the coordinator has noted it ([`Message::Noted`]).
    HeuristicallyCommitted,
    /// The branch is gone without a trace, so that nobody knows how it ended.
    Lost,
}

/// The small section of a message. Variants are only appended, and the fields of a variant never change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Small {
    /// See [`Message::Prepare`]; the payload is the raw section.
    Prepare {
        /// Stamp of the coordinator.
        stamp: Stamp,
        /// The transaction.
        transaction: TransactionId,
        /// All participants.
        participants: BTreeSet<NodeId>,
    },
    /// See [`Message::Vote`].
    Vote {
        /// The transaction.
        transaction: TransactionId,
        /// The vote.
        vote: Vote,
    },
    /// See [`Message::Decide`].
    Decide(Decide),
    /// See [`Message::Acknowledge`].
    Acknowledge {
        /// The transaction.
        transaction: TransactionId,
        /// How the participant came to acknowledge it.
        how: Acknowledgement,
    },
    /// See [`Message::Inquire`].
    Inquire {
        /// The transaction.
        transaction: TransactionId,
    },
    /// See [`Message::Presume`].
    Presume {
        /// Stamp of the coordinator.
        stamp: Stamp,
        /// The transaction.
        transaction: TransactionId,
    },
    /// See [`Message::Outcome`].
    Outcome {
        /// The transaction.
        transaction: TransactionId,
        /// The decision.
        decision: Decision,
    },
    /// See [`Message::CommitOnePhase`]; the payload is the raw section.
    CommitOnePhase {
        /// Stamp of the coordinator.
        stamp: Stamp,
        /// The transaction.
        transaction: TransactionId,
    },
    /// See [`Message::InquireFinished`].
    InquireFinished {
        /// The coordinator.
        coordinator: CoordinatorId,
    },
    /// See [`Message::Finished`].
    Finished(Finished),
    /// See [`Message::Unready`].
    Unready {
        /// The transaction.
        transaction: TransactionId,
        /// The reason.
        why: Unready,
    },
    /// See [`Message::Served`].
    Served {
        /// The coordinator.
        coordinator: CoordinatorId,
        /// Its newest epoch.
        epoch: Epoch,
        /// The node that serves it in this epoch.
        server: NodeId,
    },
    /// See [`Message::Noted`].
    Noted {
        /// Stamp of the coordinator.
        stamp: Stamp,
        /// The transaction.
        transaction: TransactionId,
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
            Self::InquireFinished { coordinator } => Small::InquireFinished { coordinator: *coordinator },
            Self::Finished(finished) => Small::Finished(finished.clone()),
            Self::Unready { transaction, why } => Small::Unready { transaction: *transaction, why: *why },
            Self::Served { coordinator, epoch, server } => {
                Small::Served { coordinator: *coordinator, epoch: *epoch, server: *server }
            }
            Self::Noted { stamp, transaction } => Small::Noted { stamp: *stamp, transaction: *transaction },
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
            Small::InquireFinished { coordinator } => Ok(Self::InquireFinished { coordinator }),
            Small::Finished(finished) => Ok(Self::Finished(finished)),
            Small::Unready { transaction, why } => Ok(Self::Unready { transaction, why }),
            Small::Served { coordinator, epoch, server } => Ok(Self::Served { coordinator, epoch, server }),
            Small::Noted { stamp, transaction } => Ok(Self::Noted { stamp, transaction }),
        }
    }
}
