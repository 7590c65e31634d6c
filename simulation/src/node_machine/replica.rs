//! Clients of a replicated state machine, as an application on a node.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::{Debug, Display};
use std::hash::Hash;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate_protocol::{GroupId, LogIndex, LogStatus, NodeId, Protocol, Random, ReplicatedLog, Role, VotingBar};
use quorate_runtime::group::{CallId, Hostable, MakeGroup, Notice, Reply};
use quorate_runtime::node::Node;
use quorate_runtime::replica::{ProposeOptions, Replica, Seat};
use quorate_runtime::{Delivery, GroupStart, NotApplied, Outcome, ReplicaSettings, Retry, StateMachine};
use quorate_transport::{ChannelId, Frame, codec};

use super::application::describe_channel;
use super::member_laws::reached_of_members::{LEARNER_INSTALLED, REMOVED_TOLD};
use super::{Application, Desk, MakeOthers, NodeMachine, NodeSetup, losses, members, small_log};
use crate::schedule::{FaultKind, MemberStep, Schedule};
use crate::world::{ClientAnswer, MemberCall, NodeView, Observation, is_minority_lost, reached};

/// A state machine on a replicated log, and the calls of its clients.
pub trait Service: 'static {
    /// The log.
    type Log: ReplicatedLog<Message: Debug> + Hostable;
    /// The state machine.
    type State: StateMachine;
    /// A client's call.
    type Call: Clone + Debug + Hash;
    /// The answer to a call that was done.
    type Answer: Clone + Debug;

    /// Converts a call into a request to a replica.
    fn ask(call: &Self::Call) -> Ask;

    /// Converts the state machine's response to a command into the client's answer.
    fn response(call: &Self::Call, response: Bytes) -> ClientAnswer<Self::Answer>;

    /// A command for the groups that come and go beside the first one, if there are such groups.
    fn write_beside(random: &mut Random) -> Option<Bytes> {
        let _ = random;
        None
    }

    /// Answers a client from the state that its read found.
    fn read(call: &Self::Call, state: &Self::State) -> ClientAnswer<Self::Answer>;
}

/// A request to a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Propose this command.
    Propose(Bytes),
    /// Make a linearizable read.
    Read,
}

/// Makes a node's configuration of the log.
pub type MakeConfig<L> = Arc<dyn Fn(&GroupStart) -> <L as Protocol>::Config + Send + Sync>;

/// Settings that all nodes that replicate a [`Service`] share.
pub struct ReplicaSetup<V: Service> {
    /// A node's configuration of the log.
    pub config: MakeConfig<V::Log>,
    /// Bounds and times of the replicas.
    pub settings: ReplicaSettings,
    /// Makes the initial state of the state machine.
    pub state: fn() -> V::State,
    /// Percentage of commands that are proposed in a session, and tried again when their outcome is unknown.
    pub session_percent: u64,
    /// Time without a command after which a session ends.
    pub session_timeout: Duration,
    /// Percentage of commands outside the session that are simply proposed again when their outcome is unknown, as
    /// careless clients do. These may be applied twice.
    pub careless_percent: u64,
    /// Commands of the session are tried again after up to this number times 200 ms.
    pub retry_slowness: u32,
}

/// One replica of a [`Service`], and the clients that call its node.
///
/// A command of unknown outcome is tried again a few times in its session; for the client it stays one call. Commands
/// outside the session are proposed once.
pub struct Replicated<V: Service> {
    asked: BTreeMap<CallId, Asked<V::Call>>,
    session: Session,
    session_percent: u64,
    session_timeout: Duration,
    careless_percent: u64,
    retry_slowness: u32,
    leads: (bool, u64),
    /// The outcomes of changes of members that the operator was told, with the attempts.
    changes: Vec<(u64, ChangeOutcome)>,
    /// The digest of the state at this applied index, so that it is not computed again at every check.
    digest: Cell<(LogIndex, u64)>,
    service: PhantomData<fn(V)>,
}

/// A pending request to a replica.
enum Asked<C> {
    Session,
    Command(Command<C>),
    Read {
        call: u64,
        what: C,
    },
    Transfer,
    /// The attempt with this number to change the members.
    Change(u64),
}

/// The outcome of a change of members, as the operator was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChangeOutcome {
    Applied,
    NotApplied,
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Session {
    None,
    Opening,
    Open,
}

