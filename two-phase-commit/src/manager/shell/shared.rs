//! The part of a manager that its handles, its calls and the thread of its log share.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quorate_protocol::{GroupId, NodeId, Ticket};
use quorate_runtime::NodeHandle;
use quorate_runtime::hosted::{NotServed, Told};
use tokio::sync::{oneshot, watch};

use super::ballot::Ballot;
use super::calls::{Calls, Completion, Subject, with_sources};
use super::error::EnlistError;
use super::inbox::{Given, Inbox, Refused};
use super::replicated::{ReplicatedLog, follow};
use crate::manager::core::{
    AbortReason, Ended, ManagerAnswer, ManagerCommand, ManagerCore, ManagerEvent, ManagerRequest, ManagerSettings,
};
use crate::manager::{BranchId, CommitEnd, ManagerId, ResourceError, ResourceId, ResourceManager, metrics};
use crate::{CommandId, Knowledge, TransactionNumber, TransactionRefusal, Vote};

/// What the application knows of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Known {
    Undecided,
    /// The decision was left to the only resource, which does not answer, or another node decides.
    InDoubt,
    Ended(Ended),
}

/// The answer to a command.
#[derive(Debug)]
pub(super) enum CommandAnswer {
    Begun(TransactionNumber, watch::Receiver<Known>),
    Knowledge(Knowledge),
    Done,
    Refused(TransactionRefusal),
    /// Another node serves the manager, as far as this one knows that one.
    Elsewhere(Option<NodeId>),
}

pub(super) struct Shared {
    pub(super) id: ManagerId,
    /// The identity as a label of metrics.
    label: String,
    pub(super) node: NodeHandle,
    /// The group of the core in the node.
    pub(super) group: GroupId,
    pub(super) inbox: Inbox,
    /// The replicated log, if it is one.
    pub(super) replicated: Option<ReplicatedLog>,
    pub(super) resources: BTreeMap<ResourceId, Described>,
    pub(super) timeout: Duration,
    /// Number of transactions that are begun in advance.
    stock_max: usize,
    pub(super) calls: Calls,
    waiting: Mutex<Waiting>,
}

/// A resource, and its name for messages.
#[derive(Clone)]
pub(super) struct Described {
    pub(super) name: Arc<str>,
    pub(super) resource: Arc<dyn ResourceManager>,
}

#[derive(Default)]
struct Waiting {
    last_command: u64,
    commands: BTreeMap<CommandId, oneshot::Sender<CommandAnswer>>,
    /// Commands that begin transactions in advance.
    refills: BTreeSet<CommandId>,
    /// Transactions that were begun in advance: the next ones of the application are used without a wait for the core.
    stock: VecDeque<(TransactionNumber, watch::Receiver<Known>)>,
    /// The transactions that the core may still end.
    transactions: BTreeMap<TransactionNumber, InHand>,
    /// Transactions that this node was asked to commit, and no longer serves: the log will tell how they ended.
    unresolved: BTreeMap<TransactionNumber, InHand>,
    /// True if no transaction is begun any more.
    is_closing: bool,
    is_closed: bool,
}

/// A transaction in the hands of the application.
struct InHand {
    /// False if it was begun in advance and is not used yet.
    is_used: bool,
    known: watch::Sender<Known>,
    /// The resources in which it may have begun to work.
    resources: BTreeSet<ResourceId>,
    /// True if its commit was asked for.
    is_asked: bool,
    /// The resources that have not committed yet, once all have voted and none against it. Only the core knows whether
    /// the transaction is committed: it asks them to.
    unsettled: BTreeSet<ResourceId>,
    /// The votes that are still collected here, once the core was asked to commit.
    ballot: Option<Arc<Ballot>>,
}

impl Shared {
    pub(super) fn new(
        id: ManagerId,
        (node, group): (NodeHandle, GroupId),
        replicated: Option<ReplicatedLog>,
        resources: BTreeMap<ResourceId, Described>,
        settings: &ManagerSettings,
        calls: Calls,
    ) -> Arc<Self> {
        let timeout = settings.timeout;
        let stock_max = (settings.protocol.transactions_max / STOCK_SHARE).min(STOCK_MAX);
        let shared = Arc::new_cyclic(|shared| {
            let inbox = Inbox::new(node.clone(), group, shared.clone());
            let (label, waiting) = (id.to_string(), Mutex::default());
            Self { id, label, node, group, inbox, replicated, resources, timeout, stock_max, calls, waiting }
        });
        shared.calls.runtime().spawn(shared.inbox.clone().call_late());
        shared
    }

