//! What MariaDB does where a good guess is wrong. A test is named after the line of the list it is for.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder};
use quorate_two_phase_commit::manager::mysql::MysqlSetUpError;
use quorate_two_phase_commit::manager::{CommitEnd, ResourceError, ResourceManager, RollBackEnd, Sessions};
use quorate_two_phase_commit::{Decision, Vote};

use super::*;
use crate::manager::until;

/// The name of the branch as it stands in statements, with the format id of others.
fn xid(branch: BranchId) -> String {
    format!("'{}','{}/{}',1", branch.manager, branch.number, branch.resource)
}

impl Bench {
    async fn other(&self) -> Conn {
        Conn::new(self.opts.clone()).await.unwrap()
    }

    /// Prepares a branch of this name by hand, and leaves its session open.
    async fn prepare_by_hand(&self, branch: BranchId) -> Conn {
        let mut conn = self.other().await;
        let xid = xid(branch);
        let work = format!("XA START {xid}; INSERT INTO account VALUES (50, 0); XA END {xid}; XA PREPARE {xid}");
        conn.query_drop(work).await.unwrap();
        conn
    }

    async fn close(&mut self, conn: Conn) {
        let id = conn.id();
        conn.disconnect().await.unwrap();
        self.until(&format!("SELECT COUNT(*) = 0 FROM information_schema.processlist WHERE id = {id}")).await;
    }
}

#[tokio::test]
async fn fact_1_no_connection_with_a_prepared_branch_is_reset() {
    let Some(mut bench) = bench().await else { return };
    for sequence in 1..=3 {
        bench.work(bench.branch(sequence), ADD).await;
        assert_eq!(bench.resource.prepare(bench.branch(sequence)).await.unwrap(), Vote::Yes);
        assert_eq!(bench.resource.recover(bench.manager, RESOURCE).await.unwrap(), set([bench.branch(sequence)]));
        assert_eq!(bench.resource.commit(bench.branch(sequence)).await.unwrap(), CommitEnd::Committed);
        // It is committed, and its lock is gone.
        bench.client.query_drop("UPDATE account SET balance = balance + 1 WHERE id = 1").await.unwrap();
        assert_eq!(bench.balance().await, 100 + 6 * i64::try_from(sequence).unwrap());
    }
}

#[tokio::test]
async fn fact_1_a_session_that_was_reset_votes_no() {
    let Some(mut bench) = bench().await else { return };
    let mut session = bench.resource.begin(bench.branch(1)).await.unwrap();
    session.query_drop(ADD).await.unwrap();
    session.reset().await.unwrap();
    session.query_drop("SELECT * FROM account").await.unwrap();
    bench.resource.suspend(bench.branch(1), session);
    assert_eq!(bench.resource.prepare(bench.branch(1)).await.unwrap(), Vote::No);
    assert_eq!((bench.balance().await, bench.prepared().await, bench.rows().await), (100, 0, 0));
}

#[tokio::test]
async fn fact_1_a_transaction_that_was_ended_in_the_session_leaves_no_row() {
    let Some(mut bench) = bench().await else { return };
    let branches = [(1, ""), (3, "; BEGIN"), (5, "; SET autocommit = 0"), (7, "; INSERT INTO account VALUES (70, 0)")];
    for (sequence, then) in branches {
        for one_phase in [false, true] {
            let branch = bench.branch(sequence + u64::from(one_phase));
            let name = xid(branch).replace(",1", ",1366650673");
            bench.work(branch, &format!("XA END {name}; XA ROLLBACK {name}{then}")).await;
            if one_phase {
                assert_eq!(bench.resource.commit_one_phase(branch).await.unwrap(), Decision::Abort, "{then}");
            } else {
                assert_eq!(bench.resource.prepare(branch).await.unwrap(), Vote::No, "{then}");
            }
            bench.client.query_drop("DELETE FROM account WHERE id = 70").await.unwrap();
        }
    }
    assert_eq!((bench.prepared().await, bench.rows().await), (0, 0));
}

#[tokio::test]
async fn fact_2_a_branch_whose_session_is_still_open_is_waited_out() {
    let Some(mut bench) = bench().await else { return };
    let branch = bench.branch(1);
    bench.work(branch, ADD).await;
    assert_eq!(bench.resource.prepare(branch).await.unwrap(), Vote::Yes);
    // The earlier start of the manager still has its session, which is ended.
    assert_eq!(bench.restarted().commit(branch).await.unwrap(), CommitEnd::Committed);
    assert_eq!((bench.balance().await, bench.prepared().await), (105, 0));
}

