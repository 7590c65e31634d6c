//! The laws of a node's own state, checked thoroughly.

use std::collections::{BTreeMap, BTreeSet};

use quorate_protocol::NodeId;

use crate::TwoPhaseCommit;
use crate::state::{BranchStage, Holdings, Stage};
use crate::timers::Timer;

impl TwoPhaseCommit {
    /// Checks every law that this node's state alone can break.
    pub(crate) fn check_own_laws(&self) {
        if self.halted.is_some() {
            return;
        }
        self.check_coordinated();
        self.check_branches();
        let keys: Vec<u64> = self.records().into_iter().map(|(key, _)| key).collect();
        let distinct: BTreeSet<u64> = keys.iter().copied().collect();
        assert!(distinct.len() == keys.len(), "every record has a place of its own");
        assert!(distinct.last().is_none_or(|last| *last < self.journal.next_key), "new records get new places");
        let unsettled: usize = self.journal.unsettled.iter().map(|(_, operation)| operation.weight()).sum();
        assert!(unsettled == self.journal.unsettled_bytes, "what waits for the log is counted");
        assert!(self.remembered.len() <= self.config.settings().outcomes_max, "remembered outcomes are bounded");
    }

    fn check_coordinated(&self) {
        let bytes: usize = self.coordinated.values().map(|it| it.stage.payload_bytes()).sum();
        assert!(bytes == self.coordinated_bytes, "payloads at the coordinator are counted");
        let mut left: BTreeMap<NodeId, (usize, usize)> = BTreeMap::new();
        for (participant, stage) in self.coordinated.values().filter_map(|it| Some((it.stage.delegate()?, &it.stage))) {
            let (count, bytes) = left.entry(participant).or_default();
            (*count, *bytes) = (*count + 1, *bytes + stage.payload_bytes());
        }
        let counted = self.delegations.iter().map(|(node, left)| (*node, (left.count, left.payload_bytes)));
        assert!(counted.eq(left), "decisions that are left to participants are counted");
        for (number, it) in &self.coordinated {
            assert!(*number < self.next_number(), "only what was begun is coordinated");
            assert!(!self.remembered.contains_key(number), "what is finished is not under way");
            let waits = self.timers.is_armed(Timer::Coordinated(*number));
            match &it.stage {
                Stage::Working | Stage::Delegated { .. } => assert!(waits, "it waits for somebody"),
                Stage::Voting(voting) => {
                    assert!(waits, "it waits for votes");
                    assert!(voting.votes.len() < voting.payloads.len(), "some vote is missing");
                    assert!(voting.votes.keys().all(|node| voting.payloads.contains_key(node)), "participants vote");
                    assert!(!voting.votes.values().any(|vote| *vote == crate::Vote::No), "a no ends it");
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

    fn check_branches(&self) {
        let bytes: usize = self.branches.values().map(|branch| branch.payload.len()).sum();
        assert!(bytes == self.branch_bytes, "payloads of branches are counted");
        let asked = self.branches.values().filter(|branch| branch.request.is_some()).count();
        assert!(asked == self.requests.len(), "every request is about a branch");
        for (transaction, branch) in &self.branches {
            assert!(!self.tombstones.contains_key(transaction), "a settled branch is not under way");
            let waits = self.timers.is_armed(Timer::Branch(*transaction));
            let is_asked = branch.request.is_some_and(|ticket| self.requests.get(&ticket) == Some(transaction));
            match branch.stage {
                BranchStage::Enlisted => assert!(waits, "it waits to be asked"),
                BranchStage::Writing => assert!(!waits && !is_asked, "it waits for the log alone"),
                BranchStage::Prepared => assert!(waits, "it waits for the decision"),
                _ => assert!(waits, "it waits for the application, or to ask it again"),
            }
            let is_bound =
                matches!(branch.stage, BranchStage::Writing | BranchStage::Prepared | BranchStage::Committing);
            assert!(!is_bound || branch.key.is_some(), "a vote of yes has a record");
        }
        self.check_holdings();
        assert!(self.unheard.is_subset(&self.recovering), "who was not heard of has no locks");
        for transaction in &self.recovering {
            let stage = self.branches.get(transaction).map(|branch| branch.stage);
            assert!(stage == Some(BranchStage::Prepared), "only what is in doubt is recovered");
        }
    }

    fn check_holdings(&self) {
        let mut counted: BTreeMap<NodeId, Holdings> = BTreeMap::new();
        for (transaction, branch) in &self.branches {
            let held = counted.entry(transaction.coordinator).or_default();
            held.branches += 1;
            held.payload_bytes += branch.payload.len();
        }
        for transaction in self.tombstones.keys() {
            counted.entry(transaction.coordinator).or_default().tombstones += 1;
            assert!(!self.is_collected(*transaction), "what is finished is not kept");
        }
        assert!(counted == self.holdings, "what each coordinator holds is counted");
    }
}
