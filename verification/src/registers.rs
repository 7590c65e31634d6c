//! Registers (CASPaxos) on the shipped node: clients read, write, compare and set, delete and append at any node.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use quorate_paxos::QuorumSystem;
use quorate_paxos::register::testing::laws;
use quorate_paxos::register::{
    CHANNEL, Change, ChangeOutcome, Event, Expected, Found, Functions, Message, ReadOutcome, Register, Registers,
    ResolveOutcome, Roles, RolesChange, RolesOutcome, Settings, Trace, host_with,
};
use quorate_protocol::{GroupId, Law, NodeId, Now, Random, Violation};
use quorate_runtime::group::{CallId, MakeGroup, Reply};
use quorate_runtime::node::Node;
use quorate_simulation::campaign::Requirements;
use quorate_simulation::node_machine::{
    Application, Desk, EXPECTED_OF_NODES, NodeMachine, NodeSetup, check_nodes, describe_channel, small_log,
};
use quorate_simulation::registers::{RegisterClients, RegisterRequest, Response};
use quorate_simulation::schedule::{FaultKind, Generator, MemberStep, Schedule, Who};
use quorate_simulation::world::{
    ClientAnswer, ClusterLaws, Machine as _, MemberCall, Movements, NodeView, Observation, Recording, RunOutcome,
    reached, run,
};
use quorate_transport::{Frame, codec};

use crate::protocols::Protocol;

/// Registers on the shipped node.
pub const REGISTER: Protocol = Protocol {
    name: "register",
    about: "CASPaxos: keyed registers without a leader, on the shipped node",
    generator: Generator::of::<Machine>,
    run: run_schedule,
    expected: &[Machine::EXPECTED, EXPECTED_OF_NODES],
    requirements: || Requirements {
        acknowledged_median: 1_000,
        each_fault: 100,
        reached: vec![
            (DELETED, 5_000),
            (CONFLICT, 5_000),
            (UNKNOWN, 100),
            (SETTLED, 50),
            (reached::TAIL_TORN, 300),
            (reached::LOG_POISONED, 100),
        ],
    },
};

/// The same, while nodes get and lose their roles. A node that lost its disk is not admitted again under its id, so
/// that disks are not lost.
pub const REGISTER_MEMBERS: Protocol = Protocol {
    name: "register-members",
    about: "registers whose acceptors and proposers change",
    generator: || {
        let mut generator = Generator::of::<Machine>();
        let is_loss = |kind: &FaultKind| {
            matches!(
                kind,
                FaultKind::Wipe
                    | FaultKind::OldCopy
                    | FaultKind::BitRot
                    | FaultKind::MisdirectedWrite
                    | FaultKind::LostFolder
            )
        };
        generator.kinds.retain(|kind| !is_loss(kind));
        generator.kinds.push(FaultKind::ChangeMembers);
        generator
    },
    run: run_schedule,
    expected: &[Machine::EXPECTED, &[ROLES_CHANGED, ROLES_UNDER_WAY, ROLES_NOT_TRIED]],
    requirements: || Requirements {
        acknowledged_median: 500,
        each_fault: 100,
        reached: vec![(ROLES_CHANGED, 500), (ROLES_NOT_TRIED, 100)],
    },
};

type Machine = NodeMachine<Keyed>;

/// Runs one schedule. Majorities are quorums, which tolerates the loss of a minority's disks.
fn run_schedule(schedule: &Schedule, recording: Recording) -> RunOutcome {
    let mut random = Random::new(schedule.seed ^ 0x7265_6769_7374);
    let quorums =
        QuorumSystem::majority((1..=schedule.nodes - schedule.joining).map(NodeId)).expect("quorums that meet");
    let setup = NodeSetup {
        nodes: schedule.nodes,
        joining: schedule.joining,
        seed: schedule.seed,
        log: small_log(&mut random),
        tail_bytes_max: 2_000,
        application: Roles::of(quorums),
    };
    let mut clients = RegisterClients::new(schedule.seed).single();
    run::<Machine>(&setup, schedule, &mut RegisterLaws::default(), &mut clients, recording)
}

