//! The clauses. Each returns what happened instead, if it is broken.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use super::{MANAGER, RESOURCE, Subject};
use crate::manager::{BranchId, CommitEnd, ManagerId, ResourceError, ResourceId, ResourceManager, RollBackEnd};
use crate::{Decision, Epoch, TransactionNumber, Vote};

type Broken = Result<(), String>;

const KEY: &str = "key";

fn number(sequence: u64) -> TransactionNumber {
    TransactionNumber { epoch: Epoch(1), sequence }
}

fn branch(sequence: u64) -> BranchId {
    BranchId { manager: MANAGER, number: number(sequence), resource: RESOURCE }
}

fn other_manager() -> ManagerId {
    ManagerId { log: MANAGER.log + 1, ..MANAGER }
}

#[expect(clippy::needless_pass_by_value, reason = "the clauses read better without references")]
fn is<T: PartialEq + Debug>(what: &str, found: T, expected: T) -> Broken {
    if found == expected { Ok(()) } else { Err(format!("{what}: {found:?} and not {expected:?}")) }
}

/// The answer of a call that nothing prevents from answering.
fn answered<T>(what: &str, answer: Result<T, ResourceError>) -> Result<T, String> {
    answer.map_err(|error| format!("{what} failed: {error}: {:?}", std::error::Error::source(&error)))
}

async fn listed<S: Subject>(subject: &S) -> Result<BTreeSet<BranchId>, String> {
    answered("to list", subject.resource().recover(MANAGER, RESOURCE).await)
}

async fn prepare<S: Subject>(subject: &S, branch: BranchId) -> Result<Vote, String> {
    answered("to prepare", subject.resource().prepare(branch).await)
}

async fn commit<S: Subject>(subject: &S, branch: BranchId) -> Result<CommitEnd, String> {
    answered("to commit", subject.resource().commit(branch).await)
}

async fn one_phase<S: Subject>(subject: &S, branch: BranchId) -> Result<Decision, String> {
    answered("to commit in one phase", subject.resource().commit_one_phase(branch).await)
}

async fn roll_back<S: Subject>(subject: &S, branch: BranchId) -> Result<RollBackEnd, String> {
    answered("to roll back", subject.resource().roll_back(branch).await)
}

async fn prepared<S: Subject>(subject: &S, branch: BranchId, value: u64) -> Broken {
    subject.write(branch, KEY, value).await?;
    is("the vote", prepare(subject, branch).await?, Vote::Yes)
}

/// Another branch can write the key and commit.
async fn is_free<S: Subject>(subject: &S) -> Broken {
    let other = branch(1_000);
    subject.write(other, KEY, 1_000).await.map_err(|error| format!("the key is not free: {error}"))?;
    is("the vote of another branch", prepare(subject, other).await?, Vote::Yes)?;
    is("its commit", commit(subject, other).await?, CommitEnd::Committed)?;
    is("its value", subject.value(KEY).await, Some(1_000))
}

pub(super) async fn a_prepared_branch_is_listed_and_not_seen<S: Subject>(subject: &S) -> Broken {
    subject.write(branch(1), KEY, 1).await?;
    is("branches before the first prepare", listed(subject).await?, BTreeSet::new())?;
    is("the vote", prepare(subject, branch(1)).await?, Vote::Yes)?;
    is("prepared branches", listed(subject).await?, [branch(1)].into())?;
    is("the value before the commit", subject.value(KEY).await, None)
}

pub(super) async fn a_prepared_branch_survives_a_crash<S: Subject>(subject: &S) -> Broken {
    prepared(subject, branch(1), 1).await?;
    subject.crash().await;
    is("prepared branches after a crash", listed(subject).await?, [branch(1)].into())?;
    is("the commit", commit(subject, branch(1)).await?, CommitEnd::Committed)?;
    is("the value", subject.value(KEY).await, Some(1))
}

pub(super) async fn a_prepared_branch_keeps_its_locks_in_a_crash<S: Subject>(subject: &S) -> Broken {
    prepared(subject, branch(1), 1).await?;
    subject.crash().await;
    if subject.write(branch(2), KEY, 2).await.is_ok() {
        return Err("another branch wrote what a prepared branch has written".to_owned());
    }
    roll_back(subject, branch(2)).await?;
    is("the commit", commit(subject, branch(1)).await?, CommitEnd::Committed)?;
    is("the value", subject.value(KEY).await, Some(1))
}

pub(super) async fn to_prepare_again_gives_the_same_vote<S: Subject>(subject: &S) -> Broken {
    prepared(subject, branch(1), 1).await?;
    is("the second vote", prepare(subject, branch(1)).await?, Vote::Yes)?;
    subject.crash().await;
    is("the vote after a crash", prepare(subject, branch(1)).await?, Vote::Yes)?;
    is("prepared branches", listed(subject).await?, [branch(1)].into())
}

