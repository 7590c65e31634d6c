//! The faults.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{FaultKind, Link, MemberStep, Partition, Who};
use crate::world::{Damage, Folder, Loss};

/// A fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum What {
    /// The node stops at this point of its work, and starts again from its disk.
    Crash {
        /// The node.
        node: Who,
        /// The point of its work.
        point: CrashPoint,
        /// The fate of writes that were on their way to the disk.
        loss: Loss,
    },
    /// Like a crash, but the node starts again soon: messages on their way to it still arrive.
    Blink {
        /// The node.
        node: Who,
        /// The point of its work.
        point: CrashPoint,
        /// The fate of writes that were on their way to the disk.
        loss: Loss,
        /// Time for which it is down, in microseconds.
        down_us: u64,
    },
    /// The next node that becomes leader stops a little later, and starts again from its disk.
    CrashNextLeader {
        /// Time after which it stops, in microseconds.
        after_us: u64,
        /// The fate of writes that were on their way to the disk.
        loss: Loss,
    },
    /// All nodes stop at once, and start again one by one.
    CrashAll {
        /// The fate of writes that were on their way to the disks.
        loss: Loss,
    },
    /// The nodes restart one after another, as for a new version.
    RollingRestart,
    /// The node is paused, and then continues where it stopped.
    Pause {
        /// The node.
        node: Who,
    },
    /// The node stops and comes back with an empty disk, as a stranger to its peers.
    Wipe {
        /// The node.
        node: Who,
    },
    /// The node stops when this fault ends, and comes back with its disk as it was when the fault began.
    OldCopy {
        /// The node.
        node: Who,
    },
    /// Some links are cut.
    Partition {
        /// The shape of the partition.
        #[serde(flatten)]
        partition: Partition,
    },
    /// Messages from the first to the second node of each pair take longer.
    Slow {
        /// One-way links.
        links: Vec<Link>,
        /// Additional time in microseconds.
        by_us: u64,
    },
    /// Messages from the first to the second node of each pair have a limited bandwidth. Messages that would wait
    /// longer than a second are lost.
    Bandwidth {
        /// One-way links.
        links: Vec<Link>,
        /// Bandwidth in bytes a second.
        bytes_per_second: u64,
    },
    /// Messages are lost on every link.
    Lose {
        /// Percentage of messages lost.
        percent: u64,
    },
    /// Messages are delivered twice, on every link.
    Duplicate {
        /// Percentage of messages delivered twice.
        percent: u64,
    },
    /// Messages are delivered once more, long after the first time, so that a message of an earlier term arrives in a
    /// later one.
    Echo {
        /// Percentage of messages delivered once more.
        percent: u64,
        /// Longest delay of the second delivery, in microseconds.
        up_to_us: u64,
    },
    /// Messages take longer on every link, each by a time of its own, so that they overtake each other.
    Delay {
        /// Longest additional time, in microseconds.
        up_to_us: u64,
    },
    /// Every write takes longer.
    SlowDisk {
        /// The node.
        node: Who,
        /// Additional time in microseconds.
        by_us: u64,
    },
    /// No write completes before this fault ends.
    StallDisk {
        /// The node.
        node: Who,
    },
    /// The disk has a fault. A node that stops because of it starts again when the fault ends.
    Damage {
        /// The node.
        node: Who,
        /// The fault of the disk.
        damage: Damage,
    },
    /// The node's clocks run too fast, or too slowly.
    Drift {
        /// The node.
        node: Who,
        /// Error of the clocks in millionths.
        ppm: i64,
    },
    /// The node's wall clock jumps, and jumps back.
    Jump {
        /// The node.
        node: Who,
        /// Size of the jump in milliseconds.
        by_ms: i64,
    },
    /// Both clocks of the node leap ahead, for good, as after the machine slept.
    Leap {
        /// The node.
        node: Who,
        /// Size of the leap in milliseconds.
        by_ms: u64,
    },
    /// The node's wall clock is set, and stays wrong. At time zero, it is wrong when the node starts.
    SetClock {
        /// The node.
        node: Who,
        /// Change in milliseconds.
        by_ms: i64,
    },
    /// Building a snapshot takes longer.
    SlowSnapshots {
        /// The node.
        node: Who,
        /// Additional time in microseconds.
        by_us: u64,
    },
    /// In some messages of the node, one bit of a client's data is wrong, because it flipped in the node's memory.
    FlippedBits {
        /// The node.
        node: Who,
        /// Percentage of messages with a flipped bit.
        percent: u64,
    },
    /// The node stops. When it starts again, one folder of its data directory is gone and the others are there.
    LostFolder {
        /// The node.
        node: Who,
        /// The folder.
        folder: Folder,
    },
    /// Requests of a core to its application are neither carried out nor answered, as if the application was stuck.
    LostRequests {
        /// The node.
        node: Who,
    },
    /// An operator asks the leader to transfer leadership.
    Transfer {
        /// Id of the new leader.
        to: u64,
    },
    /// An operator adds a group on all nodes. On this node it is added when the fault ends.
    AddGroup {
        /// The node.
        node: Who,
        /// Id of the group.
        group: u64,
    },
    /// An operator removes a group from all nodes for good. From this node it is removed when the fault ends.
    RemoveGroup {
        /// The node.
        node: Who,
        /// Id of the group.
        group: u64,
    },
    /// An operator asks the leader to change the members of the group, all steps together. Until the fault ends, it
    /// asks again, unless the leader's configuration shows that the change was begun.
    ChangeMembers {
        /// The steps, in their order.
        steps: Vec<MemberStep>,
    },
}

