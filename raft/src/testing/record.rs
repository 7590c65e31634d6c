//! What happens in a cluster, for whoever wants to read it.

use quorate_protocol::{HaltReason, LogEvent, NodeId, Operation};

use super::cluster::Cluster;
use crate::Message;

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Happening {
    /// A node's deadline passed.
    TimedOut {
        /// Which node.
        node: NodeId,
    },
    /// A node sent.
    Sent {
        /// Who.
        from: NodeId,
        /// To whom.
        to: NodeId,
        /// What.
        message: Message,
        /// And what became of it.
        fate: Fate,
    },
    /// What was held arrived.
    Released {
        /// Who sent it.
        from: NodeId,
        /// To whom.
        to: NodeId,
        /// What.
        message: Message,
    },
    /// A node handed a write to its disk.
    Wrote {
        /// Which node.
        node: NodeId,
        /// What is written, all of it or nothing.
        operations: Vec<Operation>,
    },
    /// The oldest write that a node's disk had is durable, and the node knows it.
    Persisted {
        /// Which node.
        node: NodeId,
    },
    /// A node told its application.
    Told {
        /// Which node.
        node: NodeId,
        /// What.
        event: LogEvent,
    },
    /// A node's group stopped.
    Halted {
        /// Which node.
        node: NodeId,
        /// Why.
        reason: HaltReason,
    },
}

/// What becomes of a message when it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It arrives in its time.
    Sent,
    /// It waits until it is released.
    Held,
    /// It never arrives.
    Lost,
}

impl Cluster {
    /// Keeps from now on what happens.
    pub fn start_recording(&mut self) {
        self.record.get_or_insert_default();
    }

    /// What happened since this was asked last.
    pub fn take_record(&mut self) -> Vec<Happening> {
        self.record.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Notes what happened, if anybody wants it.
    pub(super) fn note(&mut self, what: impl FnOnce() -> Happening) {
        if let Some(record) = &mut self.record {
            record.push(what());
        }
    }
}
