//! What happened in a run: as one number always, and as a list where somebody wants to look.

use std::hash::{Hash, Hasher};

/// A hash that is the same on every machine and in every version: multiply and rotate, as rustc's own does.
#[derive(Clone, Copy, Debug, Default)]
pub struct TraceHasher {
    state: u64,
}

impl Hasher for TraceHasher {
    fn finish(&self) -> u64 {
        // The low bits know little of the high ones until they are mixed once more.
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

/// What happened in a run.
#[derive(Debug)]
pub(crate) struct Trace {
    hasher: TraceHasher,
    /// Kept only where asked for.
    moments: Option<Vec<Moment>>,
}

/// Something that happened, for the reader and the picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// When, in microseconds.
    pub at_us: u64,
    /// On which node; zero: to the cluster.
    pub node: u64,
    /// What.
    pub what: MomentKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MomentKind {
    /// A message arrived.
    Arrived {
        /// Who sent it.
        from: u64,
        /// When, in microseconds.
        sent_us: u64,
        /// What it says.
        text: String,
    },
    /// A message was lost on its way.
    Lost {
        /// To whom it was sent.
        to: u64,
        /// What it says.
        text: String,
    },
    /// The node's term or leadership changed.
    Role {
        /// Its term.
        term: u64,
        /// Whether it leads.
        is_leader: bool,
    },
    /// The node stopped.
    Stopped,
    /// The node started.
    Started,
    /// The node stands still.
    Paused,
    /// The node goes on.
    Resumed,
    /// A fault began.
    Fault(String),
    /// The fault that was so described ended.
    FaultOver(String),
    /// A client called or was answered.
    Client(String),
    /// A law was broken.
    Violation(String),
}

impl Trace {
    pub(crate) fn new(is_kept: bool) -> Self {
        Self { hasher: TraceHasher::default(), moments: is_kept.then(Vec::new) }
    }

    /// Counts something that happened into the hash.
    pub(crate) fn count(&mut self, what: &impl Hash) {
        what.hash(&mut self.hasher);
    }

    /// Notes a moment, if anybody wants it.
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
