//! What PostgreSQL does where a good guess is wrong. A test is named after the line of the list it is for; those of
//! lines 2, 3 and 8 show that a program of a user is kept from it.

use quorate_two_phase_commit::manager::postgres::PostgresSetUpError;
use quorate_two_phase_commit::manager::{CommitEnd, ResourceError, ResourceManager, RollBackEnd, Sessions};
use quorate_two_phase_commit::{Decision, Vote};
use tokio_postgres::error::SqlState;

use super::*;
use crate::manager::until;

/// The tag of `PREPARE TRANSACTION` and of `COMMIT` is then `ROLLBACK`, without an error.
#[tokio::test]
async fn fact_1_a_failed_transaction_is_neither_prepared_nor_committed() {
    let Some(bench) = bench().await else { return };
    bench.fail(bench.branch(1), &format!("{ADD}; SELECT 1 / 0")).await;
    assert_eq!(bench.resource.prepare(bench.branch(1)).await.unwrap(), Vote::No);
    bench.fail(bench.branch(2), &format!("{ADD}; SELECT 1 / 0")).await;
    assert_eq!(bench.resource.commit_one_phase(bench.branch(2)).await.unwrap(), Decision::Abort);
    assert_eq!(
        (bench.balance().await, bench.prepared().await, bench.rows().await),
        ("100".into(), "0".into(), "0".into())
    );
}

#[tokio::test]
async fn fact_1_a_transaction_that_was_ended_in_the_session_is_neither_prepared_nor_committed() {
    let Some(bench) = bench().await else { return };
    for (sequence, end) in (1..).step_by(2).zip(["ROLLBACK", "ROLLBACK; BEGIN", "COMMIT", "COMMIT; BEGIN"]) {
        bench.work(bench.branch(sequence), end).await;
        assert_eq!(bench.resource.prepare(bench.branch(sequence)).await.unwrap(), Vote::No, "{end}");
        bench.work(bench.branch(sequence + 1), end).await;
        assert_eq!(
            bench.resource.commit_one_phase(bench.branch(sequence + 1)).await.unwrap(),
            Decision::Abort,
            "{end}"
        );
    }
    assert_eq!((bench.prepared().await, bench.rows().await), ("0".into(), "0".into()));
}

/// `execute(&str)` takes two round trips, between which a PREPARE could overtake it. A session that is given back has
/// no statement under way, and one that was dropped never arrives later.
#[tokio::test]
async fn fact_2_a_dropped_statement_takes_no_effect_outside_the_branch() {
    let Some(bench) = bench().await else { return };
    for sequence in 1..=20 {
        let session = bench.resource.begin(bench.branch(sequence)).await.unwrap();
        session.batch_execute(ADD).await.unwrap();
        let mut statement = Box::pin(session.execute(ADD, &[]));
        let polls = sequence % 3;
        for _ in 0..polls {
            tokio::select! {
                biased;
                _ = &mut statement => break,
                () = tokio::task::yield_now() => {}
            }
        }
        drop(statement);
        bench.resource.suspend(bench.branch(sequence), session);
        assert_eq!(bench.resource.prepare(bench.branch(sequence)).await.unwrap(), Vote::Yes);
        assert_eq!(bench.resource.roll_back(bench.branch(sequence)).await.unwrap(), RollBackEnd::RolledBack);
        assert_eq!(bench.balance().await, "100");
    }
}

