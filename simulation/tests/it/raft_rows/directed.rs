//! The shipped core with a director at its side, who rules what no schedule can: single messages.

use std::cell::RefCell;
use std::rc::Rc;

use quorate_protocol::{Instant, NodeId, Now, Random, ReplicatedLog, Violation};
use quorate_raft::{Message, Raft};
use quorate_simulation::core_machine::{CoreDisk, CoreLaws, CoreMachine, CoreMessage, CoreSetup};
use quorate_simulation::node_machine::{RegisterService, ReplicaLaws};
use quorate_simulation::registers::{Request, Response};
use quorate_simulation::schedule::FaultKind;
use quorate_simulation::world::{
    ClusterLaws, Damage, Loss, Machine, MachineInput, MachineOutput, NodeView, Observation,
};

use super::seen::{Seen, Whole};

/// Rules messages, and sees whether the situation of a row was reached.
pub(crate) trait Director {
    /// What leaves in the place of what a node wants to send: itself, something else, or nothing.
    fn sends(&mut self, _here: &Here<'_>, _to: NodeId, message: Message) -> Option<Message> {
        Some(message)
    }

    /// What a node hears just after this message: older ones of the same sender once more.
    fn hears(&mut self, _here: &Here<'_>, _from: NodeId, _message: &Message) -> Vec<Message> {
        Vec::new()
    }

    /// A client calls at a node.
    fn called(&mut self, _here: &Here<'_>, _request: &Request) {}

    /// Looks at all nodes after a step. What must hold in this row beyond all laws is judged here.
    fn looks(&mut self, _nodes: &[Seen<'_>]) -> Result<(), Violation> {
        Ok(())
    }
}

/// No rules.
impl Director for () {}

/// Where something happens.
pub(crate) struct Here<'a> {
    pub(crate) node: u64,
    /// How often the node has started.
    pub(crate) start: u32,
    pub(crate) core: &'a Raft,
}

impl Here<'_> {
    /// Whether the node leads.
    pub(crate) fn leads(&self) -> bool {
        self.core.status().role == quorate_protocol::Role::Leader
    }
}

pub(crate) struct Stage<D> {
    pub(crate) setup: CoreSetup<Raft>,
    pub(crate) director: Rc<RefCell<D>>,
}

pub(crate) struct Directed<D> {
    inner: CoreMachine<Raft>,
    node: NodeId,
    start: u32,
    director: Rc<RefCell<D>>,
}

pub(crate) struct DirectedDisk {
    pub(crate) disk: CoreDisk,
    starts: u32,
}

type Sent = <CoreMachine<Raft> as Machine>::Message;

impl<D: Director> Directed<D> {
    fn here(&self) -> Here<'_> {
        Here { node: self.node.0, start: self.start, core: self.inner.core() }
    }
}

impl<D: Director> Machine for Directed<D> {
    type Setup = Stage<D>;
    type Message = Sent;
    type Call = Request;
    type Answer = Response;
    type Disk = DirectedDisk;

