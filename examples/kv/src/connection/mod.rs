//! One client's connection, without its socket.
//!
//! Bytes go in, and work for the store comes out. Answers go in, in any order, and replies come out, in the order of
//! the requests. A client sees its own commands take effect in the order in which it sent them: reads wait until the
//! writes before them are answered, and writes until the reads before them are, while any number of either kind is on
//! its way at once. Consecutive writes in the input become one entry of the log, and consecutive reads one read.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};

use super::address::Address;
use super::clients::ClientRequest;
use super::command::{Answer, Blocking, ReadBatch, Replies, Session};
use super::entry::decode_outcome;
use super::memory::Memory;
use super::pubsub::{Change, Request};
use super::resp::{Encoder, Limits, Reply, RequestReader, RequestRoom, Reservation, Version};
use super::shards::layout::{Layout, Target};
use super::store::{VALUE_BYTES_MAX, WORK_BYTES_MAX};

mod access;
mod observed;
mod requests;
mod subscriptions;
mod transaction;

use access::Access;
pub use access::KnownUsers;
use observed::{Measured, Observed};
use subscriptions::{Asking, Subscriptions};
use transaction::Transaction;

/// Limits of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Maximum bytes of unanswered requests. Beyond them the socket is not read. One request may be larger.
    pub pipeline_bytes_max: usize,
    /// Maximum bytes of unsent replies. Beyond them no request is taken. So a client can send its whole pipeline before
    /// it reads, up to this limit. One batch of replies may be larger.
    pub replies_bytes_max: usize,
    /// Maximum bytes of an argument. A longer one ends the connection with an error, as in Redis.
    pub argument_bytes_max: usize,
    /// Maximum bytes of one entry: a command, or all commands of a transaction. A larger one is refused.
    pub command_bytes_max: usize,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            pipeline_bytes_max: 1024 * 1024,
            replies_bytes_max: 64 * 1024 * 1024,
            argument_bytes_max: VALUE_BYTES_MAX,
            command_bytes_max: WORK_BYTES_MAX - ENTRY_HEAD_BYTES_MAX,
        }
    }
}

/// Work of the store for a connection.
#[derive(Debug)]
pub enum Work {
    /// Propose an entry of writes.
    Write {
        /// Number to be passed back with the answer.
        slot: u64,
        /// The shard for which the entry is.
        target: Target,
        /// The entry.
        entry: Bytes,
        /// What to wait for if the reply is that there was nothing. Then the entry is proposed again.
        blocking: Option<Blocking>,
        /// The entry changes the users, so this node has to learn of them before the client is answered.
        changes_users: bool,
    },
    /// Answer a batch of reads.
    Read {
        /// Number to be passed back with the answer.
        slot: u64,
        /// The shard that answers.
        target: Target,
        /// The reads.
        batch: ReadBatch,
        /// The required freshness of the answer.
        freshness: Freshness,
    },
    /// Ask all nodes, this one included.
    Ask {
        /// Number to be passed back with the answer.
        slot: u64,
        /// The request.
        request: Request,
    },
    /// Tell about the node's clients, or end some.
    Clients {
        /// Number to be passed back with the answer.
        slot: u64,
        /// The request.
        request: ClientRequest,
    },
    /// Note changes of the client's subscriptions. There is no answer.
    Subscriptions(Vec<Change>),
}

/// The freshness of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// The read sees every write that was acknowledged before the read was submitted.
    Linearizable,
    /// The read sees the entries that this node has applied.
    Local,
}

/// The result of an entry of writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// The entry was applied, with these replies.
    Applied(Bytes),
    /// The entry certainly was not applied, and never will be.
    NotApplied(Reason),
    /// The entry may have been applied, or may yet be.
    Unknown,
}

