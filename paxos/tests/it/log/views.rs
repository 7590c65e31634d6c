//! Nodes with equal views answer every input equally, however they got there.

use quorate_paxos::log::AnyLog;
use quorate_protocol::replication::testing::views_react_alike;

use crate::support::from_environment;

/// The full check: `QUORATE_PAXOS_LOG_TRACES=100000 cargo test -p quorate-paxos --release log::views`.
#[test]
fn equal_views_react_alike() {
    let traces = from_environment("QUORATE_PAXOS_LOG_TRACES", 600);
    let compared = views_react_alike::<AnyLog>(traces);
    assert!(compared > traces, "views do repeat: {compared}");
}