#[tokio::test]
async fn fact_3_a_connection_is_handed_on_without_the_branch_and_the_settings_of_its_last_user() {
    let Some(bench) = bench().await else { return };
    let left = "SET statement_timeout = '1ms'; SET search_path = pg_catalog; SET default_transaction_read_only = on; \
                SELECT pg_advisory_lock(5)";
    let settings = "SELECT concat(current_setting('statement_timeout'), ' ', current_setting('search_path'), ' ', \
                    pg_backend_pid(), ' ', (SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() \
                    AND locktype = 'advisory'), ' ', current_setting('transaction_read_only'))";
    let mut seen = Vec::new();
    for sequence in 1..=8 {
        let session = bench.resource.begin(bench.branch(sequence)).await.unwrap();
        seen.push(session.query_one(settings, &[]).await.unwrap().get::<_, String>(0));
        session.batch_execute(ADD).await.unwrap();
        if sequence == 1 {
            session.batch_execute("CREATE TYPE colour AS ENUM ('red')").await.unwrap();
        }
        // The client keeps prepared statements of its own for types such as this one.
        session.query_one("SELECT 'red'::colour", &[]).await.unwrap();
        session.batch_execute(left).await.unwrap();
        bench.resource.suspend(bench.branch(sequence), session);
        match sequence {
            1 | 5 => {
                assert_eq!(bench.resource.commit_one_phase(bench.branch(sequence)).await.unwrap(), Decision::Commit);
            }
            2 | 6 => {
                assert_eq!(bench.resource.roll_back(bench.branch(sequence)).await.unwrap(), RollBackEnd::RolledBack);
            }
            _ => {
                assert_eq!(bench.resource.prepare(bench.branch(sequence)).await.unwrap(), Vote::Yes);
                assert_eq!(bench.resource.commit(bench.branch(sequence)).await.unwrap(), CommitEnd::Committed);
            }
        }
    }
    assert!(seen.iter().all(|settings| settings == &seen[0]), "{seen:#?}");
    assert!(seen[0].ends_with(" 2 off"), "{seen:#?}");
    assert_eq!(bench.balance().await, "130");
}

#[tokio::test]
async fn fact_4_time_outs_bound_deferred_triggers() {
    let Some(bench) = bench().await else { return };
    let trigger = "CREATE FUNCTION nap() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(3); RETURN NULL; END'; \
                   CREATE CONSTRAINT TRIGGER nap AFTER UPDATE ON account DEFERRABLE INITIALLY DEFERRED \
                   FOR EACH ROW EXECUTE FUNCTION nap()";
    bench.client.batch_execute(trigger).await.unwrap();
    bench.work(bench.branch(1), &format!("SET LOCAL statement_timeout = '100ms'; {ADD}")).await;
    assert_eq!(bench.resource.prepare(bench.branch(1)).await.unwrap(), Vote::No);
    assert_eq!(bench.prepared().await, "0");
}

#[tokio::test]
async fn fact_4_deferred_constraints_are_checked_before_the_vote() {
    let Some(bench) = bench().await else { return };
    let constraint = "CREATE TABLE entry (account int REFERENCES account DEFERRABLE INITIALLY DEFERRED)";
    bench.client.batch_execute(constraint).await.unwrap();
    bench.work(bench.branch(1), "INSERT INTO entry VALUES (9)").await;
    assert_eq!(bench.resource.prepare(bench.branch(1)).await.unwrap(), Vote::No);
    bench.work(bench.branch(2), "INSERT INTO entry VALUES (9)").await;
    assert_eq!(bench.resource.commit_one_phase(bench.branch(2)).await.unwrap(), Decision::Abort);
}

/// A server that waits for a standby which is not there.
async fn waiting_for_a_standby(bench: &Bench, wait: bool) {
    let client = &bench.client;
    client.batch_execute("SET synchronous_commit = local").await.unwrap();
    let names = if wait { "'missing'" } else { "''" };
    client.batch_execute(&format!("ALTER SYSTEM SET synchronous_standby_names = {names}")).await.unwrap();
    client.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    // The server takes the setting up in its own time.
    if !wait {
        return;
    }
    let probe_waits = waits_in("probe");
    until("the setting is in force", async || {
        let probe = connect(&bench.config).await;
        tokio::select! {
            done = probe.batch_execute("SELECT pg_logical_emit_message(true, 'probe', '')") => {
                done.unwrap();
                false
            }
            () = bench.until(&probe_waits) => true,
        }
    })
    .await;
}

fn waits_in(statement: &str) -> String {
    format!("SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query LIKE '%{statement}%'")
}