/// A client's command.
#[derive(Clone)]
struct Command<C> {
    call: u64,
    what: C,
    bytes: Bytes,
    /// Number of times that it was tried again.
    retries: u32,
}

/// A reminder of a replica's application.
pub struct Later<C>(Put<C>);

enum Put<C> {
    OpenSession,
    Again(Command<C>, Retry),
    /// Write something in a group beside the first one.
    WriteBeside(GroupId),
}

impl<V: Service> NodeSetup<Replicated<V>> {
    /// Settings for nodes that replicate a service under `schedule`, with small sizes and short times drawn from its
    /// seed: events that are rare on a large log are frequent on a small one.
    #[must_use]
    pub fn replicated(schedule: &Schedule, config: MakeConfig<V::Log>, state: fn() -> V::State) -> Self {
        let mut random = Random::new(schedule.seed ^ 0x0072_6570_6c69_6361);
        let settings = ReplicaSettings {
            snapshot_entries: schedule.snapshot_every,
            keep_entries: random.between(0, 50),
            retry: Duration::from_millis(random.between(50, 500)),
            chunk_bytes: 256,
            window_bytes: 1024,
            transfer_retry: Duration::from_millis(random.between(50, 300)),
            transfer_timeout: Duration::from_secs(2),
            catch_up_entries: 100,
            ..ReplicaSettings::default()
        };
        // In every second run sessions end early, and clients try again so late that their session may have ended.
        let is_hasty = !schedule.seed.is_multiple_of(2);
        let application = ReplicaSetup {
            config,
            settings,
            state,
            session_percent: [0, 50, 90][usize::try_from(random.between(0, 3)).expect("small")],
            session_timeout: Duration::from_millis(random.between(200, 20_000)) / if is_hasty { 14 } else { 1 },
            careless_percent: 0,
            retry_slowness: if is_hasty { 10 } else { 1 },
        };
        let log = small_log(&mut random);
        let Schedule { nodes, joining, seed, .. } = *schedule;
        Self { nodes, joining, seed, log, tail_bytes_max: 2_000, application }
    }
}

impl<V: Service> Replicated<V> {
    pub(super) fn changes(&self) -> &[(u64, ChangeOutcome)] {
        &self.changes
    }

    fn on_replica(desk: &mut Desk<'_, Self>, f: impl FnOnce(&mut Replica<V::Log, V::State>, quorate_protocol::Now)) {
        // If a group has panicked, the node has halted already.
        let _ = desk.enter(REPLICA_GROUP, f);
    }

    fn open_session(&mut self, desk: &mut Desk<'_, Self>) {
        if self.session != Session::None || self.session_percent == 0 {
            return;
        }
        self.session = Session::Opening;
        let id = desk.call_id();
        self.asked.insert(id, Asked::Session);
        let timeout = self.session_timeout;
        Self::on_replica(desk, |replica, now| {
            replica.open_session(now, id, timeout, now.instant.after(SESSION_WITHIN));
        });
    }

    fn propose(&mut self, desk: &mut Desk<'_, Self>, command: Command<V::Call>, delivery: Delivery) {
        let id = desk.call_id();
        let bytes = command.bytes.clone();
        self.asked.insert(id, Asked::Command(command));
        let within = Duration::from_millis(desk.random().between(150, 900));
        Self::on_replica(desk, |replica, now| {
            let deadline = now.instant.after(within);
            replica.propose(now, id, bytes, ProposeOptions { deadline, delivery });
        });
    }

    fn on_session(&mut self, desk: &mut Desk<'_, Self>, outcome: &Outcome) {
        self.session = if matches!(outcome, Outcome::Applied(_)) { Session::Open } else { Session::None };
        if self.session == Session::None {
            let after = Duration::from_millis(desk.random().between(50, 500));
            desk.later(after, Later(Put::OpenSession));
        }
    }

