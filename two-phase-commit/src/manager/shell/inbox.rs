//! What the core of a manager is given: commands, and the answers of resources. All that has come while the thread of
//! the core was busy is one call to it.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use quorate_protocol::{GroupId, Now, Ticket};
use quorate_runtime::NodeHandle;
use quorate_runtime::hosted::{Hosted, NotServed};
use quorate_runtime::shell::CallError;

use super::shared::Shared;
use crate::CommandId;
use crate::manager::BranchId;
use crate::manager::core::{ManagerAnswer, ManagerCommand, ManagerCore};

/// The way to a core. Clones are the same way, and keep their order.
#[derive(Clone)]
pub(super) struct Inbox {
    node: NodeHandle,
    group: GroupId,
    given: Arc<Mutex<Vec<Given>>>,
    shared: Weak<Shared>,
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
        Self { node, group, given: Arc::default(), shared }
    }

    /// Gives the core something, after all that was given before.
    ///
    /// # Errors
    /// When it is certain that the core does not get it.
    pub(super) fn give(&self, given: Given) -> Result<(), CallError> {
        let mut waiting = self.waiting();
        if waiting.len() >= GIVEN_MAX {
            return Err(CallError::Overloaded);
        }
        waiting.push(given);
        // The delivery that waits takes this along.
        if waiting.len() > 1 {
            return Ok(());
        }
        drop(waiting);
        let mut delivery = Delivery { inbox: self.clone(), is_taken: false };
        let taken = self.node.look(self.group, move |core: &mut Hosted<ManagerCore>, now| delivery.take(core, now));
        // A call that is refused is refused at once.
        match pin!(taken).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Err(error)) => Err(error),
            Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Given>> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
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
        let given = std::mem::take(&mut *self.inbox.waiting());
        for given in given {
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
        let given = std::mem::take(&mut *self.inbox.waiting());
        for given in given {
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
            Self::Command(ManagerCommand::Commit { .. } | ManagerCommand::Abort { .. }) | Self::Answer(..) => None,
        }
    }
}

/// Number of commands and answers that wait for the core at most.
const GIVEN_MAX: usize = 1 << 18;
