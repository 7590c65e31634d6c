//! A small core as a group: it reports every write to the application and to one peer once the write is durable.

use bytes::Bytes;
use quorate_protocol::{
    GroupId, HaltReason, Incarnation, Input, Instant, LoadFailure, LoadRange, NodeId, Now, Operation, Outbox,
    OutboxLimits, Output, Protocol, RecoverError, Recovery, Signal, Ticket, Wire, WireError,
};
use quorate_transport::{ChannelId, Frame, Received, Sender};

use super::{Hosted, TOLD_MAX, Told};
use crate::group::interface::{CallId, Group, GroupInput, GroupOutput};
use crate::group::reply::Reply;

#[derive(Clone, Debug)]
struct Notes {
    outbox: Outbox<Self>,
    failures: Vec<LoadFailure>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Note(Bytes);

impl Wire for Note {
    type Small = u8;

    fn to_parts(&self, raw: &mut Vec<Bytes>) -> u8 {
        raw.push(self.0.clone());
        1
    }

    fn from_parts(version: u8, raw: Vec<Bytes>) -> Result<Self, WireError> {
        let [note] = raw.try_into().map_err(|_| WireError::Sections)?;
        if version == 1 { Ok(Self(note)) } else { Err(WireError::Malformed("version")) }
    }
}

impl Protocol for Notes {
    type Config = ();
    type Message = Note;
    type Command = Bytes;
    type Event = Note;
    type Request = &'static str;
    type Answer = u64;
    type View = ();

    fn recover(_now: Now, (): (), _recovery: Recovery) -> Result<Self, RecoverError> {
        Ok(Self { outbox: Outbox::new(OutboxLimits::default()), failures: Vec::new() })
    }

    fn handle(&mut self, _now: Now, input: Input<Self>) {
        match input {
            Input::Command(bytes) => {
                let ticket = self.outbox.persist([Operation::Journal { key: 1, bytes: bytes.clone() }]);
                self.outbox.event_after(ticket, Note(bytes.clone()));
                self.outbox.send_after(ticket, NodeId(2), Note(bytes));
                self.outbox.request("count it");
                self.outbox.load(LoadRange::Keys { range: 0..9 });
            }
            Input::Message { message, .. } => self.outbox.event(message),
            Input::Signal(Signal::Persisted(ticket)) => self.outbox.persisted(ticket),
            Input::Signal(Signal::Loaded { result: Err(failure), .. }) => self.failures.push(failure),
            Input::Completed { answer, .. } => self.outbox.event(Note(Bytes::from(answer.to_string()))),
            Input::Signal(_) => {}
        }
    }

    fn stopping(&mut self, _now: Now) {
        self.outbox.persist([Operation::Journal { key: 2, bytes: Bytes::from_static(b"last") }]);
    }

    fn poll_output(&mut self) -> Option<Output<Self>> {
        self.outbox.poll()
    }

    fn deadline(&self) -> Option<Instant> {
        Some(Instant::from_nanos(77))
    }

    fn model_view(&self) {}

    fn check_invariants(&self) {}
}

const CHANNEL: ChannelId = ChannelId(20);

fn hosted() -> Hosted<Notes> {
    let core = Notes::recover(Now::default(), (), Recovery::default()).expect("a fresh core");
    Hosted::new(GroupId(4), CHANNEL, core)
}

fn outputs(hosted: &mut Hosted<Notes>) -> Vec<GroupOutput> {
    std::iter::from_fn(|| hosted.poll_output()).collect()
}

fn notes(told: Vec<Told<Notes>>) -> Vec<String> {
    let text = |told: Told<Notes>| match told {
        Told::Event(Note(bytes)) => String::from_utf8_lossy(&bytes).into_owned(),
        Told::Request { request, .. } => request.to_owned(),
        Told::Lost(count) => format!("{count} lost"),
        Told::Serving | Told::NotServing { .. } => panic!("it is always served"),
    };
    told.into_iter().map(text).collect()
}

#[test]
fn what_a_core_wants_comes_out_and_what_it_waits_for_goes_in() {
    let (mut one, now) = (hosted(), Now::default());
    one.command(now, Bytes::from_static(b"hello")).expect("it is served");
    one.listen(CallId(5));
    let first = outputs(&mut one);
    let [GroupOutput::Persist { ticket, .. }, GroupOutput::Reply { call: CallId(5), reply: Reply::Told }, load] =
        &first[..]
    else {
        panic!("not these: {first:?}")
    };
    let GroupOutput::Load { ticket: loading, .. } = load else { panic!("not a load: {load:?}") };
    assert_eq!(notes(one.take()), ["count it"]);
    one.handle(now, GroupInput::Signal(Signal::Loaded { ticket: *loading, result: Err(LoadFailure::Io) }));
    assert_eq!(one.core().expect("served").failures, [LoadFailure::Io]);
    one.handle(now, GroupInput::Signal(Signal::Persisted(*ticket)));
    let second = outputs(&mut one);
    let [GroupOutput::Send { to: NodeId(2), frame }] = &second[..] else { panic!("not these: {second:?}") };
    assert_eq!(notes(one.take()), ["hello"]);
    assert_eq!((frame.channel(), frame.group()), (CHANNEL, GroupId(4)));

    let mut two = hosted();
    let from = Sender { node: NodeId(1), incarnation: Incarnation(1) };
    two.handle(now, GroupInput::Frame(Received { from, frame: frame.clone() }));
    two.complete(now, Ticket(1), 42).expect("it is served");
    assert!(outputs(&mut two).is_empty());
    assert_eq!(notes(two.take()), ["hello", "42"]);
    assert_eq!(two.deadline(), Some(Instant::from_nanos(77)));
}

/// The last write of a core that stops waits for the one under way, and the node for both.
#[test]
fn a_core_that_stops_writes_what_may_wait() {
    let (mut one, now) = (hosted(), Now::default());
    let writes = |outputs: Vec<GroupOutput>| -> Vec<(Ticket, Vec<Operation>)> {
        let write = |output| match output {
            GroupOutput::Persist { ticket, operations } => Some((ticket, operations)),
            _ => None,
        };
        outputs.into_iter().filter_map(write).collect()
    };
    one.listen(CallId(5));
    assert_eq!(one.listeners(), 1);
    one.command(now, Bytes::from_static(b"hello")).expect("it is served");
    let [(first, _)] = &writes(outputs(&mut one))[..] else { panic!("one write") };
    assert_eq!((one.is_settled(), one.listeners()), (false, 0), "it listened, and was told of the request");
    one.handle(now, GroupInput::Shutdown { deadline: Instant::from_nanos(9) });
    assert_eq!(writes(outputs(&mut one)), [], "one write is under way at a time");
    one.handle(now, GroupInput::Signal(Signal::Persisted(*first)));
    let [(second, operations)] = &writes(outputs(&mut one))[..] else { panic!("one write") };
    assert_eq!(*operations, [Operation::Journal { key: 2, bytes: Bytes::from_static(b"last") }]);
    assert!(!one.is_settled());
    one.handle(now, GroupInput::Signal(Signal::Persisted(*second)));
    assert!(outputs(&mut one).iter().all(|output| matches!(output, GroupOutput::Send { .. })) && one.is_settled());
}

#[test]
fn frames_that_are_no_message_are_counted() {
    let (mut one, now) = (hosted(), Now::default());
    let from = Sender { node: NodeId(1), incarnation: Incarnation(1) };
    let frame = |channel, small: &'static [u8], raw| {
        Frame::new(channel, GroupId(4), Bytes::from_static(small), raw).expect("small")
    };
    let bad = [
        frame(CHANNEL, b"\x02", vec![Bytes::new()]),
        frame(CHANNEL, b"\x01", vec![]),
        frame(CHANNEL, b"", vec![Bytes::new()]),
        frame(ChannelId(21), b"\x01", vec![Bytes::new()]),
    ];
    for frame in bad {
        one.handle(now, GroupInput::Frame(Received { from, frame }));
    }
    assert_eq!(one.malformed(), 4);
    assert!(one.take().is_empty());
}

