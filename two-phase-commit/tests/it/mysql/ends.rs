//! Each call of the trait, and its repetition.

use mysql_async::prelude::Queryable;
use quorate_two_phase_commit::manager::{CommitEnd, ResourceError, ResourceManager, RollBackEnd, Sessions};
use quorate_two_phase_commit::{Decision, Vote};

use super::*;

#[tokio::test]
async fn a_branch_is_prepared_and_committed() {
    let Some(mut bench) = bench().await else { return };
    let branch = bench.branch(1);
    bench.work(branch, ADD).await;
    for _ in 0..2 {
        assert_eq!(bench.resource.prepare(branch).await.unwrap(), Vote::Yes);
        assert_eq!((bench.balance().await, bench.prepared().await), (100, 1));
    }
    for _ in 0..2 {
        assert_eq!(bench.resource.commit(branch).await.unwrap(), CommitEnd::Committed);
        assert_eq!((bench.balance().await, bench.prepared().await, bench.rows().await), (105, 0, 1));
    }
}

#[tokio::test]
async fn a_branch_is_rolled_back_at_work_prepared_and_unknown() {
    let Some(mut bench) = bench().await else { return };
    for (sequence, prepared) in [(1, false), (2, true)] {
        let branch = bench.branch(sequence);
        bench.work(branch, ADD).await;
        if prepared {
            assert_eq!(bench.resource.prepare(branch).await.unwrap(), Vote::Yes);
        }
        for _ in 0..2 {
            assert_eq!(bench.resource.roll_back(branch).await.unwrap(), RollBackEnd::RolledBack);
        }
        assert_eq!(bench.restarted().roll_back(branch).await.unwrap(), RollBackEnd::RolledBack);
    }
    assert_eq!(bench.resource.roll_back(bench.branch(3)).await.unwrap(), RollBackEnd::RolledBack);
    assert_eq!((bench.balance().await, bench.prepared().await, bench.rows().await), (100, 0, 0));
}

#[tokio::test]
async fn the_only_branch_is_committed_at_once_and_the_row_says_so() {
    let Some(mut bench) = bench().await else { return };
    let branch = bench.branch(1);
    bench.work(branch, ADD).await;
    assert_eq!(bench.resource.commit_one_phase(branch).await.unwrap(), Decision::Commit);
    assert_eq!(bench.resource.commit_one_phase(branch).await.unwrap(), Decision::Commit);
    assert_eq!(bench.restarted().commit_one_phase(branch).await.unwrap(), Decision::Commit);
    assert_eq!((bench.balance().await, bench.rows().await), (105, 1));
    assert_eq!(bench.resource.commit_one_phase(bench.branch(2)).await.unwrap(), Decision::Abort);
}

#[tokio::test]
async fn a_session_that_is_lent_is_ended_from_outside() {
    let Some(mut bench) = bench().await else { return };
    for prepare in [true, false] {
        let branch = bench.branch(if prepare { 1 } else { 2 });
        let mut session = bench.resource.begin(branch).await.unwrap();
        session.query_drop(ADD).await.unwrap();
        if prepare {
            assert_eq!(bench.resource.prepare(branch).await.unwrap(), Vote::No);
        } else {
            assert_eq!(bench.resource.roll_back(branch).await.unwrap(), RollBackEnd::RolledBack);
        }
        session.query_drop(ADD).await.unwrap_err();
        bench.resource.suspend(branch, session);
        assert!(bench.resource.resume(branch).is_none());
    }
    assert_eq!(bench.balance().await, 100);
}

#[tokio::test]
async fn a_session_whose_answers_are_not_those_to_its_questions_votes_no() {
    let Some(mut bench) = bench().await else { return };
    for sequence in 1..=6 {
        let mut session = bench.resource.begin(bench.branch(sequence)).await.unwrap();
        let mut statement = Box::pin(session.query_drop(format!("{ADD}; SELECT SLEEP(0.05)")));
        let done = tokio::select! {
            biased;
            done = &mut statement => Some(done),
            () = tokio::time::sleep(Duration::from_millis(sequence * 5)) => None,
        };
        drop(statement);
        assert!(done.is_none_or(|done| done.is_ok()));
        bench.resource.suspend(bench.branch(sequence), session);
        let vote = bench.resource.prepare(bench.branch(sequence)).await.unwrap();
        assert_eq!(bench.prepared().await, usize::from(vote == Vote::Yes));
        assert_eq!(bench.resource.roll_back(bench.branch(sequence)).await.unwrap(), RollBackEnd::RolledBack);
        assert_eq!((bench.balance().await, bench.prepared().await, bench.rows().await), (100, 0, 0));
    }
}

#[tokio::test]
async fn rows_of_finished_transactions_are_forgotten_without_waiting_for_those_in_doubt() {
    let Some(mut bench) = bench().await else { return };
    for sequence in 1..=6 {
        bench.work(bench.branch(sequence), &format!("INSERT INTO account VALUES (1{sequence}, 0)")).await;
        if sequence == 4 {
            assert_eq!(bench.resource.prepare(bench.branch(4)).await.unwrap(), Vote::Yes);
        } else {
            assert_eq!(bench.resource.commit_one_phase(bench.branch(sequence)).await.unwrap(), Decision::Commit);
        }
    }
    let stranger = ManagerId { log: u64::MAX, ..bench.manager };
    bench.resource.forget(stranger, RESOURCE, number(9), &BTreeSet::new()).await.unwrap();
    bench.resource.forget(bench.manager, ResourceId(8), number(9), &BTreeSet::new()).await.unwrap();
    assert_eq!(bench.rows().await, 5);
    let unfinished = [number(2), number(4), number(7)].into();
    bench.resource.forget(bench.manager, RESOURCE, number(6), &unfinished).await.unwrap();
    let left = "SELECT GROUP_CONCAT(sequence ORDER BY sequence SEPARATOR ' ') FROM quorate_branches";
    assert_eq!(bench.one::<String>(left).await, "2 6");
    assert_eq!(bench.resource.commit(bench.branch(4)).await.unwrap(), CommitEnd::Committed);
    bench.resource.forget(bench.manager, RESOURCE, number(6), &BTreeSet::new()).await.unwrap();
    assert_eq!(bench.one::<String>(left).await, "6");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable_and_needed_by_no_constructor() {
    let resource = Mysql::new(OptsBuilder::default().socket(Some("/nonexistent")).prefer_socket(true).tcp_port(1));
    let manager = ManagerId { cluster: ClusterId(1), log: 1 };
    let branch = BranchId { manager, number: number(1), resource: RESOURCE };
    assert!(matches!(resource.begin(branch).await, Err(ResourceError::Unavailable(_))));
    assert!(matches!(resource.prepare(branch).await, Err(ResourceError::Unavailable(_))));
    assert!(matches!(resource.commit(branch).await, Err(ResourceError::Unavailable(_))));
    assert!(matches!(resource.roll_back(branch).await, Err(ResourceError::Unavailable(_))));
    assert!(matches!(resource.recover(manager, RESOURCE).await, Err(ResourceError::Unavailable(_))));
    resource.set_up().await.unwrap_err();
}
