//! The network of a cluster: links that are cut, and messages that are held back.

use std::collections::BTreeSet;

use super::cluster::Event;
use super::{Cluster, Fate, Happening, Subject};
use crate::{Input, NodeId, Protocol, Signal};

/// The state of the network.
pub(super) struct Network<P: Protocol> {
    cut: BTreeSet<(NodeId, NodeId)>,
    holds: Vec<Hold<P>>,
    held: Vec<Held<P>>,
}

/// Selects messages by sender, receiver and content.
type Hold<P> = Box<dyn Fn(NodeId, NodeId, &<P as Protocol>::Message) -> bool + Send>;
/// Sender, receiver and message.
type Held<P> = (NodeId, NodeId, <P as Protocol>::Message);

impl<P: Protocol> Default for Network<P> {
    fn default() -> Self {
        Self { cut: BTreeSet::new(), holds: Vec::new(), held: Vec::new() }
    }
}

impl<P: Protocol> Network<P> {
    pub(super) fn is_cut(&self, from: NodeId, to: NodeId) -> bool {
        self.cut.contains(&(from, to))
    }
}

/// The fate of held messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// They arrive.
    Deliver,
    /// They are lost.
    Drop,
    /// They arrive, and stay held as well, so that they may arrive again.
    Duplicate,
}

impl<P: Subject> Cluster<P> {
    /// True if messages from `from` to `to` are lost.
    #[must_use]
    pub fn is_cut(&self, from: NodeId, to: NodeId) -> bool {
        self.network.is_cut(from, to)
    }

    /// Loses all messages from `from` to `to`.
    pub fn cut(&mut self, from: u64, to: u64) {
        self.network.cut.insert((NodeId(from), NodeId(to)));
        if P::TELLS_LINKS {
            self.signal(NodeId(from), Signal::Unreachable(NodeId(to)));
        }
    }

    /// Loses all messages between two nodes.
    pub fn part(&mut self, one: u64, other: u64) {
        self.cut(one, other);
        self.cut(other, one);
    }

    /// Loses all messages between `node` and all others.
    pub fn isolate(&mut self, node: u64) {
        for other in self.others(node) {
            self.part(node, other.0);
        }
    }

    /// Loses all messages except between these pairs.
    pub fn only_links(&mut self, links: &[(u64, u64)]) {
        self.heal();
        let nodes: Vec<u64> = self.nodes.keys().map(|node| node.0).collect();
        for from in &nodes {
            for to in &nodes {
                if from != to && !links.contains(&(*from, *to)) && !links.contains(&(*to, *from)) {
                    self.cut(*from, *to);
                }
            }
        }
    }

    /// Restores all links.
    pub fn heal(&mut self) {
        self.network.cut.clear();
        if P::TELLS_LINKS {
            let nodes: Vec<u64> = self.nodes.keys().map(|node| node.0).collect();
            for node in nodes {
                self.hear(node);
            }
        }
    }

    /// Holds the messages for which `is_held` (sender, receiver, message) is true until they are released.
    pub fn hold(&mut self, is_held: impl Fn(NodeId, NodeId, &P::Message) -> bool + Send + 'static) {
        self.network.holds.push(Box::new(is_held));
    }

    /// Holds the messages from `from` to `to` until they are released.
    pub fn park(&mut self, from: u64, to: u64) {
        self.hold(move |sender, receiver, _| (sender.0, receiver.0) == (from, to));
    }

    /// Holds all messages between nodes of the cluster until they are released.
    pub fn park_all(&mut self) {
        let nodes: BTreeSet<NodeId> = self.nodes.keys().copied().collect();
        self.hold(move |from, to, _| nodes.contains(&from) && nodes.contains(&to));
    }

    /// Delivers the held messages in order, and holds no more. Returns them, so that they can be delivered again.
    pub fn release(&mut self) -> Vec<(NodeId, NodeId, P::Message)> {
        self.network.holds.clear();
        let held = std::mem::take(&mut self.network.held);
        for (from, to, message) in held.clone() {
            self.arrive_late(from, to, message);
        }
        self.settle();
        held
    }