#[test]
fn a_slow_listener_loses_the_oldest_and_is_told() {
    let (mut one, now) = (hosted(), Now::default());
    for answer in 0..TOLD_MAX as u64 + 3 {
        one.complete(now, Ticket(1), answer).expect("it is served");
    }
    outputs(&mut one);
    let told = notes(one.take());
    assert_eq!((told.len(), told[0].as_str(), told[1].as_str()), (TOLD_MAX + 1, "3 lost", "3"));
}

#[test]
fn what_was_told_is_told_again_until_it_is_acknowledged() {
    let (mut one, now) = (hosted(), Now::default());
    one.complete(now, Ticket(1), 1).expect("it is served");
    one.complete(now, Ticket(1), 2).expect("it is served");
    outputs(&mut one);
    // An answer that was dropped on its way has removed nothing.
    drop(one.heard());
    let heard = one.heard();
    assert_eq!((notes(heard.told), heard.up_to), (vec!["1".to_owned(), "2".to_owned()], 2));
    one.acknowledge(2);
    one.listen(CallId(1));
    assert!(outputs(&mut one).is_empty(), "it waits for more");
    one.complete(now, Ticket(1), 3).expect("it is served");
    assert!(matches!(outputs(&mut one)[..], [GroupOutput::Reply { call: CallId(1), reply: Reply::Told }]));
    let heard = one.heard();
    assert_eq!((notes(heard.told), heard.up_to), (vec!["3".to_owned()], 3));
    // A number that was never given acknowledges what there is, and nothing that comes later.
    one.acknowledge(99);
    one.complete(now, Ticket(1), 4).expect("it is served");
    outputs(&mut one);
    assert_eq!(notes(one.heard().told), ["4"]);
}

#[test]
fn what_was_dropped_is_said_until_it_is_acknowledged() {
    let (mut one, now) = (hosted(), Now::default());
    for answer in 0..TOLD_MAX as u64 + 3 {
        one.complete(now, Ticket(1), answer).expect("it is served");
    }
    outputs(&mut one);
    drop(one.heard());
    let heard = one.heard();
    assert_eq!((heard.told.len(), notes(heard.told)[0].as_str()), (TOLD_MAX + 1, "3 lost"));
    one.acknowledge(heard.up_to);
    assert!(one.heard().told.is_empty());
}

#[test]
fn one_listens_at_a_time_and_a_halt_is_told() {
    let mut one = hosted();
    one.listen(CallId(1));
    one.listen(CallId(2));
    let replies = outputs(&mut one);
    assert!(matches!(replies[..], [GroupOutput::Reply { call: CallId(1), reply: Reply::Told }]));
    one.halted(&HaltReason::LawBroken("a law"));
    let replies = outputs(&mut one);
    assert!(matches!(replies[..], [GroupOutput::Reply { call: CallId(2), reply: Reply::Unknown }]));
}

/// Its answer was on the way when the core stopped.
#[test]
fn who_was_just_told_is_answered_by_a_core_that_halts() {
    let mut one = hosted();
    one.command(Now::default(), Bytes::from_static(b"hello")).expect("it is served");
    outputs(&mut one);
    one.listen(CallId(3));
    one.halted(&HaltReason::LawBroken("a law"));
    let replies = outputs(&mut one);
    assert!(matches!(replies[..], [GroupOutput::Reply { call: CallId(3), .. }]));
}
