//! The whole road: begin, enlist, commit, restart, recover.

use quorate_protocol::ClusterId;
use quorate_two_phase_commit::manager::memory::Memory;
use quorate_two_phase_commit::manager::{
    AbortReason, BranchId, EnlistError, Manager, ManagerId, Outcome, Resource, ResourceId, ResourceManager, Sessions,
    Transaction,
};
use quorate_two_phase_commit::{Epoch, Knowledge, TransactionNumber, Vote};
use tempfile::TempDir;

type Bank = Resource<Memory<i64>>;

struct Setting {
    directory: TempDir,
    one: Bank,
    two: Bank,
}

impl Setting {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().expect("a directory"),
            one: Resource::new("one", Memory::new().with("ada", 100)),
            two: Resource::new("two", Memory::new().with("bob", 100)),
        }
    }

    async fn open(&self) -> Manager {
        let builder = Manager::builder("bank", self.directory.path()).resource(&self.one).resource(&self.two);
        builder.open().await.expect("it opens")
    }

    /// Moves money from the one to the other, without committing it.
    async fn pay(&self, transaction: &Transaction, amount: i64) {
        let from = transaction.enlist(&self.one).await.expect("a session");
        let to = transaction.enlist(&self.two).await.expect("a session");
        from.put("ada", from.get("ada").expect("free").unwrap_or(0) - amount).expect("free");
        to.put("bob", to.get("bob").expect("free").unwrap_or(0) + amount).expect("free");
    }

    fn balances(&self) -> (i64, i64) {
        (self.one.get().value("ada").unwrap_or(0), self.two.get().value("bob").unwrap_or(0))
    }

    fn assert_nothing_is_left(&self) {
        for bank in [&self.one, &self.two] {
            assert!(bank.get().locked().is_empty() && bank.get().prepared().is_empty(), "{bank:?}");
        }
    }
}

#[tokio::test]
async fn money_moves_and_the_outcome_is_known_after_a_restart() {
    let setting = Setting::new();
    let manager = setting.open().await;
    let transaction = manager.begin().await.expect("begun");
    let name = transaction.name();
    setting.pay(&transaction, 30).await;
    assert!(matches!(transaction.commit().await, Outcome::Committed));
    assert_eq!(setting.balances(), (70, 130));
    setting.assert_nothing_is_left();
    assert_eq!(manager.outcome(name).await, Ok(Knowledge::Committed));
    manager.close().await;

    let manager = setting.open().await;
    let text = name.to_string();
    assert_eq!(manager.outcome(text.parse().expect("a name")).await, Ok(Knowledge::Committed));
    let again = manager.begin().await.expect("begun");
    assert!(again.name().number.epoch > name.number.epoch);
}

#[tokio::test]
async fn what_is_rolled_back_or_dropped_leaves_nothing() {
    let setting = Setting::new();
    let manager = setting.open().await;
    let transaction = manager.begin().await.expect("begun");
    setting.pay(&transaction, 30).await;
    assert!(matches!(transaction.roll_back().await, Outcome::Aborted(AbortReason::Asked)));
    let transaction = manager.begin().await.expect("begun");
    let name = transaction.name();
    setting.pay(&transaction, 30).await;
    drop(transaction);
    // The next transaction may come before the resources have rolled back.
    let is_free = async || setting.one.get().locked().is_empty() && setting.two.get().locked().is_empty();
    super::until("the resources have rolled back", is_free).await;
    setting.assert_nothing_is_left();
    assert_eq!(setting.balances(), (100, 100));
    assert_eq!(manager.outcome(name).await, Ok(Knowledge::Aborted));
}

#[tokio::test]
async fn a_session_that_is_lent_is_not_lent_twice_and_comes_back() {
    let setting = Setting::new();
    let manager = setting.open().await;
    let transaction = manager.begin().await.expect("begun");
    let first = transaction.enlist(&setting.one).await.expect("a session");
    first.put("ada", 1).expect("free");
    assert!(matches!(transaction.enlist(&setting.one).await, Err(EnlistError::Lent)));
    drop(first);
    let second = transaction.enlist(&setting.one).await.expect("the same session");
    assert_eq!(second.get("ada"), Ok(Some(1)));
    drop(second);
    let stranger: Bank = Resource::new("three", Memory::new());
    assert!(matches!(transaction.enlist(&stranger).await, Err(EnlistError::Unknown(name)) if name == "three"));
    assert!(matches!(transaction.commit().await, Outcome::Committed));
    assert_eq!(setting.balances(), (1, 100));
}

#[tokio::test]
async fn branches_of_a_manager_that_was_killed_are_ended_by_its_next_start() {
    let setting = Setting::new();
    let manager = setting.open().await;
    let transaction = manager.begin().await.expect("begun");
    setting.pay(&transaction, 30).await;
    let branch = transaction.branch(&setting.one).expect("enlisted");
    manager.close().await;
    assert_eq!(branch.number, transaction.name().number);
    // As if the process had been killed when one branch was prepared, and nothing was decided.
    let one = setting.one.get();
    let session = one.begin(branch).await.expect("a session");
    session.put("ada", 0).expect("free");
    one.suspend(branch, session);
    assert_eq!(one.prepare(branch).await.expect("in memory"), Vote::Yes);

    let manager = setting.open().await;
    super::until("the branch is ended", async || setting.one.get().prepared().is_empty()).await;
    setting.assert_nothing_is_left();
    assert_eq!(setting.balances(), (100, 100));
    drop(transaction);
    drop(manager);
}

#[tokio::test]
async fn what_an_earlier_start_left_at_work_holds_nothing_up() {
    let memory: Memory<i64> = Memory::new();
    let manager = ManagerId { cluster: ClusterId(1), log: 1 };
    let branch = |epoch, sequence| {
        let number = TransactionNumber { epoch: Epoch(epoch), sequence };
        BranchId { manager, number, resource: ResourceId(1) }
    };
    let left = memory.begin(branch(1, 1)).await.expect("a session");
    left.put("ada", 1).expect("free");
    let beside = memory.begin(branch(1, 2)).await.expect("a session");
    assert!(beside.put("ada", 2).is_err(), "one of the same start is live");
    let next = memory.begin(branch(2, 1)).await.expect("a session");
    next.put("ada", 3).expect("nobody asks for the other any more");
    memory.suspend(branch(2, 1), next);
    assert_eq!(memory.prepare(branch(1, 1)).await.expect("it answers"), Vote::No);
    assert_eq!(memory.prepare(branch(2, 1)).await.expect("it answers"), Vote::Yes);
}
