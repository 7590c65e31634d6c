//! The loop that a cluster of cores runs in.

use std::time::Duration;

use super::Timeline;
use crate::{Instant, NodeId};

/// A cluster of cores whose time is advanced by [`run`].
pub trait Stage {
    /// An event that can happen to the nodes.
    type Event;

    /// The events that are scheduled.
    fn timeline(&mut self) -> &mut Timeline<Self::Event>;

    /// The earliest deadline of a running node, and the id of that node.
    fn deadline(&self) -> Option<(Instant, NodeId)>;

    /// Carries out an event.
    fn happen(&mut self, event: Self::Event);

    /// Gives a node the input that its deadline has passed.
    fn time_out(&mut self, node: NodeId);

    /// Checks every law.
    ///
    /// # Panics
    /// When a law is broken.
    fn check(&mut self);
}

/// Lets time pass, from one event to the next. Events come before deadlines of the same moment.
///
/// # Panics
/// When a law is broken, or the cluster never comes to rest.
pub fn run<S: Stage>(stage: &mut S, duration: Duration) {
    let end = stage.timeline().now().after(duration);
    let mut steps_without_time = 0;
    loop {
        let before = stage.timeline().now();
        let event_at = stage.timeline().next_at().filter(|at| *at <= end);
        let deadline = stage.deadline().filter(|(due, _)| *due <= end);
        match (event_at, deadline) {
            (Some(at), due) if due.is_none_or(|(due, _)| at <= due) => happen_next(stage),
            (_, Some((due, node))) => {
                stage.timeline().pass_to(due);
                stage.time_out(node);
                stage.check();
            }
            (_, None) => break,
        }
        steps_without_time = if stage.timeline().now() > before { 0 } else { steps_without_time + 1 };
        assert!(steps_without_time < STEPS_WITHOUT_TIME_MAX, "the cluster comes to rest");
    }
    stage.timeline().pass_to(end);
}

/// Carries out all events that are due now, without letting a deadline pass.
///
/// # Panics
/// When a law is broken.
pub fn deliver<S: Stage>(stage: &mut S) {
    let now = stage.timeline().now();
    while stage.timeline().next_at().is_some_and(|at| at <= now) {
        happen_next(stage);
    }
}

/// Runs until `done` returns true, which is checked every 5 ms, for at most `limit`. Returns whether it did.
///
/// # Panics
/// When a law is broken, or the cluster never comes to rest.
pub fn run_until<S: Stage>(stage: &mut S, limit: Duration, done: impl Fn(&S) -> bool) -> bool {
    let end = stage.timeline().now().after(limit);
    while stage.timeline().now() < end {
        if done(stage) {
            return true;
        }
        run(stage, LOOK_EVERY);
    }
    done(stage)
}

fn happen_next<S: Stage>(stage: &mut S) {
    if let Some(event) = stage.timeline().take_next() {
        stage.happen(event);
        stage.check();
    }
}

const LOOK_EVERY: Duration = Duration::from_millis(5);
const STEPS_WITHOUT_TIME_MAX: u32 = 100_000;