pub(super) async fn a_branch_that_is_not_there_is_not_prepared<S: Subject>(subject: &S) -> Broken {
    is("the vote", prepare(subject, branch(1)).await?, Vote::No)?;
    is("prepared branches", listed(subject).await?, BTreeSet::new())
}

pub(super) async fn lost_work_is_not_prepared<S: Subject>(subject: &S) -> Broken {
    subject.write(branch(1), KEY, 1).await?;
    subject.crash().await;
    is("the vote", prepare(subject, branch(1)).await?, Vote::No)?;
    is("prepared branches", listed(subject).await?, BTreeSet::new())?;
    is_free(subject).await
}

/// It may vote yes, and then keeps the branch like any other.
pub(super) async fn a_branch_that_read_leaves_no_trace<S: Subject>(subject: &S) -> Broken {
    subject.read(branch(1), KEY).await?;
    match prepare(subject, branch(1)).await? {
        Vote::ReadOnly => is("prepared branches", listed(subject).await?, BTreeSet::new())?,
        Vote::Yes => is("the commit", commit(subject, branch(1)).await?, CommitEnd::Committed)?,
        Vote::No => return Err("a branch that read voted no".to_owned()),
    }
    is_free(subject).await
}

pub(super) async fn to_commit_again_is_the_same_commit<S: Subject>(subject: &S) -> Broken {
    prepared(subject, branch(1), 1).await?;
    is("the commit", commit(subject, branch(1)).await?, CommitEnd::Committed)?;
    is("the value", subject.value(KEY).await, Some(1))?;
    is_free(subject).await?;
    is("the second commit", commit(subject, branch(1)).await?, CommitEnd::Committed)?;
    is("the value of a later branch", subject.value(KEY).await, Some(1_000))
}

pub(super) async fn a_commit_frees_what_the_branch_held<S: Subject>(subject: &S) -> Broken {
    prepared(subject, branch(1), 1).await?;
    is("the commit", commit(subject, branch(1)).await?, CommitEnd::Committed)?;
    is_free(subject).await
}

pub(super) async fn a_commit_survives_a_crash<S: Subject>(subject: &S) -> Broken {
    prepared(subject, branch(1), 1).await?;
    is("the commit", commit(subject, branch(1)).await?, CommitEnd::Committed)?;
    subject.crash().await;
    is("the value after a crash", subject.value(KEY).await, Some(1))?;
    is("the commit after a crash", commit(subject, branch(1)).await?, CommitEnd::Committed)
}

pub(super) async fn a_branch_that_is_not_there_is_not_counted_as_committed<S: Subject>(subject: &S) -> Broken {
    prepared(subject, branch(1), 1).await?;
    is("the roll-back", roll_back(subject, branch(1)).await?, RollBackEnd::RolledBack)?;
    for lost in [branch(1), branch(2)] {
        if commit(subject, lost).await? == CommitEnd::Committed {
            return Err("a branch that is not there is said to be committed".to_owned());
        }
    }
    is("the value", subject.value(KEY).await, None)
}

pub(super) async fn a_commit_in_one_phase_is_known_afterwards<S: Subject>(subject: &S) -> Broken {
    subject.write(branch(1), KEY, 1).await?;
    is("the decision", one_phase(subject, branch(1)).await?, Decision::Commit)?;
    is("the value", subject.value(KEY).await, Some(1))?;
    is_free(subject).await?;
    subject.crash().await;
    is("the decision when asked again", one_phase(subject, branch(1)).await?, Decision::Commit)?;
    is("the value of a later branch", subject.value(KEY).await, Some(1_000))
}

pub(super) async fn lost_work_is_not_committed_in_one_phase<S: Subject>(subject: &S) -> Broken {
    subject.write(branch(1), KEY, 1).await?;
    subject.crash().await;
    is("the decision", one_phase(subject, branch(1)).await?, Decision::Abort)?;
    is("the decision when asked again", one_phase(subject, branch(1)).await?, Decision::Abort)?;
    is("the value", subject.value(KEY).await, None)?;
    is_free(subject).await
}

pub(super) async fn a_roll_back_ends_a_prepared_branch<S: Subject>(subject: &S) -> Broken {
    prepared(subject, branch(1), 1).await?;
    subject.crash().await;
    is("the roll-back", roll_back(subject, branch(1)).await?, RollBackEnd::RolledBack)?;
    is("prepared branches", listed(subject).await?, BTreeSet::new())?;
    is("the value", subject.value(KEY).await, None)?;
    is("the second roll-back", roll_back(subject, branch(1)).await?, RollBackEnd::RolledBack)?;
    is_free(subject).await
}

pub(super) async fn a_roll_back_ends_a_branch_at_work<S: Subject>(subject: &S) -> Broken {
    subject.write(branch(1), KEY, 1).await?;
    is("the roll-back", roll_back(subject, branch(1)).await?, RollBackEnd::RolledBack)?;
    is("the value", subject.value(KEY).await, None)?;
    is_free(subject).await
}

