//! Messages between the nodes of a group.
//!
//! | Message | from | to | answered by |
//! | --- | --- | --- | --- |
//! | [`Prepare`] | proposer | acceptor | [`Promise`] or [`Nack`], once durable; [`Chosen`] when it knows |
//! | [`Accept`] | proposer | acceptor | [`Accepted`] or [`Nack`], once durable; [`Chosen`] when it knows |
//! | [`Query`] | proposer that reads | acceptor | [`Report`], once durable; [`Chosen`] when it knows |
//! | [`Chosen`] | a node that knows | learner, or the sender of a request | [`Message::Known`], once durable |
//! | [`Message::Announce`] | a node that knows | learner | [`Message::Known`], or [`Message::Inquire`] |
//! | [`Message::Inquire`] | a node that does not know | a node that may know | [`Chosen`]; a proposer that does not know finds out |
//! | [`Message::OtherSystem`] | a node with another quorum system | a node that sent it a message | nothing |
//!
//! ```text
//!              Prepare          Accept                Chosen
//!  proposer ──────────► acceptor ──────► acceptor     ──────► learner
//!           ◄──────────          ◄──────              ◄──────
//!            Promise              Accepted             Known
//! ```
//!
//! Every message can be lost, repeated or delayed.

use bytes::Bytes;
use quorate_protocol::{ProposalId, Wire, WireError};
use serde::{Deserialize, Serialize};

use super::Proposal;
use crate::Ballot;

/// A message between nodes of a group.
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
    /// The sender knows the chosen value durably. A receiver that does not know it asks.
    Announce,
    /// The sender knows the chosen value durably.
    Known,
    /// The sender does not know the chosen value.
    Inquire,
    /// See [`Query`].
    Query(Query),
    /// See [`Report`].
    Report(Report),
    /// The sender was founded with this other quorum system: it ignores the receiver's messages.
    OtherSystem {
        /// The sender's quorum system: see [`Config::system`](super::Config::system).
        system: u32,
    },
}

impl Message {
    /// The sender's quorum system, in messages that matter for safety.
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

    /// The proposal that the message carries.
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

/// Phase 1a: asks the acceptor to accept nothing below `ballot` any more, and to report what it accepted (Paxos Made
/// Simple §2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Prepare {
    /// The sender's quorum system: see [`Config::system`](super::Config::system).
    pub system: u32,
    /// The sender's ballot.
    pub ballot: Ballot,
}

/// Phase 1b: the acceptor accepts nothing below `ballot` any more.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Promise {
    /// The ballot that was prepared.
    pub ballot: Ballot,
    /// The proposal that the acceptor accepted last, with its ballot.
    pub accepted: Option<(Ballot, Proposal)>,
}

/// Phase 2a: asks to accept a proposal (Paxos Made Simple §2.2).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Accept {
    /// The sender's quorum system: see [`Config::system`](super::Config::system).
    pub system: u32,
    /// The sender's ballot. All `Accept`s of a ballot carry the same proposal.
    pub ballot: Ballot,
    /// The proposal to accept.
    pub proposal: Proposal,
}

/// Phase 2b: the proposal of this ballot is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Accepted {
    /// The ballot.
    pub ballot: Ballot,
}

/// Refusal of a ballot that came too late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Nack {
    /// The ballot of the request.
    pub ballot: Ballot,
    /// The higher ballot that the acceptor has promised.
    pub promised: Ballot,
}

/// The value is chosen (Paxos Made Simple §2.3).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Chosen {
    /// The sender's quorum system: see [`Config::system`](super::Config::system).
    pub system: u32,
    /// The chosen proposal.
    pub proposal: Proposal,
}

/// Asks an acceptor what it has accepted, for a read. The acceptor promises nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Query {
    /// The sender's quorum system: see [`Config::system`](super::Config::system).
    pub system: u32,
    /// The start of the sender, identified by the seed of its [`Config`](super::Config).
    pub start: u64,
    /// Number of the query within this start.
    pub number: u64,
}

/// The proposal that an acceptor had accepted when the query arrived.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Report {
    /// The start of the node that sent the query.
    pub start: u64,
    /// Number of the query within that start.
    pub number: u64,
    /// The proposal that the acceptor accepted last, with its ballot.
    pub accepted: Option<(Ballot, Proposal)>,
}

/// The part of a proposal in the small section. The value is the raw section.
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

/// The small section of a message; values are raw sections. Variants are only appended, and the fields of a variant
/// never change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Small {
    /// See [`Message::Prepare`].
    Prepare(Prepare),
    /// See [`Message::Promise`]; the value is the raw section.
    Promise {
        /// The ballot that was prepared.
        ballot: Ballot,
        /// The accepted proposal, with its ballot.
        accepted: Option<(Ballot, Name)>,
    },
    /// See [`Message::Accept`]; the value is the raw section.
    Accept {
        /// The sender's quorum system.
        system: u32,
        /// The sender's ballot.
        ballot: Ballot,
        /// The proposal to accept.
        name: Name,
    },
    /// See [`Message::Accepted`].
    Accepted(Accepted),
    /// See [`Message::Nack`].
    Nack(Nack),
    /// See [`Message::Chosen`]; the value is the raw section.
    Chosen {
        /// The sender's quorum system.
        system: u32,
        /// The chosen proposal.
        name: Name,
    },
    /// See [`Message::Announce`].
    Announce,
    /// See [`Message::Known`].
    Known,
    /// See [`Message::Inquire`].
    Inquire,
    /// See [`Message::Query`].
    Query(Query),
    /// See [`Message::Report`]; the value is the raw section.
    Report {
        /// The start of the node that sent the query.
        start: u64,
        /// Number of the query within that start.
        number: u64,
        /// The accepted proposal, with its ballot.
        accepted: Option<(Ballot, Name)>,
    },
    /// See [`Message::OtherSystem`].
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
