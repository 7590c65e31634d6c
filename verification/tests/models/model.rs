//! A small world: nodes, an unordered network, and a budget of what may go wrong, for stateright to exhaust.
//!
//! **What may happen.** Any message on the way arrives, in any order, or never: so loss needs no step of its own. A
//! message arrives twice; a node learns that a connection was lost; a deadline comes; the oldest write of a node
//! becomes durable or is refused; a node crashes, any number of its writes having reached the disk, and starts again;
//! the application asks or answers. All but arrivals, writes and answers are rationed by a [`Budget`].
//!
//! **When two states are one.** When the cores' views, the disks, the writes under way, the messages on the way, what
//! laws remember and what is left of the budget are equal.

use std::fmt::{self, Debug};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use quorate_protocol::{NodeId, Protocol, Violation};
use stateright::Property;

use crate::envelope::Envelope;
use crate::memo::Memo;
use crate::node::{Happening, Node, StepOutcome};
use crate::subject::Subject;

/// A subject and what may go wrong.
pub(crate) struct Model<S: Subject> {
    subject: S,
    budget: Budget,
    memo: Memo<S>,
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
    /// Connections that are lost, and one end of them notices.
    pub(crate) disconnections: u8,
    /// Nodes that crash and start again.
    pub(crate) crashes: u8,
    /// Writes that are certainly not done.
    pub(crate) refusals: u8,
}

/// One state of the world.
pub(crate) struct State<S: Subject> {
    pub(crate) nodes: Vec<Arc<Node<S>>>,
    /// In the order of their identities.
    pub(crate) network: Vec<Arc<Envelope<S::Core>>>,
    memory: Arc<(S::Memory, u64)>,
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
    /// A node learns that its connection to a peer was lost.
    Disconnect { node: NodeId, peer: NodeId },
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

    /// What laws remember.
    pub(crate) fn memory(&self) -> &S::Memory {
        &self.memory.0
    }

    fn place(&self, id: NodeId) -> usize {
        self.nodes.iter().position(|node| node.id == id).expect("a node of the model")
    }

    fn node(&self, id: NodeId) -> &Arc<Node<S>> {
        &self.nodes[self.place(id)]
    }

    fn take(&mut self, envelope: &Envelope<S::Core>) {
        let place = self.network.iter().position(|other| **other == *envelope);
        self.network.remove(place.expect("a message on its way"));
    }

    fn put(&mut self, envelope: &Arc<Envelope<S::Core>>) {
        let place = self.network.partition_point(|other| other.identity() < envelope.identity());
        self.network.insert(place, Arc::clone(envelope));
    }
}

impl<S: Subject> Model<S> {
    pub(crate) fn new(subject: S, budget: Budget) -> Self {
        Self { subject, budget, memo: Memo::new() }
    }

    /// How many states of single nodes were met.
    pub(crate) fn states_of_nodes(&self) -> usize {
        self.memo.nodes()
    }

