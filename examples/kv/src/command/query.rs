//! Reads: created when a request arrives, answered once the store is fresh enough.

use std::collections::BTreeSet;

use bytes::{Bytes, BytesMut};

use crate::entry::{EntryWriter, Watched, decode_arguments, encode_arguments};
use crate::random;
use crate::resp::{Encoder, Reply, Version};
use crate::store::{Snapshot, Store, Wait};

use super::blocking::Blocking;
use super::context::{At, View};
use super::execute::answer;
use super::glob;
use super::info::ServerInfo;
use super::spec::{Read, Spec};
use super::streams;

/// A question to the store. It holds copies of its arguments, since the client's bytes are gone when it is answered.
#[derive(Debug, Clone)]
pub enum Query {
    /// A command that reads, with its arguments, the name included.
    Command(Read, Bytes),
    /// A command that reads as soon as there is something, and the reply to the attempt before, if there was one.
    Waiting(Read, Bytes, Blocking, Option<Bytes>),
    /// Keys that match a pattern. Answered off the loop.
    Keys(Box<[u8]>),
    /// The versions of keys on which a transaction will depend.
    Watch(Vec<Box<[u8]>>),
    /// Sections about the server; all of them if the list is empty.
    Info(Vec<Box<[u8]>>),
    /// The number of nodes that have what the connection wrote.
    Wait {
        /// The node's own disk is shown as well.
        shows_own: bool,
    },
    /// A question of `CLUSTER`, its name left out.
    Cluster(Vec<Box<[u8]>>),
    /// The node's part in its group.
    Role,
    /// The reply to `HELLO` on the connection of this number.
    Hello(i64),
}

/// Consecutive reads of one connection, answered together.
#[derive(Debug, Clone)]
pub struct ReadBatch {
    /// The questions. `Keys`, `Waiting` and `Watch` are always alone in their batch.
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
    /// There was nothing to be read. The client is called back when there is, and asks again.
    Nothing {
        /// The callback.
        wait: Wait,
        /// The question, with which no item is passed over that comes meanwhile.
        batch: ReadBatch,
        /// The reply once the time is over.
        encoded: Bytes,
    },
    /// Keys with their versions.
    Watched(Vec<Watched>),
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

    /// Returns true if the versions of keys are asked for.
    pub fn is_watch(&self) -> bool {
        matches!(&*self.queries, [Query::Watch(_)])
    }

    /// The same question with other arguments, the name included.
    #[must_use]
    pub fn with_arguments(&self, arguments: &[&[u8]]) -> Self {
        let queries = self.queries.iter().map(|query| match query {
            Query::Command(read, _) => Query::Command(*read, encode_arguments(arguments)),
            other => other.clone(),
        });
        Self { queries: queries.collect(), version: self.version }
    }

    /// The keys that the reads name.
    pub fn keys(&self) -> BTreeSet<Box<[u8]>> {
        self.queries.iter().flat_map(Query::keys).collect()
    }

    /// The reads as an entry, to be carried out like a transaction. `None` if they are of another kind.
    pub fn to_entry(&self, wall_ms: u64) -> Option<Bytes> {
        let mut entry = EntryWriter::new(self.version, wall_ms, random::fresh(), 0);
        for query in &self.queries {
            let Query::Command(_, arguments) = query else { return None };
            entry.command(&decode_arguments(arguments).expect("this process encoded them"));
        }
        Some(entry.finish())
    }

    /// What the client waits for, if it does.
    pub fn blocking(&self) -> Option<&Blocking> {
        match &*self.queries {
            [Query::Waiting(_, _, blocking, _)] => Some(blocking),
            _ => None,
        }
    }

