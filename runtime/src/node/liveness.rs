//! Times of contact with peers. There is one heartbeat between two nodes, whatever number of groups they share.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate_protocol::{Instant, NodeId, Signal};

use super::Node;
use super::interface::NodeConfig;
use super::message::NodeMessage;
use super::peers::Peers;

/// The last contact with each peer, in both directions.
#[derive(Debug)]
pub(super) struct Liveness {
    interval: Duration,
    silent_after: Duration,
    next_beat: Instant,
    peers: BTreeMap<NodeId, Contact>,
}

#[derive(Debug, Default)]
struct Contact {
    was_heard: bool,
    heard_at: Option<Instant>,
    /// The time from which silence counts: that of the last frame, and later if this node's own loop was blocked since.
    silent_from: Instant,
    /// True from the beat after a frame of the peer on, until the peer is silent or its connection is lost.
    is_alive: bool,
    /// The places of groups that were told that the peer is unreachable, and not yet that it is alive.
    unreachable: BTreeSet<usize>,
    last_sent: Option<Instant>,
}

/// The result of a beat.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Beat {
    /// Peers that were heard from since the last beat.
    pub(super) alive: Vec<NodeId>,
    /// Those of them that were not alive before.
    pub(super) returned: Vec<NodeId>,
    /// Peers that were heard from, with a group that was told that the peer is unreachable.
    pub(super) reachable: Vec<(NodeId, usize)>,
    /// Peers that are silent from now on, with the times at which they were last heard from.
    pub(super) lost: Vec<(NodeId, Instant)>,
    /// Peers to which nothing was sent for an interval.
    pub(super) silent: Vec<NodeId>,
}

impl Liveness {
    pub(super) fn new(config: &NodeConfig, now: Instant) -> Self {
        let peers = config.peers.iter().map(|peer| (*peer, Contact::default())).collect();
        Self { interval: config.heartbeat_interval, silent_after: config.silent_after, next_beat: now, peers }
    }

    pub(super) fn add(&mut self, peer: NodeId) {
        self.peers.entry(peer).or_default();
    }

    /// The peers are these now. There is no contact with others any more.
    pub(super) fn follow(&mut self, peers: &Peers) {
        self.peers.retain(|peer, _| peers.contains(*peer));
        peers.nodes().for_each(|peer| self.add(peer));
    }

    pub(super) fn heard(&mut self, peer: NodeId, now: Instant) {
        if let Some(contact) = self.peers.get_mut(&peer) {
            contact.was_heard = true;
            contact.heard_at = Some(now);
            contact.silent_from = now;
        }
    }

    /// Another process speaks for the peer, or this one for the first time. Earlier contact was not with it.
    pub(super) fn forget(&mut self, peer: NodeId) {
        if let Some(contact) = self.peers.get_mut(&peer) {
            (contact.was_heard, contact.is_alive) = (false, false);
        }
    }

    /// The connection to the peer was lost, and all groups are told.
    pub(super) fn lose(&mut self, peer: NodeId) {
        if let Some(contact) = self.peers.get_mut(&peer) {
            contact.is_alive = false;
        }
    }

    /// The group at this place is told that the peer is unreachable.
    pub(super) fn note_unreachable(&mut self, peer: NodeId, place: usize) {
        if let Some(contact) = self.peers.get_mut(&peer) {
            contact.unreachable.insert(place);
        }
    }

    pub(super) fn sent(&mut self, peer: NodeId, now: Instant) {
        if let Some(contact) = self.peers.get_mut(&peer) {
            contact.last_sent = Some(now);
        }
    }

    pub(super) fn deadline(&self) -> Instant {
        self.next_beat
    }

    /// Returns the beat if it is due.
    pub(super) fn beat(&mut self, now: Instant) -> Option<Beat> {
        if now < self.next_beat {
            return None;
        }
        // A late beat shows that this node's own loop was blocked: that is no silence of the peers.
        let late = now.since(self.next_beat);
        let own_absence = if late >= self.interval { late } else { Duration::ZERO };
        self.next_beat = now.after(self.interval);
        let mut beat = Beat::default();
        for (peer, contact) in &mut self.peers {
            if std::mem::take(&mut contact.was_heard) {
                beat.alive.push(*peer);
                let told = std::mem::take(&mut contact.unreachable);
                if std::mem::replace(&mut contact.is_alive, true) {
                    beat.reachable.extend(told.into_iter().map(|place| (*peer, place)));
                } else {
                    beat.returned.push(*peer);
                }
            } else if contact.is_alive {
                contact.silent_from = contact.silent_from.after(own_absence).min(now);
                contact.is_alive = now.since(contact.silent_from) < self.silent_after;
                if !contact.is_alive {
                    beat.lost.push((*peer, contact.silent_from));
                }
            }
            if contact.last_sent.is_none_or(|sent| now.since(sent) >= self.interval) {
                beat.silent.push(*peer);
            }
        }
        Some(beat)
    }

    /// Returns the time at which a silent peer was last heard from; `None` if the peer is alive.
    pub(super) fn silent_since(&self, peer: NodeId) -> Option<Instant> {
        self.peers.get(&peer).filter(|contact| !contact.is_alive).map(|contact| contact.silent_from)
    }

    /// Returns the time at which each peer was last heard from, if it was.
    pub(super) fn contacts(&self) -> impl Iterator<Item = (NodeId, Instant)> + '_ {
        self.peers.iter().filter_map(|(peer, contact)| Some((*peer, contact.heard_at?)))
    }

    pub(super) fn peers(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.peers.keys().copied()
    }
}

/// The node's part.
impl Node {
    /// Tells groups which peers have returned or are lost, and peers that this node is alive. Does what else is due
    /// from time to time.
    pub(super) fn on_beat(&mut self, beat: &Beat) {
        for peer in &beat.alive {
            for place in self.resting.wakeful() {
                self.queue_at(place, Signal::PeerAlive(*peer));
            }
        }
        for peer in &beat.returned {
            self.tell_returned(*peer);
        }
        for (peer, place) in &beat.reachable {
            if self.slots.is_taken(*place) {
                self.queue_at(*place, Signal::PeerAlive(*peer));
            }
        }
        for (peer, heard_at) in &beat.lost {
            self.tell_silent(*peer, *heard_at);
        }
        for peer in self.liveness.peers().collect::<Vec<_>>() {
            self.introductions.greet(peer);
        }
        self.introductions.retry_if_due(self.now.instant);
        self.outputs.extend(self.leftovers.retry_if_due(self.now.instant));
        for peer in self.liveness.peers().collect::<Vec<_>>() {
            if let Some(statement) = self.resting.statement(peer, self.now.instant) {
                self.tell_peer(peer, &statement);
            } else if beat.silent.contains(&peer) {
                self.tell_peer(peer, &NodeMessage::Alive);
            }
        }
    }
}
