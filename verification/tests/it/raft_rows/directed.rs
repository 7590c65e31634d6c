//! The shipped core with a director at its side, who rules what no schedule can: single messages. It runs wherever the
//! core does: bare, and in a replica on the shipped node.

use std::cell::RefCell;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorate_protocol::{
    Committed, Input, Instant, Law, LogCommand, LogIndex, LogStatus, LogTime, NodeId, Now, Output, Protocol,
    RecoverError, Recovery, ReplicatedLog, Role, Signal, Violation,
};
use quorate_raft::{Config, Message, Raft};
use quorate_simulation::core_machine::CoreMachine;
use quorate_simulation::node_machine::{NodeMachine, RegisterService, Replicated};
use quorate_simulation::world::{ClusterLaws, Machine, NodeView};

use super::seen::{OfRaft, Seen};

/// Rules messages, and sees whether the situation of a row was reached.
pub(crate) trait Director: Send + 'static {
    /// What leaves in the place of what a node wants to send: itself, something else, or nothing.
    fn sends(&mut self, _here: &Here<'_>, _to: NodeId, message: Message) -> Option<Message> {
        Some(message)
    }

    /// What a node hears just after this message: older ones of the same sender once more.
    fn hears(&mut self, _here: &Here<'_>, _from: NodeId, _message: &Message) -> Vec<Message> {
        Vec::new()
    }

    /// It has heard it.
    fn has_heard(&mut self, _here: &Here<'_>) {}

    /// A node's core is asked something.
    fn asked(&mut self, _here: &Here<'_>, _command: &LogCommand) {}

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
    pub(crate) core: &'a Raft,
}

impl Here<'_> {
    /// Whether the node leads.
    pub(crate) fn leads(&self) -> bool {
        self.core.status().role == Role::Leader
    }
}

/// The director of a run, whom all nodes share.
#[derive(Clone)]
pub(crate) struct Shared(Arc<Mutex<dyn Director>>);

impl Shared {
    /// With a handle to the director itself, which is its last when the nodes are gone.
    pub(crate) fn new<D: Director>(director: D) -> (Self, Arc<Mutex<D>>) {
        let director = Arc::new(Mutex::new(director));
        (Self(director.clone()), director)
    }

    /// A node that panicked is what the run is about to fail for.
    fn ask(&self) -> MutexGuard<'_, dyn Director + 'static> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

thread_local! {
    /// Configurations of bare cores are made by plain functions: they find the director of this thread's run here.
    static ON_STAGE: RefCell<Shared> = RefCell::new(Shared::new(()).0);
}

/// From now on this director has all bare cores that start on this thread.
pub(crate) fn stage(director: Shared) {
    ON_STAGE.replace(director);
}

/// The director of bare cores that start on this thread.
pub(crate) fn staged() -> Shared {
    ON_STAGE.with_borrow(Shared::clone)
}

/// A core and its director.
#[derive(Clone)]
pub(crate) struct Directed {
    core: Raft,
    node: u64,
    director: Shared,
}

impl Directed {
    fn here(&self) -> Here<'_> {
        Here { node: self.node, core: &self.core }
    }
}

impl fmt::Debug for Directed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.core.fmt(f)
    }
}

impl OfRaft for Directed {
    fn raft(&self) -> &Raft {
        &self.core
    }
}

impl Protocol for Directed {
    type Config = (Config, Shared);
    type Message = Message;
    type Command = LogCommand;
    type Event = <Raft as Protocol>::Event;
    type Request = <Raft as Protocol>::Request;
    type Answer = <Raft as Protocol>::Answer;
    type View = <Raft as Protocol>::View;

    fn recover(now: Now, (config, director): Self::Config, recovery: Recovery) -> Result<Self, RecoverError> {
        let node = config.node().0;
        Ok(Self { core: Raft::recover(now, config, recovery)?, node, director })
    }

    fn handle(&mut self, now: Now, input: Input<Self>) {
        let mut again = Vec::new();
        let is_heard = matches!(input, Input::Message { .. });
        match &input {
            Input::Message { from, message } => {
                let old = self.director.ask().hears(&self.here(), *from, message);
                again.extend(old.into_iter().map(|message| Input::Message { from: *from, message }));
            }
            Input::Command(command) => self.director.ask().asked(&self.here(), command),
            _ => {}
        }
        self.core.handle(now, plain(input));
        if is_heard {
            self.director.ask().has_heard(&self.here());
        }
        for message in again {
            self.core.handle(now, message);
        }
    }

