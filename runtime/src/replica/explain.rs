//! Why something does not happen: the questions operators ask when a group stands still.

use std::time::Duration;

use quorate_protocol::{DiskState, HaltReason, LogIndex, NodeId, ReplicatedLog, Role, StorageLevel, Term, VotingBar};

use super::Replica;
use crate::{Hostable, StateMachine};

/// What stands between a replica and its service.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Obstacle {
    /// The group has stopped on this node.
    Halted(HaltReason),
    /// The node is shutting down.
    ShuttingDown,
    /// Nobody leads, as far as this node knows. What else is known stands beside it.
    NoLeader,
    /// This node asks for votes in this term.
    ElectionUnderWay(Term),
    /// This node neither votes nor campaigns.
    MayNotVote(VotingBar),
    /// These nodes founded the group with other members or another protocol: nothing is taken from them, nor sent to
    /// them.
    FoundedOtherwise(Vec<NodeId>),
    /// Too few voters for a quorum were heard of lately; these were not.
    VotersSilent(Vec<NodeId>),
    /// The leader was not heard of lately.
    LeaderSilent(NodeId),
    /// The disk's reserve is used up: no command is taken.
    DiskFull,
    /// A write of this node's log has been under way for far longer than writes take: what it leads or acknowledges
    /// waits.
    DiskStalled,
    /// The state machine is being restored from the snapshot that covers this index.
    Restoring(LogIndex),
    /// Committed entries are read from disk before they can be applied.
    Loading(LogIndex),
    /// Committed entries could not be read from disk; it is tried again.
    LoadFailed(LogIndex),
    /// A snapshot could not be made, sent or taken in; it is tried again. The service goes on, and the log grows
    /// meanwhile.
    SnapshotFailed {
        /// What it covers.
        index: LogIndex,
        /// Why.
        reason: String,
    },
    /// This node's wall clock is far from log time. The service goes on, and log time does not follow the wall clock.
    ClockDiffers {
        /// By how many milliseconds the wall clock is ahead; below zero where it is behind.
        wall_ahead_ms: i64,
    },
}

/// How far an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntryState {
    /// The state machine has applied it.
    Applied,
    /// It is committed and waits to be applied; see [`Replica::explain`] for what holds it up.
    Committed,
    /// This node's log does not reach there.
    NotReached,
    /// This node's own write is not durable yet.
    WaitsForOwnDisk,
    /// A quorum does not have it yet: these voters do not.
    WaitsForPeers(Vec<NodeId>),
    /// The leader decides, and tells this node.
    WaitsForLeader(NodeId),
    /// Nobody leads who could commit it; see [`Replica::explain`].
    NoLeader,
}

impl<L: ReplicatedLog + Hostable, S: StateMachine> Replica<L, S> {
    /// What stands between this replica and its service, most weighty first, and then what is wrong although it serves.
    /// Nothing: this node knows of no obstacle. What holds up another node is asked there: a full disk of the leader's,
    /// or leadership that it is handing over.
    pub fn explain(&self) -> Vec<Obstacle> {
        if let Some(reason) = &self.halted {
            return vec![Obstacle::Halted(reason.clone())];
        }
        let mut obstacles = Vec::new();
        if self.stopping.is_some() {
            obstacles.push(Obstacle::ShuttingDown);
        }
        let (role, term, leader) = self.role;
        match leader {
            None => self.explain_no_leader(role, term, &mut obstacles),
            Some(leader) => {
                // A leader is no comfort: a node that does not count is one failure less that the group stands.
                obstacles.extend(self.leading.introduction_bar.map(Obstacle::MayNotVote));
                if leader != self.seat.node && self.is_silent(leader) {
                    obstacles.push(Obstacle::LeaderSilent(leader));
                }
            }
        }
        if !self.leading.founded_otherwise.is_empty() {
            obstacles.push(Obstacle::FoundedOtherwise(self.leading.founded_otherwise.iter().copied().collect()));
        }
        if self.storage == StorageLevel::Low {
            obstacles.push(Obstacle::DiskFull);
        }
        if self.core.status().disk == DiskState::Stalled {
            obstacles.push(Obstacle::DiskStalled);
        }
        if let Some(index) = self.snapshots.restoring() {
            obstacles.push(Obstacle::Restoring(index));
        }
        let next = self.applied.index.next();
        if self.load_retry_at.is_some() {
            obstacles.push(Obstacle::LoadFailed(next));
        } else if self.loading.is_some() {
            obstacles.push(Obstacle::Loading(next));
        }
        if let Some((index, reason)) = self.snapshots.failure.clone() {
            obstacles.push(Obstacle::SnapshotFailed { index, reason });
        }
        obstacles.extend(self.clock_differs.map(|wall_ahead_ms| Obstacle::ClockDiffers { wall_ahead_ms }));
        obstacles
    }

    /// How far the entry at `index` is, and what it waits for.
    pub fn explain_entry(&self, index: LogIndex) -> EntryState {
        if index <= self.applied.index {
            return EntryState::Applied;
        }
        if index <= self.committed {
            return EntryState::Committed;
        }
        let log = self.core.status();
        if index > log.last_index {
            return EntryState::NotReached;
        }
        if index > log.durable_index {
            return EntryState::WaitsForOwnDisk;
        }
        if !self.is_leader() {
            return self.role.2.map_or(EntryState::NoLeader, EntryState::WaitsForLeader);
        }
        let behind = log.peers.iter().filter(|peer| peer.match_index < index);
        let voters = behind.filter(|peer| log.configuration.is_voter(peer.node));
        EntryState::WaitsForPeers(voters.map(|peer| peer.node).collect())
    }

    fn explain_no_leader(&self, role: Role, term: Term, obstacles: &mut Vec<Obstacle>) {
        obstacles.push(Obstacle::NoLeader);
        let log = self.core.status();
        obstacles.extend(self.leading.voting_bar(log.barred).map(Obstacle::MayNotVote));
        if matches!(role, Role::Candidate | Role::PreCandidate) {
            obstacles.push(Obstacle::ElectionUnderWay(term));
        }
        let voters: Vec<NodeId> = log.configuration.voters().collect();
        let is_silent = |voter: &NodeId| *voter != self.seat.node && self.is_silent(*voter);
        let silent: Vec<NodeId> = voters.iter().copied().filter(is_silent).collect();
        if silent.len() * 2 >= voters.len() && !silent.is_empty() {
            obstacles.push(Obstacle::VotersSilent(silent));
        }
    }

    fn is_silent(&self, node: NodeId) -> bool {
        let heard_at = self.leading.heard_at(node);
        heard_at.is_none_or(|heard_at| self.now.instant.since(heard_at) >= SILENT_AFTER)
    }
}

/// A node that was not heard of for so long is called silent.
const SILENT_AFTER: Duration = Duration::from_secs(2);
