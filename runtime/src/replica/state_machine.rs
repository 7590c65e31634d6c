//! The trait that a user implements: a deterministic state machine, to which every replica applies the same
//! commands in the same order.

use std::io;

use bytes::Bytes;
use quorate_protocol::{LogIndex, LogTime};

/// A deterministic state machine. A `Replica` keeps its state equal on every node.
///
/// It depends on its arguments alone: the commands, their log indexes and their log time. It reads no clock and draws
/// no random number (the proposer draws it and puts it into the command), and it never depends on the order of a hash
/// map. Equal commands then give equal states on every node, which a test or an operator can check with
/// [`digest`](StateMachine::digest).
///
/// A panic in [`apply`](StateMachine::apply) or [`tick`](StateMachine::tick) halts the group on that node. The command
/// is never skipped: a replica that skipped it would silently differ from the others.
///
/// If serde can encode the commands and responses, [`Typed`](crate::Typed) needs less code.
///
/// ```
/// use std::io;
/// use bytes::Bytes;
/// use quorate_runtime::{ApplyContext, StateMachine};
///
/// #[derive(Default)]
/// struct Sum(u64);
///
/// impl StateMachine for Sum {
///     type Snapshot = u64;
///
///     fn apply(&mut self, _: ApplyContext, command: Bytes) -> Bytes {
///         self.0 += u64::try_from(command.len()).unwrap_or(0);
///         Bytes::copy_from_slice(&self.0.to_le_bytes())
///     }
///
///     fn snapshot(&self) -> u64 {
///         self.0
///     }
///
///     fn write(snapshot: u64, out: &mut dyn io::Write) -> io::Result<()> {
///         out.write_all(&snapshot.to_le_bytes())
///     }
///
///     fn restore(from: &mut dyn io::Read) -> io::Result<Self> {
///         let mut bytes = [0; 8];
///         from.read_exact(&mut bytes)?;
///         Ok(Self(u64::from_le_bytes(bytes)))
///     }
///
///     fn digest(&self) -> u64 {
///         self.0
///     }
/// }
/// ```
pub trait StateMachine: Send + Sized + 'static {
    /// The state at one moment, made within the loop and written on another thread. It should copy a few pointers, not
    /// the data.
    type Snapshot: Send + 'static;

    /// Applies a command and returns the response. Called once for every command, in the order of the log.
    ///
    /// `command` is a slice of a larger buffer, which stays in memory as long as any slice of it. Copy data that is
    /// kept for long.
    ///
    /// # Panics
    /// On a command that cannot be read, because a newer program proposed it. The group then halts on this node.
    fn apply(&mut self, context: ApplyContext, command: Bytes) -> Bytes;

    /// Called when log time has reached [`next_deadline`](StateMachine::next_deadline) and no command did the work.
    /// Does the work that is due at `context.log_time`. If it is much, it does a bounded part, and the next tick does
    /// the rest.
    fn tick(&mut self, context: ApplyContext) {
        let _ = context;
    }

    /// Returns a handle on the present state. Called within the loop, so it must be cheap.
    fn snapshot(&self) -> Self::Snapshot;

    /// Writes a snapshot's content, off the loop. `out` is buffered.
    ///
    /// # Errors
    /// Those of the writer. The snapshot is then discarded, and the log is unchanged.
    fn write(snapshot: Self::Snapshot, out: &mut dyn io::Write) -> io::Result<()>;

    /// Makes a state machine from the output of [`write`](StateMachine::write), which may come from any replica and any
    /// version that is still supported. Runs off the loop. `from` is buffered and ends where the content ends.
    ///
    /// # Errors
    /// Those of the reader, and an error of its own if the content cannot be decoded. A peer's snapshot is then
    /// discarded; otherwise the group halts on this node.
    fn restore(from: &mut dyn io::Read) -> io::Result<Self>;

    /// Returns the index up to which the state machine has made its state durable itself. The default is
    /// `LogIndex::ZERO`, for a state machine that stores nothing itself: it is restored from the newest snapshot and
    /// the log behind it.
    ///
    /// Called once, at the start. Commands up to this index are not applied again, and their responses are lost.
    fn applied(&self) -> LogIndex {
        LogIndex::ZERO
    }

    /// Returns a number that is equal on all replicas that have applied the same log.
    fn digest(&self) -> u64;

    /// Returns the time at which work is due without a command: a key expires, a lease ends. When log time reaches it,
    /// the leader appends a tick, at most one in each `tick_interval_min`. Called after every batch of commands, so it
    /// must be cheap.
    fn next_deadline(&self) -> Option<LogTime> {
        None
    }
}

/// Context of a command. It is the same on every replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ApplyContext {
    /// The log index of the command. It grows from command to command, with gaps.
    pub index: LogIndex,
    /// The time at which the leader appended the command: Unix milliseconds that never go back.
    pub log_time: LogTime,
}
