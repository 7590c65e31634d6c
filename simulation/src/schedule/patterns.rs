//! Patterns of several faults that chance rarely produces in sequence.

use quorate_protocol::Random;

use super::draws::{any_loss, partition, pick};
use super::{CrashPoint, Fault, FaultKind, Partition, Schedule, What, Who};
use crate::world::{Damage, Loss};

/// Adds one pattern of faults to the schedule, from `at_us` on. Returns its duration in microseconds.
pub(super) fn one(random: &mut Random, kinds: &[FaultKind], schedule: &mut Schedule, at_us: u64) -> u64 {
    let mut pattern = Pattern { at_us, faults: Vec::new() };
    match random.between(0, 13) {
        0..3 => old_entries(random, schedule.nodes, &mut pattern),
        3..6 => forgotten_votes(random, schedule.nodes, &mut pattern),
        6 => late_to_notice(random, &mut pattern),
        7 => leaders_restart(random, &mut pattern),
        8 => late_snapshot(random, schedule.nodes, &mut pattern),
        9 => late_votes(random, &mut pattern),
        10 => old_acknowledgements(random, schedule.nodes, &mut pattern),
        11 => late_writes(random, &mut pattern),
        _ => leaders_cut_off(random, &mut pattern),
    }
    let takes_us = pattern.at_us - at_us;
    pattern.enter(kinds, schedule);
    takes_us
}

/// The first writes of a majority of nodes, or of all, fail: a power cut tears them, or a full disk refuses them. Nodes
/// that started without data must start once more.
pub(super) fn first_writes(random: &mut Random, kinds: &[FaultKind], schedule: &mut Schedule) {
    let mut pattern = Pattern { at_us: 0, faults: Vec::new() };
    let spared = random.between(0, schedule.nodes.div_ceil(2));
    let is_full = random.between(0, 3) == 0;
    for node in (1..=schedule.nodes - spared).map(Who::Node) {
        let latest_us = [1_000, 100_000][pick(random, 2)];
        pattern.at_us = random.between(0, latest_us);
        if is_full {
            pattern.add(random.between(1_000, 2_000_000), What::Damage { node, damage: Damage::FullDisk });
            continue;
        }
        for _ in 0..random.between(1, 4) {
            let point = [CrashPoint::Persist, CrashPoint::SentWhileWriting, CrashPoint::Sent][pick(random, 3)];
            let loss = [Loss::Torn, Loss::Garbage][pick(random, 2)];
            let for_us = random.between(1_000, 200_000);
            pattern.add(for_us, What::Crash { node, point, loss });
            pattern.at_us += for_us + random.between(0, 50_000);
        }
    }
    pattern.enter(kinds, schedule);
}

struct Pattern {
    at_us: u64,
    faults: Vec<Fault>,
}

impl Pattern {
    fn add(&mut self, for_us: u64, what: What) {
        self.faults.push(Fault { at_us: self.at_us, for_us, demands_progress: false, what });
    }

    /// Adds the faults that are switched on to the schedule, within its time of faults.
    fn enter(self, kinds: &[FaultKind], schedule: &mut Schedule) {
        let end_us = schedule.faults_us;
        let faults = self.faults.into_iter().filter(|fault| kinds.contains(&fault.what.kind()) && fault.at_us < end_us);
        schedule.faults.extend(faults.map(|fault| Fault { for_us: fault.for_us.min(end_us - fault.at_us), ..fault }));
    }
}

