//! Registers as a group of a node, which answers its callers.

use std::any::{Any, TypeId};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use bytes::Bytes;
use quorate_protocol::{GroupId, HaltReason, Instant, Now, ProposalId, ReadId, Rest, SessionId};
use quorate_runtime::group::{CallId, ChannelId, Group, GroupInput, GroupOutput, Reply};
use quorate_runtime::hosted::{Hosted, Told};

use super::super::{Change, Command, CommandRefusal, Event, Register, Trace};
use super::CHANNEL;

/// A [`Register`] on a node: it gives the core the commands of its callers, and each caller its answer.
///
/// [`RegisterHandle`](super::RegisterHandle) is made for it. A call is answered by [`Reply::Told`], and its answer is
/// then taken from here. [`Reply::Unknown`] means that the group stopped before.
pub struct Registers {
    hosted: Hosted<Register>,
    /// The session of this start of the node, in which ids are drawn.
    session: SessionId,
    drawn: u64,
    reads: u64,
    /// The calls that wait, by what they wait for. The core answers each of them.
    waiting: BTreeMap<Awaited, CallId>,
    /// Answers that their callers have not taken yet.
    answers: BTreeMap<CallId, Event>,
    outputs: VecDeque<GroupOutput>,
    is_stopping: bool,
    is_halted: bool,
}

/// What a call waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Awaited {
    Change(ProposalId),
    Answer(ReadId),
}

impl Registers {
    /// Makes the group. Ids are drawn in `session`, which no other start of any node has.
    pub(super) fn new(id: GroupId, session: SessionId, core: Register) -> Self {
        Self {
            hosted: Hosted::new(id, CHANNEL, core),
            session,
            drawn: 0,
            reads: 0,
            waiting: BTreeMap::new(),
            answers: BTreeMap::new(),
            outputs: VecDeque::new(),
            is_stopping: false,
            is_halted: false,
        }
    }

    /// The core, for inspection.
    pub fn core(&self) -> Option<&Register> {
        self.hosted.core()
    }

    /// Draws an id that no other change has: it is of this start of the node.
    pub fn draw_id(&mut self) -> ProposalId {
        self.drawn += 1;
        ProposalId { session: self.session, sequence: self.drawn }
    }

    /// Changes a register under an id that may have been used before. [`take`](Self::take) has the answer.
    pub fn change(&mut self, now: Now, call: CallId, key: Bytes, id: ProposalId, change: Change) {
        // Two calls with one id cannot both wait. The core would refuse the second by the same name.
        let is_reused = self.waiting.contains_key(&Awaited::Change(id));
        self.command(now, call, Awaited::Change(id), Command::Change { key, id, change }, is_reused);
    }

    /// Reads a register. [`take`](Self::take) has the answer.
    pub fn read(&mut self, now: Now, call: CallId, key: Bytes) {
        let id = self.next_read();
        self.command(now, call, Awaited::Answer(id), Command::Read { key, id }, false);
    }

    /// Settles a change whose outcome is unknown. [`take`](Self::take) has the answer.
    pub fn resolve(&mut self, now: Now, call: CallId, key: Bytes, trace: Trace) {
        let id = self.next_read();
        self.command(now, call, Awaited::Answer(id), Command::Resolve { key, id, trace }, false);
    }

    /// The answer to a call.
    pub fn take(&mut self, call: CallId) -> Option<Event> {
        self.answers.remove(&call)
    }

    fn next_read(&mut self) -> ReadId {
        self.reads += 1;
        ReadId(self.reads)
    }

    fn command(&mut self, now: Now, call: CallId, awaited: Awaited, command: Command, is_reused: bool) {
        let reason = if is_reused {
            Some(CommandRefusal::IdReused)
        } else if self.is_halted {
            Some(CommandRefusal::Halted)
        } else if self.is_stopping {
            Some(CommandRefusal::ShuttingDown)
        } else {
            None
        };
        if let Some(reason) = reason {
            return self.answer(call, command.refused(reason));
        }
        self.waiting.insert(awaited, call);
        let refused = command.refused(CommandRefusal::Halted);
        // A group on the node's own log always serves its core.
        if self.hosted.command(now, command).is_err() {
            self.waiting.remove(&awaited);
            self.answer(call, refused);
        }
    }

    fn answer(&mut self, call: CallId, answer: Event) {
        self.answers.insert(call, answer);
        self.outputs.push_back(GroupOutput::Reply { call, reply: Reply::Told });
    }

    /// Gives callers the events of the core.
    fn hear(&mut self) {
        for told in self.hosted.take() {
            let Told::Event(event) = told else { continue };
            let awaited = match &event {
                Event::Changed { id, .. } => Awaited::Change(*id),
                Event::Read { id, .. } | Event::Resolved { id, .. } => Awaited::Answer(*id),
            };
            if let Some(call) = self.waiting.remove(&awaited) {
                self.answer(call, event);
            }
        }
    }

    /// The group has stopped: the callers that wait will get no event.
    fn end_calls(&mut self) {
        self.is_halted = true;
        for call in std::mem::take(&mut self.waiting).into_values() {
            self.outputs.push_back(GroupOutput::Reply { call, reply: Reply::Unknown });
        }
    }
}

impl Group for Registers {
    fn handle(&mut self, now: Now, input: GroupInput) {
        self.is_stopping |= matches!(input, GroupInput::Shutdown { .. });
        self.hosted.handle(now, input);
    }

    fn poll_output(&mut self) -> Option<GroupOutput> {
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        let output = self.hosted.poll_output();
        self.hear();
        if matches!(output, Some(GroupOutput::Halt { .. })) {
            self.end_calls();
        }
        output.or_else(|| self.outputs.pop_front())
    }

    fn deadline(&self) -> Option<Instant> {
        self.hosted.deadline()
    }

    fn halted(&mut self, reason: &HaltReason) {
        self.hosted.halted(reason);
        self.end_calls();
    }

    fn channel(&self) -> ChannelId {
        CHANNEL
    }

    fn is_settled(&self) -> bool {
        self.waiting.is_empty()
    }

    fn may_rest(&self) -> bool {
        self.hosted.may_rest()
    }

    fn rest(&self) -> Option<Rest> {
        self.hosted.rest()
    }

    fn part(&self, wanted: TypeId) -> Option<&dyn Any> {
        (wanted == TypeId::of::<Hosted<Register>>()).then_some(&self.hosted as &dyn Any)
    }
}

impl fmt::Debug for Registers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registers").field("hosted", &self.hosted).finish_non_exhaustive()
    }
}