    /// See [`Memo::compare_equal_nodes`].
    pub(crate) fn compare_equal_nodes(&self) -> Result<usize, String> {
        self.memo.compare_equal_nodes(&self.subject)
    }

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
            let choices = self.subject.commands(node, self.given(state)).len();
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
        if left.disconnections > 0 {
            let peers = state.nodes.iter().map(|peer| peer.id).filter(|peer| *peer != id);
            actions.extend(peers.map(|peer| Action::Disconnect { node: id, peer }));
        }
    }

    fn network_actions(&self, state: &State<S>, actions: &mut Vec<ActionOf<S>>) {
        let mut before = None;
        for envelope in &state.network {
            // Equal messages are one: it does not matter which of them arrives.
            if before.replace(envelope.identity()) == Some(envelope.identity()) {
                continue;
            }
            let depends_on_time = self.subject.depends_on_time(state.node(envelope.to), &envelope.message);
            let may_come_twice = state.budget.duplicates > 0;
            for (is_late, is_kept) in [(false, false), (true, false), (false, true), (true, true)] {
                if (depends_on_time || !is_late) && (may_come_twice || !is_kept) {
                    actions.push(Action::Deliver { envelope: Arc::clone(envelope), is_late, is_kept });
                }
            }
        }
    }

    /// What the action is to its node.
    fn happening(&self, state: &State<S>, action: &ActionOf<S>) -> Happening<S::Core> {
        match action {
            Action::Deliver { envelope, is_late, .. } => {
                let (from, message) = (envelope.from, envelope.message.clone());
                Happening::Message { from, message, is_late: *is_late }
            }
            Action::Disconnect { peer, .. } => Happening::Unreachable(*peer),
            Action::Timeout { .. } => Happening::Timeout,
            Action::Written { .. } => Happening::Written,
            Action::Refused { .. } => Happening::Refused,
            Action::Crash { written, .. } => Happening::Crash { written: *written },
            Action::Command { node, choice } => Happening::Command(self.command(state, *node, *choice)),
            Action::Answer { node, place, choice } => {
                let (_, request) = &state.node(*node).requests[*place];
                let answer = self.subject.answers(*node, request).swap_remove(*choice);
                Happening::Answer { place: *place, answer }
            }
        }
    }

    /// Stands for what happens to the node, among all that can.
    fn identity(&self, state: &State<S>, action: &ActionOf<S>) -> u64 {
        let mut hasher = DefaultHasher::new();
        std::mem::discriminant(action).hash(&mut hasher);
        match action {
            Action::Deliver { envelope, is_late, .. } => (envelope.identity(), is_late).hash(&mut hasher),
            Action::Disconnect { peer, .. } => peer.hash(&mut hasher),
            Action::Timeout { .. } | Action::Written { .. } | Action::Refused { .. } => {}
            Action::Crash { written, .. } => written.hash(&mut hasher),
            Action::Command { choice, .. } => (choice, self.given(state)).hash(&mut hasher),
            Action::Answer { place, choice, .. } => (place, choice).hash(&mut hasher),
        }
        hasher.finish()
    }

    /// Takes what the step costs from the budget and the network.
    fn charge(state: &mut State<S>, action: &ActionOf<S>) {
        let budget = &mut state.budget;
        match action {
            Action::Deliver { is_kept: true, .. } => budget.duplicates -= 1,
            Action::Deliver { envelope, .. } => state.take(envelope),
            Action::Disconnect { .. } => budget.disconnections -= 1,
            Action::Timeout { .. } => budget.timeouts -= 1,
            Action::Refused { .. } => budget.refusals -= 1,
            Action::Crash { .. } => budget.crashes -= 1,
            Action::Command { .. } => budget.commands -= 1,
            Action::Written { .. } | Action::Answer { .. } => {}
        }
    }

    fn carry_out(&self, state: &mut State<S>, outcome: &StepOutcome<S>, action: &ActionOf<S>) {
        let id = outcome.node.id;
        let command = match action {
            Action::Command { node, choice } => Some(self.command(state, *node, *choice)),
            _ => None,
        };
        Self::charge(state, action);
        let place = state.place(id);
        let before = std::mem::replace(&mut state.nodes[place], Arc::clone(&outcome.node));
        for envelope in &outcome.sent {
            state.put(envelope);
        }
        let nodes = &state.nodes;
        let receiver = |envelope: &Envelope<S::Core>| nodes.iter().find(|node| node.id == envelope.to);
        state.network.retain(|envelope| {
            !receiver(envelope).is_some_and(|receiver| self.subject.is_dead(receiver, &envelope.message))
        });
        if let Some(violation) = &outcome.broken {
            state.broken = Some(Arc::new(violation.clone()));
        } else if before.identity() != outcome.node.identity() || !outcome.events.is_empty() {
            let crashed = matches!(action, Action::Crash { .. }).then_some(id);
            let mut memory = state.memory().clone();
            if let Some(command) = command {
                self.subject.given(&mut memory, &command);
            }
            for event in &outcome.events {
                self.subject.told(&mut memory, id, event);
            }
            state.broken = self.subject.judge(&mut memory, state, crashed).err().map(Arc::new);
            state.memory = remembered(memory);
        }
    }

    /// One of the commands that a node may be given now.
    fn command(&self, state: &State<S>, node: NodeId, choice: usize) -> <S::Core as Protocol>::Command {
        self.subject.commands(state.node(node), self.given(state)).swap_remove(choice)
    }

    /// How many commands were given.
    fn given(&self, state: &State<S>) -> u8 {
        self.budget.commands - state.budget.commands
    }

    /// Lets a node's deadline come, and then all that comes of it.
    fn undisturbed(&self, mut state: State<S>, node: NodeId) -> State<S> {
        state.budget.timeouts = 1;
        state = self.taken(&state, &Action::Timeout { node });
        loop {
            let mut actions = Vec::new();
            state.nodes.iter().for_each(|node| self.local_actions(&state, node, &mut actions));
            self.network_actions(&state, &mut actions);
            let Some(action) = actions.first() else { return state };
            state = self.taken(&state, action);
        }
    }

    fn taken(&self, state: &State<S>, action: &ActionOf<S>) -> State<S> {
        let outcome = state.node(action.node()).step(&self.subject, self.happening(state, action));
        let mut state = state.clone();
        self.carry_out(&mut state, &outcome, action);
        state
    }
}

impl<P: Protocol> Action<Arc<Envelope<P>>> {
    /// The node that it happens to.
    fn node(&self) -> NodeId {
        match self {
            Self::Deliver { envelope, .. } => envelope.to,
            Self::Disconnect { node, .. }
            | Self::Timeout { node }
            | Self::Written { node }
            | Self::Refused { node }
            | Self::Crash { node, .. }
            | Self::Command { node, .. }
            | Self::Answer { node, .. } => *node,
        }
    }
}

fn remembered<M: Hash>(memory: M) -> Arc<(M, u64)> {
    let mut hasher = DefaultHasher::new();
    memory.hash(&mut hasher);
    Arc::new((memory, hasher.finish()))
}

impl<S: Subject> stateright::Model for Model<S> {
    type State = State<S>;
    type Action = ActionOf<S>;

    fn init_states(&self) -> Vec<State<S>> {
        let nodes = self.subject.nodes().into_iter().map(|id| Arc::new(Node::first(&self.subject, id))).collect();
        let memory = remembered(S::Memory::default());
        let rest = State { nodes, network: Vec::new(), memory, budget: Budget::default(), broken: None };
        let begun = self.subject.opening().into_iter().fold(rest, |state, node| self.undisturbed(state, node));
        vec![State { budget: self.budget, ..begun }]
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
        let node = last.node(action.node());
        let happening = || self.happening(last, &action);
        let outcome = self.memo.outcome(&self.subject, node, self.identity(last, &action), happening);
        if outcome.broken.is_none() && !self.subject.is_within(&outcome.node) {
            return None;
        }
        let mut state = last.clone();
        self.carry_out(&mut state, &outcome, &action);
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
        self.network.iter().for_each(|envelope| hasher.write_u64(envelope.identity()));
        hasher.write_u64(self.memory.1);
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
        write!(f, "remembered: {:?}, left: {:?}, broken: {:?}", self.memory(), self.budget, self.broken)
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
            Self::Disconnect { node, peer } => write!(f, "{node}: learns that its connection to {peer} was lost"),
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
