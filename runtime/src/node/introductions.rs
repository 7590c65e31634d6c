//! Who counts for what: the exchange of incarnations that lets a wiped disk be told from the node it used to be.
//!
//! The rules, and why they suffice. A node writes down the first incarnation it meets under an id and never another. It votes
//! in a group only when every initial voter has it written down durably and it has them. So if a node ever voted, every
//! other initial voter knows its incarnation; when it comes back with an empty disk and another one, no initial voter that kept its own
//! disk introduces it, and it stays a non-voter. If a voter never met the old node, the old node never voted, and nothing is forgotten.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use quorate_protocol::{Incarnation, NodeId, Operation, Standing, Ticket, VotingBar};
use quorate_transport::Sender;

use super::message::NodeMessage;
use super::roster::{Acquaintance, PEERS_MAX, Roster};
use crate::Notice;

/// The node's knowledge of its peers, and the exchange that makes it.
#[derive(Debug)]
pub(super) struct Introductions {
    roster: Roster,
    /// The part of the roster's peers that is durable.
    durable: BTreeMap<NodeId, Acquaintance>,
    /// The incarnation under which each peer was last heard.
    seen: BTreeMap<NodeId, Incarnation>,
    /// Peers whose `Hello` waits until they are durably known. A subset of the known peers, hence bounded.
    unanswered: BTreeSet<NodeId>,
    /// A peer that knows this node under another incarnation, and which.
    barred: Option<(NodeId, Incarnation)>,
    /// The write under way, if there is one, and the peers it makes durable.
    writing: Option<(Ticket, BTreeMap<NodeId, Acquaintance>)>,
    is_dirty: bool,
    wants_checkpoint: bool,
    last_ticket: Ticket,
    effects: VecDeque<Effect>,
}

/// What follows from an introduction.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Send(NodeId, NodeMessage),
    Persist(Ticket, Vec<Operation>),
    /// The peer counts for this from now on.
    Standing(NodeId, Standing),
    /// What this node counts for itself may have changed: ask [`Introductions::voting_bar`] for each group.
    SelfStanding,
    Notice(Notice),
}

impl Introductions {
    pub(super) fn new(roster: Roster) -> Self {
        let durable = roster.peers.clone();
        Self {
            roster,
            durable,
            seen: BTreeMap::new(),
            unanswered: BTreeSet::new(),
            barred: None,
            writing: None,
            is_dirty: false,
            wants_checkpoint: false,
            last_ticket: Ticket(0),
            effects: VecDeque::new(),
        }
    }

    pub(super) fn roster(&self) -> &Roster {
        &self.roster
    }

    /// Notes under which incarnation a peer was heard, before anything it said is passed on.
    pub(super) fn on_frame(&mut self, from: Sender) {
        if self.seen.get(&from.node) == Some(&from.incarnation) {
            return;
        }
        let before = self.standing(from.node);
        self.seen.insert(from.node, from.incarnation);
        let after = self.standing(from.node);
        if before != after {
            self.effects.push_back(Effect::Standing(from.node, after));
        }
        if let Some(known) = self.roster.peers.get(&from.node)
            && known.incarnation != from.incarnation
        {
            let (found, known) = (from.incarnation, known.incarnation);
            self.effects.push_back(Effect::Notice(Notice::PeerStranger { peer: from.node, found, known }));
        }
    }

    /// Asks to be introduced to a peer, unless that is done.
    pub(super) fn greet(&mut self, peer: NodeId) {
        if !self.is_introduced(peer) {
            self.effects.push_back(Effect::Send(peer, self.hello(peer)));
        }
    }

    /// A peer asks to be introduced.
    pub(super) fn on_hello(&mut self, from: Sender, known_of_us: Option<Incarnation>) {
        if !self.meet(from) {
            return;
        }
        self.unanswered.insert(from.node);
        if let Some(known) = known_of_us {
            if known == self.roster.identity.incarnation {
                self.on_known(from, known);
            } else {
                self.on_mismatch(from, known);
            }
        }
        self.answer();
        self.write();
    }

    /// A peer has this node, or its predecessor, durable.
    pub(super) fn on_known(&mut self, from: Sender, incarnation: Incarnation) {
        if incarnation != self.roster.identity.incarnation || !self.meet(from) {
            return;
        }
        let known = self.roster.peers.get_mut(&from.node).expect("just met");
        if known.incarnation == from.incarnation && !known.is_mutual {
            known.is_mutual = true;
            self.is_dirty = true;
        }
        self.write();
    }

    /// A peer knows another incarnation under this node's id. What a stranger says of us counts for nothing.
    pub(super) fn on_mismatch(&mut self, from: Sender, known: Incarnation) {
        if known == self.roster.identity.incarnation || !self.meet(from) {
            return;
        }
        if self.barred.is_none() && self.roster.peers[&from.node].incarnation == from.incarnation {
            self.barred = Some((from.node, known));
            self.effects.push_back(Effect::Notice(Notice::SelfStranger { peer: from.node, known }));
            self.effects.push_back(Effect::SelfStanding);
        }
        self.write();
    }

