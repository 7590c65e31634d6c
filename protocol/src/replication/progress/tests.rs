use super::{Progress, SendState};
use crate::{Instant, LogIndex, Standing, Ticket};

fn replicating() -> Progress {
    let mut progress = Progress::new(LogIndex(5), Instant::ZERO, Standing::Member);
    progress.matched(LogIndex(4));
    progress.become_replicate();
    progress
}

#[test]
fn a_probe_waits_for_its_answer() {
    let mut progress = Progress::new(LogIndex(5), Instant::ZERO, Standing::Member);
    assert!(progress.may_send(100));
    progress.sent(LogIndex(9), 50, Instant::ZERO);
    assert!(!progress.may_send(100));
    assert_eq!(progress.next_index, LogIndex(5), "until it is known where the logs match");
    progress.matched(LogIndex(9));
    progress.become_replicate();
    assert_eq!(progress.next_index, LogIndex(10));
}

#[test]
fn a_stream_is_bounded_by_its_window() {
    let mut progress = replicating();
    progress.sent(LogIndex(6), 60, Instant::ZERO);
    assert!(progress.may_send(100), "a message goes whole once there is room");
    progress.sent(LogIndex(8), 60, Instant::ZERO);
    assert!(!progress.may_send(100));
    assert!(progress.matched(LogIndex(6)));
    assert!(progress.may_send(100));
    assert!(!progress.matched(LogIndex(5)), "an old acknowledgement is no news");
    progress.check_invariants();
}

#[test]
fn what_is_lost_is_sent_again_but_never_what_matches() {
    let mut progress = replicating();
    progress.sent(LogIndex(8), 60, Instant::ZERO);
    progress.resend_behind(LogIndex(2));
    assert_eq!((progress.next_index, progress.in_flight_bytes), (LogIndex(5), 0));
    progress.become_probe(LogIndex(1));
    assert_eq!(progress.next_index, LogIndex(5));
    progress.check_invariants();
}

#[test]
fn an_acknowledgement_that_overtakes_a_load_ends_it() {
    let mut progress = replicating();
    progress.loading = Some(Ticket(3));
    progress.matched(LogIndex(4));
    assert_eq!(progress.loading, Some(Ticket(3)));
    progress.matched(LogIndex(7));
    assert_eq!((progress.loading, progress.next_index), (None, LogIndex(8)));
}

#[test]
fn nothing_is_sent_beside_a_snapshot() {
    let mut progress = replicating();
    progress.pace = SendState::Snapshot { index: LogIndex(4), request: None, since: Instant::ZERO };
    assert!(!progress.may_send(100));
    assert_eq!(progress.snapshot_index(), Some(LogIndex(4)));
}