/// The point of its work at which a node stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CrashPoint {
    /// At once.
    Now,
    /// When it next gives a write to its disk.
    Persist,
    /// When a write has reached the disk, before the node learns of it.
    Persisted,
    /// When it next sends a message, before the message leaves.
    Send,
    /// After it next sent a message, before anything else: the writes that the message depends on must be on its disk.
    Sent,
    /// Like `Sent`, while a write is on its way to the disk.
    SentWhileWriting,
    /// When a message next arrives, before it is handled.
    Receive,
}

impl CrashPoint {
    /// Every point.
    pub const ALL: [Self; 7] =
        [Self::Now, Self::Persist, Self::Persisted, Self::Send, Self::Sent, Self::SentWhileWriting, Self::Receive];
}

impl What {
    /// Its kind of fault.
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
            Self::AddGroup { .. } => FaultKind::AddGroup,
            Self::RemoveGroup { .. } => FaultKind::RemoveGroup,
            Self::ChangeMembers { .. } => FaultKind::ChangeMembers,
        }
    }

    /// True if the fault counts only when it takes effect: it waits for its moment, or there may be nothing that it can
    /// affect.
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

    /// True if the affected node can no longer be relied on.
    #[must_use]
    pub fn destroys(&self) -> bool {
        match self {
            Self::Wipe { .. } | Self::OldCopy { .. } | Self::LostFolder { .. } => true,
            Self::Damage { damage, .. } => damage.destroys(),
            _ => false,
        }
    }

    /// The node that it affects, if it affects a single one.
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
            | Self::AddGroup { node, .. }
            | Self::RemoveGroup { node, .. }
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
            Self::AddGroup { node, group } => write!(f, "group {group} is added, on {node} last"),
            Self::RemoveGroup { node, group } => write!(f, "group {group} is removed, from {node} last"),
            Self::ChangeMembers { steps } => {
                let steps: Vec<String> = steps.iter().map(MemberStep::to_string).collect();
                f.write_str(&steps.join(", "))
            }
        }
    }
}

fn words(links: &[Link]) -> String {
    let link = |(from, to): &Link| format!("n{from}>n{to}");
    links.iter().map(link).collect::<Vec<_>>().join(" ")
}
