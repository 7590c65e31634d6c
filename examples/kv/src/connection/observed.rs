//! What a connection tells about itself, and what it measures.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};

use crate::clients::ClientRow;
use crate::command::{Query, ReadBatch, Replies, Spec};
use crate::entry::{Entry, Item, decode_arguments};
use crate::pubsub::Topic;
use crate::resp::{Encoder, Reply, errors_among};
use crate::stats::{Calls, SlowCommand, Stats};

use super::{Connection, State};

/// What a connection knows for `CLIENT LIST`, and the measurements of its node.
#[derive(Debug, Default)]
pub(super) struct Observed {
    pub(super) stats: Rc<RefCell<Stats>>,
    /// The client's address and that of the node's end.
    addresses: Option<(SocketAddr, SocketAddr)>,
    /// Microseconds by the node's clock.
    now_micros: u64,
    /// When the connection was made, and when its last command came.
    began_micros: u64,
    commanded_micros: u64,
    /// The last command, and its subcommand if it has some.
    last: Option<usize>,
    last_subcommand: Option<Box<[u8]>>,
    /// The commands of the group that is being taken.
    pub(super) calls: Calls,
}

/// What has become of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// It was refused before it was carried out.
    Rejected,
    /// It waits for `EXEC`.
    Queued,
    /// It is answered with others.
    Grouped,
    /// It was answered at once.
    Answered,
}

/// What is measured of requests that are answered together.
#[derive(Debug, Default)]
pub(super) struct Measured {
    calls: Calls,
    began_micros: u64,
    first: First,
    /// The client does not get the replies.
    is_muted: bool,
}

/// The first of the commands that are answered together, which is shown if they are slow.
#[derive(Debug, Default)]
pub(super) enum First {
    /// Its name says all.
    #[default]
    Name,
    /// The first one of an entry.
    OfEntry(Bytes),
    /// Encoded arguments.
    Arguments(Bytes),
}

impl Observed {
    /// Microseconds by the node's clock.
    pub(super) fn now_micros(&self) -> u64 {
        self.now_micros
    }
}

impl First {
    pub(super) fn of_batch(batch: &ReadBatch) -> Self {
        match batch.queries.first() {
            Some(Query::Command(_, arguments)) => Self::Arguments(arguments.clone()),
            _ => Self::Name,
        }
    }

    /// The command with its arguments, shortened.
    fn shortened(&self, name: &str) -> Vec<Bytes> {
        match self {
            Self::Name => SlowCommand::shorten(&[name.as_bytes()]),
            Self::Arguments(bytes) => {
                SlowCommand::shorten(&decode_arguments(bytes).unwrap_or_else(|_| vec![name.as_bytes()]))
            }
            Self::OfEntry(bytes) => match Entry::open(bytes).map(|mut entry| entry.next()) {
                Ok(Some(Ok(Item::Command(arguments)))) => SlowCommand::shorten(&arguments),
                _ => SlowCommand::shorten(&[name.as_bytes()]),
            },
        }
    }
}

impl Connection {
    /// Sets the ends of the socket.
    pub fn set_addresses(&mut self, client: SocketAddr, own: SocketAddr) {
        self.observed.addresses = Some((client, own));
    }

    /// Measures into `stats` from now on, which is this time by the node's clock in microseconds.
    pub fn share_stats(&mut self, stats: Rc<RefCell<Stats>>, now_micros: u64) {
        let observed = &mut self.observed;
        observed.stats = stats;
        observed.now_micros = now_micros;
        (observed.began_micros, observed.commanded_micros) = (now_micros, now_micros);
    }

    /// Sets the time by the node's clock in microseconds.
    pub fn set_clock(&mut self, now_micros: u64) {
        self.observed.now_micros = now_micros;
    }

    /// Takes no further request, and closes once all replies are sent.
    pub fn close_after_replies(&mut self) {
        self.session.closing = true;
    }

    /// The connection as `CLIENT LIST` shows it at this time by the node's clock in microseconds.
    pub fn row(&self, now_micros: u64) -> ClientRow {
        let observed = &self.observed;
        let seconds_since = |micros: u64| now_micros.saturating_sub(micros) / 1_000_000;
        let command = observed.last.map_or("", |place| Spec::at(place).name);
        let subcommand = observed.last_subcommand.as_deref().map(|name| String::from_utf8_lossy(name).to_lowercase());
        ClientRow {
            id: self.session.id,
            addresses: observed.addresses,
            name: self.session.name.clone(),
            age_seconds: seconds_since(observed.began_micros),
            idle_seconds: seconds_since(observed.commanded_micros),
            flags: self.flags(),
            subscriptions: Topic::ALL.map(|topic| self.subscriptions.len(topic)),
            queued: self.transaction.queued(),
            input_bytes: (self.input.len(), self.input.capacity() - self.input.len()),
            output_bytes: self.replies_bytes(),
            command: subcommand.map_or_else(|| command.to_owned(), |name| format!("{command}|{name}")),
            user: Bytes::copy_from_slice(&self.session.user),
            version: self.session.version,
        }
    }

