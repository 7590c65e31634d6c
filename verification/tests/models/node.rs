//! One node of a model: a core, what is durable, and what is on its way to the disk and to the application.

use std::collections::VecDeque;
use std::fmt::{self, Debug};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use quorate_protocol::testing::Stream;
use quorate_protocol::{
    Input, Instant, NodeId, Now, Operation, Output, PersistFailure, Protocol, Signal, Standing, Ticket, Violation,
};

use crate::envelope::Envelope;
use crate::subject::Subject;

/// A running node. A crash and the start that follows are one step: a node that is down is one to which nothing
/// happens, and a model may let that be for as long as it likes.
pub(crate) struct Node<S: Subject> {
    pub(crate) id: NodeId,
    pub(crate) core: S::Core,
    pub(crate) disk: Stream,
    /// What the laws and milestones ask of a node, worked out once.
    pub(crate) facts: S::Facts,
    /// Each node has a clock of its own, which moves when a deadline is wanted to have come. Not part of the identity:
    /// what matters of times is in the core's view.
    now: Instant,
    /// Handed to the disk, oldest first, and not durable.
    pub(crate) writes: VecDeque<(Ticket, Vec<Operation>)>,
    /// What the application was asked and has not answered.
    pub(crate) requests: Vec<(Ticket, <S::Core as Protocol>::Request)>,
    identity: u64,
}

/// Something that happens to one node.
#[derive(Clone, Debug)]
pub(crate) enum Happening<P: Protocol> {
    /// A message comes in: before the deadline, or when it has come and the node has not noticed.
    Message { from: NodeId, message: P::Message, is_late: bool },
    /// The deadline comes.
    Timeout,
    /// The oldest write becomes durable.
    Written,
    /// The oldest write is certainly not done, and so none.
    Refused,
    /// The process ends, and so many of its writes reached the disk. It starts anew.
    Crash { written: usize },
    /// The connection to a peer is lost.
    Unreachable(NodeId),
    /// The application asks for something.
    Command(P::Command),
    /// The application answers the request at this place.
    Answer { place: usize, answer: P::Answer },
}

/// What came of it.
pub(crate) struct StepOutcome<S: Subject> {
    pub(crate) node: Arc<Node<S>>,
    pub(crate) sent: Vec<Arc<Envelope<S::Core>>>,
    pub(crate) events: Vec<<S::Core as Protocol>::Event>,
    /// The node's own laws, if they were broken.
    pub(crate) broken: Option<Violation>,
}

impl<S: Subject> StepOutcome<S> {
    /// All that others can see of it, and what it is from then on unless that hangs on chance.
    pub(crate) fn reaction(&self, subject: &S) -> impl Debug + PartialEq + use<S> {
        let identity = (!subject.has_drawn_waits()).then(|| self.node.identity());
        let sent: Vec<String> = self.sent.iter().map(|envelope| format!("{envelope:?}")).collect();
        (identity, sent, format!("{:?}", self.events), self.broken.clone())
    }
}

impl<S: Subject> Node<S> {
    /// A node at rest after its first start on an empty disk: whatever it wrote is durable.
    pub(crate) fn first(subject: &S, id: NodeId) -> Self {
        let disk = Stream::default();
        let now = Instant::from_nanos(1_000_000_000);
        let core = S::Core::recover(at(now), subject.config(id), disk.recovery(usize::MAX))
            .expect("an empty disk is no obstacle");
        let facts = subject.facts(&core, &disk);
        let (writes, requests) = (VecDeque::new(), Vec::new());
        let mut step = Step::of(subject, Self { id, core, disk, facts, now, writes, requests, identity: 0 });
        step.introduce();
        step.drain();
        while !step.node.writes.is_empty() {
            step.written();
            step.drain();
        }
        // What a node says when it meets the others for the first time is lost, as anything may be.
        step.node.identify(subject);
        step.node
    }

    /// What becomes of the node when something happens to it. A panic of the core, or of the disk that it asks for the
    /// impossible, is a broken law.
    pub(crate) fn step(&self, subject: &S, happening: Happening<S::Core>) -> StepOutcome<S> {
        let mut step = Step::of(subject, self.clone());
        let calm = catch_unwind(AssertUnwindSafe(|| {
            step.happen(happening);
            step.drain();
            step.node.core.check_invariants();
            step.node.identify(subject);
        }));
        if let Err(panic) = calm {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            step.break_law(&text.unwrap_or_default());
            step.node.identity = 0;
        }
        let Step { node, sent, events, broken, .. } = step;
        StepOutcome { node: Arc::new(node), sent, events, broken }
    }

    /// Stands for everything that decides how the node goes on.
    pub(crate) fn identity(&self) -> u64 {
        self.identity
    }

    fn identify(&mut self, subject: &S) {
        self.facts = subject.facts(&self.core, &self.disk);
        let mut hasher = DefaultHasher::new();
        (self.id, self.core.model_view(), &self.disk).hash(&mut hasher);
        for (_, operations) in &self.writes {
            operations.hash(&mut hasher);
        }
        for (_, request) in &self.requests {
            format!("{request:?}").hash(&mut hasher);
        }
        self.identity = hasher.finish();
    }
}

