//! The contract of a core: its inputs, its outputs and their order.

use std::fmt::{self, Debug};
use std::hash::Hash;

use crate::{
    EntryError, Instant, LoadFailure, LoadRange, Loaded, LogIndex, NodeId, Now, Operation, PersistFailure,
    RecoverError, Recovery, Term, Ticket, Wire,
};

/// A protocol as a pure state machine: no clock, socket, disk, thread, `async` or random source of its own.
///
/// [`handle`](Protocol::handle) takes inputs, [`poll_output`](Protocol::poll_output) gives outputs, and
/// [`deadline`](Protocol::deadline) gives the time of the next [`Signal::Timeout`]. The same inputs give the same
/// outputs on every platform. The crate's documentation has the rules and a small protocol in full.
pub trait Protocol: Sized + Clone + Debug {
    /// Validated settings, with the seed of all random numbers.
    type Config;
    /// Messages between nodes.
    type Message: Wire + Clone + Debug;
    /// Commands of the application to this node; their payloads are bytes.
    type Command: Clone + Debug;
    /// Events for the application.
    type Event: Clone + Debug;
    /// Requests for work that only the application can do, such as sending a snapshot or preparing a branch. They are
    /// idempotent: after recovery the core makes a lost request again.
    type Request: Clone + Debug;
    /// The application's answer to a request.
    type Answer: Clone + Debug;
    /// The part of the state that decides behaviour.
    type View: Hash + Eq;

    /// Starts a core from the content of its log. Outputs may be ready at once.
    ///
    /// # Errors
    /// When the content cannot be decoded or contradicts itself. A core never starts from less than it wrote.
    fn recover(now: Now, config: Self::Config, recovery: Recovery) -> Result<Self, RecoverError>;

    /// Handles one input. No input from a peer, the disk or a user makes it panic; a broken law of the node's own state
    /// does.
    fn handle(&mut self, now: Now, input: Input<Self>);

    /// Gives the next output, if there is one. The shell handles all inputs that are ready, then polls until `None`, so
    /// that the outputs of several inputs leave as one batch.
    fn poll_output(&mut self) -> Option<Output<Self>>;

    /// Time at which the core next needs [`Signal::Timeout`].
    fn deadline(&self) -> Option<Instant>;

    /// The part of the state that decides behaviour: whether each deadline is armed but not its time, and neither
    /// random state nor caches. Two cores with equal views answer every input equally.
    fn model_view(&self) -> Self::View;

    /// The node is about to stop. A core that lets writes wait hands them out now: they are durable before the node has
    /// stopped in order. Everything else is as after a crash. A core whose log is replicated is not told: another node
    /// goes on with it.
    fn stopping(&mut self, now: Now) {
        let _ = now;
    }

    /// Returns true if the core may come to rest, for all its life. Otherwise the shell reports living peers over and
    /// over.
    fn may_rest(&self) -> bool {
        false
    }

    /// Returns the rest of the core, if it is at rest: then it sends nothing by itself and has no deadline to hear from
    /// others by. A core that is never at rest leaves this method as it is.
    fn rest(&self) -> Option<Rest> {
        None
    }

    /// The peer that this event shows to run on an older copy of its disk, if the event is of that kind. The shell then
    /// gives the peer the standing of a stranger.
    #[must_use]
    fn older_copy(_event: &Self::Event) -> Option<NodeId> {
        None
    }

    /// Checks the laws of this node's own state thoroughly. Tests and simulation call it after every input.
    ///
    /// # Panics
    /// When a law is broken.
    fn check_invariants(&self);
}

/// Input of a core.
#[derive(Clone, Debug)]
pub enum Input<P: Protocol> {
    /// A message of a peer. The transport has proven `from`.
    Message {
        /// Sender of the message.
        from: NodeId,
        /// The message.
        message: P::Message,
    },
    /// A command of the application.
    Command(P::Command),
    /// A request has an answer. Answers come in any order, and some never come.
    Completed {
        /// Ticket of the request.
        ticket: Ticket,
        /// The answer.
        answer: P::Answer,
    },
    /// A signal of the node, its clock or its log.
    Signal(Signal),
}

/// Input that is the same for every protocol. The node passes it unchanged to the core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signal {
    /// The deadline has passed.
    Timeout,
    /// The node received something from the peer. A core that may rest ([`Protocol::may_rest`]) gets it for the first
    /// time, and when the peer is back after it was silent or unreachable. For all others it is repeated.
    PeerAlive(NodeId),
    /// The node has received nothing from the peer for too long. Only a core at rest gets it.
    PeerSilent {
        /// Id of the peer.
        node: NodeId,
        /// The time at which the peer was last heard from.
        heard_at: Instant,
    },
    /// The connection to the peer was lost, or a frame for it was dropped.
    Unreachable(NodeId),
    /// The standing of a node from now on. The node itself is among them: it does not vote until it is a member.
    PeerStanding {
        /// Id of the node.
        node: NodeId,
        /// Its standing.
        standing: Standing,
    },
    /// The disk's reserve was used up, or is whole again.
    Storage(StorageLevel),
    /// This group keeps the log's oldest segment from being deleted: the core compacts if it can.
    CompactRequested,
    /// Every `Persist` of this group with this ticket or a smaller one is durable.
    Persisted(Ticket),
    /// A `Persist` failed, and all later ones failed with it.
    PersistFailed {
        /// Ticket of the write.
        ticket: Ticket,
        /// Kind of the failure: it says whether the operations may have been written.
        failure: PersistFailure,
    },
    /// A `Load` has ended.
    Loaded {
        /// Ticket of the load.
        ticket: Ticket,
        /// The content, or the reason why it could not be read.
        result: Result<Loaded, LoadFailure>,
    },
}

