//! The whole node, with a clock that tells when each node handed something to its disk, and rot of what everything else
//! hangs on.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

use quorate_protocol::{Instant, NodeId, Now, Random, Violation};
use quorate_raft::Raft;
use quorate_simulation::node_machine::{NodeSetup, RegisterService, ReplicaLaws, Replicated};
use quorate_simulation::registers::{RegisterRequest, Response};
use quorate_simulation::schedule::FaultKind;
use quorate_simulation::world::{
    ClusterLaws, Damage, Loss, Machine, MachineInput, MachineOutput, NodeView, Observation,
};

use super::seen::{Seen, Shipped};

/// What a run's disks were handed, and when node 3 had taken a snapshot in.
#[derive(Default)]
pub(crate) struct Record {
    /// The node, and the time in microseconds of the run.
    pub(crate) writes: Vec<(NodeId, u64)>,
    /// How many writes there were whenever a log began anew further on.
    pub(crate) installed: Vec<(NodeId, usize)>,
}

pub(crate) struct TimedSetup {
    pub(crate) setup: NodeSetup<Replicated<RegisterService<Raft>>>,
    pub(crate) record: Rc<RefCell<Record>>,
}

pub(crate) struct Timed {
    inner: Shipped,
    node: NodeId,
    origin: Instant,
    record: Rc<RefCell<Record>>,
}

pub(crate) struct TimedDisk {
    disk: <Shipped as Machine>::Disk,
    /// The node's clock when the run began. It neither drifts nor leaps here.
    origin: Option<Instant>,
}

type Message = <Shipped as Machine>::Message;

impl Machine for Timed {
    type Setup = TimedSetup;
    type Message = Message;
    type Call = RegisterRequest;
    type Answer = Response;
    type Disk = TimedDisk;

    const EXPECTED: &'static [&'static str] = &[];

    fn fresh_disk(setup: &TimedSetup, node: NodeId, incarnation: u64) -> TimedDisk {
        TimedDisk { disk: Shipped::fresh_disk(&setup.setup, node, incarnation), origin: None }
    }

    fn copy_disk(disk: &TimedDisk) -> TimedDisk {
        TimedDisk { disk: Shipped::copy_disk(&disk.disk), ..*disk }
    }

    fn start(setup: &TimedSetup, node: NodeId, now: Now, disk: &mut TimedDisk) -> Result<Self, String> {
        let origin = *disk.origin.get_or_insert(now.instant);
        let inner = Shipped::start(&setup.setup, node, now, &mut disk.disk)?;
        Ok(Self { inner, node, origin, record: Rc::clone(&setup.record) })
    }

    fn handle(&mut self, now: Now, disk: &mut TimedDisk, input: MachineInput<Message, RegisterRequest>) {
        self.inner.handle(now, &mut disk.disk, input);
    }

    fn poll(&mut self, now: Now, disk: &mut TimedDisk) -> Option<MachineOutput<Message, Response>> {
        let output = self.inner.poll(now, &mut disk.disk)?;
        if matches!(output, MachineOutput::Write { .. }) {
            let at_us = (now.instant.as_nanos() - self.origin.as_nanos()) / 1_000;
            self.record.borrow_mut().writes.push((self.node, at_us));
        }
        Some(output)
    }

    fn deadline(&self) -> Option<Instant> {
        self.inner.deadline()
    }

    fn crash(self, disk: &mut TimedDisk, loss: Loss, random: &mut Random) {
        self.inner.crash(&mut disk.disk, loss, random);
    }

    fn bears(kind: FaultKind) -> bool {
        Shipped::bears(kind)
    }

    /// Rot hits the identity, or both copies of the log's checkpoint.
    fn damage(disk: &mut TimedDisk, running: Option<&mut Self>, damage: Damage, random: &mut Random) -> bool {
        if damage != Damage::BitRot {
            return Shipped::damage(&mut disk.disk, running.map(|machine| &mut machine.inner), damage, random);
        }
        let is_identity = random.between(0, 2) == 0;
        let paths = if is_identity { &["identity"][..] } else { &["log/checkpoint-a", "log/checkpoint-b"] };
        for path in paths {
            // Behind what is written there may be room that nobody reads.
            let (at, bit) = (random.between(0, 16), u8::try_from(random.between(0, 8)).expect("small"));
            disk.disk.files().rot(Path::new(path), at, bit);
            if is_identity {
                // It stands there twice.
                disk.disk.files().rot(Path::new(path), at + 4096, bit);
            }
        }
        true
    }

    fn mend(disk: &mut TimedDisk, running: Option<&mut Self>, damage: Damage) {
        Shipped::mend(&mut disk.disk, running.map(|machine| &mut machine.inner), damage);
    }

    fn message_bytes(message: &Message) -> u64 {
        Shipped::message_bytes(message)
    }

    fn observe(&self) -> Observation {
        self.inner.observe()
    }
}

/// All laws of the whole node, which sees logs begin anew.
pub(crate) struct TimedLaws {
    pub(crate) laws: ReplicaLaws<RegisterService<Raft>>,
    pub(crate) record: Rc<RefCell<Record>>,
    pub(crate) lasts: Vec<u64>,
}

impl ClusterLaws<Timed> for TimedLaws {
    fn check(&mut self, nodes: &[NodeView<'_, Timed>]) -> Result<(), Violation> {
        let inner = inner(nodes);
        self.lasts.resize(nodes.len(), u64::MAX);
        for (view, last) in inner.iter().zip(&mut self.lasts) {
            let seen = Seen::whole(view);
            let mut record = self.record.borrow_mut();
            if seen.base().0 > *last {
                let writes = record.writes.len();
                record.installed.push((view.node, writes));
            }
            *last = seen.last().0;
        }
        self.laws.check(&inner)
    }

    fn at_end(&mut self, nodes: &[NodeView<'_, Timed>]) -> Result<(), Violation> {
        self.laws.at_end(&inner(nodes))
    }
}

fn inner<'a>(nodes: &[NodeView<'a, Timed>]) -> Vec<NodeView<'a, Shipped>> {
    nodes.iter().map(|view| view.project(|machine| &machine.inner, |disk| &disk.disk)).collect()
}
