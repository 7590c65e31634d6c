//! The interface of the software on a simulated node.

use std::fmt::{self, Debug};
use std::hash::Hash;

use quorate_protocol::{Instant, NodeId, Now, Random};
use serde::{Deserialize, Serialize};

use super::NodeView;
use crate::schedule::{FaultKind, MemberStep};

/// The software of one node, which is simulated between its network, its disk and its clients.
///
/// A machine is pure, like the cores. It starts from its disk, and only the disk survives its crash.
pub trait Machine: Sized {
    /// Settings that all nodes of a run share.
    type Setup;
    /// Messages between nodes.
    type Message: Clone + Debug + Hash;
    /// A client's call.
    type Call: Clone + Debug + Hash;
    /// The answer to a call that was done.
    type Answer: Clone + Debug;
    /// State that survives a crash.
    type Disk;

    /// Events that a long enough campaign must reach: the names of some [`MachineOutput::Sometimes`]. The campaign's
    /// report names those that were never reached.
    const EXPECTED: &'static [&'static str];

    /// Makes an empty disk for this incarnation of a node, counted from 1.
    fn fresh_disk(setup: &Self::Setup, node: NodeId, incarnation: u64) -> Self::Disk;

    /// Makes an independent copy of a disk, as a backup does.
    fn copy_disk(disk: &Self::Disk) -> Self::Disk;

    /// Starts from the disk.
    ///
    /// # Errors
    /// When it refuses to start from the content of the disk.
    fn start(setup: &Self::Setup, node: NodeId, now: Now, disk: &mut Self::Disk) -> Result<Self, String>;

    /// Handles one input.
    fn handle(&mut self, now: Now, disk: &mut Self::Disk, input: MachineInput<Self::Message, Self::Call>);

    /// Gives the next output, if there is one.
    fn poll(&mut self, now: Now, disk: &mut Self::Disk) -> Option<MachineOutput<Self::Message, Self::Answer>>;

    /// Time at which it next needs [`MachineInput::Timeout`].
    fn deadline(&self) -> Option<Instant>;

    /// Stops at once. `loss` decides the fate of writes that were on their way to the disk.
    fn crash(self, disk: &mut Self::Disk, loss: Loss, random: &mut Random);

    /// True if it can experience faults of this kind. Other faults are left out of its schedules.
    fn bears(kind: FaultKind) -> bool;

    /// Damages the disk, whether the node is down or runs on it. Returns false if there was nothing to damage.
    ///
    /// [`Machine::mend`] ends the damage, unless it is permanent.
    fn damage(disk: &mut Self::Disk, running: Option<&mut Self>, damage: Damage, random: &mut Random) -> bool;

    /// Ends damage that [`Machine::damage`] began and that can end: errors, and a full disk.
    fn mend(disk: &mut Self::Disk, running: Option<&mut Self>, damage: Damage);

    /// Removes a folder from the disk of a node that is down. Returns false if there was nothing in it.
    fn lose_folder(disk: &mut Self::Disk, folder: Folder) -> bool {
        let _ = (disk, folder);
        false
    }

    /// Begins or ends a time in which requests of cores to their application are lost.
    fn lose_requests(disk: &mut Self::Disk, running: Option<&mut Self>, are_lost: bool) {
        let _ = (disk, running, are_lost);
    }

    /// Flips a bit of a client's data in the message, as if it had flipped in the sender's memory before the message
    /// was framed. Returns false if the message has no such data.
    fn flip_bit(message: &mut Self::Message, random: &mut Random) -> bool {
        let _ = (message, random);
        false
    }

    /// Size of a message in bytes, which decides its time on a slow link.
    fn message_bytes(message: &Self::Message) -> u64;

    /// The state that is visible from outside.
    fn observe(&self) -> Observation;

    /// True if, according to this node, the other nodes do not depend on any single disk from now on. Once true, it
    /// stays true. Until every node returns true, destructive faults do not take place within the budget.
    fn is_founded(&self) -> bool {
        true
    }

    /// True if the machine knows the address of a peer, so that it can have a connection to it. A connection needs that
    /// both sides know each other.
    fn knows(&self, peer: NodeId) -> bool {
        let _ = peer;
        true
    }

    /// True if the nodes can still go on after this one loses its disk.
    fn tolerates_loss(nodes: &[NodeView<'_, Self>], losing: NodeId) -> bool {
        is_minority_lost(nodes, losing)
    }

    /// True if most voters have their disks after the leader made these changes of members. A careful operator asks for
    /// no others.
    fn bears_change(nodes: &[NodeView<'_, Self>], leader: NodeId, steps: &[MemberStep]) -> bool {
        let _ = (nodes, leader, steps);
        true
    }

    /// True if a node that lost its disk counts again with its new one, or no longer matters to the others.
    fn is_replaced(nodes: &[NodeView<'_, Self>], lost: &NodeView<'_, Self>) -> bool {
        let _ = (nodes, lost);
        false
    }
}

/// True if a majority of the nodes keeps its disks when this one loses its own.
pub fn is_minority_lost<M: Machine>(nodes: &[NodeView<'_, M>], losing: NodeId) -> bool {
    let lost = nodes.iter().filter(|view| view.is_lost && view.node != losing).count();
    lost < (nodes.len() - 1) / 2
}

/// Input of a machine with messages `T` and calls `C`.
#[derive(Clone, Debug)]
pub enum MachineInput<T, C> {
    /// A message arrived.
    Message {
        /// Sender of the message.
        from: NodeId,
        /// The sender's incarnation, which changes when its disk is wiped.
        incarnation: u64,
        /// The message.
        message: T,
    },
    /// Messages to a peer get through again.
    LinkUp {
        /// Id of the peer.
        peer: NodeId,
        /// The peer's incarnation.
        incarnation: u64,
    },
    /// Messages to a peer do not get through: it is down, or the link is cut.
    LinkDown {
        /// Id of the peer.
        peer: NodeId,
    },
    /// The deadline has passed.
    Timeout,
    /// A client made a call.
    Call {
        /// Number of the call.
        call: u64,
        /// The call.
        what: C,
    },
    /// A disk operation is complete or has failed. The machine looks up the result itself.
    Done {
        /// Number of the operation.
        token: u64,
    },
    /// An operator adds a group.
    AddGroup {
        /// Id of the group.
        group: u64,
    },
    /// An operator removes a group for good.
    RemoveGroup {
        /// Id of the group.
        group: u64,
    },
    /// An operator asks that another node lead.
    Transfer {
        /// Id of the other node.
        to: NodeId,
    },
    /// An operator asks to change the members of the first group.
    ChangeMembers(MemberCall),
}

/// An operator's request to change the members of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberCall {
    /// Number of the change. All attempts to make it have the same.
    pub change: u64,
    /// Number of the attempt, unique in a run.
    pub attempt: u64,
    /// The steps, in their order.
    pub steps: Vec<MemberStep>,
}

/// Output of a machine with messages `T` and answers `A`.
#[derive(Clone, Debug)]
pub enum MachineOutput<T, A> {
    /// Send the message.
    Send {
        /// Receiver of the message.
        to: NodeId,
        /// The message.
        message: T,
    },
    /// A write was given to the disk. [`MachineInput::Done`] must follow when it is complete.
    Write {
        /// Number of the operation.
        token: u64,
    },
    /// Like `Write`, for an operation that need not survive a crash.
    Read {
        /// Number of the operation.
        token: u64,
    },
    /// A snapshot is built beside the loop and the log. [`MachineInput::Done`] must follow when it is complete.
    Build {
        /// Number of the operation.
        token: u64,
    },
    /// A client gets an answer.
    Answer {
        /// Number of the call.
        call: u64,
        /// The answer.
        answer: ClientAnswer<A>,
    },
    /// An event happened that a campaign must reach: see [`reached`](super::reached).
    Sometimes(&'static str),
    /// The machine knows the addresses of other peers than before: see [`Machine::knows`].
    Peers,
    /// The node stops and must be started again.
    Halt {
        /// Reason of the stop.
        reason: String,
    },
}

/// Answer to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientAnswer<A> {
    /// The call was done, with this result.
    Done(A),
    /// The call was not done and never will be.
    NotDone,
    /// The outcome is unknown.
    Unknown,
}

/// The state of a machine that is visible from outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    /// Its term, or the round of its ballot.
    pub term: u64,
    /// True if it leads.
    pub is_leader: bool,
    /// The index up to which it knows its log to be committed.
    pub committed: u64,
    /// The index up to which it has applied its log.
    pub applied: u64,
    /// A digest of the applied state.
    pub digest: u64,
}

/// Fate of the writes that were on their way to the disk when a node stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// They are done: the process ended, but the computer went on.
    Nothing,
    /// All unsynced writes are lost: the power was cut.
    Unsynced,
    /// Some sectors of the unsynced writes are lost.
    Torn,
    /// Some sectors of the unsynced writes are garbage.
    Garbage,
    /// Unsynced writes are lost, and so are the names of files whose directory was not synced.
    Names,
}