    fn poll_output(&mut self) -> Option<Output<Self>> {
        loop {
            return Some(match self.core.poll_output()? {
                Output::Send { to, message } => {
                    let left = self.director.ask().sends(&self.here(), to, message);
                    let Some(message) = left else { continue };
                    Output::Send { to, message }
                }
                Output::Persist { ticket, operations } => Output::Persist { ticket, operations },
                Output::Load { ticket, range } => Output::Load { ticket, range },
                Output::Request { ticket, request } => Output::Request { ticket, request },
                Output::Event(event) => Output::Event(event),
                Output::Halt { reason } => Output::Halt { reason },
            });
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.core.deadline()
    }

    fn model_view(&self) -> Self::View {
        self.core.model_view()
    }

    fn check_invariants(&self) {
        self.core.check_invariants();
    }
}

impl ReplicatedLog for Directed {
    fn entries(&self, from: LogIndex, bytes_max: usize) -> Committed {
        self.core.entries(from, bytes_max)
    }

    fn log_time(&self, now: Now) -> LogTime {
        self.core.log_time(now)
    }

    fn status(&self) -> LogStatus {
        self.core.status()
    }
}

fn plain(input: Input<Directed>) -> Input<Raft> {
    match input {
        Input::Message { from, message } => Input::Message { from, message },
        Input::Command(command) => Input::Command(command),
        Input::Signal(Signal::Timeout) => Input::Signal(Signal::Timeout),
        Input::Signal(Signal::PeerAlive(node)) => Input::Signal(Signal::PeerAlive(node)),
        Input::Signal(Signal::PeerSilent { node, heard_at }) => Input::Signal(Signal::PeerSilent { node, heard_at }),
        Input::Signal(Signal::Unreachable(node)) => Input::Signal(Signal::Unreachable(node)),
        Input::Signal(Signal::PeerStanding { node, standing }) => {
            Input::Signal(Signal::PeerStanding { node, standing })
        }
        Input::Signal(Signal::Storage(level)) => Input::Signal(Signal::Storage(level)),
        Input::Signal(Signal::CompactRequested) => Input::Signal(Signal::CompactRequested),
        Input::Signal(Signal::Persisted(ticket)) => Input::Signal(Signal::Persisted(ticket)),
        Input::Signal(Signal::PersistFailed { ticket, failure }) => {
            Input::Signal(Signal::PersistFailed { ticket, failure })
        }
        Input::Signal(Signal::Loaded { ticket, result: Ok(loaded) }) => {
            Input::Signal(Signal::Loaded { ticket, result: Ok(loaded) })
        }
        Input::Signal(Signal::Loaded { ticket, result: Err(failure) }) => {
            Input::Signal(Signal::Loaded { ticket, result: Err(failure) })
        }
        Input::Completed { ticket, answer } => Input::Completed { ticket, answer },
    }
}

/// A bare core with a director.
pub(crate) type Bare = CoreMachine<Directed>;

/// The shipped node, whole, with registers as a replicated service on a core with a director.
pub(crate) type Whole = NodeMachine<Replicated<RegisterService<Directed>>>;

/// A machine on which a director sees the cores.
pub(crate) trait Staged: Machine {
    fn seen<'a>(view: &NodeView<'a, Self>) -> Seen<'a>;
}

impl Staged for Bare {
    fn seen<'a>(view: &NodeView<'a, Self>) -> Seen<'a> {
        Seen::bare(view)
    }
}

impl Staged for Whole {
    fn seen<'a>(view: &NodeView<'a, Self>) -> Seen<'a> {
        Seen::whole(view)
    }
}

/// The laws of the core alone, for cores with a director.
pub(crate) fn laws() -> Vec<Box<dyn Law<Directed>>> {
    let of_directed = |law| Box::new(OfCore(law)) as Box<dyn Law<Directed>>;
    quorate_raft::testing::laws().into_iter().map(of_directed).collect()
}

struct OfCore(Box<dyn Law<Raft>>);

impl Law<Directed> for OfCore {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn check(&mut self, nodes: &[(NodeId, &Directed)]) -> Result<(), Violation> {
        let cores: Vec<_> = nodes.iter().map(|(node, directed)| (*node, &directed.core)).collect();
        self.0.check(&cores)
    }
}

/// All laws of a machine, and those of the director.
pub(crate) struct DirectedLaws<L> {
    pub(crate) laws: L,
    pub(crate) director: Shared,
}

impl<M: Staged, L: ClusterLaws<M>> ClusterLaws<M> for DirectedLaws<L> {
    fn check(&mut self, nodes: &[NodeView<'_, M>]) -> Result<(), Violation> {
        self.laws.check(nodes)?;
        self.director.ask().looks(&nodes.iter().map(M::seen).collect::<Vec<_>>())
    }

    fn at_end(&mut self, nodes: &[NodeView<'_, M>]) -> Result<(), Violation> {
        self.laws.at_end(nodes)
    }

    fn reached(&self) -> Vec<(&'static str, u64)> {
        self.laws.reached()
    }
}
