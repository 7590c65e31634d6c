//! Messages as they travel: a small section, and keys and values as raw sections.

use bytes::Bytes;
use quorate_protocol::{Wire, WireError};
use serde::{Deserialize, Serialize};

use super::content::{Content, PAST_MAX, Past};
use super::message::{
    Accept, Accepted, AgeRaised, List, Listed, Nack, Prepare, Promise, Query, RaiseAge, Removal, Remove, Report,
    RequireAges,
};
use super::{Message, PROPOSERS_MAX, RolesInForce, System, Version};
use crate::Ballot;

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
        system: System,
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
        system: System,
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
        system: System,
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
        system: System,
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
        system: System,
    },
    /// See [`Message::Behind`].
    Behind {
        /// The sender's roles.
        system: System,
    },
    /// See [`Message::InForce`]. The roles are a raw section.
    InForce {
        /// Checksum of the roles with which the group was founded.
        founding: u32,
    },
    /// See [`Message::Probe`].
    Probe {
        /// The sender's roles.
        system: System,
    },
    /// See [`Message::Ready`].
    Ready {
        /// The sender's roles.
        system: System,
    },
    /// See [`List`]. The key is a raw section.
    List {
        /// The sender's roles.
        system: System,
    },
    /// See [`Listed`]. Two raw sections: the key of the request, and the keys one behind the other.
    Listed {
        /// The sender's roles.
        system: System,
        /// The lengths of the keys.
        lengths: Vec<u16>,
        /// True if there are no further keys.
        is_end: bool,
        /// The highest round of a removed register.
        removed: u64,
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
                let deleted = deleted.iter().map(|(key, ballot)| (length(key), *ballot)).collect();
                Small::Remove { system: *system, removal: *removal, deleted }
            }
            Self::Removed { removal } => Small::Removed(*removal),
            Self::OtherSystem { system } => Small::OtherSystem { system: *system },
            Self::Behind { system } => Small::Behind { system: *system },
            Self::InForce { founding, roles } => {
                raw.push(roles.encode());
                Small::InForce { founding: *founding }
            }
            Self::Probe { system } => Small::Probe { system: *system },
            Self::Ready { system } => Small::Ready { system: *system },
            Self::List(List { system, after }) => {
                raw.push(after.clone());
                Small::List { system: *system }
            }
            Self::Listed(Listed { system, after, keys, is_end, removed }) => {
                raw.extend([after.clone(), keys.iter().flatten().copied().collect()]);
                let lengths = keys.iter().map(length).collect();
                Small::Listed { system: *system, lengths, is_end: *is_end, removed: *removed }
            }
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
            let (lengths, ballots): (Vec<u16>, Vec<Ballot>) = deleted.into_iter().unzip();
            let keys = split_keys(next(raw)?, lengths)?;
            Message::Remove(Remove { system, removal, deleted: keys.into_iter().zip(ballots).collect() })
        }
        Small::Removed(removal) => Message::Removed { removal },
        Small::OtherSystem { system } => Message::OtherSystem { system },
        Small::Behind { system } => Message::Behind { system },
        Small::InForce { founding } => {
            let roles = RolesInForce::decode(&next(raw)?).map_err(|_| WireError::Malformed("roles"))?;
            Message::InForce { founding, roles }
        }
        Small::Probe { system } => Message::Probe { system },
        Small::Ready { system } => Message::Ready { system },
        Small::List { system } => Message::List(List { system, after: next(raw)? }),
        Small::Listed { system, lengths, is_end, removed } => {
            let (after, keys) = (next(raw)?, split_keys(next(raw)?, lengths)?);
            Message::Listed(Listed { system, after, keys, is_end, removed })
        }
    })
}

/// Takes keys apart that stand one behind the other.
fn split_keys(mut keys: Bytes, lengths: Vec<u16>) -> Result<Vec<Bytes>, WireError> {
    let mut split = |length: u16| (usize::from(length) <= keys.len()).then(|| keys.split_to(length.into()));
    let all: Option<Vec<Bytes>> = lengths.into_iter().map(&mut split).collect();
    all.filter(|_| keys.is_empty()).ok_or(WireError::Malformed("length of keys"))
}

fn length(key: &Bytes) -> u16 {
    u16::try_from(key.len()).expect("keys are bounded")
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
