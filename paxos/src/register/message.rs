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
//! | [`Message::OtherSystem`] | a node with other roles | a node that sent it a message | nothing |
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
use quorate_protocol::{NodeId, Wire, WireError};
use serde::{Deserialize, Serialize};

use super::content::{Content, PAST_MAX, Past};
use super::{PROPOSERS_MAX, Version};
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
    /// The sender has these other roles: it ignores the receiver's messages.
    OtherSystem {
        /// See [`Config::system`](super::Config::system).
        system: u32,
    },
}

impl Message {
    /// The sender's roles, in messages that matter for safety.
    pub(crate) fn system(&self) -> Option<u32> {
        match self {
            Self::Prepare(Prepare { system, .. })
            | Self::Accept(Accept { system, .. })
            | Self::Query(Query { system, .. })
            | Self::RaiseAge(RaiseAge { system, .. })
            | Self::RequireAges(RequireAges { system, .. })
            | Self::Remove(Remove { system, .. })
            | Self::OtherSystem { system } => Some(*system),
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
    /// The sender's roles: see [`Config::system`](super::Config::system).
    pub system: u32,
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
    /// The sender's roles: see [`Config::system`](super::Config::system).
    pub system: u32,
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
    /// The sender's roles: see [`Config::system`](super::Config::system).
    pub system: u32,
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
    /// The sender's roles: see [`Config::system`](super::Config::system).
    pub system: u32,
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
    /// The sender's roles: see [`Config::system`](super::Config::system).
    pub system: u32,
    /// The removal.
    pub removal: Removal,
    /// The age of every proposer.
    pub ages: Vec<(NodeId, u64)>,
}

/// Asks an acceptor to remove registers if nothing has happened since they were deleted (CASPaxos §3.1, step 2d).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Remove {
    /// The sender's roles: see [`Config::system`](super::Config::system).
    pub system: u32,
    /// The removal.
    pub removal: Removal,
    /// The registers, each with the ballot in which every acceptor has accepted its tombstone.
    pub deleted: Vec<(Bytes, Ballot)>,
}

/// The part of a content in the small section. The value, if there is one, is a raw section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Version of the last change.
    pub version: Version,
    /// True if there is a value.
    pub has_value: bool,
    /// The last changes.
    pub past: Vec<Past>,
    /// The content's checksum.
    pub checksum: u32,
}

/// The small section of a message; keys and values are raw sections, in this order. Variants are only appended, and the
/// fields of a variant never change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Small {
    /// See [`Message::Prepare`].
    Prepare {
        /// The sender's roles.
        system: u32,
        /// The sender's age.
        age: u64,
        /// The sender's ballot.
        ballot: Ballot,
    },
    /// See [`Message::Promise`].
    Promise {
        /// The ballot that was prepared.
        ballot: Ballot,
        /// The highest round of a removed register.
        removed: u64,
        /// The accepted content, with its ballot.
        accepted: Option<(Ballot, Head)>,
    },
    /// See [`Message::Accept`].
    Accept {
        /// The sender's roles.
        system: u32,
        /// The sender's age.
        age: u64,
        /// The sender's ballot.
        ballot: Ballot,
        /// The sender's next ballot.
        next: Ballot,
        /// The content to accept.
        content: Head,
    },
    /// See [`Message::Accepted`].
    Accepted {
        /// The ballot.
        ballot: Ballot,
    },
    /// See [`Message::Nack`].
    Nack {
        /// The ballot of the request.
        ballot: Ballot,
        /// The promised ballot.
        promised: Ballot,
    },
    /// See [`Message::Query`].
    Query {
        /// The sender's roles.
        system: u32,
        /// The start of the sender.
        start: u64,
        /// Number of the query within this start.
        number: u64,
    },
    /// See [`Message::Report`].
    Report {
        /// The start of the node that sent the query.
        start: u64,
        /// Number of the query within that start.
        number: u64,
        /// The accepted content, with its ballot.
        accepted: Option<(Ballot, Head)>,
    },
    /// See [`Message::RaiseAge`].
    RaiseAge(RaiseAge),
    /// See [`Message::AgeRaised`].
    AgeRaised(AgeRaised),
    /// See [`Message::RequireAges`].
    RequireAges(RequireAges),
    /// See [`Message::AgesRequired`].
    AgesRequired(Removal),
    /// See [`Message::Remove`].
    Remove {
        /// The sender's roles.
        system: u32,
        /// The removal.
        removal: Removal,
        /// The keys with their lengths, one behind the other, are one raw section.
        deleted: Vec<(u16, Ballot)>,
    },
    /// See [`Message::Removed`].
    Removed(Removal),
    /// See [`Message::OtherSystem`].
    OtherSystem {
        /// The sender's roles.
        system: u32,
    },
}

impl Wire for Message {
    type Small = Small;

