//! Rows about disks that hold something else than what was written.

use quorate_simulation::registers::RegisterState;
use quorate_simulation::schedule::{CrashPoint, What, Who};
use quorate_simulation::world::{Damage, Loss, reached};

use super::{Script, acknowledged, snapshots};

/// Raft 23 (d): nodes crash in the midst of writes and find torn records at the end of their logs. What was never
/// acknowledged is cut; the laws see that nothing else is.
#[test]
fn row_23_torn_last_record() {
    let mut torn = 0;
    for seed in 0..8 {
        let mut script = Script::new(3, seed).clients(8).at_leader(70).hurry(0, 300, 1);
        for (number, point) in (0..10).zip([CrashPoint::Persist, CrashPoint::SentWhileWriting].into_iter().cycle()) {
            let node = Who::Node(1 + number % 3);
            let at_ms = 1_000 + number * 900;
            script = script.fault(at_ms, at_ms + 400, What::Crash { node, point, loss: Loss::Torn });
        }
        let (outcome, ()) = script.play_whole();
        torn += outcome.sometimes.get(reached::TAIL_TORN).copied().unwrap_or(0);
    }
    assert!(torn > 0, "torn tails were cut");
}

/// Raft 23 (e): while a node is down, bits flip in the identity of its directory, or in both copies of its log's
/// checkpoint. It refuses to start, so that it votes for nobody: with the third node down nothing is acknowledged,
/// until that is back.
#[test]
fn row_23_corrupt_metadata() {
    for seed in 0..4 {
        let damage = What::Damage { node: Who::Node(2), damage: Damage::BitRot };
        let script = Script::new(3, seed).clients(8).at_leader(70).hurry(0, 300, 1).crash(1_000, 8_000, 3);
        let script = script.crash(1_900, 2_300, 2).fault(2_000, 2_400, damage);
        let (outcome, _) = snapshots::play(&script, RegisterState::default);
        let refused = outcome.sometimes.get("a node refused to start from a damaged disk").copied().unwrap_or(0);
        assert_eq!(refused, 2, "seed {seed}: node 2 refuses to start, each time");
        assert!(acknowledged(&outcome.history, 1_100, 1_900) > 10, "seed {seed}: two served");
        assert_eq!(acknowledged(&outcome.history, 3_400, 8_000), 0, "seed {seed}: one does not");
        assert!(acknowledged(&outcome.history, 8_000, 18_000) > 100, "seed {seed}: with the third they do");
    }
}
