//! Starts and crashes of nodes, and their standings with each other.

use std::collections::BTreeSet;

use super::cluster::Event;
use super::{Cluster, PowerCut, Stream, Subject};
use crate::{NodeId, Rest, Signal, Standing};

impl<P: Subject> Cluster<P> {
    /// Crashes a node. Writes that did not complete are lost.
    pub fn crash(&mut self, node: u64) {
        self.crash_leaving(node, PowerCut::Lost);
    }

    /// Crashes a node. `left` is the part of its oldest write that reaches the disk; later writes are lost.
    pub fn crash_leaving(&mut self, node: u64, left: PowerCut) {
        let state = self.node_mut(node);
        (state.core, state.round) = (None, None);
        if let Some((_, operations)) = state.writes.pop_front() {
            state.disk.cut(&operations, left);
        }
        state.writes.clear();
        P::on_crash(&mut state.application);
        // The laws must notice that it is gone, even if it comes back at once.
        self.check();
        if P::TELLS_LINKS {
            for other in self.others(node) {
                self.signal(other, Signal::Unreachable(NodeId(node)));
            }
        }
    }

    /// Starts a node from its disk, and introduces it to the nodes that run.
    ///
    /// # Panics
    /// When it cannot read what it wrote.
    pub fn restart(&mut self, node: u64) {
        self.recover(node);
        self.tell_standings(node);
        if P::TELLS_LINKS {
            self.hear(node);
        }
        self.poll(NodeId(node));
    }

    /// Starts a node from its disk without introducing any node.
    ///
    /// # Panics
    /// When it cannot read what it wrote.
    pub fn start_alone(&mut self, node: u64) {
        self.recover(node);
        self.poll(NodeId(node));
    }

    fn recover(&mut self, node: u64) {
        if self.node(node).core.is_some() {
            self.crash(node);
        }
        let now = self.clocks(NodeId(node));
        let starts = self.node(node).starts + 1;
        let config = P::config(&self.setup, NodeId(node), starts);
        let recovery = self.node(node).disk.recovery(self.setup.tail_bytes_max);
        let core = P::recover(now, config, recovery).expect("the disk holds what was written");
        let state = self.node_mut(node);
        (state.core, state.halted, state.starts, state.is_disk_held) = (Some(core), None, starts, false);
    }

    /// Crashes a node and empties its disk. It comes back as another incarnation, which knows the present ones of the
    /// others.
    pub fn wipe(&mut self, node: u64) {
        self.crash(node);
        let present = self.nodes.iter().map(|(id, state)| (*id, state.incarnation + u64::from(id.0 == node)));
        let present = present.collect();
        let state = self.node_mut(node);
        (state.disk, state.application, state.known) = (Stream::default(), P::Application::default(), present);
        state.incarnation += 1;
    }

    /// Makes `node` accept `peer`'s present incarnation as the known one.
    pub fn introduce(&mut self, node: u64, peer: u64) {
        let incarnation = self.node(peer).incarnation;
        self.node_mut(node).known.insert(NodeId(peer), incarnation);
    }

    /// Introduces all nodes that have not met to each other, durably, and tells them.
    pub fn introduce_all(&mut self) {
        let nodes: Vec<u64> = self.nodes.keys().map(|node| node.0).collect();
        for (node, peer) in nodes.iter().flat_map(|node| nodes.iter().map(move |peer| (*node, *peer))) {
            if !self.node(node).known.contains_key(&NodeId(peer)) {
                self.introduce(node, peer);
            }
        }
        for node in nodes {
            self.tell_standings(node);
        }
    }

    /// Tells a node the standings of all others, all others its standing, and the node its own. If others know it as
    /// another incarnation, it is a stranger to itself. A node that some other has not met is not told its own
    /// standing.
    fn tell_standings(&mut self, node: u64) {
        let (id, incarnation) = (NodeId(node), self.node(node).incarnation);
        for peer in self.others(node) {
            let seen_by_peer = self.nodes[&peer].standing_of(id, incarnation);
            let seen_by_node = self.nodes[&id].standing_of(peer, self.nodes[&peer].incarnation);
            self.signal(peer, Signal::PeerStanding { node: id, standing: seen_by_peer });
            self.signal(id, Signal::PeerStanding { node: peer, standing: seen_by_node });
        }
        let known: Vec<Option<u64>> = self.nodes.values().map(|other| other.known.get(&id).copied()).collect();
        if known.iter().flatten().any(|known| *known != incarnation) {
            self.signal(id, Signal::PeerStanding { node: id, standing: Standing::Stranger });
        } else if known.iter().all(Option::is_some) {
            self.signal(id, Signal::PeerStanding { node: id, standing: Standing::Member });
        }
    }

    /// Lets a node and all running nodes that it can reach hear each other.
    pub(super) fn hear(&mut self, node: u64) {
        for other in self.others(node) {
            for (from, to) in [(NodeId(node), other), (other, NodeId(node))] {
                self.hear_from(from, to);
            }
        }
    }

    fn hear_from(&mut self, from: NodeId, to: NodeId) {
        if self.is_heard(from, to) {
            self.signal(to, Signal::PeerAlive(from));
        }
    }

    fn is_heard(&self, from: NodeId, to: NodeId) -> bool {
        self.nodes[&from].core.is_some() && !self.network.is_cut(from, to)
    }

    /// Reports to every node the other nodes from which messages reach it, and to a core at rest those from which none
    /// do.
    pub(super) fn beat(&mut self) {
        let nodes: Vec<NodeId> = self.nodes.keys().copied().collect();
        let heard_at = self.now();
        for from in &nodes {
            for to in nodes.iter().filter(|to| *to != from) {
                self.hear_from(*from, *to);
                if !self.is_heard(*from, *to) && self.rest(*to).is_some() {
                    self.signal(*to, Signal::PeerSilent { node: *from, heard_at });
                }
            }
        }
        self.compare_rests();
        self.schedule_beat();
    }

    /// Wakes a core that rests with a peer whose core was not at rest in the same way at two beats in a row.
    fn compare_rests(&mut self) {
        let mut unequal = BTreeSet::new();
        for node in self.nodes.keys().copied() {
            let Some(rest) = self.rest(node) else { continue };
            let is_equal = |peer: NodeId| {
                self.rest(peer).is_some_and(|other| {
                    (other.leader, other.term) == (rest.leader, rest.term) && other.with.contains(&node)
                })
            };
            // A node can compare itself only with one that it hears.
            let heard = rest.with.iter().filter(|peer| self.is_heard(**peer, node));
            unequal.extend(heard.filter(|peer| !is_equal(**peer)).map(|peer| (node, *peer)));
        }
        let before = std::mem::replace(&mut self.unequal_rests, unequal.clone());
        for (node, peer) in unequal.intersection(&before) {
            self.signal(*node, Signal::Unreachable(*peer));
        }
    }

    fn rest(&self, node: NodeId) -> Option<Rest> {
        let state = &self.nodes[&node];
        state.core.as_ref().filter(|_| state.halted.is_none())?.rest()
    }

    pub(super) fn schedule_beat(&mut self) {
        if let Some(interval) = self.setup.beat {
            self.time.schedule(interval, Event::Beat);
        }
    }

    pub(super) fn others(&self, node: u64) -> Vec<NodeId> {
        self.nodes.keys().copied().filter(|other| other.0 != node).collect()
    }
}
