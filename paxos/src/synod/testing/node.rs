//! One node of a cluster under test: a core, its disk, and the events of its application.

use std::collections::{BTreeMap, VecDeque};

use quorate_protocol::{
    HaltReason, Input, NodeId, Now, Operation, Output, ProposalId, Protocol, ReadId, Standing, Ticket,
};

use super::disk::{Disk, PowerCut};
use crate::synod::message::{Accept, Accepted, Prepare, Promise, Report};
use crate::synod::{Config, Event, Message, Outcome, Proposal, ReadOutcome, Synod};

/// One node of a cluster under test.
#[derive(Debug)]
pub struct Node {
    /// Its core, while it runs.
    pub core: Option<Synod>,
    /// State that survives a crash.
    pub disk: Disk,
    /// Every event so far, in order, over all starts.
    pub events: Vec<Event>,
    /// Reason why it stopped; `None` if it did not.
    pub halted: Option<HaltReason>,
    /// The write on its way to the disk.
    pub(super) writes: VecDeque<(Ticket, Vec<Operation>)>,
    /// True while writes do not complete.
    pub(super) is_disk_held: bool,
    /// The inputs that are handed in together in the next round.
    pub(super) round: Option<Round>,
    /// Number of writes that became durable.
    pub writes_done: u64,
    pub(super) incarnation: u64,
    /// The incarnations that this node knows.
    pub(super) known: BTreeMap<NodeId, u64>,
    /// Number of starts so far. Results for an earlier start do not belong to this one.
    pub(super) starts: u64,
    pub(super) config: Config,
}

/// The inputs since the last round, as a driver gathers them.
#[derive(Debug, Default)]
pub(super) struct Round {
    pub(super) frames: Vec<Input<Synod>>,
    /// The results of writes.
    pub(super) news: Vec<Input<Synod>>,
}

/// An effect of a node that concerns others or takes time.
#[derive(Debug)]
pub(super) enum Effect {
    Send(NodeId, Message),
    Write(Ticket),
}

impl Node {
    pub(super) fn new(config: Config) -> Self {
        Self {
            core: None,
            disk: Disk::default(),
            events: Vec::new(),
            halted: None,
            writes: VecDeque::new(),
            is_disk_held: false,
            round: None,
            writes_done: 0,
            incarnation: 1,
            known: BTreeMap::new(),
            starts: 0,
            config,
        }
    }

    /// The running core.
    ///
    /// # Panics
    /// When the node is down.
    pub fn core(&self) -> &Synod {
        self.core.as_ref().expect("the node runs")
    }

    /// Its configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Drops the writes on their way to the disk, for a test that refuses them itself.
    pub fn forget_writes(&mut self) {
        self.writes.clear();
    }

    /// The chosen proposal that its application was told.
    pub fn chosen(&self) -> Option<&Proposal> {
        self.events.iter().find_map(|event| match event {
            Event::Chosen(proposal) => Some(proposal),
            _ => None,
        })
    }

    /// The last outcome of a proposal.
    pub fn outcome(&self, proposal: ProposalId) -> Option<&Outcome> {
        self.events.iter().rev().find_map(|event| match event {
            Event::Proposed { id, outcome, .. } if *id == proposal => Some(outcome),
            _ => None,
        })
    }

    /// The answer to a read.
    pub fn read(&self, read: ReadId) -> Option<&ReadOutcome> {
        self.events.iter().find_map(|event| match event {
            Event::Read { id, outcome } if *id == read => Some(outcome),
            _ => None,
        })
    }

    /// The standing of another node's incarnation with this node.
    pub(super) fn standing_of(&self, node: NodeId, incarnation: u64) -> Standing {
        if self.known.get(&node) == Some(&incarnation) { Standing::Member } else { Standing::Stranger }
    }

    /// Starts from the disk.
    pub(super) fn start(&mut self, now: Now) {
        self.starts += 1;
        // This start uses another seed than the last.
        let seed = self.config.seed().wrapping_add(self.starts << 32);
        let (group, settings) = (self.config.group().clone(), self.config.settings().clone());
        let config = Config::new(self.config.node(), seed, group, settings).expect("valid before");
        let core = Synod::recover(now, config, self.disk.recovery()).expect("the disk holds what was written");
        self.core = Some(core);
    }

    /// Stops at once. `left` is the part of the first pending write that reaches the disk; nothing of the later ones
    /// does.
    pub(super) fn stop(&mut self, left: PowerCut) {
        self.core = None;
        self.round = None;
        if let Some((_, operations)) = self.writes.pop_front() {
            self.disk.cut(&operations, left);
        }
        self.writes.clear();
    }

    /// Gives the running core an input.
    pub(super) fn handle(&mut self, now: Now, input: Input<Synod>) {
        let Some(core) = &mut self.core else { return };
        core.handle(now, input);
        core.check_invariants();
    }

    /// Takes all outputs from the core and carries out those that concern this node alone.
    pub(super) fn poll(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        while let Some(output) = self.core.as_mut().and_then(Synod::poll_output) {
            match output {
                Output::Send { to, message } => {
                    self.check_said(&message);
                    effects.push(Effect::Send(to, message));
                }
                Output::Persist { ticket, operations } => {
                    self.writes.push_back((ticket, operations));
                    effects.push(Effect::Write(ticket));
                }
                Output::Event(event) => self.events.push(event),
                Output::Halt { reason } => self.halted = Some(reason),
                Output::Load { .. } => panic!("this core loads nothing"),
                Output::Request { request, .. } => match request {},
            }
        }
        effects
    }

    /// Durable before said: the content of a message is on the disk when it leaves.
    fn check_said(&self, message: &Message) {
        match message {
            Message::Prepare(Prepare { ballot, .. }) | Message::Accept(Accept { ballot, .. }) => {
                assert!(self.disk.round() >= ballot.round, "a ballot was heard of before it was durable");
            }
            Message::Promise(Promise { ballot, accepted }) => {
                assert!(self.disk.promised() >= *ballot, "a promise was made before it was durable");
                let durable = self.disk.accepted().map(|(ballot, _)| ballot);
                let told = accepted.as_ref().map(|(ballot, _)| *ballot);
                assert!(durable >= told, "what was accepted was told before it was durable");
            }
            Message::Accepted(Accepted { ballot }) => {
                let durable = self.disk.accepted().map(|(ballot, _)| ballot);
                assert!(durable >= Some(*ballot), "an acceptance was told before it was durable");
            }
            Message::Chosen(_) | Message::Announce | Message::Known => {
                assert!(self.disk.chosen().is_some(), "a decision was told before it was durable");
            }
            Message::Report(Report { accepted, .. }) => {
                let durable = self.disk.accepted().map(|(ballot, _)| ballot);
                let told = accepted.as_ref().map(|(ballot, _)| *ballot);
                assert!(durable >= told, "what was accepted was told before it was durable");
            }
            Message::Nack(_) | Message::Inquire | Message::Query(_) | Message::OtherSystem { .. } => {}
        }
    }
}
