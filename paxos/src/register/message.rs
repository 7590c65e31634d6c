//! Messages between the nodes of a group.
//!
//! | Message | from | to | answered by |
//! | --- | --- | --- | --- |
//! | [`Prepare`] | proposer | acceptor | [`Promise`] or [`Nack`], once durable |
//! | [`Accept`] | proposer | acceptor | [`Accepted`] or [`Nack`], once durable |
//! | [`Query`] | proposer that reads | acceptor | [`Report`], once durable |
//! | [`RaiseAge`] | a node that removes deleted registers | proposer | [`AgeRaised`], once durable |
//! | [`RequireAges`] | the same | acceptor | [`Message::AgesRequired`], once durable |
//! | [`Remove`] | the same | acceptor | [`Message::Removed`], once durable |
//! | [`Message::OtherSystem`] | a node of a group that was founded with other roles | a node that sent it a message | nothing |
//! | [`Message::Behind`] | a node that does not know the roles in force | a node that sent it a message | [`Message::InForce`] |
//! | [`Message::InForce`] | a node that knows newer roles | a node that sent it a message | nothing |
//! | [`Message::Probe`] | a node that changes the roles | a node that gets a role | [`Message::Ready`] |
//! | [`List`] | a node that changes the roles | acceptor | [`Listed`] |
//!
//! ```text
//!              Prepare          Accept            Accept (the next change: the promise is there)
//!  proposer ──────────► acceptor ──────► acceptor ──────►
//!           ◄──────────          ◄──────          ◄──────
//!            Promise              Accepted         Accepted
//! ```
//!
//! Every message can be lost, repeated or delayed.

use bytes::Bytes;
use quorate_protocol::NodeId;
use serde::{Deserialize, Serialize};

use super::content::Content;
pub use super::sections::{Head, Small};
use super::{RolesInForce, System};
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
    /// See [`Query`].
    Query(Query),
    /// See [`Report`].
    Report(Report),
    /// See [`RaiseAge`].
    RaiseAge(RaiseAge),
    /// See [`AgeRaised`].
    AgeRaised(AgeRaised),
    /// See [`RequireAges`].
    RequireAges(RequireAges),
    /// The acceptor ignores all messages of lower ages from now on.
    AgesRequired {
        /// The removal.
        removal: Removal,
    },
    /// See [`Remove`].
    Remove(Remove),
    /// The acceptor has removed what could be removed.
    Removed {
        /// The removal.
        removal: Removal,
    },
    /// The sender's group was founded with these other roles: it ignores the receiver's messages.
    OtherSystem {
        /// The sender's roles.
        system: System,
    },
    /// The sender knows only these roles, and got a message under newer ones.
    Behind {
        /// The sender's roles.
        system: System,
    },
    /// The roles in force, as the sender knows them.
    InForce {
        /// Checksum of the roles with which the group was founded.
        founding: u32,
        /// The roles.
        roles: RolesInForce,
    },
    /// Asks a node whether it knows these roles and can take another one.
    Probe {
        /// The sender's roles.
        system: System,
    },
    /// The sender is there, and knows these roles.
    Ready {
        /// The sender's roles.
        system: System,
    },
    /// See [`List`].
    List(List),
    /// See [`Listed`].
    Listed(Listed),
}

impl Message {
    /// The sender's roles, in messages that matter for safety.
    pub(crate) fn system(&self) -> Option<System> {
        match self {
            Self::Prepare(Prepare { system, .. })
            | Self::Accept(Accept { system, .. })
            | Self::Query(Query { system, .. })
            | Self::RaiseAge(RaiseAge { system, .. })
            | Self::RequireAges(RequireAges { system, .. })
            | Self::Remove(Remove { system, .. })
            | Self::OtherSystem { system }
            | Self::Behind { system }
            | Self::Probe { system }
            | Self::Ready { system }
            | Self::List(List { system, .. })
            | Self::Listed(Listed { system, .. }) => Some(*system),
            _ => None,
        }
    }

    /// The key of the register, if the message is about one.
    pub(crate) fn key(&self) -> Option<&Bytes> {
        match self {
            Self::Prepare(Prepare { key, .. })
            | Self::Promise(Promise { key, .. })
            | Self::Accept(Accept { key, .. })
            | Self::Accepted(Accepted { key, .. })
            | Self::Nack(Nack { key, .. })
            | Self::Query(Query { key, .. })
            | Self::Report(Report { key, .. }) => Some(key),
            _ => None,
        }
    }

