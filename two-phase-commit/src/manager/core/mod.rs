//! The core of a transaction manager: a coordinator whose participants are resources, as a pure state machine.
//!
//! [`ManagerCore`] has the core of two-phase commit inside, as a coordinator. Each resource is a participant under a
//! node id made from its name. The coordinator's messages to a resource do not leave: the participant's side is here,
//! and turns them into requests to the resource. A resource keeps its prepared branches itself, so a participant needs
//! no log: a commit costs one forced write here, that of the decision.

mod branches;
mod content;
mod event;
mod names;
mod outside;
mod scans;
mod settings;
mod status;
mod transactions;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quorate_protocol::{
    HaltReason, Input, Instant, NodeId, Now, Output, Protocol, RecoverError, Recovery, Signal, Standing, Ticket, View,
};

use crate::message::{Acknowledgement, Message};
use crate::state::Stage as Decided;
use crate::{
    AbortReason as CoreAbort, Command, CommandId, Decision, Epoch, Event, TransactionId, TransactionNumber,
    TransactionOutcome, TransactionRefusal, TwoPhaseCommit, Vote,
};

use super::branch::ResourceId;
use branches::{Branches, Key, Progress, Stage};
use names::Names;
use outside::{Outside, Subject, Timer};
use scans::Scans;
use transactions::{RefusedFor, Transactions};

pub use event::{AbortReason, Ended, Hazard, ManagerAnswer, ManagerCommand, ManagerEvent, ManagerRequest};
pub use settings::{ManagerConfig, ManagerSettings};
pub use status::{InDoubt, ManagerStatus, ResourceStatus, Stuck};

pub(crate) use content::Content;
pub(crate) use names::NAME_BYTES_MAX;

/// The core of a transaction manager. See the [module](self).
#[derive(Clone, Debug)]
pub struct ManagerCore {
    coordinator: TwoPhaseCommit,
    outside: Outside,
    transactions: Transactions,
    branches: Branches,
    scans: Scans,
    names: Names,
    /// Words of an operator that are not durable yet, with their transactions.
    unsaid: Vec<(CommandId, TransactionNumber)>,
    has_begun: bool,
    /// Reason why the manager touches nothing any more.
    halted: Option<HaltReason>,
    superseded_by: Option<Epoch>,
}

impl Protocol for ManagerCore {
    type Config = ManagerConfig;
    type Message = Message;
    type Command = ManagerCommand;
    type Event = ManagerEvent;
    type Request = ManagerRequest;
    type Answer = ManagerAnswer;
    type View = (View, String);

    fn recover(now: Now, config: ManagerConfig, mut recovery: Recovery) -> Result<Self, RecoverError> {
        let names = Names::recover(&mut recovery, &config)?;
        let config = config.with_id(names.manager());
        let coordinator = TwoPhaseCommit::recover(now, config.protocol().clone(), recovery)?;
        let outside = Outside::new(now, config);
        Ok(Self {
            coordinator,
            transactions: Transactions::default(),
            branches: Branches::default(),
            scans: Scans::new(&outside),
            outside,
            names,
            unsaid: Vec::new(),
            has_begun: false,
            halted: None,
            superseded_by: None,
        })
    }

    fn handle(&mut self, now: Now, input: Input<Self>) {
        self.outside.now = self.outside.now.advanced_to(now);
        match input {
            Input::Command(command) => self.on_command(command),
            Input::Completed { ticket, answer } if self.halted.is_none() => self.on_completed(ticket, answer),
            Input::Signal(signal) => self.on_signal(signal),
            // The log of a manager has no peers.
            Input::Completed { .. } | Input::Message { .. } => {}
        }
    }

    fn stopping(&mut self, now: Now) {
        self.outside.now = self.outside.now.advanced_to(now);
        // What resources have said is written as well.
        while let Some((from, message)) = self.outside.to_coordinator.pop_front() {
            self.coordinator.handle(self.outside.now, Input::Message { from, message });
        }
        self.coordinator.stopping(now);
    }

