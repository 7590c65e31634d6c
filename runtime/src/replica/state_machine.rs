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
/// A panic or an error in [`apply`](StateMachine::apply), [`tick`](StateMachine::tick) or
/// [`end_batch`](StateMachine::end_batch) halts the group on that node. The command is never skipped: a replica that
/// skipped it would silently differ from the others.
///
/// # A database as the state machine
///
/// A state machine in memory needs none of this: after a restart it is restored from the newest snapshot, and the
/// commands after that are applied to it again. One that stores its state itself, such as a database, also implements:
///
/// - [`applied`](StateMachine::applied): the index up to which its state is durable. It stores
///   [`ApplyContext::index`] in the same transaction as the effect of the command.
/// - [`end_batch`](StateMachine::end_batch): commits the transaction that the first command of the batch began.
/// - [`sync`](StateMachine::sync): makes the state durable. The log then forgets the commands up to there, and no copy
///   of the state is made, however large it is.
/// - [`restorer`](StateMachine::restorer): makes a new state next to the old one, for example in another file of its
///   directory.
/// - [`installed`](StateMachine::installed): puts the new state in the place of the old one. A crash before that finds
///   the old one.
///
/// A copy of the state is written ([`write`](StateMachine::write)) only when another node needs one.
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
///     fn apply(&mut self, _: ApplyContext, command: Bytes) -> io::Result<Bytes> {
///         self.0 += u64::try_from(command.len()).unwrap_or(0);
///         Ok(Bytes::copy_from_slice(&self.0.to_le_bytes()))
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
    /// # Errors
    /// Those of its storage; a state machine in memory has none. The group then halts on this node, and applies the
    /// command after the next start. A command that is refused is no error: the refusal is its response.
    ///
    /// # Panics
    /// On a command that cannot be read, because a newer program proposed it. The group then halts on this node.
    fn apply(&mut self, context: ApplyContext, command: Bytes) -> io::Result<Bytes>;

    /// Called when log time has reached [`next_deadline`](StateMachine::next_deadline) and no command did the work.
    /// Does the work that is due at `context.log_time`. If it is much, it does a bounded part, and the next tick does
    /// the rest.
    ///
    /// # Errors
    /// As [`apply`](StateMachine::apply).
    fn tick(&mut self, context: ApplyContext) -> io::Result<()> {
        let _ = context;
        Ok(())
    }

    /// Called after the last of the commands and ticks that a turn of the loop applies, before their effects are read
    /// or answered further. A database commits its transaction here. It need not be durable yet.
    ///
    /// # Errors
    /// As [`apply`](StateMachine::apply).
    fn end_batch(&mut self) -> io::Result<()> {
        Ok(())
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

    /// Returns a function that makes a state machine as [`restore`](StateMachine::restore) does, off the loop. A state
    /// machine that needs more than the content for that, such as the directory of its database, returns one of its
    /// own. Several may be made of which one is used, or none.
    fn restorer(&self) -> Restorer<Self> {
        Box::new(Self::restore)
    }

    /// Called on a state machine that a [`restorer`](StateMachine::restorer) has made, when it takes the place of the
    /// present one. One that stores its state itself makes this durable. The present one is then dropped, off the loop.
    ///
    /// # Errors
    /// Those of its storage. The group then halts on this node, and restores the snapshot again at the next start.
    fn installed(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Returns the index up to which the state machine has stored its state itself, durably. `None`, the default, is
    /// for a state machine that stores nothing itself.
    ///
    /// Called once, at the start. Commands up to this index are not applied again, and their responses are lost. The
    /// start is refused if the log ends before this index, and the group halts if a snapshot without a state covers
    /// more than this index: either the log or the state belongs to another node or another time.
    fn applied(&self) -> Option<LogIndex> {
        None
    }

    /// Makes durable everything that `snapshot` contains, off the loop, in the place where the state machine stores its
    /// state. Called only if [`applied`](StateMachine::applied) returned an index, before the log forgets the commands
    /// up to there.
    ///
    /// # Errors
    /// Those of its storage. The log then keeps the commands, and this is tried again.
    fn sync(snapshot: Self::Snapshot) -> io::Result<()> {
        drop(snapshot);
        Ok(())
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

/// Makes a state machine from the content of a snapshot.
pub type Restorer<S> = Box<dyn FnOnce(&mut dyn io::Read) -> io::Result<S> + Send>;

/// Context of a command. It is the same on every replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ApplyContext {
    /// The log index of the command. It grows from command to command, with gaps.
    pub index: LogIndex,
    /// The time at which the leader appended the command: Unix milliseconds that never go back.
    pub log_time: LogTime,
}