pub(super) async fn a_roll_back_of_nothing_is_done<S: Subject>(subject: &S) -> Broken {
    is("the roll-back", roll_back(subject, branch(1)).await?, RollBackEnd::RolledBack)
}

pub(super) async fn nothing_is_prepared_after_its_roll_back<S: Subject>(subject: &S) -> Broken {
    subject.write(branch(1), KEY, 1).await?;
    is("the roll-back", roll_back(subject, branch(1)).await?, RollBackEnd::RolledBack)?;
    is("the vote", prepare(subject, branch(1)).await?, Vote::No)?;
    is("prepared branches", listed(subject).await?, BTreeSet::new())
}

pub(super) async fn a_roll_back_does_not_hide_a_commit<S: Subject>(subject: &S) -> Broken {
    prepared(subject, branch(1), 1).await?;
    is("the commit", commit(subject, branch(1)).await?, CommitEnd::Committed)?;
    is("the roll-back", roll_back(subject, branch(1)).await?, RollBackEnd::Committed)?;
    is("the value", subject.value(KEY).await, Some(1))
}

pub(super) async fn only_branches_of_the_manager_are_listed<S: Subject>(subject: &S) -> Broken {
    let foreign = BranchId { manager: other_manager(), ..branch(1) };
    prepared(subject, foreign, 1).await?;
    let elsewhere = BranchId { resource: ResourceId(RESOURCE.0 + 1), ..branch(1) };
    subject.write(elsewhere, "other key", 1).await?;
    is("the vote", prepare(subject, elsewhere).await?, Vote::Yes)?;
    is("prepared branches", listed(subject).await?, BTreeSet::new())?;
    let of_other = answered("to list", subject.resource().recover(other_manager(), RESOURCE).await)?;
    is("those of the other manager", of_other, [foreign].into())
}

pub(super) async fn what_is_finished_is_not_listed<S: Subject>(subject: &S) -> Broken {
    prepared(subject, branch(1), 1).await?;
    is("the commit", commit(subject, branch(1)).await?, CommitEnd::Committed)?;
    subject.write(branch(2), KEY, 2).await?;
    is("prepared branches", listed(subject).await?, BTreeSet::new())?;
    is("the roll-back", roll_back(subject, branch(2)).await?, RollBackEnd::RolledBack)
}

pub(super) async fn evidence_is_kept_until_it_is_forgotten<S: Subject>(subject: &S) -> Broken {
    for sequence in 1..=3 {
        prepared(subject, branch(sequence), sequence).await?;
        is("the commit", commit(subject, branch(sequence)).await?, CommitEnd::Committed)?;
    }
    let unfinished = [number(1)].into();
    answered("to forget", subject.resource().forget(MANAGER, RESOURCE, number(3), &unfinished).await)?;
    subject.crash().await;
    is("the commit of an unfinished one", commit(subject, branch(1)).await?, CommitEnd::Committed)?;
    is("the commit of a later one", commit(subject, branch(3)).await?, CommitEnd::Committed)?;
    if commit(subject, branch(2)).await? == CommitEnd::Committed {
        return Err("the evidence of a finished transaction is still there".to_owned());
    }
    is("the value", subject.value(KEY).await, Some(3))
}

pub(super) async fn evidence_of_others_is_not_forgotten<S: Subject>(subject: &S) -> Broken {
    let foreign = BranchId { manager: other_manager(), ..branch(1) };
    prepared(subject, foreign, 1).await?;
    is("the commit", commit(subject, foreign).await?, CommitEnd::Committed)?;
    let forgotten = subject.resource().forget(MANAGER, RESOURCE, number(10), &BTreeSet::new()).await;
    answered("to forget", forgotten)?;
    is("the commit of another manager", commit(subject, foreign).await?, CommitEnd::Committed)
}

/// A manager drops a call that takes too long. What it began may take effect, and is rolled back.
pub(super) async fn a_call_that_is_dropped_does_no_harm<S: Subject>(subject: &S) -> Broken {
    subject.write(branch(1), KEY, 1).await?;
    {
        let mut call = pin!(subject.resource().prepare(branch(1)));
        poll_fn(|context| {
            let _ = call.as_mut().poll(context);
            Poll::Ready(())
        })
        .await;
    }
    loop {
        match subject.resource().roll_back(branch(1)).await {
            Ok(end) => break is("the roll-back", end, RollBackEnd::RolledBack)?,
            Err(ResourceError::Busy(_)) => {}
            Err(error) => return Err(format!("to roll back failed: {error}")),
        }
    }
    is("prepared branches", listed(subject).await?, BTreeSet::new())?;
    is("the value", subject.value(KEY).await, None)?;
    is_free(subject).await
}