#[tokio::test]
async fn fact_2_a_branch_that_is_listed_is_busy_and_never_finished() {
    let Some(mut bench) = bench().await else { return };
    let branch = bench.branch(1);
    bench.resource.set_up().await.unwrap();
    // Nobody else makes branches of our names. It stands for any session that cannot be found.
    let xid = xid(branch).replace(",1", ",1366650673");
    let mut conn = bench.other().await;
    let work = format!("XA START {xid}; INSERT INTO account VALUES (50, 0); XA END {xid}; XA PREPARE {xid}");
    conn.query_drop(work).await.unwrap();
    assert!(matches!(bench.resource.commit(branch).await, Err(ResourceError::Busy(_))));
    assert!(matches!(bench.resource.roll_back(branch).await, Err(ResourceError::Busy(_))));
    bench.close(conn).await;
    assert_eq!(bench.resource.commit(branch).await.unwrap(), CommitEnd::Committed);
    assert_eq!(bench.one::<u64>("SELECT COUNT(*) FROM account WHERE id = 50").await, 1);
}

#[tokio::test]
async fn fact_3_branches_are_recovered_where_autocommit_is_off() {
    let Some(server) = Server::start(System::MariaDb, &["autocommit=0"]) else { return };
    let mut bench = bench_on(&server).await;
    bench.client.query_drop("SET autocommit = 1").await.unwrap();
    for (sequence, commit) in [(1, true), (2, false)] {
        let branch = bench.branch(sequence);
        bench.work(branch, ADD).await;
        assert_eq!(bench.resource.prepare(branch).await.unwrap(), Vote::Yes);
        bench.resource = bench.restarted();
        assert_eq!(bench.resource.recover(bench.manager, RESOURCE).await.unwrap(), set([branch]));
        if commit {
            assert_eq!(bench.resource.commit(branch).await.unwrap(), CommitEnd::Committed);
        } else {
            assert_eq!(bench.resource.roll_back(branch).await.unwrap(), RollBackEnd::RolledBack);
        }
    }
    assert_eq!((bench.balance().await, bench.prepared().await), (105, 0));
}

#[tokio::test]
async fn fact_4_a_branch_with_another_format_id_is_not_ours() {
    let Some(mut bench) = bench().await else { return };
    let branch = bench.branch(1);
    let conn = bench.prepare_by_hand(branch).await;
    bench.close(conn).await;
    assert_eq!(bench.resource.recover(bench.manager, RESOURCE).await.unwrap(), set([]));
    assert_eq!(bench.prepared().await, 1);
    bench.client.query_drop(format!("XA ROLLBACK {}", xid(branch))).await.unwrap();
}

#[tokio::test]
async fn fact_5_a_deadlock_makes_the_vote_no_and_keeps_no_lock() {
    let Some(mut bench) = bench().await else { return };
    for (round, one_phase) in [(0, false), (1, true)] {
        let branches = [bench.branch(2 * round + 1), bench.branch(2 * round + 2)];
        let mut first = bench.resource.begin(branches[0]).await.unwrap();
        let mut second = bench.resource.begin(branches[1]).await.unwrap();
        first.query_drop("UPDATE account SET balance = 1 WHERE id = 1").await.unwrap();
        second.query_drop("UPDATE account SET balance = 2 WHERE id = 2").await.unwrap();
        let (one, two) = tokio::join!(
            first.query_drop("UPDATE account SET balance = 1 WHERE id = 2"),
            second.query_drop("UPDATE account SET balance = 2 WHERE id = 1")
        );
        assert!(one.is_ok() != two.is_ok(), "one of them is the victim");
        let (victim, other) = if one.is_ok() { (branches[1], branches[0]) } else { (branches[0], branches[1]) };
        bench.resource.suspend(branches[0], first);
        bench.resource.suspend(branches[1], second);
        if one_phase {
            assert_eq!(bench.resource.commit_one_phase(victim).await.unwrap(), Decision::Abort);
        } else {
            assert_eq!(bench.resource.prepare(victim).await.unwrap(), Vote::No);
        }
        assert_eq!(bench.resource.prepare(other).await.unwrap(), Vote::Yes);
        assert_eq!(bench.resource.roll_back(other).await.unwrap(), RollBackEnd::RolledBack);
        bench.client.query_drop("UPDATE account SET balance = 100").await.unwrap();
    }
    assert_eq!((bench.prepared().await, bench.rows().await), (0, 0));
}

