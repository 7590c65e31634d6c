//! The core, the clock and the way out, which the parts of a replica share.

use std::collections::VecDeque;

use quorate_protocol::{
    Input, Instant, LogAnswer, LogCommand, LogStatus, NodeId, Now, Proposal, ReplicatedLog, Role, Term, Ticket, Wire,
};
use quorate_transport::{ChannelId, codec};
use serde::Serialize;

use crate::group::interface::{CallId, GroupOutput};
use crate::group::job::Job;
use crate::group::notice::Notice;
use crate::group::reply::Reply;
use crate::group::snapshot::SnapshotOperation;
use crate::replica::seat::Seat;
use crate::replica::settings::ReplicaSettings;
use crate::replica::status::ReplicaCounters;

/// The core, the clock and the outputs of a replica. Each part of the replica borrows them while it works.
#[derive(Debug)]
pub(super) struct Context<L> {
    /// Never changes.
    pub(super) seat: Seat,
    /// Never change.
    pub(super) settings: ReplicaSettings,
    pub(super) core: L,
    /// As the core last reported it. Changes only when the core's event is handled.
    pub(super) leadership: Leadership,
    pub(super) counters: ReplicaCounters,
    /// The time of the present input or call. The instant never goes back.
    now: Now,
    /// In the order in which the node carries them out.
    outputs: VecDeque<GroupOutput>,
    /// The number of the replica's newest own ticket. Only grows, so no two tickets are equal.
    last_ticket: u64,
}

/// Role, term and leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Leadership {
    pub(super) role: Role,
    pub(super) term: Term,
    /// The leader of the term, as far as this node knows.
    pub(super) leader: Option<NodeId>,
}

impl Leadership {
    pub(super) fn of(status: &LogStatus) -> Self {
        Self { role: status.role, term: status.term, leader: status.leader }
    }

    /// Returns true if this node leads.
    pub(super) fn is_own(&self) -> bool {
        self.role == Role::Leader
    }
}

impl<L: ReplicatedLog> Context<L> {
    pub(super) fn new(now: Now, seat: Seat, settings: ReplicaSettings, core: L) -> Self {
        let leadership = Leadership::of(&core.status());
        Self {
            seat,
            settings,
            core,
            leadership,
            counters: ReplicaCounters::default(),
            now,
            outputs: VecDeque::new(),
            last_ticket: 0,
        }
    }

    pub(super) fn set_now(&mut self, now: Now) {
        self.now = self.now.advanced_to(now);
    }

    pub(super) fn now(&self) -> Now {
        self.now
    }

    pub(super) fn instant(&self) -> Instant {
        self.now.instant
    }

    /// Returns true if this node leads.
    pub(super) fn is_leader(&self) -> bool {
        self.leadership.is_own()
    }

    /// Returns true if there is no other voter to lead.
    pub(super) fn is_alone(&self) -> bool {
        self.core.status().configuration.voters().all(|voter| voter == self.seat.node)
    }

    /// Passes an input to the core.
    pub(super) fn input(&mut self, input: Input<L>) {
        self.core.handle(self.now, input);
    }

    pub(super) fn command(&mut self, command: LogCommand) {
        self.input(Input::Command(command));
    }

    pub(super) fn propose(&mut self, proposal: Proposal) {
        self.command(LogCommand::Propose(proposal));
    }

    /// Answers a request of the core.
    pub(super) fn complete(&mut self, ticket: Ticket, answer: LogAnswer) {
        self.input(Input::Completed { ticket, answer });
    }

    pub(super) fn push(&mut self, output: GroupOutput) {
        self.outputs.push_back(output);
    }

    /// Sends a message of bounded length.
    pub(super) fn send<M>(&mut self, channel: ChannelId, to: NodeId, message: &M)
    where
        M: Wire<Small: Serialize>,
    {
        let frame = codec::encode(channel, self.seat.group, message).expect("messages are bounded where they are made");
        self.push(GroupOutput::Send { to, frame });
    }

    pub(super) fn reply(&mut self, call: CallId, reply: Reply) {
        self.push(GroupOutput::Reply { call, reply });
    }

    pub(super) fn notice(&mut self, notice: Notice) {
        self.push(GroupOutput::Notice(notice));
    }

    /// Starts an operation on the group's snapshots. Its result comes with the ticket.
    pub(super) fn operate(&mut self, operation: SnapshotOperation) -> Ticket {
        let ticket = self.ticket();
        self.push(GroupOutput::Snapshot { ticket, operation });
        ticket
    }

    /// Frees an old state off the loop, because freeing a large state takes long.
    pub(super) fn free(&mut self, old: impl Send + 'static) {
        let ticket = self.ticket();
        let job = Job(Box::new(move || {
            drop(old);
            Box::new(())
        }));
        self.push(GroupOutput::Job { ticket, job });
    }

    /// Returns a ticket of the replica's own.
    pub(super) fn ticket(&mut self) -> Ticket {
        self.last_ticket += 1;
        Ticket(self.last_ticket | OWN)
    }

    pub(super) fn has_outputs(&self) -> bool {
        !self.outputs.is_empty()
    }

    pub(super) fn poll_output(&mut self) -> Option<GroupOutput> {
        self.outputs.pop_front()
    }

    /// Drops all outputs but the answers to callers.
    pub(super) fn keep_replies(&mut self) {
        self.outputs.retain(|output| matches!(output, GroupOutput::Reply { .. }));
    }
}

/// Returns true if the replica itself drew the ticket, and not its core.
pub(super) fn is_own(ticket: Ticket) -> bool {
    ticket.0 & OWN != 0
}

/// The bit that marks the tickets of the replica itself.
const OWN: u64 = 1 << 63;
