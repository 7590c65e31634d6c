//! Registers as a group of a node: each caller gets its answer.

use std::any::Any;
use std::collections::BTreeSet;

use bytes::Bytes;
use quorate_paxos::register::{
    AddedNode, Change, ChangeOutcome, CommandRefusal, Event, Functions, ReadOutcome, Registers, RolesChange,
    RolesOutcome, RolesRefusal, Settings, host,
};
use quorate_paxos::runtime::GroupStart;
use quorate_paxos::runtime::group::{CallId, Group, GroupInput, GroupOutput, Members, Reply};
use quorate_protocol::testing::Stream;
use quorate_protocol::{
    ClusterId, Configuration, GroupId, Identity, Incarnation, Instant, NodeId, Now, PersistFailure, SessionId, Signal,
    Standing,
};

use super::outcomes::append;

fn start(disk: &Stream, nodes: u64) -> GroupStart {
    GroupStart {
        now: Now::default(),
        group: GroupId(1),
        identity: Identity { cluster: ClusterId(1), node: NodeId(1), incarnation: Incarnation(1) },
        session: SessionId { incarnation: Incarnation(1), start: 7 },
        members: Configuration::of_voters((1..=nodes).map(NodeId)),
        recovery: disk.recovery(usize::MAX),
        skipped: Vec::new(),
        seed: 1,
        frame_bytes_max: 2 << 20,
        write_bytes_max: 2 << 20,
    }
}

/// A node that is a group by itself, with its disk.
struct Alone {
    group: Box<dyn Group>,
    disk: Stream,
    replies: Vec<(CallId, Reply)>,
    /// The members as the node was told last, and those that count.
    members: Option<(Members, BTreeSet<NodeId>)>,
}

impl Alone {
    fn new(disk: Stream, nodes: u64) -> Self {
        let functions = Functions::default().with("append", append);
        let group = host(start(&disk, nodes), functions, Settings::default()).expect("it opens");
        let mut alone = Self { group, disk, replies: Vec::new(), members: None };
        let standing = Signal::PeerStanding { node: NodeId(1), standing: Standing::Member };
        alone.input(GroupInput::Signal(standing));
        alone
    }

    fn input(&mut self, input: GroupInput) {
        self.group.handle(Now::default(), input);
        self.poll();
    }

    fn registers(&mut self) -> &mut Registers {
        let group: &mut dyn Any = &mut *self.group;
        group.downcast_mut().expect("registers")
    }

    fn poll(&mut self) {
        while let Some(output) = self.group.poll_output() {
            match output {
                GroupOutput::Persist { ticket, operations } => {
                    self.disk.write(&operations);
                    self.group.handle(Now::default(), GroupInput::Signal(Signal::Persisted(ticket)));
                }
                GroupOutput::Reply { call, reply } => self.replies.push((call, reply)),
                GroupOutput::Members { contexts, membership } => self.members = Some((contexts, membership.voters)),
                _ => {}
            }
        }
    }

    fn change(&mut self, call: u64, change: Change) -> Option<ChangeOutcome> {
        let registers = self.registers();
        let id = registers.draw_id();
        registers.change(Now::default(), CallId(call), Bytes::from_static(b"key"), id, change);
        self.poll();
        self.outcome(call)
    }

    fn outcome(&mut self, call: u64) -> Option<ChangeOutcome> {
        match self.registers().take(CallId(call))? {
            Event::Changed { outcome, .. } => Some(outcome),
            other => panic!("the answer to a change: {other:?}"),
        }
    }
}

