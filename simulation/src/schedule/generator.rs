//! Makes schedules from seeds.

use quorate_protocol::Random;

use super::draws::{any_loss, links, partition, pick};
use super::members::Roll;
use super::{CrashPoint, Fault, FaultKind, LossBudget, Schedule, What, Who, patterns};
use crate::world::{Damage, Folder, Loss, Machine};

/// Makes schedules.
///
/// Each seed switches kinds of faults on and off and weights those that are on, so that some runs are full of one kind
/// and free of another (swarm testing: Groce et al., ISSTA 2012). Some seeds also follow patterns: several faults in
/// sequence, aimed at the current leader, which can destroy data that only seemed safe.
#[derive(Clone, Debug)]
pub struct Generator {
    /// The kinds that may be switched on.
    pub kinds: Vec<FaultKind>,
    /// Length of the time of faults, in microseconds.
    pub faults_us: u64,
    /// Limit of permanent losses.
    pub budget: LossBudget,
    /// Aim of the schedules.
    pub aim: Aim,
}

/// Aim of schedules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Aim {
    /// Show that no law is broken under faults, and that the cluster serves when they are over.
    #[default]
    Safety,
    /// Show that the cluster serves during a fault that a majority survives, one for each seed: a partial partition, or
    /// one node that is paused or whose disk stalls or is full.
    Progress,
    /// That the cluster goes on beside one node that stops early and does not start again before all is healed. The
    /// network may lose, repeat and delay a few messages meanwhile.
    BesideTheDead,
}

impl Default for Generator {
    /// Every usual kind, for twelve seconds, within the budget.
    fn default() -> Self {
        let kinds = FaultKind::ALL.iter().copied().filter(|kind| kind.is_usual()).collect();
        Self { kinds, faults_us: 12_000_000, budget: LossBudget::Tolerated, aim: Aim::Safety }
    }
}

impl Generator {
    /// Every usual kind of fault that this machine can experience, for twelve seconds, within the budget.
    #[must_use]
    pub fn of<M: Machine>() -> Self {
        let mut generator = Self::default();
        generator.kinds.retain(|kind| M::bears(*kind));
        generator
    }

    /// Makes the schedule of this seed.
    #[must_use]
    pub fn schedule(&self, seed: u64) -> Schedule {
        let mut random = Random::new(seed ^ 0x7363_6865_6475_6c65);
        let nodes = [3, 3, 3, 4, 5, 5][pick(&mut random, 6)];
        let clients_max = [13, 13, 13, 40][pick(&mut random, 4)];
        let mut schedule = Schedule {
            seed,
            nodes,
            joining: 0,
            clients: random.between(4, clients_max),
            at_leader_percent: [0, 50, 90, 100][pick(&mut random, 4)],
            snapshot_every: [5, 60, 200, 600][pick(&mut random, 4)],
            budget: self.budget,
            faults_us: self.faults_us,
            faults: Vec::new(),
        };
        if self.kinds.contains(&FaultKind::ChangeMembers) {
            schedule.joining = random.between(1, JOINING_MAX + 1);
            schedule.nodes += schedule.joining;
        }
        match self.aim {
            Aim::Safety => self.add_faults(&mut random, &mut schedule),
            Aim::Progress => patterns::steady_fault(&mut random, &self.switched_on(), &mut schedule),
            Aim::BesideTheDead => patterns::dead_for_good(&mut random, &self.switched_on(), &mut schedule),
        }
        schedule.faults.sort_by_key(|fault| fault.at_us);
        schedule
    }

    /// The kinds that schedules may have: those that are within the budget and serve the aim.
    #[must_use]
    pub fn switched_on(&self) -> Vec<FaultKind> {
        let can_be = |kind: &FaultKind| match self.aim {
            Aim::Safety => self.budget == LossBudget::Exceeded || *kind != FaultKind::OldCopy,
            Aim::Progress => patterns::OF_A_MINORITY.contains(kind),
            Aim::BesideTheDead => patterns::OF_THE_DEAD.contains(kind),
        };
        self.kinds.iter().copied().filter(can_be).collect()
    }

