//! The participant's side of each branch: the resource keeps the branch itself, so nothing is recorded here.
//!
//! ```text
//!            Prepare               yes              Decide(commit)               done
//!  AtWork ───────────► Preparing ───────► Prepared ────────────────► Committing ──────► gone
//!    │                    │ no, read-only: Done                    (also if it is lost)
//!    │                    └──────────────────┴───── aborted ───► RollingBack ──────────► gone
//!    └─ CommitOnePhase ──► OnePhase ──► gone
//! ```
//!
//! A branch of an earlier start begins in `Committing` or `RollingBack`, as the coordinator says.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate_protocol::{Instant, Ticket};

use super::event::{Hazard, ManagerAnswer, ManagerEvent, ManagerRequest};
use super::outside::{Outside, Subject, Timer};
use crate::manager::{BranchId, CommitEnd, ResourceId, RollBackEnd};
use crate::{Decision, TransactionNumber, Vote};

/// The transaction and the resource of a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    pub(super) number: TransactionNumber,
    pub(super) resource: ResourceId,
}

/// A branch that has not ended, or whose transaction is not decided.
#[derive(Clone, Debug)]
pub(super) struct Branch {
    pub(super) stage: Stage,
    pub(super) work: Work,
}

/// Stage of a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Stage {
    /// The application works in it.
    AtWork,
    /// The resource is asked to prepare it.
    Preparing,
    /// The resource has voted yes.
    Prepared,
    /// The resource has voted no or read-only, and keeps nothing of it.
    Done,
    /// The transaction is committed.
    Committing,
    /// The transaction is aborted.
    RollingBack,
    /// The resource decides.
    OnePhase,
}

/// Work that a resource is asked for until it is done.
#[derive(Clone, Debug)]
pub(super) struct Work {
    /// The open request, if there is one. Otherwise a timer runs until the next.
    pub(super) request: Option<Ticket>,
    /// Number of requests that were not answered in time.
    pub(super) unanswered: u32,
    /// Number of requests that failed.
    pub(super) failures: u32,
    /// The last failure.
    pub(super) why: Option<String>,
    /// Time at which the work was first asked for.
    pub(super) since: Instant,
    pub(super) is_overdue: bool,
}

impl Work {
    pub(super) fn new(now: Instant) -> Self {
        Self { request: None, unanswered: 0, failures: 0, why: None, since: now, is_overdue: false }
    }

    /// Asks for the work. An open request is replaced: its answer no longer counts.
    pub(super) fn ask(&mut self, outside: &mut Outside, subject: Subject, request: ManagerRequest) {
        if let Some(before) = self.request.take() {
            outside.requests.remove(&before);
        }
        self.request = Some(outside.request(subject, request, self.unanswered));
    }

    /// A request failed, and is repeated after a while.
    pub(super) fn on_failure(&mut self, outside: &mut Outside, subject: Subject, why: String) {
        self.failures = self.failures.saturating_add(1);
        self.why = Some(why);
        outside.arm_retry(subject, self.failures);
    }

    /// Reports once that the work takes long.
    pub(super) fn report(&mut self, outside: &mut Outside, request: &ManagerRequest) {
        let age = outside.now.instant.since(self.since);
        if !self.is_overdue && age >= outside.config.settings().protocol.report_after {
            self.is_overdue = true;
            let (request, failures) = (request.clone(), self.failures);
            outside.event(ManagerEvent::Overdue { request, age, failures });
        }
    }
}

/// What an answer about a branch means for the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Nothing: it is asked again.
    Again,
    /// The resource has voted.
    Voted(Vote),
    /// The branch is committed.
    Committed,
    /// The only branch has decided.
    Decided(Decision),
    /// The branch is rolled back.
    RolledBack,
    /// The branch did not follow the decision.
    Hazard(Hazard),
}

/// The branches of all transactions.
#[derive(Clone, Debug, Default)]
pub(super) struct Branches {
    all: BTreeMap<Key, Branch>,
}

