//! The network of a cluster: links that are cut, and messages that are held back.

use quorate_protocol::{Input, NodeId};

use super::cluster::Cluster;
use super::record::{Fate, Happening};
use super::words::kind;
use crate::Message;

/// Selects messages by sender, receiver and kind. A field that is `None` selects all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pick {
    /// The sender.
    pub from: Option<NodeId>,
    /// The receiver.
    pub to: Option<NodeId>,
    /// A name of [`KINDS`](super::KINDS).
    pub kind: Option<&'static str>,
}

impl Pick {
    /// Returns true if it selects this message.
    pub fn picks(&self, from: NodeId, to: NodeId, message: &Message) -> bool {
        let is_kind = self.kind.is_none_or(|wanted| wanted == kind(message));
        is_kind && self.from.is_none_or(|wanted| wanted == from) && self.to.is_none_or(|wanted| wanted == to)
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

impl Cluster {
    /// Loses all messages from `from` to `to`.
    pub fn cut(&mut self, from: u64, to: u64) {
        self.cut.insert((NodeId(from), NodeId(to)));
    }

    /// Loses all messages between `node` and all others.
    pub fn isolate(&mut self, node: u64) {
        let others: Vec<u64> = self.nodes.keys().map(|other| other.0).filter(|other| *other != node).collect();
        for other in others {
            self.cut(node, other);
            self.cut(other, node);
        }
    }

    /// Loses all messages except between these pairs.
    pub fn only_links(&mut self, links: &[(u64, u64)]) {
        let nodes: Vec<u64> = self.nodes.keys().map(|node| node.0).collect();
        self.cut.clear();
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
        self.cut.clear();
    }

    /// Holds the messages from `from` to `to` until they are released.
    pub fn park(&mut self, from: u64, to: u64) {
        self.hold(Pick { from: Some(NodeId(from)), to: Some(NodeId(to)), kind: None });
    }

    /// Holds the selected messages until they are released.
    pub fn hold(&mut self, pick: Pick) {
        self.holds.push(pick);
    }

    /// Delivers the held messages in order, and holds no more.
    pub fn release(&mut self) {
        self.holds.clear();
        for (from, to, message) in std::mem::take(&mut self.parked) {
            self.arrive_late(from, to, message);
        }
        self.settle();
    }

    /// Delivers the held messages for which `chosen` is true, in order, and continues to hold.
    pub fn release_if(&mut self, chosen: impl Fn(&Message) -> bool) {
        self.release_as(Release::Deliver, |_, _, message| chosen(message));
    }

    /// Does this to the held messages for which `chosen` is true, in order, and continues to hold.
    pub fn release_as(&mut self, release: Release, chosen: impl Fn(NodeId, NodeId, &Message) -> bool) {
        let parked = std::mem::take(&mut self.parked);
        let is_chosen = |(from, to, message): &(NodeId, NodeId, Message)| chosen(*from, *to, message);
        let (picked, kept): (Vec<_>, Vec<_>) = parked.into_iter().partition(is_chosen);
        self.parked = kept;
        if release == Release::Duplicate {
            self.parked.extend(picked.iter().cloned());
        }
        for (from, to, message) in picked {
            match release {
                Release::Drop => self.note(|| Happening::Sent { from, to, message, fate: Fate::Lost }),
                Release::Deliver | Release::Duplicate => self.arrive_late(from, to, message),
            }
        }
        self.deliver();
    }

    fn arrive_late(&mut self, from: NodeId, to: NodeId, message: Message) {
        self.note(|| Happening::Released { from, to, message: message.clone() });
        self.input(to, Input::Message { from, message });
    }

    /// Drops the held messages, and holds no more.
    pub fn forget_parked(&mut self) {
        self.holds.clear();
        self.parked.clear();
    }

    /// Returns the held messages.
    pub fn parked(&self) -> &[(NodeId, NodeId, Message)] {
        &self.parked
    }
}
