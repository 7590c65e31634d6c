//! The store at the moment of a command.

use std::cell::Cell;

use crate::entry::Published;
use crate::pubsub::Message;
use crate::random::{below, draw};
use crate::resp::Reply;
use crate::store::{Collection, Store, User, WrongType};

use super::errors::invalid_time;

/// Arguments of a command.
pub(super) type Arguments<'b, 'a> = &'b [&'a [u8]];

/// The moment at which a command is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At {
    /// The log's time in Unix ms, which alone decides which keys exist.
    pub log_time: u64,
    /// The log time at this moment in Unix ms, by which the remaining time of a key is computed.
    pub now: u64,
}

/// The store as a command sees it that changes nothing.
#[derive(Debug)]
pub struct View<'a> {
    /// The store.
    pub store: &'a Store,
    /// The moment.
    pub at: At,
    random: Cell<u64>,
}

/// The store as a command sees it that changes it, in an entry of the log. Everything here is the same on every
/// replica.
#[derive(Debug)]
pub struct Change<'a> {
    /// The store.
    pub store: &'a mut Store,
    /// The entry's time in Unix ms.
    pub log_time: u64,
    /// The wall clock of the node that took the command, in Unix ms.
    pub wall_ms: u64,
    random: u64,
    /// Keys must not grow, unless by a script that has changed something.
    pub(super) is_full: bool,
    /// The user who gave the commands, by which those of scripts are checked. `None`: it may do everything.
    user: Option<User>,
    /// The messages to be published once the entry is applied.
    published: Vec<Published>,
    published_bytes: usize,
}

impl<'a> View<'a> {
    /// A view of the store. `random` decides what is drawn.
    pub fn new(store: &'a Store, at: At, random: u64) -> Self {
        Self { store, at, random: Cell::new(random) }
    }

    /// The string of a key.
    pub(super) fn text(&self, key: &[u8]) -> Result<Option<&'a [u8]>, WrongType> {
        self.store.text(self.at.log_time, key)
    }

    /// The collection of a key.
    pub(super) fn collection<C: Collection + 'a>(&self, key: &[u8]) -> Result<Option<&'a C>, WrongType> {
        self.store.collection(self.at.log_time, key)
    }

    /// Returns true if there is such a key.
    pub(super) fn has(&self, key: &[u8]) -> bool {
        self.store.get(self.at.log_time, key).is_some()
    }

    /// A number that is drawn for this call.
    pub(super) fn random(&self) -> u64 {
        let (next, drawn) = draw(self.random.get());
        self.random.set(next);
        drawn
    }

    /// A number below `bound`, which is not 0.
    pub(super) fn random_below(&self, bound: usize) -> usize {
        below(self.random(), bound)
    }
}

impl<'a> Change<'a> {
    /// The store in an entry.
    pub fn new(store: &'a mut Store, log_time: u64, wall_ms: u64, random: u64) -> Self {
        Self { store, log_time, wall_ms, random, is_full: false, user: None, published: Vec::new(), published_bytes: 0 }
    }

    /// The same for a user who may not do everything.
    pub(super) fn for_user(self, user: Option<User>) -> Self {
        Self { user, ..self }
    }

    /// The user who gave the commands. `None`: it may do everything.
    pub(super) fn user(&self) -> Option<&User> {
        self.user.as_ref()
    }

    /// The store for a command that only reads.
    pub(super) fn view(&mut self) -> View<'_> {
        let random = self.random();
        View::new(self.store, At { log_time: self.log_time, now: self.log_time }, random)
    }

    /// The string of a key.
    pub(super) fn text(&self, key: &[u8]) -> Result<Option<&[u8]>, WrongType> {
        self.store.text(self.log_time, key)
    }

    /// The collection of a key.
    pub(super) fn collection<C: Collection>(&self, key: &[u8]) -> Result<Option<&C>, WrongType> {
        self.store.collection(self.log_time, key)
    }

    /// Changes the collection of a key, as [`Store::update`].
    pub(super) fn update<C: Collection, R>(
        &mut self,
        key: &[u8],
        change: impl FnOnce(&mut C) -> R,
    ) -> Result<R, WrongType> {
        self.store.update(self.log_time, key, change)
    }

    /// Returns true if there is such a key.
    pub(super) fn has(&self, key: &[u8]) -> bool {
        self.store.get(self.log_time, key).is_some()
    }

    /// Removes a key. Returns false if there was none.
    pub(super) fn remove(&mut self, key: &[u8]) -> bool {
        self.store.remove(self.log_time, key)
    }

    /// The deadline of a key.
    pub(super) fn deadline(&self, key: &[u8]) -> Option<u64> {
        self.store.get(self.log_time, key)?.deadline()
    }

    /// A number that is drawn for this call.
    pub(super) fn random(&mut self) -> u64 {
        let (next, drawn) = draw(self.random);
        self.random = next;
        drawn
    }

    /// Publishes a message once the entry is applied. `place` is the place of its number of receivers among the
    /// replies.
    pub(super) fn publish(&mut self, message: Message, place: usize) -> Result<(), Reply> {
        let bytes = self.published_bytes + size_of::<Published>() + message.channel.len() + message.payload.len();
        if bytes > PUBLISHED_BYTES_MAX {
            return Err(Reply::error("ERR a transaction or script publishes more than 1 MiB"));
        }
        self.published_bytes = bytes;
        self.published.push(Published { message, place: Some(place) });
        Ok(())
    }

    /// The number of messages to be published so far.
    pub(super) fn published(&self) -> usize {
        self.published.len()
    }

    /// Notes that the client does not see the numbers of receivers of all messages but this many.
    pub(super) fn hide_receivers(&mut self, from: usize) {
        self.published[from..].iter_mut().for_each(|published| published.place = None);
    }

    /// The messages to be published.
    pub(super) fn into_published(self) -> Vec<Published> {
        self.published
    }

    /// The deadline in log time that a client's number stands for.
    pub(super) fn deadline_of(&self, number: i64, time: Time, command: &str) -> Result<u64, Reply> {
        let ms = match time.unit {
            Unit::Seconds => number.checked_mul(1000),
            Unit::Milliseconds => Some(number),
        };
        let span = ms.map(|ms| if time.is_absolute { ms.saturating_sub_unsigned(self.wall_ms) } else { ms });
        let deadline = span.and_then(|span| i64::try_from(self.log_time).ok()?.checked_add(span));
        // A time before 1970 counts as the first millisecond of 1970.
        deadline.map(|deadline| u64::try_from(deadline).unwrap_or(0)).ok_or_else(|| invalid_time(command))
    }
}

/// The meaning of a number that a client gives as a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time {
    /// Its unit.
    pub unit: Unit,
    /// It is a point of time by the wall clock, not a span.
    pub is_absolute: bool,
}

/// The unit of a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Milliseconds,
}

/// Maximum bytes of the messages that one entry publishes.
const PUBLISHED_BYTES_MAX: usize = 1024 * 1024;
