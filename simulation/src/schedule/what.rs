//! What goes wrong.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{FaultKind, Link, Partition};
use crate::world::{Damage, Folder, Loss};

/// A node, by its number or by what it does when the fault begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Who {
    /// This one.
    Node(u64),
    /// The one in this role.
    Role(Role),
}

/// What a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It leads; while nobody does, the one that did so last.
    Leader,
}

impl Who {
    /// Whoever leads.
    pub const LEADER: Self = Self::Role(Role::Leader);
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(node) => write!(f, "n{node}"),
            Self::Role(Role::Leader) => f.write_str("the leader"),
        }
    }
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum What {
    /// The node stops at this point of its work, and starts again from its disk.
    Crash {
        /// Which node.
        node: Who,
        /// Where in its work.
        point: CrashPoint,
        /// What becomes of what was on its way to the disk.
        loss: Loss,
    },
    /// As a crash, but the node is back soon after it stopped: what was under way to it meets it again.
    Blink {
        /// Which node.
        node: Who,
        /// Where in its work.
        point: CrashPoint,
        /// What becomes of what was on its way to the disk.
        loss: Loss,
        /// How long it is down, in microseconds.
        down_us: u64,
    },
    /// The node that next begins to lead stops a little later, and starts again from its disk.
    CrashNextLeader {
        /// After so many microseconds.
        after_us: u64,
        /// What becomes of what was on its way to the disk.
        loss: Loss,
    },
    /// All nodes stop at once, and start again one by one.
    CrashAll {
        /// What becomes of what was on its way to the disks.
        loss: Loss,
    },
    /// The nodes are started anew one after another, as for a new version.
    RollingRestart,
    /// The node stands still, and then goes on where it stood.
    Pause {
        /// Which node.
        node: Who,
    },
    /// The node stops and comes back with an empty disk: for its peers a stranger.
    Wipe {
        /// Which node.
        node: Who,
    },
    /// The node stops when this ends, and comes back with its disk as it was when this began.
    OldCopy {
        /// Which node.
        node: Who,
    },
    /// Some links let nothing through.
    Partition {
        /// Which.
        #[serde(flatten)]
        partition: Partition,
    },
    /// What goes from the first to the second of each pair takes longer.
    Slow {
        /// One-way links.
        links: Vec<Link>,
        /// By so many microseconds.
        by_us: u64,
    },
    /// Only so much goes from the first to the second of each pair; what would have to wait longer than a second is lost.
    Bandwidth {
        /// One-way links.
        links: Vec<Link>,
        /// So many bytes a second.
        bytes_per_second: u64,
    },
    /// Messages are lost on every link.
    Lose {
        /// Of a hundred, so many.
        percent: u64,
    },
    /// Messages come twice, on every link.
    Duplicate {
        /// Of a hundred, so many.
        percent: u64,
    },
    /// Messages come once more, long after they did first: what was said in an earlier term is heard in a later one.
    Echo {
        /// Of a hundred, so many.
        percent: u64,
        /// Up to so much later, in microseconds.
        up_to_us: u64,
    },
    /// Messages take up to so much longer, on every link, each its own time: they overtake each other.
    Delay {
        /// In microseconds.
        up_to_us: u64,
    },
    /// Every write takes longer.
    SlowDisk {
        /// Which node.
        node: Who,
        /// By so many microseconds.
        by_us: u64,
    },
    /// No write ends before this does.
    StallDisk {
        /// Which node.
        node: Who,
    },
    /// The disk errs. A node that stops for it starts again when this ends.
    Damage {
        /// Which node.
        node: Who,
        /// What is wrong.
        damage: Damage,
    },
    /// The node's clocks go too fast, or too slow.
    Drift {
        /// Which node.
        node: Who,
        /// By so many millionths.
        ppm: i64,
    },
    /// The node's wall clock jumps, and jumps back.
    Jump {
        /// Which node.
        node: Who,
        /// By so many milliseconds.
        by_ms: i64,
    },
    /// Both clocks of the node leap ahead, for good: the machine slept.
    Leap {
        /// Which node.
        node: Who,
        /// By so many milliseconds.
        by_ms: u64,
    },
    /// The node's wall clock is set, and stays so. At the very beginning: it is wrong when the node starts.
    SetClock {
        /// Which node.
        node: Who,
        /// By so many milliseconds.
        by_ms: i64,
    },
    /// Building a snapshot takes longer.
    SlowSnapshots {
        /// Which node.
        node: Who,
        /// By so many microseconds.
        by_us: u64,
    },
    /// In messages of the node a bit of what they carry for clients is another than was meant: it flipped in the node's memory.
    FlippedBits {
        /// Which node.
        node: Who,
        /// Of a hundred messages, so many.
        percent: u64,
    },
    /// The node stops, and when it starts again a folder of its data directory is gone while the others are there.
    LostFolder {
        /// Which node.
        node: Who,
        /// Which folder.
        folder: Folder,
    },
    /// What a core asks of its application is neither done nor answered: it is stuck, or does not listen.
    LostRequests {
        /// Which node.
        node: Who,
    },
    /// An operator asks the leader to hand over.
    Transfer {
        /// To this node.
        to: u64,
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
    /// As `Sent`, while a write is on its way to the disk.
    SentWhileWriting,
    /// When something next reaches it, before it is looked at.
    Receive,
}

impl CrashPoint {
    /// Every point.
    pub const ALL: [Self; 7] =
        [Self::Now, Self::Persist, Self::Persisted, Self::Send, Self::Sent, Self::SentWhileWriting, Self::Receive];
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
            Self::Blink { .. } => FaultKind::Blink,
            Self::CrashNextLeader { .. } => FaultKind::CrashNextLeader,
            Self::CrashAll { .. } => FaultKind::CrashAll,
            Self::RollingRestart => FaultKind::RollingRestart,
            Self::Pause { .. } => FaultKind::Pause,
            Self::Wipe { .. } => FaultKind::Wipe,
            Self::OldCopy { .. } => FaultKind::OldCopy,
            Self::Partition { partition } => partition.kind(),
            Self::Slow { .. } => FaultKind::Slow,
            Self::Bandwidth { .. } => FaultKind::Bandwidth,
            Self::Lose { .. } => FaultKind::Lose,
            Self::Duplicate { .. } => FaultKind::Duplicate,
            Self::Echo { .. } => FaultKind::Echo,
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
            Self::Leap { .. } => FaultKind::Leap,
            Self::SetClock { .. } => FaultKind::SetClock,
            Self::SlowSnapshots { .. } => FaultKind::SlowSnapshots,
            Self::FlippedBits { .. } => FaultKind::FlippedBits,
            Self::LostFolder { .. } => FaultKind::LostFolder,
            Self::LostRequests { .. } => FaultKind::LostRequests,
            Self::Transfer { .. } => FaultKind::Transfer,
        }
    }

    /// Whether it counts only when it hits: it waits for its moment, or there may be nothing for it to take.
    pub(crate) fn may_miss(&self) -> bool {
        matches!(
            self,
            Self::Crash { .. }
                | Self::Blink { .. }
                | Self::CrashNextLeader { .. }
                | Self::Damage { .. }
                | Self::LostFolder { .. }
        )
    }

    /// Whether the node that it happens to can no longer be counted on.
    #[must_use]
    pub fn destroys(&self) -> bool {
        match self {
            Self::Wipe { .. } | Self::OldCopy { .. } | Self::LostFolder { .. } => true,
            Self::Damage { damage, .. } => damage.destroys(),
            _ => false,
        }
    }

    /// The node that it happens to, if it is one.
    #[must_use]
    pub fn who(&self) -> Option<Who> {
        match self {
            Self::Crash { node, .. }
            | Self::Blink { node, .. }
            | Self::Pause { node }
            | Self::Wipe { node }
            | Self::OldCopy { node }
            | Self::SlowDisk { node, .. }
            | Self::StallDisk { node }
            | Self::Damage { node, .. }
            | Self::Drift { node, .. }
            | Self::Jump { node, .. }
            | Self::Leap { node, .. }
            | Self::SetClock { node, .. }
            | Self::SlowSnapshots { node, .. }
            | Self::FlippedBits { node, .. }
            | Self::LostFolder { node, .. }
            | Self::LostRequests { node } => Some(*node),
            Self::Partition { partition } => partition.who(),
            Self::Transfer { to } => Some(Who::Node(*to)),
            _ => None,
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |us: &u64| Duration::from_micros(*us);
        match self {
            Self::Crash { node, point: CrashPoint::Now, loss } => write!(f, "crash {node}, {loss}"),
            Self::Crash { node, point, loss } => write!(f, "crash {node} at {point:?}, {loss}"),
            Self::Blink { node, point, loss, down_us } => {
                write!(f, "blink {node} at {point:?} for {:?}, {loss}", time(down_us))
            }
            Self::CrashNextLeader { after_us, loss } => {
                write!(f, "crash the next leader after {:?}, {loss}", time(after_us))
            }
            Self::CrashAll { loss } => write!(f, "crash all nodes, {loss}"),
            Self::RollingRestart => f.write_str("restart all, one after another"),
            Self::Pause { node } => write!(f, "pause {node}"),
            Self::Wipe { node } => write!(f, "wipe the disk of {node}"),
            Self::OldCopy { node } => write!(f, "an old copy comes back on {node}"),
            Self::Partition { partition } => partition.fmt(f),
            Self::Slow { links, by_us } => write!(f, "slow {} by {:?}", words(links), time(by_us)),
            Self::Bandwidth { links, bytes_per_second } => {
                write!(f, "{} bytes a second on {}", bytes_per_second, words(links))
            }
            Self::Lose { percent } => write!(f, "lose {percent}%"),
            Self::Duplicate { percent } => write!(f, "duplicate {percent}%"),
            Self::Echo { percent, up_to_us } => write!(f, "echo {percent}% up to {:?} later", time(up_to_us)),
            Self::Delay { up_to_us } => write!(f, "delay up to {:?}", time(up_to_us)),
            Self::SlowDisk { node, by_us } => write!(f, "slow the disk of {node} by {:?}", time(by_us)),
            Self::StallDisk { node } => write!(f, "stall the disk of {node}"),
            Self::Damage { node, damage } => write!(f, "{damage} on the disk of {node}"),
            Self::Drift { node, ppm } => write!(f, "clocks of {node} drift by {ppm} ppm"),
            Self::Jump { node, by_ms } => write!(f, "wall clock of {node} jumps by {by_ms} ms"),
            Self::Leap { node, by_ms } => write!(f, "clocks of {node} leap {by_ms} ms ahead"),
            Self::SetClock { node, by_ms } => write!(f, "wall clock of {node} is set by {by_ms} ms"),
            Self::SlowSnapshots { node, by_us } => write!(f, "snapshots of {node} take {:?} longer", time(by_us)),
            Self::FlippedBits { node, percent } => write!(f, "bits flip in {percent}% of what {node} sends"),
            Self::LostFolder { node, folder } => write!(f, "{node} loses its {folder}"),
            Self::LostRequests { node } => write!(f, "requests of cores on {node} are lost"),
            Self::Transfer { to } => write!(f, "hand over to n{to}"),
        }
    }
}

fn words(links: &[Link]) -> String {
    let link = |(from, to): &Link| format!("n{from}>n{to}");
    links.iter().map(link).collect::<Vec<_>>().join(" ")
}
