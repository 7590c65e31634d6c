//! When a run is over.

use quorate_protocol::Violation;
use quorate_simulation::world::{ClusterLaws, NodeView};

use crate::probe::{Probe, probe_under, schedule};

/// Nodes that agree when they are looked at for the n-th time.
struct AgreeAt(u32);

impl ClusterLaws<Probe> for AgreeAt {
    fn check(&mut self, _: &[NodeView<'_, Probe>]) -> Result<(), Violation> {
        Ok(())
    }

    fn at_end(&mut self, _: &[NodeView<'_, Probe>]) -> Result<(), Violation> {
        self.0 -= 1;
        if self.0 == 0 { Ok(()) } else { Err(Violation { law: "they agree", detail: "not yet".to_owned() }) }
    }
}

/// Seed 754 of a raft: an entry that keeps log time going was on its way to two of four nodes at the last microsecond
/// of the run.
#[test]
fn what_is_under_way_at_the_end_is_waited_for() {
    assert_eq!(probe_under(&schedule([]), &mut AgreeAt(3)).failure, None);
}

#[test]
fn nodes_that_never_agree_are_told() {
    let failure = probe_under(&schedule([]), &mut AgreeAt(100)).failure.expect("they do not agree");
    assert_eq!(failure.law, "they agree");
}
