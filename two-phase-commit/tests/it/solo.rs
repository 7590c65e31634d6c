//! One core whose every output is handled by the test: messages, writes, requests and events go nowhere by themselves.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use quorate_protocol::testing::Stream;
use quorate_protocol::{
    HaltReason, Input, NodeId, Now, Operation, Output, PersistFailure, Protocol, Signal, Standing, Ticket,
};
use quorate_two_phase_commit::message::{Decide, Prepare, Stamp};
use quorate_two_phase_commit::{
    Answer, Config, CoordinatorId, Decision, Epoch, Event, Message, Request, Settings, TransactionId,
    TransactionNumber, TwoPhaseCommit, Vote,
};

/// A node alone.
pub(crate) struct Solo {
    pub(crate) core: TwoPhaseCommit,
    pub(crate) disk: Stream,
    config: Config,
    pub(crate) now: Now,
    pub(crate) writes: VecDeque<(Ticket, Vec<Operation>)>,
    pub(crate) sent: Vec<(NodeId, Message)>,
    pub(crate) requests: Vec<(Ticket, Request)>,
    pub(crate) events: Vec<Event>,
    pub(crate) halted: Option<HaltReason>,
}

impl Solo {
    /// A node with an empty disk that was introduced to nodes 1 to 3, and has completed its first writes.
    pub(crate) fn new(node: u64, settings: Settings) -> Self {
        let config = Config::new(NodeId(node), node, settings).expect("usable settings");
        let (disk, now) = (Stream::default(), Now::default());
        let core = TwoPhaseCommit::recover(now, config.clone(), disk.recovery(usize::MAX)).expect("an empty disk");
        let (writes, sent, requests, events) = (VecDeque::new(), Vec::new(), Vec::new(), Vec::new());
        let mut solo = Self { core, disk, config, now, writes, sent, requests, events, halted: None };
        solo.meet(&[1, 2, 3]);
        solo
    }

    /// These nodes are members.
    pub(crate) fn meet(&mut self, nodes: &[u64]) {
        self.poll();
        for node in nodes.iter().copied().map(NodeId) {
            self.input(Input::Signal(Signal::PeerStanding { node, standing: Standing::Member }));
        }
        self.sync();
        self.sent.clear();
    }

    /// Gives it an input, and takes its outputs.
    pub(crate) fn input(&mut self, input: Input<TwoPhaseCommit>) {
        self.core.handle(self.now, input);
        self.poll();
        self.core.check_invariants();
    }

    /// Takes its outputs.
    pub(crate) fn poll(&mut self) {
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Send { to, message } => self.sent.push((to, message)),
                Output::Persist { ticket, operations } => self.writes.push_back((ticket, operations)),
                Output::Request { ticket, request } => self.requests.push((ticket, request)),
                Output::Event(event) => self.events.push(event),
                Output::Halt { reason } => self.halted = Some(reason),
                Output::Load { .. } => panic!("nothing is ever loaded"),
            }
        }
    }

    /// Makes the oldest write durable, and tells the core. Returns its number of operations.
    pub(crate) fn write_one(&mut self) -> usize {
        let Some((ticket, operations)) = self.writes.pop_front() else { return 0 };
        self.disk.write(&operations);
        self.input(Input::Signal(Signal::Persisted(ticket)));
        operations.len()
    }

    /// Makes all writes durable.
    pub(crate) fn sync(&mut self) {
        while self.write_one() > 0 {}
    }

    /// Makes the oldest write fail.
    pub(crate) fn fail_write(&mut self, failure: PersistFailure) {
        let (ticket, _) = self.writes.pop_front().expect("a write is on its way");
        self.input(Input::Signal(Signal::PersistFailed { ticket, failure }));
    }

    /// Lets time pass, with its deadlines.
    pub(crate) fn advance(&mut self, duration: Duration) {
        let end = self.now.instant.after(duration);
        while let Some(at) = self.core.deadline().filter(|at| *at <= end) {
            self.now.instant = self.now.instant.max(at);
            self.input(Input::Signal(Signal::Timeout));
        }
        self.now.instant = end;
    }

    /// Stops it and starts it from its disk. All its waiting outputs are lost.
    pub(crate) fn restart(&mut self) {
        let recovered = TwoPhaseCommit::recover(self.now, self.config.clone(), self.disk.recovery(usize::MAX));
        self.core = recovered.expect("the disk holds what was written");
        self.writes.clear();
        self.sent.clear();
        self.requests.clear();
        self.events.clear();
        self.poll();
    }

    /// Gives it a message of a peer.
    pub(crate) fn hear(&mut self, from: u64, message: Message) {
        self.input(Input::Message { from: NodeId(from), message });
    }

    /// A coordinator in its first epoch asks for the vote of a branch of a transaction on this node and node 3.
    pub(crate) fn prepare(&mut self, transaction: TransactionId) {
        let participants = [self.config.node(), NodeId(3)].into();
        let stamp = Stamp { coordinator: transaction.coordinator, ..stamp_of(0) };
        let payload = Bytes::from_static(b"x");
        self.hear(transaction.coordinator.0, Message::Prepare(Prepare { stamp, transaction, participants, payload }));
    }

    /// A coordinator in its first epoch tells its decision.
    pub(crate) fn decide(&mut self, transaction: TransactionId, decision: Decision) {
        let stamp = Stamp { coordinator: transaction.coordinator, ..stamp_of(0) };
        let decide = Decide { stamp, transaction, decision };
        self.hear(transaction.coordinator.0, Message::Decide(decide));
    }

    /// Has the branch prepared and voted for, durably.
    pub(crate) fn vote_yes(&mut self, transaction: TransactionId) {
        self.prepare(transaction);
        self.answer(Answer::Voted(Vote::Yes));
        self.sync();
    }

    /// Answers all its requests with this answer, and returns the requests.
    pub(crate) fn answer(&mut self, answer: Answer) -> Vec<Request> {
        let asked = std::mem::take(&mut self.requests);
        for (ticket, _) in &asked {
            self.core.handle(self.now, Input::Completed { ticket: *ticket, answer });
        }
        self.poll();
        self.core.check_invariants();
        asked.into_iter().map(|(_, request)| request).collect()
    }

    /// The requests that are not answered yet.
    pub(crate) fn asked(&self) -> Vec<Request> {
        self.requests.iter().map(|(_, request)| request.clone()).collect()
    }

    /// The messages that it sent since the last call.
    pub(crate) fn take_sent(&mut self) -> Vec<(NodeId, Message)> {
        std::mem::take(&mut self.sent)
    }
}

/// The transaction with this number in a coordinator's first epoch.
pub(crate) fn transaction_of(coordinator: u64, sequence: u64) -> TransactionId {
    let number = TransactionNumber { epoch: Epoch(1), sequence };
    TransactionId { coordinator: CoordinatorId(coordinator), number }
}

/// The coordinator of node 1, in its first epoch, reports that everything below this number is finished.
pub(crate) fn stamp_of(finished_below: u64) -> Stamp {
    let finished_below = TransactionNumber { epoch: Epoch(1), sequence: finished_below };
    Stamp { coordinator: CoordinatorId(1), epoch: Epoch(1), finished_below }
}
