//! No message of a peer, content of the disk or input of a user panics a core.

use quorate_paxos::log::AnyLog;
use quorate_protocol::replication::testing::{Attacked, play_hostile};

use crate::support::from_environment;

/// More seeds: `QUORATE_PAXOS_HOSTILE_SEEDS=100000 cargo test -p quorate-paxos --release log::hostile`.
#[test]
fn no_input_panics_a_core() {
    let mut attacked = Attacked::default();
    for seed in 0..from_environment("QUORATE_PAXOS_HOSTILE_SEEDS", 3000) {
        let played = std::panic::catch_unwind(|| play_hostile::<AnyLog>(seed));
        attacked += played.unwrap_or_else(|_| panic!("seed {seed}"));
    }
    assert!(attacked.leaders > 500 && attacked.followers > 500, "{attacked:?}");
    assert!(attacked.candidates > 300, "elected nodes wait for entries: {attacked:?}");
    assert!(attacked.deceived > 100, "forged entries are taken: {attacked:?}");
}
