//! A small world: nodes, an unordered network, and a budget of what may go wrong, for stateright to exhaust.
//!
//! **What may happen.** Any message on the way arrives, in any order, or never: so loss needs no step of its own. A message
//! arrives twice, or is lost and its sender told so; a deadline comes; the oldest write of a node becomes durable or is refused; a
//! node crashes, any number of its writes having reached the disk, and starts again; the application asks or answers.
//! All but arrivals, writes and answers are rationed by a [`Budget`].
//!
//! **When two states are one.** When the cores' views, the disks, the writes under way, the messages on the way, what laws
//! remember and what is left of the budget are equal.

use std::fmt::{self, Debug};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use quorate_protocol::{NodeId, Protocol, Violation};
use stateright::Property;

use crate::node::{Happening, Node, Outcome};
use crate::subject::Subject;

/// A subject and what may go wrong.
pub(crate) struct Model<S> {
    pub(crate) subject: S,
    pub(crate) budget: Budget,
}

/// How often things may happen on all nodes together, on one path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Budget {
    /// Deadlines that come.
    pub(crate) timeouts: u8,
    /// Commands of the application.
    pub(crate) commands: u8,
    /// Messages that arrive twice.
    pub(crate) duplicates: u8,
    /// Messages that are lost, their sender being told.
    pub(crate) losses: u8,
    /// Nodes that crash and start again.
    pub(crate) crashes: u8,
    /// Writes that are certainly not done.
    pub(crate) refusals: u8,
}

/// A message on its way.
pub(crate) struct Envelope<P: Protocol> {
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    pub(crate) message: P::Message,
    identity: u64,
}

/// One state of the world.
pub(crate) struct State<S: Subject> {
    pub(crate) nodes: Vec<Arc<Node<S>>>,
    /// In the order of their identities.
    pub(crate) network: Vec<Arc<Envelope<S::Core>>>,
    pub(crate) memory: Arc<S::Memory>,
    /// What is left.
    pub(crate) budget: Budget,
    /// The first law that was broken: nothing happens any more.
    pub(crate) broken: Option<Arc<Violation>>,
}

/// One step.
#[derive(Clone, PartialEq)]
pub(crate) enum Action<E> {
    /// A message arrives.
    Deliver { envelope: E, is_late: bool, is_kept: bool },
    /// A message is lost, and its sender told that the connection is.
    Lose { envelope: E },
    /// A node's deadline comes.
    Timeout { node: NodeId },
    /// A node's oldest write becomes durable.
    Written { node: NodeId },
    /// A node's writes are certainly not done.
    Refused { node: NodeId },
    /// A node crashes after so many of its writes, and starts again.
    Crash { node: NodeId, written: usize },
    /// An application gives one of the commands that it may give.
    Command { node: NodeId, choice: usize },
    /// An application answers a request in one of the ways it may.
    Answer { node: NodeId, place: usize, choice: usize },
}

impl<S: Subject> State<S> {
    /// Whether no step so far broke this law.
    pub(crate) fn keeps(&self, law: &str) -> bool {
        self.broken.as_ref().is_none_or(|violation| violation.law != law)
    }

    fn node(&self, id: NodeId) -> &Arc<Node<S>> {
        self.nodes.iter().find(|node| node.id == id).expect("a node of the model")
    }

    fn take(&mut self, envelope: &Arc<Envelope<S::Core>>) {
        let place = self.network.iter().position(|other| other == envelope);
        self.network.remove(place.expect("a message on its way"));
    }

    fn put(&mut self, envelope: Envelope<S::Core>) {
        let place = self.network.partition_point(|other| other.identity < envelope.identity);
        self.network.insert(place, Arc::new(envelope));
    }
}

