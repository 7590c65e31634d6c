//! The identity of a replica.

use quorate_protocol::{GroupId, NodeId, SessionId};

/// The identity of a replica in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Seat {
    /// Its group.
    pub group: GroupId,
    /// Its node.
    pub node: NodeId,
    /// Name of the session for its proposals in this start of the node. The start counter is durable before the first
    /// proposal.
    pub session: SessionId,
}