    fn flags(&self) -> String {
        let flags = [
            (self.is_subscribed(), 'P'),
            (self.transaction.is_open(), 'x'),
            (self.is_blocked, 'b'),
            (self.session.closing, 'c'),
            (self.session.local_reads, 'r'),
            (self.session.no_evict, 'e'),
        ];
        let set: String = flags.into_iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| flag).collect();
        if set.is_empty() { "N".to_owned() } else { set }
    }

    /// Takes the answer about clients.
    ///
    /// # Panics
    /// When the slot does not wait for such an answer.
    pub fn on_clients(&mut self, slot: u64, reply: &Reply) {
        let pending = self.slot_mut(slot);
        assert!(matches!(pending.state, State::Clients), "a slot that asks for no clients was answered");
        let mut replies = BytesMut::new();
        Encoder::new(&mut replies, pending.version).reply(reply);
        self.reading -= 1;
        self.settle(slot, replies);
    }

    /// Notes a request that was taken.
    pub(super) fn note_taken(&mut self, place: usize, arguments: &[&[u8]], taken: Taken) {
        let spec = Spec::at(place);
        let observed = &mut self.observed;
        observed.commanded_micros = observed.now_micros;
        observed.last = Some(place);
        observed.last_subcommand = arguments.get(1).filter(|_| spec.is_container).map(|name| Box::from(*name));
        match taken {
            Taken::Queued => {}
            Taken::Grouped => observed.calls.add(place),
            Taken::Rejected => observed.stats.borrow_mut().note_rejected(place),
            Taken::Answered if spec.is_container => {
                observed.stats.borrow_mut().note_subcommand(spec.full_name(arguments));
            }
            Taken::Answered => observed.stats.borrow_mut().note_call(place),
        }
    }

    /// What is to be measured of the group that begins.
    pub(super) fn measure(&mut self, first: First) -> Measured {
        let calls = std::mem::take(&mut self.observed.calls);
        let is_muted = self.is_muted();
        // The time for which a command waits for something to take does not count.
        let began_micros = if self.is_blocked { u64::MAX } else { self.observed.now_micros };
        Measured { calls, began_micros, first, is_muted }
    }

    /// Returns true if the client does not get the reply to what is taken now.
    pub(super) fn is_muted(&self) -> bool {
        self.session.replies != Replies::On
    }

    /// Notes the errors among the last replies to a slot, of which `count` are for its last commands.
    pub(super) fn note_errors(&mut self, slot: u64, replies: &[u8], count: usize) {
        // By far the most replies.
        if count == 1 && replies.first() != Some(&b'-') {
            return;
        }
        let stats = Rc::clone(&self.observed.stats);
        let calls = &self.slot_mut(slot).measured.calls;
        for (place, text) in errors_among(replies) {
            let mut stats = stats.borrow_mut();
            stats.note_error(text);
            if let Some(command) = calls.at(calls.len().saturating_sub(count) + place) {
                stats.note_failed(command);
            }
        }
    }

    /// Gives a slot its replies, or the last of them, and measures it.
    pub(super) fn settle(&mut self, slot: u64, replies: BytesMut) {
        let (now, wall_ms) = (self.observed.now_micros, self.wall_ms);
        let pending = self.slot_mut(slot);
        let measured = std::mem::take(&mut pending.measured);
        let replies = if measured.is_muted { BytesMut::new() } else { replies };
        let length = replies.len();
        pending.state = State::Ready(replies);
        self.held_bytes += length;
        let micros = now.saturating_sub(measured.began_micros);
        let mut stats = self.observed.stats.borrow_mut();
        stats.note_calls(&measured.calls, micros);
        if stats.slow_log.takes(micros)
            && let Some(command) = measured.calls.at(0)
        {
            stats.slow_log.add(SlowCommand {
                unix_seconds: wall_ms / 1000,
                micros,
                arguments: measured.first.shortened(Spec::at(command).name),
                address: self.observed.addresses.map_or_else(String::new, |addresses| addresses.0.to_string()),
                name: self.session.name.clone().unwrap_or_default(),
            });
        }
        drop(stats);
        self.release();
    }
}
