use bytes::Bytes;
use proptest::prelude::*;
use quorate_protocol::{
    HaltReason, Input, Instant, LogIndex, NodeId, Now, Operation, Outbox, OutboxLimits, Output, Protocol, RecoverError,
    Recovery, Ticket, Wire, WireError,
};

/// A protocol without behaviour; the tests use its outbox only.
#[derive(Clone, Debug)]
pub(crate) struct Probe;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Said(u64);

impl Wire for Said {
    type Small = u64;

    fn to_parts(&self, _raw: &mut Vec<Bytes>) -> u64 {
        self.0
    }

    fn from_parts(small: u64, _raw: Vec<Bytes>) -> Result<Self, WireError> {
        Ok(Self(small))
    }
}

impl Protocol for Probe {
    type Config = ();
    type Message = Said;
    type Command = ();
    type Event = u64;
    type Request = ();
    type Answer = ();
    type View = ();

    fn recover(_now: Now, (): (), _recovery: Recovery) -> Result<Self, RecoverError> {
        Ok(Self)
    }

    fn handle(&mut self, _now: Now, _input: Input<Self>) {}

    fn poll_output(&mut self) -> Option<Output<Self>> {
        None
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }

    fn model_view(&self) {}

    fn check_invariants(&self) {}
}

const PEER: NodeId = NodeId(2);

#[test]
fn holds_what_states_a_write_until_it_is_durable() {
    let mut outbox = outbox();
    let write = outbox.persist([hint(1)]);
    outbox.send_after(write, PEER, Said(1));
    outbox.event_after(write, 2);
    outbox.send(PEER, Said(3));
    assert_eq!(drain(&mut outbox), ["persist 1", "send 3"]);
    outbox.persisted(write);
    assert_eq!(drain(&mut outbox), ["send 1", "event 2"]);
}

#[test]
fn one_write_is_in_flight_and_the_next_grows() {
    let mut outbox = outbox();
    let first = outbox.persist([hint(1)]);
    assert_eq!(drain(&mut outbox), ["persist 1"]);
    let second = outbox.persist([hint(2)]);
    assert_eq!(outbox.persist([hint(3)]), second);
    assert_eq!(outbox.newest_write(), second);
    assert!(drain(&mut outbox).is_empty());
    outbox.persisted(first);
    assert!(outbox.is_durable(first) && !outbox.is_durable(second));
    assert_eq!(drain(&mut outbox), ["persist 2"]);
}

#[test]
fn what_was_not_written_is_queued_again_before_anything_is_said() {
    let mut outbox = outbox();
    let first = outbox.persist([hint(1)]);
    outbox.send_after(first, PEER, Said(1));
    assert_eq!(drain(&mut outbox), ["persist 1"]);
    outbox.persist([hint(2)]);
    outbox.refused();
    let again = outbox.persist([hint(1)]);
    assert!(drain(&mut outbox).is_empty(), "nothing is written before the core says so");
    outbox.resume_writes();
    assert_eq!(drain(&mut outbox), ["persist 1"]);
    assert!(first < again);
    outbox.persisted(first);
    assert!(drain(&mut outbox).is_empty(), "the write that failed is never durable");
    outbox.persisted(again);
    assert_eq!(drain(&mut outbox), ["send 1"]);
}

#[test]
fn what_waits_for_a_refused_write_waits_for_all_parts_of_the_next() {
    let mut outbox = Outbox::<Probe>::new(OutboxLimits { write_bytes_max: 100, ..OutboxLimits::default() });
    let first = outbox.persist([hint(1)]);
    let second = outbox.persist([hint(2)]);
    outbox.send_after(second, PEER, Said(2));
    outbox.event_after(second, 3);
    assert_eq!(drain(&mut outbox), ["persist 1"]);
    outbox.refused();
    let parts = [outbox.persist([hint(1)]), outbox.persist([hint(2)])];
    outbox.rebind_held(parts[1]);
    outbox.resume_writes();
    assert_eq!(drain(&mut outbox), ["persist 1"]);
    outbox.persisted(parts[0]);
    assert_eq!(drain(&mut outbox), ["persist 2"], "the second part is not durable");
    outbox.persisted(parts[1]);
    assert_eq!(drain(&mut outbox), ["send 2", "event 3"]);
    assert!(first < parts[0]);
}

#[test]
fn nothing_waits_for_a_write_of_which_nothing_is_left() {
    let mut outbox = outbox();
    let write = outbox.persist([hint(1)]);
    outbox.send_after(write, PEER, Said(1));
    assert_eq!(drain(&mut outbox), ["persist 1"]);
    outbox.refused();
    outbox.rebind_held(outbox.newest_write());
    assert_eq!(drain(&mut outbox), ["send 1"]);
}

