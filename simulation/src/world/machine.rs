//! What runs on a simulated node.

use std::fmt::Debug;
use std::hash::Hash;

use quorate_protocol::{Instant, NodeId, Now, Random, Violation};

use super::{Answer, Request};

/// The software of one node, between its network, its disk and its clients: what is simulated.
///
/// A machine is pure, as the cores are. It starts from its disk, and when it crashes only the disk is left.
pub trait Machine: Sized {
    /// What is equal for all nodes of a run.
    type Setup;
    /// What nodes say to each other.
    type Message: Clone + Debug + Hash;
    /// What survives a crash.
    type Disk;

    /// An empty disk in a node's `incarnation`, from 1.
    fn fresh_disk(setup: &Self::Setup, node: NodeId, incarnation: u64) -> Self::Disk;

    /// Starts from the disk.
    ///
    /// # Errors
    /// When it refuses to start from what it finds.
    fn start(setup: &Self::Setup, node: NodeId, now: Now, disk: &mut Self::Disk) -> Result<Self, String>;

    /// Takes one input.
    fn handle(&mut self, now: Now, disk: &mut Self::Disk, input: MachineInput<Self::Message>);

    /// Gives the next output, if there is one.
    fn poll(&mut self, now: Now, disk: &mut Self::Disk) -> Option<MachineOutput<Self::Message>>;

    /// When [`MachineInput::Timeout`] is wanted next.
    fn deadline(&self) -> Option<Instant>;

    /// Stops at once. What was on its way to the disk may have reached it, or not.
    fn crash(self, disk: &mut Self::Disk, random: &mut Random);

    /// What is to be seen from outside.
    fn observe(&self) -> Observation;
}

/// What goes into a machine.
#[derive(Clone, Debug)]
pub enum MachineInput<M> {
    /// A message came in.
    Message {
        /// Who sent it.
        from: NodeId,
        /// The sender's incarnation: it changes when its disk is wiped.
        incarnation: u64,
        /// What it says.
        message: M,
    },
    /// The deadline has passed.
    Timeout,
    /// A client calls.
    Call {
        /// Names the call.
        call: u64,
        /// What it asks.
        request: Request,
    },
    /// What was asked of the disk is done.
    Done {
        /// Which.
        token: u64,
    },
    /// What was asked of the disk failed; it may have been done.
    Failed {
        /// Which.
        token: u64,
    },
}

/// What comes out of a machine.
#[derive(Clone, Debug)]
pub enum MachineOutput<M> {
    /// Send the message.
    Send {
        /// To whom.
        to: NodeId,
        /// What it says.
        message: M,
    },
    /// Something was handed to the disk; [`MachineInput::Done`] is wanted when it is done.
    Write {
        /// Names it.
        token: u64,
    },
    /// As `Write`, and nothing of it need survive.
    Read {
        /// Names it.
        token: u64,
    },
    /// A client is answered.
    Answer {
        /// Which call.
        call: u64,
        /// The answer.
        answer: Answer,
    },
    /// Something happened that a run ought to reach sometimes.
    Sometimes(&'static str),
    /// The node stops and must be started again.
    Halt {
        /// Why.
        reason: String,
    },
}

/// A machine as seen from outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    /// Its term, or the round of its ballot.
    pub term: u64,
    /// Whether it leads.
    pub is_leader: bool,
    /// How far it knows its log to be agreed on.
    pub committed: u64,
    /// How far it applied its log.
    pub applied: u64,
    /// A digest of the state that it applied so far.
    pub digest: u64,
}

/// What must hold across all nodes after every step.
pub trait ClusterLaws<M: Machine> {
    /// Looks at all nodes: their disks, and the machines of those that run.
    ///
    /// # Errors
    /// When a law is broken, and how.
    fn check(&mut self, nodes: &[(NodeId, Option<&M>, &M::Disk)]) -> Result<(), Violation>;
}
