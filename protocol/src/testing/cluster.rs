//! The loop with one queue of messages, writes, answers and deadlines.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use super::network::Network;
use super::node::Round;
use super::{Builder, Faults, Happening, Node, Subject, Timeline, Traffic};
use crate::{Input, Instant, Law, LoadRange, NodeId, Output, PersistFailure, Protocol, Signal, Ticket};

/// Cores in one loop. All laws are checked after every step.
pub struct Cluster<P: Subject> {
    /// Every node, running or not.
    pub nodes: BTreeMap<NodeId, Node<P>>,
    /// The random faults of the network, the disks and the applications.
    pub faults: Faults,
    /// Number of steps so far: a step is a message that leaves or arrives, a write that is queued, done or reported, or
    /// a request that is made, carried out or answered.
    pub steps: u64,
    /// Steps just before which the node of the step crashes. It starts again after `restart_after`.
    pub crashes: BTreeSet<u64>,
    /// Time for which such a node stays down.
    pub restart_after: Duration,
    pub(super) setup: Builder<P>,
    pub(super) time: Timeline<Event<P>>,
    pub(super) network: Network<P>,
    /// The events since the record was last taken; `None` if nothing is recorded.
    pub(super) record: Option<Vec<Happening<P>>>,
    /// The nodes whose cores rested with a peer that did not rest with them, at the last beat.
    pub(super) unequal_rests: BTreeSet<(NodeId, NodeId)>,
    laws: Vec<Box<dyn Law<P>>>,
    next_id: u64,
}

/// A scheduled event.
#[derive(Clone, Debug)]
pub(super) enum Event<P: Protocol> {
    Delivered { from: NodeId, incarnation: u64, to: NodeId, message: P::Message },
    Written { node: NodeId, starts: u64, ticket: Ticket },
    Loaded { node: NodeId, starts: u64, ticket: Ticket, range: LoadRange },
    Asked { node: NodeId, starts: u64, ticket: Ticket, request: P::Request },
    RoundEnded { node: NodeId, starts: u64 },
    Restarted { node: NodeId },
    Beat,
}

impl<P: Subject> Cluster<P> {
    pub(super) fn empty(setup: Builder<P>) -> Self {
        let mut cluster = Self {
            nodes: BTreeMap::new(),
            faults: Faults::default(),
            steps: 0,
            crashes: BTreeSet::new(),
            restart_after: Duration::from_secs(1),
            time: Timeline::new(setup.seed),
            network: Network::default(),
            record: None,
            unequal_rests: BTreeSet::new(),
            laws: P::laws(),
            next_id: 0,
            setup,
        };
        cluster.schedule_beat();
        cluster
    }

    /// Three nodes with default settings.
    #[must_use]
    pub fn of_three(seed: u64) -> Self {
        Builder::new(3, seed).start()
    }

    /// A node.
    #[must_use]
    pub fn node(&self, node: u64) -> &Node<P> {
        &self.nodes[&NodeId(node)]
    }

    /// A node, to be changed.
    ///
    /// # Panics
    /// When there is no such node.
    pub fn node_mut(&mut self, node: u64) -> &mut Node<P> {
        self.nodes.get_mut(&NodeId(node)).expect("a node of the cluster")
    }

    /// The settings that all nodes share.
    #[must_use]
    pub fn settings(&self) -> &P::Settings {
        &self.setup.settings
    }

