//! Faults that have begun and not ended.

use super::Loss;
use crate::schedule::{CrashPoint, Link};

/// A crash that waits until a node reaches this point of its work.
#[derive(Clone, Copy, Debug)]
pub(super) struct Armed {
    pub(super) point: CrashPoint,
    pub(super) loss: Loss,
    /// Number of the fault.
    pub(super) number: usize,
}

/// A fault that has begun, with the nodes, links and disks that it affects.
pub(super) struct Active<D> {
    /// The node that had the named role when the fault began.
    pub(super) node: u64,
    pub(super) links: Vec<Link>,
    /// A copy of the disk from the beginning of the fault, and its incarnation.
    pub(super) copy: Option<(u64, D)>,
}