impl<S: Subject> Model<S> {
    fn local_actions(&self, state: &State<S>, node: &Node<S>, actions: &mut Vec<ActionOf<S>>) {
        let (id, left) = (node.id, state.budget);
        if !node.writes.is_empty() {
            actions.push(Action::Written { node: id });
            if left.refusals > 0 {
                actions.push(Action::Refused { node: id });
            }
        }
        for (place, (_, request)) in node.requests.iter().enumerate() {
            let choices = self.subject.answers(id, request).len();
            actions.extend((0..choices).map(|choice| Action::Answer { node: id, place, choice }));
        }
        if left.commands > 0 {
            let choices = self.subject.commands(node, self.budget.commands - left.commands).len();
            actions.extend((0..choices).map(|choice| Action::Command { node: id, choice }));
        }
        let is_first = left.timeouts == self.budget.timeouts;
        let may_time_out = left.timeouts > 0 && (!is_first || self.subject.may_time_out_first(id));
        if may_time_out && node.core.deadline().is_some() {
            actions.push(Action::Timeout { node: id });
        }
        if left.crashes > 0 {
            actions.extend((0..=node.writes.len()).map(|written| Action::Crash { node: id, written }));
        }
    }

    fn network_actions(&self, state: &State<S>, actions: &mut Vec<ActionOf<S>>) {
        let mut before = None;
        for envelope in &state.network {
            // Equal messages are one: it does not matter which of them arrives.
            if before.replace(envelope.identity) == Some(envelope.identity) {
                continue;
            }
            let receiver = state.node(envelope.to);
            let times = if self.subject.depends_on_time(receiver, &envelope.message) { 2 } else { 1 };
            let keeps = if state.budget.duplicates > 0 { 2 } else { 1 };
            for (is_late, is_kept) in [(false, false), (true, false), (false, true), (true, true)] {
                if usize::from(is_late) < times && usize::from(is_kept) < keeps {
                    actions.push(Action::Deliver { envelope: Arc::clone(envelope), is_late, is_kept });
                }
            }
            if state.budget.losses > 0 {
                actions.push(Action::Lose { envelope: Arc::clone(envelope) });
            }
        }
    }

    /// What happens to which node, the budget and the network having been charged for it.
    fn charge(&self, state: &mut State<S>, action: ActionOf<S>) -> (NodeId, Happening<S::Core>) {
        let given = self.budget.commands - state.budget.commands;
        match action {
            Action::Deliver { envelope, is_late, is_kept } => {
                if is_kept {
                    state.budget.duplicates -= 1;
                } else {
                    state.take(&envelope);
                }
                let message = envelope.message.clone();
                (envelope.to, Happening::Message { from: envelope.from, message, is_late })
            }
            Action::Lose { envelope } => {
                state.budget.losses -= 1;
                state.take(&envelope);
                (envelope.from, Happening::Unreachable(envelope.to))
            }
            Action::Timeout { node } => {
                state.budget.timeouts -= 1;
                (node, Happening::Timeout)
            }
            Action::Written { node } => (node, Happening::Written),
            Action::Refused { node } => {
                state.budget.refusals -= 1;
                (node, Happening::Refused)
            }
            Action::Crash { node, written } => {
                state.budget.crashes -= 1;
                (node, Happening::Crash { written })
            }
            Action::Command { node, choice } => {
                state.budget.commands -= 1;
                let command = self.subject.commands(state.node(node), given).swap_remove(choice);
                (node, Happening::Command(command))
            }
            Action::Answer { node, place, choice } => {
                let (_, request) = &state.node(node).requests[place];
                let answer = self.subject.answers(node, request).swap_remove(choice);
                (node, Happening::Answer { place, answer })
            }
        }
    }

    fn carry_out(&self, state: &mut State<S>, outcome: Outcome<S>, crashed: Option<NodeId>) {
        let id = outcome.node.id;
        let place = state.nodes.iter().position(|node| node.id == id).expect("a node of the model");
        state.nodes[place] = Arc::new(outcome.node);
        for (to, message) in outcome.sent {
            state.put(Envelope::new(id, to, message));
        }
        let mut memory = S::Memory::clone(&state.memory);
        for event in &outcome.events {
            self.subject.told(&mut memory, id, event);
        }
        let judgement = self.subject.judge(&mut memory, state, crashed);
        state.memory = Arc::new(memory);
        state.broken = outcome.broken.or(judgement.err()).map(Arc::new);
    }
}

impl<S: Subject> stateright::Model for Model<S> {
    type State = State<S>;
    type Action = ActionOf<S>;