#[test]
fn a_full_write_leaves_the_rest_to_the_next() {
    let mut outbox = Outbox::<Probe>::new(OutboxLimits { write_bytes_max: 100, ..OutboxLimits::default() });
    let first = outbox.persist([hint(1)]);
    let second = outbox.persist([hint(2)]);
    assert!(first < second);
    let whole = outbox.persist([hint(3), hint(4)]);
    assert!(second < whole, "operations of one call stay together");
}

#[test]
fn stale_and_foreign_news_of_durability_is_harmless() {
    let mut outbox = outbox();
    let write = outbox.persist([hint(1)]);
    outbox.send_after(write, PEER, Said(1));
    outbox.persisted(write);
    outbox.persisted(Ticket(99));
    assert_eq!(drain(&mut outbox), ["persist 1"], "not handed out yet, so it cannot be durable");
    outbox.persisted(Ticket(99));
    assert!(drain(&mut outbox).is_empty());
    outbox.persisted(write);
    outbox.persisted(write);
    assert_eq!(drain(&mut outbox), ["send 1"]);
}

#[test]
fn the_oldest_held_message_is_dropped_at_the_bound() {
    let mut outbox = Outbox::<Probe>::new(OutboxLimits { held_messages_max: 2, ..OutboxLimits::default() });
    let write = outbox.persist([hint(1)]);
    for said in 1..=3 {
        outbox.send_after(write, PEER, Said(said));
    }
    assert_eq!(outbox.held(), 2);
    drain(&mut outbox);
    outbox.persisted(write);
    assert_eq!(drain(&mut outbox), ["send 2", "send 3"]);
}

#[test]
fn held_messages_are_dropped_by_name() {
    let mut outbox = outbox();
    let write = outbox.persist([hint(1)]);
    outbox.send_after(write, PEER, Said(1));
    outbox.send_after(write, PEER, Said(2));
    outbox.drop_held(|to, said| to == PEER && said.0 == 1);
    drain(&mut outbox);
    outbox.persisted(write);
    assert_eq!(drain(&mut outbox), ["send 2"]);
}

#[test]
fn a_poisoned_outbox_says_nothing_but_that_it_halts() {
    let mut outbox = outbox();
    let write = outbox.persist([hint(1)]);
    outbox.send_after(write, PEER, Said(1));
    outbox.send(PEER, Said(2));
    outbox.push(Output::Halt { reason: HaltReason::LawBroken("example") });
    outbox.poison();
    outbox.persisted(write);
    assert_eq!(drain(&mut outbox), ["halt"]);
}

#[test]
fn a_poisoned_outbox_may_keep_the_events_that_are_ready() {
    let mut outbox = outbox();
    let write = outbox.persist([hint(1)]);
    outbox.event_after(write, 1);
    outbox.send(PEER, Said(2));
    outbox.event(3);
    outbox.poison_but_events();
    outbox.push(Output::Halt { reason: HaltReason::LawBroken("example") });
    outbox.persisted(write);
    assert_eq!(drain(&mut outbox), ["event 3", "halt"]);
}

proptest! {
    /// Whatever the order of calls, no output leaves before the write it was stamped with is durable.
    #[test]
    fn nothing_overtakes_its_write(steps in proptest::collection::vec((0..4u8, any::<u8>()), 1..200)) {
        let mut outbox = outbox();
        let mut stamps = Vec::new();
        let mut in_flight = None;
        let mut durable = Ticket(0);
        for (step, pick) in steps {
            match step {
                0 => { outbox.persist([hint(u64::from(pick))]); }
                1 => {
                    let after = outbox.newest_write();
                    outbox.send_after(after, PEER, Said(stamps.len() as u64));
                    stamps.push(after);
                }
                2 => if let Some(ticket) = in_flight.take() {
                    durable = ticket;
                    outbox.persisted(ticket);
                },
                _ => while let Some(output) = outbox.poll() {
                    match output {
                        Output::Persist { ticket, .. } => {
                            prop_assert!(in_flight.replace(ticket).is_none(), "two writes in flight");
                        }
                        Output::Send { message, .. } => {
                            prop_assert!(stamps[usize::try_from(message.0).expect("small")] <= durable);
                        }
                        _ => {}
                    }
                },
            }
        }
    }
}

fn outbox() -> Outbox<Probe> {
    Outbox::new(OutboxLimits::default())
}

fn hint(index: u64) -> Operation {
    Operation::CommitHint { index: LogIndex(index) }
}

fn drain(outbox: &mut Outbox<Probe>) -> Vec<String> {
    let mut drained = Vec::new();
    while let Some(output) = outbox.poll() {
        drained.push(match output {
            Output::Persist { operations, .. } => match operations[0] {
                Operation::CommitHint { index } => format!("persist {index}"),
                _ => unreachable!("only hints are written here"),
            },
            Output::Send { message, .. } => format!("send {}", message.0),
            Output::Event(event) => format!("event {event}"),
            Output::Halt { .. } => "halt".to_owned(),
            other => format!("{other:?}"),
        });
    }
    drained
}