/// Reason why a command certainly had no effect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// No leader with a quorum was found in time.
    #[error("NOQUORUM not applied")]
    NoQuorum,
    /// Too many commands wait.
    #[error("OVERLOADED not applied")]
    Overloaded,
    /// Others changed the same keys again and again, or a transaction that holds some of them did not end.
    #[error("ABORTED not applied")]
    Aborted,
    /// The command cannot be carried out over several shards.
    #[error("CROSSSLOT not applied: its keys are in several shards")]
    CrossShard,
    /// Another node leads the shard of the command's keys, and answers it.
    #[error("MOVED {slot} {to}")]
    Moved {
        /// The slot of the keys.
        slot: u16,
        /// The node's address for clients.
        to: Address,
    },
    /// The log's disk is full.
    #[error("DISKFULL not applied")]
    DiskFull,
    /// The entry is above the maximum size.
    #[error("TOOLARGE not applied")]
    TooLarge,
    /// The other nodes treat this node as a stranger: its disk was replaced.
    #[error("READONLY not applied: the disk of this node was replaced, write to another node")]
    ReadOnly,
    /// The node is shutting down.
    #[error("SHUTDOWN not applied")]
    Shutdown,
}

/// One client's connection.
///
/// ```
/// use quorate_kv::command::apply;
/// use quorate_kv::connection::{Connection, ConnectionLimits, Work, Written};
/// use quorate_kv::store::Store;
///
/// let mut connection = Connection::new(1, ConnectionLimits::default());
/// connection.input().extend_from_slice(b"SET planet earth\r\n");
/// let Some(Work::Write { slot, entry, .. }) = connection.next_work() else { unreachable!() };
/// let replies = apply(&mut Store::new(), 0, &entry).unwrap();
/// connection.on_written(slot, Written::Applied(replies));
/// assert_eq!(&connection.output()[..], b"+OK\r\n");
/// ```
#[derive(Debug)]
pub struct Connection {
    limits: ConnectionLimits,
    layout: Arc<Layout>,
    session: Session,
    access: Access,
    transaction: Transaction,
    subscriptions: Subscriptions,
    memory: Memory,
    reader: RequestReader,
    /// The room of large requests that are not answered, or wait for `EXEC`.
    kept: Vec<Reservation>,
    input: BytesMut,
    output: BytesMut,
    /// Requests that are not answered, or are answered but follow one that is not.
    slots: VecDeque<PendingReply>,
    /// The number of the first slot.
    first_slot: u64,
    /// Slots whose writes wait for an answer.
    writing: usize,
    /// Slots whose reads, messages or questions to all nodes wait for an answer.
    reading: usize,
    /// Messages of entries that were applied, which are to be published.
    outcomes: VecDeque<Work>,
    /// Bytes of the requests in all slots.
    unanswered_bytes: usize,
    /// Bytes of replies in all slots.
    held_bytes: usize,
    /// Bytes of replies that may wait now: at most the limit, less while the server is short of memory.
    replies_room: usize,
    /// The wall clock in Unix ms.
    wall_ms: u64,
    /// The state from which the numbers of entries are drawn.
    random: u64,
    /// A command waits until there is something to take, and nothing behind it begins.
    is_blocked: bool,
    /// Work for several shards is on its way, and nothing behind it begins.
    is_alone: bool,
    /// The client sends no more.
    ended: bool,
    commands: u64,
    /// The outcome of the last entry of writes is not known.
    is_unsure: bool,
    observed: Observed,
}

#[derive(Debug)]
struct PendingReply {
    request_bytes: usize,
    version: Version,
    state: State,
    measured: Measured,
}

#[derive(Debug)]
enum State {
    /// This number of writes is on its way.
    Writes { count: usize, target: Target },
    /// This number of reads is on its way.
    Reads { count: usize, target: Target, freshness: Freshness },
    /// The node was asked about its clients.
    Clients,
    /// All nodes were asked.
    Asking(Asking),
    /// Some of the reads were answered. The others are submitted again once those replies were sent.
    Rest { replies: BytesMut, target: Target, batch: ReadBatch, freshness: Freshness },
    /// The replies.
    Ready(BytesMut),
}