    /// Delivers the held messages for which `chosen` is true, in order, and continues to hold. Returns their number.
    pub fn release_if(&mut self, chosen: impl Fn(u64, u64, &P::Message) -> bool) -> usize {
        self.release_as(Release::Deliver, |from, to, message| chosen(from.0, to.0, message))
    }

    /// Does this to the held messages for which `chosen` is true, in order, and continues to hold. Returns their
    /// number.
    pub fn release_as(&mut self, release: Release, chosen: impl Fn(NodeId, NodeId, &P::Message) -> bool) -> usize {
        let held = std::mem::take(&mut self.network.held);
        let is_chosen = |(from, to, message): &Held<P>| chosen(*from, *to, message);
        let (picked, kept): (Vec<_>, Vec<_>) = held.into_iter().partition(is_chosen);
        self.network.held = kept;
        if release == Release::Duplicate {
            self.network.held.extend(picked.iter().cloned());
        }
        let count = picked.len();
        for (from, to, message) in picked {
            match release {
                Release::Drop => self.note(|| Happening::Sent { from, to, message, fate: Fate::Lost }),
                Release::Deliver | Release::Duplicate => self.arrive_late(from, to, message),
            }
        }
        self.deliver();
        count
    }

    /// Drops the held messages, and holds no more.
    pub fn forget_parked(&mut self) {
        self.network.holds.clear();
        self.network.held.clear();
    }

    /// The held messages: sender, receiver and content.
    #[must_use]
    pub fn parked(&self) -> &[(NodeId, NodeId, P::Message)] {
        &self.network.held
    }

    /// Delivers a message now.
    pub fn inject(&mut self, from: u64, to: u64, message: P::Message) {
        self.input(NodeId(to), Input::Message { from: NodeId(from), message });
        self.settle();
    }

    /// Takes a message that a node sends.
    pub(super) fn carry(&mut self, from: NodeId, to: NodeId, message: P::Message) {
        let is_held = self.network.holds.iter().any(|hold| hold(from, to, &message));
        let is_lost = !is_held && (self.network.is_cut(from, to) || self.time.strikes(self.faults.loss_percent));
        let fate = match (is_held, is_lost) {
            (true, _) => Fate::Held,
            (_, true) => Fate::Lost,
            _ => Fate::Sent,
        };
        self.note(|| Happening::Sent { from, to, message: message.clone(), fate });
        match fate {
            Fate::Held => self.network.held.push((from, to, message)),
            Fate::Lost => {}
            Fate::Sent => {
                let incarnation = self.nodes[&from].incarnation;
                if self.time.strikes(self.faults.duplicate_percent) {
                    let delay = self.time.draw(self.faults.latency_max * SECOND_COPY);
                    let message = message.clone();
                    self.time.schedule(delay, Event::Delivered { from, incarnation, to, message });
                }
                let delay = self.time.draw(self.faults.latency_max);
                self.time.schedule(delay, Event::Delivered { from, incarnation, to, message });
            }
        }
    }

    /// A message arrives. One that was sent from a lost disk does not come from the node that is known now.
    pub(super) fn arrive(&mut self, from: NodeId, incarnation: u64, to: NodeId, message: P::Message) {
        let is_heard =
            self.nodes[&from].incarnation == incarnation && self.nodes.get(&to).is_some_and(|to| to.core.is_some());
        if is_heard && !self.network.is_cut(from, to) && self.survives(to) {
            self.give(to, Input::Message { from, message });
        }
    }

    fn arrive_late(&mut self, from: NodeId, to: NodeId, message: P::Message) {
        self.note(|| Happening::Released { from, to, message: message.clone() });
        self.input(to, Input::Message { from, message });
    }
}

/// The second copy of a message takes up to this many times as long as the first.
const SECOND_COPY: u32 = 20;
