//! Bare cores as groups, for protocols without a state machine, such as two-phase commit.
//!
//! [`Hosted`] makes a group of a core. The application reaches it through a [`HostedHandle`]: it gives commands,
//! listens to events, and answers the core's requests. A core whose log is replicated is part of a
//! [`Bound`](crate::bound::Bound) group, and is reached in the same way on the node that serves it.

use std::collections::VecDeque;
use std::fmt;

use quorate_protocol::{
    GroupId, HaltReason, Input, Instant, LoadRange, NodeId, Now, Operation, Output, Protocol, Rest, Signal, Ticket,
};
use quorate_transport::{ChannelId, Received, codec};

use crate::group::hostable::Hostable;
use crate::group::interface::{CallId, Group, GroupInput, GroupOutput};
use crate::group::reply::Reply;
use crate::shell::driver::calls::CallError;

mod handle;

pub use handle::HostedHandle;

/// A bare core as a [`Group`]. Its events and requests wait here until its handle takes them.
pub struct Hosted<P: Hostable> {
    id: GroupId,
    channel: ChannelId,
    /// `None` while this node does not serve the core of a bound group. A group on the node's own log always has it.
    core: Option<P>,
    /// The node that serves the core of a bound group, or is about to, as far as this one knows.
    leader: Option<NodeId>,
    /// Added to the tickets of the core's requests, so that no ticket names requests of two cores. An answer to a
    /// ticket up to here is for an earlier core.
    tickets_above: u64,
    /// The highest ticket that the application was given.
    newest_ticket: u64,
    /// Events and requests that the application has not acknowledged, at most [`TOLD_MAX`]. Beyond that the oldest is
    /// dropped and counted.
    told: VecDeque<Told<P>>,
    /// The number of the oldest of them, counted from 1.
    told_from: u64,
    /// The application has, or never will get, everything up to this number.
    acknowledged: u64,
    listener: Option<CallId>,
    /// The write to the node's own log that is under way.
    writing: Option<Ticket>,
    outputs: VecDeque<GroupOutput>,
    /// The time of the newest input or call.
    now: Now,
    malformed: u64,
    /// Messages that were dropped because this node does not serve the core.
    messages_not_served: u64,
}

/// An output of the core that its group carries out.
pub(crate) enum CoreOutput {
    Group(GroupOutput),
    Persist { ticket: Ticket, operations: Vec<Operation> },
    Load { ticket: Ticket, range: LoadRange },
    Halt { reason: HaltReason },
}

/// An event or a request that a core has for its application.
#[derive(Clone, Debug)]
pub enum Told<P: Protocol> {
    /// An event.
    Event(P::Event),
    /// A request, to be answered with [`Hosted::complete`].
    Request {
        /// Names the request.
        ticket: Ticket,
        /// The requested work.
        request: P::Request,
    },
    /// The application listened too slowly: this number of events and requests before the next one was dropped. A core
    /// repeats the requests that it needs only after it is recovered.
    Lost(u64),
    /// This node serves the core of a bound group from now on: it was recovered from the replicated log.
    Serving,
    /// This node no longer serves the core of a bound group. The outcome of each command whose event is not told before
    /// this is unknown: it may have been carried out, or may be carried out by the node that serves next. Requests told
    /// before this need no answer, and their answers are refused.
    NotServing {
        /// The node that serves next, as far as this one knows.
        leader: Option<NodeId>,
    },
}

/// Reason why a hosted core did not get a command or an answer. Nothing was changed unless the variant says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotServed {
    /// This node does not serve the core of this bound group. If it is itself the leader, it is about to serve: its log
    /// is not applied yet, or the core is being recovered.
    #[error("this node does not serve the core, {}", served_by(*leader))]
    Elsewhere {
        /// The node that serves it or is about to, as far as this one knows.
        leader: Option<NodeId>,
    },
    /// The answer is to a request of an earlier core, which is gone. A core repeats the requests that it needs after it
    /// is recovered.
    #[error("the request is of a core that is gone")]
    OldRequest,
    /// The call was not answered. After [`CallError::Lost`] the core may have got it.
    #[error(transparent)]
    Call(#[from] CallError),
}

fn served_by(leader: Option<NodeId>) -> String {
    leader.map_or_else(|| "and no node is known to serve it".to_owned(), |node| format!("node {node} leads"))
}

/// Events and requests of a core, and the number of the last one. An application that has them passes that number when
/// it listens again.
#[derive(Clone, Debug)]
pub struct Heard<P: Protocol> {
    /// The events and requests that are not acknowledged yet, oldest first.
    pub told: Vec<Told<P>>,
    /// The number of the last of them, for [`HostedHandle::listen`].
    pub up_to: u64,
}

/// Maximum number of events and requests that wait until the application listens.
pub const TOLD_MAX: usize = 65_536;

