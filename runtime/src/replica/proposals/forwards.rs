//! Proposals that go to the leader, gathered into few frames.

use bytes::Bytes;
use quorate_protocol::{NodeId, ReplicatedLog};
use quorate_transport::ChannelId;

use crate::replica::context::Context;
use crate::replica::message::{Forwarded, ReplicaEnvelope, ReplicaMessage};
use crate::replica::payloads::Payloads;

/// Proposals that are gathered until the end of a turn.
#[derive(Debug, Default)]
pub(super) struct Forwards {
    /// In the order in which they are sent. Only the last one accepts more proposals.
    frames: Vec<Outgoing>,
}

/// The content of one frame.
#[derive(Debug)]
struct Outgoing {
    to: NodeId,
    /// The feature level at which the commands were made.
    level: u32,
    proposals: Vec<Forwarded>,
    /// The commands, in the order of `proposals`.
    payloads: Payloads,
}

impl Forwards {
    /// Adds a proposal to the frame for the leader.
    pub(super) fn add(&mut self, to: NodeId, level: u32, proposal: Forwarded, payload: Bytes) {
        let has_room = |last: &Outgoing| last.to == to && last.level == level && !last.payloads.is_full();
        if !self.frames.last().is_some_and(has_room) {
            let payloads = Payloads::default();
            self.frames.push(Outgoing { to, level, proposals: Vec::new(), payloads });
        }
        let last = self.frames.last_mut().expect("there is one now");
        last.proposals.push(proposal);
        last.payloads.push(payload);
    }

    /// Sends everything that was gathered.
    pub(super) fn send<L: ReplicatedLog>(&mut self, context: &mut Context<L>) {
        for Outgoing { to, level, proposals, payloads } in self.frames.drain(..) {
            let message = ReplicaMessage::Forward { level, session: context.seat.session, proposals };
            let envelope = ReplicaEnvelope { message, payloads: payloads.into_bytes() };
            context.send(ChannelId::REPLICA, to, &envelope);
        }
    }
}
