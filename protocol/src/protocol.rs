//! The contract of a core: what goes in, what comes out, and in which order.

use std::fmt::{self, Debug};
use std::hash::Hash;

use crate::{
    EntryError, Instant, LoadFailure, LoadRange, Loaded, LogIndex, NodeId, Now, Operation, PersistFailure,
    RecoverError, Recovery, Ticket, Wire,
};

/// A protocol as a pure state machine: no clock, socket, disk, thread, `async` or random source of its own.
///
/// Inputs go in through [`handle`](Protocol::handle), outputs come out of [`poll_output`](Protocol::poll_output), and
/// [`deadline`](Protocol::deadline) says when the next [`Input::Timeout`] is wanted. The same inputs give the same
/// outputs on every platform. See the crate's documentation for the rules and for a small protocol in full.
pub trait Protocol: Sized + Clone + Debug {
    /// Validated settings; they carry the seed of all chance.
    type Config;
    /// What nodes say to each other.
    type Message: Wire + Clone + Debug;
    /// What the application asks of this node; payloads are bytes.
    type Command: Clone + Debug;
    /// What the application is told.
    type Event: Clone + Debug;
    /// Work that only the application can do: send a snapshot, prepare a branch. Idempotent: a lost one is asked for
    /// again after recovery.
    type Request: Clone + Debug;
    /// What became of a request.
    type Answer: Clone + Debug;
    /// The state as far as it decides behaviour.
    type View: Hash + Eq;

    /// Starts from what the log held. Outputs may wait already.
    ///
    /// # Errors
    /// When what was found cannot be read or contradicts itself. A core never starts from less than it wrote.
    fn recover(now: Now, config: Self::Config, recovery: Recovery) -> Result<Self, RecoverError>;

    /// Takes one input. Nothing that a peer, the disk or a user can send panics; a broken law of the node's own state does.
    fn handle(&mut self, now: Now, input: Input<Self>);

    /// Gives the next output, if there is one. The shell handles all inputs that are ready, then polls until `None`:
    /// what several inputs cause leaves as one batch.
    fn poll_output(&mut self) -> Option<Output<Self>>;

    /// When [`Input::Timeout`] is wanted next.
    fn deadline(&self) -> Option<Instant>;

    /// The state as far as it decides behaviour: deadlines as armed or not, without random state and caches. Two cores
    /// with equal views answer every input equally.
    fn model_view(&self) -> Self::View;

    /// Checks the laws of this node's own state, at length. Run after every input in tests and simulation.
    ///
    /// # Panics
    /// When one is broken.
    fn check_invariants(&self);
}

/// What goes into a core.
#[derive(Clone, Debug)]
pub enum Input<P: Protocol> {
    /// A peer's message. `from` is proven by the transport.
    Message {
        /// Who sent it.
        from: NodeId,
        /// What it says.
        message: P::Message,
    },
    /// The application asks for something.
    Command(P::Command),
    /// The deadline has passed.
    Timeout,
    /// Something was heard from the peer at node level; shared by all groups, so that idle ones stay silent.
    PeerAlive(NodeId),
    /// The connection to the peer was lost, or something sent to it was dropped.
    Unreachable(NodeId),
    /// What a node counts for from now on. The node itself is among them: until it is told to be a member it does not vote.
    PeerStanding {
        /// Which node.
        node: NodeId,
        /// What it counts for.
        standing: Standing,
    },
    /// The disk's reserve is used up, or is there again.
    Storage(StorageLevel),
    /// This group pins the log's oldest segment: compact if possible.
    CompactRequested,
    /// Every `Persist` of this group with this ticket or a smaller one is durable.
    Persisted(Ticket),
    /// A `Persist` failed, and with it all later ones.
    PersistFailed {
        /// Which.
        ticket: Ticket,
        /// What is known of it.
        failure: PersistFailure,
    },
    /// What a `Load` brought.
    Loaded {
        /// Which.
        ticket: Ticket,
        /// What it brought.
        loaded: Loaded,
    },
    /// A `Load` brought nothing.
    LoadFailed {
        /// Which.
        ticket: Ticket,
        /// Why.
        failure: LoadFailure,
    },
    /// A request has an answer. Answers come in any order, or never.
    Completed {
        /// Which.
        ticket: Ticket,
        /// What became of it.
        answer: P::Answer,
    },
}

