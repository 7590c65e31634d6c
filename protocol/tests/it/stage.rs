//! The loop that clusters under test run in.

use std::time::Duration;

use quorate_protocol::testing::{Stage, Timeline, deliver, run, run_until};
use quorate_protocol::{Instant, NodeId};

/// Records each event and its time. Its node waits for a deadline once.
struct Recorder {
    time: Timeline<&'static str>,
    deadline: Option<Instant>,
    seen: Vec<(Duration, &'static str)>,
    checks: usize,
}

impl Stage for Recorder {
    type Event = &'static str;

    fn timeline(&mut self) -> &mut Timeline<&'static str> {
        &mut self.time
    }

    fn deadline(&self) -> Option<(Instant, NodeId)> {
        self.deadline.map(|due| (due, NodeId(1)))
    }

    fn happen(&mut self, event: &'static str) {
        self.seen.push((self.time.now().since(Timeline::<()>::new(0).now()), event));
        if event == "again" {
            self.time.schedule(Duration::ZERO, "again");
        }
    }

    fn time_out(&mut self, _: NodeId) {
        self.deadline = None;
        self.happen("time-out");
    }

    fn check(&mut self) {
        self.checks += 1;
    }
}

fn recorder(deadline: Duration, events: &[(u64, &'static str)]) -> Recorder {
    let mut time = Timeline::new(1);
    for (after_ms, event) in events {
        time.schedule(Duration::from_millis(*after_ms), *event);
    }
    let deadline = Some(time.now().after(deadline));
    Recorder { time, deadline, seen: Vec::new(), checks: 0 }
}

const MS: Duration = Duration::from_millis(1);

#[test]
fn what_is_due_together_happens_as_scheduled_and_before_deadlines() {
    let mut stage = recorder(2 * MS, &[(2, "second"), (2, "third"), (1, "first"), (9, "late")]);
    run(&mut stage, 5 * MS);
    assert_eq!(stage.seen, [(MS, "first"), (2 * MS, "second"), (2 * MS, "third"), (2 * MS, "time-out")]);
    assert_eq!(stage.checks, 4, "the laws are checked after every step");
    assert_eq!(stage.time.next_at(), Some(stage.time.now().after(4 * MS)), "all of the time has passed");
}

#[test]
fn what_needs_no_time_is_delivered_and_no_deadline_passes() {
    let mut stage = recorder(Duration::ZERO, &[(0, "now"), (1, "later")]);
    deliver(&mut stage);
    assert_eq!(stage.seen, [(Duration::ZERO, "now")]);
}

#[test]
fn it_runs_until_it_is_done_or_the_time_is_over() {
    let mut stage = recorder(8 * MS, &[(1, "first"), (22, "last")]);
    assert!(run_until(&mut stage, 100 * MS, |stage| stage.seen.len() == 2), "the first and the time-out");
    assert!(!run_until(&mut stage, 5 * MS, |stage| stage.seen.len() == 3), "the last comes later");
}

#[test]
#[should_panic(expected = "the cluster comes to rest")]
fn what_never_rests_is_ended() {
    run(&mut recorder(MS, &[(0, "again")]), MS);
}

#[test]
fn what_never_strikes_draws_nothing() {
    let (mut one, mut two) = (Timeline::<()>::new(7), Timeline::<()>::new(7));
    assert!(!one.strikes(0));
    assert_eq!(one.draw(Duration::ZERO), Duration::ZERO);
    assert!((0..100).all(|_| one.draw(MS) == two.draw(MS) && one.choose(10) == two.choose(10)));
    assert!((0..100).all(|_| one.strikes(100)));
}
