//! The values of keys that are no string.

use std::convert::identity;

mod list;
mod members;
mod pair;
mod sorted_set;
mod stream;

pub use list::List;
pub use members::{Members, Pair};
pub use sorted_set::SortedSet;
pub(super) use stream::Parts;
pub use stream::{Consumer, Group, Pending, Stream, StreamEntry, StreamId};

/// A value of several items.
#[derive(Debug, Clone)]
pub enum Value {
    /// Items in an order that clients decide.
    List(List),
    /// Fields with values.
    Hash(Hash),
    /// Different members.
    Set(Set),
    /// Members by score.
    SortedSet(SortedSet),
    /// Entries by id, and the groups that read them.
    Stream(Box<Stream>),
}

/// Fields with values.
#[derive(Debug, Clone, Default)]
pub struct Hash(pub Members);

/// Different members, without data.
#[derive(Debug, Clone, Default)]
pub struct Set(pub Members);

/// One kind of [`Value`].
pub trait Collection: Default {
    /// Returns the collection if the value is of this kind.
    fn of(value: &Value) -> Option<&Self>;
    /// Returns the collection if the value is of this kind.
    fn of_mut(value: &mut Value) -> Option<&mut Self>;
    /// The value.
    fn wrap(self) -> Value;
}

macro_rules! collection {
    ($kind:ident, $wrap:expr) => {
        impl Collection for $kind {
            fn of(value: &Value) -> Option<&Self> {
                if let Value::$kind(collection) = value { Some(collection) } else { None }
            }

            fn of_mut(value: &mut Value) -> Option<&mut Self> {
                if let Value::$kind(collection) = value { Some(collection) } else { None }
            }

            fn wrap(self) -> Value {
                Value::$kind($wrap(self))
            }
        }
    };
}

collection!(List, identity);
collection!(Hash, identity);
collection!(Set, identity);
collection!(SortedSet, identity);
collection!(Stream, Box::new);

impl Value {
    /// Returns true if there is no item. A store holds no such value, but a stream stays without entries.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::List(list) => list.is_empty(),
            Self::Hash(Hash(members)) | Self::Set(Set(members)) => members.is_empty(),
            Self::SortedSet(members) => members.is_empty(),
            Self::Stream(_) => false,
        }
    }

    /// Number of items.
    pub fn len(&self) -> usize {
        match self {
            Self::List(list) => list.len(),
            Self::Hash(Hash(members)) | Self::Set(Set(members)) => members.len(),
            Self::SortedSet(members) => members.len(),
            Self::Stream(stream) => stream.len(),
        }
    }

    /// Bytes of all items.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::List(list) => list.bytes(),
            Self::Hash(Hash(members)) | Self::Set(Set(members)) => members.bytes(),
            Self::SortedSet(members) => members.bytes(),
            Self::Stream(stream) => stream.bytes(),
        }
    }

    /// A number that is equal for equal values, on every platform.
    pub(super) fn digest(&self) -> u64 {
        let (kind, content) = match self {
            Self::List(list) => (1, list.digest()),
            Self::Hash(Hash(members)) => (2, members.digest()),
            Self::Set(Set(members)) => (3, members.digest()),
            Self::SortedSet(members) => (4, members.digest()),
            Self::Stream(stream) => (5, stream.digest()),
        };
        super::digest::mix(content, kind)
    }

    /// A number that changes when those who wait for the value have to look again.
    pub(super) fn news(&self) -> u64 {
        match self {
            Self::Stream(stream) => stream.news(),
            other => other.digest(),
        }
    }
}