/// The clients of the registers of one node.
struct Keyed {
    /// The calls that wait in the group.
    waiting: BTreeMap<CallId, Waiting>,
    changes: u64,
    /// The calls that change the roles.
    changing: BTreeSet<CallId>,
}

/// A client's call that waits, and what is known of it.
struct Waiting {
    call: u64,
    what: RegisterRequest,
}

impl Application for Keyed {
    type Setup = Roles;
    type Call = RegisterRequest;
    type Answer = Response;
    type Later = ();
    type Kept = ();

    const EXPECTED: &'static [&'static str] = &[CONFLICT, DELETED, UNKNOWN, SETTLED];

    fn groups(roles: &Roles, _nodes: u64) -> BTreeMap<GroupId, MakeGroup> {
        let roles = roles.clone();
        let functions = Functions::default().with("append", append);
        let make: MakeGroup = Box::new(move |start| host_with(start, roles, functions, settings()));
        BTreeMap::from([(GROUP, make)])
    }

    fn start(_: &Roles, _: &mut Desk<'_, Self>) -> Self {
        Self { waiting: BTreeMap::new(), changes: 0, changing: BTreeSet::new() }
    }

    fn call(&mut self, desk: &mut Desk<'_, Self>, call: u64, what: RegisterRequest) {
        let (key, change) = asked(&what);
        self.enter(desk, Waiting { call, what }, |registers, now, id| match change {
            None => registers.read(now, id, key),
            Some(change) => {
                let drawn = registers.draw_id();
                registers.change(now, id, key, drawn, change);
            }
        });
    }

    fn reply(&mut self, desk: &mut Desk<'_, Self>, group: GroupId, id: CallId, reply: Reply) {
        if self.changing.remove(&id) {
            return Self::on_roles_changed(desk, group, id);
        }
        let Some(waiting) = self.waiting.remove(&id) else { return };
        let event = desk.enter(group, |registers: &mut Registers, _| registers.take(id)).flatten();
        match event.filter(|_| reply == Reply::Told) {
            Some(Event::Changed { outcome, .. }) => self.on_changed(desk, waiting, &outcome),
            Some(Event::Resolved { outcome, .. }) => Self::on_resolved(desk, &waiting, &outcome),
            Some(Event::Read { outcome: ReadOutcome::Found(found), .. }) => {
                desk.answer(waiting.call, ClientAnswer::Done(response(&waiting.what, &found)));
            }
            Some(Event::Read { .. }) => desk.answer(waiting.call, ClientAnswer::NotDone),
            Some(Event::RolesChanged { .. } | Event::RolesInForce { .. }) | None => {
                desk.answer(waiting.call, ClientAnswer::Unknown);
            }
        }
    }

    fn later(&mut self, _: &mut Desk<'_, Self>, (): ()) {}

    fn change_members(&mut self, desk: &mut Desk<'_, Self>, call: &MemberCall) {
        let Some(change) = call.steps.first().and_then(of_step) else { return };
        let id = desk.call_id();
        self.changing.insert(id);
        let _ = desk.enter(GROUP, |registers: &mut Registers, now| registers.change_roles(now, id, change));
    }

    fn observe(&self, node: &Node) -> Observation {
        let status = node.group::<Registers>(GROUP).and_then(Registers::core).map(Register::status);
        let is_leader = status.is_some_and(|status| status.attempts > 0);
        Observation { term: 0, is_leader, committed: self.changes, applied: self.changes, digest: 0 }
    }

    fn describe(frame: &Frame) -> String {
        if frame.channel() != CHANNEL {
            return describe_channel(frame);
        }
        let message = codec::decode::<Message>(frame.clone());
        message.map_or_else(|error| format!("unreadable: {error}"), |message| format!("{message:?}"))
    }
}