#[test]
fn each_caller_gets_its_answer() {
    let mut alone = Alone::new(Stream::default(), 1);
    let outcome = alone.change(1, Change::Set(Bytes::from_static(b"a")));
    assert!(matches!(outcome, Some(ChangeOutcome::Done(_))), "{outcome:?}");
    let apply = Change::Apply { function: "append".to_owned(), argument: Bytes::from_static(b"b") };
    let Some(ChangeOutcome::Done(found)) = alone.change(2, apply) else { panic!("it is applied") };
    assert_eq!(found.value.as_deref(), Some(&b"ab"[..]));
    alone.registers().read(Now::default(), CallId(3), Bytes::from_static(b"key"));
    alone.poll();
    let answer = alone.registers().take(CallId(3));
    assert!(matches!(answer, Some(Event::Read { outcome: ReadOutcome::Found(read), .. }) if read == found));
    assert_eq!(alone.replies, [1, 2, 3].map(|call| (CallId(call), Reply::Told)));

    let disk = alone.disk.clone();
    let mut again = Alone::new(disk, 3);
    let roles = again.registers().core().expect("served").config().roles().clone();
    assert_eq!(roles.proposers().len(), 1, "it keeps the roles with which it was founded");
}

/// A node that is to get a role is reached before it has one, and counts once it has.
#[test]
fn a_node_that_is_added_is_told_to_the_node() {
    let mut alone = Alone::new(Stream::default(), 1);
    let one = BTreeSet::from([NodeId(1)]);
    assert_eq!(alone.members, Some((BTreeSet::from([(NodeId(1), Bytes::new())]), one.clone())));
    let added = AddedNode { node: NodeId(2), context: Bytes::from_static(b"two:1") };
    alone.registers().change_roles(Now::default(), CallId(1), RolesChange::Add(added.clone()));
    alone.poll();
    let both = BTreeSet::from([(NodeId(1), Bytes::new()), (NodeId(2), added.context)]);
    assert_eq!(alone.members, Some((both, one.clone())));
    assert!(alone.registers().take(CallId(1)).is_none(), "it waits for the new node");
    let late = Now { instant: Instant::ZERO.after(std::time::Duration::from_mins(1)), wall_ms: 0 };
    alone.group.handle(late, GroupInput::Signal(Signal::Timeout));
    alone.poll();
    let refused = RolesOutcome::NotTried(RolesRefusal::NotReady(vec![NodeId(2)]));
    let answer = alone.registers().take(CallId(1));
    assert!(matches!(answer, Some(Event::RolesChanged { outcome, .. }) if outcome == refused));
    assert_eq!(alone.members, Some((BTreeSet::from([(NodeId(1), Bytes::new())]), one)));
}

#[test]
fn a_node_that_joins_has_no_role() {
    let identity = Identity { cluster: ClusterId(1), node: NodeId(9), incarnation: Incarnation(9) };
    let start = GroupStart { identity, ..start(&Stream::default(), 3) };
    let group = host(start, Functions::default(), Settings::default()).expect("it opens");
    let group: &dyn Any = &*group;
    let core = group.downcast_ref::<Registers>().and_then(Registers::core).expect("served");
    assert!(!core.roles().contains(NodeId(9)) && core.roles().contains(NodeId(3)));
}

#[test]
fn a_group_that_stops_leaves_no_caller_without_an_answer() {
    let mut alone = Alone::new(Stream::default(), 3);
    assert_eq!(alone.change(1, Change::Delete), None, "there is no quorum");
    let failure = Signal::PersistFailed { ticket: quorate_protocol::Ticket(1), failure: PersistFailure::Unknown };
    alone.input(GroupInput::Signal(failure));
    assert_eq!(alone.replies, [(CallId(1), Reply::Unknown)]);
    assert_eq!(alone.change(2, Change::Delete), Some(ChangeOutcome::NotTried(CommandRefusal::Halted)));
    let mut stopping = Alone::new(Stream::default(), 1);
    stopping.input(GroupInput::Shutdown { deadline: Instant::ZERO });
    let outcome = stopping.change(1, Change::Delete);
    assert_eq!(outcome, Some(ChangeOutcome::NotTried(CommandRefusal::ShuttingDown)));
    assert!(stopping.group.is_settled());
}