#[tokio::test]
async fn fact_5_a_branch_whose_backend_is_still_in_prepare_or_commit_is_busy_and_ends_as_decided() {
    let Some(server) = Server::start(System::Postgres, &[]) else { return };
    let bench = bench_on(&server).await;
    bench.resource.set_up().await.unwrap();
    let branch = bench.branch(1);
    bench.work(branch, ADD).await;
    waiting_for_a_standby(&bench, true).await;
    let (in_prepare, in_commit) = (waits_in("PREPARE TRANSACTION"), waits_in("COMMIT PREPARED"));
    dropped_when(bench.resource.prepare(branch), bench.until(&in_prepare)).await;
    let other = connect(&bench.config).await;
    let gid = bench.text("SELECT gid FROM pg_prepared_xacts").await;
    let error = other.batch_execute(&format!("COMMIT PREPARED '{gid}'")).await.unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE));

    assert_eq!(bench.resource.prepare(branch).await.unwrap(), Vote::Yes);
    dropped_when(bench.resource.commit(branch), bench.until(&in_commit)).await;
    assert!(matches!(bench.resource.commit(branch).await, Err(ResourceError::Busy(_))));
    assert!(matches!(bench.resource.roll_back(branch).await, Err(ResourceError::Busy(_))));
    waiting_for_a_standby(&bench, false).await;
    bench.until(&format!("SELECT NOT ({in_commit})")).await;
    assert_eq!(bench.resource.commit(branch).await.unwrap(), CommitEnd::Committed);
    assert_eq!(bench.balance().await, "105");
}

#[tokio::test]
async fn fact_6_no_prepare_arrives_after_the_roll_back() {
    let Some(bench) = bench().await else { return };
    bench.resource.set_up().await.unwrap();
    for restarted in [false, true] {
        let branch = bench.branch(u64::from(restarted) + 1);
        bench.work(branch, ADD).await;
        bench.client.batch_execute("BEGIN; LOCK TABLE quorate.branches IN SHARE MODE").await.unwrap();
        let waits = "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted \
                     AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        dropped_when(bench.resource.prepare(branch), bench.until(waits)).await;
        let resource = if restarted { &bench.restarted() } else { &bench.resource };
        assert_eq!(resource.roll_back(branch).await.unwrap(), RollBackEnd::RolledBack);
        bench.until(&format!("SELECT NOT ({waits})")).await;
        bench.client.batch_execute("COMMIT").await.unwrap();
        // Whoever waited for the table would go on now, and be done before the next has it.
        bench.client.batch_execute("BEGIN; LOCK TABLE quorate.branches; COMMIT").await.unwrap();
        assert_eq!((bench.prepared().await, bench.rows().await), ("0".into(), "0".into()));
    }
}

#[tokio::test]
async fn fact_7_who_conflicts_under_serializable_votes_no_until_the_other_is_finished() {
    let Some(bench) = bench().await else { return };
    let skew = |id| {
        format!(
            "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; SELECT sum(balance) FROM account; \
             UPDATE account SET balance = balance - 150 WHERE id = {id}"
        )
    };
    let (first, second) = (bench.branch(1), bench.branch(2));
    bench.work(first, &skew(1)).await;
    bench.work(second, &skew(2)).await;
    assert_eq!(bench.resource.prepare(first).await.unwrap(), Vote::Yes);
    assert_eq!(bench.resource.prepare(second).await.unwrap(), Vote::No);
    assert_eq!(bench.resource.commit(first).await.unwrap(), CommitEnd::Committed);
    bench.work(bench.branch(3), &skew(2)).await;
    assert_eq!(bench.resource.prepare(bench.branch(3)).await.unwrap(), Vote::Yes);
    assert_eq!(bench.resource.commit(bench.branch(3)).await.unwrap(), CommitEnd::Committed);
}

/// The role has the privileges that are documented, and no others.
#[tokio::test]
async fn fact_8_a_branch_belongs_to_the_role_that_finishes_it() {
    let Some(mut bench) = bench().await else { return };
    bench.resource.set_up().await.unwrap();
    let log = bench.manager.log;
    let roles = format!(
        "CREATE ROLE owner_{log}; CREATE ROLE teller_{log} LOGIN IN ROLE owner_{log}; \
         GRANT ALL ON account TO owner_{log}; GRANT USAGE ON SCHEMA quorate TO teller_{log}; \
         GRANT SELECT, INSERT, DELETE ON quorate.branches TO teller_{log}"
    );
    bench.client.batch_execute(&roles).await.unwrap();
    bench.config.user(format!("teller_{log}"));
    bench.resource = bench.restarted();
    let branch = bench.branch(1);
    bench.work(branch, &format!("SET LOCAL ROLE owner_{log}; {ADD}")).await;
    assert_eq!(bench.resource.prepare(branch).await.unwrap(), Vote::Yes);
    assert_eq!(
        bench.text("SELECT owner::text FROM pg_prepared_xacts WHERE database = current_database()").await,
        format!("teller_{log}")
    );
    let restarted = bench.restarted();
    assert_eq!(restarted.recover(bench.manager, RESOURCE).await.unwrap(), set([branch]));
    assert_eq!(restarted.commit(branch).await.unwrap(), CommitEnd::Committed);
    restarted.forget(bench.manager, RESOURCE, number(2), &BTreeSet::new()).await.unwrap();
    assert_eq!((bench.balance().await, bench.rows().await), ("105".into(), "0".into()));
    // Sessions of its own role can be ended.
    bench.work(bench.branch(2), &format!("SET ROLE owner_{log}; {ADD}")).await;
    assert_eq!(restarted.roll_back(bench.branch(2)).await.unwrap(), RollBackEnd::RolledBack);
    bench.client.batch_execute("UPDATE account SET balance = 100").await.unwrap();
}

