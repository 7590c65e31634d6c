//! Groups at rest: they send nothing and rely on the life of nodes, which the node watches once for all of them.
//!
//! A group that never rests is told with every beat which peers are alive. Others are told changes only, so that ten
//! thousand of them cost nothing while nothing happens:
//!
//! 1. **Silence and return of a peer.** A group that comes to rest is told what its rest contradicts: a silent peer
//!    that it relies on, a living one that it leads and does not rely on.
//! 2. **A new start of a peer.** Its groups have forgotten that they were at rest, so the groups here that rest with it
//!    are woken.
//! 3. **A group of the peer that is not at rest in the same way**: it was halted or removed, or a message got lost. Two
//!    nodes that have groups at rest with each other state a sum of them from time to time. If the sums differ for
//!    longer than a message takes, the node states the sums of parts, the peer lists its groups of the parts that
//!    differ, and the groups here that are not in the list are woken.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate_protocol::{GroupId, Instant, NodeId, Random, Rest, Signal, Term};

use super::Node;
use super::message::NodeMessage;

/// The groups at rest, summed up for each peer that they rest with.
#[derive(Debug, Default)]
pub(super) struct Resting {
    /// The places of groups that never rest.
    wakeful: BTreeSet<usize>,
    pairs: BTreeMap<NodeId, Pair>,
}

/// The groups that rest with one peer, as this node has them and as the peer last stated them.
#[derive(Debug)]
struct Pair {
    /// The sum of each part of the groups.
    parts: [u64; PARTS],
    /// The time at which this node may state its sum again.
    state_at: Instant,
    /// The sum that the peer stated last.
    stated: u64,
    /// Number of statements in a row that differed.
    differing: u32,
}

impl Pair {
    fn new() -> Self {
        Self { parts: [0; PARTS], state_at: Instant::ZERO, stated: 0, differing: 0 }
    }

    fn sum(&self) -> u64 {
        self.parts.iter().fold(0, |sum, part| sum.wrapping_add(*part))
    }
}

impl Resting {
    /// Returns the places of the groups that never rest.
    pub(super) fn wakeful(&self) -> Vec<usize> {
        self.wakeful.iter().copied().collect()
    }

    /// The group at this place never rests.
    pub(super) fn add_wakeful(&mut self, place: usize) {
        self.wakeful.insert(place);
    }

    /// A group is gone from its place.
    pub(super) fn remove(&mut self, place: usize, group: GroupId, rest: Option<&Rest>) {
        self.wakeful.remove(&place);
        self.change(group, rest, None);
    }

    /// The rest of a group has changed.
    fn change(&mut self, group: GroupId, before: Option<&Rest>, now: Option<&Rest>) {
        if let Some(before) = before {
            self.sum(group, before, u64::wrapping_sub);
        }
        if let Some(now) = now {
            self.sum(group, now, u64::wrapping_add);
        }
    }

    fn sum(&mut self, group: GroupId, rest: &Rest, change: fn(u64, u64) -> u64) {
        let (part, digest) = (part_of(group), digest(group, rest.term, rest.leader));
        for peer in &rest.with {
            let sum = &mut self.pair(*peer).parts[part];
            *sum = change(*sum, digest);
        }
    }

    /// Another process speaks for the peer. Nothing that its predecessor stated holds.
    fn forget_statement(&mut self, peer: NodeId) {
        if let Some(pair) = self.pairs.get_mut(&peer) {
            (pair.stated, pair.differing) = (0, 0);
        }
    }

    /// Returns the sum to state to a peer now, if it is time. Without groups at rest on either side nothing is stated.
    pub(super) fn statement(&mut self, peer: NodeId, now: Instant) -> Option<NodeMessage> {
        let pair = self.pairs.get_mut(&peer)?;
        let sum = pair.sum();
        if now < pair.state_at || (sum == 0 && pair.stated == 0) {
            return None;
        }
        pair.state_at = now.after(STATE_INTERVAL);
        Some(NodeMessage::Resting { sum })
    }

    /// A peer has stated its sum. Returns the question for the groups that differ, if they have differed for long.
    fn on_statement(&mut self, peer: NodeId, sum: u64) -> Option<NodeMessage> {
        let pair = self.pair(peer);
        pair.stated = sum;
        pair.differing = if sum == pair.sum() { 0 } else { pair.differing + 1 };
        if pair.differing < DIFFERING_MAX {
            return None;
        }
        pair.differing = 0;
        Some(NodeMessage::RestingParts { parts: pair.parts.to_vec() })
    }

    /// Returns the parts whose sums differ from those of a peer; `None` if their number does, which no correct peer
    /// states.
    fn differing_parts(&self, peer: NodeId, theirs: &[u64]) -> Option<BTreeSet<usize>> {
        let ours = self.pairs.get(&peer).map_or([0; PARTS], |pair| pair.parts);
        let differing = || (0..PARTS).filter(|part| ours[*part] != theirs[*part]).collect();
        (theirs.len() == PARTS).then(differing)
    }