/// Something that is happening to a node.
struct Step<'a, S: Subject> {
    subject: &'a S,
    node: Node<S>,
    sent: Vec<Arc<Envelope<S::Core>>>,
    events: Vec<<S::Core as Protocol>::Event>,
    broken: Option<Violation>,
}

impl<'a, S: Subject> Step<'a, S> {
    fn of(subject: &'a S, node: Node<S>) -> Self {
        Self { subject, node, sent: Vec::new(), events: Vec::new(), broken: None }
    }

    fn happen(&mut self, happening: Happening<S::Core>) {
        match happening {
            Happening::Message { from, message, is_late } => {
                if is_late {
                    self.wait();
                }
                self.input(Input::Message { from, message });
            }
            Happening::Timeout => {
                self.wait();
                self.input(Input::Signal(Signal::Timeout));
            }
            Happening::Written => self.written(),
            Happening::Refused => {
                let (ticket, _) = self.node.writes.pop_front().expect("a write is under way");
                self.node.writes.clear();
                let failure = PersistFailure::NotWritten;
                self.input(Input::Signal(Signal::PersistFailed { ticket, failure }));
            }
            Happening::Crash { written } => self.crash(written),
            Happening::Unreachable(peer) => self.input(Input::Signal(Signal::Unreachable(peer))),
            Happening::Command(command) => self.input(Input::Command(command)),
            Happening::Answer { place, answer } => {
                let (ticket, _) = self.node.requests.remove(place);
                self.input(Input::Completed { ticket, answer });
            }
        }
    }

    /// Moves the clock to the deadline.
    fn wait(&mut self) {
        let deadline = self.node.core.deadline();
        self.node.now = self.node.now.max(deadline.unwrap_or(self.node.now));
    }

    fn written(&mut self) {
        let (ticket, operations) = self.node.writes.pop_front().expect("a write is under way");
        self.node.disk.write(&operations);
        self.node.core.handle(at(self.node.now), Input::Signal(Signal::Persisted(ticket)));
    }

    fn crash(&mut self, written: usize) {
        let node = &mut self.node;
        for (_, operations) in node.writes.drain(..).take(written) {
            node.disk.write(&operations);
        }
        node.requests.clear();
        let recovery = self.subject.on_recovery(node.disk.recovery(usize::MAX));
        match S::Core::recover(at(node.now), self.subject.config(node.id), recovery) {
            Ok(core) => {
                node.core = core;
                self.introduce();
            }
            Err(error) => self.break_law(&format!("cannot start again: {error}")),
        }
    }

    /// Tells the core that all nodes are who they were.
    fn introduce(&mut self) {
        for node in self.subject.nodes() {
            self.input(Input::Signal(Signal::PeerStanding { node, standing: Standing::Member }));
        }
    }

    fn input(&mut self, input: Input<S::Core>) {
        let input = self.subject.on_input(&self.node.core, input);
        self.node.core.handle(at(self.node.now), input);
    }

    /// Takes everything out of the core. Reads are answered at once.
    fn drain(&mut self) {
        while let Some(output) = self.node.core.poll_output() {
            for output in self.subject.on_output(&self.node.core, output) {
                match output {
                    Output::Send { to, message } => self.sent.push(Arc::new(Envelope::new(self.node.id, to, message))),
                    Output::Persist { ticket, operations } => {
                        if self.subject.says_written_too_early() {
                            self.node.core.handle(at(self.node.now), Input::Signal(Signal::Persisted(ticket)));
                        }
                        self.node.writes.push_back((ticket, operations));
                    }
                    Output::Load { ticket, range } => {
                        let answer = match self.node.disk.load(&range) {
                            Ok(loaded) => Input::Signal(Signal::Loaded { ticket, result: Ok(loaded) }),
                            Err(failure) => Input::Signal(Signal::Loaded { ticket, result: Err(failure) }),
                        };
                        self.input(answer);
                    }
                    // One that comes again is the same.
                    Output::Request { ticket, .. } if self.node.requests.iter().any(|(known, _)| *known == ticket) => {}
                    Output::Request { ticket, request } => self.node.requests.push((ticket, request)),
                    Output::Event(event) => self.events.push(event),
                    Output::Halt { reason } => self.break_law(&format!("halted: {reason:?}")),
                }
            }
        }
    }

    fn break_law(&mut self, detail: &str) {
        let detail = format!("node {}: {detail}", self.node.id);
        self.broken.get_or_insert(Violation { law: OWN_LAWS, detail });
    }
}

impl<S: Subject> Clone for Node<S> {
    fn clone(&self) -> Self {
        Self {
            id: self.id,
            core: self.core.clone(),
            disk: self.disk.clone(),
            facts: self.facts.clone(),
            now: self.now,
            writes: self.writes.clone(),
            requests: self.requests.clone(),
            identity: self.identity,
        }
    }
}

impl<S: Subject> Debug for Node<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, facts, disk, writes, requests, .. } = self;
        write!(f, "node {id}: {facts:?}, {disk:?}, writes {writes:?}, requests {requests:?}")
    }
}

/// The law that a core does not break the laws of its own state: it neither panics nor halts, and starts from what it
/// wrote.
pub(crate) const OWN_LAWS: &str = "every node keeps its own laws";

fn at(instant: Instant) -> Now {
    Now { instant, wall_ms: 1_700_000_000_000 }
}
