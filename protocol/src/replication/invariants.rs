//! The invariants of a node's own state, all checked in full.

use crate::replication::role::RoleState;
use crate::replication::{Election, LogCore};

/// Checks every invariant that a node's state alone can violate.
pub(crate) fn check<E: Election>(core: &LogCore<E>) {
    let shared = &core.shared;
    let (log, commitment) = (&shared.log, &shared.commitment);
    log.check_invariants();
    assert!(log.base().index <= commitment.index(), "only what is committed is compacted");
    assert!(commitment.index() <= log.last(), "what is committed is in the log");
    assert!(commitment.reported() <= commitment.index(), "what was told is committed");
    assert!(log.last_term() <= shared.term(), "no entry is of a later term");
    assert!(commitment.matched() <= log.last(), "what the leader sent is in the log");
    let snapshot_index = shared.snapshots.newest().map(|snapshot| snapshot.index);
    assert!(snapshot_index.unwrap_or_default() >= log.base().index, "what was compacted is in a snapshot");
    assert!(shared.reads.len() <= shared.settings().reads_max, "waiting reads are bounded");
    let me = shared.config.node();
    let voted_for = shared.durable.state().voted_for;
    match &core.role {
        RoleState::Leader(leader) => {
            assert!(shared.election.leader() == Some(me), "a leader knows that it leads");
            assert!(voted_for == Some(me), "a leader voted for itself");
            assert!(shared.chassis.outbox.is_durable(shared.durable.ticket()), "a leader's term is durable");
            for (_, progress) in leader.peers.iter() {
                progress.check_invariants();
                assert!(progress.match_index <= log.last(), "no peer matches beyond the log");
                assert!(progress.next_index <= log.last().next(), "nothing is sent beyond the log");
            }
        }
        RoleState::Candidate(_) => assert!(voted_for == Some(me), "a candidate voted for itself"),
        RoleState::Follower(_) | RoleState::PreCandidate(_) => {
            assert!(shared.election.leader() != Some(me), "who does not lead is not the leader");
        }
    }
}
