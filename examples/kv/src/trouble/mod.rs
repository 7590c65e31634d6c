//! The obstacles of a group in an operator's words.

#[cfg(test)]
mod tests;

use quorate_protocol::{DiskState, NodeId, VotingBar};
use quorate_runtime::replica::Obstacle;

/// All obstacles in one line, the most important first. Empty if there is none.
pub(super) fn text(obstacles: &[Obstacle]) -> String {
    obstacles.iter().map(words).collect::<Vec<_>>().join("; ")
}

fn words(obstacle: &Obstacle) -> String {
    match obstacle {
        Obstacle::Halted(reason) => format!("stopped: {reason}"),
        Obstacle::ShuttingDown => "is shutting down".to_owned(),
        Obstacle::NoLeader => "no leader is known".to_owned(),
        Obstacle::ElectionUnderWay(term) => format!("asks for votes in term {term}"),
        Obstacle::MayNotVote(bar) => format!("does not vote: {}", reason(*bar)),
        Obstacle::FoundedOtherwise(nodes) => {
            format!("{} founded the group with other members or settings", listed(nodes))
        }
        Obstacle::VotersSilent(nodes) => format!("nothing was heard lately from {}", listed(nodes)),
        Obstacle::LeaderSilent(leader) => format!("nothing was heard lately from the leader, node {leader}"),
        Obstacle::DiskFull => "the disk is full, so no write is accepted".to_owned(),
        Obstacle::DiskStalled => "a write to the disk takes far longer than usual".to_owned(),
        Obstacle::PeerDisk { node, disk: DiskState::Stalled } => {
            format!("a write to the disk of node {node} takes far longer than usual, so node {node} counts for nothing")
        }
        Obstacle::PeerDisk { node, .. } => format!("the disk of node {node} is full"),
        Obstacle::Restoring(index) => format!("restores the snapshot up to entry {index}"),
        Obstacle::Loading(index) => format!("reads entries from {index} on from the disk"),
        Obstacle::LoadFailed(index) => format!("entries from {index} on cannot be read from the disk; tries again"),
        Obstacle::SnapshotFailed { index, reason } => {
            format!("the snapshot up to entry {index} failed: {reason}; tries again")
        }
        Obstacle::ClockDiffers { wall_ahead_ms } => {
            let side = if *wall_ahead_ms < 0 { "behind" } else { "ahead of" };
            format!("the wall clock is {} ms {side} the log's time", wall_ahead_ms.unsigned_abs())
        }
        _ => "there is an obstacle that this program has no words for".to_owned(),
    }
}

/// Reason why a node does not vote, in an operator's words.
pub(super) fn reason(bar: VotingBar) -> &'static str {
    match bar {
        VotingBar::NotIntroduced => "it has not met every voter that founded the group yet",
        VotingBar::Stranger => "its peers do not know it as this node",
        VotingBar::WipedDisk => "its disk was wiped, or belongs to another node",
        VotingBar::OlderCopy => "its disk is an older copy",
        VotingBar::FoundedOtherwise => "a voter founded the group with other members or settings",
        VotingBar::NotMember => "it is no member of the group yet",
        VotingBar::Removed => "it was removed from the group",
        VotingBar::NotVoter => "it is no voter of the group",
        VotingBar::TermsUsedUp => "its term is the highest there is",
        _ => "the reason is one that this program has no words for",
    }
}

fn listed(nodes: &[NodeId]) -> String {
    let ids: Vec<_> = nodes.iter().map(ToString::to_string).collect();
    format!("{} {}", if ids.len() == 1 { "node" } else { "nodes" }, ids.join(", "))
}
