//! Random clusters under every fault, healed at the end.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_two_phase_commit::testing::{Builder, Cluster, Ends, Transactions, Work};
use quorate_two_phase_commit::{Command, Decision, Knowledge, Settings, TransactionId, TransactionOutcome};

use crate::from_environment;

/// More: `QUORATE_TWO_PHASE_COMMIT_SEEDS=10000 cargo test -p quorate-two-phase-commit --release random`, from
/// `QUORATE_TWO_PHASE_COMMIT_FIRST_SEED` on.
#[test]
fn clusters_under_faults_come_to_one_outcome() {
    let first = from_environment("QUORATE_TWO_PHASE_COMMIT_FIRST_SEED", 1);
    let mut reached = Reached::default();
    for seed in first..first + from_environment("QUORATE_TWO_PHASE_COMMIT_SEEDS", 60) {
        println!("seed {seed}");
        run(seed, &mut reached);
    }
    assert!(reached.committed > 20, "{reached:?}");
    assert!(reached.aborted > 20, "{reached:?}");
    assert!(reached.untold > 0, "{reached:?}");
    assert!(reached.in_doubt > 0, "{reached:?}");
    assert!(reached.refused > 0, "{reached:?}");
}

#[derive(Debug, Default)]
struct Reached {
    committed: u64,
    aborted: u64,
    untold: u64,
    in_doubt: u64,
    refused: u64,
}

fn run(seed: u64, reached: &mut Reached) {
    let nodes = 3 + seed % 3;
    let mut settings = Settings { outcomes_max: 3 + usize::try_from(seed % 5).expect("small"), ..Settings::default() };
    if seed.is_multiple_of(2) {
        // A write has room for a few records, so that queued records make many writes.
        settings = Settings { payload_bytes_max: 16, participants_max: 5, write_bytes_max: 700, ..settings };
    }
    let mut cluster = Builder::new(nodes, seed).settings(settings.into()).start();
    cluster.faults.latency_max = Duration::from_millis(20);
    cluster.faults.write_max = Duration::from_millis(10);
    cluster.faults.answer_max = Duration::from_millis(30);
    cluster.faults.loss_percent = cluster.choose(3) * 8;
    cluster.faults.duplicate_percent = cluster.choose(3) * 15;
    cluster.faults.refusal_percent = cluster.choose(3) * 4;
    cluster.faults.failure_percent = cluster.choose(3) * 10;
    cluster.faults.deafness_percent = cluster.choose(3) * 5;
    let mut asked: BTreeMap<TransactionId, Vec<(u64, Work)>> = BTreeMap::new();
    for _ in 0..60 {
        act(&mut cluster, nodes, &mut asked);
        let wait = cluster.choose(400);
        cluster.run(Duration::from_millis(wait));
        let doubts = cluster.nodes.values().filter_map(|it| it.core.as_ref());
        reached.in_doubt += doubts.map(|core| core.status().in_doubt.len() as u64).sum::<u64>();
    }
    cluster.quiesce();
    for (transaction, branches) in asked {
        judge(&mut cluster, transaction, &branches, reached);
    }
}

fn act(cluster: &mut Cluster, nodes: u64, asked: &mut BTreeMap<TransactionId, Vec<(u64, Work)>>) {
    let node = 1 + cluster.choose(nodes);
    let other = 1 + cluster.choose(nodes);
    let is_up = cluster.node(node).core.is_some();
    match cluster.choose(12) {
        0 if is_up => cluster.crash(node),
        1 | 2 if !is_up => cluster.restart(node),
        3 => cluster.part(node, other),
        4 => cluster.cut(node, other),
        5 => cluster.heal(),
        6 if is_up => cluster.input(
            quorate_protocol::NodeId(node),
            quorate_protocol::Input::Signal(quorate_protocol::Signal::CompactRequested),
        ),
        7 => {
            if let Some(transaction) = asked.keys().next_back().copied() {
                cluster.command(transaction.coordinator.0, |command| Command::Abort { command, transaction });
            }
        }
        _ if is_up && cluster.is_ready(node) => {
            let transaction = cluster.begin(node);
            let mut branches = Vec::new();
            for participant in 1..=nodes {
                let key = u8::try_from(cluster.choose(4)).expect("small");
                match cluster.choose(8) {
                    0..=3 => branches.push((participant, Work::Write(key))),
                    4 => branches.push((participant, Work::Read)),
                    5 if cluster.choose(3) == 0 => branches.push((participant, Work::Refuse)),
                    _ => {}
                }
            }
            if !branches.is_empty() {
                cluster.commit(transaction, &branches);
                asked.insert(transaction, branches);
            }
        }
        _ => {}
    }
}

fn judge(cluster: &mut Cluster, transaction: TransactionId, branches: &[(u64, Work)], reached: &mut Reached) {
    let ends: Vec<Decision> = branches.iter().filter_map(|(node, _)| cluster.node(*node).ended(transaction)).collect();
    let is_committed = ends.contains(&Decision::Commit);
    match cluster.query(transaction).expect("the coordinator runs") {
        Knowledge::Committed => assert!(!ends.contains(&Decision::Abort), "{transaction}: {ends:?}"),
        Knowledge::Aborted => assert!(!is_committed, "{transaction}: {ends:?}"),
        Knowledge::Forgotten => {}
        other => panic!("{transaction} is {other:?} when all is quiet"),
    }
    match cluster.node(cluster.server(transaction.coordinator)).outcome(transaction) {
        Some(TransactionOutcome::Committed) => {
            let writers = branches.iter().filter(|(_, work)| matches!(work, Work::Write(_))).count();
            assert_eq!(ends.iter().filter(|end| **end == Decision::Commit).count(), writers, "{transaction}: {ends:?}");
            reached.committed += 1;
        }
        Some(TransactionOutcome::Aborted(_)) => {
            assert!(!is_committed, "{transaction}: {ends:?}");
            reached.aborted += 1;
            reached.refused += u64::from(ends.is_empty());
        }
        Some(TransactionOutcome::ReadOnly) => assert!(!is_committed, "{transaction}: {ends:?}"),
        Some(other) => panic!("no transaction ends like this: {other}"),
        None => reached.untold += 1,
    }
    for (node, _) in branches {
        let effects =
            cluster.node(*node).application.manager.effects.iter().filter(|(id, _)| *id == transaction).count();
        assert!(effects <= 1, "{transaction} takes effect once at node {node}");
    }
}