/// A leader writes entries that only it has. The next one writes an entry of its own, and stops before it sends it. The
/// first leads again, sends its old entries slowly, and stops; then the second comes back (Raft figure 8).
fn old_entries(random: &mut Random, nodes: u64, pattern: &mut Pattern) {
    let begun_us = pattern.at_us;
    let away_us = random.between(600_000, 1_600_000);
    let again_us = random.between(500_000, 2_000_000);
    pattern.add(away_us, What::Partition { partition: Partition::Isolate { node: Who::LEADER } });
    let loss = if random.between(0, 2) == 0 { Loss::Nothing } else { any_loss(random) };
    pattern.add(away_us + again_us, What::CrashNextLeader { after_us: random.between(0, 4_000), loss });
    let all = (1..=nodes).flat_map(|from| (1..=nodes).map(move |to| (from, to)));
    let links = all.filter(|(from, to)| from != to).collect();
    let bytes_per_second = random.between(2_000, 30_000);
    pattern.add(away_us + again_us + 1_000_000, What::Bandwidth { links, bytes_per_second });
    pattern.at_us = begun_us + away_us;
    let after_us = random.between(1_000, 400_000);
    pattern.add(again_us + 1_500_000, What::CrashNextLeader { after_us, loss: any_loss(random) });
    pattern.at_us += again_us + 1_000_000;
}

/// All nodes stop, and become candidates at about the same time. Messages are late. Nodes stop just after they sent a
/// message, lose writes that were not durable, and are back at once to receive the other candidate's request.
fn forgotten_votes(random: &mut Random, nodes: u64, pattern: &mut Pattern) {
    let begun_us = pattern.at_us;
    let length_us = random.between(1_500_000, 4_000_000);
    pattern.add(random.between(1_000, 100_000), What::CrashAll { loss: any_loss(random) });
    pattern.add(length_us, What::Delay { up_to_us: random.between(20_000, 300_000) });
    if random.between(0, 2) == 0 {
        pattern.add(length_us, What::Duplicate { percent: 50 });
    }
    if random.between(0, 2) == 0 {
        for node in 1..=nodes {
            pattern.add(length_us, What::SlowDisk { node: Who::Node(node), by_us: random.between(5_000, 100_000) });
        }
    }
    pattern.at_us += 400_000;
    let victim = random.between(1, nodes + 1);
    while pattern.at_us < begun_us + length_us {
        let any = Who::Node(random.between(1, nodes + 1));
        let node = if random.between(0, 3) == 0 { any } else { Who::Node(victim) };
        let point = [CrashPoint::Sent, CrashPoint::SentWhileWriting, CrashPoint::Persist][pick(random, 3)];
        let loss = if random.between(0, 3) == 0 { Loss::Torn } else { Loss::Unsynced };
        let armed_us = random.between(20_000, 300_000);
        pattern.add(armed_us, What::Blink { node, point, loss, down_us: random.between(100, 10_000) });
        pattern.at_us += armed_us;
    }
}

/// There is no leader, and messages take longer than elections: votes of one term arrive in the next.
fn late_votes(random: &mut Random, pattern: &mut Pattern) {
    let length_us = random.between(2_500_000, 5_000_000);
    pattern.add(length_us, What::Delay { up_to_us: random.between(500_000, 2_500_000) });
    if random.between(0, 2) == 0 {
        pattern.add(length_us, What::Echo { percent: 50, up_to_us: 2_000_000 });
    }
    if random.between(0, 2) == 0 {
        pattern.add(random.between(1_000, 100_000), What::CrashAll { loss: any_loss(random) });
    } else {
        let partition = Partition::Isolate { node: Who::LEADER };
        pattern.add(length_us / 2, What::Partition { partition });
    }
    pattern.at_us += length_us;
}

/// A leader with a slow clock is cut off: when the others have a new leader, it still believes that it leads.
fn late_to_notice(random: &mut Random, pattern: &mut Pattern) {
    let ppm = -i64::try_from(random.between(300_000, 850_000)).expect("small");
    let length_us = random.between(1_500_000, 4_000_000);
    pattern.add(length_us, What::Drift { node: Who::LEADER, ppm });
    pattern.add(length_us, What::Partition { partition: Partition::Isolate { node: Who::LEADER } });
    pattern.at_us += length_us;
}

