//! Ids and other numbers as small newtypes, so that one cannot be passed in place of another.

use std::fmt;

macro_rules! number {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
        #[cfg_attr(feature = "serde", serde(transparent))]
        pub struct $name(pub u64);

        impl $name {
            /// The next value.
            ///
            /// # Panics
            /// When the value is `u64::MAX`.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0.checked_add(1).expect("a u64 counter does not run out"))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<u64> for $name {
            fn from(value: u64) -> Self {
                Self(value)
            }
        }
    };
}

macro_rules! identity {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
        #[cfg_attr(feature = "serde", serde(transparent))]
        pub struct $name(pub u128);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:032x})"), self.0)
            }
        }
    };
}

number! {
    /// Id of a node in its cluster. The operator chooses it and never uses it again for a machine with other data.
    NodeId
}

number! {
    /// Id of a group of replicas. Every frame and every stream of the log bears it.
    GroupId
}

number! {
    /// Number of a write, a load or a request of a core; the outcome bears the same number. It grows within one start
    /// of a group.
    Ticket
}

number! {
    /// A raft term; Multi-Paxos keeps the round of a ballot here. Zero means before the first election.
    #[doc(alias = "epoch")]
    #[doc(alias = "ballot")]
    Term
}

number! {
    /// A position in a replicated log, from 1 on; 0 means before the first entry. Multi-Paxos calls it a slot.
    #[doc(alias = "slot")]
    LogIndex
}

number! {
    /// Number of a linearizable read; its outcome bears the same number. It grows within one start of a replica.
    ReadId
}

identity! {
    /// Id of a cluster: the first half of the SHA-256 of `quorate-cluster` and the cluster's name.
    ///
    /// It does not depend on the members, so that they can change.
    ClusterId
}

identity! {
    /// Id of one lifetime of a node's data directory: drawn at random when the directory is made.
    ///
    /// A node whose disk was wiped comes back with another incarnation under the same [`NodeId`]. Its peers see from it
    /// that the node has forgotten its votes.
    Incarnation
}

impl LogIndex {
    /// The position before the first entry.
    pub const ZERO: Self = Self(0);

    /// The index before this one. The index before [`LogIndex::ZERO`] is [`LogIndex::ZERO`].
    #[must_use]
    pub fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// The index `count` entries after this one.
    ///
    /// # Panics
    /// When the result does not fit a `u64`.
    #[must_use]
    pub fn plus(self, count: u64) -> Self {
        Self(self.0.checked_add(count).expect("a log index does not run out"))
    }
}

/// Position of an entry: its index, and the term in which it was made. Two logs that both have an entry at a position
/// are equal up to it (Raft §5.3, "log matching").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct LogPosition {
    /// Index of the entry.
    pub index: LogIndex,
    /// Term of the entry.
    pub term: Term,
}

/// Identity of a node, as its log, its handshake and its proposals state it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Identity {
    /// The cluster it belongs to.
    pub cluster: ClusterId,
    /// Its id in the cluster.
    pub node: NodeId,
    /// The incarnation of its data directory.
    pub incarnation: Incarnation,
}

/// A session: all proposals that one node makes in one group between two starts of its process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct SessionId {
    /// The proposer's incarnation.
    pub incarnation: Incarnation,
    /// The proposer's start counter; raised durably before the first proposal of each start.
    pub start: u32,
}

/// Id of a proposal, unique for ever: no two proposals of any nodes, incarnations or starts share one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ProposalId {
    /// The session in which it was proposed.
    pub session: SessionId,
    /// The proposal's number within the session, from 1 on. Zero in entries without a proposer.
    pub sequence: u64,
}

impl fmt::Display for ProposalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.session.incarnation, self.session.start, self.sequence)
    }
}
