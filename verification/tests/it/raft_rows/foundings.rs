//! Six processes at three addresses: nodes 1 to 3 were founded twice. Each process goes on to the address of a node and
//! finds this founding's node there, or the other's.

use std::cell::Cell;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use quorate_protocol::{ClusterId, GroupId, Identity, Incarnation, Instant, NodeId, Now, Random, Violation};
use quorate_raft::Raft;
use quorate_simulation::node_machine::{NodeSetup, RegisterService, ReplicaLaws, Replicated};
use quorate_simulation::registers::{RegisterClients, RegisterRequest, Response};
use quorate_simulation::schedule::FaultKind;
use quorate_simulation::world::{
    ClientAnswer, ClusterInfo, ClusterLaws, Damage, Loss, Machine, MachineInput, MachineOutput, NodeView, Observation,
    Workload,
};
use quorate_transport::memory::{DeliveryTime, Network};
use quorate_transport::{ChannelId, Frame, Limits, Peer, Transport};

use super::seen::Shipped;

/// What is equal for all six.
pub(crate) struct Foundings {
    /// Of the first founding, and of the second.
    pub(crate) setups: [NodeSetup<Replicated<RegisterService<Raft>>>; 2],
    /// The clusters that they say they belong to.
    pub(crate) clusters: [ClusterId; 2],
    pub(crate) seed: u64,
    /// When addresses lead anywhere, counted from a process's first start.
    pub(crate) is_crossed: Range<Duration>,
    pub(crate) seen: Rc<Seen>,
}

/// What happened between the foundings.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Messages of the other founding that were refused at the connection.
    pub(crate) refused: Cell<u64>,
    /// Messages of the other founding that a node was given.
    pub(crate) given: Cell<u64>,
}

/// A process of one founding.
pub(crate) struct Founded {
    inner: Shipped,
    place: Place,
    /// Whether the transport carries frames between the foundings.
    is_carried: bool,
    /// Where the address of each other node leads.
    routes: Vec<Route>,
    random: Random,
    next_at: Instant,
    is_crossed: Range<Instant>,
    seen: Rc<Seen>,
}

/// A process: which founding's, and which node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    founding: u64,
    node: u64,
}

/// Where an address leads.
struct Route {
    node: u64,
    founding: u64,
    /// The processes at this address that run and can be reached, of each founding.
    is_up: [bool; 2],
    /// Which founding's process the node is connected to.
    linked: Option<u64>,
}

impl Place {
    fn of(process: u64) -> Self {
        Self { founding: (process - 1) / NODES, node: (process - 1) % NODES + 1 }
    }

    fn process(self) -> u64 {
        self.founding * NODES + self.node
    }

    fn incarnation(self) -> u64 {
        self.founding + 1
    }
}

pub(crate) struct FoundedDisk {
    disk: <Shipped as Machine>::Disk,
    /// The process's clock at its first start.
    origin: Option<Instant>,
}

type Message = <Shipped as Machine>::Message;

impl Founded {
    /// Goes on to this founding's node at the address, or to the other's.
    fn link(&mut self, now: Now, disk: &mut FoundedDisk, place: usize) {
        let route = &mut self.routes[place];
        let is_own = route.founding == self.place.founding;
        let is_up = route.is_up[usize::from(route.founding == 1)] && (is_own || self.is_carried);
        let wanted = is_up.then_some(route.founding);
        let before = std::mem::replace(&mut route.linked, wanted);
        if before == wanted {
            return;
        }
        let peer = NodeId(route.node);
        if before.is_some() {
            self.inner.handle(now, &mut disk.disk, MachineInput::LinkDown { peer });
        }
        if let Some(founding) = wanted {
            let incarnation = Place { founding, node: peer.0 }.incarnation();
            self.inner.handle(now, &mut disk.disk, MachineInput::LinkUp { peer, incarnation });
        }
    }

    fn reroute(&mut self, now: Now, disk: &mut FoundedDisk) {
        self.next_at = now.instant.after(Duration::from_millis(self.random.between(50, 600)));
        for place in 0..self.routes.len() {
            let is_crossed = self.is_crossed.contains(&now.instant);
            let own = self.place.founding;
            self.routes[place].founding = if is_crossed { self.random.between(0, 2) } else { own };
            self.link(now, disk, place);
        }
    }

