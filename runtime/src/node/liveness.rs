//! Times of contact with peers. There is one heartbeat between two nodes, whatever number of groups they share.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_protocol::{Instant, NodeId};

use super::peers::Peers;

/// The last contact with each peer, in both directions.
#[derive(Debug)]
pub(super) struct Liveness {
    interval: Duration,
    next_beat: Instant,
    peers: BTreeMap<NodeId, Contact>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Contact {
    was_heard: bool,
    last_sent: Option<Instant>,
}

/// The result of a beat.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Beat {
    /// Peers that were heard from since the last beat.
    pub(super) alive: Vec<NodeId>,
    /// Peers to which nothing was sent for an interval.
    pub(super) silent: Vec<NodeId>,
}

impl Liveness {
    pub(super) fn new(interval: Duration, now: Instant, peers: impl IntoIterator<Item = NodeId>) -> Self {
        let peers = peers.into_iter().map(|peer| (peer, Contact::default())).collect();
        Self { interval, next_beat: now, peers }
    }

    pub(super) fn add(&mut self, peer: NodeId) {
        self.peers.entry(peer).or_default();
    }

    /// The peers are these now. There is no contact with others any more.
    pub(super) fn follow(&mut self, peers: &Peers) {
        self.peers.retain(|peer, _| peers.contains(*peer));
        peers.nodes().for_each(|peer| self.add(peer));
    }

    pub(super) fn heard(&mut self, peer: NodeId) {
        if let Some(contact) = self.peers.get_mut(&peer) {
            contact.was_heard = true;
        }
    }

    /// Another process speaks for the peer, or this one for the first time. Earlier contact was not with it.
    pub(super) fn forget(&mut self, peer: NodeId) {
        if let Some(contact) = self.peers.get_mut(&peer) {
            contact.was_heard = false;
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
        self.next_beat = now.after(self.interval);
        let mut beat = Beat::default();
        for (peer, contact) in &mut self.peers {
            if std::mem::take(&mut contact.was_heard) {
                beat.alive.push(*peer);
            }
            if contact.last_sent.is_none_or(|sent| now.since(sent) >= self.interval) {
                beat.silent.push(*peer);
            }
        }
        Some(beat)
    }

    pub(super) fn peers(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.peers.keys().copied()
    }
}
