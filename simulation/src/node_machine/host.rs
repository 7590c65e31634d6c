//! A core hosted on the nodes, with an application around it that sends it commands, receives its events and answers
//! its requests.

use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::hash::Hash;
use std::time::Duration;

use quorate_protocol::{GroupId, Law, NodeId, Now, Protocol, Random, Ticket, Violation};
use quorate_runtime::GroupStart;
use quorate_runtime::group::{CallId, Hostable, MakeGroup, Reply};
use quorate_runtime::hosted::{Hosted, Told};
use quorate_runtime::node::Node;
use quorate_transport::{ChannelId, Frame, codec};

use super::application::describe_channel;
use super::{Application, Desk, NodeMachine, NodeSetup, check_nodes, small_log};
use crate::schedule::{FaultKind, Schedule};
use crate::world::{ClientAnswer, ClusterLaws, Movements, NodeView, Observation};

/// A core that a node hosts, and the application around it.
///
/// A crash destroys the guest, except the state in [`GuestDesk::kept`].
pub trait Guest: Sized + 'static {
    /// The core.
    type Core: Protocol<Message: Debug> + Hostable;
    /// Settings that all nodes of a run share.
    type Setup: Clone + Send + 'static;
    /// A client's call.
    type Call: Clone + Debug + Hash;
    /// The answer to a call that was done.
    type Answer: Clone + Debug;
    /// State that it keeps over a crash, durable as soon as it is changed.
    type Kept: Clone + Default + Debug;

    /// Events that a long enough campaign must reach.
    const EXPECTED: &'static [&'static str];

    /// Makes the core's configuration on a node.
    fn config(setup: &Self::Setup, start: &GroupStart) -> <Self::Core as Protocol>::Config;

    /// Starts the guest on a node that was just opened.
    fn start(setup: &Self::Setup, desk: &mut GuestDesk<'_, '_, Self>) -> Self;

    /// Handles a client's call: commands the core, and answers now or later.
    fn call(&mut self, desk: &mut GuestDesk<'_, '_, Self>, call: u64, what: Self::Call);

    /// Handles an event of the core.
    fn event(&mut self, desk: &mut GuestDesk<'_, '_, Self>, event: <Self::Core as Protocol>::Event);

    /// Carries out a request of the core and returns the answer; `None` leaves it without an answer.
    ///
    /// Requests are carried out at once or after a while, in any order. Their answers take a while too, or are lost.
    fn request(
        &mut self,
        desk: &mut GuestDesk<'_, '_, Self>,
        request: <Self::Core as Protocol>::Request,
    ) -> Option<<Self::Core as Protocol>::Answer>;

    /// The state of the core that is visible from outside.
    fn observe(&self, core: &Self::Core) -> Observation;
}

/// Settings that all nodes with a [`Guest`] share.
#[derive(Clone, Debug)]
pub struct HostSetup<G: Guest> {
    /// Settings of the guest.
    pub guest: G::Setup,
    /// Longest time in which a request is carried out and answered. A few take ten times as long.
    pub within: Duration,
    /// Percentage of answers to requests that are lost.
    pub lost_percent: u64,
}

/// A [`Guest`] on a node, as an [`Application`].
pub struct Host<G: Guest> {
    guest: G,
    within: Duration,
    lost_percent: u64,
}

/// A reminder of a host.
pub struct Due<G: Guest>(Put<G::Core>);

enum Put<P: Protocol> {
    Do(Ticket, P::Request),
    Complete(Ticket, P::Answer),
}

/// A [`Guest`]'s access to its node.
pub struct GuestDesk<'a, 'b, G: Guest> {
    desk: &'a mut Desk<'b, Host<G>>,
}

impl<G: Guest> GuestDesk<'_, '_, G> {
    /// The node's clocks.
    #[must_use]
    pub fn now(&self) -> Now {
        self.desk.now()
    }

