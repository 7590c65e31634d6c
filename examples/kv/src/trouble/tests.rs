use quorate_protocol::{HaltReason, LogIndex, NodeId, Term, VotingBar};
use quorate_runtime::replica::Obstacle;

use super::text;

#[test]
fn obstacles_are_told_in_plain_words() {
    let silent = vec![NodeId(2), NodeId(3)];
    let lines = [
        (vec![], ""),
        (vec![Obstacle::Halted(HaltReason::Damaged { index: LogIndex(7) })], "stopped: entry 7 is damaged on disk"),
        (
            vec![Obstacle::ElectionUnderWay(Term(4)), Obstacle::VotersSilent(silent)],
            "asks for votes in term 4; nothing was heard lately from nodes 2, 3",
        ),
        (
            vec![Obstacle::NoLeader, Obstacle::MayNotVote(VotingBar::OlderCopy)],
            "no leader is known; does not vote: its disk is an older copy",
        ),
        (vec![Obstacle::FoundedOtherwise(vec![NodeId(3)])], "node 3 founded the group with other members or settings"),
        (vec![Obstacle::ClockDiffers { wall_ahead_ms: -90 }], "the wall clock is 90 ms behind the log's time"),
    ];
    for (obstacles, expected) in lines {
        assert_eq!(text(&obstacles), expected);
    }
}

/// No name of a Rust variant or field reaches an operator.
#[test]
fn no_obstacle_is_told_in_debug_words() {
    let (index, node) = (LogIndex(7), NodeId(2));
    let bars = [
        VotingBar::NotIntroduced,
        VotingBar::Stranger,
        VotingBar::WipedDisk,
        VotingBar::OlderCopy,
        VotingBar::FoundedOtherwise,
        VotingBar::NotVoter,
        VotingBar::NotMember,
        VotingBar::Removed,
        VotingBar::TermsUsedUp,
    ];
    let mut obstacles = vec![
        Obstacle::Halted(HaltReason::Restore("no".to_owned())),
        Obstacle::ShuttingDown,
        Obstacle::NoLeader,
        Obstacle::ElectionUnderWay(Term(4)),
        Obstacle::FoundedOtherwise(vec![node]),
        Obstacle::VotersSilent(vec![node]),
        Obstacle::LeaderSilent(node),
        Obstacle::DiskFull,
        Obstacle::DiskStalled,
        Obstacle::Restoring(index),
        Obstacle::Loading(index),
        Obstacle::LoadFailed(index),
        Obstacle::SnapshotFailed { index, reason: "no".to_owned() },
        Obstacle::ClockDiffers { wall_ahead_ms: 90 },
    ];
    obstacles.extend(bars.map(Obstacle::MayNotVote));
    for obstacle in obstacles {
        let text = text(std::slice::from_ref(&obstacle));
        let is_plain = !text.chars().any(|letter| "(){}[]_\"".contains(letter) || letter.is_ascii_uppercase());
        assert!(is_plain && !text.contains("no words for"), "{obstacle:?}: {text}");
    }
}
