//! A group's slot on a node: its waiting inputs, and the guard that contains its panics.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};

use quorate_protocol::{
    GroupId, HaltReason, Instant, NodeId, Now, Operation, Rest, Signal, Standing, Ticket, VotingBar,
};
use quorate_transport::Received;
use quorate_wal::StreamId;

use crate::group::interface::{CallId, Group, GroupInput, GroupOutput, Membership};
use crate::group::reply::Reply;
use crate::panics::panic_message;

pub(super) struct GroupSlot {
    pub(super) id: GroupId,
    pub(super) stream: StreamId,
    /// The voters that the group was founded with. The node does not vote before it is introduced to all of them.
    pub(super) voters: BTreeSet<NodeId>,
    /// The part of the configuration in force that decides who counts, as the group last reported it.
    pub(super) membership: Membership,
    group: Box<dyn Group>,
    /// Frames and signals that wait for the group's turn, in the order of arrival. Frames are bounded in bytes; the
    /// newest are dropped.
    ///
    /// A group judges a message by its sender's standing, so changes of standing must not overtake frames. It detects
    /// silence by the frames that came, so a time-out must not overtake them either.
    waiting: VecDeque<GroupInput>,
    frames_bytes: usize,
    /// True while a time-out waits.
    is_due: bool,
    state: State,
    /// The reason of a halt that was not reported yet.
    news: Option<HaltReason>,
    /// Reason why this node does not vote in the group, as last passed to the group. Every group starts barred.
    pub(super) barred: Option<VotingBar>,
    /// The standings of peers, as last queued. At first no peer counts.
    standings: BTreeMap<NodeId, Standing>,
    /// Peers that founded the group otherwise, as last passed to the group.
    pub(super) foreign: BTreeSet<NodeId>,
    /// True if the group may come to rest. Never changes.
    pub(super) may_rest: bool,
    /// The group's rest after its last turn, if it is at rest.
    pub(super) rest: Option<Box<Rest>>,
    /// The time from which the group is told again when peers were last heard from, before a call.
    pub(super) tell_contacts_at: Instant,
    pub(super) is_ready: bool,
    pub(super) armed: Option<Instant>,
    /// The ticket of its newest write.
    pub(super) last_ticket: Ticket,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Running,
    /// The group stopped by itself. It may still be called, and its remaining outputs are taken.
    Halted,
    /// The group panicked or was removed. Only the answers that wait in it are still taken.
    Panicked,
}

impl GroupSlot {
    pub(super) fn new(id: GroupId, stream: StreamId, voters: BTreeSet<NodeId>, group: Box<dyn Group>) -> Self {
        Self {
            id,
            stream,
            voters,
            membership: Membership::default(),
            may_rest: group.may_rest(),
            group,
            waiting: VecDeque::new(),
            frames_bytes: 0,
            is_due: false,
            state: State::Running,
            news: None,
            barred: Some(VotingBar::NotIntroduced),
            standings: BTreeMap::new(),
            foreign: BTreeSet::new(),
            rest: None,
            tell_contacts_at: Instant::ZERO,
            is_ready: false,
            armed: None,
            last_ticket: Ticket(0),
        }
    }

    /// Queues a frame for the group's next turn. Returns false if there is no room, or the group has stopped.
    pub(super) fn queue(&mut self, received: Received, frames_bytes_max: usize) -> bool {
        let bytes = received.frame.wire_bytes();
        if self.state != State::Running || self.frames_bytes + bytes > frames_bytes_max {
            return false;
        }
        self.frames_bytes += bytes;
        self.waiting.push_back(GroupInput::Frame(received));
        true
    }

    /// Queues the standing of a peer that holds from its next frame on, if it has changed.
    pub(super) fn queue_standing(&mut self, node: NodeId, standing: Standing) {
        if self.standings.insert(node, standing) != Some(standing) {
            self.queue_signal(Signal::PeerStanding { node, standing });
        }
    }

    /// Queues a time-out behind the frames that came before it. Only one waits at a time.
    pub(super) fn queue_timeout(&mut self) {
        if !std::mem::replace(&mut self.is_due, true) {
            self.queue_signal(Signal::Timeout);
        }
    }

    /// Queues a signal behind the frames that came before it, unless the group has stopped.
    pub(super) fn queue_signal(&mut self, signal: Signal) {
        if self.state == State::Running {
            self.waiting.push_back(GroupInput::Signal(signal));
        }
    }

    /// Passes an input to the group at once, unless it has stopped.
    pub(super) fn handle(&mut self, now: Now, input: GroupInput) {
        if self.state == State::Running {
            self.guard(|group| group.handle(now, input));
        }
    }

    /// Runs `f` on the group. Returns `None` if it has panicked or does so now.
    pub(super) fn enter<R>(&mut self, f: impl FnOnce(&mut dyn Group) -> R) -> Option<R> {
        if self.state == State::Panicked { None } else { self.guard(f) }
    }

