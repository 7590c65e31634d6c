//! What nodes say to each other.
//!
//! | Message | from | to | answered by |
//! | --- | --- | --- | --- |
//! | [`Prepare`] | proposer | acceptor | [`Promise`] or [`Nack`], once durable; [`Chosen`] when it knows |
//! | [`Accept`] | proposer | acceptor | [`Accepted`] or [`Nack`], once durable; [`Chosen`] when it knows |
//! | [`Chosen`] | who knows | learner, or who asked | [`Message::Known`], once durable |
//! | [`Message::Announce`] | who knows | learner | [`Message::Known`], or [`Message::Inquire`] |
//! | [`Message::Inquire`] | who does not know | who may | [`Chosen`]; a proposer that does not know finds out |
//!
//! ```text
//!              Prepare          Accept                Chosen
//!  proposer ──────────► acceptor ──────► acceptor     ──────► learner
//!           ◄──────────          ◄──────              ◄──────
//!            Promise              Accepted             Known
//! ```
//!
//! Every message can be lost, repeated and late.

use bytes::Bytes;
use quorate_protocol::{ProposalId, Wire, WireError};
use serde::{Deserialize, Serialize};

use super::Proposal;
use crate::Ballot;

/// What nodes of a group say to each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// See [`Prepare`].
    Prepare(Prepare),
    /// See [`Promise`].
    Promise(Promise),
    /// See [`Accept`].
    Accept(Accept),
    /// See [`Accepted`].
    Accepted(Accepted),
    /// See [`Nack`].
    Nack(Nack),
    /// See [`Chosen`].
    Chosen(Chosen),
    /// The sender knows the chosen value, durably. Ask if you do not.
    Announce,
    /// The sender knows the chosen value, durably.
    Known,
    /// The sender does not know the chosen value.
    Inquire,
}

/// Phase 1a: asks not to accept anything below `ballot` any more, and what was accepted (Paxos Made Simple §2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Prepare {
    /// The sender's quorum system: see [`Config::system`](super::Config::system).
    pub system: u32,
    /// The sender's ballot.
    pub ballot: Ballot,
}

/// Phase 1b: nothing below `ballot` will be accepted here any more.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Promise {
    /// The ballot that was prepared.
    pub ballot: Ballot,
    /// What was accepted here last, and in which ballot.
    pub accepted: Option<(Ballot, Proposal)>,
}

/// Phase 2a: asks to accept a proposal (Paxos Made Simple §2.2).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Accept {
    /// The sender's quorum system: see [`Config::system`](super::Config::system).
    pub system: u32,
    /// The sender's ballot. All `Accept`s of a ballot bear one proposal.
    pub ballot: Ballot,
    /// What to accept.
    pub proposal: Proposal,
}

/// Phase 2b: the proposal of this ballot is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Accepted {
    /// The ballot.
    pub ballot: Ballot,
}

/// A ballot that comes too late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Nack {
    /// The ballot that was asked for.
    pub ballot: Ballot,
    /// The higher one that was promised.
    pub promised: Ballot,
}

/// The value is chosen (Paxos Made Simple §2.3).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Chosen {
    /// The sender's quorum system: see [`Config::system`](super::Config::system).
    pub system: u32,
    /// What is chosen, for ever.
    pub proposal: Proposal,
}

/// The small section of a message; values are raw sections. Variants are only appended, and a variant's fields never change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Small {
    /// All of it.
    Prepare(Prepare),
    /// Without the value.
    Promise {
        /// The ballot that was prepared.
        ballot: Ballot,
        /// In which ballot something was accepted, and whose proposal it is; the value is the raw section.
        accepted: Option<(Ballot, ProposalId)>,
    },
    /// Without the value.
    Accept {
        /// The sender's quorum system.
        system: u32,
        /// The sender's ballot.
        ballot: Ballot,
        /// Whose proposal it is.
        id: ProposalId,
    },
    /// All of it.
    Accepted(Accepted),
    /// All of it.
    Nack(Nack),
    /// Without the value.
    Chosen {
        /// The sender's quorum system.
        system: u32,
        /// Whose proposal it is.
        id: ProposalId,
    },
    /// All of it.
    Announce,
    /// All of it.
    Known,
    /// All of it.
    Inquire,
}

impl Wire for Message {
    type Small = Small;

    fn to_parts(&self, raw: &mut Vec<Bytes>) -> Small {
        match self {
            Self::Prepare(message) => Small::Prepare(*message),
            Self::Promise(message) => {
                raw.extend(message.accepted.iter().map(|(_, proposal)| proposal.value.clone()));
                let accepted = message.accepted.as_ref().map(|(ballot, proposal)| (*ballot, proposal.id));
                Small::Promise { ballot: message.ballot, accepted }
            }
            Self::Accept(message) => {
                raw.push(message.proposal.value.clone());
                Small::Accept { system: message.system, ballot: message.ballot, id: message.proposal.id }
            }
            Self::Accepted(message) => Small::Accepted(*message),
            Self::Nack(message) => Small::Nack(*message),
            Self::Chosen(message) => {
                raw.push(message.proposal.value.clone());
                Small::Chosen { system: message.system, id: message.proposal.id }
            }
            Self::Announce => Small::Announce,
            Self::Known => Small::Known,
            Self::Inquire => Small::Inquire,
        }
    }

    fn from_parts(small: Small, raw: Vec<Bytes>) -> Result<Self, WireError> {
        let one = |raw: Vec<Bytes>| <[Bytes; 1]>::try_from(raw).map_err(|_| WireError::Sections);
        match small {
            Small::Promise { ballot, accepted: Some((accepted, id)) } => {
                let [value] = one(raw)?;
                Ok(Self::Promise(Promise { ballot, accepted: Some((accepted, Proposal { id, value })) }))
            }
            Small::Accept { system, ballot, id } => {
                let [value] = one(raw)?;
                Ok(Self::Accept(Accept { system, ballot, proposal: Proposal { id, value } }))
            }
            Small::Chosen { system, id } => {
                let [value] = one(raw)?;
                Ok(Self::Chosen(Chosen { system, proposal: Proposal { id, value } }))
            }
            _ if !raw.is_empty() => Err(WireError::Sections),
            Small::Prepare(message) => Ok(Self::Prepare(message)),
            Small::Promise { ballot, accepted: None } => Ok(Self::Promise(Promise { ballot, accepted: None })),
            Small::Accepted(message) => Ok(Self::Accepted(message)),
            Small::Nack(message) => Ok(Self::Nack(message)),
            Small::Announce => Ok(Self::Announce),
            Small::Known => Ok(Self::Known),
            Small::Inquire => Ok(Self::Inquire),
        }
    }
}
