//! Each fault does what it says.

use std::collections::BTreeSet;

use quorate_simulation::MomentKind;
use quorate_simulation::schedule::{
    CrashPoint, FaultKind, Generator, Link, LossBudget, MemberStep, Partition, What, Who,
};
use quorate_simulation::world::{Damage, Folder, Loss, RunOutcome, reached};

use crate::probe::{Note, Notes, ProbeDisk, probe, schedule};

/// The one fault took place, and is counted as what it is.
fn one(what: What) -> (RunOutcome, Notes) {
    let kind = what.kind();
    let (outcome, notes) = probe(&schedule([what]));
    assert_eq!(outcome.faults.get(&kind), Some(&1), "{kind}");
    (outcome, notes)
}

fn during(at_us: u64) -> bool {
    // What was on its way when a fault began is not under it.
    (1_002_000..2_000_000).contains(&at_us)
}

/// When a node stopped and when it started again.
fn down(outcome: &RunOutcome, node: u64) -> Vec<(u64, u64)> {
    let at = |wanted: &MomentKind| {
        let is_it = move |moment: &&quorate_simulation::Moment| moment.node == node && moment.what == *wanted;
        outcome.moments.iter().filter(is_it).map(|moment| moment.at_us).collect::<Vec<_>>()
    };
    at(&MomentKind::Stopped).into_iter().zip(at(&MomentKind::Started).into_iter().skip(1)).collect()
}

/// Links on which something arrived while the fault lasted.
fn heard(outcome: &RunOutcome) -> BTreeSet<Link> {
    let link = |moment: &quorate_simulation::Moment| match moment.what {
        MomentKind::Arrived { from, sent_us, .. } if during(sent_us) => Some((from, moment.node)),
        _ => None,
    };
    outcome.moments.iter().filter_map(link).collect()
}

/// How long each message was on its way, that was sent while the fault lasted.
fn travelled(outcome: &RunOutcome) -> Vec<(Link, u64)> {
    let time = |moment: &quorate_simulation::Moment| match moment.what {
        MomentKind::Arrived { from, sent_us, .. } if during(sent_us) => {
            Some(((from, moment.node), moment.at_us - sent_us))
        }
        _ => None,
    };
    outcome.moments.iter().filter_map(time).collect()
}

fn lost(outcome: &RunOutcome) -> usize {
    outcome.moments.iter().filter(|moment| matches!(moment.what, MomentKind::Lost { .. })).count()
}

/// The longest time between two writes, in milliseconds of the node's clock.
fn longest_gap_ms(notes: &Notes, node: usize) -> u64 {
    let wrote = notes.disks[node - 1].notes.iter().filter_map(|note| match note {
        Note::Wrote(now, _) => Some(now.instant.as_nanos() / 1_000_000),
        _ => None,
    });
    let wrote: Vec<u64> = wrote.collect();
    wrote.windows(2).map(|pair| pair[1] - pair[0]).max().expect("it wrote")
}

#[test]
fn a_crash_stops_a_node_at_every_point_and_loses_what_it_says() {
    for point in CrashPoint::ALL {
        for loss in [Loss::Nothing, Loss::Unsynced, Loss::Torn, Loss::Garbage, Loss::Names] {
            let (outcome, notes) = one(What::Crash { node: Who::Node(2), point, loss });
            let (from, to) = down(&outcome, 2)[0];
            assert!((1_000_000..1_050_000).contains(&from) && to == 2_000_000, "{point:?}: {from} to {to}");
            assert!(notes.disks[1].notes.contains(&Note::Crashed(loss)));
            assert!(down(&outcome, 1).is_empty() && down(&outcome, 3).is_empty());
        }
    }
}

