//! One client's connection, without its socket.
//!
//! Bytes go in, and work for the store comes out. Answers go in, in any order, and replies come out, in the order of
//! the requests. A client sees its own commands take effect in the order in which it sent them: reads wait until the
//! writes before them are answered, and writes until the reads before them are, while any number of either kind is on
//! its way at once. Consecutive writes in the input become one entry of the log, and consecutive reads one read.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

use super::command::{Answer, Command, Query, ReadBatch, Session, SessionEffect, parse};
use super::resp::{Encoder, Limits, Reply, Request, RequestReader, Version};
use super::store::{SetAnswer, VALUE_BYTES_MAX, Write, WriteOutcome};

/// Limits of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Maximum bytes of unanswered requests. Beyond them the socket is not read. One request may be larger.
    pub pipeline_bytes_max: usize,
    /// Maximum bytes of unsent replies. Beyond them no request is taken. So a client can send its whole pipeline before
    /// it reads, up to this limit. One batch of replies may be larger.
    pub replies_bytes_max: usize,
    /// Maximum bytes of one entry of the log. A larger write is refused.
    pub command_bytes_max: usize,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            pipeline_bytes_max: 1024 * 1024,
            replies_bytes_max: 64 * 1024 * 1024,
            command_bytes_max: 1024 * 1024 - 8192,
        }
    }
}

/// Work of the store for a connection.
#[derive(Debug)]
pub enum Work {
    /// Propose a batch of writes.
    Write {
        /// Number to be passed back with the answer.
        slot: u64,
        /// The entry's payload.
        batch: Bytes,
    },
    /// Answer a batch of reads.
    Read {
        /// Number to be passed back with the answer.
        slot: u64,
        /// The reads.
        batch: ReadBatch,
        /// The required freshness of the answer.
        freshness: Freshness,
    },
}

/// The freshness of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// The read sees every write that was acknowledged before the read was submitted.
    Linearizable,
    /// The read sees the entries that this node has applied.
    Local,
}

/// The result of a batch of writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// The batch was applied, with these outcomes.
    Applied(Bytes),
    /// The batch certainly was not applied, and never will be.
    NotApplied(Reason),
    /// The batch may have been applied, or may yet be.
    Unknown,
}

/// Reason why a command certainly had no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// No leader with a quorum was found in time.
    #[error("NOQUORUM not applied")]
    NoQuorum,
    /// Too many commands wait.
    #[error("OVERLOADED not applied")]
    Overloaded,
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
/// use quorate_examples::kv::connection::{Connection, ConnectionLimits, Work, Written};
/// use quorate_examples::kv::store::Store;
///
/// let mut connection = Connection::new(1, ConnectionLimits::default());
/// connection.input().extend_from_slice(b"SET planet earth\r\n");
/// let Some(Work::Write { slot, batch }) = connection.next_work() else { unreachable!() };
/// let outcomes = Store::new(0).apply(0, &batch);
/// connection.on_written(slot, &Written::Applied(outcomes));
/// assert_eq!(&connection.output()[..], b"+OK\r\n");
/// ```
#[derive(Debug)]
pub struct Connection {
    limits: ConnectionLimits,
    session: Session,
    reader: RequestReader,
    input: BytesMut,
    output: BytesMut,
    /// Requests that are not answered, or are answered but follow one that is not.
    slots: VecDeque<PendingReply>,
    /// The number of the first slot.
    first_slot: u64,
    /// Slots whose writes wait for an answer.
    writing: usize,
    /// Slots whose reads wait for an answer.
    reading: usize,
    /// Bytes of the requests in all slots.
    unanswered_bytes: usize,
    /// Bytes of replies in all slots.
    held_bytes: usize,
    /// Bytes of replies that may wait now: at most the limit, less while the server is short of memory.
    replies_room: usize,
    /// The wall clock in Unix ms.
    wall_ms: u64,
    /// The client sends no more.
    ended: bool,
    commands: u64,
}

#[derive(Debug)]
struct PendingReply {
    request_bytes: usize,
    version: Version,
    state: State,
}