#[tokio::test]
async fn fact_5_a_deadlocked_branch_is_rolled_back_in_its_session() {
    let Some(mut bench) = bench().await else { return };
    let (victim, branch) = (bench.branch(1), bench.branch(2));
    let mut session = bench.resource.begin(victim).await.unwrap();
    session.query_drop("UPDATE account SET balance = 1 WHERE id = 1").await.unwrap();
    let id = session.id();
    let mut other = bench.other().await;
    // The larger transaction survives.
    other.query_drop("BEGIN; INSERT INTO account SELECT seq, 0 FROM seq_100_to_200").await.unwrap();
    other.query_drop("UPDATE account SET balance = 2 WHERE id = 2").await.unwrap();
    let (failed, done) = tokio::join!(
        session.query_drop("UPDATE account SET balance = 1 WHERE id = 2"),
        other.query_drop("UPDATE account SET balance = 2 WHERE id = 1")
    );
    assert!(failed.is_err() && done.is_ok());
    other.query_drop("ROLLBACK").await.unwrap();
    bench.resource.suspend(victim, session);
    assert_eq!(bench.resource.roll_back(victim).await.unwrap(), RollBackEnd::RolledBack);
    bench.client.query_drop("UPDATE account SET balance = 100").await.unwrap();
    // Its connection is whole, and works for the next.
    let session = bench.resource.begin(branch).await.unwrap();
    assert_eq!(session.id(), id);
}

#[tokio::test]
async fn fact_6_a_time_out_in_xa_prepare_makes_the_vote_no_and_one_in_xa_commit_does_not_lose_the_branch() {
    let Some(server) = Server::start(System::MariaDb, &[]) else { return };
    let mut bench = bench_on(&server).await;
    let (gone, branch) = (bench.branch(1), bench.branch(2));
    let impatient = |id| format!("SET lock_wait_timeout = 1; UPDATE account SET balance = 7 WHERE id = {id}");
    bench.work(gone, &impatient(1)).await;
    bench.work(branch, &impatient(2)).await;
    assert_eq!(bench.resource.prepare(branch).await.unwrap(), Vote::Yes);
    let mut backup = bench.other().await;
    for stage in ["START", "FLUSH", "BLOCK_DDL", "BLOCK_COMMIT"] {
        backup.query_drop(format!("BACKUP STAGE {stage}")).await.unwrap();
    }
    assert_eq!(bench.resource.prepare(gone).await.unwrap(), Vote::No);
    assert_eq!(bench.prepared().await, 1);
    let waits = "SELECT COUNT(*) > 0 FROM information_schema.processlist \
                 WHERE info LIKE 'XA COMMIT%' AND state LIKE 'Waiting for backup lock' AND time_ms > 1500";
    let mut client = bench.other().await;
    let waiting = until("XA COMMIT waits for the backup", async || {
        client.query_first::<bool, _>(waits).await.unwrap() == Some(true)
    });
    dropped_when(bench.resource.commit(branch), waiting).await;
    backup.query_drop("BACKUP STAGE END").await.unwrap();
    // The dropped call may still be in the middle.
    until("the branch is not busy any more", async || match bench.resource.commit(branch).await {
        Err(ResourceError::Busy(_)) => false,
        end => end.unwrap() == CommitEnd::Committed,
    })
    .await;
    let balances = "SELECT GROUP_CONCAT(balance ORDER BY id SEPARATOR ' ') FROM account";
    assert_eq!((bench.one::<String>(balances).await, bench.prepared().await), ("100 7".into(), 0));
    bench.client.query_drop("UPDATE account SET balance = 100").await.unwrap();
}

#[tokio::test]
async fn fact_7_one_phase_never_follows_a_prepare() {
    let Some(mut bench) = bench().await else { return };
    let branch = bench.branch(1);
    bench.work(branch, ADD).await;
    assert_eq!(bench.resource.prepare(branch).await.unwrap(), Vote::Yes);
    let decision = bench.resource.commit_one_phase(branch).await.unwrap();
    assert_eq!((decision, bench.balance().await, bench.prepared().await), (Decision::Abort, 100, 0));
}

#[tokio::test]
async fn fact_8_a_branch_that_has_only_locked_rows_is_kept() {
    let Some(mut server) = Server::start(System::MariaDb, &[]) else { return };
    let mut bench = bench_on(&server).await;
    for (sequence, crash) in [(1, false), (2, true)] {
        let branch = bench.branch(sequence);
        bench.work(branch, "SELECT * FROM account WHERE id = 1 FOR UPDATE").await;
        assert_eq!(bench.resource.prepare(branch).await.unwrap(), Vote::Yes);
        if crash {
            server.crash();
            server.restart(&[]);
            bench.client = bench.other().await;
        } else {
            bench.kill_sessions().await;
        }
        assert_eq!(bench.prepared().await, 1);
        assert_eq!(bench.resource.commit(branch).await.unwrap(), CommitEnd::Committed);
    }
    assert_eq!((bench.prepared().await, bench.rows().await), (0, 2));
}

