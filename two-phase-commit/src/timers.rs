//! The names of the timers.

use crate::{TransactionId, TransactionNumber};

/// The deadlines of a node.
pub(crate) type Timers = quorate_protocol::Timers<Timer>;

/// Purpose of a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Timer {
    /// A transaction that this node coordinates: its time is up, or a message is repeated.
    Coordinated(TransactionNumber),
    /// A branch at this node: its time is up, or a question is repeated.
    Branch(TransactionId),
    /// Records that need no sync have waited long enough.
    Lazy,
    /// Coordinators are asked which outcomes may be dropped.
    Collect,
}
