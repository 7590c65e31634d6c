//! Random clusters under every fault, healed at the end.

use std::time::Duration;

use quorate_protocol::{Input, NodeId, Signal};
use quorate_two_phase_commit::three_phase::testing::{Builder, Cluster, REFUSED, ThreePhases};
use quorate_two_phase_commit::{Decision, TransactionId};

use crate::from_environment;

#[derive(Debug, Default)]
struct Reached {
    committed: u64,
    aborted: u64,
    unknown: u64,
    undecided: u64,
}

/// More: `QUORATE_THREE_PHASE_COMMIT_SEEDS=10000 cargo test -p quorate-two-phase-commit --release three_phase`.
#[test]
fn clusters_under_faults_come_to_one_decision() {
    let mut reached = Reached::default();
    for seed in 1..=from_environment("QUORATE_THREE_PHASE_COMMIT_SEEDS", 100) {
        println!("seed {seed}");
        run(seed, &mut reached);
    }
    assert!(reached.committed > 100, "{reached:?}");
    assert!(reached.aborted > 100, "{reached:?}");
    assert!(reached.undecided > 10, "{reached:?}");
    assert!(reached.unknown < reached.committed, "{reached:?}");
}

fn run(seed: u64, reached: &mut Reached) {
    let nodes = 3 + seed % 3;
    let mut cluster = Builder::new(nodes, seed).start();
    cluster.faults.latency_max = Duration::from_millis(40);
    cluster.faults.write_max = Duration::from_millis(20);
    cluster.faults.answer_max = Duration::from_millis(60);
    cluster.faults.loss_percent = cluster.choose(3) * 6;
    cluster.faults.duplicate_percent = cluster.choose(3) * 15;
    cluster.faults.refusal_percent = cluster.choose(3) * 3;
    cluster.faults.deafness_percent = cluster.choose(3) * 3;
    let mut asked = Vec::new();
    for _ in 0..50 {
        act(&mut cluster, nodes, &mut asked);
        let wait = cluster.choose(600);
        cluster.run(Duration::from_millis(wait));
        let running = cluster.nodes.values().filter_map(|node| node.core.as_ref());
        reached.undecided += running.map(|core| core.undecided().len() as u64).sum::<u64>();
    }
    cluster.quiesce();
    for transaction in asked {
        let decisions = cluster.decisions(transaction);
        assert!(decisions.len() <= 1, "{transaction}: {decisions:?}");
        match decisions.first() {
            Some(Decision::Commit) => reached.committed += 1,
            Some(Decision::Abort) => reached.aborted += 1,
            None => reached.unknown += 1,
        }
    }
}

fn act(cluster: &mut Cluster, nodes: u64, asked: &mut Vec<TransactionId>) {
    let node = 1 + cluster.choose(nodes);
    let other = 1 + cluster.choose(nodes);
    let is_up = cluster.node(node).core.is_some();
    match cluster.choose(14) {
        0 | 1 if is_up => cluster.crash(node),
        2 | 3 if !is_up => cluster.restart(node),
        4 => cluster.part(node, other),
        5 => cluster.cut(node, other),
        6 => cluster.heal(),
        7 if is_up => cluster.input(NodeId(node), Input::Signal(Signal::CompactRequested)),
        8 => cluster.isolate(node),
        // It can begin once its start is durable.
        _ if is_up && cluster.node(node).halted.is_none() => {
            cluster.run(Duration::from_millis(100));
            if cluster.is_ready(node) {
                let work = if cluster.choose(8) == 0 { REFUSED } else { b"work" };
                let all: Vec<(u64, &'static [u8])> =
                    (1..=nodes).map(|it| (it, if it == other { work } else { b"work" })).collect();
                asked.push(cluster.transact(node, &all));
            }
        }
        _ => {}
    }
}