    fn hear(&mut self, now: Now, disk: &mut FoundedDisk, from: Place, message: Message) {
        if from.founding != self.place.founding {
            let count = if self.is_carried { &self.seen.given } else { &self.seen.refused };
            count.set(count.get() + 1);
            if !self.is_carried {
                return;
            }
        }
        let input = MachineInput::Message { from: NodeId(from.node), incarnation: from.incarnation(), message };
        self.inner.handle(now, &mut disk.disk, input);
    }
}

/// Whether the transport carries frames between processes of these identities.
fn carries(from: Identity, to: Identity) -> bool {
    let network = Network::new(Limits::default(), DeliveryTime::Immediate).expect("bounds that fit");
    let (sender, receiver) = (network.join(from), network.join(to));
    sender.set_peer(Peer::new(to.node, "")).expect("another node");
    receiver.set_peer(Peer::new(from.node, "")).expect("another node");
    let frame = Frame::new(ChannelId::FIRST_CORE, GroupId(1), Bytes::new(), Vec::new()).expect("a short frame");
    sender.send(to.node, frame).is_ok()
}

impl Machine for Founded {
    type Setup = Foundings;
    type Message = Message;
    type Call = RegisterRequest;
    type Answer = Response;
    type Disk = FoundedDisk;

    const EXPECTED: &'static [&'static str] = &[];

    fn fresh_disk(setup: &Foundings, process: NodeId, _: u64) -> FoundedDisk {
        let place = Place::of(process.0);
        let setup = &setup.setups[usize::from(place.founding == 1)];
        FoundedDisk { disk: Shipped::fresh_disk(setup, NodeId(place.node), place.incarnation()), origin: None }
    }

    fn copy_disk(disk: &FoundedDisk) -> FoundedDisk {
        FoundedDisk { disk: Shipped::copy_disk(&disk.disk), ..*disk }
    }

    fn start(setup: &Foundings, process: NodeId, now: Now, disk: &mut FoundedDisk) -> Result<Self, String> {
        let place = Place::of(process.0);
        let origin = *disk.origin.get_or_insert(now.instant);
        let own = usize::from(place.founding == 1);
        let inner = Shipped::start(&setup.setups[own], NodeId(place.node), now, &mut disk.disk)?;
        let identity = Identity { cluster: setup.clusters[own], ..inner.node().identity() };
        let node = NodeId(place.node % NODES + 1);
        let other = Identity { cluster: setup.clusters[1 - own], node, incarnation: Incarnation(u128::MAX) };
        let is_carried = carries(other, identity);
        let route = |node| Route { node, founding: place.founding, is_up: [false; 2], linked: None };
        Ok(Self {
            inner,
            place,
            is_carried,
            routes: (1..=NODES).filter(|node| *node != place.node).map(route).collect(),
            random: Random::new(setup.seed ^ process.0),
            next_at: now.instant,
            is_crossed: origin.after(setup.is_crossed.start)..origin.after(setup.is_crossed.end),
            seen: Rc::clone(&setup.seen),
        })
    }

    fn handle(&mut self, now: Now, disk: &mut FoundedDisk, input: MachineInput<Message, RegisterRequest>) {
        let (peer, is_up) = match &input {
            MachineInput::Message { .. } => {
                let MachineInput::Message { from, message, .. } = input else { unreachable!("just seen") };
                return self.hear(now, disk, Place::of(from.0), message);
            }
            MachineInput::LinkUp { peer, .. } => (Place::of(peer.0), true),
            MachineInput::LinkDown { peer } => (Place::of(peer.0), false),
            MachineInput::Timeout if self.next_at <= now.instant => {
                self.reroute(now, disk);
                return self.inner.handle(now, &mut disk.disk, input);
            }
            _ => return self.inner.handle(now, &mut disk.disk, input),
        };
        let Some(place) = self.routes.iter().position(|route| route.node == peer.node) else { return };
        self.routes[place].is_up[usize::from(peer.founding == 1)] = is_up;
        self.link(now, disk, place);
    }

    fn poll(&mut self, now: Now, disk: &mut FoundedDisk) -> Option<MachineOutput<Message, Response>> {
        Some(match self.inner.poll(now, &mut disk.disk)? {
            MachineOutput::Send { to, message } => {
                let route = self.routes.iter().find(|route| route.node == to.0).expect("another node");
                let to = NodeId(Place { founding: route.founding, node: to.0 }.process());
                MachineOutput::Send { to, message }
            }
            output => output,
        })
    }

    fn deadline(&self) -> Option<Instant> {
        self.inner.deadline().map(|deadline| deadline.min(self.next_at))
    }

    fn crash(self, disk: &mut FoundedDisk, loss: Loss, random: &mut Random) {
        self.inner.crash(&mut disk.disk, loss, random);
    }

    fn bears(kind: FaultKind) -> bool {
        Shipped::bears(kind)
    }

    fn damage(disk: &mut FoundedDisk, running: Option<&mut Self>, damage: Damage, random: &mut Random) -> bool {
        Shipped::damage(&mut disk.disk, running.map(|machine| &mut machine.inner), damage, random)
    }

    fn mend(disk: &mut FoundedDisk, running: Option<&mut Self>, damage: Damage) {
        Shipped::mend(&mut disk.disk, running.map(|machine| &mut machine.inner), damage);
    }

    fn message_bytes(message: &Message) -> u64 {
        Shipped::message_bytes(message)
    }

    fn observe(&self) -> Observation {
        self.inner.observe()
    }
}

