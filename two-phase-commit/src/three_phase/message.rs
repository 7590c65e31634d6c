//! Messages between the participants of a transaction.

use std::collections::BTreeSet;

use bytes::Bytes;
use quorate_protocol::{NodeId, Wire, WireError};
use serde::{Deserialize, Serialize};

use super::site::Attempt;
use crate::{Decision, TransactionId, TransactionNumber};

/// A message between participants.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// The coordinator asks for a vote.
    Prepare {
        /// The transaction.
        transaction: TransactionId,
        /// All participants.
        participants: BTreeSet<NodeId>,
        /// All transactions that the sender began below this number are over.
        finished_below: TransactionNumber,
        /// The work.
        payload: Bytes,
    },
    /// Any other message.
    Small(Small),
}

/// A message without a payload, and the small section of every message. Variants are only appended, and the fields of a
/// variant never change.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Small {
    /// See [`Message::Prepare`]; the payload is the raw section.
    Prepare {
        /// The transaction.
        transaction: TransactionId,
        /// All participants.
        participants: BTreeSet<NodeId>,
        /// All transactions that the sender began below this number are over.
        finished_below: TransactionNumber,
    },
    /// A vote, for the coordinator. A yes is durable, and so is a no.
    Vote {
        /// The transaction.
        transaction: TransactionId,
        /// True for yes.
        is_yes: bool,
    },
    /// The sender begins an attempt, and asks how far the receiver is.
    Elect {
        /// The transaction.
        transaction: TransactionId,
        /// The attempt.
        attempt: Attempt,
    },
    /// The answer to `Elect`. The sender takes no part in lower attempts from now on.
    State {
        /// The transaction.
        transaction: TransactionId,
        /// The attempt.
        attempt: Attempt,
        /// How far the sender is.
        position: Position,
    },
    /// The sender proposes a decision in its attempt.
    Propose {
        /// The transaction.
        transaction: TransactionId,
        /// The attempt.
        attempt: Attempt,
        /// The proposed decision.
        decision: Decision,
    },
    /// The sender has accepted what was proposed in this attempt.
    Accept {
        /// The transaction.
        transaction: TransactionId,
        /// The attempt.
        attempt: Attempt,
    },
    /// The transaction is decided.
    Decide {
        /// The transaction.
        transaction: TransactionId,
        /// The decision.
        decision: Decision,
        /// All transactions that the sender began below this number are over.
        finished_below: TransactionNumber,
    },
    /// The sender knows that it is committed, durably. For the coordinator.
    Known {
        /// The transaction.
        transaction: TransactionId,
    },
    /// The coordinator keeps the transaction no longer, and so it is aborted for a receiver that does not know its end.
    Presume {
        /// The transaction.
        transaction: TransactionId,
    },
}

/// How far a participant is that knows no decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Position {
    /// It voted yes.
    Ready,
    /// It accepted this decision in this attempt.
    Accepted(Decision, Attempt),
}

impl Message {
    /// The transaction of the message.
    pub fn transaction(&self) -> TransactionId {
        match self {
            Self::Prepare { transaction, .. }
            | Self::Small(
                Small::Prepare { transaction, .. }
                | Small::Vote { transaction, .. }
                | Small::Elect { transaction, .. }
                | Small::State { transaction, .. }
                | Small::Propose { transaction, .. }
                | Small::Accept { transaction, .. }
                | Small::Decide { transaction, .. }
                | Small::Known { transaction }
                | Small::Presume { transaction },
            ) => *transaction,
        }
    }

    /// True for what a participant says of itself while it does not know the decision.
    pub(super) fn is_answer(&self) -> bool {
        matches!(self, Self::Small(Small::Vote { .. } | Small::State { .. } | Small::Accept { .. }))
    }

    /// What the sender says of its own finished transactions.
    pub(super) fn finished_below(&self) -> Option<TransactionNumber> {
        match self {
            Self::Prepare { finished_below, .. } | Self::Small(Small::Decide { finished_below, .. }) => {
                Some(*finished_below)
            }
            Self::Small(_) => None,
        }
    }
}

impl Wire for Message {
    type Small = Small;

    fn to_parts(&self, raw: &mut Vec<Bytes>) -> Small {
        match self {
            Self::Prepare { transaction, participants, finished_below, payload } => {
                raw.push(payload.clone());
                let (transaction, finished_below) = (*transaction, *finished_below);
                Small::Prepare { transaction, participants: participants.clone(), finished_below }
            }
            Self::Small(small) => small.clone(),
        }
    }

    fn from_parts(small: Small, raw: Vec<Bytes>) -> Result<Self, WireError> {
        match small {
            Small::Prepare { transaction, participants, finished_below } => {
                let [payload] = raw.try_into().map_err(|_| WireError::Sections)?;
                Ok(Self::Prepare { transaction, participants, finished_below, payload })
            }
            small if raw.is_empty() => Ok(Self::Small(small)),
            _ => Err(WireError::Sections),
        }
    }
}