    fn on_outcome(&mut self, desk: &mut Desk<'_, Self>, command: Command<V::Call>, outcome: Outcome) {
        let call = command.call;
        match outcome {
            Outcome::Applied(response) => {
                if command.retries > 0 {
                    desk.sometimes(RETRY_APPLIED);
                }
                desk.answer(call, V::response(&command.what, response));
            }
            Outcome::NotApplied(reason) => {
                if matches!(reason, NotApplied::SessionExpired | NotApplied::NoSession) {
                    desk.sometimes(SESSION_EXPIRED);
                    self.session = Session::None;
                    self.open_session(desk);
                }
                if reason == NotApplied::Superseded {
                    desk.sometimes("an appended proposal was overwritten");
                }
                desk.answer(call, ClientAnswer::NotDone);
            }
            Outcome::Unknown { retry: Some(retry), .. } if command.retries < RETRIES_MAX => {
                let after = Duration::from_millis(desk.random().between(1, 200)) * self.retry_slowness;
                let again = Command { retries: command.retries + 1, ..command };
                desk.later(after, Later(Put::Again(again, retry)));
            }
            Outcome::Unknown { .. }
                if command.retries < RETRIES_MAX && desk.random().between(0, 100) < self.careless_percent =>
            {
                let again = Command { retries: command.retries + 1, ..command };
                self.propose(desk, again, Delivery::AtMostOnce);
            }
            Outcome::Unknown { .. } => desk.answer(call, ClientAnswer::Unknown),
        }
    }
}

impl<V: Service> Application for Replicated<V> {
    type Setup = ReplicaSetup<V>;
    type Call = V::Call;
    type Answer = V::Answer;
    type Later = Later<V::Call>;
    type Kept = ();

