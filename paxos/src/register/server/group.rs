//! Registers as a group of a node, which answers its callers.

use std::any::{Any, TypeId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use bytes::Bytes;
use quorate_protocol::{GroupId, HaltReason, Instant, NodeId, Now, ProposalId, ReadId, Rest, SessionId};
use quorate_runtime::group::{CallId, ChannelId, Group, GroupInput, GroupOutput, Members, Membership, Reply};
use quorate_runtime::hosted::{Hosted, Told};

use super::super::{Change, Command, CommandRefusal, Event, Register, RolesChange, RolesInForce, Trace};
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
    /// The members with which the group was founded, and how they are reached.
    founders: Members,
    /// The roles whose members the node was last told: their number, and those to come.
    told: Option<(u64, Option<RolesInForce>)>,
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
    pub(super) fn new(id: GroupId, session: SessionId, founders: Members, core: Register) -> Self {
        Self {
            hosted: Hosted::new(id, CHANNEL, core),
            session,
            drawn: 0,
            reads: 0,
            waiting: BTreeMap::new(),
            answers: BTreeMap::new(),
            outputs: VecDeque::new(),
            founders,
            told: None,
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

    /// Changes the acceptors and proposers. [`take`](Self::take) has the answer.
    pub fn change_roles(&mut self, now: Now, call: CallId, change: RolesChange) {
        let id = self.next_read();
        self.command(now, call, Awaited::Answer(id), Command::ChangeRoles { id, change }, false);
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
                Event::Read { id, .. } | Event::Resolved { id, .. } | Event::RolesChanged { id, .. } => {
                    Awaited::Answer(*id)
                }
                Event::RolesInForce { .. } => continue,
            };
            if let Some(call) = self.waiting.remove(&awaited) {
                self.answer(call, event);
            }
        }
    }

    /// Tells the node who the members are: with them it exchanges frames. Nodes that are to get a role are among them.
    fn tell_members(&mut self) {
        let Some(core) = self.hosted.core() else { return };
        let (in_force, to_come) = (core.roles(), core.roles_to_come());
        let is_told =
            |(epoch, told): &(u64, Option<RolesInForce>)| *epoch == in_force.epoch() && told.as_ref() == to_come;
        if self.told.as_ref().is_some_and(is_told) {
            return;
        }
        let all = [in_force].into_iter().chain(to_come);
        let nodes: BTreeSet<NodeId> = all.clone().flat_map(RolesInForce::members).collect();
        let of_founder = |node: NodeId| self.founders.iter().find(|(founder, _)| *founder == node);
        let context = |node: NodeId| {
            let added = all.clone().find_map(|roles| roles.context(node));
            added.or_else(|| of_founder(node).map(|(_, context)| context)).cloned().unwrap_or_default()
        };
        let contexts: Members = nodes.into_iter().map(|node| (node, context(node))).collect();
        // A new node need not meet those that leave: they may be gone for good.
        let membership = Membership { voters: in_force.roles().members(), ..Membership::default() };
        self.told = Some((in_force.epoch(), to_come.cloned()));
        self.outputs.push_back(GroupOutput::Members { contexts, membership });
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
        self.tell_members();
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
