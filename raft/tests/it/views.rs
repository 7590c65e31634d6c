//! Nodes with equal views answer every input equally, however they got there.

use quorate_protocol::replication::testing::views_react_alike;
use quorate_raft::UpToDateLog;

use crate::support::from_environment;

/// The full check: `QUORATE_RAFT_TRACES=100000 cargo test -p quorate-raft --release views`.
#[test]
fn equal_views_react_alike() {
    let traces = from_environment("QUORATE_RAFT_TRACES", 600);
    let compared = views_react_alike::<UpToDateLog>(traces);
    assert!(compared > traces, "views do repeat: {compared}");
}
