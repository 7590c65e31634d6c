//! What the core of a manager is given: commands, and the answers of resources. All that has come while the thread of
//! the core was busy is one call to it.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use quorate_protocol::{GroupId, Now, Ticket};
use quorate_runtime::NodeHandle;
use quorate_runtime::hosted::{Hosted, NotServed};
use quorate_runtime::shell::CallError;
use tokio::sync::Notify;

use super::shared::Shared;
use crate::CommandId;
use crate::manager::BranchId;
use crate::manager::core::{ManagerAnswer, ManagerCommand, ManagerCore};

/// The way to a core. Clones are the same way, and keep their order.
#[derive(Clone)]
pub(super) struct Inbox {
    node: NodeHandle,
    group: GroupId,
    waiting: Arc<Mutex<Waiting>>,
    /// Told when something waits for which nobody wakes the core.
    is_late: Arc<Notify>,
    shared: Weak<Shared>,
}

#[derive(Default)]
struct Waiting {
    given: Vec<Given>,
    /// True if a call to the core is on its way that takes all of it.
    is_called: bool,
}

pub(super) enum Given {
    Command(ManagerCommand),
    Answer(Ticket, ManagerAnswer),
}

/// What is to be done about something that the core did not take.
pub(super) enum Refused {
    /// The caller of a command is told.
    Caller(CommandId),
    /// The branch is rolled back.
    Branch(BranchId),
}

impl Inbox {
    pub(super) fn new(node: NodeHandle, group: GroupId, shared: Weak<Shared>) -> Self {
        Self { node, group, waiting: Arc::default(), is_late: Arc::default(), shared }
    }

    /// Gives the core something, after all that was given before.
    ///
    /// # Errors
    /// When it is certain that the core does not get it.
    pub(super) fn give(&self, given: Given) -> Result<(), CallError> {
        self.push(given)?;
        self.call()
    }

    /// As [`Inbox::give`], for what need not be there at once: it goes with the next that is given, or after
    /// [`LATE`]. A core that is woken for each of them has no time for its work.
    ///
    /// # Errors
    /// As [`Inbox::give`].
    pub(super) fn give_late(&self, given: Given) -> Result<(), CallError> {
        if self.push(given)? {
            self.is_late.notify_one();
        }
        Ok(())
    }

    /// Calls the core for what waits too long, until the manager is dropped.
    pub(super) async fn call_late(self) {
        loop {
            self.is_late.notified().await;
            tokio::time::sleep(LATE).await;
            if self.shared.strong_count() == 0 {
                return;
            }
            if !self.waiting().given.is_empty() {
                // What is refused is dealt with.
                let _ = self.call();
            }
        }
    }

    /// The manager is dropped: nothing waits any more.
    pub(super) fn end(&self) {
        self.is_late.notify_one();
    }

    /// Returns true if it is the only one that waits, and no call is on its way.
    fn push(&self, given: Given) -> Result<bool, CallError> {
        let mut waiting = self.waiting();
        if waiting.given.len() >= GIVEN_MAX {
            return Err(CallError::Overloaded);
        }
        waiting.given.push(given);
        Ok(!waiting.is_called && waiting.given.len() == 1)
    }

    /// Calls the core for all that waits.
    ///
    /// # Errors
    /// As [`Inbox::give`].
    pub(super) fn call(&self) -> Result<(), CallError> {
        // The call that is on its way takes this along.
        if std::mem::replace(&mut self.waiting().is_called, true) {
            return Ok(());
        }
        let mut delivery = Delivery { inbox: self.clone(), is_taken: false };
        let taken = self.node.look(self.group, move |core: &mut Hosted<ManagerCore>, now| delivery.take(core, now));
        // A call that is refused is refused at once.
        match pin!(taken).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Err(error)) => Err(error),
            Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes all that waits. What comes later needs another call.
    fn take(&self) -> Vec<Given> {
        std::mem::take(&mut *self.waiting()).given
    }

    fn refuse(&self, refused: Option<Refused>, error: NotServed) {
        if let (Some(refused), Some(shared)) = (refused, self.shared.upgrade()) {
            shared.refused(refused, error);
        }
    }
}

/// A call that gives the core what has come. If it is dropped before it is made, there is no core.
struct Delivery {
    inbox: Inbox,
    is_taken: bool,
}

impl Delivery {
    fn take(&mut self, core: &mut Hosted<ManagerCore>, now: Now) {
        self.is_taken = true;
        for given in self.inbox.take() {
            let refused = given.refused(&self.inbox);
            let taken = match given {
                Given::Command(command) => core.command(now, command),
                Given::Answer(ticket, answer) => core.complete(now, ticket, answer),
            };
            if let Err(error) = taken {
                self.inbox.refuse(refused, error);
            }
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if self.is_taken {
            return;
        }
        for given in self.inbox.take() {
            self.inbox.refuse(given.refused(&self.inbox), NotServed::Call(CallError::Stopped));
        }
    }
}

impl Given {
    /// What is to be done if the core does not take it. The one who waits for the outcome of a transaction learns of a
    /// core that is gone without this, and an answer that is lost is asked for again.
    fn refused(&self, inbox: &Inbox) -> Option<Refused> {
        match self {
            Self::Command(
                ManagerCommand::Begin { command, .. }
                | ManagerCommand::Query { command, .. }
                | ManagerCommand::Forget { command, .. }
                | ManagerCommand::Release { command, .. }
                | ManagerCommand::Resolve { command, .. },
            ) => Some(Refused::Caller(*command)),
            Self::Command(ManagerCommand::Enlist { transaction, resource }) => {
                let manager = inbox.shared.upgrade()?.id;
                Some(Refused::Branch(BranchId { manager, number: *transaction, resource: *resource }))
            }
            Self::Command(
                ManagerCommand::Start { .. } | ManagerCommand::Commit { .. } | ManagerCommand::Abort { .. },
            )
            | Self::Answer(..) => None,
        }
    }
}

/// Time for which something waits at most until the core is called for it.
const LATE: Duration = Duration::from_millis(5);
/// Number of commands and answers that wait for the core at most.
const GIVEN_MAX: usize = 1 << 18;
