//! Bare cores as groups, for protocols without a state machine, such as two-phase commit.
//!
//! [`Hosted`] makes a group of a core. The application reaches it through a [`HostedHandle`]: it gives commands,
//! listens to events, and answers the core's requests.

use std::collections::VecDeque;
use std::fmt;

use quorate_protocol::{GroupId, HaltReason, Input, Instant, Now, Output, Protocol, Rest, Ticket};
use quorate_transport::{ChannelId, Received, codec};

use crate::group::hostable::Hostable;
use crate::group::interface::{CallId, Group, GroupInput, GroupOutput};
use crate::group::reply::Reply;

mod handle;

pub use handle::HostedHandle;

/// A bare core as a [`Group`]. Its events and requests wait here until its handle takes them.
pub struct Hosted<P: Hostable> {
    id: GroupId,
    channel: ChannelId,
    core: P,
    /// Events and requests that the application has not acknowledged, at most [`TOLD_MAX`]. Beyond that the oldest is
    /// dropped and counted.
    told: VecDeque<Told<P>>,
    /// The number of the oldest of them, counted from 1.
    told_from: u64,
    /// The application has, or never will get, everything up to this number.
    acknowledged: u64,
    listener: Option<CallId>,
    outputs: VecDeque<GroupOutput>,
    malformed: u64,
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
        assert!(channel >= ChannelId::FIRST_CORE, "cores have the channels from 16 up");
        let (told, outputs) = (VecDeque::new(), VecDeque::new());
        Self { id, channel, core, told, told_from: 1, acknowledged: 0, listener: None, outputs, malformed: 0 }
    }

    /// Gives the core a command.
    pub fn command(&mut self, now: Now, command: P::Command) {
        self.core.handle(now, Input::Command(command));
    }

    /// Answers a request.
    pub fn complete(&mut self, now: Now, ticket: Ticket, answer: P::Answer) {
        self.core.handle(now, Input::Completed { ticket, answer });
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

    /// Returns the core for inspection.
    pub fn core(&self) -> &P {
        &self.core
    }

    /// Number of messages that could not be decoded.
    pub fn malformed(&self) -> u64 {
        self.malformed
    }

    fn on_frame(&mut self, now: Now, received: Received) {
        let from = received.from.node;
        let is_own = received.frame.channel() == self.channel;
        match codec::decode(received.frame) {
            Ok(message) if is_own => self.core.handle(now, Input::Message { from, message }),
            _ => self.malformed += 1,
        }
    }

    /// The number of events and requests that were dropped before the application had them.
    fn lost(&self) -> Option<Told<P>> {
        let lost = self.told_from - 1 - self.acknowledged;
        (lost > 0).then_some(Told::Lost(lost))
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
        let input = match input {
            GroupInput::Frame(received) => return self.on_frame(now, received),
            GroupInput::Signal(signal) => Input::Signal(signal),
            // A bare core uses neither snapshots nor jobs, and its application commands what it does at a shutdown. The
            // shell reports why the node may not vote and what the group was founded with.
            GroupInput::Snapshot { .. }
            | GroupInput::Job { .. }
            | GroupInput::Shutdown { .. }
            | GroupInput::Founded(_)
            | GroupInput::Heard { .. }
            | GroupInput::FoundedOtherwise(_)
            | GroupInput::Barred(_) => return,
        };
        self.core.handle(now, input);
    }

    fn poll_output(&mut self) -> Option<GroupOutput> {
        loop {
            if let Some(output) = self.outputs.pop_front() {
                return Some(output);
            }
            match self.core.poll_output()? {
                Output::Send { to, message } => {
                    let frame = codec::encode(self.channel, self.id, &message).expect("a core bounds its messages");
                    return Some(GroupOutput::Send { to, frame });
                }
                Output::Persist { ticket, operations } => return Some(GroupOutput::Persist { ticket, operations }),
                Output::Load { ticket, range } => return Some(GroupOutput::Load { ticket, range }),
                Output::Halt { reason } => return Some(GroupOutput::Halt { reason }),
                Output::Event(event) => {
                    self.outputs.extend(P::older_copy(&event).map(|peer| GroupOutput::OlderCopy { peer }));
                    self.tell(Told::Event(event));
                }
                Output::Request { ticket, request } => self.tell(Told::Request { ticket, request }),
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.core.deadline()
    }

    fn halted(&mut self, _reason: &HaltReason) {
        self.outputs.clear();
        self.told_from += self.told.len() as u64;
        self.acknowledged = self.told_from - 1;
        self.told.clear();
        let listener = self.listener.take();
        self.outputs.extend(listener.map(|call| GroupOutput::Reply { call, reply: Reply::Unknown }));
    }

    fn channel(&self) -> ChannelId {
        self.channel
    }

    fn is_settled(&self) -> bool {
        true
    }

    fn may_rest(&self) -> bool {
        self.core.may_rest()
    }

    fn rest(&self) -> Option<Rest> {
        self.core.rest()
    }
}

impl<P: Hostable> fmt::Debug for Hosted<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hosted").field("id", &self.id).field("core", &self.core).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
