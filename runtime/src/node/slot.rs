//! A group's place on a node: what waits for it, and the wall that keeps its panics from the others.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};

use quorate_protocol::{GroupId, HaltReason, Instant, NodeId, Now, Standing, Ticket, VotingBar};
use quorate_transport::Received;
use quorate_wal::StreamId;

use super::turn::output_weight;
use crate::{Group, GroupInput, GroupOutput};

pub(super) struct Slot {
    pub(super) id: GroupId,
    pub(super) stream: StreamId,
    /// The voters that the group was founded with: until this node is introduced to all of them it does not vote.
    pub(super) voters: BTreeSet<NodeId>,
    group: Box<dyn Group>,
    /// What waits for the group's turn, in the order it came. Frames are bounded in bytes, the newest are dropped.
    waiting: VecDeque<Waiting>,
    frames_bytes: usize,
    /// A time-out waits.
    is_due: bool,
    state: State,
    /// A halt that was not told yet.
    news: Option<HaltReason>,
    /// Why this node does not vote in the group, as the group was last told. Every group begins barred.
    pub(super) barred: Option<VotingBar>,
    /// What peers count for, as it was last queued. Nobody counts at first.
    standings: BTreeMap<NodeId, Standing>,
    /// Peers that founded the group otherwise, as the group was last told.
    pub(super) foreign: BTreeSet<NodeId>,
    pub(super) is_ready: bool,
    pub(super) armed: Option<Instant>,
    /// The newest write it asked for.
    pub(super) last_ticket: Ticket,
}

/// What has its place among the frames. A group judges a message by what its sender counts for, so that changes of
/// standing never overtake frames; and it judges silence by the frames that came, so that neither does a time-out.
#[derive(Debug)]
enum Waiting {
    Frame(Received),
    Standing(NodeId, Standing),
    Alive(NodeId),
    Timeout,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Running,
    /// It stopped by itself: it may still be asked, and gives what it has left.
    Halted,
    /// It panicked: only the answers that wait in it may still come out.
    Panicked,
}

impl Slot {
    pub(super) fn new(id: GroupId, stream: StreamId, voters: BTreeSet<NodeId>, group: Box<dyn Group>) -> Self {
        Self {
            id,
            stream,
            voters,
            group,
            waiting: VecDeque::new(),
            frames_bytes: 0,
            is_due: false,
            state: State::Running,
            news: None,
            barred: Some(VotingBar::NotIntroduced),
            standings: BTreeMap::new(),
            foreign: BTreeSet::new(),
            is_ready: false,
            armed: None,
            last_ticket: Ticket(0),
        }
    }

    /// Queues a frame for the group's next turn. False when there is no room, or the group has stopped.
    pub(super) fn queue(&mut self, received: Received, frames_bytes_max: usize) -> bool {
        let bytes = received.frame.wire_bytes();
        if self.state != State::Running || self.frames_bytes + bytes > frames_bytes_max {
            return false;
        }
        self.frames_bytes += bytes;
        self.waiting.push_back(Waiting::Frame(received));
        true
    }

    /// Queues what a peer counts for from its next frame on, when that has changed.
    pub(super) fn queue_standing(&mut self, node: NodeId, standing: Standing) {
        if self.standings.insert(node, standing) != Some(standing) {
            self.queue_news(Waiting::Standing(node, standing));
        }
    }

    /// Queues that something was heard from a peer.
    pub(super) fn queue_alive(&mut self, peer: NodeId) {
        self.queue_news(Waiting::Alive(peer));
    }

    /// Queues a time-out behind the frames that came before it; one waits at a time.
    pub(super) fn queue_timeout(&mut self) {
        if !std::mem::replace(&mut self.is_due, true) {
            self.queue_news(Waiting::Timeout);
        }
    }

    fn queue_news(&mut self, news: Waiting) {
        if self.state == State::Running {
            self.waiting.push_back(news);
        }
    }

    /// Gives the group an input at once, unless it has stopped.
    pub(super) fn handle(&mut self, now: Now, input: GroupInput) {
        if self.state == State::Running {
            self.guard(|group| group.handle(now, input));
        }
    }

    /// Runs `f` on the group, unless it has panicked or does so now.
    pub(super) fn enter<R>(&mut self, f: impl FnOnce(&mut dyn Group) -> R) -> Option<R> {
        if self.state == State::Panicked { None } else { self.guard(f) }
    }

    /// The group's turn: what waits for it, then its outputs, each up to `bytes_max`. True when something is left for
    /// the next.
    pub(super) fn take_turn(&mut self, now: Now, bytes_max: usize, outputs: &mut Vec<GroupOutput>) -> bool {
        let mut bytes = 0;
        while bytes < bytes_max
            && let Some(next) = self.waiting.pop_front()
        {
            let input = match next {
                Waiting::Frame(received) => {
                    let length = received.frame.wire_bytes();
                    self.frames_bytes -= length;
                    bytes += length;
                    GroupInput::Frame(received)
                }
                Waiting::Standing(node, standing) => GroupInput::PeerStanding { node, standing },
                Waiting::Alive(peer) => GroupInput::PeerAlive(peer),
                Waiting::Timeout => {
                    self.is_due = false;
                    GroupInput::Timeout
                }
            };
            self.handle(now, input);
        }
        let is_exhausted = self.poll(bytes_max, outputs);
        !is_exhausted || !self.waiting.is_empty()
    }

    /// When the group wants a time-out; nothing while one waits for its turn.
    pub(super) fn deadline(&mut self) -> Option<Instant> {
        if self.state != State::Running || self.is_due {
            return None;
        }
        self.guard(|group| group.deadline()).flatten()
    }

    /// Why the group stopped, told once.
    pub(super) fn take_news(&mut self) -> Option<HaltReason> {
        self.news.take()
    }

    pub(super) fn has_stopped(&self) -> bool {
        self.state != State::Running
    }

    pub(super) fn is_settled(&mut self) -> bool {
        self.state != State::Running || self.guard(|group| group.is_settled()).unwrap_or(true)
    }

    pub(super) fn group(&self) -> &dyn Group {
        &*self.group
    }

    /// True when the group has no more outputs.
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
                // It panicked while it was polled: what it has left are answers.
                None if self.state != before => {}
                None => return true,
            }
        }
        false
    }

    /// What a panicked group may still say: answers to those who wait. A second panic silences it.
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

    /// Calls the group behind the wall. What a panic leaves of it is not used again, hence the assertion of unwind
    /// safety.
    fn guard<R>(&mut self, f: impl FnOnce(&mut dyn Group) -> R) -> Option<R> {
        let group = &mut *self.group;
        match catch_unwind(AssertUnwindSafe(|| f(group))) {
            Ok(value) => Some(value),
            Err(payload) => {
                let reason = HaltReason::Panicked(panic_message(&*payload));
                let group = &mut self.group;
                // A panic within `halted` leaves callers without an answer: their handles say `Unknown` by themselves.
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

/// The text of a panic.
pub(crate) fn panic_message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let owned = payload.downcast_ref::<String>().map(String::as_str);
    text.or(owned).unwrap_or("a panic without a text").to_owned()
}

/// How many held outputs of a panicked group are thrown away on the way to its next answer, before it is given up.
const HELD_OUTPUTS_MAX: usize = 1 << 20;
