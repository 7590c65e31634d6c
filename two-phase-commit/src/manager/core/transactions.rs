//! The transactions of this start: their resources, their deadlines, and the answer that the application waits for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::event::{AbortReason, Ended, ManagerEvent};
use super::outside::{Outside, Timer};
use crate::manager::ResourceId;
use crate::{CommandId, TransactionNumber};

/// The transactions of this start that the application has an answer to expect for.
#[derive(Clone, Debug, Default)]
pub(super) struct Transactions {
    /// The callers of transactions that are being begun, by the command to the coordinator.
    beginning: BTreeMap<CommandId, Beginning>,
    /// The callers of queries, by the command to the coordinator.
    queries: BTreeMap<CommandId, CommandId>,
    /// The transactions that are not decided.
    open: BTreeMap<TransactionNumber, Open>,
    /// Committed transactions whose resources have not all been asked once to commit.
    settling: BTreeMap<TransactionNumber, Settling>,
    last_command: u64,
}

#[derive(Clone, Copy, Debug)]
struct Beginning {
    caller: CommandId,
    timeout: Option<Duration>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Open {
    /// False while it is begun in advance. From then on it has a deadline.
    pub(super) is_started: bool,
    pub(super) resources: BTreeSet<ResourceId>,
    /// The command to commit, once it was given to the coordinator.
    pub(super) commit: Option<CommandId>,
    /// The reason of the abort, if this part asked the coordinator for it.
    pub(super) why: Option<AbortReason>,
}

#[derive(Clone, Debug, Default)]
struct Settling {
    unanswered: BTreeSet<ResourceId>,
    without: BTreeSet<ResourceId>,
}

/// What the coordinator's refusal of a command means.
pub(super) enum RefusedFor {
    /// The caller is told.
    Caller(CommandId),
    /// This transaction cannot be committed.
    Commit(TransactionNumber),
    /// Nothing: the command came too late.
    Nobody,
}

impl Transactions {
    pub(super) fn get_mut(&mut self, number: TransactionNumber) -> Option<&mut Open> {
        self.open.get_mut(&number)
    }

    /// A number for a command to the coordinator.
    pub(super) fn new_command(&mut self) -> CommandId {
        self.last_command += 1;
        CommandId(self.last_command)
    }

    pub(super) fn begin(&mut self, caller: CommandId, timeout: Option<Duration>) -> CommandId {
        let command = self.new_command();
        self.beginning.insert(command, Beginning { caller, timeout });
        command
    }

    pub(super) fn query(&mut self, caller: CommandId) -> CommandId {
        let command = self.new_command();
        self.queries.insert(command, caller);
        command
    }

    pub(super) fn answer_query(&mut self, command: CommandId) -> Option<CommandId> {
        self.queries.remove(&command)
    }

    /// The coordinator has begun a transaction.
    pub(super) fn begun(&mut self, outside: &mut Outside, command: CommandId, number: TransactionNumber) {
        let Some(Beginning { caller, timeout }) = self.beginning.remove(&command) else { return };
        self.open.insert(number, Open::default());
        if let Some(timeout) = timeout {
            self.start(outside, number, timeout);
        }
        outside.event(ManagerEvent::Begun { command: caller, transaction: number });
    }

    /// The application uses the transaction from now on. Its deadline is set once.
    pub(super) fn start(&mut self, outside: &mut Outside, number: TransactionNumber, timeout: Duration) {
        let Some(open) = self.open.get_mut(&number).filter(|open| !open.is_started) else { return };
        open.is_started = true;
        outside.timers.arm(Timer::Deadline(number), outside.now.instant.after(timeout));
    }

    /// Number of transactions that the application uses.
    pub(super) fn in_use(&self) -> usize {
        self.open.values().filter(|open| open.is_started).count()
    }

    pub(super) fn refused(&mut self, command: CommandId) -> RefusedFor {
        if let Some(Beginning { caller, .. }) = self.beginning.remove(&command) {
            return RefusedFor::Caller(caller);
        }
        if let Some(caller) = self.queries.remove(&command) {
            return RefusedFor::Caller(caller);
        }
        let refused = self.open.iter().find(|(_, open)| open.commit == Some(command));
        refused.map_or(RefusedFor::Nobody, |(number, _)| RefusedFor::Commit(*number))
    }

    /// The coordinator has decided the transaction: it is not open any more.
    pub(super) fn close(&mut self, outside: &mut Outside, number: TransactionNumber) -> Option<Open> {
        outside.timers.cancel(Timer::Deadline(number));
        self.open.remove(&number)
    }

    /// The answer to a commit waits until each of these resources has answered once, or has not in time.
    pub(super) fn settle(
        &mut self,
        outside: &mut Outside,
        number: TransactionNumber,
        unanswered: BTreeSet<ResourceId>,
    ) {
        self.settling.insert(number, Settling { unanswered, without: BTreeSet::new() });
        self.tell_settled(outside, number);
    }

    /// A resource was asked to commit, and has answered or not in time. `is_hazard` says that its branch is lost.
    pub(super) fn on_first_answer(
        &mut self,
        outside: &mut Outside,
        number: TransactionNumber,
        resource: ResourceId,
        is_hazard: bool,
    ) {
        let Some(settling) = self.settling.get_mut(&number) else { return };
        if settling.unanswered.remove(&resource) && is_hazard {
            settling.without.insert(resource);
        }
        self.tell_settled(outside, number);
    }

    fn tell_settled(&mut self, outside: &mut Outside, number: TransactionNumber) {
        if self.settling.get(&number).is_some_and(|settling| settling.unanswered.is_empty()) {
            let settling = self.settling.remove(&number).expect("just seen");
            let outcome = Ended::Committed { without: settling.without };
            outside.event(ManagerEvent::Ended { transaction: number, outcome });
        }
    }
}