    /// The name of a resource, or its id if the manager does not know it.
    pub(super) fn name_of(&self, resource: ResourceId) -> String {
        self.resources.get(&resource).map_or_else(|| resource.to_string(), |described| described.name.to_string())
    }

    /// Gives the core a command that has no answer of its own. If the manager has stopped, the one who waits for the
    /// outcome learns it.
    pub(super) fn post(&self, command: ManagerCommand) {
        let _ = self.inbox.give(Given::Command(command));
    }

    /// As [`Shared::post`], for the commit of a transaction with work in these resources, and their votes if they were
    /// asked already.
    pub(super) fn post_commit(&self, number: TransactionNumber, votes: BTreeMap<ResourceId, Option<Vote>>) {
        // Before it is posted: if this node stops to serve then, only the log knows the outcome.
        if let Some(in_hand) = self.waiting().transactions.get_mut(&number) {
            in_hand.is_asked = true;
            if votes.values().all(Option::is_some) {
                let yes = votes.iter().filter(|(_, vote)| **vote == Some(Vote::Yes));
                in_hand.unsettled = yes.map(|(resource, _)| *resource).collect();
            }
        }
        self.post(ManagerCommand::Commit { transaction: number, votes });
    }

    /// Votes are still collected when the core is asked to commit.
    pub(super) fn note_ballot(&self, number: TransactionNumber, ballot: &Arc<Ballot>) {
        if let Some(in_hand) = self.waiting().transactions.get_mut(&number) {
            in_hand.ballot = Some(ballot.clone());
        }
    }

    /// A resource has committed its branch. Once all have, the application need not wait until the core has heard it.
    fn on_committed(&self, branch: BranchId) {
        let mut waiting = self.waiting();
        let Some(in_hand) = waiting.transactions.get_mut(&branch.number) else { return };
        if !in_hand.unsettled.remove(&branch.resource) || !in_hand.unsettled.is_empty() {
            return;
        }
        if let Some(in_hand) = waiting.transactions.remove(&branch.number) {
            drop(waiting);
            in_hand.known.send_replace(Known::Ended(Ended::Committed { without: BTreeSet::new() }));
        }
    }

    /// Tells the core of a resource in which a transaction begins to work. If the core does not take that, the branch
    /// is rolled back.
    ///
    /// # Errors
    /// When the transaction has ended, or the core is gone.
    pub(super) fn post_enlist(&self, number: TransactionNumber, resource: ResourceId) -> Result<(), EnlistError> {
        let mut waiting = self.waiting();
        if waiting.is_closed {
            return Err(EnlistError::Stopped);
        }
        waiting.transactions.get_mut(&number).ok_or(EnlistError::Ended)?.resources.insert(resource);
        drop(waiting);
        let enlist = ManagerCommand::Enlist { transaction: number, resource };
        self.inbox.give_late(Given::Command(enlist)).map_err(|_| EnlistError::Stopped)
    }

    /// A transaction that was begun in advance, if there is one; and begins the next.
    pub(super) fn take_begun(&self, timeout: Duration) -> Option<(TransactionNumber, watch::Receiver<Known>)> {
        let mut waiting = self.waiting();
        if waiting.is_closed || waiting.is_closing {
            return None;
        }
        let taken = waiting.stock.pop_front();
        let mut late = Vec::new();
        if let Some((transaction, _)) = taken {
            waiting.transactions.get_mut(&transaction)?.is_used = true;
            late.push(ManagerCommand::Start { transaction, timeout });
        }
        while waiting.stock.len() + waiting.refills.len() < self.stock_max {
            waiting.last_command += 1;
            let command = CommandId(waiting.last_command);
            waiting.refills.insert(command);
            late.push(ManagerCommand::Begin { command, timeout: None });
        }
        drop(waiting);
        for command in late {
            // What is refused is not begun in advance.
            let _ = self.inbox.give_late(Given::Command(command));
        }
        taken
    }

