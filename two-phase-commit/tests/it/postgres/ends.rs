//! Each call of the trait, and its repetition.

use quorate_two_phase_commit::manager::{CommitEnd, ResourceError, ResourceManager, RollBackEnd, Sessions};
use quorate_two_phase_commit::{Decision, Vote};

use super::*;

#[tokio::test]
async fn a_branch_is_prepared_and_committed() {
    let Some(bench) = bench().await else { return };
    let branch = bench.branch(1);
    bench.work(branch, ADD).await;
    for _ in 0..2 {
        assert_eq!(bench.resource.prepare(branch).await.unwrap(), Vote::Yes);
        assert_eq!((bench.balance().await, bench.prepared().await), ("100".into(), "1".into()));
    }
    for _ in 0..2 {
        assert_eq!(bench.resource.commit(branch).await.unwrap(), CommitEnd::Committed);
        assert_eq!((bench.balance().await, bench.prepared().await), ("105".into(), "0".into()));
    }
    assert_eq!(bench.rows().await, "1");
}

#[tokio::test]
async fn a_branch_is_rolled_back_at_work_prepared_and_unknown() {
    let Some(bench) = bench().await else { return };
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
        assert_eq!(bench.resource.begin(bench.branch(sequence + 10)).await.map(drop).ok(), Some(()));
    }
    assert_eq!(bench.resource.roll_back(bench.branch(3)).await.unwrap(), RollBackEnd::RolledBack);
    assert_eq!(
        (bench.balance().await, bench.prepared().await, bench.rows().await),
        ("100".into(), "0".into(), "0".into())
    );
}

#[tokio::test]
async fn a_branch_that_changed_nothing_is_read_only() {
    let Some(bench) = bench().await else { return };
    let read = "SELECT * FROM account FOR KEY SHARE";
    for (sequence, first) in [(1, "SELECT"), (2, "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")] {
        let branch = bench.branch(sequence);
        bench.work(branch, first).await;
        assert_eq!(bench.resource.prepare(branch).await.unwrap(), Vote::ReadOnly);
        assert_eq!(bench.resource.prepare(branch).await.unwrap(), Vote::ReadOnly);
    }
    assert_eq!((bench.prepared().await, bench.rows().await), ("0".into(), "0".into()));
    // Locks of rows are changes: whoever takes them wants to keep them until the decision.
    bench.work(bench.branch(3), read).await;
    assert_eq!(bench.resource.prepare(bench.branch(3)).await.unwrap(), Vote::Yes);
    assert_eq!(bench.resource.commit(bench.branch(3)).await.unwrap(), CommitEnd::Committed);
}

#[tokio::test]
async fn the_only_branch_is_committed_at_once_and_the_row_says_so() {
    let Some(bench) = bench().await else { return };
    let branch = bench.branch(1);
    bench.work(branch, ADD).await;
    assert_eq!(bench.resource.commit_one_phase(branch).await.unwrap(), Decision::Commit);
    assert_eq!(bench.resource.commit_one_phase(branch).await.unwrap(), Decision::Commit);
    assert_eq!(bench.restarted().commit_one_phase(branch).await.unwrap(), Decision::Commit);
    assert_eq!((bench.balance().await, bench.rows().await), ("105".into(), "1".into()));

    assert_eq!(bench.resource.commit_one_phase(bench.branch(2)).await.unwrap(), Decision::Abort);
    bench.work(bench.branch(3), "SELECT").await;
    assert_eq!(bench.resource.commit_one_phase(bench.branch(3)).await.unwrap(), Decision::Commit);
}

#[tokio::test]
async fn a_session_that_is_lent_is_ended_from_outside() {
    let Some(bench) = bench().await else { return };
    for prepare in [true, false] {
        let branch = bench.branch(if prepare { 1 } else { 2 });
        let session = bench.resource.begin(branch).await.unwrap();
        session.batch_execute(ADD).await.unwrap();
        if prepare {
            assert_eq!(bench.resource.prepare(branch).await.unwrap(), Vote::No);
        } else {
            assert_eq!(bench.resource.roll_back(branch).await.unwrap(), RollBackEnd::RolledBack);
        }
        session.batch_execute("COMMIT").await.unwrap_err();
        bench.resource.suspend(branch, session);
        assert!(bench.resource.resume(branch).is_none());
    }
    assert_eq!(bench.balance().await, "100");
}

#[tokio::test]
async fn a_session_is_resumed_with_its_work() {
    let Some(bench) = bench().await else { return };
    let branch = bench.branch(1);
    bench.work(branch, ADD).await;
    let session = bench.resource.resume(branch).unwrap();
    assert!(bench.resource.resume(branch).is_none());
    let row = session.query_one("SELECT balance FROM account WHERE id = $1", &[&1_i32]).await.unwrap();
    assert_eq!(row.get::<_, i32>(0), 105);
    bench.resource.suspend(branch, session);
    assert_eq!(bench.resource.roll_back(branch).await.unwrap(), RollBackEnd::RolledBack);
}

#[tokio::test]
async fn rows_of_finished_transactions_are_forgotten() {
    let Some(bench) = bench().await else { return };
    for sequence in 1..=6 {
        bench.work(bench.branch(sequence), "UPDATE account SET balance = 1 WHERE id = 2").await;
        assert_eq!(bench.resource.commit_one_phase(bench.branch(sequence)).await.unwrap(), Decision::Commit);
    }
    let stranger = ManagerId { log: u64::MAX, ..bench.manager };
    bench.resource.forget(stranger, RESOURCE, number(9), &BTreeSet::new()).await.unwrap();
    bench.resource.forget(bench.manager, ResourceId(8), number(9), &BTreeSet::new()).await.unwrap();
    assert_eq!(bench.rows().await, "6");
    let unfinished = [number(2), number(5), number(7)].into();
    bench.resource.forget(bench.manager, RESOURCE, number(5), &unfinished).await.unwrap();
    let left = "SELECT string_agg(sequence::text, ' ' ORDER BY sequence) FROM quorate.branches";
    assert_eq!(bench.text(left).await, "2 5 6");
    bench.resource.forget(bench.manager, RESOURCE, number(6), &BTreeSet::new()).await.unwrap();
    assert_eq!(bench.text(left).await, "6");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable_and_needed_by_no_constructor() {
    let mut config = Config::new();
    config.host_path("/nonexistent").user("postgres");
    let resource = Postgres::new(config, NoTls);
    let branch =
        BranchId { manager: ManagerId { cluster: ClusterId(1), log: 1 }, number: number(1), resource: RESOURCE };
    assert!(matches!(resource.begin(branch).await, Err(ResourceError::Unavailable(_))));
    assert!(matches!(resource.prepare(branch).await, Err(ResourceError::Unavailable(_))));
    assert!(matches!(resource.commit(branch).await, Err(ResourceError::Unavailable(_))));
    assert!(matches!(resource.commit_one_phase(branch).await, Err(ResourceError::Unavailable(_))));
    assert!(matches!(resource.roll_back(branch).await, Err(ResourceError::Unavailable(_))));
    assert!(matches!(resource.recover(branch.manager, RESOURCE).await, Err(ResourceError::Unavailable(_))));
    resource.set_up().await.unwrap_err();
}