#[derive(Debug)]
enum State {
    /// This number of writes is on its way.
    Writes(usize),
    /// This number of reads is on its way.
    Reads { count: usize, freshness: Freshness },
    /// Some of the reads were answered. The others are submitted again once those replies were sent.
    Rest { replies: BytesMut, batch: ReadBatch, freshness: Freshness },
    /// The replies.
    Ready(BytesMut),
}

/// Consecutive commands of the input that take effect together.
enum Group {
    Writes { batch: BytesMut, count: usize, is_full: bool },
    Reads { queries: Vec<Query>, freshness: Freshness, is_full: bool },
}

impl Connection {
    /// A new connection with its number, from 1.
    pub fn new(id: i64, limits: ConnectionLimits) -> Self {
        let requests = Limits {
            argument_bytes_max: VALUE_BYTES_MAX,
            request_bytes_max: limits.command_bytes_max.max(2 * VALUE_BYTES_MAX),
        };
        Self {
            limits,
            session: Session::new(id),
            reader: RequestReader::new(requests),
            input: BytesMut::new(),
            output: BytesMut::new(),
            slots: VecDeque::new(),
            first_slot: 0,
            writing: 0,
            reading: 0,
            unanswered_bytes: 0,
            held_bytes: 0,
            replies_room: limits.replies_bytes_max,
            wall_ms: 0,
            ended: false,
            commands: 0,
        }
    }

    /// The buffer to which received bytes are to be appended, if [`wants_input`](Self::wants_input).
    pub fn input(&mut self) -> &mut BytesMut {
        &mut self.input
    }

    /// Returns true if the socket is to be read.
    pub fn wants_input(&self) -> bool {
        let fits = self.slots.is_empty() || self.input.len() + self.unanswered_bytes < self.limits.pipeline_bytes_max;
        !self.ended && !self.session.closing && fits && self.output.len() < self.replies_room
    }

    /// Returns true if the client has to take replies before anything else happens.
    pub fn waits_for_client(&self) -> bool {
        let takes_nothing_more = self.ended || self.session.closing;
        self.output.len() >= self.replies_room || (takes_nothing_more && !self.output.is_empty())
    }

    /// Bytes of unsent replies.
    pub fn replies_bytes(&self) -> usize {
        self.output.len() + self.held_bytes
    }

    /// Sets the maximum bytes of replies that may wait, up to the limit.
    pub fn set_replies_room(&mut self, bytes: usize) {
        self.replies_room = bytes.min(self.limits.replies_bytes_max);
    }

