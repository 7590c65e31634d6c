//! The parts of a cluster that differ between protocols.

use std::fmt::Debug;

use super::{Builder, Cluster, Node};
use crate::{Law, NodeId, Protocol, Ticket};

/// A core that runs in a [`Cluster`].
pub trait Subject: Protocol {
    /// Settings that all nodes share.
    type Settings: Clone + Debug + Default;
    /// The application of a node.
    type Application: Debug + Default;

    /// True if a node is told at once that a way to another node is cut or restored, as a transport would tell it.
    const TELLS_LINKS: bool = false;

    /// Makes the configuration of a node for its start with this number.
    fn config(cluster: &Builder<Self>, node: NodeId, start: u64) -> Self::Config;

    /// The laws that hold across nodes.
    fn laws() -> Vec<Box<dyn Law<Self>>>;

    /// Checks the laws that concern cores and disks together.
    ///
    /// # Panics
    /// When a law is broken.
    fn check_disks(_cluster: &Cluster<Self>) {}

    /// Checks that everything that a message states is on the sender's disk.
    ///
    /// # Panics
    /// When it is not.
    fn check_sent(_node: &Node<Self>, _to: NodeId, _message: &Self::Message) {}

    /// Gives the application of a node an event.
    fn on_event(_node: &mut Node<Self>, _event: &Self::Event) {}

    /// Lets the application of a node work, once all outputs of the core are carried out.
    fn on_polled(_node: &mut Node<Self>) {}

    /// Gives a node's application a request of the core: it is answered now, never, or later ([`Cluster::ask_later`]).
    fn on_request(cluster: &mut Cluster<Self>, node: NodeId, ticket: Ticket, request: Self::Request);

    /// Carries out a request that was put off.
    fn on_asked(cluster: &mut Cluster<Self>, node: NodeId, ticket: Ticket, request: Self::Request);

    /// The application loses its volatile state.
    fn on_crash(_application: &mut Self::Application) {}
}