impl Connection {
    /// A new connection with its number, from 1.
    pub fn new(id: i64, limits: ConnectionLimits) -> Self {
        let requests = Limits {
            argument_bytes_max: limits.argument_bytes_max,
            request_bytes_max: limits.command_bytes_max + ENTRY_HEAD_BYTES_MAX,
        };
        Self {
            limits,
            layout: Arc::new(Layout::single()),
            session: Session::new(id),
            access: Access::open(),
            transaction: Transaction::default(),
            subscriptions: Subscriptions::default(),
            memory: Memory::default(),
            reader: RequestReader::new(requests, RequestRoom::new(LARGE_BYTES_MAX)),
            kept: Vec::new(),
            input: BytesMut::new(),
            output: BytesMut::new(),
            slots: VecDeque::new(),
            first_slot: 0,
            writing: 0,
            reading: 0,
            outcomes: VecDeque::new(),
            unanswered_bytes: 0,
            held_bytes: 0,
            replies_room: limits.replies_bytes_max,
            wall_ms: 0,
            random: 0,
            is_blocked: false,
            is_alone: false,
            ended: false,
            commands: 0,
            is_unsure: false,
            observed: Observed::default(),
        }
    }

    /// Has what the client writes respect this limit of memory.
    pub fn share_memory(&mut self, memory: &Memory) {
        self.memory = memory.clone();
    }

    /// Has the large requests take their memory from a room that other connections share.
    pub fn share_room(&mut self, room: &RequestRoom) {
        self.reader.share_room(room);
    }

    /// Bytes for which the buffer of the input is to have space, so that it need not grow while they come.
    pub fn input_expected(&self) -> usize {
        self.reader.bytes_expected().saturating_sub(self.input.len())
    }

    /// Returns true while a large request comes, which takes up room that others may need.
    pub fn is_receiving(&self) -> bool {
        self.input_expected() > 0 && self.wants_input()
    }

    /// The buffer to which received bytes are to be appended, if [`wants_input`](Self::wants_input).
    pub fn input(&mut self) -> &mut BytesMut {
        &mut self.input
    }

    /// Returns true if the socket is to be read.
    pub fn wants_input(&self) -> bool {
        let fits = self.slots.is_empty() || self.input.len() + self.unanswered_bytes < self.limits.pipeline_bytes_max;
        !self.ended && !self.session.closing && fits && self.output.len() < self.replies_room()
    }

    /// Returns true if the client has to take replies before anything else happens.
    pub fn waits_for_client(&self) -> bool {
        let takes_nothing_more = self.ended || self.session.closing;
        self.output.len() >= self.replies_room() || (takes_nothing_more && !self.output.is_empty())
    }

    /// Bytes of unsent replies.
    pub fn replies_bytes(&self) -> usize {
        self.output.len() + self.held_bytes
    }

    /// Returns true if the client has to log in first. Then its requests must be small, and few replies may wait.
    pub fn is_stranger(&self) -> bool {
        self.session.needs_login(&self.access.known.users)
    }

    fn replies_room(&self) -> usize {
        if self.is_stranger() { self.replies_room.min(STRANGER_REPLIES_BYTES_MAX) } else { self.replies_room }
    }

    /// Sets the maximum bytes of replies that may wait, up to the limit.
    pub fn set_replies_room(&mut self, bytes: usize) {
        self.replies_room = bytes.min(self.limits.replies_bytes_max);
    }

    /// Sets the wall clock, in Unix ms, which converts points of time that the client names to spans, and a number that
    /// no client knows, from which random choices follow.
    pub fn set_moment(&mut self, wall_ms: u64, random: u64) {
        self.wall_ms = wall_ms;
        self.random = random;
    }

    /// Sets the layout by which the work of later requests is divided.
    pub fn set_layout(&mut self, layout: &Arc<Layout>) {
        if !Arc::ptr_eq(&self.layout, layout) {
            self.layout = Arc::clone(layout);
        }
    }

    /// Notes that the client sends no more. Its earlier requests are still answered.
    pub fn end_input(&mut self) {
        self.ended = true;
    }

    /// Bytes to be sent. The caller removes sent bytes from the front.
    pub fn output(&mut self) -> &mut BytesMut {
        &mut self.output
    }

    /// Returns true if the connection is to be closed, once [`next_work`](Self::next_work) gives nothing: all requests
    /// are answered, all replies are sent, and no request will follow.
    pub fn is_done(&self) -> bool {
        (self.ended || self.session.closing) && self.slots.is_empty() && self.output.is_empty()
    }

