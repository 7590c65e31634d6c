//! A record of the events in a cluster, for tests that show it.

use super::{Cluster, Subject};
use crate::{HaltReason, NodeId, Operation, Protocol};

/// An event in a cluster.
#[derive(Clone, Debug)]
pub enum Happening<P: Protocol> {
    /// A node's deadline passed.
    TimedOut {
        /// The node.
        node: NodeId,
    },
    /// A node sent a message.
    Sent {
        /// The sender.
        from: NodeId,
        /// The receiver.
        to: NodeId,
        /// The message.
        message: P::Message,
        /// The fate of the message.
        fate: Fate,
    },
    /// A held message arrived.
    Released {
        /// The sender.
        from: NodeId,
        /// The receiver.
        to: NodeId,
        /// The message.
        message: P::Message,
    },
    /// A node passed a write to its disk.
    Wrote {
        /// The node.
        node: NodeId,
        /// The operations, which are written completely or not at all.
        operations: Vec<Operation>,
    },
    /// The oldest write of a node's disk is durable, and the node was notified.
    Persisted {
        /// The node.
        node: NodeId,
    },
    /// A node passed an event to its application.
    Told {
        /// The node.
        node: NodeId,
        /// The event.
        event: P::Event,
    },
    /// A node's group stopped.
    Halted {
        /// The node.
        node: NodeId,
        /// The reason.
        reason: HaltReason,
    },
}

/// The fate of a message that is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It arrives after the usual delay.
    Sent,
    /// It waits until it is released.
    Held,
    /// It never arrives.
    Lost,
}

impl<P: Subject> Cluster<P> {
    /// Records the events from now on.
    pub fn start_recording(&mut self) {
        self.record.get_or_insert_default();
    }

    /// Takes the events since this was last called.
    pub fn take_record(&mut self) -> Vec<Happening<P>> {
        self.record.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Records an event, if events are recorded.
    pub(super) fn note(&mut self, what: impl FnOnce() -> Happening<P>) {
        if let Some(record) = &mut self.record {
            record.push(what());
        }
    }
}
