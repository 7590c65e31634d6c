//! The laws of a node's own state, checked thoroughly.

use std::collections::BTreeMap;

use quorate_protocol::NodeId;

use crate::base::Base;
use crate::coordinator::Coordinator;
use crate::participant::Participant;
use crate::state::{BranchStage, Holdings, Stage};
use crate::timers::Timer;
use crate::{CoordinatorId, TwoPhaseCommit, Vote};

/// Checks every law that this node's state alone can break.
pub(crate) fn check(core: &TwoPhaseCommit) {
    let (base, coordinator, participant) = (&core.base, &core.coordinator, &core.participant);
    if base.chassis.is_halted() {
        return;
    }
    let is_silent = coordinator.coordinated().is_empty() && coordinator.remembered().is_empty();
    assert!(base.served_by.is_none() || is_silent, "only the node that serves a coordinator decides");
    check_coordinated(base, coordinator);
    check_branches(base, participant);
    let keys: Vec<u64> = core.records().into_iter().map(|it| it.key).collect();
    base.journal.check(&keys);
    let most = base.config.settings().outcomes_max;
    assert!(coordinator.remembered().len() <= most, "remembered outcomes are bounded");
}

fn check_coordinated(base: &Base, coordinator: &Coordinator) {
    let bytes: usize = coordinator.coordinated().values().map(|it| it.stage.payload_bytes()).sum();
    assert!(bytes == coordinator.held().payload_bytes(), "payloads at the coordinator are counted");
    let mut left: BTreeMap<NodeId, (usize, usize)> = BTreeMap::new();
    let stages = coordinator.coordinated().values().map(|it| &it.stage);
    for (participant, stage) in stages.filter_map(|stage| Some((stage.delegate()?, stage))) {
        let (count, bytes) = left.entry(participant).or_default();
        (*count, *bytes) = (*count + 1, *bytes + stage.payload_bytes());
    }
    let counted = coordinator.held().delegations().iter().map(|(node, left)| (*node, (left.count, left.payload_bytes)));
    assert!(counted.eq(left), "decisions that are left to participants are counted");
    for (number, it) in coordinator.coordinated() {
        assert!(*number < coordinator.next_number(base), "only what was begun is coordinated");
        assert!(!coordinator.remembered().contains_key(number), "what is finished is not under way");
        let waits = base.timers.is_armed(Timer::Coordinated(*number));
        match &it.stage {
            Stage::Working | Stage::Delegated { .. } => assert!(waits, "it waits for somebody"),
            Stage::Voting(voting) => {
                assert!(waits, "it waits for votes");
                assert!(voting.votes.len() < voting.payloads.len(), "some vote is missing");
                assert!(voting.votes.keys().all(|node| voting.payloads.contains_key(node)), "participants vote");
                assert!(!voting.votes.values().any(|vote| *vote == Vote::No), "a no ends it");
            }
            Stage::Committed { writers, unacknowledged, .. } => {
                assert!(waits, "it waits for acknowledgements");
                assert!(!unacknowledged.is_empty(), "some acknowledgement is missing");
                assert!(unacknowledged.is_subset(writers), "writers acknowledge");
            }
            Stage::Deciding { .. } | Stage::Delegating { .. } | Stage::Ending { .. } | Stage::Forgetting => {
                assert!(!waits, "it waits for the log alone");
            }
        }
    }
}

fn check_branches(base: &Base, participant: &Participant) {
    let asked = participant.branches().values().filter(|branch| branch.request.is_some()).count();
    assert!(asked == participant.requests().len(), "every request is about a branch");
    for (transaction, branch) in participant.branches() {
        assert!(!participant.outcomes().tombstones().contains_key(transaction), "a settled branch is not under way");
        let waits = base.timers.is_armed(Timer::Branch(*transaction));
        let is_asked = branch.request.is_some_and(|ticket| participant.requests().get(&ticket) == Some(transaction));
        match branch.stage {
            BranchStage::Enlisted => assert!(waits, "it waits to be asked"),
            BranchStage::Writing | BranchStage::Forcing(_) => {
                assert!(!waits && !is_asked, "it waits for the log alone");
            }
            BranchStage::Prepared => assert!(waits, "it waits for the decision"),
            _ => assert!(waits, "it waits for the application, or to ask it again"),
        }
        let is_bound = matches!(branch.stage, BranchStage::Writing | BranchStage::Prepared | BranchStage::Committing);
        assert!(!is_bound || branch.key.is_some(), "a vote of yes has a record");
    }
    for (transaction, it) in participant.heuristics().of() {
        let is_elsewhere = participant.branches().contains_key(transaction)
            || participant.outcomes().tombstones().contains_key(transaction);
        assert!(!is_elsewhere, "a forced outcome that was carried out is neither under way nor settled");
        let waits = base.timers.is_armed(Timer::Branch(*transaction));
        assert!(waits == it.waits(), "it waits for the coordinator");
        assert!(it.decision != Some(it.forced), "only a decision that differs is kept");
    }
    check_holdings(participant);
    assert!(participant.unheard().is_subset(participant.recovering()), "who was not heard of has no locks");
    for transaction in participant.recovering() {
        let stage = participant.branches().get(transaction).map(|branch| branch.stage);
        assert!(stage == Some(BranchStage::Prepared), "only what is in doubt is recovered");
    }
}

fn check_holdings(participant: &Participant) {
    let mut counted: BTreeMap<CoordinatorId, Holdings> = BTreeMap::new();
    for (transaction, branch) in participant.branches() {
        let held = counted.entry(transaction.coordinator).or_default();
        held.branches += 1;
        held.payload_bytes += branch.payload.len();
    }
    for transaction in participant.outcomes().tombstones().keys() {
        counted.entry(transaction.coordinator).or_default().tombstones += 1;
        assert!(!participant.outcomes().is_collected(*transaction), "what is finished is not kept");
    }
    let all = participant.room().all();
    let sum = |of: fn(&Holdings) -> usize| counted.values().map(of).sum::<usize>();
    assert!(sum(|held| held.branches) == all.branches, "branches are counted");
    assert!(sum(|held| held.payload_bytes) == all.payload_bytes, "payloads of branches are counted");
    assert!(sum(|held| held.tombstones) == all.tombstones, "tombstones are counted");
    assert!(counted == *participant.room().of(), "what each coordinator holds is counted");
}