    /// Returns true if the client has gone while a command waited for something to take.
    pub fn is_abandoned(&self) -> bool {
        self.ended && self.is_blocked
    }

    /// Returns true if a command waits for something to take.
    pub fn is_blocked(&self) -> bool {
        self.is_blocked
    }

    /// Requests taken so far.
    pub fn commands(&self) -> u64 {
        self.commands
    }

    /// The next work that may begin now. To be called until it gives `None`, after each input, answer, and sending.
    pub fn next_work(&mut self) -> Option<Work> {
        if let Some(work) = self.outcomes.pop_front().or_else(|| self.ask_again()) {
            return Some(work);
        }
        if self.slots.is_empty() && !self.transaction.is_open() {
            self.kept.clear();
        }
        let mut input = std::mem::take(&mut self.input);
        let mut group = None;
        let (mut taken, mut group_bytes) = (0, 0);
        while self.has_room() {
            let is_last = self.session.replies == Replies::SkipNext;
            // A command without a reply has a place of its own.
            if is_last && group.is_some() {
                break;
            }
            let Some(length) = self.take_request(&input[taken..], &mut group) else {
                break;
            };
            taken += length;
            group_bytes += if group.is_some() { length } else { 0 };
            self.commands += 1;
            if is_last && group.is_some() {
                break;
            }
            if is_last {
                self.session.replies = Replies::On;
            }
        }
        taken += self.reader.pass_over();
        input.advance(taken);
        if self.session.closing || (input.is_empty() && taken > INPUT_BYTES_KEPT) {
            input = BytesMut::new();
        }
        self.input = input;
        if !self.subscriptions.is_settled() {
            return Some(Work::Subscriptions(self.subscriptions.take_changes()));
        }
        group.map(|group| self.begin(group, group_bytes))
    }

    /// Takes the answer to an entry of writes.
    ///
    /// # Panics
    /// When the slot does not wait for such an answer.
    pub fn on_written(&mut self, slot: u64, written: Written) {
        let is_unsure = written == Written::Unknown;
        let pending = self.slot_mut(slot);
        let State::Writes { count, .. } = pending.state else {
            panic!("a slot without writes was answered");
        };
        let errors = |text: &str| {
            let mut replies = BytesMut::new();
            let mut encoder = Encoder::new(&mut replies, pending.version);
            (0..count).for_each(|_| encoder.error(text.as_bytes()));
            replies
        };
        let (replies, published) = match written {
            Written::Applied(outcome) => decode_outcome(outcome).expect("this node's replica encoded it"),
            Written::NotApplied(reason) => (errors(&reason.to_string()).freeze(), Vec::new()),
            Written::Unknown => (errors("TIMEOUT outcome unknown").freeze(), Vec::new()),
        };
        self.writing -= 1;
        self.is_blocked = false;
        self.is_alone = false;
        self.access.is_changing = false;
        self.is_unsure = is_unsure;
        self.note_errors(slot, &replies, count);
        if published.is_empty() {
            self.settle(slot, replies.into());
        } else {
            self.publish_outcome(slot, replies, published);
        }
    }

    /// Takes the answer to a batch of reads.
    ///
    /// # Panics
    /// When the slot does not wait for such an answer.
    pub fn on_read(&mut self, slot: u64, answer: Result<Answer, Reason>) {
        let pending = self.slot_mut(slot);
        let State::Reads { count, target, freshness } = pending.state else {
            panic!("a slot without reads was answered");
        };
        let mut watched = Vec::new();
        let (replies, rest) = match answer {
            Ok(Answer::Replies { encoded, rest }) => (encoded, rest),
            Ok(Answer::Scan(scan)) => (scan.run(), None),
            Ok(Answer::Nothing { .. }) => panic!("a read was answered by a wait"),
            Ok(Answer::Watched(keys)) => {
                watched = keys;
                (BytesMut::from(&b"+OK\r\n"[..]), None)
            }
            Err(reason) => {
                let mut replies = BytesMut::new();
                let mut encoder = Encoder::new(&mut replies, pending.version);
                (0..count).for_each(|_| encoder.error(reason.to_string().as_bytes()));
                (replies, None)
            }
        };
        self.note_errors(slot, &replies, count);
        self.is_blocked = false;
        self.transaction.watch(watched);
        if let Some(batch) = rest {
            self.held_bytes += replies.len();
            self.slot_mut(slot).state = State::Rest { replies, target, batch, freshness };
            self.release();
        } else {
            self.reading -= 1;
            self.settle(slot, replies);
        }
    }