impl<P: Hostable> Hosted<P> {
    /// Makes the group `id` from the core. Its messages travel on `channel` (16 or above, the same on every node).
    ///
    /// # Panics
    /// When the channel is below 16.
    pub fn new(id: GroupId, channel: ChannelId, core: P) -> Self {
        let start = Now { instant: Instant::ZERO, wall_ms: 0 };
        Self { core: Some(core), ..Self::without_core(start, id, channel) }
    }

    /// As [`Hosted::new`], for a group that serves its core later.
    pub(crate) fn without_core(now: Now, id: GroupId, channel: ChannelId) -> Self {
        assert!(channel >= ChannelId::FIRST_CORE, "cores have the channels from 16 up");
        Self {
            id,
            channel,
            core: None,
            leader: None,
            tickets_above: 0,
            newest_ticket: 0,
            told: VecDeque::new(),
            told_from: 1,
            acknowledged: 0,
            listener: None,
            writing: None,
            outputs: VecDeque::new(),
            now,
            malformed: 0,
            messages_not_served: 0,
        }
    }

    /// Serves the core from now on.
    pub(crate) fn serve(&mut self, core: P) {
        self.tickets_above = self.newest_ticket;
        self.core = Some(core);
        self.tell(Told::Serving);
    }

    /// Drops the core, if there is one.
    pub(crate) fn leave(&mut self, leader: Option<NodeId>) {
        self.leader = leader;
        if self.core.take().is_some() {
            self.tell(Told::NotServing { leader });
        }
    }

    /// Gives the core an input, if this node serves it.
    pub(crate) fn input(&mut self, now: Now, input: Input<P>) {
        self.now = self.now.advanced_to(now);
        if let Some(core) = &mut self.core {
            core.handle(now, input);
        }
    }

    /// Gives the core a command.
    ///
    /// # Errors
    /// [`NotServed::Elsewhere`] if this node does not serve the core.
    pub fn command(&mut self, now: Now, command: P::Command) -> Result<(), NotServed> {
        self.served(now)?.handle(now, Input::Command(command));
        Ok(())
    }

    /// Answers a request.
    ///
    /// # Errors
    /// [`NotServed::Elsewhere`] if this node does not serve the core, and [`NotServed::OldRequest`] if the request is
    /// of an earlier core.
    pub fn complete(&mut self, now: Now, ticket: Ticket, answer: P::Answer) -> Result<(), NotServed> {
        let tickets_above = self.tickets_above;
        let core = self.served(now)?;
        let ticket = ticket.0.checked_sub(tickets_above).filter(|own| *own > 0).ok_or(NotServed::OldRequest)?;
        core.handle(now, Input::Completed { ticket: Ticket(ticket), answer });
        Ok(())
    }

    /// Returns the time of the newest input or call.
    pub(crate) fn now(&self) -> Now {
        self.now
    }

    fn served(&mut self, now: Now) -> Result<&mut P, NotServed> {
        self.now = self.now.advanced_to(now);
        self.core.as_mut().ok_or(NotServed::Elsewhere { leader: self.leader })
    }

    /// Answers `call` with [`Reply::Told`] as soon as there is something to [`take`](Hosted::take). An earlier call
    /// that still listens is answered at once.
    pub fn listen(&mut self, call: CallId) {
        let before = self.listener.replace(call);
        self.outputs.extend(before.map(|call| GroupOutput::Reply { call, reply: Reply::Told }));
        self.wake();
    }

    /// Takes the waiting events and requests, oldest first. For an application that cannot lose them on the way.
    pub fn take(&mut self) -> Vec<Told<P>> {
        let lost = self.lost();
        self.told_from += self.told.len() as u64;
        self.acknowledged = self.told_from - 1;
        lost.into_iter().chain(self.told.drain(..)).collect()
    }

    /// Returns the events and requests that the application has not acknowledged. They stay here until it does.
    pub fn heard(&self) -> Heard<P> {
        let told = self.lost().into_iter().chain(self.told.iter().cloned()).collect();
        Heard { told, up_to: self.told_from - 1 + self.told.len() as u64 }
    }

    /// Removes everything up to this number, because the application has it.
    pub fn acknowledge(&mut self, up_to: u64) {
        let last = self.told_from - 1 + self.told.len() as u64;
        self.acknowledged = self.acknowledged.max(up_to.min(last));
        while self.told_from <= self.acknowledged && self.told.pop_front().is_some() {
            self.told_from += 1;
        }
    }

    /// Returns the core for inspection; `None` if this node does not serve it.
    pub fn core(&self) -> Option<&P> {
        self.core.as_ref()
    }

    /// Returns the reason why this node does not serve the core; `None` if it does.
    pub fn not_served(&self) -> Option<NotServed> {
        self.core.is_none().then_some(NotServed::Elsewhere { leader: self.leader })
    }

    /// Number of messages that could not be decoded.
    pub fn malformed(&self) -> u64 {
        self.malformed
    }

    /// Number of messages that were dropped because this node did not serve the core.
    pub fn messages_not_served(&self) -> u64 {
        self.messages_not_served
    }

