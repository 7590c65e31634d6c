//! Rows about snapshots, as the whole node builds, sends and installs them.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use quorate_protocol::NodeId;
use quorate_raft::Raft;
use quorate_raft::testing::laws;
use quorate_simulation::node_machine::{MakeConfig, NodeSetup, ReplicaLaws};
use quorate_simulation::registers::{RegisterClients, RegisterRequest, RegisterState};
use quorate_simulation::schedule::{CrashPoint, Schedule, What, Who};
use quorate_simulation::world::{Loss, RunOutcome, run};

use super::timed::{Record, Timed, TimedLaws, TimedSetup};
use super::{Script, acknowledged, config, recording, told};

/// Registers beside a bulk of lists that nobody touches: about 4 MB.
fn bulky() -> RegisterState {
    beside(1_000)
}

/// The same beside 16 MB, which is what a simulated run bears in a few seconds, where the row has 1 GB.
fn huge() -> RegisterState {
    beside(4_000)
}

fn beside(lists: u64) -> RegisterState {
    let mut registers = RegisterState::default();
    for list in 0..lists {
        let steps = (1..=500).map(|number| (BULK + list, Some(number))).collect();
        registers.apply(&RegisterRequest::Txn { steps });
    }
    registers
}

/// Everybody writes in sessions and tries again; snapshots travel in pieces of 256 KiB, and the log is let go behind
/// them.
pub(super) fn play(script: &Script, state: fn() -> RegisterState) -> (RunOutcome, Record) {
    let schedule = &script.schedule;
    let Schedule { nodes, seed, .. } = *schedule;
    let of_core: MakeConfig<Raft> = Arc::new(move |start| config(start.identity.node, nodes, start.seed));
    let mut setup = NodeSetup::replicated(schedule, of_core, state);
    setup.application.session_percent = 100;
    setup.application.session_timeout = Duration::from_secs(20);
    setup.application.settings.keep_entries = 0;
    setup.application.settings.chunk_bytes = 256 << 10;
    setup.application.settings.window_bytes = 512 << 10;
    setup.application.settings.transfer_retry = Duration::from_millis(150);
    let record = Rc::new(RefCell::new(Record::default()));
    let setup = TimedSetup { setup, record: Rc::clone(&record) };
    let mut laws = TimedLaws { laws: ReplicaLaws::new(laws()), record: Rc::clone(&record), lasts: Vec::new() };
    let mut clients = RegisterClients::new(seed);
    let outcome = told(run::<Timed>(&setup, schedule, &mut laws, &mut clients, recording()));
    if let Some(failure) = &outcome.failure {
        let schedule = serde_json::to_string(schedule).expect("plain data");
        panic!("at {} us: {}: {}\n{schedule}", failure.at_us, failure.law, failure.detail);
    }
    (outcome, record.take())
}

/// Node 3 is away for long enough to need a snapshot, and comes back over links on which that takes twenty times as
/// long as a piece is waited for.
fn over_a_slow_link(seed: u64, bytes_per_second: u64) -> Script {
    let script = Script::new(3, seed).clients(8).at_leader(97).snapshot_every(150).hurry(0, 300, 1);
    let links = vec![(1, 3), (2, 3)];
    script.isolate(1_000, 4_000, 3).fault(3_900, 12_000, What::Bandwidth { links, bytes_per_second })
}

/// The writes of node 3 from its return to the end of its first installation, in microseconds.
fn writes_of_install(record: &Record) -> Vec<u64> {
    let (_, end) = *record.installed.iter().find(|(node, _)| *node == NodeId(3)).expect("a snapshot was installed");
    let writes = record.writes[..end].iter();
    writes.filter(|(node, at_us)| *node == NodeId(3) && *at_us > 4_000_000).map(|(_, at_us)| *at_us).collect()
}

/// Raft 25: a snapshot goes over a slow link while sessions write and the leader lets its log go. It arrives, finitely
/// often, and what was written meanwhile follows from the log.
#[test]
fn row_25_snapshot_over_a_slow_link() {
    let (outcome, record) = play(&over_a_slow_link(25, 4_800_000), huge);
    let writes = writes_of_install(&record);
    let took_us = writes.last().expect("it was written") - 4_000_000;
    assert!(took_us > 20 * 150_000, "the transfer took {took_us} us");
    assert!(writes.len() > 10, "in pieces: {}", writes.len());
    let of_three = record.installed.iter().filter(|(node, _)| *node == NodeId(3)).count();
    assert!(of_three <= 2, "it was installed {of_three} times");
    assert!(acknowledged(&outcome.history, 4_000, 12_000) > 500, "writes went on");
}

/// Raft 25: the receiver crashes at every write of the installation: each time the write is lost, torn or done. It
/// begins again or goes on, is never half there, and each command of a session is applied once. (By default every tenth
/// of these runs; all of them with `QUORATE_ROWS_ALL=1`.)
#[test]
fn row_25_the_receiver_crashes_at_every_write() {
    let (_, record) = play(&over_a_slow_link(26, 1_200_000), bulky);
    let writes = writes_of_install(&record);
    let step = if std::env::var_os("QUORATE_ROWS_ALL").is_some() { 1 } else { 10 };
    let losses = [Loss::Unsynced, Loss::Torn, Loss::Nothing];
    let crashes = writes.iter().flat_map(|at_us| losses.map(|loss| (*at_us, loss)));
    for (at_us, loss) in crashes.step_by(step) {
        let what = What::Crash { node: Who::Node(3), point: CrashPoint::Now, loss };
        // It has just been handed to the disk.
        let script = over_a_slow_link(26, 1_200_000).fault_us(at_us + 1, 300_000, what);
        let (_, record) = play(&script, bulky);
        assert!(
            record.installed.iter().any(|(node, _)| *node == NodeId(3)),
            "{at_us} us, {loss}: installed in the end"
        );
    }
}

/// Raft 25: the leader crashes in the midst of the transfer; whoever comes after it brings its own snapshot.
#[test]
fn row_25_the_leader_changes_in_the_midst() {
    for at_ms in [4_800, 6_000, 7_000] {
        let (_, record) = play(&over_a_slow_link(27, 1_200_000).crash(at_ms, at_ms + 3_000, 1), bulky);
        assert!(record.installed.iter().any(|(node, _)| *node == NodeId(3)), "{at_ms} ms: installed in the end");
    }
}

/// Lists that no client uses.
const BULK: u64 = 1 << 40;
