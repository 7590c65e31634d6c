use std::time::Duration;

use quorate_protocol::{
    Chassis, FailedWrite, HaltReason, Instant, LogIndex, NodeId, Now, Operation, OutboxLimits, Output, PersistFailure,
    Standing, StorageLevel, Ticket,
};

use crate::outbox::Probe;

const PEER: NodeId = NodeId(2);

fn chassis() -> Chassis<Probe, &'static str> {
    Chassis::new(at(10), OutboxLimits::default())
}

fn at(millis: u64) -> Now {
    Now { instant: Instant::ZERO.after(Duration::from_millis(millis)), wall_ms: millis }
}

#[test]
fn the_monotone_clock_does_not_go_back_and_the_wall_clock_may() {
    let mut chassis = chassis();
    chassis.begin(at(7));
    assert_eq!(chassis.now(), Now { instant: at(10).instant, wall_ms: 7 });
    chassis.begin(at(12));
    assert_eq!(chassis.now(), at(12));
}

#[test]
fn a_node_is_a_stranger_until_it_is_introduced_and_only_changes_are_news() {
    let mut chassis = chassis();
    assert_eq!(chassis.standing(PEER), Standing::Stranger);
    assert!(chassis.set_standing(PEER, Standing::Stranger), "the first word on a node is news");
    assert!(chassis.set_standing(PEER, Standing::Member));
    assert!(!chassis.set_standing(PEER, Standing::Member));
    assert!(chassis.is_member(PEER));
    assert!(chassis.set_storage(StorageLevel::Low));
    assert!(!chassis.set_storage(StorageLevel::Low));
}

#[test]
fn outputs_are_made_once_for_all_inputs_since_the_last_poll() {
    let mut chassis = chassis();
    assert!(chassis.take_dirty(), "a core that starts has outputs");
    assert!(!chassis.take_dirty());
    chassis.begin(at(11));
    chassis.begin(at(12));
    assert!(chassis.take_dirty());
    assert!(!chassis.take_dirty());
}

#[test]
fn only_a_write_that_was_certainly_not_made_is_made_again() {
    let mut chassis = chassis();
    let ticket = chassis.outbox.persist([Operation::CommitHint { index: LogIndex(1) }]);
    assert_eq!(chassis.failed_write(ticket, PersistFailure::NotWritten), FailedWrite::Stale, "it was not handed out");
    assert!(matches!(chassis.outbox.poll(), Some(Output::Persist { .. })));
    assert_eq!(chassis.failed_write(ticket, PersistFailure::NotWritten), FailedWrite::Refused);
    assert_eq!(chassis.failed_write(Ticket(99), PersistFailure::NotWritten), FailedWrite::Stale);
    let fatal = FailedWrite::Fatal(HaltReason::LogFailed(PersistFailure::Unknown));
    assert_eq!(chassis.failed_write(ticket, PersistFailure::Unknown), fatal);
}

#[test]
fn writes_are_handed_out_again_at_their_time() {
    let mut chassis = chassis();
    chassis.outbox.persist([Operation::CommitHint { index: LogIndex(1) }]);
    assert!(chassis.outbox.poll().is_some());
    chassis.outbox.refused();
    chassis.outbox.persist([Operation::CommitHint { index: LogIndex(2) }]);
    chassis.write_again_at(at(20).instant);
    assert_eq!(chassis.deadline([at(30).instant]), Some(at(20).instant));
    chassis.resume_due_writes();
    assert!(chassis.outbox.poll().is_none(), "it is too early");
    chassis.begin(at(20));
    chassis.resume_due_writes();
    assert!(matches!(chassis.outbox.poll(), Some(Output::Persist { .. })));
    assert_eq!(chassis.deadline([at(30).instant]), Some(at(30).instant));
}

#[test]
fn a_group_that_stopped_says_so_and_nothing_else() {
    let mut chassis = chassis();
    chassis.outbox.event(1);
    chassis.count(Err("late"));
    chassis.count(Err("late"));
    chassis.count(Ok(()));
    let reason = HaltReason::LawBroken("a law");
    chassis.halt(reason.clone());
    assert_eq!(chassis.halted(), Some(&reason));
    assert!(matches!(chassis.outbox.poll(), Some(Output::Halt { .. })));
    assert!(chassis.outbox.poll().is_none());
    chassis.begin(at(11));
    assert!(!chassis.take_dirty());
    assert_eq!(chassis.deadline([at(30).instant]), None);
    assert_eq!(chassis.ignored().collect::<Vec<_>>(), [(&"late", 2)]);
}
