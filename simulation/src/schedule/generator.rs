//! Schedules from seeds.

use std::fmt;
use std::str::FromStr;

use quorate_protocol::Random;

use super::{CrashPoint, Fault, Schedule, What};
use crate::world::{Damage, Loss, Machine};

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "they are described at `What`")]
pub enum FaultKind {
    Crash,
    LostWrites,
    TornWrites,
    GarbageSectors,
    LostNames,
    Pause,
    Wipe,
    Cut,
    Slow,
    Loss,
    Duplicate,
    Delay,
    SlowDisk,
    StallDisk,
    BitRot,
    MisdirectedWrite,
    ReadErrors,
    WriteError,
    SyncError,
    FullDisk,
    Drift,
    Jump,
}

impl FaultKind {
    /// Every kind.
    pub const ALL: [Self; 22] = [
        Self::Crash,
        Self::LostWrites,
        Self::TornWrites,
        Self::GarbageSectors,
        Self::LostNames,
        Self::Pause,
        Self::Wipe,
        Self::Cut,
        Self::Slow,
        Self::Loss,
        Self::Duplicate,
        Self::Delay,
        Self::SlowDisk,
        Self::StallDisk,
        Self::BitRot,
        Self::MisdirectedWrite,
        Self::ReadErrors,
        Self::WriteError,
        Self::SyncError,
        Self::FullDisk,
        Self::Drift,
        Self::Jump,
    ];

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::LostWrites => "lost-writes",
            Self::TornWrites => "torn-writes",
            Self::GarbageSectors => "garbage-sectors",
            Self::LostNames => "lost-names",
            Self::Pause => "pause",
            Self::Wipe => "wipe",
            Self::Cut => "cut",
            Self::Slow => "slow",
            Self::Loss => "loss",
            Self::Duplicate => "duplicate",
            Self::Delay => "delay",
            Self::SlowDisk => "slow-disk",
            Self::StallDisk => "stall-disk",
            Self::BitRot => "bit-rot",
            Self::MisdirectedWrite => "misdirected-write",
            Self::ReadErrors => "read-errors",
            Self::WriteError => "write-error",
            Self::SyncError => "sync-error",
            Self::FullDisk => "full-disk",
            Self::Drift => "drift",
            Self::Jump => "jump",
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for FaultKind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let all = || Self::ALL.map(Self::name).join(", ");
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| format!("{name} is not one of {}", all()))
    }
}

/// Makes schedules.
///
/// Each seed switches kinds of faults on and off and weighs those that are on, so that some runs are full of one thing
/// and free of another (swarm testing: Groce et al., ISSTA 2012).
#[derive(Clone, Debug)]
pub struct Generator {
    /// The kinds that may be switched on.
    pub kinds: Vec<FaultKind>,
    /// How long the time of faults lasts, in microseconds.
    pub faults_us: u64,
}

impl Default for Generator {
    /// Every kind, for twenty seconds.
    fn default() -> Self {
        Self { kinds: FaultKind::ALL.to_vec(), faults_us: 20_000_000 }
    }
}

impl Generator {
    /// Every kind that this machine can meet, for twenty seconds.
    #[must_use]
    pub fn of<M: Machine>() -> Self {
        Self { kinds: FaultKind::ALL.into_iter().filter(|kind| M::bears(*kind)).collect(), ..Self::default() }
    }

    /// The schedule of this seed.
    #[must_use]
    pub fn schedule(&self, seed: u64) -> Schedule {
        let mut random = Random::new(seed ^ 0x7363_6865_6475_6c65);
        let nodes = [3, 3, 3, 5, 5][pick(&mut random, 5)];
        let mut schedule = Schedule {
            seed,
            nodes,
            clients: random.between(4, 13),
            snapshot_every: [60, 200, 600][pick(&mut random, 3)],
            faults_us: self.faults_us,
            faults: Vec::new(),
        };
        let weights = self.weights(&mut random);
        let total: u64 = weights.iter().map(|(_, weight)| weight).sum();
        if total == 0 {
            return schedule;
        }
        let pace_us = random.between(150_000, 1_500_000);
        let mut at_us = random.between(0, 2 * pace_us);
        while at_us < self.faults_us {
            let kind = drawn(&weights, random.between(0, total));
            let left_us = self.faults_us - at_us;
            let longest_us = if random.between(0, 4) == 0 { 8_000_000 } else { 1_500_000 };
            let for_us = random.between(1_000, longest_us).min(left_us);
            if let Some(what) = fault(&mut random, kind, &schedule) {
                schedule.faults.push(Fault { at_us, for_us, what });
            }
            at_us += random.between(0, 2 * pace_us);
        }
        schedule
    }

    fn weights(&self, random: &mut Random) -> Vec<(FaultKind, u64)> {
        let weigh = |kind: &FaultKind| {
            let is_on = random.between(0, 2) == 0;
            (*kind, if is_on { random.between(1, 10) } else { 0 })
        };
        self.kinds.iter().map(weigh).collect()
    }
}

