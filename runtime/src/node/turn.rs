//! A turn: it serves every ready group once, in a ring, each up to a budget of bytes. The outputs then leave
//! together.

use quorate_protocol::{GroupId, NodeId, Operation, Signal, Ticket};
use quorate_transport::Frame;

use super::Node;
use super::interface::NodeOutput;
use crate::group::interface::{GroupInput, GroupOutput};
use crate::group::notice::Notice;

impl Node {
    /// Gives every ready group its turn. The rest waits for the next turn.
    pub(super) fn turn(&mut self) {
        for _ in 0..self.ready.len() {
            let Some(index) = self.ready.pop_front() else { break };
            if !self.slots.is_taken(index) {
                continue;
            }
            let mut outputs = std::mem::take(&mut self.gathered.outputs);
            let slot = &mut self.slots[index];
            slot.is_ready = false;
            let has_more = slot.take_turn(self.now, self.config.turn_bytes_max, &mut outputs);
            for output in outputs.drain(..) {
                self.on_output(index, output);
            }
            self.gathered.outputs = outputs;
            self.tell_news(index);
            self.rearm(index);
            self.note_rest(index);
            if has_more {
                self.touch(index);
            }
        }
        self.leave();
    }

    fn on_output(&mut self, index: usize, output: GroupOutput) {
        let slot = &mut self.slots[index];
        let (group, stream) = (slot.id, slot.stream);
        let output = match output {
            GroupOutput::Send { to, frame } => return self.send(to, group, frame),
            GroupOutput::Persist { ticket, operations } => return self.persist(index, ticket, operations),
            GroupOutput::Load { ticket, range } => NodeOutput::Load { stream, ticket, range },
            GroupOutput::Snapshot { ticket, operation } => NodeOutput::Snapshot { group, ticket, operation },
            GroupOutput::Job { ticket, job } => NodeOutput::Job { group, ticket, job },
            GroupOutput::Reply { call, reply } => NodeOutput::Reply { group, call, reply },
            GroupOutput::OlderCopy { peer } => return self.introductions.note_older(peer),
            GroupOutput::Members { contexts, membership } => {
                self.peers.set(self.now.instant, group, contexts);
                return self.follow_membership(index, membership);
            }
            GroupOutput::Notice(notice) => NodeOutput::Notice { group: Some(group), notice },
            GroupOutput::Halt { .. } => unreachable!("the slot keeps halts to itself"),
        };
        self.outputs.push_back(output);
    }

    /// A frame that the peer must not get yet, or ever, is dropped. Groups tolerate that and send again.
    fn send(&mut self, to: NodeId, group: GroupId, frame: Frame) {
        if self.introductions.may_speak(to, group) {
            self.gathered.send(to, frame);
        } else {
            self.counters.messages_withheld += 1;
        }
    }

    fn persist(&mut self, index: usize, ticket: Ticket, operations: Vec<Operation>) {
        let slot = &mut self.slots[index];
        slot.last_ticket = slot.last_ticket.max(ticket);
        // Nothing of the write was made, but no later write will be either. A group that took this for a refusal would
        // retry for ever.
        if let Some(failure) = self.log_failed {
            slot.handle(self.now, GroupInput::Signal(Signal::PersistFailed { ticket, failure }));
            return self.touch(index);
        }
        let stream = slot.stream;
        self.gathered.write(stream, ticket, operations);
    }

    fn tell_news(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        if let Some(reason) = slot.take_news() {
            self.counters.groups_halted += 1;
            let group = Some(slot.id);
            self.outputs.push_back(NodeOutput::Notice { group, notice: Notice::Halted { reason } });
        }
    }

    /// Passes everything that was gathered to the shell. The writes of all groups are one submission, so that the log
    /// syncs once for them, and works while the frames are sent.
    fn leave(&mut self) {
        self.follow_members();
        if !self.gathered.writes.is_empty() {
            let writes = std::mem::take(&mut self.gathered.writes);
            self.counters.write_batches += 1;
            self.counters.writes += writes.len() as u64;
            self.outputs.push_back(NodeOutput::Write(writes));
        }
        for (to, outgoing) in &mut self.gathered.frames {
            for packed in outgoing.pack() {
                self.counters.frames_sent += 1;
                self.counters.messages_sent += packed.frames as u64;
                self.liveness.sent(*to, self.now.instant);
                self.outputs.push_back(NodeOutput::Send { to: *to, frame: packed.frame, origin: packed.origin });
            }
        }
    }
}
