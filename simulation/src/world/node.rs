//! One simulated node: its machine, the queue of its disk, and its inputs and outputs.

use std::collections::{BTreeMap, BTreeSet};

use quorate_protocol::{NodeId, Random};

use super::active::Armed;
use super::clock::NodeClock;
use super::happening::Happening;
use super::ready::Ready;
use super::{Damage, Machine, NodeView, Observation};

/// A node of the simulated world.
pub(super) struct Node<M: Machine> {
    pub(super) machine: Option<M>,
    pub(super) disk: M::Disk,
    pub(super) incarnation: u64,
    /// Number of starts so far. An operation of an earlier start is not answered to a later one.
    pub(super) start: u64,
    pub(super) clock: NodeClock,
    /// Time of the earliest planned timer.
    pub(super) timer_us: Option<u64>,
    pub(super) is_round_planned: bool,
    /// Inputs that wait for its loop.
    pub(super) ready: Ready<M>,
    /// The crash that waits for it to reach a point of its work.
    pub(super) armed: Option<Armed>,
    /// The armed crash whose point it has reached.
    pub(super) dying: Option<Armed>,
    /// It lost acknowledged data, and counts as down for good.
    pub(super) is_lost: bool,
    /// It reported once that the others do not depend on any single disk.
    pub(super) is_founded: bool,
    /// Number of active faults of each kind on its disk.
    pub(super) damages: BTreeMap<Damage, u32>,
    /// Its disk had a fault since it started, so it may halt.
    pub(super) is_excused: bool,
    /// Time at which it last stopped.
    pub(super) stopped_us: Option<u64>,
    /// The peers that it believes to be connected to.
    pub(super) linked: BTreeSet<u64>,
    /// Number of writes that its disk has not completed.
    pub(super) writing: u32,
    /// Number of changes.
    pub(super) changes: u64,
    /// Number of faults that pause its loop.
    pub(super) pauses: u32,
    /// Number of faults that stall its disk, and the operations that completed meanwhile.
    pub(super) stalls: u32,
    pub(super) held: Vec<Happening<M::Message>>,
    pub(super) disk_slower_us: u64,
    /// Additional time for building a snapshot, in microseconds.
    pub(super) builds_slower_us: u64,
    /// Number of faults that make requests of its cores disappear.
    pub(super) requests_lost: u32,
    /// Percentage of its messages in which a bit flips.
    pub(super) flips_percent: u64,
    /// Time at which the disk has completed all its operations.
    pub(super) disk_free_us: u64,
    pub(super) seen: Observation,
}

impl<M: Machine> Node<M> {
    pub(super) fn new(disk: M::Disk, clock: NodeClock) -> Self {
        Self {
            machine: None,
            disk,
            incarnation: 1,
            start: 0,
            clock,
            timer_us: None,
            is_round_planned: false,
            ready: Ready::default(),
            armed: None,
            dying: None,
            is_lost: false,
            is_founded: false,
            damages: BTreeMap::new(),
            is_excused: false,
            stopped_us: None,
            linked: BTreeSet::new(),
            writing: 0,
            changes: 0,
            pauses: 0,
            stalls: 0,
            held: Vec::new(),
            disk_slower_us: 0,
            builds_slower_us: 0,
            flips_percent: 0,
            requests_lost: 0,
            disk_free_us: 0,
            seen: Observation::default(),
        }
    }

    pub(super) fn view(&self, node: NodeId) -> NodeView<'_, M> {
        let Self { machine, disk, is_lost, changes, .. } = self;
        NodeView { node, machine: machine.as_ref(), disk, is_lost: *is_lost, changes: *changes }
    }
}

/// Durations without the influence of faults.
pub(super) struct Timing {
    random: Random,
    /// One round in this many is long, because another task on its thread is busy. `None` if no other task runs there.
    long_one_in: Option<u64>,
}

impl Timing {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x7469_6d69_6e67);
        let long_one_in = [None, None, Some(200), Some(20)][usize::try_from(random.between(0, 4)).expect("small")];
        Self { random, long_one_in }
    }

    pub(super) fn clock(&mut self) -> NodeClock {
        let ahead_ms = i64::try_from(self.random.between(0, 1_000)).expect("small") - 500;
        NodeClock::new(self.random.between(1_000_000_000, 9_000_000_000), ahead_ms)
    }

    /// Time until the loop handles an input that arrived.
    pub(super) fn loop_us(&mut self) -> u64 {
        match self.long_one_in {
            Some(one_in) if self.random.between(0, one_in) == 0 => self.random.between(60, 5_000),
            _ => self.random.between(1, 60),
        }
    }

    pub(super) fn write_us(&mut self) -> u64 {
        self.random.between(200, 1_500)
    }

    /// Time until a connection is known to stand, or to be broken.
    pub(super) fn link_us(&mut self) -> u64 {
        self.random.between(1_000, 150_000)
    }

    /// Time from the return of the power until the node runs.
    pub(super) fn start_us(&mut self) -> u64 {
        self.random.between(0, 60_000)
    }

    pub(super) fn read_us(&mut self) -> u64 {
        self.random.between(50, 500)
    }
}