    pub(crate) fn on_frame(&mut self, now: Now, received: Received) {
        if self.core.is_none() {
            return self.messages_not_served += 1;
        }
        let from = received.from.node;
        let is_own = received.frame.channel() == self.channel;
        match codec::decode(received.frame) {
            Ok(message) if is_own => self.input(now, Input::Message { from, message }),
            _ => self.malformed += 1,
        }
    }

    /// The number of events and requests that were dropped before the application had them.
    fn lost(&self) -> Option<Told<P>> {
        let lost = self.told_from - 1 - self.acknowledged;
        (lost > 0).then_some(Told::Lost(lost))
    }

    /// Returns the next output of the core that its group carries out. Events and requests wait here for the
    /// application.
    pub(crate) fn poll_core_output(&mut self) -> Option<CoreOutput> {
        loop {
            if let Some(output) = self.outputs.pop_front() {
                return Some(CoreOutput::Group(output));
            }
            match self.core.as_mut()?.poll_output()? {
                Output::Send { to, message } => {
                    let frame = codec::encode(self.channel, self.id, &message).expect("a core bounds its messages");
                    return Some(CoreOutput::Group(GroupOutput::Send { to, frame }));
                }
                Output::Persist { ticket, operations } => return Some(CoreOutput::Persist { ticket, operations }),
                Output::Load { ticket, range } => return Some(CoreOutput::Load { ticket, range }),
                Output::Halt { reason } => return Some(CoreOutput::Halt { reason }),
                Output::Event(event) => {
                    self.outputs.extend(P::older_copy(&event).map(|peer| GroupOutput::OlderCopy { peer }));
                    self.tell(Told::Event(event));
                }
                Output::Request { ticket, request } => {
                    let ticket = Ticket(self.tickets_above + ticket.0);
                    self.newest_ticket = self.newest_ticket.max(ticket.0);
                    self.tell(Told::Request { ticket, request });
                }
            }
        }
    }

    fn tell(&mut self, told: Told<P>) {
        if self.told.len() >= TOLD_MAX {
            self.told.pop_front();
            self.told_from += 1;
        }
        self.told.push_back(told);
        self.wake();
    }

    fn wake(&mut self) {
        if !self.told.is_empty()
            && let Some(call) = self.listener.take()
        {
            self.outputs.push_back(GroupOutput::Reply { call, reply: Reply::Told });
        }
    }
}

impl<P: Hostable> Group for Hosted<P> {
    fn handle(&mut self, now: Now, input: GroupInput) {
        match input {
            GroupInput::Frame(received) => self.on_frame(now, received),
            GroupInput::Signal(signal) => {
                match signal {
                    Signal::Persisted(ticket) => drop(self.writing.take_if(|writing| *writing <= ticket)),
                    // All later ones have failed with it.
                    Signal::PersistFailed { .. } => self.writing = None,
                    _ => {}
                }
                self.input(now, Input::Signal(signal));
            }
            GroupInput::Shutdown { .. } => {
                self.now = self.now.advanced_to(now);
                if let Some(core) = &mut self.core {
                    core.stopping(now);
                }
            }
            // A bare core uses neither snapshots nor jobs. The shell reports why the node may not vote and what the
            // group was founded with.
            GroupInput::Snapshot { .. }
            | GroupInput::Job { .. }
            | GroupInput::Founded(_)
            | GroupInput::Heard { .. }
            | GroupInput::FoundedOtherwise(_)
            | GroupInput::Barred(_) => {}
        }
    }

    fn poll_output(&mut self) -> Option<GroupOutput> {
        Some(match self.poll_core_output()? {
            CoreOutput::Group(output) => output,
            CoreOutput::Persist { ticket, operations } => {
                self.writing = Some(ticket);
                GroupOutput::Persist { ticket, operations }
            }
            CoreOutput::Load { ticket, range } => GroupOutput::Load { ticket, range },
            CoreOutput::Halt { reason } => GroupOutput::Halt { reason },
        })
    }

    fn deadline(&self) -> Option<Instant> {
        self.core.as_ref()?.deadline()
    }

    fn halted(&mut self, _reason: &HaltReason) {
        self.outputs.retain(|output| matches!(output, GroupOutput::Reply { .. }));
        self.told_from += self.told.len() as u64;
        self.acknowledged = self.told_from - 1;
        self.told.clear();
        let listener = self.listener.take();
        self.outputs.extend(listener.map(|call| GroupOutput::Reply { call, reply: Reply::Unknown }));
    }

    fn channel(&self) -> ChannelId {
        self.channel
    }

    /// A core that stops may have more to write after the write that is under way.
    fn is_settled(&self) -> bool {
        self.writing.is_none()
    }

    fn listeners(&self) -> usize {
        usize::from(self.listener.is_some())
    }

    fn may_rest(&self) -> bool {
        self.core.as_ref().is_some_and(P::may_rest)
    }

    fn rest(&self) -> Option<Rest> {
        self.core.as_ref()?.rest()
    }
}

impl<P: Hostable> fmt::Debug for Hosted<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hosted").field("id", &self.id).field("core", &self.core).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