/// What comes out of a core. Plain data; the shell carries outputs out in their order.
#[derive(Clone, Debug)]
pub enum Output<P: Protocol> {
    /// Send the message, now. What it states is durable already.
    Send {
        /// To whom.
        to: NodeId,
        /// What to say.
        message: P::Message,
    },
    /// Make the operations durable, all or none, behind all earlier ones; then say `Persisted`.
    Persist {
        /// Names the write.
        ticket: Ticket,
        /// What to write.
        operations: Vec<Operation>,
    },
    /// Read from the group's stream.
    Load {
        /// Names the read.
        ticket: Ticket,
        /// What to read.
        range: LoadRange,
    },
    /// Have the application do something.
    Request {
        /// Names the request.
        ticket: Ticket,
        /// What to do.
        request: P::Request,
    },
    /// Tell the application.
    Event(P::Event),
    /// This group stops on this node, for good until an operator helps; others go on.
    Halt {
        /// Why.
        reason: HaltReason,
    },
}

/// What a node counts for in its peers' eyes, and in its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// Its incarnation is the known one: its votes, acknowledgements and read answers count.
    Member,
    /// Its incarnation is another than the known one, or not known yet. It receives entries and snapshots and counts for nothing.
    #[default]
    Stranger,
}

/// How much the disk can still take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum StorageLevel {
    /// The reserve is whole.
    #[default]
    Enough,
    /// The reserve cannot be renewed: refuse new commands; votes, truncation and compaction go on.
    Low,
}

/// What the disk of a node does, as it tells its peers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum DiskState {
    /// It has room and takes writes.
    #[default]
    Ready,
    /// Its reserve is used up: see [`StorageLevel::Low`].
    Low,
    /// A write has been under way for far longer than writes take.
    Stalled,
}

/// Why a group stops on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HaltReason {
    /// A broken law of the core's own state: a bug, of which the text says where.
    Panicked(String),
    /// The log could not be written. Waiting callers learn `Unknown`.
    LogFailed(PersistFailure),
    /// A committed entry that this binary cannot read.
    Entry {
        /// Where it stands.
        index: LogIndex,
        /// Why.
        error: EntryError,
    },
    /// A feature level that this binary does not know.
    FeatureLevel {
        /// Where it stands.
        index: LogIndex,
        /// The level that is needed.
        level: u32,
    },
    /// An entry that the group needs is damaged on disk.
    Damaged {
        /// Where it stands.
        index: LogIndex,
    },
    /// A peer broke a law that no correct peer breaks, and which: two leaders in a term, a changed committed entry.
    LawBroken(&'static str),
    /// The state machine panicked on an entry. The entry is never skipped.
    StateMachine {
        /// Where it stands.
        index: LogIndex,
        /// What the panic said.
        message: String,
    },
    /// The state machine could not be restored from a snapshot.
    Restore(String),
}

impl fmt::Display for HaltReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked(message) => write!(f, "the core panicked: {message}"),
            Self::LogFailed(failure) => write!(f, "the log could not be written: {failure}"),
            Self::Entry { index, error } => write!(f, "entry {index} cannot be read: {error}"),
            Self::FeatureLevel { index, level } => write!(f, "entry {index} needs feature level {level}"),
            Self::Damaged { index } => write!(f, "entry {index} is damaged on disk"),
            Self::LawBroken(law) => write!(f, "a peer broke a law: {law}"),
            Self::StateMachine { index, message } => {
                write!(f, "the state machine panicked at entry {index}: {message}")
            }
            Self::Restore(message) => write!(f, "the snapshot could not be restored: {message}"),
        }
    }
}

impl std::error::Error for HaltReason {}
