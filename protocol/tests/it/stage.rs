//! The loop that clusters of cores under test run in.

use std::cell::Cell;
use std::time::Duration;

use quorate_protocol::testing::{Builder, Cluster, Subject};
use quorate_protocol::{
    Input, Instant, Law, NodeId, Now, Output, Protocol, RecoverError, Recovery, Signal, Ticket, Violation,
};

use crate::outbox::Said;

/// A core that is woken after the times of its commands, and once by its deadline. It tells when and why.
#[derive(Clone, Debug)]
struct Sleeper {
    start: Instant,
    deadline: Option<Instant>,
    outputs: Vec<Output<Self>>,
}

type Waking = (Duration, &'static str);

impl Sleeper {
    fn tell(&mut self, now: Now, why: &'static str) {
        self.outputs.push(Output::Event((now.instant.since(self.start), why)));
    }

    fn sleep(&mut self, waking: Waking) {
        self.outputs.push(Output::Request { ticket: Ticket(1), request: waking });
    }
}

impl Protocol for Sleeper {
    type Config = Duration;
    type Message = Said;
    type Command = Waking;
    type Event = Waking;
    type Request = Waking;
    type Answer = &'static str;
    type View = ();

    fn recover(now: Now, deadline: Duration, _recovery: Recovery) -> Result<Self, RecoverError> {
        Ok(Self { start: now.instant, deadline: Some(now.instant.after(deadline)), outputs: Vec::new() })
    }

    fn handle(&mut self, now: Now, input: Input<Self>) {
        match input {
            Input::Command(waking) => self.sleep(waking),
            Input::Completed { answer, .. } => {
                self.tell(now, answer);
                if answer == "again" {
                    self.sleep((Duration::ZERO, "again"));
                }
            }
            Input::Signal(Signal::Timeout) => {
                self.deadline = None;
                self.tell(now, "time-out");
            }
            _ => {}
        }
    }

    fn poll_output(&mut self) -> Option<Output<Self>> {
        (!self.outputs.is_empty()).then(|| self.outputs.remove(0))
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    fn model_view(&self) {}

    fn check_invariants(&self) {}
}

impl Subject for Sleeper {
    type Settings = Duration;
    type Application = ();

    fn config(cluster: &Builder<Self>, _node: NodeId, _start: u64) -> Duration {
        cluster.settings
    }

    fn laws() -> Vec<Box<dyn Law<Self>>> {
        vec![Box::new(Counted)]
    }

    fn on_request(cluster: &mut Cluster<Self>, node: NodeId, ticket: Ticket, request: Waking) {
        cluster.ask_later(node, request.0, ticket, request);
    }

    fn on_asked(cluster: &mut Cluster<Self>, node: NodeId, ticket: Ticket, (_, answer): Waking) {
        cluster.input(node, Input::Completed { ticket, answer });
    }
}

/// Counts how often the laws are checked.
struct Counted;

thread_local! {
    static CHECKS: Cell<usize> = const { Cell::new(0) };
}

impl Law<Sleeper> for Counted {
    fn name(&self) -> &'static str {
        "counted"
    }

    fn check(&mut self, _nodes: &[(NodeId, &Sleeper)]) -> Result<(), Violation> {
        CHECKS.set(CHECKS.get() + 1);
        Ok(())
    }
}

fn sleeper(deadline: Duration, wakings: &[(u64, &'static str)]) -> Cluster<Sleeper> {
    let mut cluster = Builder::new(1, 1).settings(deadline).start();
    for (after_ms, why) in wakings {
        cluster.input(NodeId(1), Input::Command((Duration::from_millis(*after_ms), *why)));
    }
    CHECKS.set(0);
    cluster
}

fn seen(cluster: &Cluster<Sleeper>) -> &[Waking] {
    &cluster.node(1).events
}

const MS: Duration = Duration::from_millis(1);

#[test]
fn what_is_due_together_happens_as_scheduled_and_before_deadlines() {
    let mut cluster = sleeper(2 * MS, &[(2, "second"), (2, "third"), (1, "first"), (9, "late")]);
    let begun = cluster.now();
    cluster.run(5 * MS);
    assert_eq!(seen(&cluster), [(MS, "first"), (2 * MS, "second"), (2 * MS, "third"), (2 * MS, "time-out")]);
    assert_eq!(CHECKS.get(), 4, "the laws are checked after every step");
    assert_eq!(cluster.now().since(begun), 5 * MS, "all of the time has passed");
    cluster.run(4 * MS);
    assert_eq!(seen(&cluster).last(), Some(&(9 * MS, "late")));
}

#[test]
fn what_needs_no_time_is_delivered_and_no_deadline_passes() {
    let mut cluster = sleeper(MS, &[(0, "now"), (1, "with the deadline"), (2, "later")]);
    cluster.deliver();
    assert_eq!(seen(&cluster), [(Duration::ZERO, "now")]);
    cluster.time_out(1);
    assert_eq!(seen(&cluster)[1..], [(MS, "time-out"), (MS, "with the deadline")]);
}

#[test]
fn it_runs_until_it_is_done_or_the_time_is_over() {
    let mut cluster = sleeper(8 * MS, &[(1, "first"), (22, "last")]);
    assert!(cluster.run_until(100 * MS, |cluster| seen(cluster).len() == 2), "the first and the time-out");
    assert!(!cluster.run_until(5 * MS, |cluster| seen(cluster).len() == 3), "the last comes later");
}

#[test]
#[should_panic(expected = "the cluster comes to rest")]
fn what_never_rests_is_ended() {
    sleeper(MS, &[(0, "again")]).run(MS);
}

#[test]
fn what_never_strikes_draws_nothing() {
    let (mut one, mut two) = (sleeper(MS, &[]), sleeper(MS, &[]));
    assert!(!one.strikes(0));
    assert_eq!(one.draw(Duration::ZERO), Duration::ZERO);
    assert!((0..100).all(|_| one.draw(MS) == two.draw(MS) && one.choose(10) == two.choose(10)));
    assert!((0..100).all(|_| one.strikes(100)));
}