    /// Sets the wall clock, in Unix ms. It converts points of time that the client names to spans.
    pub fn set_wall(&mut self, wall_ms: u64) {
        self.wall_ms = wall_ms;
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

    /// Requests taken so far.
    pub fn commands(&self) -> u64 {
        self.commands
    }

    /// The next work that may begin now. To be called until it gives `None`, after each input, answer, and sending.
    pub fn next_work(&mut self) -> Option<Work> {
        if let Some(work) = self.ask_again() {
            return Some(work);
        }
        let mut input = std::mem::take(&mut self.input);
        let mut group = None;
        let (mut taken, mut group_bytes) = (0, 0);
        while self.has_room()
            && let Some(length) = self.take_request(&input[taken..], &mut group)
        {
            taken += length;
            group_bytes += if group.is_some() { length } else { 0 };
            self.commands += 1;
        }
        taken += self.reader.pass_over();
        input.advance(taken);
        if self.session.closing || (input.is_empty() && taken > INPUT_BYTES_KEPT) {
            input = BytesMut::new();
        }
        self.input = input;
        group.map(|group| self.begin(group, group_bytes))
    }

    /// Takes the answer to a batch of writes.
    ///
    /// # Panics
    /// When the slot does not wait for such an answer.
    pub fn on_written(&mut self, slot: u64, written: &Written) {
        let slot = self.slot_mut(slot);
        let State::Writes(count) = slot.state else {
            panic!("a slot without writes was answered");
        };
        let mut replies = BytesMut::new();
        let mut encoder = Encoder::new(&mut replies, slot.version);
        match written {
            Written::Applied(outcomes) => encode_outcomes(&mut encoder, outcomes, count),
            Written::NotApplied(reason) => (0..count).for_each(|_| encoder.error(reason.to_string().as_bytes())),
            Written::Unknown => (0..count).for_each(|_| encoder.error(b"TIMEOUT outcome unknown")),
        }
        let length = replies.len();
        slot.state = State::Ready(replies);
        self.held_bytes += length;
        self.writing -= 1;
        self.release();
    }

    /// Takes the answer to a batch of reads.
    ///
    /// # Panics
    /// When the slot does not wait for such an answer.
    pub fn on_read(&mut self, slot: u64, answer: Result<Answer, Reason>) {
        let slot = self.slot_mut(slot);
        let State::Reads { count, freshness } = slot.state else {
            panic!("a slot without reads was answered");
        };
        let (replies, rest) = match answer {
            Ok(Answer::Replies { encoded, rest }) => (encoded, rest),
            Ok(Answer::Scan(scan)) => (scan.run(), None),
            Err(reason) => {
                let mut replies = BytesMut::new();
                let mut encoder = Encoder::new(&mut replies, slot.version);
                (0..count).for_each(|_| encoder.error(reason.to_string().as_bytes()));
                (replies, None)
            }
        };
        let length = replies.len();
        let is_answered = rest.is_none();
        slot.state = match rest {
            Some(batch) => State::Rest { replies, batch, freshness },
            None => State::Ready(replies),
        };
        self.held_bytes += length;
        self.reading -= usize::from(is_answered);
        self.release();
    }

    fn has_room(&self) -> bool {
        !self.session.closing && self.replies_bytes() < self.replies_room
    }

    /// Takes the first request of the input and returns its length. `None` if it is incomplete, or must not begin yet.
    fn take_request(&mut self, input: &[u8], group: &mut Option<Group>) -> Option<usize> {
        let request = match self.reader.request(input) {
            Ok(request) => request?,
            Err(_) if group.is_some() => return None,
            Err(error) => {
                self.reply(0, &Reply::error(format!("ERR Protocol error: {error}")));
                self.session.closing = true;
                return None;
            }
        };
        let length = self.reader.request_bytes();
        if matches!(request, Request::TooLarge) {
            if group.is_some() {
                return None;
            }
            self.reply(length, &Reply::error(Reason::TooLarge.to_string()));
            return Some(self.reader.consume());
        }
        let arguments = request.arguments();
        if arguments.is_empty() {
            return Some(self.reader.consume());
        }
        match parse(&arguments, self.wall_ms) {
            Ok(Command::Write(write)) if write.encoded_len_max() <= self.limits.command_bytes_max => {
                self.join_writes(group, &write)?;
            }
            Ok(Command::Read(query)) => self.join_reads(group, query)?,
            // This request is answered here, so the earlier ones must have their place among the replies first.
            _ if group.is_some() => return None,
            Ok(Command::Write(_)) => self.reply(length, &Reply::error(Reason::TooLarge.to_string())),
            Ok(Command::Session(command)) => match self.session.execute(command) {
                SessionEffect::Reply(reply) => self.reply(length, &reply),
                SessionEffect::Ask(query) => self.join_reads(group, query)?,
                SessionEffect::Nothing => {}
            },
            Err(reply) => self.reply(length, &reply),
        }
        Some(self.reader.consume())
    }

    /// Adds a write to the group. `None` if it must not begin yet.
    fn join_writes(&self, group: &mut Option<Group>, write: &Write<'_>) -> Option<()> {
        // The old value in the answer may be long, so such a write has a group of its own.
        let is_alone = matches!(write, Write::Set { answer: SetAnswer::Old, .. });
        if self.reading > 0 || (is_alone && group.is_some()) {
            return None;
        }
        let added = write.encoded_len_max();
        let group = group.get_or_insert_with(|| Group::Writes {
            batch: BytesMut::with_capacity(added),
            count: 0,
            is_full: false,
        });
        match group {
            Group::Writes { batch, count, is_full: false }
                if *count == 0 || (*count < GROUP_COMMANDS_MAX && batch.len() + added <= GROUP_BYTES_MAX) =>
            {
                write.encode(batch);
                *count += 1;
            }
            _ => return None,
        }
        if let Group::Writes { is_full, .. } = group {
            *is_full = is_alone;
        }
        Some(())
    }

    /// Adds a read to the group. `None` if it must not begin yet.
    fn join_reads(&self, group: &mut Option<Group>, query: Query) -> Option<()> {
        // `KEYS` is answered elsewhere, and reads about the node must be answered without a quorum.
        let is_alone = matches!(query, Query::Keys(_)) || query.is_about_node();
        if self.writing > 0 || (is_alone && group.is_some()) {
            return None;
        }
        let is_local = self.session.local_reads || query.is_about_node();
        let group = group.get_or_insert_with(|| Group::Reads {
            queries: Vec::new(),
            freshness: if is_local { Freshness::Local } else { Freshness::Linearizable },
            is_full: is_alone,
        });
        match group {
            Group::Reads { queries, is_full, .. } if queries.is_empty() || !*is_full => {
                queries.push(query);
                *is_full |= queries.len() == GROUP_COMMANDS_MAX;
                Some(())
            }
            _ => None,
        }
    }

    /// Gives a group its place among the replies.
    fn begin(&mut self, group: Group, request_bytes: usize) -> Work {
        let slot = self.first_slot + self.slots.len() as u64;
        let version = self.session.version;
        let (state, work) = match group {
            Group::Writes { batch, count, .. } => {
                self.writing += 1;
                (State::Writes(count), Work::Write { slot, batch: batch.freeze() })
            }
            Group::Reads { queries, freshness, .. } => {
                self.reading += 1;
                let count = queries.len();
                let batch = ReadBatch { queries, version };
                (State::Reads { count, freshness }, Work::Read { slot, batch, freshness })
            }
        };
        self.unanswered_bytes += request_bytes;
        self.slots.push_back(PendingReply { request_bytes, version, state });
        work
    }

    /// Submits the rest of a batch of reads, if its turn has come.
    fn ask_again(&mut self) -> Option<Work> {
        if self.output.len() >= self.replies_room {
            return None;
        }
        let slot = self.first_slot;
        let front = self.slots.front_mut()?;
        let State::Rest { batch, freshness, .. } = &mut front.state else {
            return None;
        };
        let freshness = *freshness;
        let batch = ReadBatch { queries: std::mem::take(&mut batch.queries), version: batch.version };
        front.state = State::Reads { count: batch.queries.len(), freshness };
        Some(Work::Read { slot, batch, freshness })
    }

    /// Adds a reply behind all unanswered requests.
    fn reply(&mut self, request_bytes: usize, reply: &Reply) {
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
                self.slots.push_back(PendingReply { request_bytes, version, state: State::Ready(replies) });
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

fn encode_outcomes(encoder: &mut Encoder<'_>, outcomes: &[u8], count: usize) {
    let mut encoded = 0;
    for outcome in WriteOutcome::decode_all(outcomes) {
        match outcome.expect("this process made the outcomes") {
            WriteOutcome::Nil => encoder.null(),
            WriteOutcome::Ok => encoder.status("OK"),
            WriteOutcome::Integer(number) => encoder.integer(number),
            WriteOutcome::Value(value) => encoder.bulk(value),
            WriteOutcome::Refused(refusal) => encoder.error(refusal.to_string().as_bytes()),
        }
        encoded += 1;
    }
    assert_eq!(encoded, count, "each write of a batch has an outcome");
}

/// Maximum number of commands that become one entry of the log, or one read.
const GROUP_COMMANDS_MAX: usize = 128;
/// Maximum bytes of writes that become one entry of the log. A larger write has an entry of its own.
const GROUP_BYTES_MAX: usize = 64 * 1024;
/// A larger input buffer is returned to the allocator once it is used up.
const INPUT_BYTES_KEPT: usize = 64 * 1024;

#[cfg(test)]
mod tests;
