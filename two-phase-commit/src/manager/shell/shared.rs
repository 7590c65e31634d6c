//! The part of a manager that its handles, its calls and the thread of its log share.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quorate_protocol::{GroupId, Ticket};
use quorate_runtime::NodeHandle;
use quorate_runtime::hosted::{Hosted, Told};
use quorate_runtime::shell::CallAnswer;
use tokio::sync::{oneshot, watch};

use super::calls::{Calls, Subject};
use crate::manager::core::{Ended, ManagerAnswer, ManagerCommand, ManagerCore, ManagerEvent, ManagerRequest};
use crate::manager::{ManagerId, ResourceError, ResourceId, ResourceManager, metrics};
use crate::{CommandId, Knowledge, TransactionNumber, TransactionRefusal};

/// The group of the manager's core in its node.
pub(super) const GROUP: GroupId = GroupId(1);

/// What the application knows of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Known {
    Undecided,
    /// The decision was left to the only resource, which does not answer.
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
}

pub(super) struct Shared {
    pub(super) id: ManagerId,
    /// The identity as a label of metrics.
    label: String,
    pub(super) node: NodeHandle,
    pub(super) resources: BTreeMap<ResourceId, Described>,
    pub(super) timeout: Duration,
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
    transactions: BTreeMap<TransactionNumber, watch::Sender<Known>>,
    /// True if no transaction is begun any more.
    is_closing: bool,
    is_closed: bool,
}

impl Shared {
    pub(super) fn new(
        id: ManagerId,
        node: NodeHandle,
        resources: BTreeMap<ResourceId, Described>,
        timeout: Duration,
        calls: Calls,
    ) -> Self {
        Self { id, label: id.to_string(), node, resources, timeout, calls, waiting: Mutex::default() }
    }

    /// The name of a resource, or its id if the manager does not know it.
    pub(super) fn name_of(&self, resource: ResourceId) -> String {
        self.resources.get(&resource).map_or_else(|| resource.to_string(), |described| described.name.to_string())
    }

    /// Gives the core a command that has no answer of its own.
    pub(super) fn post(&self, command: ManagerCommand) -> CallAnswer<()> {
        self.node.look(GROUP, move |hosted: &mut Hosted<ManagerCore>, now| {
            // The log is the node's own, so the core is always served.
            let _ = hosted.command(now, command);
        })
    }

    /// Gives the core a command and waits for its answer; `None` if the manager has stopped.
    pub(super) async fn ask(&self, command: impl FnOnce(CommandId) -> ManagerCommand) -> Option<CommandAnswer> {
        let (sender, mut receiver) = oneshot::channel();
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
        let posted = self.post(command(id));
        tokio::select! {
            biased;
            answer = &mut receiver => answer.ok(),
            posted = posted => {
                if posted.is_err() {
                    self.waiting().commands.remove(&id);
                }
                receiver.await.ok()
            }
        }
    }

    /// Begins no transaction any more, aborts those that are not decided, and waits until nothing is asked of any
    /// branch.
    pub(super) async fn abort_all(&self) {
        let open: Vec<(TransactionNumber, watch::Receiver<Known>)> = {
            let mut waiting = self.waiting();
            waiting.is_closing = true;
            waiting.transactions.iter().map(|(number, sender)| (*number, sender.subscribe())).collect()
        };
        for (number, _) in &open {
            drop(self.post(ManagerCommand::Abort { transaction: *number }));
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
            // The log is the node's own, so the core neither comes nor goes.
            Told::Serving | Told::NotServing { .. } => {}
        }
        Ok(())
    }

    /// The core tells nothing any more: nobody waits for it in vain.
    pub(super) fn close(&self) {
        let mut waiting = self.waiting();
        waiting.is_closed = true;
        waiting.commands.clear();
        waiting.transactions.clear();
    }

    fn on_event(&self, event: ManagerEvent) {
        self.log(&event);
        match event {
            ManagerEvent::Begun { command, transaction } => self.on_begun(command, transaction),
            ManagerEvent::Refused { command, reason } => self.answer(command, CommandAnswer::Refused(reason)),
            ManagerEvent::Known { command, knowledge } => self.answer(command, CommandAnswer::Knowledge(knowledge)),
            ManagerEvent::Done { command } => self.answer(command, CommandAnswer::Done),
            ManagerEvent::Ended { transaction, outcome } => {
                metrics::count(&self.label, &outcome);
                if let Some(sender) = self.waiting().transactions.remove(&transaction) {
                    sender.send_replace(Known::Ended(outcome));
                }
            }
            ManagerEvent::InDoubt { transaction, .. } => {
                if let Some(sender) = self.waiting().transactions.get(&transaction) {
                    sender.send_replace(Known::InDoubt);
                }
            }
            ManagerEvent::Uncommitted { .. }
            | ManagerEvent::Overdue { .. }
            | ManagerEvent::Recovered { .. }
            | ManagerEvent::Hazard { .. }
            | ManagerEvent::Superseded { .. } => {}
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
        let (sender, receiver) = watch::channel(Known::Undecided);
        let mut waiting = self.waiting();
        let Some(caller) = waiting.commands.remove(&command) else { return };
        waiting.transactions.insert(number, sender);
        drop(waiting);
        if caller.send(CommandAnswer::Begun(number, receiver)).is_err() {
            // An error says that the manager has stopped, so that the transaction is aborted by presumption.
            drop(self.post(ManagerCommand::Abort { transaction: number }));
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
        let completion = Completion { node: self.node.clone(), ticket, answer: None };
        self.calls.make(subject, async move {
            let answer = carry_out(&*resource, manager, request).await;
            completion.answer(answer.unwrap_or_else(|error| ManagerAnswer::Failed(with_sources(&error))));
        });
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// So many events and requests were dropped because nobody took them.
#[derive(Debug)]
pub(super) struct Lost(pub(super) u64);

/// Answers a request when it is dropped, so that a call that panics or is dropped is answered as well.
struct Completion {
    node: NodeHandle,
    ticket: Ticket,
    answer: Option<ManagerAnswer>,
}

impl Completion {
    fn answer(mut self, answer: ManagerAnswer) {
        self.answer = Some(answer);
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        let answer = self.answer.take();
        let answer = answer.unwrap_or_else(|| ManagerAnswer::Failed("the call was dropped, or panicked".to_owned()));
        let ticket = self.ticket;
        // An answer that is lost because too many calls wait is asked for again.
        drop(self.node.look(GROUP, move |hosted: &mut Hosted<ManagerCore>, now| hosted.complete(now, ticket, answer)));
    }
}

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

/// The error and what caused it, in one line.
fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