#[tokio::test]
async fn fact_9_branches_of_others_are_neither_listed_nor_touched() {
    let Some(bench) = bench().await else { return };
    let others = [
        BranchId { manager: ManagerId { log: u64::MAX, ..bench.manager }, ..bench.branch(1) },
        BranchId {
            resource: ResourceId(8),
            manager: ManagerId { log: bench.manager.log, cluster: ClusterId(9) },
            ..bench.branch(1)
        },
    ];
    let mut gids = vec![format!("pg_gid_16394_{}", bench.manager.log), "x".repeat(199)];
    gids.extend(others.map(|branch| format!("quorate-1/{branch}")));
    for (number, gid) in gids.iter().enumerate() {
        let prepare = format!("BEGIN; CREATE TABLE t_{number} (); PREPARE TRANSACTION '{gid}'");
        bench.client.batch_execute(&prepare).await.unwrap();
    }
    bench.work(bench.branch(1), ADD).await;
    assert_eq!(bench.resource.prepare(bench.branch(1)).await.unwrap(), Vote::Yes);
    assert_eq!(bench.resource.recover(bench.manager, RESOURCE).await.unwrap(), set([bench.branch(1)]));
    assert_eq!(bench.resource.roll_back(bench.branch(1)).await.unwrap(), RollBackEnd::RolledBack);
    assert_eq!(bench.prepared().await, gids.len().to_string());
    for gid in &gids {
        bench.client.batch_execute(&format!("ROLLBACK PREPARED '{gid}'")).await.unwrap();
    }
}

#[tokio::test]
async fn fact_10_two_databases_of_one_server_are_two_participants() {
    let (Some(bench), Some(other)) = (bench().await, bench().await) else { return };
    let (here, there) = (bench.branch(1), BranchId { resource: ResourceId(8), ..bench.branch(1) });
    bench.work(here, ADD).await;
    other.work(there, ADD).await;
    assert_eq!(bench.resource.prepare(here).await.unwrap(), Vote::Yes);
    assert_eq!(other.resource.prepare(there).await.unwrap(), Vote::Yes);
    assert_eq!(other.resource.recover(bench.manager, RESOURCE).await.unwrap(), set([]));
    assert_eq!(other.resource.recover(bench.manager, ResourceId(8)).await.unwrap(), set([there]));
    assert_eq!(bench.resource.commit(here).await.unwrap(), CommitEnd::Committed);
    assert_eq!(other.resource.commit(there).await.unwrap(), CommitEnd::Committed);
}

#[tokio::test]
async fn fact_10_a_branch_whose_prepare_failed_is_not_taken_for_one_of_its_name() {
    let Some(bench) = bench().await else { return };
    let branch = bench.branch(1);
    bench
        .client
        .batch_execute(&format!("BEGIN; CREATE TABLE t (); PREPARE TRANSACTION 'quorate-1/{branch}'"))
        .await
        .unwrap();
    bench.work(branch, ADD).await;
    assert_eq!(bench.resource.prepare(branch).await.unwrap(), Vote::No);
    assert_eq!(bench.resource.roll_back(branch).await.unwrap(), RollBackEnd::RolledBack);
    assert_eq!(bench.prepared().await, "1");
    bench.client.batch_execute(&format!("ROLLBACK PREPARED 'quorate-1/{branch}'")).await.unwrap();
}