    const EXPECTED: &'static [&'static str] = &[];

    fn fresh_disk(stage: &Stage<D>, node: NodeId, incarnation: u64) -> DirectedDisk {
        DirectedDisk { disk: CoreMachine::<Raft>::fresh_disk(&stage.setup, node, incarnation), starts: 0 }
    }

    fn copy_disk(disk: &DirectedDisk) -> DirectedDisk {
        DirectedDisk { disk: CoreMachine::<Raft>::copy_disk(&disk.disk), starts: disk.starts }
    }

    fn start(stage: &Stage<D>, node: NodeId, now: Now, disk: &mut DirectedDisk) -> Result<Self, String> {
        disk.starts += 1;
        let inner = CoreMachine::start(&stage.setup, node, now, &mut disk.disk)?;
        Ok(Self { inner, node, start: disk.starts, director: Rc::clone(&stage.director) })
    }

    fn handle(&mut self, now: Now, disk: &mut DirectedDisk, input: MachineInput<Sent, Request>) {
        let mut again = Vec::new();
        match &input {
            MachineInput::Message { from, incarnation, message: CoreMessage::Core(message) } => {
                let old = self.director.borrow_mut().hears(&self.here(), *from, message);
                again.extend(old.into_iter().map(|message| (*from, *incarnation, message)));
            }
            MachineInput::Call { what, .. } => self.director.borrow_mut().called(&self.here(), what),
            _ => {}
        }
        self.inner.handle(now, &mut disk.disk, input);
        for (from, incarnation, message) in again {
            let message = CoreMessage::Core(message);
            self.inner.handle(now, &mut disk.disk, MachineInput::Message { from, incarnation, message });
        }
    }

    fn poll(&mut self, now: Now, disk: &mut DirectedDisk) -> Option<MachineOutput<Sent, Response>> {
        loop {
            match self.inner.poll(now, &mut disk.disk)? {
                MachineOutput::Send { to, message: CoreMessage::Core(message) } => {
                    let left = self.director.borrow_mut().sends(&self.here(), to, message);
                    if let Some(message) = left {
                        return Some(MachineOutput::Send { to, message: CoreMessage::Core(message) });
                    }
                }
                output => return Some(output),
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.inner.deadline()
    }

    fn crash(self, disk: &mut DirectedDisk, loss: Loss, random: &mut Random) {
        self.inner.crash(&mut disk.disk, loss, random);
    }

    fn bears(kind: FaultKind) -> bool {
        CoreMachine::<Raft>::bears(kind)
    }

    fn damage(disk: &mut DirectedDisk, running: Option<&mut Self>, damage: Damage, random: &mut Random) -> bool {
        CoreMachine::damage(&mut disk.disk, running.map(|machine| &mut machine.inner), damage, random)
    }

    fn mend(disk: &mut DirectedDisk, running: Option<&mut Self>, damage: Damage) {
        CoreMachine::mend(&mut disk.disk, running.map(|machine| &mut machine.inner), damage);
    }

    fn message_bytes(message: &Sent) -> u64 {
        CoreMachine::<Raft>::message_bytes(message)
    }

    fn observe(&self) -> Observation {
        self.inner.observe()
    }
}

/// All laws of the core, and those of the director.
pub(crate) struct DirectedLaws<D> {
    pub(crate) laws: CoreLaws<Raft>,
    pub(crate) director: Rc<RefCell<D>>,
}

impl<D: Director> ClusterLaws<Directed<D>> for DirectedLaws<D> {
    fn check(&mut self, nodes: &[NodeView<'_, Directed<D>>]) -> Result<(), Violation> {
        let inner = inner(nodes);
        ClusterLaws::check(&mut self.laws, &inner)?;
        self.director.borrow_mut().looks(&inner.iter().map(Seen::bare).collect::<Vec<_>>())
    }

    fn at_end(&mut self, nodes: &[NodeView<'_, Directed<D>>]) -> Result<(), Violation> {
        ClusterLaws::at_end(&mut self.laws, &inner(nodes))
    }
}

fn inner<'a, D: Director>(nodes: &[NodeView<'a, Directed<D>>]) -> Vec<NodeView<'a, CoreMachine<Raft>>> {
    let view = |view: &NodeView<'a, Directed<D>>| NodeView {
        node: view.node,
        machine: view.machine.map(|machine| &machine.inner),
        disk: &view.disk.disk,
        is_lost: view.is_lost,
        changes: view.changes,
    };
    nodes.iter().map(view).collect()
}

/// All laws of the whole node, and those of the director, who only looks.
pub(crate) struct WholeLaws<D> {
    pub(crate) laws: ReplicaLaws<RegisterService<Raft>>,
    pub(crate) director: Rc<RefCell<D>>,
}

impl<D: Director> ClusterLaws<Whole> for WholeLaws<D> {
    fn check(&mut self, nodes: &[NodeView<'_, Whole>]) -> Result<(), Violation> {
        self.laws.check(nodes)?;
        self.director.borrow_mut().looks(&nodes.iter().map(Seen::whole).collect::<Vec<_>>())
    }

    fn at_end(&mut self, nodes: &[NodeView<'_, Whole>]) -> Result<(), Violation> {
        self.laws.at_end(nodes)
    }
}