#[test]
fn a_blink_is_over_soon() {
    let what = What::Blink { node: Who::Node(2), point: CrashPoint::Sent, loss: Loss::Unsynced, down_us: 3_000 };
    let (outcome, notes) = one(what);
    let stops = down(&outcome, 2);
    assert!(stops.len() == 1 && stops[0].1 - stops[0].0 == 3_000, "{stops:?}");
    assert!(notes.disks[1].notes.contains(&Note::Crashed(Loss::Unsynced)));
}

#[test]
fn what_has_not_left_is_lost_with_its_sender() {
    let crash = What::Crash { node: Who::Node(1), point: CrashPoint::Now, loss: Loss::Nothing };
    let narrow = What::Bandwidth { links: vec![(1, 2)], bytes_per_second: 10_000 };
    let mut schedule = schedule([narrow, crash]);
    schedule.faults[1].at_us = 1_500_000;
    let (outcome, _) = probe(&schedule);
    assert!(outcome.sometimes.contains_key("a message was lost with its sender"));
}

#[test]
fn the_next_leader_is_crashed_a_while_after_it_began() {
    let restart = What::Crash { node: Who::LEADER, point: CrashPoint::Now, loss: Loss::Nothing };
    let mut schedule = schedule([What::CrashNextLeader { after_us: 300_000, loss: Loss::Torn }, restart]);
    schedule.faults[1].for_us = 100_000;
    let (outcome, notes) = probe(&schedule);
    let stops = down(&outcome, 1);
    assert_eq!(stops[0], (1_000_000, 1_100_000));
    assert!((1_400_000..1_401_000).contains(&stops[1].0) && stops[1].1 == 2_000_000, "{stops:?}");
    assert!(notes.disks[0].notes.contains(&Note::Crashed(Loss::Torn)));
}

#[test]
fn all_nodes_crash_at_once() {
    let (outcome, _) = one(What::CrashAll { loss: Loss::Unsynced });
    let stops: Vec<(u64, u64)> = (1..=3).map(|node| down(&outcome, node)[0]).collect();
    assert!(stops.iter().all(|(from, to)| *from == 1_000_000 && *to >= 2_000_000), "{stops:?}");
}

