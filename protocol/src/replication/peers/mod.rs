//! The other nodes as their leader sees them.

pub(crate) mod replication;

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::replication::Election;
use crate::replication::error::Ignored;
use crate::replication::progress::{Leaving, Progress};
use crate::replication::quorum::reached_by_quorum;
use crate::replication::shared::Shared;
use crate::{Instant, LogIndex, NodeId, PeerProgress};

/// The progress of every other node. How entries and snapshots reach them is in `peers/replication.rs`.
#[derive(Clone, Debug)]
pub(crate) struct Peers {
    progress: BTreeMap<NodeId, Progress>,
    /// Number of failed loads since the last successful one.
    loads_failed: u32,
    /// Number of transfers for which this node's snapshot could not be read, since the last successful one. Counted
    /// apart from loads, because a readable log does not show that the snapshot is readable.
    snapshots_unread: u32,
}

impl Peers {
    /// The peers of a new leader. Nothing is known of them.
    pub(crate) fn new<E: Election>(shared: &Shared<E>) -> Self {
        let me = shared.config.node();
        let next_index = shared.log.last().next();
        let others = shared.log.configuration().nodes().filter(|node| *node != me);
        let progress =
            others.map(|node| (node, Progress::new(next_index, shared.now(), shared.chassis.standing(node))));
        Self { progress: progress.collect(), loads_failed: 0, snapshots_unread: 0 }
    }

    /// Begins to send to new members, and notes which peers are no members any more.
    pub(crate) fn follow_configuration<E: Election>(&mut self, shared: &Shared<E>) {
        let (me, now, configuration) = (shared.config.node(), shared.now(), shared.log.configuration());
        for node in configuration.nodes().filter(|node| *node != me) {
            let begin = || Progress::new(shared.log.last(), now, shared.chassis.standing(node));
            self.progress.entry(node).or_insert_with(begin).leaving = None;
        }
        let leaving = Leaving { index: shared.log.configurations().index(), since: now, told_in: None };
        for (_, progress) in self.progress.iter_mut().filter(|(node, _)| !configuration.contains(**node)) {
            progress.leaving.get_or_insert(leaving);
        }
    }

    /// Forgets the peers that have left the group.
    pub(crate) fn part<E: Election>(&mut self, shared: &Shared<E>) {
        self.progress.retain(|_, progress| !progress.has_left(shared));
    }

    /// Returns the progress of a node.
    pub(crate) fn get(&self, node: NodeId) -> Option<&Progress> {
        self.progress.get(&node)
    }

    /// Returns the progress of a node that sent something only a peer sends.
    pub(crate) fn get_mut(&mut self, node: NodeId) -> Result<&mut Progress, Ignored> {
        self.progress.get_mut(&node).ok_or(Ignored::NotMember)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&NodeId, &Progress)> {
        self.progress.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&NodeId, &mut Progress)> {
        self.progress.iter_mut()
    }

    /// Returns the greatest value that a quorum has reached: this node has reached `own`, and each peer whose answers
    /// count has reached the value that `of` returns.
    pub(crate) fn reached_by_quorum<E: Election, T: Ord + Copy + Default>(
        &self,
        shared: &Shared<E>,
        own: T,
        of: impl Fn(&Progress) -> T,
    ) -> T {
        let me = shared.config.node();
        reached_by_quorum(shared.log.configuration(), |node| match self.progress.get(&node) {
            Some(progress) if progress.counts() => of(progress),
            None if node == me => own,
            _ => T::default(),
        })
    }

    /// Returns the match index of the slowest peer that was heard from within an election time-out.
    pub(crate) fn slowest_alive<E: Election>(&self, shared: &Shared<E>) -> Option<LogIndex> {
        let alive = self.progress.values().filter(|peer| peer.leaving.is_none() && peer.is_alive(shared));
        alive.map(|progress| progress.match_index).min()
    }

    /// Returns the oldest snapshot that is being sent to a peer. The log after it is kept.
    pub(crate) fn oldest_snapshot(&self) -> Option<LogIndex> {
        self.progress.values().filter_map(Progress::snapshot_index).min()
    }

    /// Returns the best node among those that may lead, were heard from within an election time-out and are `wanted`. A
    /// disk that accepts writes counts first, then a log that is complete, then the priority.
    pub(crate) fn successor<E: Election>(
        &self,
        shared: &Shared<E>,
        wanted: impl Fn(NodeId, &Progress) -> bool,
    ) -> Option<NodeId> {
        let members = shared.log.configuration().members();
        let eligible = members.iter().filter(|member| member.may_lead());
        let known = eligible.filter_map(|member| Some((member, self.get(member.node)?)));
        let able = known.filter(|(member, progress)| {
            progress.counts() && progress.is_alive(shared) && wanted(member.node, progress)
        });
        let last = shared.log.last();
        let best = able.max_by_key(|(member, progress)| {
            let is_complete = progress.match_index == last;
            (Reverse(progress.disk), is_complete, member.priority, progress.match_index, Reverse(member.node))
        });
        best.map(|(member, _)| member.node)
    }

    /// The time for which this node's own loop was blocked is not counted as silence of the peers.
    pub(crate) fn forgive(&mut self, late: std::time::Duration, now: Instant) {
        for progress in self.progress.values_mut() {
            progress.heard_at = progress.heard_at.after(late).min(now);
        }
    }

    /// From now on the life of their nodes counts as the answers of the quiet peers.
    pub(crate) fn rest(&mut self) {
        self.progress.values_mut().for_each(|progress| progress.is_resting = progress.is_quiet);
    }

    /// Ends the quiet of all peers. The nodes of those that rest are alive now.
    pub(crate) fn wake(&mut self, now: Instant) {
        self.progress.values_mut().for_each(|progress| progress.end_quiet(now));
    }

    /// The progress of each peer for an operator.
    pub(crate) fn status<E: Election>(&self, shared: &Shared<E>) -> Vec<PeerProgress> {
        let peer = |(node, progress): (&NodeId, &Progress)| PeerProgress {
            node: *node,
            match_index: progress.match_index,
            next_index: progress.next_index,
            state: progress.state(),
            disk: progress.disk,
            is_active: progress.is_alive(shared),
        };
        self.progress.iter().map(peer).collect()
    }

    /// The counts that affect behaviour.
    pub(crate) fn failures(&self) -> (u32, u32) {
        (self.loads_failed, self.snapshots_unread)
    }
}