#[tokio::test]
async fn fact_11_a_branch_that_is_not_there_was_committed_only_if_its_row_is_there() {
    let Some(bench) = bench().await else { return };
    for sequence in 1..=3 {
        bench
            .work(
                bench.branch(sequence),
                "INSERT INTO account VALUES (default_id(), 0)"
                    .replace("default_id()", &(sequence + 10).to_string())
                    .as_str(),
            )
            .await;
        assert_eq!(bench.resource.prepare(bench.branch(sequence)).await.unwrap(), Vote::Yes);
    }
    let gid = |sequence| format!("quorate-1/{}", bench.branch(sequence));
    let restarted = bench.restarted();
    // An operator ends them, and the manager is not told.
    bench.client.batch_execute(&format!("COMMIT PREPARED '{}'", gid(1))).await.unwrap();
    bench.client.batch_execute(&format!("ROLLBACK PREPARED '{}'", gid(2))).await.unwrap();
    for resource in [&bench.resource, &restarted] {
        assert_eq!(resource.commit(bench.branch(1)).await.unwrap(), CommitEnd::Committed);
        assert_eq!(resource.roll_back(bench.branch(1)).await.unwrap(), RollBackEnd::Committed);
    }
    assert_eq!(bench.resource.commit(bench.branch(2)).await.unwrap(), CommitEnd::RolledBack);
    assert_eq!(restarted.commit(bench.branch(2)).await.unwrap(), CommitEnd::Lost);
    assert_eq!(restarted.recover(bench.manager, RESOURCE).await.unwrap(), set([bench.branch(3)]));
    bench.client.batch_execute(&format!("ROLLBACK PREPARED '{}'", gid(3))).await.unwrap();
    assert_eq!(restarted.commit(bench.branch(3)).await.unwrap(), CommitEnd::RolledBack);
}

#[tokio::test]
async fn fact_12_a_branch_is_found_under_its_name() {
    let Some(bench) = bench().await else { return };
    bench.work(bench.branch(1), ADD).await;
    assert_eq!(bench.resource.prepare(bench.branch(1)).await.unwrap(), Vote::Yes);
    let gid = bench.text("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()").await;
    assert_eq!(gid, format!("quorate-1/{}", bench.branch(1)));
    assert_eq!(bench.resource.roll_back(bench.branch(1)).await.unwrap(), RollBackEnd::RolledBack);
}

#[tokio::test]
async fn fact_13_a_server_that_prepares_nothing_is_refused_and_one_without_room_votes_no() {
    let Some(mut server) = Server::start(System::Postgres, &["max_prepared_transactions=0"]) else { return };
    let bench = bench_on(&server).await;
    assert!(matches!(bench.resource.set_up().await, Err(PostgresSetUpError::PreparedTransactionsDisabled)));
    assert!(matches!(bench.resource.begin(bench.branch(1)).await, Err(ResourceError::Refused(_))));
    server.crash();
    server.restart(&["max_prepared_transactions=1"]);
    let bench = bench_on(&server).await;
    for (sequence, vote) in [(1, Vote::Yes), (2, Vote::No)] {
        bench.work(bench.branch(sequence), &format!("INSERT INTO account VALUES (1{sequence}, 0)")).await;
        assert_eq!(bench.resource.prepare(bench.branch(sequence)).await.unwrap(), vote);
    }
}

#[tokio::test]
async fn fact_14_locks_outlive_a_crash_until_the_branch_is_finished() {
    let Some(mut server) = Server::start(System::Postgres, &[]) else { return };
    let mut bench = bench_on(&server).await;
    let branch = bench.branch(1);
    bench.work(branch, &format!("{ADD}; SELECT * FROM account WHERE id = 2 FOR SHARE")).await;
    assert_eq!(bench.resource.prepare(branch).await.unwrap(), Vote::Yes);
    server.crash();
    server.restart(&[]);
    bench.client = connect(&bench.config).await;
    assert_eq!(
        bench.text("SELECT count(*)::text FROM pg_locks WHERE pid IS NULL AND locktype = 'advisory'").await,
        "2"
    );
    for id in [1, 2] {
        let touch = format!("SET lock_timeout = '50ms'; UPDATE account SET balance = 0 WHERE id = {id}");
        let error = bench.client.batch_execute(&touch).await.unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::LOCK_NOT_AVAILABLE));
    }
    assert_eq!(bench.resource.commit(branch).await.unwrap(), CommitEnd::Committed);
    bench.client.batch_execute("UPDATE account SET balance = 0").await.unwrap();
    assert_eq!(bench.text("SELECT count(*)::text FROM pg_locks WHERE pid IS NULL").await, "0");
}
