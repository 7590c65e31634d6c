//! What a model must be told of the protocol that it explores.

use std::fmt::Debug;
use std::hash::Hash;

use quorate_protocol::testing::Stream;
use quorate_protocol::{Input, NodeId, Output, Protocol, Recovery, Violation};
use stateright::Property;

use crate::model::{Model, State};
use crate::node::Node;

/// A protocol as it is explored: the shipped core, its nodes, what its users do, its laws.
///
/// The `on_...` methods let a test put a bug between the core and the world without touching the core.
pub(crate) trait Subject: Sized + Send + Sync + 'static {
    /// The shipped core.
    type Core: Protocol<
            Message: Hash + Send + Sync,
            Command: Send + Sync,
            Event: Send + Sync,
            Request: Send + Sync,
            Answer: Send + Sync,
        > + Send
        + Sync;
    /// What laws and milestones ask of a node again and again. A function of the core and its disk.
    type Facts: Clone + Debug + Send + Sync;
    /// What laws remember. Part of a state's identity.
    type Memory: Clone + Debug + Default + Hash + Send + Sync;

    /// The nodes, all of them running.
    fn nodes(&self) -> Vec<NodeId>;

    /// The configuration of a node.
    fn config(&self, node: NodeId) -> <Self::Core as Protocol>::Config;

    /// What the application of a node may ask now, when commands were given so often already on all nodes together.
    fn commands(&self, node: &Node<Self>, given: u8) -> Vec<<Self::Core as Protocol>::Command>;

    /// How the application may answer a request.
    fn answers(
        &self,
        node: NodeId,
        request: &<Self::Core as Protocol>::Request,
    ) -> Vec<<Self::Core as Protocol>::Answer>;

    /// What is asked of a node again and again.
    fn facts(&self, core: &Self::Core, disk: &Stream) -> Self::Facts;

    /// Whether the receiver may answer a message otherwise when its deadline has come and it has not noticed: then the
    /// message is delivered at either time.
    fn depends_on_time(&self, receiver: &Node<Self>, message: &<Self::Core as Protocol>::Message) -> bool;

    /// Whether a node is within the bounds of the exploration: a step that leaves them is not taken.
    fn is_within(&self, node: &Node<Self>) -> bool;

    /// Notes what an application asks, before the node hears of it.
    fn given(&self, _memory: &mut Self::Memory, _command: &<Self::Core as Protocol>::Command) {}

    /// Notes what a node told its application.
    fn told(&self, memory: &mut Self::Memory, node: NodeId, event: &<Self::Core as Protocol>::Event);

    /// Looks at all nodes after a step. A node that crashed in this step has started again.
    ///
    /// # Errors
    /// When a law is broken.
    fn judge(&self, memory: &mut Self::Memory, state: &State<Self>, crashed: Option<NodeId>) -> Result<(), Violation>;

    /// What always holds (by [`State::keeps`]) and what must be reached.
    fn properties(&self) -> Vec<Property<Model<Self>>>;

    /// The nodes whose deadlines come before the exploration begins, one by one, each followed by everything that comes
    /// of it: so that the budget is spent on what comes after an undisturbed beginning.
    fn opening(&self) -> Vec<NodeId> {
        Vec::new()
    }

    /// Whether nothing can ever come of this message any more, whatever happens to its receiver: then it is taken off
    /// the network, and states that differ by it alone are one.
    fn is_dead(&self, _receiver: &Node<Self>, _message: &<Self::Core as Protocol>::Message) -> bool {
        false
    }

    /// Whether several waits run at a time on a node, each of a length that is drawn: which ends first is chance then,
    /// and equal nodes that react alike may differ afterwards.
    fn has_drawn_waits(&self) -> bool {
        false
    }

    /// Whether this node's deadline may be the first to come. Where nodes at rest differ by their names alone, one of
    /// them will do.
    fn may_time_out_first(&self, _node: NodeId) -> bool {
        true
    }

    /// What comes in, altered by a bug.
    fn on_input(&self, _core: &Self::Core, input: Input<Self::Core>) -> Input<Self::Core> {
        input
    }

    /// What goes out, altered by a bug.
    fn on_output(&self, _core: &Self::Core, output: Output<Self::Core>) -> Vec<Output<Self::Core>> {
        vec![output]
    }

    /// What a node finds when it starts again, altered by a bug.
    fn on_recovery(&self, recovery: Recovery) -> Recovery {
        recovery
    }

    /// Whether the disk lies: it says that a write is durable when it has only taken it.
    fn says_written_too_early(&self) -> bool {
        false
    }
}