impl Keyed {
    fn enter(&mut self, desk: &mut Desk<'_, Self>, waiting: Waiting, f: impl FnOnce(&mut Registers, Now, CallId)) {
        let id = desk.call_id();
        self.waiting.insert(id, waiting);
        let _ = desk.enter(GROUP, |registers: &mut Registers, now| f(registers, now, id));
    }

    fn on_changed(&mut self, desk: &mut Desk<'_, Self>, waiting: Waiting, outcome: &ChangeOutcome) {
        let answer = match outcome {
            ChangeOutcome::Done(_) | ChangeOutcome::DoneBefore { .. } => {
                self.changes += 1;
                if matches!(waiting.what, RegisterRequest::Write { value: 0, .. }) {
                    desk.sometimes(DELETED);
                }
                ClientAnswer::Done(Response::default())
            }
            ChangeOutcome::Conflict(_) | ChangeOutcome::Declined { .. } => {
                desk.sometimes(CONFLICT);
                ClientAnswer::NotDone
            }
            ChangeOutcome::NotTried(_) => ClientAnswer::NotDone,
            ChangeOutcome::Unknown(trace) => return self.settle(desk, waiting, *trace),
            _ => ClientAnswer::Unknown,
        };
        desk.answer(waiting.call, answer);
    }

    fn on_roles_changed(desk: &mut Desk<'_, Self>, group: GroupId, id: CallId) {
        match desk.enter(group, |registers: &mut Registers, _| registers.take(id)).flatten() {
            Some(Event::RolesChanged { outcome: RolesOutcome::Done { .. }, .. }) => desk.sometimes(ROLES_CHANGED),
            Some(Event::RolesChanged { outcome: RolesOutcome::UnderWay { .. }, .. }) => {
                desk.sometimes(ROLES_UNDER_WAY);
            }
            Some(Event::RolesChanged { outcome: RolesOutcome::NotTried(_), .. }) => desk.sometimes(ROLES_NOT_TRIED),
            _ => {}
        }
    }

    /// Asks what became of a change, on the same node.
    fn settle(&mut self, desk: &mut Desk<'_, Self>, waiting: Waiting, trace: Trace) {
        desk.sometimes(UNKNOWN);
        let (key, _) = asked(&waiting.what);
        self.enter(desk, waiting, |registers, now, id| registers.resolve(now, id, key, trace));
    }

    fn on_resolved(desk: &mut Desk<'_, Self>, waiting: &Waiting, outcome: &ResolveOutcome) {
        let answer = match outcome {
            ResolveOutcome::TookEffect { .. } => {
                desk.sometimes(SETTLED);
                ClientAnswer::Done(Response::default())
            }
            ResolveOutcome::NotApplied(_) => {
                desk.sometimes(SETTLED);
                ClientAnswer::NotDone
            }
            _ => ClientAnswer::Unknown,
        };
        desk.answer(waiting.call, answer);
    }
}

/// The change of roles that stands for a change of members.
fn of_step(step: &MemberStep) -> Option<RolesChange> {
    match *step {
        MemberStep::AddLearner { node } | MemberStep::AddVoter { node } | MemberStep::Promote { node } => {
            Some(RolesChange::Add(NodeId(node).into()))
        }
        MemberStep::Demote { node } | MemberStep::Remove { node: Who::Node(node) } => {
            Some(RolesChange::Remove(NodeId(node)))
        }
        MemberStep::Remove { .. } => None,
        MemberStep::Replace { old, new } => Some(RolesChange::Replace { old: NodeId(old), new: NodeId(new).into() }),
    }
}

/// The register that a request is for, and its change; `None` to read it.
fn asked(what: &RegisterRequest) -> (Bytes, Option<Change>) {
    let register = |key: u8| Bytes::from(format!("r{key}"));
    match what {
        RegisterRequest::Read { key } => (register(*key), None),
        RegisterRequest::Write { key, value: 0 } => (register(*key), Some(Change::Delete)),
        RegisterRequest::Write { key, value } => (register(*key), Some(Change::Set(encode(*value)))),
        RegisterRequest::Cas { key, old, new } => {
            let expected = Expected::Value((*old != 0).then(|| encode(*old)));
            (register(*key), Some(Change::CompareAndSet { expected, value: Some(encode(*new)) }))
        }
        RegisterRequest::Txn { steps } => {
            let (list, appended) = steps.first().copied().expect("clients of single registers make one step");
            let append = |value: u64| Change::Apply {
                function: "append".to_owned(),
                argument: Bytes::copy_from_slice(&value.to_le_bytes()),
            };
            (Bytes::from(format!("l{list}")), appended.map(append))
        }
    }
}

