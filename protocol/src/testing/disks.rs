//! The disks of a cluster: writes that are held back, complete or fail.

use std::time::Duration;

use super::cluster::Event;
use super::{Cluster, Happening, Node, Subject};
use crate::{NodeId, PersistFailure, Signal, Ticket};

impl<P: Subject> Cluster<P> {
    /// Holds back the writes of a node.
    pub fn hold_disk(&mut self, node: u64) {
        self.node_mut(node).is_disk_held = true;
    }

    /// Lets the writes of a node complete again, those that waited first.
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

    /// Completes the oldest write of a node whose disk is held.
    ///
    /// # Panics
    /// When there is no write.
    pub fn persist_oldest(&mut self, node: u64) {
        self.complete_oldest(node);
        self.deliver();
    }

    /// Completes the oldest write of each held disk, but none that follows from it. Returns the number of writes.
    pub fn sync(&mut self) -> usize {
        let is_writing = |node: &Node<P>| node.is_disk_held && !node.writes.is_empty();
        let nodes = self.nodes.iter().filter(|(_, node)| is_writing(node));
        let nodes: Vec<u64> = nodes.map(|(node, _)| node.0).collect();
        for node in &nodes {
            self.complete_oldest(*node);
        }
        self.deliver();
        nodes.len()
    }

    fn complete_oldest(&mut self, node: u64) {
        self.land_oldest(node);
        let (ticket, _) = self.node_mut(node).writes.pop_front().expect("just seen");
        self.note(|| Happening::Persisted { node: NodeId(node) });
        self.signal(NodeId(node), Signal::Persisted(ticket));
    }

    /// Makes the oldest write of a node durable without telling the node.
    ///
    /// # Panics
    /// When there is no write.
    pub fn land_oldest(&mut self, node: u64) {
        let state = self.node_mut(node);
        let (_, operations) = state.writes.front().expect("a write is on its way");
        state.disk.write(operations);
    }

    /// Fails the oldest write of a node whose disk is held, and all writes after it.
    ///
    /// # Panics
    /// When there is no write.
    pub fn fail_oldest(&mut self, node: u64, failure: PersistFailure) {
        let writes = std::mem::take(&mut self.node_mut(node).writes);
        let (ticket, _) = writes.front().expect("a write is on its way");
        self.signal(NodeId(node), Signal::PersistFailed { ticket: *ticket, failure });
        self.deliver();
    }
}