#[test]
fn a_rolling_restart_takes_one_node_after_another() {
    let (outcome, _) = one(What::RollingRestart);
    let stops: Vec<(u64, u64)> = (1..=3).map(|node| down(&outcome, node)[0]).collect();
    assert!(stops.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{stops:?}");
}

#[test]
fn a_paused_node_does_nothing_and_goes_on() {
    let (outcome, notes) = one(What::Pause { node: Who::Node(2) });
    assert!(heard(&outcome).iter().all(|(from, _)| *from != 2), "it says nothing");
    assert!(down(&outcome, 2).is_empty());
    assert!(longest_gap_ms(&notes, 2) >= 990);
}

/// What came in while a node stood still it finds all at once, in the order of the shipped driver: frames, news, calls,
/// the deadline.
#[test]
fn a_round_hands_in_all_that_is_ready_in_the_order_of_the_driver() {
    // Its disk has much to do when it begins to stand still, and goes on.
    let slow = What::SlowDisk { node: Who::Node(2), by_us: 100_000 };
    let mut schedule = schedule([slow, What::Pause { node: Who::Node(2) }]);
    schedule.faults[0].at_us = 500_000;
    let (_, notes) = probe(&schedule);
    let longest = notes.disks[1].rounds.iter().max_by_key(|round| round.len()).expect("it had rounds");
    let of = |kind| longest.matches(kind).count();
    assert!(of("f") > 150 && of("n") > 1 && of("c") > 1 && of("t") == 1, "{longest}");
    let is_ordered = |round: &String| round.chars().is_sorted_by_key(|kind| "fnct".find(kind));
    for disk in &notes.disks {
        assert_eq!(disk.rounds.iter().find(|round| !is_ordered(round)), None);
    }
}

#[test]
fn a_wiped_node_is_another_one() {
    let (outcome, notes) = one(What::Wipe { node: Who::Node(2) });
    assert_eq!((notes.disks[1].incarnation, notes.disks[1].starts), (2, 1));
    assert_eq!(notes.lost, [2]);
    assert_eq!(down(&outcome, 2)[0], (1_000_000, 2_000_000));
}

#[test]
fn an_old_copy_knows_nothing_of_what_came_later() {
    let mut schedule = schedule([What::OldCopy { node: Who::Node(2) }]);
    schedule.budget = LossBudget::Exceeded;
    let (outcome, notes) = probe(&schedule);
    assert_eq!(outcome.faults.get(&FaultKind::OldCopy), Some(&1));
    let numbers: Vec<u64> = notes.disks[1]
        .notes
        .iter()
        .filter_map(|note| if let Note::Wrote(_, number) = note { Some(*number) } else { None })
        .collect();
    assert!(numbers.is_sorted() && notes.disks[1].told + 90 < notes.disks[0].told, "a second is missing");
    assert_eq!((notes.lost, notes.disks[1].starts), (vec![2], 2));
}

#[test]
fn partitions_cut_what_their_shape_says() {
    let cut = |partition: Partition, node: u64| {
        let all: BTreeSet<Link> =
            (1..=5).flat_map(|from| (1..=5).map(move |to| (from, to))).filter(|(from, to)| from < to).collect();
        let cut = partition.links(5, node);
        all.into_iter().filter(|(from, to)| !cut.contains(&(*from, *to))).collect::<Vec<_>>()
    };
    let node = Who::Node(3);
    assert_eq!(cut(Partition::Isolate { node }, 3), [(1, 2), (1, 4), (1, 5), (2, 4), (2, 5), (4, 5)]);
    assert_eq!(cut(Partition::Halves { side: vec![1, 2] }, 0), [(1, 2), (3, 4), (3, 5), (4, 5)]);
    let bridge = Partition::Bridge { node, side: vec![1, 2] };
    assert_eq!(cut(bridge, 3), [(1, 2), (1, 3), (2, 3), (3, 4), (3, 5), (4, 5)]);
    assert_eq!(cut(Partition::Star { hub: node }, 3), [(1, 3), (2, 3), (3, 4), (3, 5)]);
    assert_eq!(cut(Partition::Chain { order: vec![2, 1, 3, 4, 5] }, 0), [(1, 2), (1, 3), (3, 4), (4, 5)]);
    let ring = Partition::Ring { order: vec![2, 1, 3, 4, 5] };
    assert_eq!(cut(ring, 0), [(1, 2), (1, 3), (2, 5), (3, 4), (4, 5)]);
    let leaves = Partition::Leaves { leaves: vec![(1, 3), (2, 4)] };
    assert_eq!(cut(leaves, 0), [(1, 3), (2, 4), (3, 4), (3, 5), (4, 5)]);
    assert_eq!(Partition::Deaf { node }.links(3, 3), [(1, 3), (2, 3)]);
    assert_eq!(Partition::Mute { node }.links(3, 3), [(3, 1), (3, 2)]);
}

#[test]
fn nothing_passes_a_cut_link_and_its_sender_learns_of_it() {
    for partition in [
        Partition::Isolate { node: Who::Node(2) },
        Partition::Halves { side: vec![2] },
        Partition::Deaf { node: Who::LEADER },
        Partition::Mute { node: Who::LEADER },
        Partition::Bridge { node: Who::Node(1), side: vec![2] },
        Partition::Star { hub: Who::Node(3) },
        Partition::Chain { order: vec![2, 3, 1] },
        Partition::Ring { order: vec![1, 2, 3] },
        Partition::Leaves { leaves: vec![(2, 1)] },
        Partition::Links { links: vec![(3, 1)] },
    ] {
        // The node in question, if there is one, as named above.
        let node = match partition.who() {
            Some(Who::Node(node)) => node,
            _ => 1,
        };
        let cut: BTreeSet<Link> = partition.links(3, node).into_iter().collect();
        let (outcome, notes) = one(What::Partition { partition: partition.clone() });
        let heard = heard(&outcome);
        assert!(heard.is_disjoint(&cut) && heard.len() + cut.len() == 6, "{partition}: {heard:?}");
        for (from, to) in cut {
            let notes = &notes.disks[usize::try_from(from).expect("small") - 1].notes;
            let to = quorate_protocol::NodeId(to);
            let last =
                notes.iter().rfind(|note| matches!(note, Note::Linked(peer) | Note::Unlinked(peer) if *peer == to));
            assert!(notes.contains(&Note::Unlinked(to)) && last == Some(&Note::Linked(to)), "{partition}");
        }
    }
}

#[test]
fn slow_links_are_slow_and_others_are_not() {
    let (outcome, _) = one(What::Slow { links: vec![(1, 2)], by_us: 50_000 });
    for (link, us) in travelled(&outcome) {
        assert_eq!(us >= 50_000, link == (1, 2), "{link:?} took {us} us");
    }
}

#[test]
fn a_narrow_link_delays_and_then_drops() {
    // A hundred messages of a thousand bytes each second, on a link for ten of them.
    let (outcome, _) = one(What::Bandwidth { links: vec![(1, 2)], bytes_per_second: 10_000 });
    let slowest = travelled(&outcome).into_iter().filter(|(link, _)| *link == (1, 2)).map(|(_, us)| us).max();
    assert!(slowest > Some(400_000), "{slowest:?}");
    let mut tight = schedule([What::Bandwidth { links: vec![(1, 2)], bytes_per_second: 500 }]);
    tight.seed = 2;
    let (outcome, _) = probe(&tight);
    assert!(outcome.sometimes.contains_key("a message found no room on a slow link"));
}

#[test]
fn messages_are_lost_doubled_and_overtaken() {
    let (outcome, _) = one(What::Lose { percent: 50 });
    assert!((200..400).contains(&lost(&outcome)), "{} of about 600", lost(&outcome));
    let (outcome, _) = one(What::Duplicate { percent: 50 });
    let count = travelled(&outcome).len();
    assert!((800..1_000).contains(&count), "{count} of about 600");
    let (outcome, _) = one(What::Echo { percent: 50, up_to_us: 800_000 });
    let travelled = travelled(&outcome);
    let late = travelled.iter().filter(|(_, us)| *us > 400_000).count();
    assert!((800..1_000).contains(&travelled.len()) && late > 100, "{late} of {}", travelled.len());
    let (outcome, _) = one(What::Delay { up_to_us: 100_000 });
    let overtaken = outcome.moments.windows(2).filter(|pair| {
        let sent = |moment: &quorate_simulation::Moment| match moment.what {
            MomentKind::Arrived { from, sent_us, .. } => Some((from, moment.node, sent_us)),
            _ => None,
        };
        sent(&pair[1])
            .zip(sent(&pair[0]))
            .is_some_and(|(next, one)| (next.0, next.1) == (one.0, one.1) && next.2 < one.2)
    });
    assert!(overtaken.count() > 10);
}

#[test]
fn a_slow_disk_is_late_and_a_stalled_one_does_nothing() {
    let (_, notes) = one(What::SlowDisk { node: Who::Node(2), by_us: 200_000 });
    assert!((150..300).contains(&longest_gap_ms(&notes, 2)), "{}", longest_gap_ms(&notes, 2));
    let (_, notes) = one(What::StallDisk { node: Who::Node(2) });
    assert!(longest_gap_ms(&notes, 2) >= 990);
    assert!(longest_gap_ms(&notes, 1) < 30);
}

#[test]
fn damage_reaches_the_disk_and_is_mended() {
    for damage in [
        Damage::BitRot,
        Damage::MisdirectedWrite,
        Damage::ReadErrors,
        Damage::WriteError,
        Damage::SyncError,
        Damage::FullDisk,
    ] {
        let (_, notes) = one(What::Damage { node: Who::Node(2), damage });
        let of_disk = |note: &&Note| matches!(note, Note::Damaged(_) | Note::Mended(_));
        let met: Vec<&Note> = notes.disks[1].notes.iter().filter(of_disk).collect();
        assert_eq!(met, [&Note::Damaged(damage), &Note::Mended(damage)]);
        assert_eq!(notes.lost == [2], damage.destroys());
    }
}

#[test]
fn clocks_drift_jump_and_leap() {
    let (plain, _) = probe(&schedule([]));
    let clocks = |what: What| {
        let (outcome, notes) = one(what);
        assert_eq!(outcome.simulated_us, plain.simulated_us);
        let clocks = notes.disks[1].notes.iter().filter_map(|note| match note {
            Note::Wrote(now, _) => Some((now.instant.as_nanos() / 1_000_000, now.wall_ms)),
            _ => None,
        });
        clocks.collect::<Vec<_>>()
    };
    let passed = |clocks: &[(u64, u64)]| clocks.last().expect("it wrote").0 - clocks[0].0;
    let ahead = |clocks: &[(u64, u64)]| {
        let ahead = clocks.iter().map(|(monotone, wall)| i128::from(*wall) - i128::from(*monotone));
        let ahead: Vec<i128> = ahead.collect();
        ahead.iter().max().expect("it wrote") - ahead.iter().min().expect("it wrote")
    };
    let node = Who::Node(2);
    let whole_ms = plain.simulated_us / 1_000;
    let drifted = clocks(What::Drift { node, ppm: 200_000 });
    assert!((whole_ms + 150..whole_ms + 210).contains(&passed(&drifted)), "{} of {whole_ms}", passed(&drifted));
    let jumped = clocks(What::Jump { node, by_ms: -5_000 });
    assert!(ahead(&jumped) >= 4_990 && passed(&jumped) <= whole_ms);
    let leapt = clocks(What::Leap { node, by_ms: 3_000 });
    assert!(passed(&leapt) > whole_ms + 2_900 && ahead(&leapt) < 10);
}

#[test]
fn a_clock_that_is_set_stays_so_and_may_be_wrong_from_the_start() {
    let year_ms = 31_536_000_000;
    let ahead = |at_us: u64| {
        let mut schedule = schedule([What::SetClock { node: Who::Node(2), by_ms: year_ms }]);
        schedule.faults[0].at_us = at_us;
        let (outcome, notes) = probe(&schedule);
        assert_eq!(outcome.faults.get(&FaultKind::SetClock), Some(&1));
        let first_and_last = |node: usize| {
            let wrote = notes.disks[node].notes.iter().filter_map(|note| match note {
                Note::Wrote(now, _) => Some(i64::try_from(now.wall_ms).expect("small")),
                _ => None,
            });
            let wrote: Vec<i64> = wrote.collect();
            (wrote[0], *wrote.last().expect("it wrote"))
        };
        let (right, wrong) = (first_and_last(0), first_and_last(1));
        (wrong.0 - right.0, wrong.1 - right.1)
    };
    let is_near = |difference: i64, to: i64| (difference - to).abs() < 10_000;
    let (first, last) = ahead(1_000_000);
    assert!(is_near(first, 0) && is_near(last, year_ms), "{first} {last}");
    let (first, last) = ahead(0);
    assert!(is_near(first, year_ms) && is_near(last, year_ms), "{first} {last}");
}

#[test]
fn building_a_snapshot_takes_longer_and_nothing_else_does() {
    let (_, notes) = one(What::SlowSnapshots { node: Who::Node(2), by_us: 600_000 });
    let built = notes.disks[1].notes.iter().filter_map(|note| match note {
        Note::Built(now) => Some(now.instant.as_nanos() / 1_000_000),
        _ => None,
    });
    let built: Vec<u64> = built.collect();
    let longest_ms = built.windows(2).map(|pair| pair[1] - pair[0]).max().expect("it built");
    assert!((600..650).contains(&longest_ms), "{longest_ms}");
    assert!(longest_gap_ms(&notes, 2) < 30);
}

#[test]
fn bits_flip_in_what_one_node_sends() {
    let (outcome, notes) = one(What::FlippedBits { node: Who::Node(2), percent: 50 });
    let flipped: Vec<u64> = notes.disks.iter().map(|disk| disk.heard_flipped).collect();
    assert!(flipped[1] == 0 && (60..140).contains(&(flipped[0] + flipped[2])), "{flipped:?} of about 200");
    assert!(outcome.sometimes.contains_key(reached::BIT_FLIPPED));
}

#[test]
fn a_node_that_lost_a_folder_is_down_meanwhile_and_counts_as_lost() {
    for folder in [Folder::Log, Folder::Snapshots] {
        let (outcome, notes) = one(What::LostFolder { node: Who::Node(2), folder });
        assert_eq!(down(&outcome, 2)[0], (1_000_000, 2_000_000));
        assert!(notes.disks[1].notes.contains(&Note::LostFolder(folder)));
        assert_eq!((notes.lost, notes.disks[1].incarnation), (vec![2], 1));
    }
}

#[test]
fn a_transfer_is_asked_of_the_leader() {
    let (_, notes) = one(What::Transfer { to: 3 });
    assert!(notes.disks[0].notes.contains(&Note::Transfer(quorate_protocol::NodeId(3))));
}

#[test]
fn a_group_comes_and_goes_on_one_node_later_than_on_the_others() {
    let node = Who::Node(2);
    let (outcome, notes) = one(What::AddGroup { node, group: 7 });
    assert!(outcome.failure.is_none());
    assert!(notes.disks.iter().all(|disk| disk.notes.contains(&Note::AddGroup(7))), "on the late one at the end");
    let (_, notes) = one(What::RemoveGroup { node, group: 7 });
    assert!(notes.disks.iter().all(|disk| disk.notes.contains(&Note::RemoveGroup(7))));
}

/// The fault lasts for a second.
#[test]
fn an_operator_asks_the_leader_again_and_again_for_a_change_of_members() {
    let steps = vec![MemberStep::Remove { node: Who::LEADER }];
    let (outcome, notes) = one(What::ChangeMembers { steps });
    assert!(outcome.failure.is_none());
    let asked = |disk: &ProbeDisk| disk.notes.iter().filter(|note| matches!(note, Note::ChangeMembers(_))).count();
    assert_eq!(notes.disks.iter().map(asked).collect::<Vec<_>>(), [4, 0, 0]);
}

#[test]
fn within_the_budget_a_minority_is_lost_at_most() {
    let wipes = || (1..=3).map(|node| What::Wipe { node: Who::Node(node) });
    let copies = || [What::OldCopy { node: Who::Node(3) }];
    let (_, notes) = probe(&schedule(wipes().chain(copies())));
    assert_eq!(notes.lost, [1]);
    let mut schedule = schedule(wipes());
    schedule.budget = LossBudget::Exceeded;
    assert_eq!(probe(&schedule).1.lost, [1, 2, 3]);
}

#[test]
fn schedules_of_few_seeds_have_every_fault() {
    let usual = FaultKind::ALL.iter().filter(|kind| kind.is_usual()).count();
    for (budget, kinds) in [(LossBudget::Tolerated, usual - 1), (LossBudget::Exceeded, usual)] {
        let generator = Generator { budget, ..Generator::default() };
        let schedules = (0..100).map(|seed| generator.schedule(seed));
        let met: BTreeSet<FaultKind> =
            schedules.flat_map(|schedule| schedule.faults).map(|fault| fault.what.kind()).collect();
        assert_eq!(met.len(), kinds, "{met:?}");
    }
}