    /// Gives the core a command and waits for its answer; `None` if the manager has stopped.
    pub(super) async fn ask(&self, command: impl FnOnce(CommandId) -> ManagerCommand) -> Option<CommandAnswer> {
        let (sender, receiver) = oneshot::channel();
        let id = {
            let mut waiting = self.waiting();
            if waiting.is_closed || waiting.is_closing {
                return None;
            }
            waiting.last_command += 1;
            let id = CommandId(waiting.last_command);
            waiting.commands.insert(id, sender);
            id
        };
        if self.inbox.give(Given::Command(command(id))).is_err() {
            self.waiting().commands.remove(&id);
        }
        receiver.await.ok()
    }

    /// The core did not take something.
    pub(super) fn refused(&self, refused: Refused, error: NotServed) {
        match (refused, error) {
            (Refused::Caller(id), NotServed::Elsewhere { leader }) => {
                self.waiting().refills.remove(&id);
                self.answer(id, CommandAnswer::Elsewhere(leader));
            }
            // Its caller learns that the manager has stopped.
            (Refused::Caller(id), _) => {
                let mut waiting = self.waiting();
                waiting.refills.remove(&id);
                drop(waiting.commands.remove(&id));
            }
            (Refused::Branch(branch), _) => self.roll_back_without_core(branch),
        }
    }

    /// Rolls a branch back that the core does not ask for.
    pub(super) fn roll_back_without_core(&self, branch: BranchId) {
        let Some(described) = self.resources.get(&branch.resource) else { return };
        let resource = described.resource.clone();
        self.calls.make(Subject::Branch(branch), async move {
            // What fails here ends with the session.
            let _ = resource.roll_back(branch).await;
        });
    }

    /// Begins no transaction any more, aborts those that are not decided, and waits until nothing is asked of any
    /// branch.
    pub(super) async fn abort_all(&self) {
        let open: Vec<(TransactionNumber, watch::Receiver<Known>)> = {
            let mut waiting = self.waiting();
            waiting.is_closing = true;
            waiting.stock.clear();
            waiting.transactions.iter().map(|(number, it)| (*number, it.known.subscribe())).collect()
        };
        for (number, _) in &open {
            self.post(ManagerCommand::Abort { transaction: *number });
        }
        for (_, mut known) in open {
            // An error says that the manager has stopped already.
            let _ = known.wait_for(|known| *known != Known::Undecided).await;
        }
        self.calls.idle().await;
    }

    /// Takes up events and requests of the core.
    pub(super) fn hear(self: &Arc<Self>, told: Told<ManagerCore>) -> Result<(), Lost> {
        match told {
            Told::Event(event) => self.on_event(event),
            Told::Request { ticket, request } => self.on_request(ticket, request),
            Told::Lost(count) => return Err(Lost(count)),
            Told::Serving => tracing::info!(manager = %self.id, "this node serves the manager"),
            Told::NotServing { leader } => self.on_not_serving(leader),
        }
        Ok(())
    }

    /// The core tells nothing any more: nobody waits for it in vain.
    pub(super) fn close(&self) {
        let mut waiting = self.waiting();
        waiting.is_closed = true;
        waiting.stock.clear();
        waiting.commands.clear();
        waiting.transactions.clear();
        waiting.unresolved.clear();
    }

    /// Another node takes the manager over. A transaction whose commit was not asked for is aborted, because only its
    /// own epoch could have decided it. Of the others the log will tell.
    fn on_not_serving(self: &Arc<Self>, leader: Option<NodeId>) {
        tracing::info!(manager = %self.id, leader = leader.map(|node| node.0), "this node does not serve the manager any more");
        let mut waiting = self.waiting();
        waiting.stock.clear();
        waiting.refills.clear();
        for caller in std::mem::take(&mut waiting.commands).into_values() {
            // The caller may have dropped its future.
            let _ = caller.send(CommandAnswer::Elsewhere(leader));
        }
        let mut aborted = Vec::new();
        for (number, in_hand) in std::mem::take(&mut waiting.transactions) {
            if in_hand.is_asked {
                in_hand.known.send_replace(Known::InDoubt);
                waiting.unresolved.insert(number, in_hand);
            } else {
                aborted.push((number, in_hand));
            }
        }
        drop(waiting);
        for (number, in_hand) in aborted.into_iter().filter(|(_, in_hand)| in_hand.is_used) {
            self.end(number, in_hand, Ended::Aborted(AbortReason::TakenOver));
        }
        if let Some(log) = &self.replicated {
            self.calls.runtime().spawn(follow(Arc::downgrade(self), log.clone()));
        }
    }

