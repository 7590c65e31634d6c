//! The contract of [`Transport`](crate::Transport) as a suite of checks for any transport. Feature `testing`.
//!
//! A transport is checked through a [`Harness`], which lets time pass: with a runtime and sockets, or simulated. Each
//! [`Clause`] is checked on a fresh harness and does not depend on the others, so that a transport that breaks one
//! clause fails exactly that check.
//!
//! ```
//! use std::sync::Arc;
//! use quorate_protocol::{Identity, NodeId};
//! use quorate_transport::conformance::{self, Harness};
//! use quorate_transport::memory::{DeliveryTime, Network};
//! use quorate_transport::Transport;
//!
//! struct Memory(Network);
//!
//! impl Harness for Memory {
//!     fn join(&mut self, identity: Identity) -> Arc<dyn Transport> {
//!         self.0.join(identity)
//!     }
//!     fn address(&self, node: NodeId) -> String {
//!         format!("memory:{node}")
//!     }
//!     fn settle(&mut self, until: &mut dyn FnMut() -> bool) -> bool {
//!         (0..5).any(|_| {
//!             self.0.settle();
//!             until()
//!         })
//!     }
//!     fn shutdown(&mut self, transport: &dyn Transport) {
//!         let mut context = std::task::Context::from_waker(std::task::Waker::noop());
//!         let _ = transport.shutdown().as_mut().poll(&mut context);
//!     }
//! }
//!
//! let network = || Network::new(conformance::LIMITS, DeliveryTime::OnSettle).expect("the limits fit");
//! let failures = conformance::failures(|| Memory(network()));
//! assert!(failures.is_empty(), "{failures:#?}");
//! ```

mod clauses;
mod end;
mod harness;

use std::fmt;

pub use self::harness::{Harness, LIMITS};

/// One clause of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Clause {
    /// A frame arrives at most once.
    AtMostOnce,
    /// A frame arrives as it was sent, whatever its sections are, on both lanes.
    NeverCorrupt,
    /// A frame arrives under the node and incarnation that sent it.
    NeverMisattributed,
    /// Frames of one lane arrive in order while the connection stands.
    OrderWithinConnection,
    /// No frame of an older connection arrives after a frame of a newer one.
    NothingOld,
    /// `send` refuses a frame that exceeds the queue's bounds, and accepts frames again when there is room.
    QueueBounded,
    /// An inbox holds no more than its bounds allow; above them the newest frames are dropped.
    InboxBounded,
    /// A channel has one reader, until its inbox is dropped.
    ClaimsExclusive,
    /// A frame reaches the reader of its channel and no other reader.
    ClaimsRouted,
    /// `send` to a node that is not a known peer is refused.
    UnknownRefused,
    /// No frame arrives from a node that is not a known peer.
    StrangerUnheard,
    /// No frame arrives from a peer after it was removed.
    RemovedUnheard,
    /// A node that its peer removed learns that the peer refuses it, and why. It is accepted again when the peer knows
    /// it again.
    RemovedTold,
    /// After the addresses of a peer changed, frames reach it at the first of them at which it answers.
    MovedReached,
    /// A peer with an address that is refused, or at which nothing answers, disturbs no other peer. A refused address
    /// changes nothing.
    PeersIndependent,
    /// A frame above the bound is refused; a frame of exactly the bound arrives.
    OversizeRefused,
    /// No other frame can be sent on the transport's own channel.
    OwnChannelReserved,
    /// A frame that is sent without a connection is refused, and does not arrive later.
    NothingKept,
    /// No connection is made to a peer with another incarnation than the expected one. Without an expectation, any
    /// incarnation is accepted.
    IncarnationExpected,
    /// The reader of the transport's own channel learns which node is at the other end of each link, and when the link
    /// goes down.
    LinksTold,
    /// Frames that were queued before the shutdown arrive.
    ShutdownFlushes,
    /// After the shutdown every call is refused, and inboxes end.
    ShutdownRefuses,
    /// Every send is counted under its outcome.
    Counted,
}

impl Clause {
    /// Every clause.
    pub const ALL: [Self; 23] = [
        Self::AtMostOnce,
        Self::NeverCorrupt,
        Self::NeverMisattributed,
        Self::OrderWithinConnection,
        Self::NothingOld,
        Self::QueueBounded,
        Self::InboxBounded,
        Self::ClaimsExclusive,
        Self::ClaimsRouted,
        Self::UnknownRefused,
        Self::StrangerUnheard,
        Self::RemovedUnheard,
        Self::RemovedTold,
        Self::MovedReached,
        Self::PeersIndependent,
        Self::OversizeRefused,
        Self::OwnChannelReserved,
        Self::NothingKept,
        Self::IncarnationExpected,
        Self::LinksTold,
        Self::ShutdownFlushes,
        Self::ShutdownRefuses,
        Self::Counted,
    ];

    /// Checks this clause on a fresh harness.
    ///
    /// # Errors
    /// When the transport breaks the clause, or the check cannot be carried out.
    pub fn check(self, harness: &mut dyn Harness) -> Result<(), BrokenClause> {
        let outcome = match self {
            Self::AtMostOnce => clauses::at_most_once(harness),
            Self::NeverCorrupt => clauses::never_corrupt(harness),
            Self::NeverMisattributed => clauses::never_misattributed(harness),
            Self::OrderWithinConnection => clauses::order_within_connection(harness),
            Self::NothingOld => clauses::nothing_old(harness),
            Self::QueueBounded => clauses::queue_bounded(harness),
            Self::InboxBounded => clauses::inbox_bounded(harness),
            Self::ClaimsExclusive => clauses::claims_exclusive(harness),
            Self::ClaimsRouted => clauses::claims_routed(harness),
            Self::UnknownRefused => clauses::unknown_refused(harness),
            Self::StrangerUnheard => clauses::stranger_unheard(harness),
            Self::RemovedUnheard => clauses::removed_unheard(harness),
            Self::RemovedTold => clauses::removed_told(harness),
            Self::MovedReached => clauses::moved_reached(harness),
            Self::PeersIndependent => clauses::peers_independent(harness),
            Self::OversizeRefused => clauses::oversize_refused(harness),
            Self::OwnChannelReserved => clauses::own_channel_reserved(harness),
            Self::NothingKept => clauses::nothing_kept(harness),
            Self::IncarnationExpected => clauses::incarnation_expected(harness),
            Self::LinksTold => clauses::links_told(harness),
            Self::ShutdownFlushes => clauses::shutdown_flushes(harness),
            Self::ShutdownRefuses => clauses::shutdown_refuses(harness),
            Self::Counted => clauses::counted(harness),
        };
        outcome.map_err(|what| BrokenClause { clause: self, what })
    }
}

/// A clause that a transport breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokenClause {
    /// The clause.
    pub clause: Clause,
    /// Description of the failure.
    pub what: String,
}

impl fmt::Display for BrokenClause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.clause, self.what)
    }
}

impl std::error::Error for BrokenClause {}

/// Checks every clause, each on a harness of its own, and returns those that are broken.
pub fn failures<H: Harness>(mut make: impl FnMut() -> H) -> Vec<BrokenClause> {
    Clause::ALL.into_iter().filter_map(|clause| clause.check(&mut make()).err()).collect()
}