    /// Id of the node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.desk.node().identity().node
    }

    /// The node that the core runs on.
    #[must_use]
    pub fn whole_node(&self) -> &Node {
        self.desk.node()
    }

    /// The state that outlives a crash.
    pub fn kept(&mut self) -> &mut G::Kept {
        self.desk.kept()
    }

    /// Random numbers from the run's seed.
    pub fn random(&mut self) -> &mut Random {
        self.desk.random()
    }

    /// A number that was not given out since the node started.
    pub fn number(&mut self) -> u64 {
        self.desk.call_id().0
    }

    /// Gives the core a command.
    pub fn command(&mut self, command: <G::Core as Protocol>::Command) {
        // If a group has panicked, the node has halted already.
        let _ = self.desk.enter(GROUP, |hosted: &mut Hosted<G::Core>, now| hosted.command(now, command));
    }

    /// The core, if it has not panicked.
    pub fn core(&self) -> Option<&G::Core> {
        self.desk.node().group::<Hosted<G::Core>>(GROUP).and_then(Hosted::core)
    }

    /// Answers a client.
    pub fn answer(&mut self, call: u64, answer: ClientAnswer<G::Answer>) {
        self.desk.answer(call, answer);
    }

    /// Notes an event that a campaign must reach.
    pub fn sometimes(&mut self, what: &'static str) {
        self.desk.sometimes(what);
    }
}

impl<G: Guest> NodeSetup<Host<G>> {
    /// Settings for nodes that host a guest under `schedule`, with a small log whose sizes are drawn from its seed.
    /// Requests take up to 20 ms.
    #[must_use]
    pub fn hosted(schedule: &Schedule, guest: G::Setup) -> Self {
        let mut random = Random::new(schedule.seed ^ 0x686f_7374);
        let log = small_log(&mut random);
        let application = HostSetup { guest, within: Duration::from_millis(20), lost_percent: 0 };
        let Schedule { nodes, joining, seed, .. } = *schedule;
        Self { nodes, joining, seed, log, tail_bytes_max: 2_000, application }
    }
}

impl<G: Guest> NodeMachine<Host<G>> {
    /// The core.
    #[must_use]
    pub fn core(&self) -> Option<&G::Core> {
        self.node().group::<Hosted<G::Core>>(GROUP).and_then(Hosted::core)
    }

    /// The guest.
    #[must_use]
    pub fn guest(&self) -> &G {
        &self.application().guest
    }
}

impl<G: Guest> Host<G> {
    fn listen(desk: &mut Desk<'_, Self>) {
        let id = desk.call_id();
        let _ = desk.enter(GROUP, |hosted: &mut Hosted<G::Core>, _| hosted.listen(id));
    }

    /// A random time within which something is done.
    fn while_us(&self, desk: &mut Desk<'_, Self>) -> Duration {
        let most = u64::try_from(self.within.as_micros()).unwrap_or(u64::MAX).max(1);
        let times = if desk.random().between(0, 20) == 0 { 10 } else { 1 };
        Duration::from_micros(desk.random().between(0, most * times))
    }

    fn perform(&mut self, desk: &mut Desk<'_, Self>, request: <G::Core as Protocol>::Request) -> Option<AnswerOf<G>> {
        let answer = self.guest.request(&mut GuestDesk { desk }, request)?;
        if desk.random().between(0, 100) < self.lost_percent {
            desk.sometimes("an answer to a request was lost");
            return None;
        }
        Some(answer)
    }

    fn complete(desk: &mut Desk<'_, Self>, ticket: Ticket, answer: AnswerOf<G>) {
        let _ = desk.enter(GROUP, |hosted: &mut Hosted<G::Core>, now| hosted.complete(now, ticket, answer));
    }

    /// Carries out a request at once and answers later, or carries it out later, so that a crash in between finds it
    /// done or not done.
    fn on_request(&mut self, desk: &mut Desk<'_, Self>, ticket: Ticket, request: <G::Core as Protocol>::Request) {
        if desk.loses_requests() {
            return desk.sometimes("a request was lost");
        }
        let after = self.while_us(desk);
        if desk.random().between(0, 2) == 0 {
            desk.later(after, Due(Put::Do(ticket, request)));
        } else if let Some(answer) = self.perform(desk, request) {
            desk.later(after, Due(Put::Complete(ticket, answer)));
        }
    }
}

type AnswerOf<G> = <<G as Guest>::Core as Protocol>::Answer;

impl<G: Guest> Application for Host<G> {
    type Setup = HostSetup<G>;
    type Call = G::Call;
    type Answer = G::Answer;
    type Later = Due<G>;
    type Kept = G::Kept;

