//! What a user writes: a deterministic state machine, to which every replica applies the same commands in the same
//! order.

use std::io;

use bytes::Bytes;
use quorate_protocol::{LogIndex, LogTime};

/// A state machine that a `Replica` keeps equal on every node.
///
/// It depends on its arguments alone: the commands, their place in the log and their log time. It asks no clock and
/// draws no random number (the proposer draws what is needed and puts it into the command), and it never depends on the
/// order of a hash map. Equal commands then give equal states everywhere, which [`digest`](StateMachine::digest) lets a
/// test or an operator see.
///
/// A panic in [`apply`](StateMachine::apply) or [`tick`](StateMachine::tick) halts the group on that node. The command
/// is never skipped: a replica that skipped it would differ from the others without anybody noticing.
///
/// With commands and responses that serde knows, [`Typed`](crate::Typed) is the shorter road.
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
    /// The state at one moment, made within the loop and written elsewhere: a copy of a few pointers, not of the data.
    type Snapshot: Send + 'static;

    /// Carries out a command and gives the response. Called once for every command, in the order of the log.
    ///
    /// `command` is a slice of a larger buffer that lives as long as any slice of it: copy what is kept for long.
    ///
    /// # Panics
    /// On a command that cannot be read: it was proposed by a newer program. The group halts on this node.
    fn apply(&mut self, context: ApplyContext, command: Bytes) -> Bytes;

    /// Log time has moved without a command, because [`next_deadline`](StateMachine::next_deadline) had passed: do what
    /// is due at `context.log_time`, a bounded part of it if it is much, and the next tick brings the rest.
    fn tick(&mut self, context: ApplyContext) {
        let _ = context;
    }

    /// A handle on the state as it is now. Called within the loop, so it must be cheap.
    fn snapshot(&self) -> Self::Snapshot;

    /// Writes a snapshot's content, off the loop. `out` is buffered.
    ///
    /// # Errors
    /// Those of the writer. The snapshot is then given up; the log stays as it was.
    fn write(snapshot: Self::Snapshot, out: &mut dyn io::Write) -> io::Result<()>;

    /// Makes a state machine from what [`write`](StateMachine::write) wrote, on any replica and by any version that is
    /// still supported, off the loop. `from` is buffered and ends where the content ends.
    ///
    /// # Errors
    /// Those of the reader, and any when the content cannot be understood. The group then halts on this node.
    fn restore(from: &mut dyn io::Read) -> io::Result<Self>;

    /// Up to where the state is durable by the state machine's own means. `LogIndex::ZERO`, the default, for one that
    /// keeps nothing itself: it is then restored from the newest snapshot and the log behind it.
    ///
    /// Asked once, at the start. Commands up to here are not applied again; their responses are lost.
    fn applied(&self) -> LogIndex {
        LogIndex::ZERO
    }

    /// A number that is equal on all replicas that have applied the same log.
    fn digest(&self) -> u64;

    /// When something is due without a command: a key expires, a lease ends. As soon as log time has reached it, the
    /// leader appends a tick; at most one each `tick_interval_min`. Must be cheap: it is asked after every batch of
    /// commands.
    fn next_deadline(&self) -> Option<LogTime> {
        None
    }
}

/// What a state machine may know beside the command. It is the same on every replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ApplyContext {
    /// The command's place in the log: grows from command to command, with gaps.
    pub index: LogIndex,
    /// When the leader appended the command: Unix milliseconds that never go back.
    pub log_time: LogTime,
}
