//! The disks of a cluster: writes that are held back, complete or fail.

use std::time::Duration;

use quorate_protocol::{Input, LogIndex, NodeId, PersistFailure, Signal, Ticket};

use super::cluster::{Cluster, Event};
use super::record::Happening;

impl Cluster {
    /// Keeps the writes of a node from completing.
    pub fn hold_disk(&mut self, node: u64) {
        self.node_mut(node).is_disk_held = true;
    }

    /// Lets the writes of a node complete again, also those that wait.
    pub fn release_disk(&mut self, node: u64) {
        let state = self.node_mut(node);
        state.is_disk_held = false;
        let starts = state.starts;
        let tickets: Vec<Ticket> = state.writes.iter().map(|(ticket, _)| *ticket).collect();
        for ticket in tickets {
            self.time.schedule(Duration::ZERO, Event::Written { node: NodeId(node), starts, ticket });
        }
        self.settle();
    }

    /// Flips a bit in the memory of a node: in its copy of the entry at `index`, which must be cached and have a
    /// payload.
    pub fn flip_cached(&mut self, node: u64, index: u64) {
        let core = self.node_mut(node).core.as_mut().expect("the node runs");
        core.log.flip_cached(LogIndex(index));
    }

    /// Completes the oldest write of a node whose disk is held.
    ///
    /// # Panics
    /// When there is no write.
    pub fn persist_oldest(&mut self, node: u64) {
        let (ticket, operations) = self.node_mut(node).writes.pop_front().expect("a write is on its way");
        self.node_mut(node).disk.write(operations);
        self.note(|| Happening::Persisted { node: NodeId(node) });
        self.input(NodeId(node), Input::Signal(Signal::Persisted(ticket)));
        self.deliver();
    }

    /// Fails the oldest write of a node whose disk is held, and all writes after it.
    ///
    /// # Panics
    /// When there is no write.
    pub fn fail_oldest(&mut self, node: u64, failure: PersistFailure) {
        let writes = std::mem::take(&mut self.node_mut(node).writes);
        let (ticket, _) = writes.front().expect("a write is on its way");
        self.input(NodeId(node), Input::Signal(Signal::PersistFailed { ticket: *ticket, failure }));
        self.deliver();
    }
}