    const EXPECTED: &'static [&'static str] = G::EXPECTED;

    fn bears(kind: FaultKind) -> bool {
        kind != FaultKind::FlippedBits
    }

    fn groups(setup: &HostSetup<G>, _nodes: u64) -> BTreeMap<GroupId, MakeGroup> {
        let setup = setup.guest.clone();
        let make: MakeGroup = Box::new(move |start| {
            let config = G::config(&setup, &start);
            let core = G::Core::recover(start.now, config, start.recovery)?;
            Ok(Box::new(Hosted::new(start.group, ChannelId::FIRST_CORE, core)))
        });
        BTreeMap::from([(GROUP, make)])
    }

    fn start(setup: &HostSetup<G>, desk: &mut Desk<'_, Self>) -> Self {
        let guest = G::start(&setup.guest, &mut GuestDesk { desk });
        Self::listen(desk);
        Self { guest, within: setup.within, lost_percent: setup.lost_percent }
    }

    fn call(&mut self, desk: &mut Desk<'_, Self>, call: u64, what: G::Call) {
        self.guest.call(&mut GuestDesk { desk }, call, what);
    }

    fn reply(&mut self, desk: &mut Desk<'_, Self>, _group: GroupId, _id: CallId, reply: Reply) {
        if reply != Reply::Told {
            return;
        }
        let told = desk.enter(GROUP, |hosted: &mut Hosted<G::Core>, _| hosted.take());
        for told in told.unwrap_or_default() {
            match told {
                Told::Event(event) => self.guest.event(&mut GuestDesk { desk }, event),
                Told::Request { ticket, request } => self.on_request(desk, ticket, request),
                Told::Lost(count) => desk.halt(format!("{count} events of the core were dropped")),
                Told::Serving | Told::NotServing { .. } => {
                    desk.halt("the core of no bound group came or went".to_owned());
                }
            }
        }
        Self::listen(desk);
    }

    fn later(&mut self, desk: &mut Desk<'_, Self>, Due(put): Due<G>) {
        match put {
            Put::Do(ticket, request) => {
                if let Some(answer) = self.perform(desk, request) {
                    Self::complete(desk, ticket, answer);
                }
            }
            Put::Complete(ticket, answer) => Self::complete(desk, ticket, answer),
        }
    }

    fn observe(&self, node: &Node) -> Observation {
        let core = node.group::<Hosted<G::Core>>(GROUP).and_then(Hosted::core);
        core.map_or_else(Observation::default, |core| self.guest.observe(core))
    }

    fn describe(frame: &Frame) -> String {
        if frame.channel() != ChannelId::FIRST_CORE {
            return describe_channel(frame);
        }
        let message = codec::decode::<<G::Core as Protocol>::Message>(frame.clone());
        message.map_or_else(|error| format!("unreadable: {error}"), |message| format!("{message:?}"))
    }
}

/// The laws of a hosted core, and those of the nodes: each node's log keeps what was acknowledged.
pub struct HostLaws<G: Guest> {
    laws: Vec<Box<dyn Law<G::Core>>>,
    at_end: AtEnd<G>,
    movements: Movements,
}

/// A law that is checked at the end, over nodes that host a guest.
pub type AtEnd<G> = Box<dyn FnMut(&[NodeView<'_, NodeMachine<Host<G>>>]) -> Result<(), Violation>>;

impl<G: Guest> HostLaws<G> {
    /// Makes a set of laws of the core, which are checked after every step, and a law that is checked at the end, long
    /// after everything was healed.
    #[must_use]
    pub fn new(laws: Vec<Box<dyn Law<G::Core>>>, at_end: AtEnd<G>) -> Self {
        Self { laws, at_end, movements: Movements::default() }
    }
}

impl<G: Guest> ClusterLaws<NodeMachine<Host<G>>> for HostLaws<G> {
    fn check(&mut self, nodes: &[NodeView<'_, NodeMachine<Host<G>>>]) -> Result<(), Violation> {
        if !self.movements.have_moved(nodes) {
            return Ok(());
        }
        check_nodes(nodes)?;
        let cores: Vec<_> = nodes.iter().filter_map(|view| Some((view.node, view.machine?.core()?))).collect();
        self.laws.iter_mut().try_for_each(|law| law.check(&cores))
    }

    fn at_end(&mut self, nodes: &[NodeView<'_, NodeMachine<Host<G>>>]) -> Result<(), Violation> {
        check_nodes(nodes)?;
        (self.at_end)(nodes)
    }
}

impl<G: Guest> fmt::Debug for GuestDesk<'_, '_, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuestDesk").field("node", &self.node()).finish_non_exhaustive()
    }
}

/// The only group.
const GROUP: GroupId = GroupId(1);