/// Some values are long. Equal numbers have equal values, so that they can be compared.
fn encode(number: u64) -> Bytes {
    let mut value = number.to_le_bytes().to_vec();
    value.resize(if number.is_multiple_of(5) { VALUE_BYTES_MAX } else { 8 }, 0);
    value.into()
}

fn response(what: &RegisterRequest, found: &Found) -> Response {
    let Some(value) = &found.value else {
        let lists = if matches!(what, RegisterRequest::Txn { .. }) { vec![Vec::new()] } else { Vec::new() };
        return Response { value: 0, lists };
    };
    if !matches!(what, RegisterRequest::Txn { .. }) {
        let value = value.first_chunk().map_or(0, |number| u64::from_le_bytes(*number));
        return Response { value, lists: Vec::new() };
    }
    let mut rest = &value[..];
    let mut list = Vec::new();
    while let Ok(element) = rest.try_get_u64_le() {
        list.push(element);
    }
    Response { value: 0, lists: vec![list] }
}

/// The function that appends its argument to a list. It refuses what is no number.
fn append(list: Option<&Bytes>, element: &Bytes) -> Result<Option<Bytes>, Bytes> {
    if element.len() != 8 {
        return Err(Bytes::from_static(b"not a number"));
    }
    let mut longer = BytesMut::from(list.map_or(&[][..], |list| &list[..]));
    longer.put_slice(element);
    Ok(Some(longer.freeze()))
}

fn settings() -> Settings {
    Settings {
        key_bytes_max: 16,
        value_bytes_max: VALUE_BYTES_MAX,
        batch_bytes_max: 12_000,
        command_timeout: Duration::from_secs(1),
        retry_interval_max: Duration::from_secs(1),
        backoff_max: Duration::from_millis(500),
        cache_bytes_max: 20_000,
        remove_after: Duration::from_millis(300),
        commands_max: 16,
        held_messages_max: 64,
        ..Settings::default()
    }
}

/// The laws of the registers, and of the nodes.
#[derive(Default)]
struct RegisterLaws {
    laws: Option<Vec<Box<dyn Law<Register>>>>,
    movements: Movements,
}

impl ClusterLaws<Machine> for RegisterLaws {
    fn check(&mut self, nodes: &[NodeView<'_, Machine>]) -> Result<(), Violation> {
        if !self.movements.have_moved(nodes) {
            return Ok(());
        }
        check_nodes(nodes)?;
        let cores: Vec<_> = nodes.iter().filter_map(|view| Some((view.node, core_of(view)?))).collect();
        self.laws.get_or_insert_with(laws).iter_mut().try_for_each(|law| law.check(&cores))
    }

    fn at_end(&mut self, nodes: &[NodeView<'_, Machine>]) -> Result<(), Violation> {
        check_nodes(nodes)
    }
}

fn core_of<'a>(view: &NodeView<'a, Machine>) -> Option<&'a Register> {
    view.machine?.node().group::<Registers>(GROUP)?.core()
}

const CONFLICT: &str = "a register was not as expected";
const DELETED: &str = "a register was deleted";
const UNKNOWN: &str = "the outcome of a change was unknown";
const ROLES_CHANGED: &str = "the roles were changed";
const ROLES_UNDER_WAY: &str = "a change of the roles made no progress";
const ROLES_NOT_TRIED: &str = "a change of the roles was not tried";
const SETTLED: &str = "an unknown outcome was settled";
const GROUP: GroupId = GroupId(1);
const VALUE_BYTES_MAX: usize = 4_000;
