//! The shipped manager, with threads and a log on disk, and resources that do wrong.

use std::collections::BTreeSet;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use quorate_two_phase_commit::manager::core::ManagerRequest;
use quorate_two_phase_commit::manager::memory::{Memory, MemorySession};
use quorate_two_phase_commit::manager::{
    AbortReason, BeginError, BranchId, CommitEnd, EnlistError, Manager, ManagerId, ManagerSettings, OpenError, Outcome,
    OutcomeError, Resource, ResourceError, ResourceId, ResourceManager, RollBackEnd, Sessions, Transaction,
    TransactionName,
};
use quorate_two_phase_commit::{Decision, Knowledge, TransactionNumber, Vote};
use tempfile::TempDir;
use tokio::sync::Notify;

/// A resource whose calls can be made to wait.
#[derive(Clone, Default)]
pub(super) struct Gate {
    memory: Memory<i64>,
    state: Arc<State>,
}

#[derive(Default)]
pub(super) struct State {
    holds_prepare: AtomicBool,
    holds_begin: AtomicBool,
    pub(super) holds_commit: AtomicBool,
    panics_in_prepare: AtomicBool,
    pub(super) loses: AtomicBool,
    /// Calls to prepare so far.
    prepares: AtomicUsize,
    /// Calls for branches that are under way, and the most at a time.
    under_way: AtomicUsize,
    most: AtomicUsize,
    entered: Notify,
    opened: Notify,
}

/// Counts a call that is under way.
struct Call<'a>(&'a State);

