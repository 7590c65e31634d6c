//! The session, the server and the manager end between each two of: work, XA PREPARE, XA COMMIT.

use mysql_async::prelude::Queryable;
use quorate_two_phase_commit::manager::{CommitEnd, ResourceManager, RollBackEnd};
use quorate_two_phase_commit::{Decision, Vote};

use super::*;

#[derive(Clone, Copy, Debug)]
enum Fault {
    /// The server ends the sessions.
    Sessions,
    /// The server is killed and started again.
    Server,
    /// The manager is started again, and knows nothing.
    Manager,
    /// The manager is started again while the sessions of its earlier start live on.
    ManagerFar,
}

const FAULTS: [Fault; 4] = [Fault::Sessions, Fault::Server, Fault::Manager, Fault::ManagerFar];

impl Bench {
    async fn strike(&mut self, fault: Fault, server: &mut Server) {
        match fault {
            Fault::Sessions => self.kill_sessions().await,
            Fault::Server => {
                server.crash();
                server.restart(&[]);
                self.client = Conn::new(self.opts.clone()).await.unwrap();
            }
            Fault::Manager => self.resource = self.restarted(),
            Fault::ManagerFar => {
                let restarted = self.restarted();
                std::mem::forget(std::mem::replace(&mut self.resource, restarted));
            }
        }
    }
}

#[tokio::test]
async fn a_fault_before_prepare_makes_the_vote_no() {
    let Some(mut server) = Server::start(System::MariaDb, &[]) else { return };
    let mut bench = bench_on(&server).await;
    for (sequence, fault) in (1..).zip(FAULTS) {
        let branch = bench.branch(sequence);
        bench.work(branch, ADD).await;
        bench.strike(fault, &mut server).await;
        assert_eq!(bench.resource.prepare(branch).await.unwrap(), Vote::No, "{fault:?}");
        assert_eq!(bench.resource.roll_back(branch).await.unwrap(), RollBackEnd::RolledBack, "{fault:?}");
        assert_eq!(bench.resource.commit_one_phase(branch).await.unwrap(), Decision::Abort, "{fault:?}");
        // Its lock is gone.
        bench.client.query_drop("UPDATE account SET balance = 100").await.unwrap();
    }
    assert_eq!((bench.prepared().await, bench.rows().await), (0, 0));
}

#[tokio::test]
async fn a_fault_after_prepare_keeps_the_branch_for_either_decision() {
    let Some(mut server) = Server::start(System::MariaDb, &[]) else { return };
    let mut bench = bench_on(&server).await;
    for (sequence, fault) in (1..).step_by(2).zip(FAULTS) {
        let (branch, other) = (bench.branch(sequence), bench.branch(sequence + 1));
        bench.work(branch, "UPDATE account SET balance = 1 WHERE id = 1").await;
        bench.work(other, "UPDATE account SET balance = 1 WHERE id = 2").await;
        assert_eq!(bench.resource.prepare(branch).await.unwrap(), Vote::Yes);
        assert_eq!(bench.resource.prepare(other).await.unwrap(), Vote::Yes);
        bench.strike(fault, &mut server).await;
        assert_eq!(bench.resource.recover(bench.manager, RESOURCE).await.unwrap(), set([branch, other]), "{fault:?}");
        assert_eq!(bench.resource.prepare(branch).await.unwrap(), Vote::Yes, "{fault:?}");
        assert_eq!(bench.resource.commit(branch).await.unwrap(), CommitEnd::Committed, "{fault:?}");
        assert_eq!(bench.resource.roll_back(other).await.unwrap(), RollBackEnd::RolledBack, "{fault:?}");
        let balances = bench.one::<String>("SELECT GROUP_CONCAT(balance ORDER BY id SEPARATOR ' ') FROM account").await;
        assert_eq!(balances, "1 100", "{fault:?}");
        assert_eq!(bench.prepared().await, 0, "{fault:?}");
        bench.client.query_drop("UPDATE account SET balance = 100").await.unwrap();
    }
}

#[tokio::test]
async fn a_fault_after_the_commit_changes_nothing_of_the_answer() {
    let Some(mut server) = Server::start(System::MariaDb, &[]) else { return };
    let mut bench = bench_on(&server).await;
    for (sequence, fault) in (1..).step_by(2).zip(FAULTS) {
        let (branch, only) = (bench.branch(sequence), bench.branch(sequence + 1));
        bench.work(branch, ADD).await;
        assert_eq!(bench.resource.prepare(branch).await.unwrap(), Vote::Yes);
        assert_eq!(bench.resource.commit(branch).await.unwrap(), CommitEnd::Committed);
        bench.work(only, "UPDATE account SET balance = 1 WHERE id = 2").await;
        assert_eq!(bench.resource.commit_one_phase(only).await.unwrap(), Decision::Commit);
        bench.strike(fault, &mut server).await;
        assert_eq!(bench.resource.commit(branch).await.unwrap(), CommitEnd::Committed, "{fault:?}");
        assert_eq!(bench.resource.commit_one_phase(only).await.unwrap(), Decision::Commit, "{fault:?}");
        // Nobody may roll it back; if the transaction was aborted elsewhere, that must be told.
        assert_eq!(bench.restarted().roll_back(branch).await.unwrap(), RollBackEnd::Committed, "{fault:?}");
    }
    assert_eq!(bench.balance().await, 120);
}