    fn poll_output(&mut self) -> Option<Output<Self>> {
        loop {
            if let Some(output) = self.outside.outputs.pop_front() {
                return Some(output);
            }
            if let Some((from, message)) = self.outside.to_coordinator.pop_front() {
                self.coordinator.handle(self.outside.now, Input::Message { from, message });
                continue;
            }
            if let Some(output) = self.on_output_of_coordinator() {
                return Some(output);
            }
            if self.outside.outputs.is_empty() && self.outside.to_coordinator.is_empty() {
                self.say_what_is_durable();
                return self.outside.outputs.pop_front();
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        if self.halted.is_some() {
            return None;
        }
        self.coordinator.deadline().into_iter().chain(self.outside.timers.next()).min()
    }

    fn model_view(&self) -> Self::View {
        let branches: Vec<_> = self.branches.all().iter().map(|(key, it)| (key, it.stage)).collect();
        let timers: Vec<_> = self.outside.timers.iter().map(|(_, timer)| timer).collect();
        (self.coordinator.model_view(), format!("{branches:?} {timers:?} {:?} {:?}", self.transactions, self.halted))
    }

    fn check_invariants(&self) {
        self.coordinator.check_invariants();
        self.branches.check(&self.outside);
    }
}

impl ManagerCore {
    /// The state of the manager, with what is stuck and why.
    pub fn status(&self) -> ManagerStatus {
        ManagerStatus::of(self)
    }

    fn epoch(&self) -> Epoch {
        self.coordinator.base.journal.epoch()
    }

    fn id_of(&self, number: TransactionNumber) -> TransactionId {
        self.coordinator.base.id_of(number)
    }

    fn give(&mut self, command: Command) {
        self.coordinator.handle(self.outside.now, Input::Command(command));
    }

    fn on_command(&mut self, command: ManagerCommand) {
        if self.halted.is_some() {
            return self.refuse_halted(&command);
        }
        match command {
            ManagerCommand::Begin { command, timeout } => {
                let command = self.transactions.begin(command, timeout);
                self.give(Command::Begin { command });
            }
            ManagerCommand::Start { transaction, timeout } => {
                self.transactions.start(&mut self.outside, transaction, timeout);
            }
            ManagerCommand::Enlist { transaction, resource } => self.on_enlist(transaction, resource),
            ManagerCommand::Commit { transaction, votes } => self.on_commit(transaction, votes),
            ManagerCommand::Abort { transaction } => self.abort(transaction, AbortReason::Asked),
            ManagerCommand::Query { command, transaction } => {
                let (command, transaction) = (self.transactions.query(command), self.id_of(transaction));
                self.give(Command::Query { command, transaction });
            }
            ManagerCommand::Forget { command, transaction } => {
                let (command, transaction) = (self.transactions.query(command), self.id_of(transaction));
                self.give(Command::ForgetMixed { command, transaction });
            }
            ManagerCommand::Release { command, transaction, resource } => {
                self.on_release(command, Key { number: transaction, resource });
            }
            ManagerCommand::Resolve { command, transaction, decision } => {
                self.on_resolve(command, transaction, decision);
            }
        }
    }

    fn refuse_halted(&mut self, command: &ManagerCommand) {
        let (ManagerCommand::Begin { command, .. }
        | ManagerCommand::Query { command, .. }
        | ManagerCommand::Forget { command, .. }
        | ManagerCommand::Release { command, .. }
        | ManagerCommand::Resolve { command, .. }) = command
        else {
            return;
        };
        self.refuse(*command, TransactionRefusal::Halted);
    }

    /// A branch of a transaction that has ended meanwhile is rolled back.
    fn on_enlist(&mut self, number: TransactionNumber, resource: ResourceId) {
        let key = Key { number, resource };
        match self.transactions.get_mut(number) {
            Some(open) if open.commit.is_none() => {
                open.resources.insert(resource);
                self.branches.enlist(self.outside.now.instant, key);
            }
            _ if self.branches.stage(key).is_none() => {
                self.branches.enter(&mut self.outside, key, Stage::RollingBack);
            }
            _ => {}
        }
    }

    fn on_commit(&mut self, number: TransactionNumber, votes: BTreeMap<ResourceId, Option<Vote>>) {
        let command = self.transactions.new_command();
        let Some(open) = self.transactions.get_mut(number) else { return };
        if open.commit.is_some() {
            return;
        }
        open.commit = Some(command);
        for resource in votes.keys().filter(|resource| open.resources.insert(**resource)) {
            self.branches.enlist(self.outside.now.instant, Key { number, resource: *resource });
        }
        if open.resources.is_empty() {
            // There is nothing to commit, which is true of its abort as well.
            return self.abort(number, AbortReason::Asked);
        }
        // The only resource may be asked to decide, and then must not be prepared.
        let may_vote = open.resources.len() > 1;
        let branches = open.resources.iter().map(|resource| (NodeId(resource.0), Bytes::new())).collect();
        let transaction = self.id_of(number);
        let mut given = BTreeMap::new();
        for (resource, vote) in votes.into_iter().filter(|_| may_vote) {
            let Some(vote) = vote else { continue };
            if self.branches.has_voted(Key { number, resource }, vote) {
                given.insert(NodeId(resource.0), vote);
            }
        }
        self.coordinator.commit_with_votes(self.outside.now, (command, transaction), branches, given);
    }

    /// Asks the coordinator to abort. It refuses if the transaction is decided or about to be.
    fn abort(&mut self, number: TransactionNumber, why: AbortReason) {
        let Some(open) = self.transactions.get_mut(number) else { return };
        open.why.get_or_insert(why);
        let (command, transaction) = (self.transactions.new_command(), self.id_of(number));
        self.give(Command::Abort { command, transaction });
    }

    /// A resource will never commit its branch, as the operator says.
    fn on_release(&mut self, command: CommandId, key: Key) {
        let is_waited_for = match self.decided(key.number) {
            Some(Decided::Committed { unacknowledged, .. }) => unacknowledged.contains(&NodeId(key.resource.0)),
            _ => false,
        };
        if !is_waited_for {
            return self.refuse(command, TransactionRefusal::NotBegun);
        }
        self.branches.end(&mut self.outside, key);
        self.acknowledge(key, Acknowledgement::Forgotten);
        self.transactions.on_first_answer(&mut self.outside, key.number, key.resource, true);
        self.unsaid.push((command, key.number));
    }

    /// The operator says what the only resource of a transaction would say.
    fn on_resolve(&mut self, command: CommandId, number: TransactionNumber, decision: Decision) {
        let Some(Decided::Delegated { participant, .. }) = self.decided(number) else {
            return self.refuse(command, TransactionRefusal::NotBegun);
        };
        let resource = ResourceId(participant.0);
        self.branches.end(&mut self.outside, Key { number, resource });
        let transaction = self.id_of(number);
        self.outside.tell(resource, Message::Outcome { transaction, decision });
        self.unsaid.push((command, number));
    }

    /// Answers the operator once the end of the transaction is durable, or other resources are waited for.
    fn say_what_is_durable(&mut self) {
        for (command, number) in std::mem::take(&mut self.unsaid) {
            match self.decided(number) {
                None | Some(Decided::Committed { .. }) => self.outside.event(ManagerEvent::Done { command }),
                Some(_) => self.unsaid.push((command, number)),
            }
        }
    }

    fn decided(&self, number: TransactionNumber) -> Option<&Decided> {
        self.coordinator.coordinator.coordinated().get(&number).map(|it| &it.stage)
    }

    fn refuse(&mut self, command: CommandId, reason: TransactionRefusal) {
        self.outside.event(ManagerEvent::Refused { command, reason });
    }

    fn on_signal(&mut self, signal: Signal) {
        match signal {
            Signal::Timeout => self.on_timeout(),
            Signal::Persisted(ticket) => self.names.persisted(ticket),
            // The other nodes of a replicated log take part in no transaction.
            Signal::PeerStanding { node, .. } if node != self.outside.config.node() => return,
            _ => {}
        }
        let is_member = signal == Signal::PeerStanding { node: self.outside.config.node(), standing: Standing::Member };
        self.coordinator.handle(self.outside.now, Input::Signal(signal));
        if is_member && !std::mem::replace(&mut self.has_begun, true) {
            self.begin();
        }
    }

    /// The log is known to be this manager's: its resources are participants, and are asked what they have prepared.
    fn begin(&mut self) {
        // Resources that are not described any more are participants too, for the words of an operator.
        for resource in self.names.known() {
            let signal = Signal::PeerStanding { node: NodeId(resource.0), standing: Standing::Member };
            self.coordinator.handle(self.outside.now, Input::Signal(signal));
        }
        self.scans.begin(&mut self.outside);
    }

    fn on_timeout(&mut self) {
        if self.halted.is_some() {
            return;
        }
        while let Some(timer) = self.outside.timers.pop_due(self.outside.now.instant) {
            match timer {
                Timer::Deadline(number) => self.abort(number, AbortReason::Deadline),
                Timer::Branch(key) => {
                    if self.branches.on_timeout(&mut self.outside, key) {
                        self.transactions.on_first_answer(&mut self.outside, key.number, key.resource, false);
                    }
                }
                Timer::Scan(resource) => self.scans.on_scan_timeout(&mut self.outside, resource),
                Timer::Forget(resource) => {
                    if self.scans.on_forget_timeout(&mut self.outside, resource) {
                        let coordinator = self.coordinator.base.config.coordinator();
                        self.outside.tell(resource, Message::InquireFinished { coordinator });
                    }
                }
            }
        }
    }

    fn on_completed(&mut self, ticket: Ticket, answer: ManagerAnswer) {
        // The answer to a request that was replaced, or a second one, does not count.
        let Some(subject) = self.outside.requests.remove(&ticket) else { return };
        match subject {
            Subject::Branch(key) => self.on_branch_answer(key, answer),
            Subject::Scan(resource) => self.on_list(resource, answer),
            Subject::Forget(resource) => self.scans.on_forgotten(&mut self.outside, resource, answer),
        }
    }

    fn on_branch_answer(&mut self, key: Key, answer: ManagerAnswer) {
        let is_commit = self.branches.stage(key) == Some(Stage::Committing);
        let progress = self.branches.on_answer(&mut self.outside, key, answer);
        let transaction = self.id_of(key.number);
        match progress {
            Progress::Again | Progress::RolledBack => {}
            Progress::Voted(vote) => self.outside.tell(key.resource, Message::Vote { transaction, vote }),
            Progress::Committed => self.acknowledge(key, Acknowledgement::Applied),
            Progress::Decided(decision) => self.outside.tell(key.resource, Message::Outcome { transaction, decision }),
            Progress::Hazard(hazard) => self.acknowledge(key, hazard.acknowledgement()),
        }
        if !matches!(progress, Progress::Again | Progress::Voted(_)) {
            self.scans.on_ended(&mut self.outside, key);
        }
        if is_commit {
            let is_hazard = matches!(progress, Progress::Hazard(_));
            self.transactions.on_first_answer(&mut self.outside, key.number, key.resource, is_hazard);
        }
    }

    fn acknowledge(&mut self, key: Key, how: Acknowledgement) {
        let transaction = self.id_of(key.number);
        self.outside.tell(key.resource, Message::Acknowledge { transaction, how });
    }

    /// The coordinator says of each branch of an earlier start whether it is committed. One that it does not know was
    /// not decided, and is presumed aborted.
    fn on_list(&mut self, resource: ResourceId, answer: ManagerAnswer) {
        let own = self.epoch();
        let listed = self.scans.on_list(&mut self.outside, resource, own, answer);
        if let Some(epoch) = listed.superseded_by {
            return self.stop(resource, epoch);
        }
        for key in listed.earlier {
            if self.branches.stage(key).is_none() {
                let transaction = self.id_of(key.number);
                self.outside.tell(resource, Message::Inquire { transaction });
            }
        }
    }

    fn stop(&mut self, resource: ResourceId, epoch: Epoch) {
        self.superseded_by = Some(epoch);
        self.outside.outputs.clear();
        self.outside.to_coordinator.clear();
        self.outside.requests.clear();
        self.outside.event(ManagerEvent::Superseded { resource, epoch });
        let reason = HaltReason::LawBroken("a resource has prepared branches of a later start of this manager");
        if self.outside.config.is_replicated() {
            self.halted = Some(reason);
        } else {
            self.halt(reason);
        }
    }

    fn halt(&mut self, reason: HaltReason) {
        self.outside.outputs.push_back(Output::Halt { reason: reason.clone() });
        self.halted = Some(reason);
    }

    /// Takes one output of the coordinator. Returns it if it is for the log, and otherwise acts on it.
    fn on_output_of_coordinator(&mut self) -> Option<Output<Self>> {
        if self.halted.is_some() {
            return None;
        }
        while let Some(output) = self.coordinator.poll_output() {
            match output {
                Output::Persist { ticket, mut operations } => {
                    self.names.join(ticket, &mut operations);
                    return Some(Output::Persist { ticket, operations });
                }
                Output::Send { to, message } => self.on_message_to(ResourceId(to.0), message),
                Output::Event(event) => self.on_event(event),
                Output::Halt { reason } => self.halt(reason),
                // The coordinator reads nothing, and takes part in no transaction itself.
                Output::Load { .. } | Output::Request { .. } => {}
            }
            if !self.outside.outputs.is_empty() {
                break;
            }
        }
        None
    }

    /// The participant's side of a message of the coordinator.
    fn on_message_to(&mut self, resource: ResourceId, message: Message) {
        match message {
            Message::Prepare(prepare) => self.on_prepare(Key { number: prepare.transaction.number, resource }),
            Message::Decide(decide) => {
                let key = Key { number: decide.transaction.number, resource };
                match decide.decision {
                    Decision::Commit => self.on_decided_commit(key),
                    Decision::Abort => self.roll_back(key),
                }
            }
            Message::Presume { transaction, .. } => self.roll_back(Key { number: transaction.number, resource }),
            Message::CommitOnePhase(request) => {
                let key = Key { number: request.transaction.number, resource };
                self.enter_if_served(key, Stage::OnePhase);
            }
            Message::Finished(finished) => {
                let mut unfinished = finished.unfinished;
                unfinished.extend(self.branches.unfinished(resource));
                self.scans.on_finished(&mut self.outside, resource, finished.until, unfinished);
            }
            // A coordinator sends nothing else.
            _ => {}
        }
    }

    fn on_prepare(&mut self, key: Key) {
        match self.branches.stage(key) {
            Some(Stage::AtWork) => self.branches.enter(&mut self.outside, key, Stage::Preparing),
            // Repeated.
            Some(_) => {}
            // Nothing was ever done in the branch under this name.
            None => {
                let transaction = self.id_of(key.number);
                self.outside.tell(key.resource, Message::Vote { transaction, vote: Vote::No });
            }
        }
    }

    /// The decision is durable. A branch that is being committed is not asked anew.
    fn on_decided_commit(&mut self, key: Key) {
        match self.branches.stage(key) {
            None | Some(Stage::Prepared) => self.enter_if_served(key, Stage::Committing),
            Some(_) => {}
        }
    }

    fn roll_back(&mut self, key: Key) {
        match self.branches.stage(key) {
            Some(Stage::Done) => {}
            _ => self.enter_if_served(key, Stage::RollingBack),
        }
    }

    /// A resource that the log knows and the program does not describe any more cannot be asked. The transaction stays
    /// unacknowledged, and is shown as such.
    fn enter_if_served(&mut self, key: Key, stage: Stage) {
        if self.outside.config.resources().contains_key(&key.resource) {
            self.branches.enter(&mut self.outside, key, stage);
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Begun { command, transaction } => {
                self.transactions.begun(&mut self.outside, command, transaction.number);
            }
            Event::Refused { command, reason } => self.on_refused(command, reason),
            Event::Ended { transaction, outcome } => self.on_ended(transaction.number, outcome),
            Event::Known { command, knowledge, .. } => {
                if let Some(command) = self.transactions.answer_query(command) {
                    self.outside.event(ManagerEvent::Known { command, knowledge });
                }
            }
            Event::InDoubt { transaction, age } => {
                self.outside.event(ManagerEvent::InDoubt { transaction: transaction.number, age });
            }
            Event::Unacknowledged { transaction, participants, age } => {
                let resources = participants.into_iter().map(|node| ResourceId(node.0)).collect();
                let transaction = transaction.number;
                self.outside.event(ManagerEvent::Uncommitted { transaction, resources, age });
            }
            Event::Mixed { transaction, participant, deviation, .. } => {
                let key = Key { number: transaction.number, resource: ResourceId(participant.0) };
                let branch = self.outside.branch_id(key);
                self.outside.event(ManagerEvent::Hazard { branch, hazard: Hazard::of(deviation) });
            }
            Event::MixedForgotten { command, .. } => {
                if let Some(command) = self.transactions.answer_query(command) {
                    self.outside.event(ManagerEvent::Done { command });
                }
            }
            // The others are of participants, or repeat what was done here.
            _ => {}
        }
    }

    fn on_refused(&mut self, command: CommandId, reason: TransactionRefusal) {
        match self.transactions.refused(command) {
            RefusedFor::Caller(command) => self.refuse(command, reason),
            RefusedFor::Commit(number) => self.abort(number, AbortReason::NotBegun(reason)),
            RefusedFor::Nobody => {}
        }
    }

    /// The coordinator has decided. It tells an abort only to participants that may have prepared, so all branches of
    /// an aborted transaction are rolled back here.
    fn on_ended(&mut self, number: TransactionNumber, outcome: TransactionOutcome) {
        let open = self.transactions.close(&mut self.outside, number);
        let branches: Vec<(Key, Stage)> = self.branches.of(number).collect();
        for (key, stage) in &branches {
            if *stage == Stage::Done {
                self.branches.end(&mut self.outside, *key);
            }
        }
        let without = BTreeSet::new();
        let ended = match outcome {
            TransactionOutcome::Committed => {
                let waits = !self.outside.config.settings().answer_when_decided;
                let prepared = branches.iter().filter(|(_, stage)| waits && *stage == Stage::Prepared);
                let prepared = prepared.map(|(key, _)| key.resource).collect();
                return self.transactions.settle(&mut self.outside, number, prepared);
            }
            TransactionOutcome::ReadOnly => Ended::Committed { without },
            TransactionOutcome::Aborted(reason) => {
                for (key, _) in branches.iter().filter(|(_, stage)| *stage != Stage::Done) {
                    self.roll_back(*key);
                }
                let is_empty = open.as_ref().is_some_and(|open| open.commit.is_some() && open.resources.is_empty());
                match open.and_then(|open| open.why) {
                    _ if is_empty => Ended::Committed { without },
                    Some(why) if reason == CoreAbort::Asked => Ended::Aborted(why),
                    _ => Ended::Aborted(why_aborted(reason)),
                }
            }
        };
        self.outside.event(ManagerEvent::Ended { transaction: number, outcome: ended });
    }
}

fn why_aborted(reason: CoreAbort) -> AbortReason {
    match reason {
        CoreAbort::Asked => AbortReason::Asked,
        CoreAbort::Idle => AbortReason::Deadline,
        CoreAbort::TimedOut => AbortReason::Late,
        CoreAbort::Unready(node, why) => AbortReason::Unready(ResourceId(node.0), why),
        CoreAbort::Refused(node) => AbortReason::Refused(ResourceId(node.0)),
        CoreAbort::NotWritten => AbortReason::NotWritten,
        CoreAbort::TakenOver => AbortReason::TakenOver,
    }
}