/// A fault of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Damage {
    /// A bit of durable data flips.
    BitRot,
    /// The next write goes to a wrong place, over durable data.
    MisdirectedWrite,
    /// Reads fail.
    ReadErrors,
    /// The next write fails.
    WriteError,
    /// The next sync fails, and the data that it should have made durable may be lost.
    SyncError,
    /// The disk is full.
    FullDisk,
}

/// A folder of a node's data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Folder {
    /// The log.
    Log,
    /// The snapshots.
    Snapshots,
}

impl fmt::Display for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Log => "log",
            Self::Snapshots => "snapshots",
        })
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "writes are done",
            Self::Unsynced => "unsynced writes lost",
            Self::Torn => "unsynced writes torn",
            Self::Garbage => "unsynced sectors garbage",
            Self::Names => "unsynced writes and names lost",
        })
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BitRot => "bit rot",
            Self::MisdirectedWrite => "a misdirected write",
            Self::ReadErrors => "read errors",
            Self::WriteError => "a write error",
            Self::SyncError => "a sync error",
            Self::FullDisk => "no room",
        })
    }
}

impl Damage {
    /// True if it destroys acknowledged data, so that its node can no longer be relied on.
    #[must_use]
    pub fn destroys(self) -> bool {
        matches!(self, Self::BitRot | Self::MisdirectedWrite)
    }
}