    /// The content that the message carries.
    pub(crate) fn content(&self) -> Option<&Content> {
        match self {
            Self::Accept(Accept { content, .. }) => Some(content),
            Self::Promise(Promise { accepted, .. }) | Self::Report(Report { accepted, .. }) => {
                accepted.as_ref().map(|(_, content)| content)
            }
            _ => None,
        }
    }
}

/// Phase 1a: asks the acceptor to accept nothing below `ballot` for this register any more, and to report what it
/// accepted (CASPaxos §2.2).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Prepare {
    /// The sender's roles.
    pub system: System,
    /// The sender's age.
    pub age: u64,
    /// The register.
    pub key: Bytes,
    /// The sender's ballot.
    pub ballot: Ballot,
}

/// Phase 1b: the acceptor accepts nothing below `ballot` any more.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Promise {
    /// The register.
    pub key: Bytes,
    /// The ballot that was prepared.
    pub ballot: Ballot,
    /// The highest round in which a register was deleted whose traces the acceptor has removed.
    pub removed: u64,
    /// The content that the acceptor accepted last, with its ballot.
    pub accepted: Option<(Ballot, Content)>,
}

/// Phase 2a: asks to accept a content, and to promise the sender's next ballot (CASPaxos §2.2.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Accept {
    /// The sender's roles.
    pub system: System,
    /// The sender's age.
    pub age: u64,
    /// The register.
    pub key: Bytes,
    /// The sender's ballot. All `Accept`s of a ballot carry the same content.
    pub ballot: Ballot,
    /// The sender's next ballot, or the same one.
    pub next: Ballot,
    /// The content to accept.
    pub content: Content,
}

/// Phase 2b: the content of this ballot is accepted, and the next ballot is promised.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Accepted {
    /// The register.
    pub key: Bytes,
    /// The ballot.
    pub ballot: Ballot,
}

/// Refusal of a ballot that came too late.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Nack {
    /// The register.
    pub key: Bytes,
    /// The ballot of the request.
    pub ballot: Ballot,
    /// The higher ballot that the acceptor has promised.
    pub promised: Ballot,
}

/// Asks an acceptor what it has accepted, for a read. The acceptor promises nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Query {
    /// The sender's roles.
    pub system: System,
    /// The start of the sender, identified by the seed of its [`Config`](super::Config).
    pub start: u64,
    /// Number of the query within this start.
    pub number: u64,
    /// The register.
    pub key: Bytes,
}

/// The content that an acceptor had accepted when the query arrived.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Report {
    /// The start of the node that sent the query.
    pub start: u64,
    /// Number of the query within that start.
    pub number: u64,
    /// The register.
    pub key: Bytes,
    /// The content that the acceptor accepted last, with its ballot.
    pub accepted: Option<(Ballot, Content)>,
}

/// Names one removal of deleted registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Removal {
    /// The start of the node that removes, identified by the seed of its [`Config`](super::Config).
    pub start: u64,
    /// Number of the removal within this start.
    pub number: u64,
}

/// Asks a proposer for an age under which all its ballots are above a round (CASPaxos §3.1, step 2b).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RaiseAge {
    /// The sender's roles.
    pub system: System,
    /// The removal.
    pub removal: Removal,
    /// The round: the highest in which a register that is to be removed was deleted.
    pub round: u64,
}

/// The age of a proposer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AgeRaised {
    /// The removal.
    pub removal: Removal,
    /// The age.
    pub age: u64,
}

/// Asks an acceptor to ignore messages of lower ages for ever (CASPaxos §3.1, step 2c).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RequireAges {
    /// The sender's roles.
    pub system: System,
    /// The removal.
    pub removal: Removal,
    /// The age of every proposer.
    pub ages: Vec<(NodeId, u64)>,
}

/// Asks an acceptor to remove registers if nothing has happened since they were deleted (CASPaxos §3.1, step 2d).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Remove {
    /// The sender's roles.
    pub system: System,
    /// The removal.
    pub removal: Removal,
    /// The registers, each with the ballot in which every acceptor has accepted its tombstone.
    pub deleted: Vec<(Bytes, Ballot)>,
}

/// Asks an acceptor for the keys of its registers, from the first one behind `after` on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct List {
    /// The sender's roles.
    pub system: System,
    /// A key, or nothing to begin.
    pub after: Bytes,
}

/// The keys of an acceptor's registers behind `after`, in order. From now on the acceptor answers no message under
/// earlier roles.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Listed {
    /// The sender's roles.
    pub system: System,
    /// As in the request.
    pub after: Bytes,
    /// The keys.
    pub keys: Vec<Bytes>,
    /// True if there are no further keys.
    pub is_end: bool,
    /// The highest round in which a register was deleted whose traces the acceptor has removed.
    pub removed: u64,
}