    const EXPECTED: &'static [&'static str] = &[
        reached::LEADER_ELECTED,
        reached::SNAPSHOT_INSTALLED,
        SNAPSHOT_BUILT,
        FORWARDED,
        READ_AT_FOLLOWER,
        RETRY_APPLIED,
        SESSION_EXPIRED,
        TRANSFERRED,
    ];

    fn bears(kind: FaultKind) -> bool {
        kind != FaultKind::LostRequests
    }

    fn groups(setup: &ReplicaSetup<V>, _nodes: u64) -> BTreeMap<GroupId, MakeGroup> {
        BTreeMap::from([(REPLICA_GROUP, make::<V>(setup.config.clone(), setup.settings.clone(), setup.state))])
    }

    fn others(setup: &ReplicaSetup<V>) -> MakeOthers {
        let (config, settings, state) = (setup.config.clone(), setup.settings.clone(), setup.state);
        Arc::new(move |_| Some(make::<V>(config.clone(), settings.clone(), state)))
    }

    fn start(setup: &ReplicaSetup<V>, desk: &mut Desk<'_, Self>) -> Self {
        let mut replicated = Self {
            asked: BTreeMap::new(),
            session: Session::None,
            session_percent: setup.session_percent,
            session_timeout: setup.session_timeout,
            careless_percent: setup.careless_percent,
            retry_slowness: setup.retry_slowness,
            leads: (false, 0),
            changes: Vec::new(),
            digest: Cell::new((LogIndex(u64::MAX), 0)),
            service: PhantomData,
        };
        replicated.open_session(desk);
        let others: Vec<GroupId> =
            desk.node().groups().map(|(group, _)| group).filter(|group| *group != REPLICA_GROUP).collect();
        for group in others {
            write_beside_later(desk, group);
        }
        replicated
    }

    fn call(&mut self, desk: &mut Desk<'_, Self>, call: u64, what: V::Call) {
        match V::ask(&what) {
            Ask::Propose(bytes) => {
                if !self.leads.0 {
                    desk.sometimes(FORWARDED);
                }
                let percent = self.session_percent;
                let is_in_session = self.session == Session::Open && desk.random().between(0, 100) < percent;
                let delivery = if is_in_session { Delivery::ExactlyOnce } else { Delivery::AtMostOnce };
                self.propose(desk, Command { call, what, bytes, retries: 0 }, delivery);
            }
            Ask::Read => {
                let id = desk.call_id();
                self.asked.insert(id, Asked::Read { call, what });
                Self::on_replica(desk, |replica, now| replica.read(now, id, now.instant.after(READ_WITHIN)));
            }
        }
    }

    fn reply(&mut self, desk: &mut Desk<'_, Self>, _group: GroupId, id: CallId, reply: Reply) {
        let Some(asked) = self.asked.remove(&id) else { return };
        match (asked, reply) {
            (Asked::Session, Reply::Outcome(outcome)) => self.on_session(desk, &outcome),
            (Asked::Command(command), Reply::Outcome(outcome)) => self.on_outcome(desk, command, outcome),
            (Asked::Read { call, what }, Reply::ReadReady) => {
                if !self.leads.0 {
                    desk.sometimes(READ_AT_FOLLOWER);
                }
                let read = desk.node().group::<Replica<V::Log, V::State>>(REPLICA_GROUP);
                let answer = read.map_or(ClientAnswer::Unknown, |replica| V::read(&what, replica.state()));
                desk.answer(call, answer);
            }
            (Asked::Read { call, .. }, _) => desk.answer(call, ClientAnswer::NotDone),
            (Asked::Command(Command { call, .. }), _) => desk.answer(call, ClientAnswer::Unknown),
            (Asked::Transfer, Reply::Transfer(Ok(()))) => desk.sometimes(TRANSFERRED),
            (Asked::Change(attempt), reply) => self.changes.push((attempt, outcome_of(&reply))),
            (Asked::Transfer | Asked::Session, _) => {}
        }
    }

    fn later(&mut self, desk: &mut Desk<'_, Self>, Later(put): Later<V::Call>) {
        match put {
            Put::OpenSession => self.open_session(desk),
            Put::Again(command, retry) => {
                desk.sometimes("a proposal was tried again in its session");
                self.propose(desk, command, Delivery::Again(retry));
            }
            Put::WriteBeside(group) => write_beside::<V>(desk, group),
        }
    }

    fn notice(&mut self, desk: &mut Desk<'_, Self>, group: Option<GroupId>, notice: &Notice) {
        if let Some(group) = group.filter(|group| *group != REPLICA_GROUP) {
            if *notice == Notice::Added {
                write_beside_later(desk, group);
            }
            return;
        }
        match notice {
            Notice::Role { role, term, .. } => {
                let leads = *role == Role::Leader;
                if leads && !self.leads.0 {
                    desk.sometimes(reached::LEADER_ELECTED);
                }
                self.leads = (leads, term.0);
            }
            Notice::SnapshotBuilt { .. } => desk.sometimes(SNAPSHOT_BUILT),
            Notice::SnapshotSending { .. } => desk.sometimes("a snapshot was sent"),
            Notice::SnapshotInstalled { .. } => {
                desk.sometimes(reached::SNAPSHOT_INSTALLED);
                if status_of::<V>(desk).is_some_and(|status| learns(&status)) {
                    desk.sometimes(LEARNER_INSTALLED);
                }
            }
            Notice::Voting { barred: Some(VotingBar::Removed) } => desk.sometimes(REMOVED_TOLD),
            Notice::SnapshotFailed { .. } => desk.sometimes("a snapshot failed"),
            Notice::ClockDiffers { .. } => desk.sometimes("a jump of the wall clock was not followed"),
            _ => {}
        }
    }

    fn transfer(&mut self, desk: &mut Desk<'_, Self>, to: NodeId) {
        let id = desk.call_id();
        self.asked.insert(id, Asked::Transfer);
        Self::on_replica(desk, |replica, now| replica.transfer(now, id, Some(to), now.instant.after(TRANSFER_WITHIN)));
    }

    fn change_members(&mut self, desk: &mut Desk<'_, Self>, call: &MemberCall) {
        let Some(status) = status_of::<V>(desk) else { return };
        if members::marks(&status.configuration).any(|mark| mark.change == call.change) {
            return;
        }
        let changes = members::changes(call, &status.configuration);
        let id = desk.call_id();
        self.asked.insert(id, Asked::Change(call.attempt));
        let within = Duration::from_millis(desk.random().between(200, 3_000));
        Self::on_replica(desk, |replica, now| replica.change_membership(now, id, changes, now.instant.after(within)));
    }

    fn tolerates_loss(nodes: &[NodeView<'_, NodeMachine<Self>>], losing: NodeId) -> bool {
        let is_fixed = nodes.iter().all(|view| !view.disk.do_members_change);
        if is_fixed { is_minority_lost(nodes, losing) } else { losses::tolerates(nodes, losing) }
    }

    fn bears_change(nodes: &[NodeView<'_, NodeMachine<Self>>], leader: NodeId, steps: &[MemberStep]) -> bool {
        losses::bears_change(nodes, leader, steps)
    }

    fn is_replaced(nodes: &[NodeView<'_, NodeMachine<Self>>], lost: &NodeView<'_, NodeMachine<Self>>) -> bool {
        lost.disk.do_members_change && losses::is_replaced(nodes, lost)
    }

    fn observe(&self, node: &Node) -> Observation {
        let Some(replica) = node.group::<Replica<V::Log, V::State>>(REPLICA_GROUP) else {
            return Observation::default();
        };
        let applied = replica.read_context().index;
        if self.digest.get().0 != applied {
            self.digest.set((applied, replica.state().digest()));
        }
        Observation {
            term: self.leads.1,
            is_leader: self.leads.0,
            committed: replica.committed().0,
            applied: applied.0,
            digest: self.digest.get().1,
        }
    }

    fn describe(frame: &Frame) -> String {
        if frame.channel() != ChannelId::FIRST_CORE {
            return describe_channel(frame);
        }
        let message = codec::decode::<<V::Log as Protocol>::Message>(frame.clone());
        message.map_or_else(|error| error_words(&error), |message| format!("{message:?}"))
    }
}

fn status_of<V: Service>(desk: &Desk<'_, Replicated<V>>) -> Option<LogStatus> {
    desk.node().group::<Replica<V::Log, V::State>>(REPLICA_GROUP).map(|replica| replica.core().status())
}

fn learns(status: &LogStatus) -> bool {
    status.configuration.contains(status.node) && !status.configuration.is_voter(status.node)
}

fn outcome_of(reply: &Reply) -> ChangeOutcome {
    match reply {
        Reply::Outcome(Outcome::Applied(_)) => ChangeOutcome::Applied,
        Reply::Outcome(Outcome::NotApplied(_)) => ChangeOutcome::NotApplied,
        _ => ChangeOutcome::Unknown,
    }
}

/// The replica of a group on a node.
pub(super) fn replica_of<V: Service>(
    machine: &NodeMachine<Replicated<V>>,
    group: GroupId,
) -> Option<&Replica<V::Log, V::State>> {
    machine.node().group(group)
}

/// Makes a replica.
fn make<V: Service>(config: MakeConfig<V::Log>, settings: ReplicaSettings, state: fn() -> V::State) -> MakeGroup {
    Box::new(move |start| {
        let seat = Seat { group: start.group, node: start.identity.node, session: start.session };
        let config = config(&start);
        let replica = Replica::<V::Log, V::State>::recover(start.now, seat, settings, config, start.recovery, state())?;
        Ok(Box::new(replica))
    })
}

/// Writes something in a group beside the first one, again and again until the group is gone. The outcome is nobody's
/// business.
fn write_beside<V: Service>(desk: &mut Desk<'_, Replicated<V>>, group: GroupId) {
    let Some(command) = V::write_beside(desk.random()) else { return };
    let id = desk.call_id();
    let proposed = desk.enter(group, |replica: &mut Replica<V::Log, V::State>, now| {
        let options = ProposeOptions { deadline: now.instant.after(READ_WITHIN), delivery: Delivery::AtMostOnce };
        replica.propose(now, id, command, options);
    });
    if proposed.is_some() {
        write_beside_later(desk, group);
    }
}

fn write_beside_later<V: Service>(desk: &mut Desk<'_, Replicated<V>>, group: GroupId) {
    let after = Duration::from_millis(desk.random().between(20, 400));
    desk.later(after, Later(Put::WriteBeside(group)));
}

fn error_words(error: &impl Display) -> String {
    format!("unreadable: {error}")
}

/// The only group of nodes that replicate a service.
pub const REPLICA_GROUP: GroupId = GroupId(1);
const SNAPSHOT_BUILT: &str = "a snapshot was built";
const FORWARDED: &str = "a proposal was forwarded";
const READ_AT_FOLLOWER: &str = "a read was answered by a follower";
const RETRY_APPLIED: &str = "a retry in a session brought the outcome";
const SESSION_EXPIRED: &str = "a session expired";
const TRANSFERRED: &str = "leadership was handed over";
const RETRIES_MAX: u32 = 4;
const SESSION_WITHIN: Duration = Duration::from_millis(800);
const READ_WITHIN: Duration = Duration::from_millis(1_500);
const TRANSFER_WITHIN: Duration = Duration::from_millis(500);
