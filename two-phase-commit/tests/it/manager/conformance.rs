//! The conformance suite finds what it is for: for each clause there is a resource that breaks it.

use std::collections::BTreeSet;
use std::sync::Mutex;

use async_trait::async_trait;
use quorate_two_phase_commit::manager::conformance::{self, MemorySubject};
use quorate_two_phase_commit::manager::memory::Memory;
use quorate_two_phase_commit::manager::{
    BranchId, CommitEnd, ManagerId, ResourceError, ResourceId, ResourceManager, RollBackEnd,
};
use quorate_two_phase_commit::{Decision, TransactionNumber, Vote};

/// What a resource does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    Nothing,
    /// Prepares by committing.
    CommitsAtPrepare,
    /// Votes yes and keeps nothing.
    PreparesInName,
    /// Votes no when it is asked again.
    OnlyOneVote,
    /// Votes yes for whatever it does not know.
    YesToTheUnknown,
    /// Does not free what a branch that read has locked.
    KeepsReadLocks,
    /// A read-only branch votes no.
    ReadersVoteNo,
    /// Says that a commit is lost when it is asked again.
    ForgetsAtOnce,
    /// Says that everything is committed.
    SaysCommitted,
    /// Answers a repeated commit in one phase with an abort.
    OnePhaseWithoutEvidence,
    /// Says that everything is committed in one phase.
    SaysCommittedInOnePhase,
    /// Does not roll prepared branches back.
    KeepsPrepared,
    /// Rolls back only what is prepared.
    KeepsOpen,
    /// Fails to roll back what it does not know.
    UnknownIsAnError,
    /// A roll-back of a committed branch is said to be done.
    HidesCommits,
    /// Lists the branches of all managers.
    ListsAll,
    /// Lists what was committed too.
    ListsFinished,
    /// Lists nothing.
    ListsNothing,
    /// Forgets unfinished transactions too.
    ForgetsUnfinished,
    /// Forgets nothing.
    ForgetsNothing,
    /// Forgets what belongs to others.
    ForgetsOthers,
    /// A prepare that was dropped takes effect after the roll-back.
    LatePrepare,
    /// A rolled-back branch comes back when it is prepared.
    PreparesTheDead,
}

#[derive(Debug)]
struct Suspect {
    memory: Memory<u64>,
    wrong: Wrong,
    asked: Mutex<BTreeSet<BranchId>>,
    ended: Mutex<BTreeSet<BranchId>>,
}

impl Suspect {
    fn is_first(&self, branch: BranchId) -> bool {
        self.asked.lock().expect("no panic").insert(branch)
    }
}

#[async_trait]
impl ResourceManager for Suspect {
    async fn prepare(&self, branch: BranchId) -> Result<Vote, ResourceError> {
        let is_first = self.is_first(branch);
        match self.wrong {
            Wrong::LatePrepare => {
                // The branch is on its way while the caller no longer waits.
                tokio::task::yield_now().await;
            }
            Wrong::OnlyOneVote if !is_first => return Ok(Vote::No),
            Wrong::PreparesTheDead if self.ended.lock().expect("no panic").contains(&branch) => return Ok(Vote::Yes),
            _ => {}
        }
        let vote = self.memory.prepare(branch).await?;
        match (self.wrong, vote) {
            (Wrong::CommitsAtPrepare, Vote::Yes) => drop(self.memory.commit(branch).await?),
            (Wrong::PreparesInName, Vote::Yes) => drop(self.memory.roll_back(branch).await?),
            (Wrong::YesToTheUnknown, Vote::No) => return Ok(Vote::Yes),
            (Wrong::ReadersVoteNo, Vote::ReadOnly) => return Ok(Vote::No),
            (Wrong::KeepsReadLocks, Vote::ReadOnly) => {
                use quorate_two_phase_commit::manager::Sessions;
                let session = self.memory.begin(branch).await?;
                let _ = session.get("key");
            }
            _ => {}
        }
        Ok(vote)
    }

    async fn commit(&self, branch: BranchId) -> Result<CommitEnd, ResourceError> {
        let end = self.memory.commit(branch).await?;
        self.ended.lock().expect("no panic").insert(branch);
        match self.wrong {
            Wrong::SaysCommitted => Ok(CommitEnd::Committed),
            Wrong::ForgetsAtOnce => {
                let below = TransactionNumber { sequence: u64::MAX, ..branch.number };
                self.memory.forget(branch.manager, branch.resource, below, &BTreeSet::new()).await?;
                Ok(end)
            }
            _ => Ok(end),
        }
    }

    async fn commit_one_phase(&self, branch: BranchId) -> Result<Decision, ResourceError> {
        let decision = self.memory.commit_one_phase(branch).await?;
        match self.wrong {
            Wrong::OnePhaseWithoutEvidence if !self.is_first(branch) => Ok(Decision::Abort),
            Wrong::SaysCommittedInOnePhase => Ok(Decision::Commit),
            _ => Ok(decision),
        }
    }