#[tokio::test]
async fn fact_9_each_branch_has_a_connection_until_it_is_finished() {
    let Some(mut bench) = bench().await else { return };
    for sequence in 1..=4 {
        bench.work(bench.branch(sequence), &format!("INSERT INTO account VALUES (1{sequence}, 0)")).await;
        assert_eq!(bench.resource.prepare(bench.branch(sequence)).await.unwrap(), Vote::Yes);
    }
    for sequence in [3, 1, 4, 2] {
        assert_eq!(bench.resource.commit(bench.branch(sequence)).await.unwrap(), CommitEnd::Committed);
        bench.work(bench.branch(sequence + 10), &format!("DELETE FROM account WHERE id = 1{sequence}")).await;
        assert_eq!(bench.resource.commit_one_phase(bench.branch(sequence + 10)).await.unwrap(), Decision::Commit);
    }
    assert_eq!(bench.one::<u64>("SELECT COUNT(*) FROM account").await, 2);
}

/// The role has the privileges that are documented, and no others.
async fn teller(bench: &mut Bench) -> OptsBuilder {
    let database: String = bench.one("SELECT DATABASE()").await;
    let grants = format!(
        "CREATE USER {database}@localhost; GRANT SELECT, INSERT, DELETE ON quorate_branches TO {database}@localhost; \
         GRANT ALL ON account TO {database}@localhost"
    );
    bench.client.query_drop(grants).await.unwrap();
    bench.opts.clone().user(Some(database))
}

#[tokio::test]
async fn fact_10_a_server_that_is_read_only_is_refused_and_keeps_its_branches() {
    let Some(server) = Server::start(System::MariaDb, &[]) else { return };
    let mut bench = bench_on(&server).await;
    bench.resource.set_up().await.unwrap();
    bench.resource = Mysql::new(teller(&mut bench).await);
    let branch = bench.branch(1);
    bench.work(branch, ADD).await;
    assert_eq!(bench.resource.prepare(branch).await.unwrap(), Vote::Yes);
    bench.client.query_drop("SET GLOBAL read_only = 1").await.unwrap();
    assert!(matches!(bench.restarted().set_up().await, Err(MysqlSetUpError::ReadOnly)));
    assert!(matches!(bench.resource.commit(branch).await, Err(ResourceError::Refused(_))));
    assert!(matches!(bench.resource.roll_back(branch).await, Err(ResourceError::Refused(_))));
    assert_eq!(bench.prepared().await, 1);
    bench.client.query_drop("SET GLOBAL read_only = 0").await.unwrap();
    assert_eq!(bench.resource.commit(branch).await.unwrap(), CommitEnd::Committed);
}

#[tokio::test]
async fn fact_11_branches_of_others_are_neither_listed_nor_touched() {
    let Some(mut bench) = bench().await else { return };
    bench.resource.set_up().await.unwrap();
    bench.resource = Mysql::new(teller(&mut bench).await);
    let binary = format!("X'ff00fe{:016x}',X'80',5", bench.manager.log);
    let mut conn = bench.other().await;
    let work = format!("XA START {binary}; INSERT INTO account VALUES (50, 0); XA END {binary}; XA PREPARE {binary}");
    conn.query_drop(work).await.unwrap();
    bench.close(conn).await;
    let (branch, strange) = (bench.branch(1), BranchId { resource: ResourceId(8), ..bench.branch(1) });
    bench.work(branch, ADD).await;
    bench.work(strange, "INSERT INTO account VALUES (60, 0)").await;
    assert_eq!(bench.resource.prepare(branch).await.unwrap(), Vote::Yes);
    assert_eq!(bench.resource.prepare(strange).await.unwrap(), Vote::Yes);
    // A role of few privileges recovers, ends sessions of its own, and forgets.
    let restarted = Mysql::new(bench.opts.clone().user(Some(bench.one::<String>("SELECT DATABASE()").await)));
    assert_eq!(restarted.recover(bench.manager, RESOURCE).await.unwrap(), set([branch]));
    assert_eq!(restarted.recover(bench.manager, ResourceId(8)).await.unwrap(), set([strange]));
    assert_eq!(restarted.commit(branch).await.unwrap(), CommitEnd::Committed);
    assert_eq!(restarted.roll_back(strange).await.unwrap(), RollBackEnd::RolledBack);
    restarted.forget(bench.manager, RESOURCE, number(2), &BTreeSet::new()).await.unwrap();
    assert_eq!(bench.rows().await, 0);
    bench.client.query_drop(format!("XA ROLLBACK {binary}")).await.unwrap();
}

#[tokio::test]
async fn fact_12_no_work_is_done_in_a_session_whose_branch_was_not_opened() {
    let Some(mut bench) = bench().await else { return };
    let branch = bench.branch(1);
    let conn = bench.prepare_by_hand(branch).await;
    assert!(bench.resource.begin(branch).await.is_err());
    assert!(bench.resource.resume(branch).is_none());
    bench.close(conn).await;
    bench.client.query_drop(format!("XA ROLLBACK {}", xid(branch))).await.unwrap();
    assert_eq!(bench.resource.roll_back(branch).await.unwrap(), RollBackEnd::RolledBack);
    assert_eq!(bench.balance().await, 100);
}
