//! Explanations for operators of a group that makes no progress.

use quorate_protocol::{DiskState, HaltReason, LogIndex, NodeId, ReplicatedLog, Role, StorageLevel, Term, VotingBar};

use super::Replica;
use super::context::Leadership;
use crate::group::hostable::Hostable;
use crate::replica::state_machine::StateMachine;

/// An obstacle between a replica and its service.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Obstacle {
    /// The group has stopped on this node.
    Halted(HaltReason),
    /// The node is shutting down.
    ShuttingDown,
    /// There is no leader, as far as this node knows. Other obstacles may be listed beside it.
    NoLeader,
    /// This node asks for votes in this term.
    ElectionUnderWay(Term),
    /// This node neither votes nor campaigns.
    MayNotVote(VotingBar),
    /// These nodes founded the group with other members or another protocol. Nothing is accepted from them or sent to
    /// them.
    FoundedOtherwise(Vec<NodeId>),
    /// Too few voters for a quorum were heard from lately. These were not.
    VotersSilent(Vec<NodeId>),
    /// The leader was not heard from lately.
    LeaderSilent(NodeId),
    /// The disk's reserve is used up, so no command is accepted.
    DiskFull,
    /// A write of this node's log has been under way for far longer than writes usually take. Entries that this node
    /// leads or acknowledges wait for it.
    DiskStalled,
    /// The state machine is being restored from the snapshot that covers this index.
    Restoring(LogIndex),
    /// Committed entries are being read from disk before they can be applied.
    Loading(LogIndex),
    /// Committed entries could not be read from disk. The replica retries.
    LoadFailed(LogIndex),
    /// A snapshot could not be made, sent or received. The replica retries. The service continues, and the log grows
    /// meanwhile.
    SnapshotFailed {
        /// The index that it covers.
        index: LogIndex,
        /// The reason.
        reason: String,
    },
    /// This node's wall clock differs from log time by more than the bound. The service continues, and log time does
    /// not follow the wall clock.
    ClockDiffers {
        /// Milliseconds by which the wall clock is ahead; negative if it is behind.
        wall_ahead_ms: i64,
    },
}

/// The state of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntryState {
    /// The state machine has applied it.
    Applied,
    /// It is committed and waits to be applied. [`Replica::explain`] lists the obstacles.
    Committed,
    /// This node's log ends before this index.
    NotReached,
    /// This node's own write is not durable yet.
    WaitsForOwnDisk,
    /// A quorum does not have it yet. These voters do not have it.
    WaitsForPeers(Vec<NodeId>),
    /// The leader decides whether it is committed, and notifies this node.
    WaitsForLeader(NodeId),
    /// There is no leader that could commit it; see [`Replica::explain`].
    NoLeader,
}

impl<L: ReplicatedLog + Hostable, S: StateMachine> Replica<L, S> {
    /// Lists the obstacles between this replica and its service, the most important first, and then problems that exist
    /// although it serves. An empty list means that this node knows of no obstacle. Ask another node for its own
    /// obstacles, such as a full disk of the leader or a transfer of leadership under way.
    pub fn explain(&self) -> Vec<Obstacle> {
        if let Some(reason) = &self.halted {
            return vec![Obstacle::Halted(reason.clone())];
        }
        let mut obstacles = Vec::new();
        if self.hand_over.is_stopping() {
            obstacles.push(Obstacle::ShuttingDown);
        }
        let Leadership { role, term, leader } = self.context.leadership;
        match leader {
            None => self.explain_no_leader(role, term, &mut obstacles),
            Some(leader) => {
                // This is reported even if there is a leader, because a node that does not count reduces the number of
                // failures that the group tolerates.
                obstacles.extend(self.peers.introduction_bar().map(Obstacle::MayNotVote));
                if leader != self.context.seat.node && self.is_silent(leader) {
                    obstacles.push(Obstacle::LeaderSilent(leader));
                }
            }
        }
        let founded_otherwise = self.peers.founded_otherwise();
        if !founded_otherwise.is_empty() {
            obstacles.push(Obstacle::FoundedOtherwise(founded_otherwise.iter().copied().collect()));
        }
        if self.storage == StorageLevel::Low {
            obstacles.push(Obstacle::DiskFull);
        }
        if self.context.core.status().disk == DiskState::Stalled {
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

    /// Returns the state of the entry at `index`, and what it waits for.
    pub fn explain_entry(&self, index: LogIndex) -> EntryState {
        if index <= self.applied.index {
            return EntryState::Applied;
        }
        if index <= self.committed {
            return EntryState::Committed;
        }
        let log = self.context.core.status();
        if index > log.last_index {
            return EntryState::NotReached;
        }
        if index > log.durable_index {
            return EntryState::WaitsForOwnDisk;
        }
        if !self.context.is_leader() {
            return self.context.leadership.leader.map_or(EntryState::NoLeader, EntryState::WaitsForLeader);
        }
        let behind = log.peers.iter().filter(|peer| peer.match_index < index);
        let voters = behind.filter(|peer| log.configuration.is_voter(peer.node));
        EntryState::WaitsForPeers(voters.map(|peer| peer.node).collect())
    }

    fn explain_no_leader(&self, role: Role, term: Term, obstacles: &mut Vec<Obstacle>) {
        obstacles.push(Obstacle::NoLeader);
        let log = self.context.core.status();
        obstacles.extend(self.peers.voting_bar(log.barred).map(Obstacle::MayNotVote));
        if matches!(role, Role::Candidate | Role::PreCandidate) {
            obstacles.push(Obstacle::ElectionUnderWay(term));
        }
        let voters: Vec<NodeId> = log.configuration.voters().collect();
        let is_silent = |voter: &NodeId| *voter != self.context.seat.node && self.is_silent(*voter);
        let silent: Vec<NodeId> = voters.iter().copied().filter(is_silent).collect();
        if silent.len() * 2 >= voters.len() && !silent.is_empty() {
            obstacles.push(Obstacle::VotersSilent(silent));
        }
    }

    fn is_silent(&self, node: NodeId) -> bool {
        self.peers.is_silent(node, self.context.instant())
    }
}