    fn pair(&mut self, peer: NodeId) -> &mut Pair {
        self.pairs.entry(peer).or_insert_with(Pair::new)
    }
}

/// The node's part.
impl Node {
    /// Notes that a group has come to rest or is not at rest any more, and tells it what its rest contradicts.
    pub(super) fn note_rest(&mut self, place: usize) {
        let slot = &mut self.slots[place];
        let rest = slot.current_rest();
        if rest.as_ref() == slot.rest.as_deref() {
            return;
        }
        let before = std::mem::replace(&mut slot.rest, rest.clone().map(Box::new));
        self.resting.change(slot.id, before.as_deref(), rest.as_ref());
        let Some(rest) = rest else { return };
        let is_leading = rest.leader == self.identity().node;
        for peer in self.liveness.peers().collect::<Vec<_>>() {
            match (self.liveness.silent_since(peer), rest.with.contains(&peer)) {
                (Some(heard_at), true) => self.queue_at(place, Signal::PeerSilent { node: peer, heard_at }),
                (None, false) if is_leading => self.queue_at(place, Signal::PeerAlive(peer)),
                _ => {}
            }
        }
    }

    /// Tells every group that may rest that a peer is alive again.
    pub(super) fn tell_returned(&mut self, peer: NodeId) {
        self.for_each_slot(|node, place| {
            if node.slots[place].may_rest {
                node.queue_at(place, Signal::PeerAlive(peer));
            }
        });
    }

    /// Tells every group at rest that a peer is silent.
    pub(super) fn tell_silent(&mut self, peer: NodeId, heard_at: Instant) {
        self.for_each_slot(|node, place| {
            if node.slots[place].rest.is_some() {
                node.queue_at(place, Signal::PeerSilent { node: peer, heard_at });
            }
        });
    }

    /// Wakes the groups that rest with a peer, because another process speaks for it.
    pub(super) fn wake_resting_with(&mut self, peer: NodeId) {
        self.resting.forget_statement(peer);
        self.wake_where(peer, |_, _| true);
    }

    /// A peer has stated the sum of its groups that rest with this node.
    pub(super) fn on_resting(&mut self, peer: NodeId, sum: u64) {
        if let Some(question) = self.resting.on_statement(peer, sum) {
            self.tell_peer(peer, &question);
        }
    }

    /// A peer asks for the groups that rest with it, of the parts whose sums differ.
    pub(super) fn on_resting_parts(&mut self, peer: NodeId, theirs: &[u64]) {
        let Some(parts) = self.resting.differing_parts(peer, theirs) else {
            self.counters.frames_malformed += 1;
            return;
        };
        let mut lists: BTreeMap<usize, Vec<(GroupId, Term, NodeId)>> =
            parts.into_iter().map(|part| (part, Vec::new())).collect();
        for slot in self.slots.iter_mut() {
            if let Some(rest) = slot.rest.as_deref().filter(|rest| rest.with.contains(&peer))
                && let Some(list) = lists.get_mut(&part_of(slot.id))
            {
                list.push((slot.id, rest.term, rest.leader));
            }
        }
        for (part, groups) in lists {
            let part = u16::try_from(part).expect("few parts");
            self.tell_peer(peer, &NodeMessage::RestingGroups { part, groups });
        }
    }

    /// A peer lists all its groups of a part that rest with this node. Wakes those here that it does not list.
    pub(super) fn on_resting_groups(&mut self, peer: NodeId, part: u16, groups: Vec<(GroupId, Term, NodeId)>) {
        let theirs: BTreeSet<(GroupId, Term, NodeId)> = groups.into_iter().collect();
        self.wake_where(peer, |group, rest| {
            part_of(group) == usize::from(part) && !theirs.contains(&(group, rest.term, rest.leader))
        });
    }

    fn wake_where(&mut self, peer: NodeId, is_wanted: impl Fn(GroupId, &Rest) -> bool) {
        self.for_each_slot(|node, place| {
            let slot = &node.slots[place];
            let rest = slot.rest.as_deref().filter(|rest| rest.with.contains(&peer));
            if rest.is_some_and(|rest| is_wanted(slot.id, rest)) {
                node.counters.groups_woken += 1;
                node.liveness.note_unreachable(peer, place);
                node.queue_at(place, Signal::Unreachable(peer));
            }
        });
    }
}

fn part_of(group: GroupId) -> usize {
    usize::try_from(group.0 % PARTS as u64).expect("few parts")
}

/// Returns a number for a group that rests under this leader in this term.
fn digest(group: GroupId, term: Term, leader: NodeId) -> u64 {
    [term.0, leader.0]
        .into_iter()
        .fold(Random::new(group.0).next_u64(), |mixed, next| Random::new(mixed ^ next).next_u64())
}

/// Number of parts into which groups are divided by their ids.
const PARTS: usize = 64;
/// Time between two statements to a peer.
const STATE_INTERVAL: Duration = Duration::from_secs(1);
/// Number of statements in a row that may differ until the groups are compared one by one. It takes a while until all
/// nodes of a group have come to rest.
const DIFFERING_MAX: u32 = 2;
