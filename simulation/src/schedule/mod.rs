//! What a run consists of, as data: everything that goes wrong, and when.

mod generator;
mod kind;
mod partition;
mod patterns;
mod what;

pub use generator::{Aim, Generator};
pub use kind::FaultKind;
pub use partition::{Link, Partition};
pub use what::{CrashPoint, Role, What, Who};

use serde::{Deserialize, Serialize};

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
    /// Of a hundred calls so many go to the node that leads, if there is one; the others go anywhere.
    pub at_leader_percent: u64,
    /// A snapshot is made after so many applied entries.
    pub snapshot_every: u64,
    /// How much may be lost for good.
    pub budget: Budget,
    /// How long the time of faults lasts, in microseconds. Then everything is healed, and the cluster must serve.
    pub faults_us: u64,
    /// What goes wrong, in the order it begins.
    pub faults: Vec<Fault>,
}

impl Schedule {
    /// How far a node's wall clock is ahead when it starts for the first time, in milliseconds.
    pub(crate) fn wrong_from_the_start_ms(&self, id: u64) -> i64 {
        let set_at_once = self.faults.iter().filter(|fault| fault.at_us == 0).filter_map(|fault| match fault.what {
            What::SetClock { node: Who::Node(node), by_ms } if node == id => Some(by_ms),
            _ => None,
        });
        set_at_once.sum()
    }
}

/// How much the faults of a run may take from the cluster for good.
///
/// A node that loses something it had acknowledged counts as down for good from then on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Budget {
    /// What every protocol here must bear: a minority may lose its disks (wiped or rotten), so that the last good copy of anything
    /// is never destroyed, and none before every node says that the others can do without its disk; no disk goes back in time. A
    /// fault that would take more does not take place.
    #[default]
    Tolerated,
    /// Anything. Then laws will be broken, and ought to be.
    Exceeded,
}

/// Something that goes wrong for a while. Each stands for itself, so that a schedule can be shrunk by leaving some out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// When it begins, in microseconds.
    pub at_us: u64,
    /// How long it lasts, in microseconds; what ends it is part of it: a crashed node starts again.
    pub for_us: u64,
    /// The cluster must serve all the same: writes are acknowledged within ten times the longest election time-out of its
    /// beginning and from then on, and the leader changes seldom.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub demands_progress: bool,
    /// What it is.
    #[serde(flatten)]
    pub what: What,
}

impl Fault {
    /// When it ends, in microseconds.
    #[must_use]
    pub fn ends_us(&self) -> u64 {
        self.at_us.saturating_add(self.for_us)
    }
}
