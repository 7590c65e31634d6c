//! What runs on the nodes, beside the nodes themselves: the groups, and what clients want of them.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;
use std::hash::Hash;
use std::time::Duration;

use quorate_protocol::{GroupId, Instant, NodeId, Now, Random};
use quorate_runtime::{CallId, Group, MakeGroup, Node, Notice, Reply};
use quorate_transport::{ChannelId, Frame};

use super::NodeMessage;
use crate::schedule::FaultKind;
use crate::world::{Answer, MachineOutput, Observation};

/// What a [`NodeMachine`](super::NodeMachine) runs: which groups there are, and what becomes of a client's call.
///
/// It stands where the application's own code stands on a real node, and a crash takes it like everything else. What it
/// must keep over a crash it keeps in [`Desk::kept`].
pub trait Application: Sized {
    /// What is equal for all nodes of a run.
    type Setup;
    /// What a client asks.
    type Call: Clone + Debug + Hash;
    /// What a client is told when what it asked is done.
    type Answer: Clone + Debug;
    /// What it reminds itself of with [`Desk::later`].
    type Later;
    /// What it keeps over a crash, durable as soon as it is changed.
    type Kept: Clone + Default + Debug;

    /// What a long enough campaign must reach.
    const EXPECTED: &'static [&'static str];

    /// Whether it can meet faults of this kind. Only the messages of a replicated log carry entries, whose bits may flip; only some
    /// cores ask their application for work, which may be lost.
    fn bears(kind: FaultKind) -> bool {
        !matches!(kind, FaultKind::FlippedBits | FaultKind::LostRequests)
    }

    /// The groups of a node, the same on every node.
    fn groups(setup: &Self::Setup, nodes: u64) -> BTreeMap<GroupId, MakeGroup>;

    /// Starts on a node that was just opened.
    fn start(setup: &Self::Setup, desk: &mut Desk<'_, Self>) -> Self;

    /// A client calls. It is answered with [`Desk::answer`].
    fn call(&mut self, desk: &mut Desk<'_, Self>, call: u64, what: Self::Call);

    /// A group answers a call that was made under an id of [`Desk::call_id`].
    fn reply(&mut self, desk: &mut Desk<'_, Self>, group: GroupId, id: CallId, reply: Reply);

    /// What was put off with [`Desk::later`] is due.
    fn later(&mut self, desk: &mut Desk<'_, Self>, what: Self::Later);

    /// An operator would see this in the log.
    fn notice(&mut self, desk: &mut Desk<'_, Self>, group: Option<GroupId>, notice: &Notice) {
        let _ = (desk, group, notice);
    }

    /// An operator asks that another node lead.
    fn transfer(&mut self, desk: &mut Desk<'_, Self>, to: NodeId) {
        let _ = (desk, to);
    }

    /// What is to be seen from outside.
    fn observe(&self, node: &Node) -> Observation;

    /// A frame in words, for traces.
    fn describe(frame: &Frame) -> String {
        describe_channel(frame)
    }
}

/// A frame in words, without what it says.
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
pub(super) type Outputs<A> = VecDeque<MachineOutput<NodeMessage<A>, <A as Application>::Answer>>;

/// Where an [`Application`] sits: the node that it runs on, and ways to clients and to itself.
pub struct Desk<'a, A: Application> {
    pub(super) now: Now,
    pub(super) node: &'a mut Node,
    pub(super) kept: &'a mut A::Kept,
    pub(super) drawers: &'a mut Drawers<A>,
}

/// What a desk holds between two inputs.
pub(super) struct Drawers<A: Application> {
    pub(super) outputs: Outputs<A>,
    pub(super) random: Random,
    /// What is put off, by when and in which order.
    pub(super) put_off: BTreeMap<(Instant, u64), A::Later>,
    last_id: u64,
    /// What cores ask of the application is lost.
    pub(super) loses_requests: bool,
}

impl<A: Application> Drawers<A> {
    pub(super) fn new(seed: u64, loses_requests: bool) -> Self {
        let (outputs, put_off) = (VecDeque::new(), BTreeMap::new());
        Self { outputs, random: Random::new(seed), put_off, last_id: 0, loses_requests }
    }

    /// A number that was not used since the node started: for calls of groups, and for work that the machine waits for.
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

    /// The node.
    #[must_use]
    pub fn node(&self) -> &Node {
        self.node
    }

    /// What outlives a crash.
    pub fn kept(&mut self) -> &mut A::Kept {
        self.kept
    }

    /// Chance, drawn from the run's seed.
    pub fn random(&mut self) -> &mut Random {
        &mut self.drawers.random
    }

    /// An id for a call of a group.
    pub fn call_id(&mut self) -> CallId {
        CallId(self.drawers.number())
    }

    /// Runs `f` on a group of type `G`. Nothing when there is none, or it has panicked.
    pub fn enter<G: Group, R>(&mut self, group: GroupId, f: impl FnOnce(&mut G, Now) -> R) -> Option<R> {
        let now = self.now;
        let entered = self.node.enter(now, group, |group| {
            let group: &mut dyn Any = group;
            group.downcast_mut::<G>().map(|group| f(group, now))
        });
        entered.flatten()
    }

    /// Answers a client.
    pub fn answer(&mut self, call: u64, answer: Answer<A::Answer>) {
        self.drawers.outputs.push_back(MachineOutput::Answer { call, answer });
    }

    /// Has [`Application::later`] called after this time, unless the node stops before.
    pub fn later(&mut self, after: Duration, what: A::Later) {
        let number = self.drawers.number();
        self.drawers.put_off.insert((self.now.instant.after(after), number), what);
    }

    /// Something happened that a campaign ought to reach.
    pub fn sometimes(&mut self, what: &'static str) {
        self.drawers.outputs.push_back(MachineOutput::Sometimes(what));
    }

    /// Whether what cores ask of the application is lost at present.
    #[must_use]
    pub fn loses_requests(&self) -> bool {
        self.drawers.loses_requests
    }

    /// The node stops, and is started again.
    pub fn halt(&mut self, reason: String) {
        self.drawers.outputs.push_back(MachineOutput::Halt { reason });
    }
}
