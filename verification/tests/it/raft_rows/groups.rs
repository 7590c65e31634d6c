//! Groups that come and go on running nodes, on one node later than on the others.

use quorate_simulation::node_machine::{GROUP_ADDED, GROUP_REMOVED};
use quorate_simulation::schedule::{CrashPoint, What, Who};
use quorate_simulation::world::Loss;

use super::{Script, slices_with_writes};

/// A group is added, removed, added again under its id, which is refused, and under another id. On this node each
/// change takes place later than on the others, so that frames come for a group that is not there yet, or no more.
fn comings_and_goings(seed: u64, late: u64) -> Script {
    let node = Who::Node(late);
    Script::new(3, seed)
        .fault(1_000, 2_200, What::AddGroup { node, group: 2 })
        .fault(3_200, 4_400, What::RemoveGroup { node, group: 2 })
        .fault(4_600, 5_000, What::AddGroup { node, group: 2 })
        .fault(5_200, 6_400, What::AddGroup { node, group: 3 })
        .lasting(7_500)
}

#[test]
fn row_33_groups_come_and_go() {
    for late in 1..=3 {
        let (outcome, ()) = comings_and_goings(33, late).play_whole();
        assert_eq!(outcome.sometimes.get(GROUP_ADDED), Some(&6), "two groups on three nodes, and no removed one");
        assert_eq!(outcome.sometimes.get(GROUP_REMOVED), Some(&3));
        assert_eq!(slices_with_writes(&outcome.history, 1, 7), 6, "the first group is never disturbed");
    }
}

/// The laws say the rest: a removed group never runs again, nothing of it stays in the log, and groups with a quorum
/// have a leader.
#[test]
fn row_33_with_a_crash_at_each_write_of_a_change() {
    let losses = [Loss::Nothing, Loss::Unsynced, Loss::Torn, Loss::Garbage, Loss::Names];
    for (number, loss) in losses.into_iter().enumerate() {
        for point in [CrashPoint::Persist, CrashPoint::Persisted] {
            for (at_ms, node) in [(990, 1), (2_190, 3), (3_190, 1), (4_390, 3)] {
                let crash = What::Crash { node: Who::Node(node), point, loss };
                let script = comings_and_goings(330 + number as u64, 3).fault(at_ms, at_ms + 900, crash);
                let (outcome, ()) = script.play_whole();
                assert!(outcome.sometimes.contains_key(GROUP_ADDED) && outcome.sometimes.contains_key(GROUP_REMOVED));
            }
        }
    }
}

#[test]
fn row_33_while_the_late_node_is_cut_off() {
    let script = comings_and_goings(34, 3).isolate(900, 2_600, 3).isolate(3_100, 4_800, 3);
    let (outcome, ()) = script.play_whole();
    assert_eq!(outcome.sometimes.get(GROUP_ADDED), Some(&6));
    // It may be the leader that is cut off.
    assert!(slices_with_writes(&outcome.history, 1, 7) >= 5, "the first group is not disturbed");
}