    fn add_faults(&self, random: &mut Random, schedule: &mut Schedule) {
        let weights = self.weights(random);
        let total: u64 = weights.iter().map(|(_, weight)| weight).sum();
        let patterns_percent = [0, 20, 80][pick(random, 3)];
        if random.between(0, 8) == 0 {
            patterns::first_writes(random, &self.kinds, schedule);
        }
        let pace_us = random.between(150_000, 1_200_000);
        let mut at_us = random.between(0, 2 * pace_us);
        while at_us < self.faults_us {
            if random.between(0, 100) < patterns_percent {
                at_us += patterns::one(random, &self.kinds, schedule, at_us);
            } else if total > 0 {
                let kind = drawn(&weights, random.between(0, total));
                let longest_us = if random.between(0, 4) == 0 { 8_000_000 } else { 1_500_000 };
                let for_us = random.between(1_000, longest_us).min(self.faults_us - at_us);
                if let Some(what) = fault(random, kind, schedule) {
                    schedule.faults.push(Fault { at_us, for_us, demands_progress: false, what });
                }
                match kind {
                    FaultKind::Wipe if schedule.joining > 0 => replace_wiped(random, schedule),
                    FaultKind::ChangeMembers if random.between(0, 3) == 0 => {
                        crash_in_the_midst(random, schedule, at_us);
                    }
                    _ => {}
                }
            }
            at_us += random.between(0, 2 * pace_us);
        }
    }

    fn weights(&self, random: &mut Random) -> Vec<(FaultKind, u64)> {
        let do_members_change = self.kinds.contains(&FaultKind::ChangeMembers);
        let weigh = |kind: &FaultKind| {
            let is_on = random.between(0, 2) == 0;
            let weight = if is_on { random.between(1, 10) } else { 0 };
            let at_least = match kind {
                FaultKind::ChangeMembers => 40,
                FaultKind::Wipe if do_members_change => 8,
                _ => 0,
            };
            (*kind, weight.max(at_least))
        };
        self.switched_on().iter().map(weigh).collect()
    }
}

/// Makes a fault of this kind; `None` if the schedule cannot take another one.
fn fault(random: &mut Random, kind: FaultKind, schedule: &Schedule) -> Option<What> {
    let nodes = schedule.nodes;
    let node = if random.between(0, 3) == 0 { Who::LEADER } else { Who::Node(random.between(1, nodes + 1)) };
    let damage = |damage| What::Damage { node, damage };
    Some(match kind {
        FaultKind::Crash => crash(random, node, Loss::Nothing),
        FaultKind::LostWrites => crash(random, node, Loss::Unsynced),
        FaultKind::TornWrites => crash(random, node, Loss::Torn),
        FaultKind::GarbageSectors => crash(random, node, Loss::Garbage),
        FaultKind::LostNames => crash(random, node, Loss::Names),
        FaultKind::Blink => {
            let point = CrashPoint::ALL[pick(random, CrashPoint::ALL.len())];
            What::Blink { node, point, loss: any_loss(random), down_us: random.between(100, 50_000) }
        }
        FaultKind::CrashNextLeader => {
            What::CrashNextLeader { after_us: random.between(0, 30_000), loss: any_loss(random) }
        }
        FaultKind::CrashAll => What::CrashAll { loss: any_loss(random) },
        FaultKind::RollingRestart => What::RollingRestart,
        FaultKind::Pause => What::Pause { node },
        FaultKind::Wipe => What::Wipe { node: losing(random, schedule)? },
        FaultKind::OldCopy => What::OldCopy { node: losing(random, schedule)? },
        FaultKind::BitRot => What::Damage { node: losing(random, schedule)?, damage: Damage::BitRot },
        FaultKind::MisdirectedWrite => {
            What::Damage { node: losing(random, schedule)?, damage: Damage::MisdirectedWrite }
        }
        FaultKind::ReadErrors => damage(Damage::ReadErrors),
        FaultKind::WriteError => damage(Damage::WriteError),
        FaultKind::SyncError => damage(Damage::SyncError),
        FaultKind::FullDisk => damage(Damage::FullDisk),
        FaultKind::Isolate
        | FaultKind::Halves
        | FaultKind::OneWay
        | FaultKind::Bridge
        | FaultKind::Star
        | FaultKind::Chain
        | FaultKind::Ring
        | FaultKind::Leaves => What::Partition { partition: partition(random, kind, nodes, node) },
        FaultKind::Slow => What::Slow { links: links(random, nodes), by_us: random.between(1_000, 3_000_000) },
        FaultKind::Bandwidth => {
            let most = [1_000, 10_000, 100_000][pick(random, 3)];
            What::Bandwidth { links: links(random, nodes), bytes_per_second: random.between(200, most) }
        }
        FaultKind::Lose => What::Lose { percent: random.between(1, 50) },
        FaultKind::Duplicate => What::Duplicate { percent: random.between(1, 50) },
        FaultKind::Echo => What::Echo { percent: random.between(1, 50), up_to_us: random.between(100_000, 6_000_000) },
        FaultKind::Delay => {
            let longest_us = if random.between(0, 4) == 0 { 3_000_000 } else { 600_000 };
            What::Delay { up_to_us: random.between(1_000, longest_us) }
        }
        FaultKind::SlowDisk => What::SlowDisk { node, by_us: random.between(1_000, 500_000) },
        FaultKind::StallDisk => What::StallDisk { node },
        FaultKind::Drift => What::Drift { node, ppm: signed(random, 500_000) },
        FaultKind::Jump => What::Jump { node, by_ms: signed(random, 100_000) },
        FaultKind::Leap => What::Leap { node, by_ms: random.between(1, 5_000) },
        FaultKind::SetClock => What::SetClock { node, by_ms: set_by_ms(random) },
        FaultKind::SlowSnapshots => What::SlowSnapshots { node, by_us: random.between(1_000, 4_000_000) },
        FaultKind::FlippedBits => What::FlippedBits { node, percent: random.between(1, 50) },
        FaultKind::LostFolder => {
            let folder = [Folder::Log, Folder::Snapshots][pick(random, 2)];
            What::LostFolder { node: losing(random, schedule)?, folder }
        }
        FaultKind::LostRequests => What::LostRequests { node },
        FaultKind::Transfer => What::Transfer { to: random.between(1, nodes + 1) },
        FaultKind::AddGroup => What::AddGroup { node, group: group(random, schedule, 80) },
        FaultKind::RemoveGroup => What::RemoveGroup { node, group: group(random, schedule, 5) },
        FaultKind::ChangeMembers => What::ChangeMembers { steps: Roll::of(schedule).change(random)? },
    })
}