    fn init_states(&self) -> Vec<State<S>> {
        let nodes = self.subject.nodes().into_iter().map(|id| Arc::new(Node::first(&self.subject, id))).collect();
        let memory = Arc::new(S::Memory::default());
        vec![State { nodes, network: Vec::new(), memory, budget: self.budget, broken: None }]
    }

    fn actions(&self, state: &State<S>, actions: &mut Vec<ActionOf<S>>) {
        if state.broken.is_some() {
            return;
        }
        for node in &state.nodes {
            self.local_actions(state, node, actions);
        }
        self.network_actions(state, actions);
    }

    fn next_state(&self, last: &State<S>, action: ActionOf<S>) -> Option<State<S>> {
        let mut state = last.clone();
        let crashed = match &action {
            Action::Crash { node, .. } => Some(*node),
            _ => None,
        };
        let (node, happening) = self.charge(&mut state, action);
        let outcome = state.node(node).step(&self.subject, happening);
        if outcome.broken.is_none() && !self.subject.is_within(&outcome.node) {
            return None;
        }
        self.carry_out(&mut state, outcome, crashed);
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        self.subject.properties()
    }
}

type ActionOf<S> = Action<Arc<Envelope<<S as Subject>::Core>>>;

impl<S: Subject> Clone for State<S> {
    fn clone(&self) -> Self {
        Self {
            nodes: self.nodes.clone(),
            network: self.network.clone(),
            memory: Arc::clone(&self.memory),
            budget: self.budget,
            broken: self.broken.clone(),
        }
    }
}

impl<S: Subject> Hash for State<S> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.nodes.iter().for_each(|node| hasher.write_u64(node.identity()));
        self.network.iter().for_each(|envelope| hasher.write_u64(envelope.identity));
        self.memory.hash(hasher);
        self.budget.hash(hasher);
        self.broken.as_ref().map(|violation| (violation.law, &violation.detail)).hash(hasher);
    }
}

impl<S: Subject> PartialEq for State<S> {
    fn eq(&self, other: &Self) -> bool {
        let identity = |state: &Self| {
            let mut hasher = DefaultHasher::new();
            state.hash(&mut hasher);
            hasher.finish()
        };
        identity(self) == identity(other)
    }
}

impl<S: Subject> Debug for State<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for node in &self.nodes {
            writeln!(f, "{node:?}")?;
        }
        for envelope in &self.network {
            writeln!(f, "on the way: {envelope:?}")?;
        }
        write!(f, "remembered: {:?}, left: {:?}, broken: {:?}", self.memory, self.budget, self.broken)
    }
}

impl<P: Protocol<Message: Hash>> Envelope<P> {
    fn new(from: NodeId, to: NodeId, message: P::Message) -> Self {
        let mut hasher = DefaultHasher::new();
        (from, to, &message).hash(&mut hasher);
        Self { from, to, message, identity: hasher.finish() }
    }
}

impl<P: Protocol> PartialEq for Envelope<P> {
    fn eq(&self, other: &Self) -> bool {
        self.identity == other.identity
    }
}

impl<P: Protocol> Debug for Envelope<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}: {:?}", self.from, self.to, self.message)
    }
}

impl<E: Debug> Debug for Action<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deliver { envelope, is_late, is_kept } => {
                write!(f, "{envelope:?}")?;
                f.write_str(if *is_late { " (the receiver's deadline has come)" } else { "" })?;
                f.write_str(if *is_kept { " (and once more later)" } else { "" })
            }
            Self::Lose { envelope } => write!(f, "lost, and noticed: {envelope:?}"),
            Self::Timeout { node } => write!(f, "{node}: its deadline comes"),
            Self::Written { node } => write!(f, "{node}: its oldest write is durable"),
            Self::Refused { node } => write!(f, "{node}: its writes are refused"),
            Self::Crash { node, written } => {
                write!(f, "{node}: crashes after {written} of its writes under way, and starts again")
            }
            Self::Command { node, choice } => write!(f, "{node}: is given command {choice}"),
            Self::Answer { node, place, choice } => write!(f, "{node}: request {place} is answered in way {choice}"),
        }
    }
}
