//! The application on a node: its groups, and the calls of clients.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use quorate_protocol::{GroupId, Instant, NodeId, Now, Random};
use quorate_runtime::group::{CallId, Group, MakeGroup, Notice, Reply};
use quorate_runtime::node::Node;
use quorate_transport::{ChannelId, Frame};

use super::{NodeFrame, NodeMachine};
use crate::schedule::{FaultKind, MemberStep};
use crate::world::{ClientAnswer, MachineOutput, MemberCall, NodeView, Observation, is_minority_lost};

/// The application that a [`NodeMachine`](super::NodeMachine) runs: its groups, and the handling of clients' calls.
///
/// It takes the place of the application's own code on a real node. A crash destroys it like everything else, except
/// the state in [`Desk::kept`].
pub trait Application: Sized {
    /// Settings that all nodes of a run share.
    type Setup;
    /// A client's call.
    type Call: Clone + Debug + Hash;
    /// The answer to a call that was done.
    type Answer: Clone + Debug;
    /// A reminder that it sets with [`Desk::later`].
    type Later;
    /// State that it keeps over a crash, durable as soon as it is changed.
    type Kept: Clone + Default + Debug;

    /// Events that a long enough campaign must reach.
    const EXPECTED: &'static [&'static str];

    /// True if it can experience faults of this kind. Only the messages of a replicated log carry entries whose bits
    /// may flip, and only some cores make requests of their application, which may be lost.
    fn bears(kind: FaultKind) -> bool {
        !matches!(kind, FaultKind::FlippedBits | FaultKind::LostRequests)
    }

    /// The groups of a node, equal on every node.
    fn groups(setup: &Self::Setup, nodes: u64) -> BTreeMap<GroupId, MakeGroup>;

    /// Makes the groups that are added to a running node, and opens them again at its later starts.
    fn others(setup: &Self::Setup) -> MakeOthers {
        let _ = setup;
        Arc::new(|_| None)
    }

    /// Starts the application on a node that was just opened.
    fn start(setup: &Self::Setup, desk: &mut Desk<'_, Self>) -> Self;

    /// Handles a client's call. [`Desk::answer`] answers it.
    fn call(&mut self, desk: &mut Desk<'_, Self>, call: u64, what: Self::Call);

    /// Handles a group's answer to a call that was made under an id of [`Desk::call_id`].
    fn reply(&mut self, desk: &mut Desk<'_, Self>, group: GroupId, id: CallId, reply: Reply);

    /// Handles a reminder of [`Desk::later`] that is due.
    fn later(&mut self, desk: &mut Desk<'_, Self>, what: Self::Later);

    /// Handles a notice that an operator would see in the log.
    fn notice(&mut self, desk: &mut Desk<'_, Self>, group: Option<GroupId>, notice: &Notice) {
        let _ = (desk, group, notice);
    }

    /// Handles an operator's request that another node lead.
    fn transfer(&mut self, desk: &mut Desk<'_, Self>, to: NodeId) {
        let _ = (desk, to);
    }

    /// Handles an operator's request to change the members of the first group.
    fn change_members(&mut self, desk: &mut Desk<'_, Self>, call: &MemberCall) {
        let _ = (desk, call);
    }

    /// See [`Machine::tolerates_loss`](crate::world::Machine::tolerates_loss).
    fn tolerates_loss(nodes: &[NodeView<'_, NodeMachine<Self>>], losing: NodeId) -> bool {
        is_minority_lost(nodes, losing)
    }

    /// See [`Machine::bears_change`](crate::world::Machine::bears_change).
    fn bears_change(nodes: &[NodeView<'_, NodeMachine<Self>>], leader: NodeId, steps: &[MemberStep]) -> bool {
        let _ = (nodes, leader, steps);
        true
    }

    /// See [`Machine::is_replaced`](crate::world::Machine::is_replaced).
    fn is_replaced(nodes: &[NodeView<'_, NodeMachine<Self>>], lost: &NodeView<'_, NodeMachine<Self>>) -> bool {
        let _ = (nodes, lost);
        false
    }

    /// The state that is visible from outside.
    fn observe(&self, node: &Node) -> Observation;

    /// Describes a frame, for traces.
    fn describe(frame: &Frame) -> String {
        describe_channel(frame)
    }
}

/// Makes a group that the application does not start with; `None` if there is no such group.
pub type MakeOthers = Arc<dyn Fn(GroupId) -> Option<MakeGroup> + Send + Sync>;

/// Describes a frame without its content.
#[must_use]
pub fn describe_channel(frame: &Frame) -> String {
    let whose = match frame.channel() {
        ChannelId::NODE => "node",
        ChannelId::SNAPSHOTS => "snapshot",
        ChannelId::REPLICA => "replica",
        ChannelId::RPC => "rpc",
        _ => "core",
    };
    format!("{whose}, {} bytes", frame.body_bytes())
}

/// The outputs of a machine that runs `A`.
pub(super) type Outputs<A> = VecDeque<MachineOutput<NodeFrame, <A as Application>::Answer>>;

/// An [`Application`]'s access to its node, to clients and to reminders.
pub struct Desk<'a, A: Application> {
    pub(super) now: Now,
    pub(super) node: &'a mut Node,
    pub(super) kept: &'a mut A::Kept,
    pub(super) drawers: &'a mut Drawers<A>,
}

/// The state that a desk keeps between two inputs.
pub(super) struct Drawers<A: Application> {
    pub(super) outputs: Outputs<A>,
    pub(super) random: Random,
    /// Reminders by time and order.
    pub(super) put_off: BTreeMap<(Instant, u64), A::Later>,
    last_id: u64,
    /// True while requests of cores are lost.
    pub(super) loses_requests: bool,
}

impl<A: Application> Drawers<A> {
    pub(super) fn new(seed: u64, loses_requests: bool) -> Self {
        let (outputs, put_off) = (VecDeque::new(), BTreeMap::new());
        Self { outputs, random: Random::new(seed), put_off, last_id: 0, loses_requests }
    }

    /// A number that was not used since the node started, for calls of groups and for pending work of the machine.
    pub(super) fn number(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }
}

impl<A: Application> Desk<'_, A> {
    /// The node's clocks.
    #[must_use]
    pub fn now(&self) -> Now {
        self.now
    }

    /// The node that the application runs on.
    #[must_use]
    pub fn node(&self) -> &Node {
        self.node
    }

    /// The state that outlives a crash.
    pub fn kept(&mut self) -> &mut A::Kept {
        self.kept
    }

    /// Random numbers from the run's seed.
    pub fn random(&mut self) -> &mut Random {
        &mut self.drawers.random
    }

    /// A new id for a call of a group.
    pub fn call_id(&mut self) -> CallId {
        CallId(self.drawers.number())
    }

    /// Runs `f` on a group of type `G`. Returns `None` if there is no such group, or it has panicked.
    pub fn enter<G: Group, R>(&mut self, group: GroupId, f: impl FnOnce(&mut G, Now) -> R) -> Option<R> {
        let now = self.now;
        self.node.enter(now, group, |group| group.as_part_mut::<G>().map(|group| f(group, now))).flatten()
    }

    /// Answers a client.
    pub fn answer(&mut self, call: u64, answer: ClientAnswer<A::Answer>) {
        self.drawers.outputs.push_back(MachineOutput::Answer { call, answer });
    }

    /// Calls [`Application::later`] after this time, unless the node stops before.
    pub fn later(&mut self, after: Duration, what: A::Later) {
        let number = self.drawers.number();
        self.drawers.put_off.insert((self.now.instant.after(after), number), what);
    }

    /// Notes an event that a campaign must reach.
    pub fn sometimes(&mut self, what: &'static str) {
        self.drawers.outputs.push_back(MachineOutput::Sometimes(what));
    }

    /// True while requests of cores are lost.
    #[must_use]
    pub fn loses_requests(&self) -> bool {
        self.drawers.loses_requests
    }

    /// Stops the node, which is then started again.
    pub fn halt(&mut self, reason: String) {
        self.drawers.outputs.push_back(MachineOutput::Halt { reason });
    }
}
