//! Rows about links that stay cut: who still can must go on, while they are cut.

use quorate_protocol::Term;

use super::elections::Leaders;
use super::{Script, acknowledged, slices_with_writes};

/// Raft 17: the old leader hears one follower only, which is the only bridge to two others; a fifth is alone. One of
/// the three that hear each other leads and commits while the links stay cut.
#[test]
fn row_17_bridge_deadlock() {
    for seed in 0..2 {
        let script = Script::new(5, seed).clients(8).at_leader(60).hurry(0, 300, 1).links(
            1_000,
            21_000,
            &[(1, 2), (2, 3), (2, 4), (3, 4)],
        );
        let script = script.demanding_progress();
        for (outcome, leaders) in script.play::<Leaders>() {
            assert!(
                acknowledged(&outcome.history, 1_500, 11_000) > 100,
                "seed {seed}: they serve within ten time-outs"
            );
            assert!(acknowledged(&outcome.history, 11_000, 21_000) > 200, "seed {seed}: and go on");
            let newest = leaders.seen.last().expect("somebody led").1;
            assert!([2, 3, 4].contains(&newest.0), "seed {seed}: node {newest} leads");
        }
    }
}

/// Raft 18: every node hears one hub only. The hub leads and commits, and terms do not grow.
#[test]
fn row_18_quorum_loss_hub() {
    for seed in 0..2 {
        let star = [(1, 3), (2, 3), (4, 3), (5, 3)];
        let script = Script::new(5, seed).clients(8).at_leader(60).hurry(0, 300, 1).links(1_000, 21_000, &star);
        let script = script.demanding_progress();
        for (outcome, leaders) in script.play::<Leaders>() {
            let hub: Vec<Term> = leaders.seen.iter().filter(|(_, node)| node.0 == 3).map(|(term, _)| *term).collect();
            assert_eq!(hub.len(), 1, "seed {seed}: the hub leads once and for good: {:?}", leaders.seen);
            assert!(hub[0] <= Term(6), "seed {seed}: terms do not run away: {:?}", leaders.seen);
            assert!(acknowledged(&outcome.history, 1_500, 11_000) > 50, "seed {seed}: it serves within ten time-outs");
            assert!(acknowledged(&outcome.history, 11_000, 21_000) > 100, "seed {seed}: and goes on");
        }
    }
}

/// Raft 20: in a chain, in a graph of two triangles that share a node, and with a node that only hears or only speaks:
/// in a hundred time-outs at most two changes of leader, and writes in 95 of 100 slices.
#[test]
fn row_20_chains_and_one_way_links() {
    let chain = Script::new(3, 20).links(2_000, 102_000, &[(1, 2), (2, 3)]);
    let triangles = [(1, 3), (2, 3), (3, 4), (3, 5), (1, 2), (4, 5)];
    let leaves = Script::new(5, 21).links(2_000, 102_000, &triangles);
    let mute = Script::new(3, 22).cut(2_000, 102_000, &[(3, 1), (3, 2)]);
    let deaf = Script::new(3, 23).cut(2_000, 102_000, &[(1, 3), (2, 3)]);
    for (script, name) in [(chain, "chain"), (leaves, "two triangles"), (mute, "mute"), (deaf, "deaf")] {
        let script = script.demanding_progress().clients(6).at_leader(70).hurry(0, 300, 1);
        for (outcome, leaders) in script.play::<Leaders>() {
            assert!(leaders.seen.len() <= 3, "{name}: {:?}", leaders.seen);
            assert!(leaders.seen.last().is_some_and(|(term, _)| *term <= Term(6)), "{name}: {:?}", leaders.seen);
            let slices = slices_with_writes(&outcome.history, 2, 102);
            assert!(slices >= 95, "{name}: writes in {slices} of 100 seconds");
        }
    }
}
