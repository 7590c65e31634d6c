//! Rows about disks that hold something else than what was written.

use quorate_simulation::schedule::{CrashPoint, What, Who};
use quorate_simulation::world::{Loss, reached};

use super::Script;

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