/// A node was away for long. A snapshot is sent to it very slowly, while another node becomes leader and brings it up
/// sooner.
fn late_snapshot(random: &mut Random, nodes: u64, pattern: &mut Pattern) {
    let late = random.between(1, nodes + 1);
    let others: Vec<u64> = (1..=nodes).filter(|node| *node != late).collect();
    let quick = others[pick(random, others.len())];
    let away_us = random.between(200_000, 1_500_000);
    pattern.add(away_us, What::Partition { partition: Partition::Isolate { node: Who::Node(late) } });
    pattern.at_us += away_us;
    let length_us = random.between(2_000_000, 4_000_000);
    let links = others.iter().filter(|node| **node != quick).map(|node| (*node, late)).collect();
    pattern.add(length_us, What::Bandwidth { links, bytes_per_second: random.between(1_500, 20_000) });
    pattern.at_us += random.between(100_000, 800_000);
    pattern.add(1_000, What::Transfer { to: quick });
    if random.between(0, 2) == 0 {
        pattern.add(length_us / 2, What::Partition { partition: Partition::Isolate { node: Who::LEADER } });
    }
    pattern.at_us += length_us / 2;
}

/// A leader writes to one follower only, is deposed and leads again. The follower learns nothing of that, and its
/// messages arrive once more.
fn old_acknowledgements(random: &mut Random, nodes: u64, pattern: &mut Pattern) {
    let leader = random.between(1, nodes + 1);
    let others: Vec<u64> = (1..=nodes).filter(|node| *node != leader).collect();
    let follower = others[pick(random, others.len())];
    pattern.add(1_000, What::Transfer { to: leader });
    pattern.at_us += random.between(50_000, 300_000);
    let apart_us = random.between(800_000, 1_600_000);
    pattern.add(apart_us, What::Echo { percent: 50, up_to_us: random.between(1_500_000, 5_000_000) });
    pattern.add(apart_us, What::Partition { partition: Partition::Halves { side: vec![leader, follower] } });
    pattern.at_us += apart_us;
    let alone_us = random.between(1_500_000, 3_500_000);
    pattern.add(alone_us, What::Partition { partition: Partition::Isolate { node: Who::Node(follower) } });
    pattern.at_us += random.between(50_000, 800_000);
    pattern.add(1_000, What::Transfer { to: leader });
    pattern.at_us += alone_us;
}

/// A leader with a slow disk has many writes left when it is cut off. It comes back while it still carries them out, a
/// few at a time, and the next leader overwrites its entries. A single old write would not be enough: it ends before
/// the new term is durable, and no message of that term is sent before.
fn late_writes(random: &mut Random, pattern: &mut Pattern) {
    let (before_us, away_us) = (random.between(50_000, 500_000), random.between(600_000, 1_000_000));
    let by_us = random.between(300_000, 500_000);
    pattern.add(before_us + away_us + 1_500_000, What::SlowDisk { node: Who::LEADER, by_us });
    pattern.at_us += before_us;
    pattern.add(away_us, What::Partition { partition: Partition::Isolate { node: Who::LEADER } });
    pattern.at_us += away_us;
}

/// The leader stops, again and again, and at times all nodes do.
fn leaders_restart(random: &mut Random, pattern: &mut Pattern) {
    for _ in 0..random.between(2, 7) {
        let point = CrashPoint::ALL[pick(random, CrashPoint::ALL.len())];
        let loss = any_loss(random);
        let for_us = random.between(1_000, 300_000);
        match random.between(0, 6) {
            0 => pattern.add(for_us, What::CrashAll { loss }),
            1 | 2 => pattern.add(2_000_000, What::CrashNextLeader { after_us: random.between(0, 50_000), loss }),
            3 => pattern.add(for_us, What::Blink { node: Who::LEADER, point, loss, down_us: for_us / 4 }),
            _ => pattern.add(for_us, What::Crash { node: Who::LEADER, point, loss }),
        }
        pattern.at_us += random.between(50_000, 1_500_000);
    }
}

/// The leader is cut off, in one direction or both, and then the next leader too.
fn leaders_cut_off(random: &mut Random, pattern: &mut Pattern) {
    for _ in 0..random.between(2, 6) {
        let node = Who::LEADER;
        let partition = match random.between(0, 4) {
            0 => Partition::Deaf { node },
            1 => Partition::Mute { node },
            _ => Partition::Isolate { node },
        };
        pattern.add(random.between(200_000, 2_500_000), What::Partition { partition });
        pattern.at_us += random.between(300_000, 1_500_000);
    }
}