/// A fault of this kind; nothing when the schedule can bear no more of it.
fn fault(random: &mut Random, kind: FaultKind, schedule: &Schedule) -> Option<What> {
    let nodes = schedule.nodes;
    let node = random.between(1, nodes + 1);
    Some(match kind {
        FaultKind::Crash => crash(random, node, Loss::Nothing),
        FaultKind::LostWrites => crash(random, node, Loss::Unsynced),
        FaultKind::TornWrites => crash(random, node, Loss::Torn),
        FaultKind::GarbageSectors => crash(random, node, Loss::Garbage),
        FaultKind::LostNames => crash(random, node, Loss::Names),
        FaultKind::Pause => What::Pause { node },
        FaultKind::Wipe if can_lose(schedule, node) => What::Wipe { node },
        FaultKind::Wipe => return None,
        FaultKind::Cut => What::Cut { links: links(random, nodes) },
        FaultKind::Slow => What::Slow { links: links(random, nodes), by_us: random.between(1_000, 900_000) },
        FaultKind::Loss => What::Loss { percent: random.between(1, 50) },
        FaultKind::Duplicate => What::Duplicate { percent: random.between(1, 50) },
        FaultKind::Delay => What::Delay { up_to_us: random.between(1_000, 600_000) },
        FaultKind::SlowDisk => What::SlowDisk { node, by_us: random.between(1_000, 500_000) },
        FaultKind::StallDisk => What::StallDisk { node },
        FaultKind::BitRot => return destruction(schedule, node, Damage::BitRot),
        FaultKind::MisdirectedWrite => return destruction(schedule, node, Damage::MisdirectedWrite),
        FaultKind::ReadErrors => What::Damage { node, damage: Damage::ReadErrors },
        FaultKind::WriteError => What::Damage { node, damage: Damage::WriteError },
        FaultKind::SyncError => What::Damage { node, damage: Damage::SyncError },
        FaultKind::FullDisk => What::Damage { node, damage: Damage::FullDisk },
        FaultKind::Drift => What::Drift { node, ppm: signed(random, 200_000) },
        FaultKind::Jump => What::Jump { node, by_ms: signed(random, 100_000) },
    })
}

fn crash(random: &mut Random, node: u64, loss: Loss) -> What {
    What::Crash { node, point: CRASH_POINTS[pick(random, CRASH_POINTS.len())], loss }
}

fn destruction(schedule: &Schedule, node: u64, damage: Damage) -> Option<What> {
    can_lose(schedule, node).then_some(What::Damage { node, damage })
}

/// Whether this node may lose what it acknowledged: then it is down for good, and a minority at most may be.
fn can_lose(schedule: &Schedule, node: u64) -> bool {
    let mut lost: Vec<u64> = schedule.faults.iter().filter_map(|fault| fault.what.loses()).collect();
    lost.push(node);
    lost.sort_unstable();
    lost.dedup();
    lost.len() as u64 <= (schedule.nodes - 1) / 2
}

/// One-way links to cut or slow down: a node alone, two halves, one direction, or one of the shapes in which only some
/// can hear each other (Omni-Paxos, EuroSys 2023, section 2).
fn links(random: &mut Random, nodes: u64) -> Vec<(u64, u64)> {
    let one = random.between(1, nodes + 1);
    let side = random.between(1, 1 << nodes);
    let is_within = |from: u64, to: u64, shape: u64| match shape {
        0 => from != one && to != one,
        1 => (side >> (from - 1)) & 1 == (side >> (to - 1)) & 1,
        // Deaf, mute.
        2 => to != one,
        3 => from != one,
        // A hub that all see, and nobody else; a bridge between two halves; a chain; a ring.
        4 => from == one || to == one,
        5 => from == one || to == one || (side >> (from - 1)) & 1 == (side >> (to - 1)) & 1,
        6 => from.abs_diff(to) == 1,
        _ => from.abs_diff(to) == 1 || from.abs_diff(to) == nodes - 1,
    };
    let shape = random.between(0, 8);
    let pairs = (1..=nodes).flat_map(|from| (1..=nodes).map(move |to| (from, to)));
    pairs.filter(|(from, to)| from != to && !is_within(*from, *to, shape)).collect()
}

fn drawn(weights: &[(FaultKind, u64)], mut ticket: u64) -> FaultKind {
    for (kind, weight) in weights {
        if ticket < *weight {
            return *kind;
        }
        ticket -= weight;
    }
    unreachable!("a ticket is below the sum of the weights")
}

fn signed(random: &mut Random, most: i64) -> i64 {
    let most = most.unsigned_abs();
    let drawn = random.between(0, 2 * most + 1);
    i64::try_from(drawn).expect("small").saturating_sub_unsigned(most)
}

fn pick(random: &mut Random, count: usize) -> usize {
    usize::try_from(random.between(0, count as u64)).expect("small")
}

const CRASH_POINTS: [CrashPoint; 6] = [
    CrashPoint::Now,
    CrashPoint::Persist,
    CrashPoint::Persisted,
    CrashPoint::Send,
    CrashPoint::Sent,
    CrashPoint::Receive,
];
