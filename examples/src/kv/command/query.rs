//! Reads: created when a request arrives, answered once the store is fresh enough.

use bytes::BytesMut;

use crate::kv::resp::{Encoder, Reply, Version};
use crate::kv::store::{Lifetime, Snapshot, Store, Unit};

use super::glob;
use super::info::ServerInfo;

/// A question to the store. It holds copies of its keys, since the client's bytes are gone when it is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Query {
    /// The value of a key.
    Get(Box<[u8]>),
    /// The values of keys.
    GetMany(Vec<Box<[u8]>>),
    /// The number of these keys that exist. A key that is named twice counts twice.
    Exists(Vec<Box<[u8]>>),
    /// The length of a value in bytes.
    Length(Box<[u8]>),
    /// The remaining time of a key.
    TimeToLive(Box<[u8]>, Unit),
    /// The type of a key's value.
    Type(Box<[u8]>),
    /// The number of keys.
    Size,
    /// Keys that match a pattern. Answered off the loop.
    Keys(Box<[u8]>),
    /// Sections about the server; all of them if the list is empty.
    Info(Vec<Box<[u8]>>),
    /// The reply to `HELLO` on the connection of this number.
    Hello(i64),
}

/// The moment at which a read is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At {
    /// The log's time in Unix ms, which alone decides which keys exist.
    pub log_time: u64,
    /// The log time at this moment in Unix ms, by which the remaining time of a key is computed.
    pub now: u64,
}

/// Consecutive reads of one connection, answered together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadBatch {
    /// The questions. `Keys` is always alone in its batch.
    pub queries: Vec<Query>,
    /// The protocol of the replies.
    pub version: Version,
}

/// The answer to a batch.
#[derive(Debug)]
pub enum Answer {
    /// Replies in order, encoded. The reads in `rest` are not answered yet, since the replies before them are large.
    /// They are submitted again once those have been sent.
    Replies {
        /// The replies.
        encoded: BytesMut,
        /// Reads without a reply.
        rest: Option<ReadBatch>,
    },
    /// Long work on a snapshot of the store, to be done off the loop.
    Scan(Scan),
}

/// The search for keys, on a snapshot.
#[derive(Debug)]
pub struct Scan {
    snapshot: Snapshot,
    pattern: Box<[u8]>,
    log_time: u64,
    version: Version,
}

impl ReadBatch {
    /// Returns true if the answer needs data about the server.
    pub fn wants_info(&self) -> bool {
        matches!(&*self.queries, [query] if query.is_about_node())
    }

    /// Answers from the present state of the store.
    pub fn answer(mut self, store: &Store, at: At, server: &ServerInfo) -> Answer {
        if let [Query::Keys(pattern)] = &mut *self.queries {
            return Answer::Scan(Scan {
                snapshot: store.snapshot(),
                pattern: std::mem::take(pattern),
                log_time: at.log_time,
                version: self.version,
            });
        }
        let mut out = BytesMut::new();
        let mut encoder = Encoder::new(&mut out, self.version);
        let mut answered = 0;
        for query in &self.queries {
            if encoder.len() >= BATCH_BYTES_MAX {
                break;
            }
            query.answer(store, at, server, &mut encoder);
            answered += 1;
        }
        let rest = self.queries.split_off(answered);
        let rest = (!rest.is_empty()).then_some(Self { queries: rest, version: self.version });
        Answer::Replies { encoded: out, rest }
    }
}

impl Query {
    /// Returns true if the question is about the node itself, which answers with or without a quorum.
    pub fn is_about_node(&self) -> bool {
        matches!(self, Self::Info(_) | Self::Hello(_))
    }

    fn answer(&self, store: &Store, at: At, server: &ServerInfo, encoder: &mut Encoder<'_>) {
        match self {
            Self::Get(key) => encoder.bulk_or_null(store.get(at.log_time, key)),
            Self::GetMany(keys) => {
                let bytes: usize = keys.iter().filter_map(|key| store.get(at.log_time, key)).map(<[u8]>::len).sum();
                if bytes > REPLY_BYTES_MAX {
                    return encoder.error(b"ERR the reply would be longer than 64 MiB");
                }
                encoder.array(keys.len());
                for key in keys {
                    encoder.bulk_or_null(store.get(at.log_time, key));
                }
            }
            Self::Exists(keys) => {
                let found = keys.iter().filter(|key| store.get(at.log_time, key).is_some());
                encoder.integer(count(found.count()));
            }
            Self::Length(key) => encoder.integer(count(store.get(at.log_time, key).map_or(0, <[u8]>::len))),
            Self::TimeToLive(key, unit) => encoder.integer(time_to_live(store.lifetime(at.log_time, key), at, *unit)),
            Self::Type(key) => encoder.status(if store.get(at.log_time, key).is_some() { "string" } else { "none" }),
            Self::Size => encoder.integer(count(store.len(at.log_time))),
            Self::Keys(_) => unreachable!("`KEYS` is answered off the loop"),
            Self::Info(sections) => encoder.reply(&Reply::Text(server.text(sections, store, at.log_time))),
            Self::Hello(id) => {
                let version = encoder.version();
                encoder.reply(&server.hello(*id, version));
            }
        }
    }
}

impl Scan {
    /// Searches all keys, which takes about a tenth of a second for a million, and encodes the reply.
    pub fn run(self) -> BytesMut {
        let found: Vec<&[u8]> =
            self.snapshot.keys(self.log_time).filter(|key| glob::matches(&self.pattern, key)).collect();
        let mut out = BytesMut::with_capacity(found.iter().map(|key| key.len() + 16).sum());
        let mut encoder = Encoder::new(&mut out, self.version);
        encoder.array(found.len());
        for key in found {
            encoder.bulk(key);
        }
        out
    }
}

/// -2 without a key, -1 without a deadline, else the remaining time by log time, rounded as in Redis.
fn time_to_live(lifetime: Lifetime, at: At, unit: Unit) -> i64 {
    match (lifetime, unit) {
        (Lifetime::Absent, _) => -2,
        (Lifetime::Endless, _) => -1,
        (Lifetime::Until(deadline), Unit::Milliseconds) => signed(deadline.saturating_sub(at.now)),
        (Lifetime::Until(deadline), Unit::Seconds) => signed((deadline.saturating_sub(at.now) + 500) / 1000),
    }
}

fn count(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Bytes of replies after which a batch is cut, so that a client which sends faster than it reads takes up no more than
/// this and one reply.
const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// Maximum bytes of values in one reply.
const REPLY_BYTES_MAX: usize = 64 * 1024 * 1024;
