//! What nodes say to each other.
//!
//! | Message | from | to | answered by |
//! | --- | --- | --- | --- |
//! | [`Prepare`] | proposer | acceptor | [`Promise`] or [`Nack`], once durable; [`Chosen`] when it knows |
//! | [`Accept`] | proposer | acceptor | [`Accepted`] or [`Nack`], once durable; [`Chosen`] when it knows |
//! | [`Query`] | proposer that reads | acceptor | [`Report`], once durable; [`Chosen`] when it knows |
//! | [`Chosen`] | who knows | learner, or who asked | [`Message::Known`], once durable |
//! | [`Message::Announce`] | who knows | learner | [`Message::Known`], or [`Message::Inquire`] |
//! | [`Message::Inquire`] | who does not know | who may | [`Chosen`]; a proposer that does not know finds out |
//! | [`Message::OtherSystem`] | who has another quorum system | who sent it something | nothing |
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
    /// See [`Query`].
    Query(Query),
    /// See [`Report`].
    Report(Report),
    /// The sender was founded with another quorum system, this one: it takes nothing from the receiver.
    OtherSystem {
        /// The sender's quorum system: see [`Config::system`](super::Config::system).
        system: u32,
    },
}

impl Message {
    /// The sender's quorum system, in messages that safety hangs on.
    pub(crate) fn system(&self) -> Option<u32> {
        match self {
            Self::Prepare(Prepare { system, .. })
            | Self::Accept(Accept { system, .. })
            | Self::Chosen(Chosen { system, .. })
            | Self::Query(Query { system, .. })
            | Self::OtherSystem { system } => Some(*system),
            _ => None,
        }
    }

    /// The proposal that it bears.
    pub(crate) fn proposal(&self) -> Option<&Proposal> {
        match self {
            Self::Accept(Accept { proposal, .. }) | Self::Chosen(Chosen { proposal, .. }) => Some(proposal),
            Self::Promise(Promise { accepted, .. }) | Self::Report(Report { accepted, .. }) => {
                accepted.as_ref().map(|(_, proposal)| proposal)
            }
            _ => None,
        }
    }
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

/// Asks what was accepted, for a read. Nothing is promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Query {
    /// The sender's quorum system: see [`Config::system`](super::Config::system).
    pub system: u32,
    /// The start of the sender: the seed of its [`Config`](super::Config).
    pub start: u64,
    /// Which question of this start.
    pub number: u64,
}

/// What was accepted when the question came.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Report {
    /// The start of the asker.
    pub start: u64,
    /// Which question of that start.
    pub number: u64,
    /// What was accepted here last, and in which ballot.
    pub accepted: Option<(Ballot, Proposal)>,
}

/// What stands of a proposal in the small section; the value is the raw section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Name {
    /// The proposal's id.
    pub id: ProposalId,
    /// The value's checksum, as its proposer made it.
    pub checksum: u32,
}

impl Name {
    fn of(proposal: &Proposal) -> Self {
        Self { id: proposal.id, checksum: proposal.checksum }
    }

    fn with(self, value: Bytes) -> Proposal {
        Proposal { id: self.id, checksum: self.checksum, value }
    }
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
        /// What was accepted, and in which ballot.
        accepted: Option<(Ballot, Name)>,
    },
    /// Without the value.
    Accept {
        /// The sender's quorum system.
        system: u32,
        /// The sender's ballot.
        ballot: Ballot,
        /// What to accept.
        name: Name,
    },
    /// All of it.
    Accepted(Accepted),
    /// All of it.
    Nack(Nack),
    /// Without the value.
    Chosen {
        /// The sender's quorum system.
        system: u32,
        /// What is chosen.
        name: Name,
    },
    /// All of it.
    Announce,
    /// All of it.
    Known,
    /// All of it.
    Inquire,
    /// All of it.
    Query(Query),
    /// Without the value.
    Report {
        /// The start of the asker.
        start: u64,
        /// Which question of that start.
        number: u64,
        /// What was accepted, and in which ballot.
        accepted: Option<(Ballot, Name)>,
    },
    /// All of it.
    OtherSystem {
        /// The sender's quorum system.
        system: u32,
    },
}

impl Wire for Message {
    type Small = Small;

    fn to_parts(&self, raw: &mut Vec<Bytes>) -> Small {
        raw.extend(self.proposal().map(|proposal| proposal.value.clone()));
        match self {
            Self::Prepare(message) => Small::Prepare(*message),
            Self::Promise(message) => {
                Small::Promise { ballot: message.ballot, accepted: message.accepted.as_ref().map(name_in_ballot) }
            }
            Self::Accept(message) => {
                let name = Name::of(&message.proposal);
                Small::Accept { system: message.system, ballot: message.ballot, name }
            }
            Self::Accepted(message) => Small::Accepted(*message),
            Self::Nack(message) => Small::Nack(*message),
            Self::Chosen(message) => Small::Chosen { system: message.system, name: Name::of(&message.proposal) },
            Self::Announce => Small::Announce,
            Self::Known => Small::Known,
            Self::Inquire => Small::Inquire,
            Self::Query(message) => Small::Query(*message),
            Self::Report(Report { start, number, accepted }) => {
                Small::Report { start: *start, number: *number, accepted: accepted.as_ref().map(name_in_ballot) }
            }
            Self::OtherSystem { system } => Small::OtherSystem { system: *system },
        }
    }

    fn from_parts(small: Small, raw: Vec<Bytes>) -> Result<Self, WireError> {
        let one = |raw: Vec<Bytes>| <[Bytes; 1]>::try_from(raw).map_err(|_| WireError::Sections);
        match small {
            Small::Promise { ballot, accepted: Some((accepted, name)) } => {
                let [value] = one(raw)?;
                Ok(Self::Promise(Promise { ballot, accepted: Some((accepted, name.with(value))) }))
            }
            Small::Report { start, number, accepted: Some((accepted, name)) } => {
                let [value] = one(raw)?;
                Ok(Self::Report(Report { start, number, accepted: Some((accepted, name.with(value))) }))
            }
            Small::Accept { system, ballot, name } => {
                let [value] = one(raw)?;
                Ok(Self::Accept(Accept { system, ballot, proposal: name.with(value) }))
            }
            Small::Chosen { system, name } => {
                let [value] = one(raw)?;
                Ok(Self::Chosen(Chosen { system, proposal: name.with(value) }))
            }
            _ if !raw.is_empty() => Err(WireError::Sections),
            Small::Prepare(message) => Ok(Self::Prepare(message)),
            Small::Promise { ballot, accepted: None } => Ok(Self::Promise(Promise { ballot, accepted: None })),
            Small::Accepted(message) => Ok(Self::Accepted(message)),
            Small::Nack(message) => Ok(Self::Nack(message)),
            Small::Announce => Ok(Self::Announce),
            Small::Known => Ok(Self::Known),
            Small::Inquire => Ok(Self::Inquire),
            Small::Query(message) => Ok(Self::Query(message)),
            Small::Report { start, number, accepted: None } => {
                Ok(Self::Report(Report { start, number, accepted: None }))
            }
            Small::OtherSystem { system } => Ok(Self::OtherSystem { system }),
        }
    }
}

fn name_in_ballot(accepted: &(Ballot, Proposal)) -> (Ballot, Name) {
    (accepted.0, Name::of(&accepted.1))
}