    /// The time on every node whose clock keeps pace.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.time.now()
    }

    /// A random number below `high` from the cluster's seed.
    pub fn choose(&mut self, high: u64) -> u64 {
        self.time.choose(high)
    }

    /// A number that was not given out before.
    pub fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// The messages and writes of all nodes together.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.nodes.values().fold(Traffic::default(), |sum, node| Traffic {
            messages: sum.messages + node.traffic.messages,
            writes: sum.writes + node.traffic.writes,
        })
    }

    /// Lets time pass, from one event to the next. Events come before deadlines of the same moment.
    ///
    /// # Panics
    /// When a law is broken, or the cluster never comes to rest.
    pub fn run(&mut self, duration: Duration) {
        let end = self.now().after(duration);
        let mut steps_without_time = 0;
        loop {
            let before = self.now();
            let event_at = self.time.next_at().filter(|at| *at <= end);
            let deadline = self.next_deadline().filter(|(due, _)| *due <= end);
            match (event_at, deadline) {
                (Some(at), due) if due.is_none_or(|(due, _)| at <= due) => self.happen_next(),
                (_, Some((due, node))) => {
                    self.time.pass_to(due);
                    self.signal(node, Signal::Timeout);
                    self.check();
                }
                (_, None) => break,
            }
            steps_without_time = if self.now() > before { 0 } else { steps_without_time + 1 };
            assert!(steps_without_time < STEPS_WITHOUT_TIME_MAX, "the cluster comes to rest");
        }
        self.time.pass_to(end);
    }

    /// Carries out everything that needs no time.
    pub fn settle(&mut self) {
        self.run(Duration::ZERO);
    }

    /// Carries out all events that are due now, without letting a deadline pass.
    pub fn deliver(&mut self) {
        let now = self.now();
        while self.time.next_at().is_some_and(|at| at <= now) {
            self.happen_next();
        }
    }

    /// Runs until `done` returns true, which is checked every 5 ms, for at most `limit`. Returns true if it did.
    pub fn run_until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now().after(limit);
        while self.now() < end && !done(self) {
            self.run(LOOK_EVERY);
        }
        done(self)
    }

    /// Lets the next deadline of a node pass, and no other node's.
    ///
    /// # Panics
    /// When the node is down or has no deadline.
    pub fn time_out(&mut self, node: u64) {
        let due = self.node(node).core().deadline().expect("it waits for something");
        let due = self.node(node).pace.moment_of(due);
        self.time.pass_to(due);
        self.signal(NodeId(node), Signal::Timeout);
        self.deliver();
    }

    /// Gives a node one input, and carries out the outputs, or leaves them to the end of the round.
    pub fn input(&mut self, node: NodeId, input: Input<P>) {
        self.is_in_round(node);
        self.handle(node, input);
    }

    /// Gives a node a signal, like any other input.
    pub fn signal(&mut self, node: NodeId, signal: Signal) {
        self.input(node, Input::Signal(signal));
    }

    /// Gives a node an input that arrived by itself: at once, or in a round with other inputs.
    pub(super) fn give(&mut self, node: NodeId, input: Input<P>) {
        if !self.is_in_round(node) {
            return self.handle(node, input);
        }
        let Some(round) = self.nodes.get_mut(&node).and_then(|state| state.round.as_mut()) else { return };
        let is_frame = matches!(input, Input::Message { .. });
        if is_frame { round.frames.push(input) } else { round.results.push(input) }
    }

    fn handle(&mut self, node: NodeId, input: Input<P>) {
        if matches!(input, Input::Signal(Signal::Timeout)) {
            self.note(|| Happening::TimedOut { node });
        }
        if !self.nodes.contains_key(&node) {
            return;
        }
        let now = self.clocks(node);
        let state = self.node_mut(node.0);
        state.handle(now, input);
        if state.round.is_none() {
            self.poll(node);
        }
    }

    /// True if a running node gathers inputs for a round. By chance, one begins.
    fn is_in_round(&mut self, node: NodeId) -> bool {
        let begins = self.time.strikes(self.faults.batch_percent);
        let Some(state) = self.nodes.get_mut(&node).filter(|state| state.core.is_some()) else { return false };
        if state.round.is_none() && begins {
            state.round = Some(Round { frames: Vec::new(), results: Vec::new() });
            let starts = state.starts;
            self.time.schedule(ROUND, Event::RoundEnded { node, starts });
            return true;
        }
        state.round.is_some()
    }

    /// Hands in a round like a driver, and then carries out the outputs. Either frames come first, or the results of
    /// writes.
    fn end_round(&mut self, node: NodeId) {
        let now = self.clocks(node);
        let are_frames_first = self.time.choose(2) == 0;
        let Some(state) = self.nodes.get_mut(&node) else { return };
        let Some(Round { frames, results }) = state.round.take() else { return };
        let (first, then) = if are_frames_first { (frames, results) } else { (results, frames) };
        for input in first {
            state.handle(now, input);
        }
        if !are_frames_first {
            state.time_out_if_due(now);
        }
        for input in then {
            state.handle(now, input);
        }
        state.time_out_if_due(now);
        self.poll(node);
    }

    /// Carries out a node's outputs.
    pub(super) fn poll(&mut self, node: NodeId) {
        while let Some(output) = self.nodes.get_mut(&node).and_then(|state| state.core.as_mut()?.poll_output()) {
            if !matches!(output, Output::Event(_)) && !self.survives(node) {
                return;
            }
            self.carry_out(node, output);
        }
        if let Some(state) = self.nodes.get_mut(&node).filter(|state| state.core.is_some()) {
            P::on_polled(state);
        }
    }

    fn carry_out(&mut self, node: NodeId, output: Output<P>) {
        let state = self.nodes.get_mut(&node).expect("a node of the cluster");
        let starts = state.starts;
        match output {
            Output::Send { to, message } => {
                P::check_sent(state, to, &message);
                state.traffic.messages += 1;
                self.carry(node, to, message);
            }
            Output::Persist { ticket, operations } => {
                state.traffic.writes += 1;
                state.writes.push_back((ticket, operations.clone()));
                self.note(|| Happening::Wrote { node, operations });
                let delay = self.time.draw(self.faults.write_max);
                self.time.schedule(delay, Event::Written { node, starts, ticket });
            }
            Output::Load { ticket, range } => {
                let delay = self.time.draw(self.faults.write_max);
                self.time.schedule(delay, Event::Loaded { node, starts, ticket, range });
            }
            Output::Request { ticket, request } => P::on_request(self, node, ticket, request),
            Output::Event(event) => {
                P::on_event(state, &event);
                state.events.push(event.clone());
                self.note(|| Happening::Told { node, event });
            }
            Output::Halt { reason } => {
                state.halted = Some(reason.clone());
                self.note(|| Happening::Halted { node, reason });
            }
        }
    }

    /// Lets the application of a node carry out a request after a delay.
    pub fn ask_later(&mut self, node: NodeId, delay: Duration, ticket: Ticket, request: P::Request) {
        let starts = self.nodes[&node].starts;
        self.time.schedule(delay, Event::Asked { node, starts, ticket, request });
    }

    /// A random time below `max`; zero if `max` is.
    pub fn draw(&mut self, max: Duration) -> Duration {
        self.time.draw(max)
    }

    /// True with a probability of `percent`.
    pub fn strikes(&mut self, percent: u64) -> bool {
        self.time.strikes(percent)
    }

    /// Counts a step of a node, and crashes the node just before it if the step is marked. Returns false then.
    pub fn survives(&mut self, node: NodeId) -> bool {
        self.steps += 1;
        if !self.crashes.contains(&self.steps) {
            return true;
        }
        // Other nodes may already know the effects of its last step before the crash.
        self.check();
        self.crash(node.0);
        self.time.schedule(self.restart_after, Event::Restarted { node });
        false
    }

    /// Checks every law.
    ///
    /// # Panics
    /// When a law is broken.
    pub(super) fn check(&mut self) {
        let running = self.nodes.iter().filter_map(|(node, state)| Some((*node, state.core.as_ref()?)));
        let running: Vec<(NodeId, &P)> = running.collect();
        for law in &mut self.laws {
            if let Err(violation) = law.check(&running) {
                panic!("{violation}");
            }
        }
        P::check_disks(self);
    }

    /// The earliest deadline, and its node. A node that gathers a round notices its deadline at the end of the round.
    fn next_deadline(&self) -> Option<(Instant, NodeId)> {
        let waits = self.nodes.iter().filter(|(_, state)| state.round.is_none());
        waits.filter_map(|(node, state)| Some((state.pace.moment_of(state.core.as_ref()?.deadline()?), *node))).min()
    }

    fn happen_next(&mut self) {
        if let Some(event) = self.time.take_next() {
            self.happen(event);
            self.check();
        }
    }

    fn happen(&mut self, event: Event<P>) {
        match event {
            Event::Delivered { from, incarnation, to, message } => self.arrive(from, incarnation, to, message),
            Event::Written { node, starts, ticket } => self.complete_write(node, starts, ticket),
            Event::Loaded { node, starts, ticket, range } if self.runs_since(node, starts) => {
                let result = self.nodes[&node].disk.load(&range);
                self.give(node, Input::Signal(Signal::Loaded { ticket, result }));
            }
            Event::Asked { node, starts, ticket, request } if self.runs_since(node, starts) => {
                P::on_asked(self, node, ticket, request);
            }
            Event::RoundEnded { node, starts } if self.runs_since(node, starts) => self.end_round(node),
            Event::Restarted { node } if self.nodes[&node].core.is_none() => self.restart(node.0),
            Event::Beat => self.beat(),
            // The node crashed meanwhile, or was started by the test.
            _ => {}
        }
    }

    /// True if a node runs, and has run since this start.
    fn runs_since(&self, node: NodeId, starts: u64) -> bool {
        let state = &self.nodes[&node];
        state.core.is_some() && state.starts == starts
    }

    fn complete_write(&mut self, node: NodeId, starts: u64, ticket: Ticket) {
        let is_refused = self.time.strikes(self.faults.refusal_percent);
        let state = &self.nodes[&node];
        let is_next = state.writes.front().is_some_and(|(next, _)| *next == ticket);
        if !self.runs_since(node, starts) || state.is_disk_held || !is_next || !self.survives(node) {
            return;
        }
        let state = self.node_mut(node.0);
        let (_, operations) = state.writes.pop_front().expect("just seen");
        if is_refused {
            state.writes.clear();
            return self
                .give(node, Input::Signal(Signal::PersistFailed { ticket, failure: PersistFailure::NotWritten }));
        }
        state.disk.write(&operations);
        self.note(|| Happening::Persisted { node });
        if self.survives(node) {
            self.give(node, Input::Signal(Signal::Persisted(ticket)));
        }
    }
}

impl<P: Subject> fmt::Debug for Cluster<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("now", &self.now()).field("nodes", &self.nodes).finish_non_exhaustive()
    }
}

const LOOK_EVERY: Duration = Duration::from_millis(5);
const STEPS_WITHOUT_TIME_MAX: u32 = 100_000;
/// Time in which a round gathers inputs.
const ROUND: Duration = Duration::from_micros(50);