    /// Stream 0 pins the log's oldest segment: write it anew.
    pub(super) fn on_compact_requested(&mut self) {
        self.wants_checkpoint = true;
        self.write();
    }

    /// Every write of stream 0 up to `ticket` is durable.
    pub(super) fn on_persisted(&mut self, ticket: Ticket) {
        let Some((_, peers)) = self.writing.take_if(|(writing, _)| *writing <= ticket) else { return };
        let before = std::mem::replace(&mut self.durable, peers);
        for (peer, known) in self.durable.clone() {
            self.announce(peer, known, before.get(&peer));
        }
        self.effects.push_back(Effect::SelfStanding);
        self.answer();
        self.write();
    }

    /// The log takes no more writes: nothing new becomes known in this start.
    pub(super) fn on_persist_failed(&mut self) {
        self.writing = Some((Ticket(u64::MAX), self.durable.clone()));
    }

    /// What a peer counts for: the incarnation it was last heard under is the durably known one.
    pub(super) fn standing(&self, peer: NodeId) -> Standing {
        let Some(known) = self.durable.get(&peer) else { return Standing::Stranger };
        match self.seen.get(&peer) {
            Some(seen) if *seen != known.incarnation => Standing::Stranger,
            _ => Standing::Member,
        }
    }

    /// Why this node may not vote in a group of these initial voters; nothing when it may.
    pub(super) fn voting_bar(&self, voters: &BTreeSet<NodeId>) -> Option<VotingBar> {
        if self.barred.is_some() {
            return Some(VotingBar::WipedDisk);
        }
        let me = self.roster.identity.node;
        let is_introduced = voters.iter().all(|voter| *voter == me || self.is_introduced(*voter));
        if is_introduced { None } else { Some(VotingBar::NotIntroduced) }
    }

    pub(super) fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Whether both sides durably know each other.
    fn is_introduced(&self, peer: NodeId) -> bool {
        self.durable.get(&peer).is_some_and(|known| known.is_mutual)
    }

    /// Remembers a peer that was never met. False when there is no room for it.
    fn meet(&mut self, from: Sender) -> bool {
        if self.roster.peers.contains_key(&from.node) {
            return true;
        }
        if from.node == self.roster.identity.node {
            return false;
        }
        if self.roster.peers.len() >= PEERS_MAX {
            self.effects.push_back(Effect::Notice(Notice::PeersFull { peer: from.node }));
            return false;
        }
        self.roster.peers.insert(from.node, Acquaintance { incarnation: from.incarnation, is_mutual: false });
        self.is_dirty = true;
        true
    }

    /// Tells what became durable of one peer.
    fn announce(&mut self, peer: NodeId, known: Acquaintance, before: Option<&Acquaintance>) {
        if before.is_none() && self.standing(peer) == Standing::Member {
            self.effects.push_back(Effect::Standing(peer, Standing::Member));
            self.greet(peer);
        }
        if known.is_mutual && before.is_none_or(|before| !before.is_mutual) {
            let incarnation = known.incarnation;
            self.effects.push_back(Effect::Notice(Notice::Introduced { peer, incarnation }));
        }
    }

    /// Answers every `Hello` whose sender is durably known, under the incarnation it bears or another.
    fn answer(&mut self) {
        let ready: Vec<NodeId> =
            self.unanswered.iter().filter(|peer| self.durable.contains_key(peer)).copied().collect();
        for peer in ready {
            self.unanswered.remove(&peer);
            let known = self.durable[&peer].incarnation;
            let is_same = self.seen.get(&peer).is_none_or(|seen| *seen == known);
            let answer =
                if is_same { NodeMessage::Known { incarnation: known } } else { NodeMessage::Mismatch { known } };
            self.effects.push_back(Effect::Send(peer, answer));
        }
    }

    fn hello(&self, peer: NodeId) -> NodeMessage {
        NodeMessage::Hello { known: self.durable.get(&peer).map(|known| known.incarnation) }
    }

    /// One write at a time; what changes meanwhile goes into the next.
    fn write(&mut self) {
        if self.writing.is_some() || !(self.is_dirty || self.wants_checkpoint) {
            return;
        }
        self.last_ticket = self.last_ticket.next();
        let operations = if self.wants_checkpoint {
            self.roster.checkpoint((u64::from(self.roster.start) << 32) | self.last_ticket.0)
        } else {
            vec![self.roster.state()]
        };
        self.is_dirty = false;
        self.wants_checkpoint = false;
        self.writing = Some((self.last_ticket, self.roster.peers.clone()));
        self.effects.push_back(Effect::Persist(self.last_ticket, operations));
    }
}
