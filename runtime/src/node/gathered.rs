//! Outputs of the groups that one turn gathers before they leave.

use std::collections::BTreeMap;

use quorate_protocol::{NodeId, Operation, Ticket};
use quorate_transport::Frame;
use quorate_wal::StreamId;

use super::bundle::Outgoing;
use super::interface::Write;
use crate::group::interface::GroupOutput;

/// Outputs of the groups that one turn gathers before they leave.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) writes: Vec<Write>,
    pub(super) frames: BTreeMap<NodeId, Outgoing>,
    /// Kept between turns for its capacity.
    pub(super) outputs: Vec<GroupOutput>,
}

impl Gathered {
    pub(super) fn write(&mut self, stream: StreamId, ticket: Ticket, operations: Vec<Operation>) {
        self.writes.push(Write { stream, ticket, operations });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.frames.values().all(Outgoing::is_empty)
    }

    pub(super) fn send(&mut self, to: NodeId, frame: Frame) {
        self.frames.entry(to).or_default().push(frame);
    }
}