    /// Answers from the present state of the store, or calls `wake` when items are added to one of the keys.
    pub fn answer_or_wait(mut self, store: &Store, at: At, wake: impl Fn() + Send + Sync + 'static) -> Answer {
        let version = self.version;
        if let [Query::Waiting(_, arguments, ..)] = &mut *self.queries {
            let view = View::new(store, at, random::fresh());
            let decoded = decode_arguments(arguments).expect("this process encoded them");
            if let Some(fixed) = streams::fix_places(&view, &decoded) {
                let fixed: Vec<&[u8]> = fixed.iter().map(Vec::as_slice).collect();
                *arguments = encode_arguments(&fixed);
            }
        }
        let mut queries = self.queries.clone();
        match (self.answer(store, at, &ServerInfo::default()), &mut *queries) {
            (Answer::Replies { encoded, rest: None }, [Query::Waiting(_, _, blocking, nothing)]) => {
                let encoded = blocking.later(encoded.freeze(), nothing.take());
                if !Blocking::is_nothing(&encoded) {
                    return Answer::Replies { encoded: encoded.into(), rest: None };
                }
                *nothing = Some(encoded.clone());
                let wait = store.waiters().wait(blocking.keys.clone(), wake);
                Answer::Nothing { wait, batch: Self { queries, version }, encoded }
            }
            (answer, _) => answer,
        }
    }

    /// Answers from the present state of the store. No question waits.
    pub fn answer(mut self, store: &Store, at: At, server: &ServerInfo) -> Answer {
        match &mut *self.queries {
            [Query::Keys(pattern)] => {
                return Answer::Scan(Scan {
                    snapshot: store.snapshot(),
                    pattern: std::mem::take(pattern),
                    log_time: at.log_time,
                    version: self.version,
                });
            }
            [Query::Watch(keys)] => {
                let version = |key: Box<[u8]>| Watched { version: store.version(at.log_time, &key), key };
                return Answer::Watched(std::mem::take(keys).into_iter().map(version).collect());
            }
            _ => {}
        }
        let view = View::new(store, at, random::fresh());
        let mut out = BytesMut::new();
        let mut encoder = Encoder::new(&mut out, self.version);
        let mut answered = 0;
        for query in &self.queries {
            if encoder.len() >= BATCH_BYTES_MAX {
                break;
            }
            query.answer(&view, server, &mut encoder);
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
        matches!(self, Self::Info(_) | Self::Hello(_) | Self::Role | Self::Cluster(_) | Self::Wait { .. })
    }

    fn keys(&self) -> Vec<Box<[u8]>> {
        match self {
            Self::Command(_, arguments) | Self::Waiting(_, arguments, ..) => {
                let arguments = decode_arguments(arguments).expect("this process encoded them");
                let keys = Spec::find(arguments[0]).and_then(|spec| spec.keys_of(&arguments)).unwrap_or_default();
                keys.into_iter().map(Box::from).collect()
            }
            Self::Watch(keys) => keys.clone(),
            _ => Vec::new(),
        }
    }

    /// Returns true if the question is answered in a batch of its own.
    pub fn is_alone(&self) -> bool {
        !matches!(self, Self::Command(..))
    }

    fn answer(&self, view: &View<'_>, server: &ServerInfo, encoder: &mut Encoder<'_>) {
        match self {
            Self::Command(read, arguments) | Self::Waiting(read, arguments, ..) => {
                let arguments = decode_arguments(arguments).expect("this process encoded them");
                answer(view, *read, &arguments[1..], encoder);
            }
            Self::Keys(_) | Self::Watch(_) => unreachable!("these are answered elsewhere"),
            Self::Info(sections) => encoder.reply(&Reply::Text(server.text(sections, view.store, view.at.log_time))),
            Self::Wait { shows_own } => encoder.reply(&server.about.wait(*shows_own)),
            Self::Role => encoder.reply(&server.about.role.reply()),
            Self::Cluster(arguments) => encoder.reply(&match &server.cluster {
                Some(view) => view.reply(arguments),
                None => Reply::error("ERR This instance has cluster support disabled"),
            }),
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

/// Bytes of replies after which a batch is cut, so that a client which sends faster than it reads takes up no more than
/// this and one reply.
const BATCH_BYTES_MAX: usize = 1024 * 1024;
