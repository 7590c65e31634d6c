//! The surroundings in which a transport is checked.

use std::sync::Arc;

use quorate_protocol::{Identity, NodeId};

use crate::limits::Limits;
use crate::transport::Transport;

/// The bounds that a harness must give its transports. They are small, so that the checks reach them.
pub const LIMITS: Limits = Limits {
    frame_bytes_max: 64 << 10,
    queue_frames_max: 64,
    queue_bytes_max: 128 << 10,
    inbox_frames_max: 256,
    inbox_bytes_max: 1 << 20,
};

/// Starts transports and lets their time pass. Frames move only during [`Harness::settle`].
pub trait Harness {
    /// Starts a node, with [`LIMITS`]. A running node with the same id is ended first.
    fn join(&mut self, identity: Identity) -> Arc<dyn Transport>;

    /// The address of the node that last joined under this id; for an id that never joined, an address at which nothing
    /// answers. No two nodes have the same address.
    fn address(&self, node: NodeId) -> String;

    /// Lets time pass until the condition holds, and returns whether it does. The condition may itself send frames, so
    /// it must be evaluated again and again. A simulation gives up when no event is left; others give up after a time
    /// that no correct transport needs.
    fn settle(&mut self, until: &mut dyn FnMut() -> bool) -> bool;

    /// Shuts the transport down and lets time pass until the shutdown is complete.
    fn shutdown(&mut self, transport: &dyn Transport);
}