    async fn roll_back(&self, branch: BranchId) -> Result<RollBackEnd, ResourceError> {
        let is_prepared = self.memory.prepared().contains(&branch);
        match self.wrong {
            Wrong::KeepsPrepared if is_prepared => return Ok(RollBackEnd::RolledBack),
            Wrong::KeepsOpen if !is_prepared => return Ok(RollBackEnd::RolledBack),
            Wrong::LatePrepare if self.asked.lock().expect("no panic").contains(&branch) => {
                // What the dropped call began comes after it.
                let _ = self.memory.prepare(branch).await?;
                return Ok(RollBackEnd::RolledBack);
            }
            Wrong::UnknownIsAnError if !self.memory.locked().contains("key") => {
                return Err(ResourceError::Refused("there is no such branch".into()));
            }
            _ => {}
        }
        self.ended.lock().expect("no panic").insert(branch);
        let end = self.memory.roll_back(branch).await?;
        Ok(if self.wrong == Wrong::HidesCommits { RollBackEnd::RolledBack } else { end })
    }

    async fn recover(&self, manager: ManagerId, resource: ResourceId) -> Result<BTreeSet<BranchId>, ResourceError> {
        let mut listed = self.memory.recover(manager, resource).await?;
        match self.wrong {
            Wrong::ListsAll => listed = self.memory.prepared(),
            Wrong::ListsFinished => listed.extend(self.memory.evidence()),
            Wrong::ListsNothing => listed.clear(),
            _ => {}
        }
        Ok(listed)
    }

    async fn forget(
        &self,
        manager: ManagerId,
        resource: ResourceId,
        below: TransactionNumber,
        unfinished: &BTreeSet<TransactionNumber>,
    ) -> Result<(), ResourceError> {
        match self.wrong {
            Wrong::ForgetsNothing => Ok(()),
            Wrong::ForgetsUnfinished => self.memory.forget(manager, resource, below, &BTreeSet::new()).await,
            Wrong::ForgetsOthers => {
                for branch in self.memory.evidence() {
                    self.memory.forget(branch.manager, branch.resource, below, unfinished).await?;
                }
                Ok(())
            }
            _ => self.memory.forget(manager, resource, below, unfinished).await,
        }
    }
}

/// The clauses that a resource with this fault breaks.
async fn broken_by(wrong: Wrong) -> Vec<&'static str> {
    let make = || async move {
        let memory = Memory::new();
        let suspect = Suspect { memory: memory.clone(), wrong, asked: Mutex::default(), ended: Mutex::default() };
        MemorySubject::new(memory, suspect)
    };
    conformance::check(make).await.into_iter().map(|failure| failure.clause).collect()
}

#[tokio::test]
async fn a_resource_in_memory_keeps_every_clause() {
    assert_eq!(broken_by(Wrong::Nothing).await, Vec::<&str>::new());
}

#[tokio::test]
async fn each_clause_finds_the_resource_that_breaks_it() {
    let faults = [
        (Wrong::CommitsAtPrepare, "a_prepared_branch_is_listed_and_not_seen"),
        (Wrong::PreparesInName, "a_prepared_branch_survives_a_crash"),
        (Wrong::PreparesInName, "a_prepared_branch_keeps_its_locks_in_a_crash"),
        (Wrong::OnlyOneVote, "to_prepare_again_gives_the_same_vote"),
        (Wrong::YesToTheUnknown, "a_branch_that_is_not_there_is_not_prepared"),
        (Wrong::YesToTheUnknown, "lost_work_is_not_prepared"),
        (Wrong::KeepsReadLocks, "a_branch_that_read_leaves_no_trace"),
        (Wrong::ReadersVoteNo, "a_branch_that_read_leaves_no_trace"),
        (Wrong::ForgetsAtOnce, "to_commit_again_is_the_same_commit"),
        (Wrong::ForgetsAtOnce, "a_commit_survives_a_crash"),
        (Wrong::PreparesInName, "a_commit_frees_what_the_branch_held"),
        (Wrong::SaysCommitted, "a_branch_that_is_not_there_is_not_counted_as_committed"),
        (Wrong::OnePhaseWithoutEvidence, "a_commit_in_one_phase_is_known_afterwards"),
        (Wrong::SaysCommittedInOnePhase, "lost_work_is_not_committed_in_one_phase"),
        (Wrong::KeepsPrepared, "a_roll_back_ends_a_prepared_branch"),
        (Wrong::KeepsOpen, "a_roll_back_ends_a_branch_at_work"),
        (Wrong::UnknownIsAnError, "a_roll_back_of_nothing_is_done"),
        (Wrong::PreparesTheDead, "nothing_is_prepared_after_its_roll_back"),
        (Wrong::HidesCommits, "a_roll_back_does_not_hide_a_commit"),
        (Wrong::ListsAll, "only_branches_of_the_manager_are_listed"),
        (Wrong::ListsFinished, "what_is_finished_is_not_listed"),
        (Wrong::ListsNothing, "a_prepared_branch_is_listed_and_not_seen"),
        (Wrong::ForgetsUnfinished, "evidence_is_kept_until_it_is_forgotten"),
        (Wrong::ForgetsNothing, "evidence_is_kept_until_it_is_forgotten"),
        (Wrong::ForgetsOthers, "evidence_of_others_is_not_forgotten"),
        (Wrong::LatePrepare, "a_call_that_is_dropped_does_no_harm"),
    ];
    for clause in conformance::CLAUSES {
        assert!(faults.iter().any(|(_, broken)| broken == clause), "{clause} has a resource that breaks it");
    }
    for (wrong, clause) in faults {
        let broken = broken_by(wrong).await;
        assert!(broken.contains(&clause), "{wrong:?} breaks {clause}, and was found to break {broken:?}");
    }
}