    /// The transactions whose outcome the log will tell.
    pub(super) fn unresolved(&self) -> Vec<TransactionNumber> {
        self.waiting().unresolved.keys().copied().collect()
    }

    /// The log tells how such a transaction ended.
    pub(super) fn resolved(&self, number: TransactionNumber, ended: Ended) {
        let in_hand = self.waiting().unresolved.remove(&number);
        if let Some(in_hand) = in_hand {
            self.end(number, in_hand, ended);
        }
    }

    /// The log tells nothing of such a transaction any more.
    pub(super) fn unknown(&self, number: TransactionNumber) {
        self.waiting().unresolved.remove(&number);
    }

    /// Tells the outcome of a transaction that this node does not serve, and ends what is left of its branches here.
    /// The node that serves the manager sees to the prepared ones, and only this one can reach the sessions of others.
    fn end(&self, number: TransactionNumber, in_hand: InHand, ended: Ended) {
        let is_committed = matches!(ended, Ended::Committed { .. });
        metrics::count(&self.label, &ended);
        in_hand.known.send_replace(Known::Ended(ended));
        for resource in in_hand.resources {
            let Some(described) = self.resources.get(&resource) else { continue };
            let (branch, resource) = (BranchId { manager: self.id, number, resource }, described.resource.clone());
            self.calls.make(Subject::Branch(branch), async move {
                // What fails is repeated by the node that serves the manager, or ends with the session.
                if is_committed {
                    let _ = resource.commit(branch).await;
                } else {
                    let _ = resource.roll_back(branch).await;
                }
            });
        }
    }

    fn on_event(&self, event: ManagerEvent) {
        self.log(&event);
        match event {
            ManagerEvent::Begun { command, transaction } => self.on_begun(command, transaction),
            ManagerEvent::Refused { command, reason } => {
                self.waiting().refills.remove(&command);
                self.answer(command, CommandAnswer::Refused(reason));
            }
            ManagerEvent::Known { command, knowledge } => self.answer(command, CommandAnswer::Knowledge(knowledge)),
            ManagerEvent::Done { command } => self.answer(command, CommandAnswer::Done),
            ManagerEvent::Ended { transaction, outcome } => {
                let in_hand = self.waiting().transactions.remove(&transaction);
                if in_hand.as_ref().is_none_or(|in_hand| in_hand.is_used) {
                    metrics::count(&self.label, &outcome);
                }
                if let Some(in_hand) = in_hand {
                    in_hand.known.send_replace(Known::Ended(outcome));
                }
            }
            ManagerEvent::InDoubt { transaction, .. } => {
                if let Some(in_hand) = self.waiting().transactions.get(&transaction) {
                    in_hand.known.send_replace(Known::InDoubt);
                }
            }
            ManagerEvent::Uncommitted { .. }
            | ManagerEvent::Overdue { .. }
            | ManagerEvent::Recovered { .. }
            | ManagerEvent::Hazard { .. } => {}
            // No transaction is begun any more, and none that was begun in advance is used.
            ManagerEvent::Superseded { .. } => self.waiting().stock.clear(),
        }
    }

    /// Tells the log of the process what an operator should know.
    fn log(&self, event: &ManagerEvent) {
        let manager = self.id;
        match event {
            ManagerEvent::InDoubt { transaction, age } => {
                tracing::warn!(%manager, %transaction, ?age, "the only resource has not told its decision");
            }
            ManagerEvent::Uncommitted { transaction, resources, age } => {
                let resources: Vec<String> = resources.iter().map(|resource| self.name_of(*resource)).collect();
                tracing::warn!(%manager, %transaction, ?resources, ?age, "resources have not committed");
            }
            ManagerEvent::Overdue { request, age, failures } => {
                let resource = self.name_of(request.resource());
                let request = request.name();
                tracing::warn!(%manager, resource, request, ?age, failures, "a resource does not do its work");
            }
            ManagerEvent::Recovered { resource, branches } => {
                let resource = self.name_of(*resource);
                tracing::info!(%manager, resource, branches, "the resource has listed its branches of earlier starts");
            }
            ManagerEvent::Hazard { branch, hazard } => {
                tracing::error!(%branch, ?hazard, "a branch did not follow the decision");
            }
            ManagerEvent::Superseded { resource, epoch } => {
                let resource = self.name_of(*resource);
                tracing::error!(%manager, resource, %epoch, "a later start of this manager is at work");
            }
            _ => {}
        }
    }