/// Lets the operator replace the node that was wiped last, soon after that.
fn replace_wiped(random: &mut Random, schedule: &mut Schedule) {
    let Some(Fault { what: What::Wipe { node: Who::Node(wiped) }, .. }) = schedule.faults.last() else { return };
    let (wiped, ends_us) = (*wiped, schedule.faults.last().map_or(0, Fault::ends_us));
    let what = What::ChangeMembers { steps: Roll::of(schedule).replacement(random, wiped) };
    let at_us = ends_us + random.between(0, 1_000_000);
    schedule.faults.push(Fault { at_us, for_us: random.between(500_000, 3_000_000), demands_progress: false, what });
}

/// The leader stops while a change of members that began at `at_us` is under way.
fn crash_in_the_midst(random: &mut Random, schedule: &mut Schedule, at_us: u64) {
    let loss = any_loss(random);
    let (at_us, what) = (at_us + random.between(0, 20_000), crash(random, Who::LEADER, loss));
    schedule.faults.push(Fault { at_us, for_us: random.between(1_000, 3_000_000), demands_progress: false, what });
}

fn crash(random: &mut Random, node: Who, loss: Loss) -> What {
    What::Crash { node, point: CrashPoint::ALL[pick(random, CrashPoint::ALL.len())], loss }
}

/// A random error of a clock, in either direction: seconds, hours, or a year.
fn set_by_ms(random: &mut Random) -> i64 {
    let most = [10_000, 10_000, 4_000_000, 31_536_000_000][pick(random, 4)];
    signed(random, most)
}

/// A node that may lose acknowledged data, if there is one: within the budget at most a minority may lose data.
fn losing(random: &mut Random, schedule: &Schedule) -> Option<Who> {
    let node = random.between(1, schedule.nodes + 1);
    let mut lost: Vec<u64> = schedule.faults.iter().filter_map(|fault| lost_by(&fault.what)).collect();
    lost.push(node);
    lost.sort_unstable();
    lost.dedup();
    let is_tolerated = lost.len() as u64 <= (schedule.nodes - 1) / 2;
    (is_tolerated || schedule.budget == LossBudget::Exceeded).then_some(Who::Node(node))
}

/// A group that was never added, or one of all so far: it may be added or removed twice.
fn group(random: &mut Random, schedule: &Schedule, new_percent: u64) -> u64 {
    let is_added = |fault: &&Fault| matches!(fault.what, What::AddGroup { .. });
    let next = FIRST_ADDED + schedule.faults.iter().filter(is_added).count() as u64;
    if random.between(0, 100) < new_percent { next } else { random.between(FIRST_ADDED, next.max(FIRST_ADDED + 1)) }
}

fn lost_by(what: &What) -> Option<u64> {
    match what.who() {
        Some(Who::Node(node)) if what.destroys() => Some(node),
        _ => None,
    }
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

/// Largest number of nodes that found no group.
const JOINING_MAX: u64 = 3;
/// Id of the first group that is added to running nodes.
const FIRST_ADDED: u64 = 2;