/// Output of a core: plain data, which the shell carries out in order.
#[derive(Clone, Debug)]
pub enum Output<P: Protocol> {
    /// Send the message now. The writes that it depends on are durable.
    Send {
        /// Receiver of the message.
        to: NodeId,
        /// The message.
        message: P::Message,
    },
    /// Make the operations durable, all or none, after all earlier ones. Then give the core `Persisted`.
    Persist {
        /// Ticket of the write.
        ticket: Ticket,
        /// The operations.
        operations: Vec<Operation>,
    },
    /// Read from the group's stream.
    Load {
        /// Ticket of the load.
        ticket: Ticket,
        /// The part of the stream to read.
        range: LoadRange,
    },
    /// Ask the application for work.
    Request {
        /// Ticket of the request.
        ticket: Ticket,
        /// The work.
        request: P::Request,
    },
    /// Give the event to the application.
    Event(P::Event),
    /// Stop this group on this node until an operator helps. Other groups go on.
    Halt {
        /// Reason of the halt.
        reason: HaltReason,
    },
}

/// State of a core at rest: it relies on the life of the nodes of some peers, and on their cores, which must be at rest
/// under the same leader.
///
/// The shell tells it when such a node falls silent ([`Signal::PeerSilent`]), and when another node is alive again
/// ([`Signal::PeerAlive`]). If the node has started anew, or the core there is not at rest in the same way for longer
/// than a message takes, the shell wakes the core with [`Signal::Unreachable`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rest {
    /// The leader that the core follows, or its own node if it leads.
    pub leader: NodeId,
    /// The leader's term.
    pub term: Term,
    /// The peers that the core relies on, in the order of their ids: a follower on its leader, a leader on its
    /// followers.
    pub with: Vec<NodeId>,
}

/// Standing of a node with its peers and with itself: whether its answers count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// The node has the incarnation that is known: its votes, acknowledgements and read answers count.
    Member,
    /// The node has another incarnation than the known one, or its incarnation is not known yet. It receives entries
    /// and snapshots, and its answers do not count.
    #[default]
    Stranger,
}

/// Room that is left on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum StorageLevel {
    /// The reserve of disk space is whole.
    #[default]
    Enough,
    /// The reserve cannot be renewed: the core refuses new commands. Votes, truncation and compaction go on.
    Low,
}

/// State of a node's disk, as the node reports it to its peers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum DiskState {
    /// The disk has room and accepts writes.
    #[default]
    Ready,
    /// Its reserve is used up: see [`StorageLevel::Low`].
    Low,
    /// A write has taken far longer than writes normally do.
    Stalled,
}

/// Reason why a group stops on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HaltReason {
    /// The core broke a law of its own state. This is a bug; the text of the panic says where.
    Panicked(String),
    /// The log could not be written. Callers that wait learn `Unknown`.
    LogFailed(PersistFailure),
    /// This binary cannot read a committed entry.
    Entry {
        /// Index of the entry.
        index: LogIndex,
        /// Reason why it cannot be read.
        error: EntryError,
    },
    /// This binary does not know a feature level that the group needs.
    FeatureLevel {
        /// Index of the entry that sets the level.
        index: LogIndex,
        /// The level.
        level: u32,
    },
    /// An entry that the group needs is damaged on disk.
    Damaged {
        /// Index of the entry.
        index: LogIndex,
    },
    /// A peer broke the named law, which no correct peer breaks: for example two leaders in a term, or a committed
    /// entry that changed.
    LawBroken(&'static str),
    /// The state machine panicked on an entry. The entry is never skipped.
    StateMachine {
        /// Index of the entry.
        index: LogIndex,
        /// Text of the panic.
        message: String,
    },
    /// The state machine could not store the effect of an entry. The entry is applied after the next start.
    StateMachineFailed {
        /// Index of the entry.
        index: LogIndex,
        /// The state machine's error.
        message: String,
    },
    /// The state machine stores its state itself and has stored less than the log has forgotten: its state is lost, or
    /// of another time. Nothing was applied.
    StateMachineBehind {
        /// The index up to which the state machine has stored its state.
        applied: LogIndex,
        /// The index of the last command that the snapshot covers, after which the log begins.
        snapshot: LogIndex,
    },
    /// The state machine has stored the effect of an entry that was not committed: its state is of another node, or of
    /// another time.
    StateMachineAhead {
        /// The index up to which the state machine has stored its state.
        applied: LogIndex,
        /// The log continues after this index in another way.
        committed: LogIndex,
    },
    /// The state machine could not be restored from a snapshot.
    Restore(String),
    /// The core of a bound group could not be recovered from its replicated log; the text says why.
    NotRecovered(String),
    /// The group was removed from this node.
    Removed,
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
            Self::StateMachineFailed { index, message } => {
                write!(f, "the state machine failed at entry {index}: {message}")
            }
            Self::StateMachineBehind { applied, snapshot } => write!(
                f,
                "the state machine has stored its state up to index {applied} only, and the log begins after {snapshot}"
            ),
            Self::StateMachineAhead { applied, committed } => write!(
                f,
                "the state machine has stored its state up to index {applied}, but the log differs after {committed}"
            ),
            Self::Restore(message) => write!(f, "the snapshot could not be restored: {message}"),
            Self::NotRecovered(message) => {
                write!(f, "the core could not be recovered from its replicated log: {message}")
            }
            Self::Removed => f.write_str("the group was removed from this node"),
        }
    }
}

impl std::error::Error for HaltReason {}