    fn to_parts(&self, raw: &mut Vec<Bytes>) -> Small {
        raw.extend(self.key().cloned());
        raw.extend(self.content().and_then(|content| content.value.clone()));
        match self {
            Self::Prepare(Prepare { system, age, ballot, .. }) => {
                Small::Prepare { system: *system, age: *age, ballot: *ballot }
            }
            Self::Promise(Promise { ballot, removed, accepted, .. }) => {
                Small::Promise { ballot: *ballot, removed: *removed, accepted: accepted.as_ref().map(head_in_ballot) }
            }
            Self::Accept(Accept { system, age, ballot, next, content, .. }) => {
                Small::Accept { system: *system, age: *age, ballot: *ballot, next: *next, content: head(content) }
            }
            Self::Accepted(Accepted { ballot, .. }) => Small::Accepted { ballot: *ballot },
            Self::Nack(Nack { ballot, promised, .. }) => Small::Nack { ballot: *ballot, promised: *promised },
            Self::Query(Query { system, start, number, .. }) => {
                Small::Query { system: *system, start: *start, number: *number }
            }
            Self::Report(Report { start, number, accepted, .. }) => {
                Small::Report { start: *start, number: *number, accepted: accepted.as_ref().map(head_in_ballot) }
            }
            Self::RaiseAge(message) => Small::RaiseAge(*message),
            Self::AgeRaised(message) => Small::AgeRaised(*message),
            Self::RequireAges(message) => Small::RequireAges(message.clone()),
            Self::AgesRequired { removal } => Small::AgesRequired(*removal),
            Self::Remove(Remove { system, removal, deleted }) => {
                raw.push(deleted.iter().flat_map(|(key, _)| key).copied().collect());
                let length = |key: &Bytes| u16::try_from(key.len()).expect("keys are bounded");
                let deleted = deleted.iter().map(|(key, ballot)| (length(key), *ballot)).collect();
                Small::Remove { system: *system, removal: *removal, deleted }
            }
            Self::Removed { removal } => Small::Removed(*removal),
            Self::OtherSystem { system } => Small::OtherSystem { system: *system },
        }
    }

    fn from_parts(small: Small, raw: Vec<Bytes>) -> Result<Self, WireError> {
        let mut raw = raw.into_iter();
        let message = of_small(small, &mut raw)?;
        if raw.next().is_some() { Err(WireError::Sections) } else { Ok(message) }
    }
}

/// The raw sections of a message, in order.
type Sections = std::vec::IntoIter<Bytes>;

fn of_small(small: Small, raw: &mut Sections) -> Result<Message, WireError> {
    Ok(match small {
        Small::Prepare { system, age, ballot } => Message::Prepare(Prepare { system, age, key: next(raw)?, ballot }),
        Small::Promise { ballot, removed, accepted } => {
            let key = next(raw)?;
            Message::Promise(Promise { key, ballot, removed, accepted: content_in_ballot(accepted, raw)? })
        }
        Small::Accept { system, age, ballot, next: next_ballot, content } => {
            let key = next(raw)?;
            let content = with_value(content, raw)?;
            Message::Accept(Accept { system, age, key, ballot, next: next_ballot, content })
        }
        Small::Accepted { ballot } => Message::Accepted(Accepted { key: next(raw)?, ballot }),
        Small::Nack { ballot, promised } => Message::Nack(Nack { key: next(raw)?, ballot, promised }),
        Small::Query { system, start, number } => Message::Query(Query { system, start, number, key: next(raw)? }),
        Small::Report { start, number, accepted } => {
            let key = next(raw)?;
            Message::Report(Report { start, number, key, accepted: content_in_ballot(accepted, raw)? })
        }
        Small::RaiseAge(message) => Message::RaiseAge(message),
        Small::AgeRaised(message) => Message::AgeRaised(message),
        Small::RequireAges(message) if message.ages.len() > PROPOSERS_MAX => {
            return Err(WireError::Malformed("number of ages"));
        }
        Small::RequireAges(message) => Message::RequireAges(message),
        Small::AgesRequired(removal) => Message::AgesRequired { removal },
        Small::Remove { system, removal, deleted } => {
            let mut keys = next(raw)?;
            let mut split = |(length, ballot): (u16, Ballot)| {
                let length = usize::from(length);
                if length > keys.len() { None } else { Some((keys.split_to(length), ballot)) }
            };
            let split: Option<Vec<_>> = deleted.into_iter().map(&mut split).collect();
            let deleted = split.filter(|_| keys.is_empty()).ok_or(WireError::Malformed("length of keys"))?;
            Message::Remove(Remove { system, removal, deleted })
        }
        Small::Removed(removal) => Message::Removed { removal },
        Small::OtherSystem { system } => Message::OtherSystem { system },
    })
}

fn next(raw: &mut Sections) -> Result<Bytes, WireError> {
    raw.next().ok_or(WireError::Sections)
}

fn with_value(head: Head, raw: &mut Sections) -> Result<Content, WireError> {
    if head.past.len() > PAST_MAX {
        return Err(WireError::Malformed("number of past changes"));
    }
    let value = if head.has_value { Some(next(raw)?) } else { None };
    Ok(Content { version: head.version, value, past: head.past, checksum: head.checksum })
}

fn content_in_ballot(
    accepted: Option<(Ballot, Head)>,
    raw: &mut Sections,
) -> Result<Option<(Ballot, Content)>, WireError> {
    accepted.map(|(ballot, head)| Ok((ballot, with_value(head, raw)?))).transpose()
}

fn head(content: &Content) -> Head {
    let Content { version, value, past, checksum } = content;
    Head { version: *version, has_value: value.is_some(), past: past.clone(), checksum: *checksum }
}

fn head_in_ballot((ballot, content): &(Ballot, Content)) -> (Ballot, Head) {
    (*ballot, head(content))
}