/// What must hold within each founding, as if it were alone.
pub(crate) struct FoundingLaws {
    /// The second has none when its nodes may end as strangers in the first: then nobody of it leads.
    pub(crate) laws: [Option<ReplicaLaws<RegisterService<Raft>>>; 2],
}

impl ClusterLaws<Founded> for FoundingLaws {
    fn check(&mut self, nodes: &[NodeView<'_, Founded>]) -> Result<(), Violation> {
        for (founding, laws) in self.laws.iter_mut().enumerate() {
            let views = of_founding(nodes, founding as u64);
            if let Some(laws) = laws {
                laws.check(&views)?;
            } else if views.iter().any(|view| view.machine.is_some_and(|machine| machine.observe().is_leader)) {
                let detail = format!("a node of founding {founding} leads");
                return Err(Violation { law: "one founding", detail });
            }
        }
        Ok(())
    }

    fn at_end(&mut self, nodes: &[NodeView<'_, Founded>]) -> Result<(), Violation> {
        for (founding, laws) in self.laws.iter_mut().enumerate() {
            if let Some(laws) = laws {
                laws.at_end(&of_founding(nodes, founding as u64))?;
            }
        }
        Ok(())
    }
}

fn of_founding<'a>(nodes: &[NodeView<'a, Founded>], founding: u64) -> Vec<NodeView<'a, Shipped>> {
    let view = |view: &NodeView<'a, Founded>| NodeView {
        node: NodeId(Place::of(view.node.0).node),
        ..view.project(|machine| &machine.inner, |disk| &disk.disk)
    };
    nodes.iter().filter(|view| Place::of(view.node.0).founding == founding).map(view).collect()
}

/// Clients of all processes, or of each founding's own: even ones of the first's, odd ones of the second's.
pub(crate) struct ClientsOfEach(pub(crate) Vec<RegisterClients>);

impl ClientsOfEach {
    fn of(&mut self, client: u64) -> &mut dyn Workload<Founded> {
        let place = client % self.0.len() as u64;
        &mut self.0[usize::from(place == 1)]
    }
}

impl Workload<Founded> for ClientsOfEach {
    fn call(&mut self, client: u64, cluster: ClusterInfo, at_us: u64) -> (NodeId, RegisterRequest) {
        if self.0.len() == 1 {
            return self.of(client).call(client, cluster, at_us);
        }
        let cluster = ClusterInfo { nodes: NODES, at_leader_percent: 0, leader: None };
        let (node, request) = self.of(client).call(client, cluster, at_us);
        (NodeId(Place { founding: client % 2, node: node.0 }.process()), request)
    }

    fn answered(&mut self, client: u64, what: &RegisterRequest, answer: &ClientAnswer<Response>, at_us: u64) {
        self.of(client).answered(client, what, answer, at_us);
    }

    fn patience_us(&mut self, what: &RegisterRequest) -> u64 {
        self.of(0).patience_us(what)
    }

    fn pause_us(&mut self, client: u64) -> u64 {
        self.of(client).pause_us(client)
    }

    fn judge(&mut self) -> Result<(), Violation> {
        self.0.iter_mut().try_for_each(Workload::<Founded>::judge)
    }
}

/// Of each founding.
pub(crate) const NODES: u64 = 3;
