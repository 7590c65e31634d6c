//! The state record of a node.

use std::collections::BTreeMap;

use quorate_protocol::NodeId;

/// What a node must remember besides its registers. The record is safe to adopt without the operations written beside
/// it: numbers only grow, and the end of an erasure is written once the erasure is durable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct State {
    /// This node's ballots have rounds up to here at most. After a restart it goes on above.
    pub(crate) reserved: u64,
    /// This proposer's age: it grows whenever a deleted register is removed (CASPaxos §3.1).
    pub(crate) age: u64,
    /// Every ballot under this age has a round above this one.
    pub(crate) floor: u64,
    /// The highest round in which a removed register had been deleted.
    pub(crate) removed: u64,
    /// True while this acceptor erases what it had before it was none. Until then it answers nothing.
    pub(crate) is_erasing: bool,
    /// The lowest age of each proposer that is not ignored.
    pub(crate) required: BTreeMap<NodeId, u64>,
}