impl Branches {
    pub(super) fn all(&self) -> &BTreeMap<Key, Branch> {
        &self.all
    }

    pub(super) fn stage(&self, key: Key) -> Option<Stage> {
        self.all.get(&key).map(|branch| branch.stage)
    }

    /// The branches of a transaction.
    pub(super) fn of(&self, number: TransactionNumber) -> impl Iterator<Item = (Key, Stage)> + '_ {
        let (first, last) = (ResourceId(0), ResourceId(u64::MAX));
        let range = Key { number, resource: first }..=Key { number, resource: last };
        self.all.range(range).map(|(key, branch)| (*key, branch.stage))
    }

    /// The application begins to work in a branch.
    pub(super) fn enlist(&mut self, now: Instant, key: Key) {
        self.all.entry(key).or_insert_with(|| Branch { stage: Stage::AtWork, work: Work::new(now) });
    }

    /// The resource has voted before it was asked here. Returns false if the branch is not at work any more.
    pub(super) fn has_voted(&mut self, key: Key, vote: Vote) -> bool {
        let Some(branch) = self.all.get_mut(&key).filter(|branch| branch.stage == Stage::AtWork) else { return false };
        branch.stage = if vote == Vote::Yes { Stage::Prepared } else { Stage::Done };
        true
    }

    /// Moves a branch to a stage in which the resource is asked for work, and asks it. A call for the branch that is
    /// under way is replaced.
    pub(super) fn enter(&mut self, outside: &mut Outside, key: Key, stage: Stage) {
        let work = Work::new(outside.now.instant);
        match self.all.get_mut(&key) {
            Some(branch) if branch.stage == stage => return,
            Some(branch) => {
                let before = std::mem::replace(branch, Branch { stage, work });
                branch.work.request = before.work.request;
            }
            None => drop(self.all.insert(key, Branch { stage, work })),
        }
        self.ask(outside, key);
    }

    /// Ends a branch that holds nothing any more.
    pub(super) fn end(&mut self, outside: &mut Outside, key: Key) {
        outside.timers.cancel(Timer::Branch(key));
        if let Some(ticket) = self.all.remove(&key).and_then(|branch| branch.work.request) {
            outside.requests.remove(&ticket);
        }
    }

    /// Handles the answer to the open request of a branch.
    pub(super) fn on_answer(&mut self, outside: &mut Outside, key: Key, answer: ManagerAnswer) -> Progress {
        let branch = self.all.get_mut(&key).expect("an open request concerns a branch");
        branch.work.request = None;
        outside.timers.cancel(Timer::Branch(key));
        let progress = match (branch.stage, answer) {
            (Stage::Preparing, ManagerAnswer::Voted(vote)) => Progress::Voted(vote),
            (Stage::Committing, ManagerAnswer::Committed(CommitEnd::Committed)) => Progress::Committed,
            (Stage::Committing, ManagerAnswer::Committed(CommitEnd::RolledBack)) => {
                Progress::Hazard(Hazard::RolledBack)
            }
            (Stage::Committing, ManagerAnswer::Committed(CommitEnd::Lost)) => Progress::Hazard(Hazard::Lost),
            (Stage::OnePhase, ManagerAnswer::Decided(decision)) => Progress::Decided(decision),
            (Stage::RollingBack, ManagerAnswer::RolledBack(RollBackEnd::RolledBack)) => Progress::RolledBack,
            (Stage::RollingBack, ManagerAnswer::RolledBack(RollBackEnd::Committed)) => {
                Progress::Hazard(Hazard::Committed)
            }
            (_, ManagerAnswer::Failed(why)) => {
                branch.work.on_failure(outside, Subject::Branch(key), why);
                Progress::Again
            }
            (_, answer) => {
                let why = format!("the answer does not fit the request: {answer:?}");
                branch.work.on_failure(outside, Subject::Branch(key), why);
                Progress::Again
            }
        };
        match progress {
            Progress::Again => {
                let request = request_of(branch.stage, outside.branch_id(key)).expect("it was asked for");
                branch.work.report(outside, &request);
            }
            Progress::Voted(Vote::Yes) => branch.stage = Stage::Prepared,
            Progress::Voted(_) => branch.stage = Stage::Done,
            Progress::Committed | Progress::Decided(_) | Progress::RolledBack | Progress::Hazard(_) => {
                self.end(outside, key);
            }
        }
        progress
    }

    /// A request was not answered in time, or failed a while ago: it is made anew. Returns true if it was a commit that
    /// was not answered.
    pub(super) fn on_timeout(&mut self, outside: &mut Outside, key: Key) -> bool {
        let Some(branch) = self.all.get_mut(&key) else { return false };
        let Some(request) = request_of(branch.stage, outside.branch_id(key)) else { return false };
        let is_unanswered = branch.work.request.is_some();
        if is_unanswered {
            branch.work.unanswered = branch.work.unanswered.saturating_add(1);
        }
        branch.work.report(outside, &request);
        branch.work.ask(outside, Subject::Branch(key), request);
        is_unanswered && branch.stage == Stage::Committing
    }

    /// The transactions with a branch in this resource that has not ended.
    pub(super) fn unfinished(&self, resource: ResourceId) -> BTreeSet<TransactionNumber> {
        let is_kept = |(key, branch): &(&Key, &Branch)| key.resource == resource && branch.stage != Stage::Done;
        self.all.iter().filter(is_kept).map(|(key, _)| key.number).collect()
    }

    /// The branches that a resource has long been asked about: the work, its age, and its last failure.
    pub(super) fn asked(&self) -> impl Iterator<Item = (Key, &Branch)> + '_ {
        self.all.iter().map(|(key, branch)| (*key, branch))
    }

    fn ask(&mut self, outside: &mut Outside, key: Key) {
        let branch = self.all.get_mut(&key).expect("just entered");
        if let Some(request) = request_of(branch.stage, outside.branch_id(key)) {
            branch.work.ask(outside, Subject::Branch(key), request);
        }
    }

    /// Checks that each open request is that of its branch, and that no branch that must be asked waits for nothing.
    ///
    /// # Panics
    /// When a law is broken.
    pub(super) fn check(&self, outside: &Outside) {
        for (key, Branch { stage, work }) in &self.all {
            if let Some(ticket) = work.request {
                assert!(outside.requests.get(&ticket) == Some(&Subject::Branch(*key)), "a request is about its branch");
            }
            let is_asked = request_of(*stage, outside.branch_id(*key)).is_some();
            assert!(is_asked || work.request.is_none(), "only work is asked for");
            assert!(is_asked == outside.timers.is_armed(Timer::Branch(*key)), "work is asked for until it is done");
        }
        let open = |subject: &Subject| matches!(subject, Subject::Branch(_));
        let requests = outside.requests.values().filter(|subject| open(subject)).count();
        let asked = self.all.values().filter(|branch| branch.work.request.is_some()).count();
        assert!(requests == asked, "a branch has one open request");
    }
}

/// The request of a stage, if it has one.
pub(super) fn request_of(stage: Stage, branch: BranchId) -> Option<ManagerRequest> {
    match stage {
        Stage::Preparing => Some(ManagerRequest::Prepare(branch)),
        Stage::Committing => Some(ManagerRequest::Commit(branch)),
        Stage::RollingBack => Some(ManagerRequest::RollBack(branch)),
        Stage::OnePhase => Some(ManagerRequest::CommitOnePhase(branch)),
        Stage::AtWork | Stage::Prepared | Stage::Done => None,
    }
}

/// Age of work at this time.
pub(super) fn age(work: &Work, now: Instant) -> Duration {
    now.since(work.since)
}
