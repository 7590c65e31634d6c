use quorate_protocol::Instant;

use super::{Kind, OpenProposal, OpenProposals, Stage, UNRESOLVED_MAX};
use crate::group::interface::CallId;
use crate::replica::sessions::SESSION_WINDOW;

fn slot(call: u64, delivery: Kind) -> OpenProposal {
    let deadline = Instant::from_nanos(call);
    OpenProposal { call: Some(CallId(call)), deadline, bytes: 10, delivery, stage: Stage::Waiting }
}

#[test]
fn sequences_begin_at_one_and_are_never_used_again() {
    let mut proposals = OpenProposals::new();
    let first = proposals.add(slot(1, Kind::Loose));
    let second = proposals.add(slot(2, Kind::Loose));
    assert_eq!((first, second), (1, 2));
    assert_eq!(proposals.take(2).and_then(|slot| slot.call), Some(CallId(2)));
    assert_eq!(proposals.take(1).and_then(|slot| slot.call), Some(CallId(1)));
    assert!(proposals.take(1).is_none());
    assert_eq!(proposals.add(slot(3, Kind::Loose)), 3);
    assert_eq!((proposals.waiting(), proposals.bytes()), (1, 10));
}

#[test]
fn one_that_stays_does_not_hold_up_the_ring() {
    let mut proposals = OpenProposals::new();
    let lost = proposals.add(slot(1, Kind::Loose));
    for call in 2..100_000 {
        let sequence = proposals.add(slot(call, Kind::Loose));
        proposals.take(sequence);
    }
    assert!(proposals.ring.len() < 2 * super::RING_SLACK, "{} slots", proposals.ring.len());
    assert_eq!(proposals.stragglers.len(), 1);
    assert_eq!(proposals.matching(|_| true), [lost]);
    assert!(proposals.take(lost).is_some());
    assert_eq!((proposals.waiting(), proposals.bytes()), (0, 0));
}

#[test]
fn the_oldest_unresolved_of_the_session_holds_the_acknowledgement() {
    let mut proposals = OpenProposals::new();
    proposals.add(slot(1, Kind::Loose));
    assert_eq!(proposals.acknowledged_below(), 2);
    let second = proposals.add(slot(2, Kind::First));
    let third = proposals.add(slot(3, Kind::First));
    assert_eq!(proposals.acknowledged_below(), second);
    assert_eq!(proposals.leave_unresolved(second), Some(CallId(2)));
    proposals.take(third);
    assert_eq!(proposals.acknowledged_below(), second);
    assert!(proposals.try_again(second, CallId(9), Instant::from_nanos(9), 10));
    assert!(!proposals.try_again(second, CallId(10), Instant::from_nanos(9), 10), "somebody waits for it");
    assert_eq!(proposals.take(second).and_then(|slot| slot.call), Some(CallId(9)));
    assert_eq!(proposals.acknowledged_below(), 4);
}

#[test]
fn beyond_the_window_the_oldest_is_named() {
    let mut proposals = OpenProposals::new();
    let oldest = proposals.add(slot(1, Kind::First));
    for _ in 1..SESSION_WINDOW {
        assert_eq!(proposals.beyond_window(), None);
        let sequence = proposals.add(slot(2, Kind::First));
        proposals.take(sequence);
    }
    assert_eq!(proposals.beyond_window(), Some(oldest));
}

#[test]
fn the_oldest_of_too_many_unresolved_is_given_up() {
    let mut proposals = OpenProposals::new();
    for call in 0..=UNRESOLVED_MAX {
        let sequence = proposals.add(slot(u64::try_from(call).expect("small"), Kind::First));
        proposals.leave_unresolved(sequence);
    }
    assert!(!proposals.try_again(1, CallId(0), Instant::ZERO, 0));
    assert!(proposals.try_again(2, CallId(0), Instant::ZERO, 0));
    assert_eq!((proposals.waiting(), proposals.bytes()), (1, 0));
}

#[test]
fn deadlines_come_in_any_order() {
    let mut proposals = OpenProposals::new();
    let late = proposals.add(slot(50, Kind::Loose));
    let early = proposals.add(slot(20, Kind::Loose));
    assert_eq!(proposals.deadline(), Some(Instant::from_nanos(20)));
    assert!(proposals.expired(Instant::from_nanos(19)).is_empty());
    assert_eq!(proposals.expired(Instant::from_nanos(20)), [early]);
    assert_eq!(proposals.deadline(), Some(Instant::from_nanos(50)));
    proposals.take(early);
    assert_eq!(proposals.expired(Instant::from_nanos(60)), [late]);
    assert_eq!(proposals.deadline(), None);
}
