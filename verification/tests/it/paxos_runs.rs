//! The shipped node, whole, with replicas on Multi-Paxos, and with registers whose acceptors change. Both protocols of
//! a replicated log keep the same laws.

use quorate_simulation::campaign::{Campaign, Summary};
use quorate_simulation::schedule::{FaultKind, Generator};
use quorate_simulation::world::Recording;
use quorate_verification::{PAXOS, PAXOS_MEMBERS, Protocol, REGISTER_MEMBERS};

fn run(protocol: Protocol, generator: Generator, seeds: u64) -> Summary {
    let campaign = Campaign { generator, seeds: 0..seeds, threads: 2, is_run_twice: false, failures_max: 5 };
    let summary = campaign.run(|schedule| (protocol.run)(schedule, Recording::Nothing), || {});
    println!("{summary}");
    assert!(summary.failures.is_empty(), "{:?}", summary.failures);
    summary
}

/// More seeds: `simulate --protocol paxos --seeds 1..1000`.
#[test]
fn replicas_on_multi_paxos_keep_their_laws_under_every_fault() {
    let summary = run(PAXOS, Generator { faults_us: 6_000_000, ..(PAXOS.generator)() }, 10);
    assert!(summary.acknowledged_median > 300, "{} calls were acknowledged", summary.acknowledged_median);
}

/// More seeds: `simulate --protocol paxos-members --seeds 1..1000`.
#[test]
fn members_of_multi_paxos_change_under_faults() {
    run(PAXOS_MEMBERS, Generator { faults_us: 6_000_000, ..(PAXOS_MEMBERS.generator)() }, 4);
}

/// More seeds: `simulate --protocol register-members --seeds 1..1000`.
#[test]
fn acceptors_of_registers_change_under_faults() {
    run(REGISTER_MEMBERS, Generator { faults_us: 6_000_000, ..(REGISTER_MEMBERS.generator)() }, 6);
}

/// Clients' commands are forwarded, forwards and answers get lost, leaders change, and clients try again in their
/// sessions at other nodes, also after snapshots: each command is applied once on all replicas.
#[test]
fn row_15_retry_and_lost_forward() {
    let kinds = vec![FaultKind::Lose, FaultKind::CrashNextLeader, FaultKind::Isolate, FaultKind::Blink];
    let summary = run(PAXOS, Generator { kinds, faults_us: 6_000_000, ..(PAXOS.generator)() }, 8);
    for what in [
        "a proposal was forwarded",
        "a proposal was tried again in its session",
        "a retry in a session brought the outcome",
        "a snapshot was installed",
    ] {
        assert!(summary.sometimes.contains_key(what), "{what}: {:?}", summary.sometimes);
    }
}
