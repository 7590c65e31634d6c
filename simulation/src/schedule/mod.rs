//! The content of a run as data: every fault, and its time.

mod draws;
mod generator;
mod kind;
mod members;
mod partition;
mod patterns;
mod what;
mod who;

pub use generator::{Aim, Generator};
pub use kind::FaultKind;
pub use members::MemberStep;
pub use partition::{Link, Partition};
pub use what::{CrashPoint, What};
pub use who::{TargetRole, Who};

use serde::{Deserialize, Serialize};

/// One run: the same schedule gives the same run, on every machine.
///
/// A failing run writes it as JSON, and a repetition reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// Seed of the random numbers: for delays, the times of calls, and time-outs.
    pub seed: u64,
    /// Number of nodes. Their ids run from 1 to this number.
    pub nodes: u64,
    /// Number of nodes that found no group: the last ones. They join a group when it changes its members.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub joining: u64,
    /// Number of clients, each with one call at a time.
    pub clients: u64,
    /// Percentage of calls that go to the leader, if there is one. The others go to any node.
    pub at_leader_percent: u64,
    /// Number of applied entries after which a snapshot is made.
    pub snapshot_every: u64,
    /// Limit of permanent losses.
    pub budget: LossBudget,
    /// Length of the time of faults, in microseconds. After it everything is healed, and the cluster must serve.
    pub faults_us: u64,
    /// The faults, in the order of their beginnings.
    pub faults: Vec<Fault>,
}

impl Schedule {
    /// Milliseconds by which a node's wall clock is ahead when it starts for the first time.
    pub(crate) fn wrong_from_the_start_ms(&self, id: u64) -> i64 {
        let set_at_once = self.faults.iter().filter(|fault| fault.at_us == 0).filter_map(|fault| match fault.what {
            What::SetClock { node: Who::Node(node), by_ms } if node == id => Some(by_ms),
            _ => None,
        });
        set_at_once.sum()
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Limit of the permanent losses that the faults of a run may cause.
///
/// A node that loses acknowledged data counts as down for good from then on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossBudget {
    /// Losses that every protocol here must tolerate. A minority may lose its disks (wiped or rotten), so that the last
    /// good copy of anything is never destroyed, and only after every node confirms that the others do not depend on
    /// its disk. No disk goes back in time. A fault that would cause more does not take place.
    #[default]
    Tolerated,
    /// Any loss. Laws will then be broken, as they should be.
    Exceeded,
}

/// A fault that lasts for a while. Each is independent, so that a schedule can be shrunk by leaving some out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Time of its beginning, in microseconds.
    pub at_us: u64,
    /// Its duration, in microseconds. Its end is part of it: a crashed node starts again.
    pub for_us: u64,
    /// True if the cluster must serve during the fault: writes are acknowledged from ten times the longest election
    /// time-out after its beginning on, and the leader changes rarely.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub demands_progress: bool,
    /// The fault itself.
    #[serde(flatten)]
    pub what: What,
}

impl Fault {
    /// Time of its end, in microseconds.
    #[must_use]
    pub fn ends_us(&self) -> u64 {
        self.at_us.saturating_add(self.for_us)
    }
}
