//! One node of a cluster under test.

use std::collections::{BTreeMap, VecDeque};

use super::pace::Pace;
use super::{Stream, Subject};
use crate::{HaltReason, Input, NodeId, Now, Operation, Protocol, Signal, Standing, Ticket};

/// A core, its disk, its application, and the events that the application saw.
#[derive(Debug)]
pub struct Node<P: Subject> {
    /// Its core, while it runs.
    pub core: Option<P>,
    /// The part that survives a crash.
    pub disk: Stream,
    /// Its application.
    pub application: P::Application,
    /// Every event so far, in order, over all starts.
    pub events: Vec<P::Event>,
    /// Reason why its group stopped; `None` if it did not.
    pub halted: Option<HaltReason>,
    /// Its messages and writes so far.
    pub traffic: Traffic,
    /// Writes on their way to the disk, oldest first.
    pub writes: VecDeque<(Ticket, Vec<Operation>)>,
    /// The pace of its monotone clock.
    pub(super) pace: Pace,
    /// True while writes do not complete.
    pub(super) is_disk_held: bool,
    /// The inputs that are handled together in the next round.
    pub(super) round: Option<Round<P>>,
    /// The incarnation of its disk.
    pub(super) incarnation: u64,
    /// The incarnations that it knows.
    pub(super) known: BTreeMap<NodeId, u64>,
    /// Number of starts so far. Results that belong to an earlier start are ignored.
    pub(super) starts: u64,
}

/// Number of messages and writes so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Messages sent to other nodes.
    pub messages: u64,
    /// Writes given to logs.
    pub writes: u64,
}

/// The inputs since the last round, as a driver gathers them.
#[derive(Debug)]
pub(super) struct Round<P: Subject> {
    pub(super) frames: Vec<Input<P>>,
    /// The results of writes.
    pub(super) results: Vec<Input<P>>,
}

impl<P: Subject> Node<P> {
    pub(super) fn new(known: BTreeMap<NodeId, u64>) -> Self {
        Self {
            core: None,
            disk: Stream::default(),
            application: P::Application::default(),
            events: Vec::new(),
            halted: None,
            traffic: Traffic::default(),
            writes: VecDeque::new(),
            pace: Pace::default(),
            is_disk_held: false,
            round: None,
            incarnation: 1,
            known,
            starts: 0,
        }
    }

    /// The running core.
    ///
    /// # Panics
    /// When the node is down.
    #[must_use]
    pub fn core(&self) -> &P {
        self.core.as_ref().expect("the node runs")
    }

    /// True if an earlier disk of this node was lost.
    #[must_use]
    pub fn is_wiped(&self) -> bool {
        self.incarnation > 1
    }

    /// The standing of another node's incarnation with this node.
    pub(super) fn standing_of(&self, node: NodeId, incarnation: u64) -> Standing {
        if self.known.get(&node) == Some(&incarnation) { Standing::Member } else { Standing::Stranger }
    }

    /// Gives the running core an input.
    pub(super) fn handle(&mut self, now: Now, input: Input<P>) {
        if let Some(core) = &mut self.core {
            core.handle(now, input);
            core.check_invariants();
        }
    }

    /// Gives the running core the input that its deadline has passed, if it has.
    pub(super) fn time_out_if_due(&mut self, now: Now) {
        if self.core.as_ref().and_then(Protocol::deadline).is_some_and(|due| due <= now.instant) {
            self.handle(now, Input::Signal(Signal::Timeout));
        }
    }
}