    /// If nobody waits for the transaction any more, it is aborted.
    fn on_begun(&self, command: CommandId, number: TransactionNumber) {
        let (known, receiver) = watch::channel(Known::Undecided);
        let mut waiting = self.waiting();
        let caller = waiting.commands.remove(&command);
        if caller.is_none() && !waiting.refills.remove(&command) {
            return;
        }
        waiting.transactions.insert(
            number,
            InHand {
                is_used: caller.is_some(),
                known,
                resources: BTreeSet::new(),
                is_asked: false,
                unsettled: BTreeSet::new(),
                ballot: None,
            },
        );
        let Some(caller) = caller else {
            return waiting.stock.push_back((number, receiver));
        };
        drop(waiting);
        if caller.send(CommandAnswer::Begun(number, receiver)).is_err() {
            // An error says that the manager has stopped, so that the transaction is aborted by presumption.
            self.post(ManagerCommand::Abort { transaction: number });
        }
    }

    fn answer(&self, command: CommandId, answer: CommandAnswer) {
        if let Some(caller) = self.waiting().commands.remove(&command) {
            // The caller may have dropped its future.
            let _ = caller.send(answer);
        }
    }

    /// Makes the call to the resource, in the runtime of the application.
    fn on_request(self: &Arc<Self>, ticket: Ticket, request: ManagerRequest) {
        let Some(described) = self.resources.get(&request.resource()) else { return };
        let (subject, resource, manager) = (Subject::of(&request), described.resource.clone(), self.id);
        let mut completion = Completion::new(self.inbox.clone(), ticket);
        if let ManagerRequest::Prepare(branch) = &request {
            let ballot = self.waiting().transactions.get(&branch.number).and_then(|it| it.ballot.clone());
            if let Some(ballot) = ballot {
                let Some(unadopted) = ballot.adopt(branch.resource, completion) else { return };
                completion = unadopted;
            }
        }
        let weak = Arc::downgrade(self);
        self.calls.make(subject, async move {
            let branch = request.branch();
            let answer = carry_out(&*resource, manager, request).await;
            if let (Ok(ManagerAnswer::Committed(CommitEnd::Committed)), Some(branch)) = (&answer, branch)
                && let Some(shared) = weak.upgrade()
            {
                shared.on_committed(branch);
            }
            completion.answer(answer.unwrap_or_else(|error| ManagerAnswer::Failed(with_sources(&error))));
        });
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.inbox.end();
    }
}

/// So many events and requests were dropped because nobody took them.
#[derive(Debug)]
pub(super) struct Lost(pub(super) u64);

async fn carry_out(
    resource: &dyn ResourceManager,
    manager: ManagerId,
    request: ManagerRequest,
) -> Result<ManagerAnswer, ResourceError> {
    Ok(match request {
        ManagerRequest::Prepare(branch) => ManagerAnswer::Voted(resource.prepare(branch).await?),
        ManagerRequest::Commit(branch) => ManagerAnswer::Committed(resource.commit(branch).await?),
        ManagerRequest::CommitOnePhase(branch) => ManagerAnswer::Decided(resource.commit_one_phase(branch).await?),
        ManagerRequest::RollBack(branch) => ManagerAnswer::RolledBack(resource.roll_back(branch).await?),
        ManagerRequest::Recover(id) => ManagerAnswer::Listed(resource.recover(manager, id).await?),
        ManagerRequest::Forget { resource: id, below, unfinished } => {
            resource.forget(manager, id, below, &unfinished).await?;
            ManagerAnswer::Forgotten
        }
    })
}

/// Transactions that are begun in advance at most: so many clients that begin one after another never wait for it.
const STOCK_MAX: usize = 16;
/// They are at most this share of all that may be open at a time.
const STOCK_SHARE: usize = 64;