/// One fault, from the second second to the end, under which a majority can still work: a partial partition, or one
/// node whose disk is full or stalls, or that is paused.
pub(super) fn steady_fault(random: &mut Random, kinds: &[FaultKind], schedule: &mut Schedule) {
    if kinds.is_empty() {
        return;
    }
    let kind = kinds[pick(random, kinds.len())];
    let node = if random.between(0, 2) == 0 { Who::LEADER } else { Who::Node(random.between(1, schedule.nodes + 1)) };
    let (at_us, for_us) = (random.between(2_000_000, 3_000_000), schedule.faults_us);
    schedule.faults_us += at_us;
    let what = match kind {
        FaultKind::Pause => What::Pause { node },
        FaultKind::StallDisk => What::StallDisk { node },
        FaultKind::FullDisk => What::Damage { node, damage: Damage::FullDisk },
        _ => {
            let mut shape = partition(random, kind, schedule.nodes, node);
            if let Partition::Links { .. } = shape {
                shape = Partition::Mute { node };
            }
            // The leader is a node that three others can also reach, and the fifth node is cut off.
            if let (Partition::Leaves { leaves }, 5) = (&mut shape, schedule.nodes)
                && random.between(0, 2) == 0
            {
                let alone = Who::Node(leaves.pop().expect("two leaves").0);
                let what = What::Partition { partition: Partition::Isolate { node: alone } };
                schedule.faults.push(Fault { at_us, for_us, demands_progress: false, what });
            }
            What::Partition { partition: shape }
        }
    };
    schedule.faults.push(Fault { at_us, for_us, demands_progress: true, what });
}

/// One node stops, at any point of its work, and stays down to the end. Meanwhile a few messages may be lost, come
/// twice or be late.
pub(super) fn dead_for_good(random: &mut Random, kinds: &[FaultKind], schedule: &mut Schedule) {
    let node = Who::Node(random.between(1, schedule.nodes + 1));
    let point = CrashPoint::ALL[pick(random, CrashPoint::ALL.len())];
    let (at_us, for_us) = (random.between(1_000_000, 3_000_000), schedule.faults_us);
    let what = What::Crash { node, point, loss: any_loss(random) };
    if !kinds.contains(&what.kind()) {
        return;
    }
    schedule.faults_us += at_us;
    schedule.faults.push(Fault { at_us, for_us, demands_progress: true, what });
    let noise = [
        What::Lose { percent: random.between(1, 5) },
        What::Duplicate { percent: random.between(1, 20) },
        What::Delay { up_to_us: random.between(1_000, 30_000) },
    ];
    for what in noise.into_iter().filter(|what| kinds.contains(&what.kind())) {
        if random.between(0, 2) == 0 {
            schedule.faults.push(Fault { at_us: 0, for_us: schedule.faults_us, demands_progress: false, what });
        }
    }
}

/// The ways in which a node stops, and faults that networks have at any time.
pub(super) const OF_THE_DEAD: [FaultKind; 8] = [
    FaultKind::Crash,
    FaultKind::LostWrites,
    FaultKind::TornWrites,
    FaultKind::GarbageSectors,
    FaultKind::LostNames,
    FaultKind::Lose,
    FaultKind::Duplicate,
    FaultKind::Delay,
];

/// Under each of these, some node can communicate with a majority in both directions, and a majority has working disks.
pub(super) const OF_A_MINORITY: [FaultKind; 10] = [
    FaultKind::Isolate,
    FaultKind::OneWay,
    FaultKind::Bridge,
    FaultKind::Star,
    FaultKind::Chain,
    FaultKind::Ring,
    FaultKind::Leaves,
    FaultKind::Pause,
    FaultKind::StallDisk,
    FaultKind::FullDisk,
];