impl<'a> Call<'a> {
    fn new(state: &'a State) -> Self {
        let now = state.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        state.most.fetch_max(now, Ordering::SeqCst);
        Self(state)
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Gate {
    async fn pass(&self, holds: impl Fn(&State) -> &AtomicBool) {
        self.state.entered.notify_one();
        while holds(&self.state).load(Ordering::SeqCst) {
            self.state.opened.notified().await;
        }
    }
}

#[async_trait]
impl ResourceManager for Gate {
    async fn prepare(&self, branch: BranchId) -> Result<Vote, ResourceError> {
        let _call = Call::new(&self.state);
        self.state.prepares.fetch_add(1, Ordering::SeqCst);
        self.pass(|state| &state.holds_prepare).await;
        assert!(!self.state.panics_in_prepare.load(Ordering::SeqCst), "a panic that the test asked for");
        self.memory.prepare(branch).await
    }

    async fn commit(&self, branch: BranchId) -> Result<CommitEnd, ResourceError> {
        let _call = Call::new(&self.state);
        self.pass(|state| &state.holds_commit).await;
        if self.state.loses.load(Ordering::SeqCst) {
            self.memory.roll_back(branch).await?;
        }
        self.memory.commit(branch).await
    }

    async fn commit_one_phase(&self, branch: BranchId) -> Result<Decision, ResourceError> {
        let _call = Call::new(&self.state);
        self.pass(|state| &state.holds_commit).await;
        self.memory.commit_one_phase(branch).await
    }

    async fn roll_back(&self, branch: BranchId) -> Result<RollBackEnd, ResourceError> {
        let _call = Call::new(&self.state);
        self.memory.roll_back(branch).await
    }

    async fn recover(&self, manager: ManagerId, resource: ResourceId) -> Result<BTreeSet<BranchId>, ResourceError> {
        self.memory.recover(manager, resource).await
    }

    async fn forget(
        &self,
        manager: ManagerId,
        resource: ResourceId,
        below: TransactionNumber,
        unfinished: &BTreeSet<TransactionNumber>,
    ) -> Result<(), ResourceError> {
        self.memory.forget(manager, resource, below, unfinished).await
    }
}

#[async_trait]
impl Sessions for Gate {
    type Session = MemorySession<i64>;

    async fn begin(&self, branch: BranchId) -> Result<MemorySession<i64>, ResourceError> {
        let _call = Call::new(&self.state);
        self.pass(|state| &state.holds_begin).await;
        self.memory.begin(branch).await
    }

    fn resume(&self, branch: BranchId) -> Option<MemorySession<i64>> {
        self.memory.resume(branch)
    }

    fn suspend(&self, branch: BranchId, session: MemorySession<i64>) {
        self.memory.suspend(branch, session);
    }
}

pub(super) struct Setting {
    pub(super) directory: TempDir,
    pub(super) plain: Resource<Memory<i64>>,
    gate: Resource<Gate>,
    settings: ManagerSettings,
}

impl Setting {
    pub(super) fn new() -> Self {
        let mut settings = ManagerSettings::default();
        settings.protocol.retry_min = Duration::from_millis(1);
        settings.protocol.retry_max = Duration::from_millis(10);
        settings.protocol.report_after = Duration::from_millis(20);
        settings.protocol.request_timeout = Duration::from_mins(10);
        settings.protocol.vote_timeout = Duration::from_mins(10);
        Self {
            directory: tempfile::tempdir().expect("a directory"),
            plain: Resource::new("plain", Memory::new()),
            gate: Resource::new("gate", Gate::default()),
            settings,
        }
    }

    pub(super) async fn open(&self) -> Manager {
        self.try_open().await.expect("it opens")
    }

    async fn try_open(&self) -> Result<Manager, OpenError> {
        let builder = Manager::builder("shipped", self.directory.path()).resource(&self.plain).resource(&self.gate);
        builder.settings(self.settings.clone()).open().await
    }

    pub(super) fn set(&self, flag: impl Fn(&State) -> &AtomicBool, value: bool) {
        let state = &self.gate.get().state;
        flag(state).store(value, Ordering::SeqCst);
        state.opened.notify_waiters();
        state.opened.notify_one();
    }

    fn is_clean(&self) -> bool {
        let (plain, gate) = (self.plain.get(), &self.gate.get().memory);
        [plain, gate].iter().all(|memory| memory.locked().is_empty() && memory.prepared().is_empty())
    }

    async fn clean(&self) {
        until(|| self.is_clean()).await;
    }
}

async fn until(mut is_so: impl FnMut() -> bool) {
    super::until("the condition of this test", async || is_so()).await;
}

/// A transaction that has written to both resources.
pub(super) async fn begun(setting: &Setting, manager: &Manager) -> Transaction {
    let transaction = manager.begin_within(LONG).await.expect("begun");
    transaction.enlist(&setting.plain).await.expect("a session").put("a", 1).expect("free");
    transaction.enlist(&setting.gate).await.expect("a session").put("b", 1).expect("free");
    transaction
}

const LONG: Duration = Duration::from_mins(10);

#[tokio::test]
async fn a_prepare_that_hangs_ends_with_the_time_for_votes_and_is_rolled_back() {
    let mut setting = Setting::new();
    setting.settings.protocol.vote_timeout = Duration::from_millis(50);
    let manager = setting.open().await;
    setting.set(|state| &state.holds_prepare, true);
    let transaction = begun(&setting, &manager).await;
    assert!(matches!(transaction.commit().await, Outcome::Aborted(AbortReason::Late)));
    setting.clean().await;
    assert_eq!(setting.gate.get().state.most.load(Ordering::SeqCst), 1, "calls for a branch are never side by side");
    assert_eq!((setting.plain.get().value("a"), setting.gate.get().memory.value("b")), (None, None));
}

#[tokio::test]
async fn what_is_stuck_is_shown_and_stops_nothing_else() {
    let setting = Setting::new();
    let manager = setting.open().await;
    setting.set(|state| &state.holds_prepare, true);
    let stuck = begun(&setting, &manager).await;
    let name = stuck.name();
    let waits = tokio::spawn(stuck.commit());
    super::until("it is shown", async || {
        let status = manager.status().await.expect("it runs");
        let is_it = |request: &ManagerRequest| matches!(request, ManagerRequest::Prepare(branch) if branch.number == name.number);
        status.stuck.iter().any(|stuck| is_it(&stuck.request))
    })
    .await;
    for value in 0..20 {
        let transaction = manager.begin().await.expect("begun");
        transaction.enlist(&setting.plain).await.expect("a session").put("other", value).expect("free");
        assert!(matches!(transaction.commit().await, Outcome::Committed));
    }
    setting.set(|state| &state.holds_prepare, false);
    assert!(matches!(waits.await.expect("no panic"), Outcome::Committed));
}

/// The manager asks for a vote that is slow to come. The call that is under way answers: no second one ends it.
#[tokio::test]
async fn a_slow_vote_is_the_answer_to_the_request() {
    let setting = Setting::new();
    let manager = setting.open().await;
    setting.set(|state| &state.holds_prepare, true);
    let slow = begun(&setting, &manager).await;
    let waits = tokio::spawn(slow.commit());
    super::until("the manager asks for it", async || {
        let status = manager.status().await.expect("it runs");
        status.stuck.iter().any(|stuck| matches!(stuck.request, ManagerRequest::Prepare(_)))
    })
    .await;
    setting.set(|state| &state.holds_prepare, false);
    assert!(matches!(waits.await.expect("no panic"), Outcome::Committed));
    assert_eq!(setting.gate.get().state.prepares.load(Ordering::SeqCst), 1);
    setting.clean().await;
}

/// What need not be told to the core at once is told soon, also if nothing else is.
#[tokio::test]
async fn a_transaction_that_nobody_goes_on_with_ends_at_its_deadline() {
    let setting = Setting::new();
    let manager = setting.open().await;
    // After the first, transactions are begun in advance.
    let first = manager.begin().await.expect("begun");
    super::until("the manager has begun others", async || {
        let begun = manager.begin_within(LONG).await.expect("begun").name().number.sequence;
        begun > first.name().number.sequence + 1
    })
    .await;
    let left = manager.begin_within(Duration::from_millis(20)).await.expect("begun");
    left.enlist(&setting.plain).await.expect("a session").put("a", 1).expect("free");
    setting.clean().await;
    assert!(matches!(left.commit().await, Outcome::Aborted(AbortReason::Deadline)));
    assert_eq!(setting.plain.get().value("a"), None);
}

#[tokio::test]
async fn a_commit_is_told_when_every_resource_has_answered() {
    let setting = Setting::new();
    let manager = setting.open().await;
    setting.set(|state| &state.holds_commit, true);
    let transaction = begun(&setting, &manager).await;
    let name = transaction.name();
    let waits = tokio::spawn(transaction.commit());
    super::until("one resource has committed, and the manager has heard it", async || {
        let status = manager.status().await.expect("it runs");
        status.in_doubt.get(&name.number).is_some_and(|doubt| doubt.resources.len() == 1)
    })
    .await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!waits.is_finished(), "the other has not");
    setting.set(|state| &state.holds_commit, false);
    assert!(matches!(waits.await.expect("no panic"), Outcome::Committed));
    assert_eq!(setting.gate.get().memory.value("b"), Some(1), "the caller sees its work");
}

#[tokio::test]
async fn a_panic_of_a_resource_is_a_failure_of_its_call() {
    let setting = Setting::new();
    let manager = setting.open().await;
    setting.set(|state| &state.panics_in_prepare, true);
    let transaction = begun(&setting, &manager).await;
    let waits = tokio::spawn(transaction.commit());
    super::until("the panic is shown", async || {
        let status = manager.status().await.expect("it runs");
        status.stuck.iter().any(|stuck| stuck.why.as_deref() == Some("the call was dropped, or panicked"))
    })
    .await;
    setting.set(|state| &state.panics_in_prepare, false);
    assert!(matches!(waits.await.expect("no panic"), Outcome::Committed));
    setting.clean().await;
}

#[tokio::test]
async fn a_commit_whose_future_is_dropped_goes_on() {
    let setting = Setting::new();
    let manager = setting.open().await;
    setting.set(|state| &state.holds_prepare, true);
    let transaction = begun(&setting, &manager).await;
    let name = transaction.name();
    {
        let mut commit = Box::pin(transaction.commit());
        tokio::select! {
            biased;
            _ = &mut commit => panic!("it cannot be decided yet"),
            () = setting.gate.get().state.entered.notified() => {}
        }
    }
    setting.set(|state| &state.holds_prepare, false);
    super::until("it is decided", async || manager.outcome(name).await != Ok(Knowledge::Undecided)).await;
    assert_eq!(manager.outcome(name).await, Ok(Knowledge::Committed));
    setting.clean().await;
    assert_eq!(setting.gate.get().memory.value("b"), Some(1));
}

#[tokio::test]
async fn a_commit_that_was_never_polled_is_an_abort() {
    let setting = Setting::new();
    let manager = setting.open().await;
    let transaction = begun(&setting, &manager).await;
    let name = transaction.name();
    drop(transaction.commit());
    setting.clean().await;
    assert_eq!(manager.outcome(name).await, Ok(Knowledge::Aborted));
}

#[tokio::test]
async fn a_roll_back_waits_for_the_end_of_a_session_that_is_being_opened() {
    let setting = Setting::new();
    let manager = setting.open().await;
    setting.set(|state| &state.holds_begin, true);
    let transaction = manager.begin_within(Duration::from_millis(50)).await.expect("begun");
    assert!(matches!(transaction.enlist(&setting.gate).await, Err(EnlistError::Ended)));
    assert!(matches!(transaction.commit().await, Outcome::Aborted(AbortReason::Deadline)));
    assert_eq!(setting.gate.get().state.most.load(Ordering::SeqCst), 1, "never side by side");
    setting.set(|state| &state.holds_begin, false);
    setting.clean().await;
}

#[tokio::test]
async fn the_only_resource_decides_and_the_handle_waits_for_it() {
    let setting = Setting::new();
    let manager = setting.open().await;
    setting.set(|state| &state.holds_commit, true);
    let transaction = manager.begin().await.expect("begun");
    let name = transaction.name();
    transaction.enlist(&setting.gate).await.expect("a session").put("b", 1).expect("free");
    let Outcome::InDoubt(later) = transaction.commit().await else { panic!("nothing is known") };
    assert_eq!(later.name(), name);
    assert_eq!(manager.outcome(name).await, Ok(Knowledge::InDoubt));
    let status = manager.status().await.expect("it runs");
    assert!(!status.in_doubt[&name.number].is_committed);
    let waits = tokio::spawn(later.outcome());
    setting.set(|state| &state.holds_commit, false);
    assert!(matches!(waits.await.expect("no panic"), Outcome::Committed));
    assert_eq!(manager.outcome(name).await, Ok(Knowledge::Committed));
}

#[tokio::test]
async fn a_lost_branch_is_mixed_until_it_is_forgotten() {
    let setting = Setting::new();
    let manager = setting.open().await;
    setting.set(|state| &state.loses, true);
    let transaction = begun(&setting, &manager).await;
    let name = transaction.name();
    let Outcome::Mixed { without } = transaction.commit().await else { panic!("a branch was lost") };
    assert_eq!(without, ["gate".to_owned()].into());
    manager.close().await;
    setting.set(|state| &state.loses, false);
    let manager = setting.open().await;
    assert_eq!(manager.outcome(name).await, Ok(Knowledge::Mixed(Decision::Commit)));
    assert_eq!(manager.status().await.expect("it runs").hazards.len(), 1);
    manager.forget(name).await.expect("it is kept until now");
    assert_eq!(manager.outcome(name).await, Ok(Knowledge::Committed));
    assert!(matches!(manager.forget(name).await, Err(OutcomeError::Refused(_))));
}

#[tokio::test]
async fn a_manager_that_is_closed_aborts_what_is_open_and_says_so() {
    let setting = Setting::new();
    let manager = setting.open().await;
    let transaction = begun(&setting, &manager).await;
    manager.close().await;
    assert!(setting.is_clean(), "no session is left behind");
    assert!(matches!(transaction.commit().await, Outcome::Aborted(AbortReason::Asked)));
    assert!(matches!(manager.begin().await, Err(BeginError::Stopped)));
    assert!(manager.status().await.is_none());
}

#[tokio::test]
async fn the_log_has_one_owner_and_a_lost_log_another_identity() {
    let mut setting = Setting::new();
    let manager = setting.open().await;
    let name = TransactionName { manager: manager.id(), ..manager.begin().await.expect("begun").name() };
    assert!(matches!(setting.try_open().await, Err(OpenError::Log(_))));
    manager.close().await;
    let again = setting.open().await;
    assert_eq!(again.id(), manager.id());
    again.close().await;
    setting.directory = tempfile::tempdir().expect("a directory");
    let other = setting.open().await;
    assert_ne!(other.id(), manager.id());
    assert_eq!(other.outcome(name).await, Err(OutcomeError::OtherManager(manager.id())));
}

#[tokio::test]
async fn a_wrong_description_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    for name in ["", &"n".repeat(65)] {
        let resource = Resource::new(name, Memory::<i64>::new());
        let opened = Manager::builder("wrong", directory.path()).resource(&resource).open().await;
        assert!(matches!(opened, Err(OpenError::Name(_))));
    }
    let resource = Resource::new("one", Memory::<i64>::new());
    let opened = Manager::builder("wrong", directory.path()).resource(&resource).resource(&resource).open().await;
    assert!(matches!(opened, Err(OpenError::Repeated(_))));
    let settings = ManagerSettings { timeout: Duration::ZERO, ..ManagerSettings::default() };
    assert!(Manager::builder("wrong", directory.path()).settings(settings).open().await.is_err());
}

