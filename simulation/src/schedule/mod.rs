//! What a run consists of, as data: everything that goes wrong, and when.

mod generator;

pub use generator::{FaultKind, Generator};

use serde::{Deserialize, Serialize};

use crate::world::{Damage, Loss};

/// One run, whole: the same schedule gives the same run, on every machine.
///
/// It is what a failing run leaves behind (as JSON), and what is run again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// What chance is drawn from: delays, the moments of calls, time-outs.
    pub seed: u64,
    /// Nodes 1 to this.
    pub nodes: u64,
    /// Clients that call, each one thing at a time.
    pub clients: u64,
    /// A snapshot is made after so many applied entries.
    pub snapshot_every: u64,
    /// How long the time of faults lasts, in microseconds. Then everything is healed, and the cluster must serve.
    pub faults_us: u64,
    /// What goes wrong, in the order it begins.
    pub faults: Vec<Fault>,
}

/// Something that goes wrong for a while. Each stands for itself, so that a schedule can be shrunk by leaving some out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// When it begins, in microseconds.
    pub at_us: u64,
    /// How long it lasts, in microseconds; what ends it is part of it: a crashed node starts again.
    pub for_us: u64,
    /// What it is.
    #[serde(flatten)]
    pub what: What,
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum What {
    /// The node stops at this point of its work, and starts again from its disk.
    Crash {
        /// Which node.
        node: u64,
        /// Where in its work.
        point: CrashPoint,
        /// What becomes of what was on its way to the disk.
        loss: Loss,
    },
    /// The node stands still, and then goes on where it stood.
    Pause {
        /// Which node.
        node: u64,
    },
    /// The node stops and comes back with an empty disk: for its peers a stranger.
    Wipe {
        /// Which node.
        node: u64,
    },
    /// Nothing gets through from the first to the second of each pair.
    Cut {
        /// One-way links.
        links: Vec<(u64, u64)>,
    },
    /// What goes from the first to the second of each pair takes longer.
    Slow {
        /// One-way links.
        links: Vec<(u64, u64)>,
        /// By so many microseconds.
        by_us: u64,
    },
    /// Messages are lost on every link.
    Loss {
        /// Of a hundred, so many.
        percent: u64,
    },
    /// Messages come twice, on every link.
    Duplicate {
        /// Of a hundred, so many.
        percent: u64,
    },
    /// Messages take up to so much longer, on every link, each its own time: they overtake each other.
    Delay {
        /// In microseconds.
        up_to_us: u64,
    },
    /// Every write takes longer.
    SlowDisk {
        /// Which node.
        node: u64,
        /// By so many microseconds.
        by_us: u64,
    },
    /// No write ends before this does.
    StallDisk {
        /// Which node.
        node: u64,
    },
    /// The disk errs. A node that stops for it starts again when this ends.
    Damage {
        /// Which node.
        node: u64,
        /// What is wrong.
        damage: Damage,
    },
    /// The node's clocks go too fast, or too slow.
    Drift {
        /// Which node.
        node: u64,
        /// By so many millionths.
        ppm: i64,
    },
    /// The node's wall clock jumps, and jumps back.
    Jump {
        /// Which node.
        node: u64,
        /// By so many milliseconds.
        by_ms: i64,
    },
}

/// Where in its work a node stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CrashPoint {
    /// At once.
    Now,
    /// When it next hands a write to its disk.
    Persist,
    /// When a write has reached the disk, before the node learns of it.
    Persisted,
    /// When it next sends, before that leaves.
    Send,
    /// When it has next sent, and before anything else: what it said must be on its disk.
    Sent,
    /// When something next reaches it, before it is looked at.
    Receive,
}

impl What {
    /// Which kind of fault it is.
    #[must_use]
    pub fn kind(&self) -> FaultKind {
        match self {
            Self::Crash { loss, .. } => match loss {
                Loss::Nothing => FaultKind::Crash,
                Loss::Unsynced => FaultKind::LostWrites,
                Loss::Torn => FaultKind::TornWrites,
                Loss::Garbage => FaultKind::GarbageSectors,
                Loss::Names => FaultKind::LostNames,
            },
            Self::Pause { .. } => FaultKind::Pause,
            Self::Wipe { .. } => FaultKind::Wipe,
            Self::Cut { .. } => FaultKind::Cut,
            Self::Slow { .. } => FaultKind::Slow,
            Self::Loss { .. } => FaultKind::Loss,
            Self::Duplicate { .. } => FaultKind::Duplicate,
            Self::Delay { .. } => FaultKind::Delay,
            Self::SlowDisk { .. } => FaultKind::SlowDisk,
            Self::StallDisk { .. } => FaultKind::StallDisk,
            Self::Damage { damage, .. } => match damage {
                Damage::BitRot => FaultKind::BitRot,
                Damage::MisdirectedWrite => FaultKind::MisdirectedWrite,
                Damage::ReadErrors => FaultKind::ReadErrors,
                Damage::WriteError => FaultKind::WriteError,
                Damage::SyncError => FaultKind::SyncError,
                Damage::FullDisk => FaultKind::FullDisk,
            },
            Self::Drift { .. } => FaultKind::Drift,
            Self::Jump { .. } => FaultKind::Jump,
        }
    }

    /// The node that can no longer be counted on after it, if there is one.
    pub(crate) fn loses(&self) -> Option<u64> {
        match self {
            Self::Wipe { node } => Some(*node),
            Self::Damage { node, damage } if damage.destroys() => Some(*node),
            _ => None,
        }
    }

    /// The node that it happens to, if it is one.
    pub(crate) fn node(&self) -> Option<u64> {
        match self {
            Self::Crash { node, .. }
            | Self::Pause { node }
            | Self::Wipe { node }
            | Self::SlowDisk { node, .. }
            | Self::StallDisk { node }
            | Self::Damage { node, .. }
            | Self::Drift { node, .. }
            | Self::Jump { node, .. } => Some(*node),
            _ => None,
        }
    }
}
