//! What every resource must do, as tests: for resources of your own.
//!
//! Implement [`Subject`] for your resource and run [`check`]. Each clause starts from a fresh subject, so that one
//! broken clause hides no other.
//!
//! ```
//! # use quorate_two_phase_commit::manager::conformance::{self, MemorySubject};
//! # use quorate_two_phase_commit::manager::memory::Memory;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let failures = conformance::check(|| async {
//!     let memory = Memory::new();
//!     MemorySubject::new(memory.clone(), memory)
//! })
//! .await;
//! assert!(failures.is_empty(), "{failures:#?}");
//! # }
//! ```

mod clauses;
mod subject;

use std::fmt;
use std::future::Future;

use async_trait::async_trait;

use super::{BranchId, ManagerId, ResourceId, ResourceManager};

pub use subject::MemorySubject;

/// A resource under test, and what a test must be able to do with it.
#[async_trait]
pub trait Subject: Send + Sync {
    /// The type of the resource.
    type Resource: ResourceManager;

    /// The resource.
    fn resource(&self) -> &Self::Resource;

    /// Opens the branch if it is new, writes `value` under `key` in it, and leaves it ready to be prepared. It must
    /// fail in a short time if another branch holds the key.
    ///
    /// # Errors
    /// When the value was not written.
    async fn write(&self, branch: BranchId, key: &str, value: u64) -> Result<(), String>;

    /// Opens the branch, reads `key` in it, and leaves it ready to be prepared.
    ///
    /// # Errors
    /// When the value was not read.
    async fn read(&self, branch: BranchId, key: &str) -> Result<(), String>;

    /// The committed value, seen from outside of every branch. It waits for no lock.
    async fn value(&self, key: &str) -> Option<u64>;

    /// All sessions end, and everything that is not durable is lost.
    async fn crash(&self);
}

/// A clause that a resource breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The clause.
    pub clause: &'static str,
    /// What happened instead.
    pub what: String,
}

macro_rules! clauses {
    ($($clause:ident),* $(,)?) => {
        /// The names of all clauses.
        pub const CLAUSES: &[&str] = &[$(stringify!($clause)),*];

        /// Checks every clause against a fresh subject of its own. Returns the clauses that are broken.
        pub async fn check<S, F>(make: impl Fn() -> F) -> Vec<Failure>
        where
            S: Subject,
            F: Future<Output = S>,
        {
            let mut failures = Vec::new();
            $(if let Err(what) = clauses::$clause(&make().await).await {
                failures.push(Failure { clause: stringify!($clause), what });
            })*
            failures
        }
    };
}

clauses!(
    a_prepared_branch_is_listed_and_not_seen,
    a_prepared_branch_survives_a_crash,
    a_prepared_branch_keeps_its_locks_in_a_crash,
    to_prepare_again_gives_the_same_vote,
    a_branch_that_is_not_there_is_not_prepared,
    lost_work_is_not_prepared,
    a_branch_that_read_leaves_no_trace,
    to_commit_again_is_the_same_commit,
    a_commit_frees_what_the_branch_held,
    a_commit_survives_a_crash,
    a_branch_that_is_not_there_is_not_counted_as_committed,
    a_commit_in_one_phase_is_known_afterwards,
    lost_work_is_not_committed_in_one_phase,
    a_roll_back_ends_a_prepared_branch,
    a_roll_back_ends_a_branch_at_work,
    a_roll_back_of_nothing_is_done,
    nothing_is_prepared_after_its_roll_back,
    a_roll_back_does_not_hide_a_commit,
    only_branches_of_the_manager_are_listed,
    what_is_finished_is_not_listed,
    evidence_is_kept_until_it_is_forgotten,
    evidence_of_others_is_not_forgotten,
    a_call_that_is_dropped_does_no_harm,
);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.clause.replace('_', " "), self.what)
    }
}

/// The manager of the branches in the clauses.
pub const MANAGER: ManagerId = ManagerId { cluster: quorate_protocol::ClusterId(0xc0f0), log: 1 };
/// The id of the resource in the clauses.
pub const RESOURCE: ResourceId = ResourceId(0xc0f0);
