//! What runs on a simulated node.

use std::fmt::{self, Debug};
use std::hash::Hash;

use quorate_protocol::{Instant, NodeId, Now, Random};
use serde::{Deserialize, Serialize};

use crate::schedule::FaultKind;

/// The software of one node, between its network, its disk and its clients: what is simulated.
///
/// A machine is pure, as the cores are. It starts from its disk, and when it crashes only the disk is left.
pub trait Machine: Sized {
    /// What is equal for all nodes of a run.
    type Setup;
    /// What nodes say to each other.
    type Message: Clone + Debug + Hash;
    /// What a client asks.
    type Call: Clone + Debug + Hash;
    /// What a client is told when what it asked is done.
    type Answer: Clone + Debug;
    /// What survives a crash.
    type Disk;

    /// What a long enough campaign must reach: the names of some [`MachineOutput::Sometimes`]. Those that were never
    /// reached are named in its report.
    const EXPECTED: &'static [&'static str];

    /// An empty disk in a node's `incarnation`, from 1.
    fn fresh_disk(setup: &Self::Setup, node: NodeId, incarnation: u64) -> Self::Disk;

    /// An independent copy of a disk: a backup.
    fn copy_disk(disk: &Self::Disk) -> Self::Disk;

    /// Starts from the disk.
    ///
    /// # Errors
    /// When it refuses to start from what it finds.
    fn start(setup: &Self::Setup, node: NodeId, now: Now, disk: &mut Self::Disk) -> Result<Self, String>;

    /// Takes one input.
    fn handle(&mut self, now: Now, disk: &mut Self::Disk, input: MachineInput<Self::Message, Self::Call>);

    /// Gives the next output, if there is one.
    fn poll(&mut self, now: Now, disk: &mut Self::Disk) -> Option<MachineOutput<Self::Message, Self::Answer>>;

    /// When [`MachineInput::Timeout`] is wanted next.
    fn deadline(&self) -> Option<Instant>;

    /// Stops at once. What was on its way to the disk fares as `loss` says.
    fn crash(self, disk: &mut Self::Disk, loss: Loss, random: &mut Random);

    /// Whether it can meet faults of this kind. Others are left out of its schedules.
    fn bears(kind: FaultKind) -> bool;

    /// Damages the disk, whether the node is down or runs on it. Says whether there was anything to damage.
    ///
    /// [`Machine::mend`] ends it, unless it can never be mended.
    fn damage(disk: &mut Self::Disk, running: Option<&mut Self>, damage: Damage, random: &mut Random) -> bool;

    /// Ends what [`Machine::damage`] began and can end: errors, and a disk that is full.
    fn mend(disk: &mut Self::Disk, running: Option<&mut Self>, damage: Damage);

    /// Takes a folder away from the disk of a node that is down. Says whether there was anything in it.
    fn lose_folder(disk: &mut Self::Disk, folder: Folder) -> bool {
        let _ = (disk, folder);
        false
    }

    /// From now on what cores ask of their application is lost, or no longer.
    fn lose_requests(disk: &mut Self::Disk, running: Option<&mut Self>, are_lost: bool) {
        let _ = (disk, running, are_lost);
    }

    /// Flips a bit of what the message carries for clients, as if that had happened in its sender's memory before it was framed.
    /// Says whether it carries anything.
    fn flip_bit(message: &mut Self::Message, random: &mut Random) -> bool {
        let _ = (message, random);
        false
    }

    /// How long a message is on its way over a slow link, in bytes.
    fn message_bytes(message: &Self::Message) -> u64;

    /// What is to be seen from outside.
    fn observe(&self) -> Observation;

    /// Whether the others can do without any one disk from now on, as far as this node is concerned. Once it says so, that
    /// stays; until every node has, faults that destroy do not take place within the budget.
    fn is_founded(&self) -> bool {
        true
    }
}

/// What goes into a machine that is sent messages `T` and asked `C`.
#[derive(Clone, Debug)]
pub enum MachineInput<T, C> {
    /// A message came in.
    Message {
        /// Who sent it.
        from: NodeId,
        /// The sender's incarnation: it changes when its disk is wiped.
        incarnation: u64,
        /// What it says.
        message: T,
    },
    /// What is sent to a peer gets through again.
    LinkUp {
        /// Which peer.
        peer: NodeId,
        /// The peer's incarnation.
        incarnation: u64,
    },
    /// Nothing that is sent to a peer gets through: it is down, or the link is cut.
    LinkDown {
        /// Which peer.
        peer: NodeId,
    },
    /// The deadline has passed.
    Timeout,
    /// A client calls.
    Call {
        /// Names the call.
        call: u64,
        /// What it asks.
        what: C,
    },
    /// What was asked of the disk is done, or has failed: the machine looks by itself.
    Done {
        /// Which.
        token: u64,
    },
    /// An operator asks that another node lead.
    Transfer {
        /// Which.
        to: NodeId,
    },
}

/// What comes out of a machine that sends messages `T` and answers `A`.
#[derive(Clone, Debug)]
pub enum MachineOutput<T, A> {
    /// Send the message.
    Send {
        /// To whom.
        to: NodeId,
        /// What it says.
        message: T,
    },
    /// Something was handed to the disk; [`MachineInput::Done`] is wanted when it is done.
    Write {
        /// Names it.
        token: u64,
    },
    /// As `Write`, and nothing of it need survive.
    Read {
        /// Names it.
        token: u64,
    },
    /// A snapshot is built beside the loop and the log; [`MachineInput::Done`] is wanted when it is done.
    Build {
        /// Names it.
        token: u64,
    },
    /// A client is answered.
    Answer {
        /// Which call.
        call: u64,
        /// The answer.
        answer: Answer<A>,
    },
    /// Something happened that a campaign ought to reach sometimes: see [`reached`](super::reached).
    Sometimes(&'static str),
    /// The node stops and must be started again.
    Halt {
        /// Why.
        reason: String,
    },
}

/// What a client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer<A> {
    /// It was done, with this result.
    Done(A),
    /// It was not done and never will be.
    NotDone,
    /// Nobody knows.
    Unknown,
}

/// A machine as seen from outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    /// Its term, or the round of its ballot.
    pub term: u64,
    /// Whether it leads.
    pub is_leader: bool,
    /// How far it knows its log to be agreed on.
    pub committed: u64,
    /// How far it applied its log.
    pub applied: u64,
    /// A digest of the state that it applied so far.
    pub digest: u64,
}

/// What becomes of the writes that were on their way to the disk when a node stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// They are done: the process ended, and the machine went on.
    Nothing,
    /// All that was not synced is lost: the power was cut.
    Unsynced,
    /// Of what was not synced any sectors are lost.
    Torn,
    /// Of what was not synced any sectors are garbage.
    Garbage,
    /// What was not synced is lost, and so are the names of files whose directory was not synced.
    Names,
}

/// What goes wrong with a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Damage {
    /// A bit of what is durable flips.
    BitRot,
    /// The next write lands at another place, over something durable.
    MisdirectedWrite,
    /// Reads fail.
    ReadErrors,
    /// The next write fails.
    WriteError,
    /// The next sync fails, and what it should have made durable is lost or not.
    SyncError,
    /// The disk has no room.
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
    /// Whether it takes something that was acknowledged: its node can no longer be counted on.
    #[must_use]
    pub fn destroys(self) -> bool {
        matches!(self, Self::BitRot | Self::MisdirectedWrite)
    }
}