    fn has_room(&self) -> bool {
        let is_free = !self.access.is_changing
            && !self.session.closing
            && !self.is_blocked
            && !self.is_alone
            && self.subscriptions.is_settled();
        is_free && self.replies_bytes() < self.replies_room()
    }

    /// Submits the rest of a batch of reads, if its turn has come.
    fn ask_again(&mut self) -> Option<Work> {
        if self.output.len() >= self.replies_room() {
            return None;
        }
        let slot = self.first_slot;
        let front = self.slots.front_mut()?;
        let State::Rest { batch, target, freshness, .. } = &mut front.state else {
            return None;
        };
        let (target, freshness) = (*target, *freshness);
        let batch = ReadBatch { queries: std::mem::take(&mut batch.queries), version: batch.version };
        front.state = State::Reads { count: batch.queries.len(), target, freshness };
        Some(Work::Read { slot, target, batch, freshness })
    }

    /// Adds a reply behind all unanswered requests.
    fn reply(&mut self, request_bytes: usize, reply: &Reply) {
        if let Reply::Error(text) = reply {
            self.observed.stats.borrow_mut().note_error(text);
        }
        if self.is_muted() {
            return;
        }
        let version = self.session.version;
        let before = self.held_bytes;
        match self.slots.back_mut() {
            None => Encoder::new(&mut self.output, version).reply(reply),
            Some(PendingReply { state: State::Ready(replies), request_bytes: bytes, .. }) => {
                let length = replies.len();
                Encoder::new(replies, version).reply(reply);
                self.held_bytes = before + replies.len() - length;
                *bytes += request_bytes;
                self.unanswered_bytes += request_bytes;
            }
            Some(_) => {
                let mut replies = BytesMut::new();
                Encoder::new(&mut replies, version).reply(reply);
                self.held_bytes += replies.len();
                self.unanswered_bytes += request_bytes;
                let state = State::Ready(replies);
                self.slots.push_back(PendingReply { request_bytes, version, state, measured: Measured::default() });
            }
        }
    }

    fn slot_mut(&mut self, slot: u64) -> &mut PendingReply {
        let index = usize::try_from(slot - self.first_slot).expect("slots are few");
        self.slots.get_mut(index).expect("an answer is for a slot that waits")
    }

    /// Moves replies whose turn has come to the output.
    fn release(&mut self) {
        while let Some(front) = self.slots.front_mut() {
            let (State::Ready(replies) | State::Rest { replies, .. }) = &mut front.state else {
                return;
            };
            let replies = std::mem::take(replies);
            self.held_bytes -= replies.len();
            if self.output.is_empty() {
                self.output = replies;
            } else {
                self.output.extend_from_slice(&replies);
            }
            if matches!(front.state, State::Rest { .. }) {
                return;
            }
            self.unanswered_bytes -= front.request_bytes;
            self.slots.pop_front();
            self.first_slot += 1;
        }
    }
}

/// Maximum bytes of replies that wait for a client that has to log in, as in Redis.
const STRANGER_REPLIES_BYTES_MAX: usize = 1024;
/// Bytes of an entry without its commands, and of the lengths in a request, at most.
const ENTRY_HEAD_BYTES_MAX: usize = 64 * 1024;
/// Bytes of large requests of a connection that shares no room.
const LARGE_BYTES_MAX: usize = 4 * WORK_BYTES_MAX;
/// A larger input buffer is returned to the allocator once it is used up.
const INPUT_BYTES_KEPT: usize = 64 * 1024;

#[cfg(test)]
mod tests;
