//! Identities: small newtypes, so that no two numbers can be confused.

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
    /// A node of a cluster. Chosen by the operator, never used again for another machine's data.
    NodeId
}

number! {
    /// One group of replicas on a node: every frame and every stream of the log bears it.
    GroupId
}

number! {
    /// Ties a write, load or request of a core to its outcome. Grows within one start of a group.
    Ticket
}

number! {
    /// A raft term; Multi-Paxos keeps the round of a ballot here. Zero is before any election.
    #[doc(alias = "epoch")]
    #[doc(alias = "ballot")]
    Term
}

number! {
    /// A position in a replicated log, from 1; 0 is before the first entry. Multi-Paxos says slot.
    #[doc(alias = "slot")]
    LogIndex
}

number! {
    /// Ties a linearizable read to its outcome. Grows within one start of a replica.
    ReadId
}

identity! {
    /// Names one cluster: the first half of SHA-256 over `quorate-cluster` and its name.
    ///
    /// It is never made from the members, so that they can change.
    ClusterId
}

identity! {
    /// Names one life of a node's data directory: drawn when the directory is made.
    ///
    /// A node whose disk was wiped comes back with another incarnation under the same [`NodeId`], and is known
    /// by it to have forgotten its votes.
    Incarnation
}

impl LogIndex {
    /// Before the first entry.
    pub const ZERO: Self = Self(0);

    /// The index before this one; [`LogIndex::ZERO`] stays.
    #[must_use]
    pub fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// This index moved up by `count` entries.
    ///
    /// # Panics
    /// When the result does not fit a `u64`.
    #[must_use]
    pub fn plus(self, count: u64) -> Self {
        Self(self.0.checked_add(count).expect("a log index does not run out"))
    }
}

/// Who a node is: what its log, its handshake and its proposals say of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Identity {
    /// The cluster it belongs to.
    pub cluster: ClusterId,
    /// Its number in the cluster.
    pub node: NodeId,
    /// The life of its data directory.
    pub incarnation: Incarnation,
}

/// A session: all proposals of one start of one node's process in one group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct SessionId {
    /// The proposer's incarnation.
    pub incarnation: Incarnation,
    /// The proposer's start counter: durably raised before the first proposal of each start.
    pub start: u32,
}

/// Names a proposal for ever: no two proposals of any node, life or start share one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ProposalId {
    /// Who proposed it, and in which start.
    pub session: SessionId,
    /// The proposal's number within the session, from 1. Zero in entries that nobody proposed.
    pub sequence: u64,
}

impl fmt::Display for ProposalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.session.incarnation, self.session.start, self.sequence)
    }
}