    /// The group's turn: passes its waiting inputs and takes its outputs, each up to `bytes_max`. Returns true if
    /// something is left for the next turn.
    pub(super) fn take_turn(&mut self, now: Now, bytes_max: usize, outputs: &mut Vec<GroupOutput>) -> bool {
        let mut bytes = 0;
        while bytes < bytes_max
            && let Some(next) = self.waiting.pop_front()
        {
            match &next {
                GroupInput::Frame(received) => {
                    let length = received.frame.wire_bytes();
                    self.frames_bytes -= length;
                    bytes += length;
                }
                GroupInput::Signal(Signal::Timeout) => self.is_due = false,
                _ => {}
            }
            self.handle(now, next);
        }
        let is_exhausted = self.poll(bytes_max, outputs);
        !is_exhausted || !self.waiting.is_empty()
    }

    /// Returns the time at which the group wants a time-out; `None` while one waits for its turn.
    pub(super) fn deadline(&mut self) -> Option<Instant> {
        if self.state != State::Running || self.is_due {
            return None;
        }
        self.guard(|group| group.deadline()).flatten()
    }

    /// Returns the rest of the group, if it runs and is at rest.
    pub(super) fn current_rest(&mut self) -> Option<Rest> {
        if self.state == State::Running { self.guard(|group| group.rest()).flatten() } else { None }
    }

    /// Returns the reason why the group stopped, once.
    pub(super) fn take_news(&mut self) -> Option<HaltReason> {
        self.news.take()
    }

    /// Ends the group because it was removed. Returns the answers to its waiting callers.
    pub(super) fn dismiss(mut self) -> Vec<(CallId, Reply)> {
        if self.state != State::Panicked {
            self.guard(|group| group.halted(&HaltReason::Removed));
            self.state = State::Panicked;
        }
        let answers = std::iter::from_fn(|| self.poll_answer());
        let answer = |output| if let GroupOutput::Reply { call, reply } = output { Some((call, reply)) } else { None };
        answers.filter_map(answer).collect()
    }

    pub(super) fn has_stopped(&self) -> bool {
        self.state != State::Running
    }

    pub(super) fn is_settled(&mut self) -> bool {
        self.state != State::Running || self.guard(|group| group.is_settled()).unwrap_or(true)
    }

    pub(super) fn listeners(&mut self) -> usize {
        if self.has_stopped() { 0 } else { self.guard(|group| group.listeners()).unwrap_or(0) }
    }

    pub(super) fn group(&self) -> &dyn Group {
        &*self.group
    }

    /// Takes outputs up to `bytes_max`. Returns true if the group has no more.
    fn poll(&mut self, bytes_max: usize, outputs: &mut Vec<GroupOutput>) -> bool {
        let mut bytes = 0;
        while bytes < bytes_max {
            let before = self.state;
            let polled = match before {
                State::Panicked => self.poll_answer(),
                State::Running | State::Halted => self.guard(Group::poll_output).flatten(),
            };
            match polled {
                Some(GroupOutput::Halt { reason }) => self.halt(State::Halted, reason),
                Some(output) => {
                    bytes += output_weight(&output);
                    outputs.push(output);
                }
                // The group panicked while it was polled. From now on only its answers are taken.
                None if self.state != before => {}
                None => return true,
            }
        }
        false
    }

    /// Returns the next answer of an ended group to a waiting caller. After a second panic nothing more is taken.
    fn poll_answer(&mut self) -> Option<GroupOutput> {
        for _ in 0..HELD_OUTPUTS_MAX {
            let group = &mut self.group;
            let output = catch_unwind(AssertUnwindSafe(|| group.poll_output())).ok().flatten()?;
            if matches!(output, GroupOutput::Reply { .. }) {
                return Some(output);
            }
        }
        None
    }

    /// Calls the group and catches a panic. After a panic the group's state is not used, hence `AssertUnwindSafe`.
    fn guard<R>(&mut self, f: impl FnOnce(&mut dyn Group) -> R) -> Option<R> {
        let group = &mut *self.group;
        match catch_unwind(AssertUnwindSafe(|| f(group))) {
            Ok(value) => Some(value),
            Err(payload) => {
                let reason = HaltReason::Panicked(panic_message(&*payload));
                let group = &mut self.group;
                // A panic within `halted` leaves callers without an answer. Their handles then return `Unknown`.
                let _ = catch_unwind(AssertUnwindSafe(|| group.halted(&reason)));
                self.halt(State::Panicked, reason);
                None
            }
        }
    }

    fn halt(&mut self, state: State, reason: HaltReason) {
        self.state = state;
        self.news = Some(reason);
        self.waiting.clear();
        self.frames_bytes = 0;
        self.is_due = false;
    }
}

/// Maximum number of held outputs of a panicked group that are dropped before its next answer. Beyond it the group is
/// not polled again.
const HELD_OUTPUTS_MAX: usize = 1 << 20;

/// Returns an estimate of the bytes that an output costs the shell.
fn output_weight(output: &GroupOutput) -> usize {
    match output {
        GroupOutput::Send { frame, .. } => frame.wire_bytes(),
        GroupOutput::Persist { operations, .. } => operations.iter().map(Operation::weight).sum(),
        _ => OUTPUT_WEIGHT,
    }
}

/// Weight of an output whose bytes are not counted.
const OUTPUT_WEIGHT: usize = 64;