async fn pay(setting: &Setting, transaction: &Transaction, account: usize) -> Result<(), Box<dyn Error + Send + Sync>> {
    let key = format!("account {account}");
    let from = transaction.enlist(&setting.plain).await?;
    let to = transaction.enlist(&setting.gate).await?;
    from.put(&key, from.get(&key)?.unwrap_or(0) - 1)?;
    to.put(&key, to.get(&key)?.unwrap_or(0) + 1)?;
    Ok(())
}

/// Many at once, with closes in between: the total stays the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_transactions_at_once_conserve_the_total() {
    let setting = Arc::new(Setting::new());
    for round in 0..3 {
        let manager = setting.open().await;
        let tasks: Vec<_> = (0..64)
            .map(|task| {
                let (setting, manager) = (setting.clone(), manager.clone());
                tokio::spawn(async move {
                    let (mut committed, mut tries) = (0, 0);
                    while committed < 20 {
                        tries += 1;
                        assert!(tries < 1_000_000, "nothing holds the account for ever");
                        let Ok(transaction) = manager.begin().await else { return };
                        match pay(&setting, &transaction, task).await {
                            Ok(()) if matches!(transaction.commit().await, Outcome::Committed) => committed += 1,
                            // What an earlier round left in doubt may hold the account for a while.
                            _ => tokio::task::yield_now().await,
                        }
                    }
                })
            })
            .collect();
        if round < 2 {
            until(|| (0..64).any(|task| setting.plain.get().value(&format!("account {task}")).is_some())).await;
            manager.close().await;
        }
        for task in tasks {
            task.await.expect("no panic");
        }
        manager.close().await;
    }
    let manager = setting.open().await;
    setting.clean().await;
    for task in 0..64 {
        let key = format!("account {task}");
        let (left, right) = (setting.plain.get().value(&key), setting.gate.get().memory.value(&key));
        assert_eq!(left.unwrap_or(0) + right.unwrap_or(0), 0, "{key}");
        assert!(right.unwrap_or(0) >= 20, "the last round was not ended early");
    }
    drop(manager);
}

#[test]
fn handles_can_be_sent_between_threads() {
    fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<Manager>();
    is_send_and_sync::<Transaction>();
    is_send_and_sync::<Resource<Memory<i64>>>();
}
