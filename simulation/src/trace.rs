//! The trace of a run: always as one hash, and on request as a list.

use std::hash::{Hash, Hasher};

/// A hash that is equal on every machine and in every version. It multiplies and rotates, like rustc's own hash.
#[derive(Clone, Copy, Debug, Default)]
pub struct TraceHasher {
    state: u64,
}

impl Hasher for TraceHasher {
    fn finish(&self) -> u64 {
        // The low bits depend little on the high bits until they are mixed once more.
        let mixed = (self.state ^ (self.state >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^ (mixed >> 29)
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.state = (self.state.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }
}

/// The trace of a run.
#[derive(Debug)]
pub(crate) struct Trace {
    hasher: TraceHasher,
    /// `None` unless the moments are to be kept.
    moments: Option<Vec<Moment>>,
}

/// An event of a run, for readers and pictures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Its time in microseconds.
    pub at_us: u64,
    /// The node that it concerns; zero for the whole cluster.
    pub node: u64,
    /// The event.
    pub what: MomentKind,
}

/// Kind of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MomentKind {
    /// A message arrived.
    Arrived {
        /// Sender of the message.
        from: u64,
        /// Time at which it was sent, in microseconds.
        sent_us: u64,
        /// Text of the message.
        text: String,
    },
    /// A message was lost on its way.
    Lost {
        /// Receiver of the message.
        to: u64,
        /// Text of the message.
        text: String,
    },
    /// The node's term or leadership changed.
    Role {
        /// Its term.
        term: u64,
        /// True if it leads.
        is_leader: bool,
    },
    /// The node stopped.
    Stopped,
    /// The node started.
    Started,
    /// The node was paused.
    Paused,
    /// The node continues after a pause.
    Resumed,
    /// A fault began.
    Fault(String),
    /// The fault with this description ended.
    FaultOver(String),
    /// A client made a call or got an answer.
    Client(String),
    /// A law was broken.
    Violation(String),
}

impl Trace {
    pub(crate) fn new(is_kept: bool) -> Self {
        Self { hasher: TraceHasher::default(), moments: is_kept.then(Vec::new) }
    }

    /// Adds an event to the hash.
    pub(crate) fn count(&mut self, what: &impl Hash) {
        what.hash(&mut self.hasher);
    }

    /// Adds a moment, if moments are kept.
    pub(crate) fn note(&mut self, at_us: u64, node: u64, what: impl FnOnce() -> MomentKind) {
        if let Some(moments) = &mut self.moments {
            moments.push(Moment { at_us, node, what: what() });
        }
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hasher.finish()
    }

    pub(crate) fn into_moments(self) -> Vec<Moment> {
        self.moments.unwrap_or_default()
    }
}
