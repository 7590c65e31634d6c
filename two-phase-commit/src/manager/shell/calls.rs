//! The calls to resources: at most one for a branch at a time.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorate_protocol::Ticket;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::inbox::{Given, Inbox};
use crate::manager::core::{ManagerAnswer, ManagerRequest};
use crate::manager::{BranchId, CommitEnd, ResourceId};

/// The subject of a call. A later call about it ends an earlier one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    Branch(BranchId),
    Recover(ResourceId),
    Forget(ResourceId),
}

impl Subject {
    pub(super) fn of(request: &ManagerRequest) -> Self {
        match request {
            ManagerRequest::Prepare(branch)
            | ManagerRequest::Commit(branch)
            | ManagerRequest::CommitOnePhase(branch)
            | ManagerRequest::RollBack(branch) => Self::Branch(*branch),
            ManagerRequest::Recover(resource) => Self::Recover(*resource),
            ManagerRequest::Forget { resource, .. } => Self::Forget(*resource),
        }
    }
}

/// The calls that are under way, in the runtime in which the manager was opened.
#[derive(Debug)]
pub(super) struct Calls {
    runtime: Handle,
    under_way: Arc<Mutex<UnderWay>>,
}

#[derive(Debug, Default)]
struct UnderWay {
    calls: BTreeMap<Subject, Call>,
    last: u64,
    /// Number of calls for branches.
    branches: usize,
    /// Told when there are none.
    idle: Arc<Notify>,
}

#[derive(Debug)]
struct Call {
    number: u64,
    task: JoinHandle<()>,
}

impl Calls {
    pub(super) fn new(runtime: Handle) -> Self {
        Self { runtime, under_way: Arc::default() }
    }

    /// The runtime in which the manager was opened.
    pub(super) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Makes a call. An earlier call about the same subject is dropped, and has ended before this one begins.
    pub(super) fn make(&self, subject: Subject, call: impl Future<Output = ()> + Send + 'static) {
        let mut under_way = lock(&self.under_way);
        let before = under_way.remove(subject);
        under_way.last += 1;
        let number = under_way.last;
        let table = self.under_way.clone();
        let task = self.runtime.spawn(async move {
            if let Some(Call { task, .. }) = before {
                task.abort();
                // An error says that it was dropped or panicked: it has ended in any case.
                let _ = task.await;
            }
            call.await;
            lock(&table).end(subject, number);
        });
        under_way.insert(subject, Call { number, task });
    }

    /// Waits until no call for a branch is under way.
    pub(super) async fn idle(&self) {
        let idle = lock(&self.under_way).idle.clone();
        loop {
            let told = idle.notified();
            if lock(&self.under_way).branches == 0 {
                return;
            }
            told.await;
        }
    }
}

impl UnderWay {
    /// Removes a call that has ended, unless a newer one about its subject is there.
    fn end(&mut self, subject: Subject, number: u64) {
        if self.calls.get(&subject).is_some_and(|call| call.number == number) {
            self.remove(subject);
        }
    }

    fn insert(&mut self, subject: Subject, call: Call) {
        self.calls.insert(subject, call);
        if let Subject::Branch(_) = subject {
            self.branches += 1;
        }
    }

    fn remove(&mut self, subject: Subject) -> Option<Call> {
        let call = self.calls.remove(&subject)?;
        if let Subject::Branch(_) = subject {
            self.branches -= 1;
            if self.branches == 0 {
                self.idle.notify_waiters();
            }
        }
        Some(call)
    }
}

impl Drop for Calls {
    /// The manager has stopped: calls under way are dropped.
    fn drop(&mut self) {
        for call in lock(&self.under_way).calls.values() {
            call.task.abort();
        }
    }
}

fn lock(table: &Mutex<UnderWay>) -> MutexGuard<'_, UnderWay> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers a request when it is dropped, so that a call that panics or is dropped is answered as well.
pub(super) struct Completion {
    inbox: Inbox,
    ticket: Ticket,
    answer: Option<ManagerAnswer>,
}

impl Completion {
    pub(super) fn new(inbox: Inbox, ticket: Ticket) -> Self {
        Self { inbox, ticket, answer: None }
    }

    pub(super) fn answer(mut self, answer: ManagerAnswer) {
        self.answer = Some(answer);
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        let answer = self.answer.take();
        let answer = answer.unwrap_or_else(|| ManagerAnswer::Failed("the call was dropped, or panicked".to_owned()));
        // An answer that is lost because too many calls wait is asked for again, and one to a core that is gone is not
        // wanted.
        // Nobody waits until the core has heard that a branch is committed.
        let may_wait = matches!(answer, ManagerAnswer::Committed(CommitEnd::Committed));
        let given = Given::Answer(self.ticket, answer);
        let _ = if may_wait { self.inbox.give_late(given) } else { self.inbox.give(given) };
    }
}

/// The error and what caused it, in one line.
pub(super) fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
