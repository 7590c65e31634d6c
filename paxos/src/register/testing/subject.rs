//! Registers in a cluster under test.

use std::convert::Infallible;

use quorate_protocol::testing::Subject;
use quorate_protocol::{Law, NodeId, Ticket};

use super::laws::laws;
use super::words::Records;
use super::{Builder, Cluster, Node};
use crate::register::message::{Accept, Accepted, AgeRaised, Listed, Prepare, Promise, Report};
use crate::register::{Config, Functions, Message, Register, Roles, Settings};
use crate::{Ballot, QuorumSystem};

/// Settings of a cluster.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// Roles and quorums. By default every node has every role, and majorities are quorums.
    pub roles: Option<Roles>,
    /// Functions of every node.
    pub functions: Functions,
    /// Settings of every node.
    pub settings: Settings,
}

impl From<Settings> for Setup {
    fn from(settings: Settings) -> Self {
        Self { settings, ..Self::default() }
    }
}

impl From<Roles> for Setup {
    fn from(roles: Roles) -> Self {
        Self { roles: Some(roles), ..Self::default() }
    }
}

impl Subject for Register {
    type Settings = Setup;
    type Application = ();

    const TELLS_LINKS: bool = true;

    /// Each start uses another seed than the last.
    fn config(cluster: &Builder, node: NodeId, start: u64) -> Config {
        let seed = cluster.seed.wrapping_mul(1000).wrapping_add(node.0).wrapping_add(start << 32);
        let Setup { roles, functions, settings } = cluster.settings.clone();
        let majority = || QuorumSystem::majority((1..=cluster.nodes).map(NodeId)).expect("a sensible number of nodes");
        let roles = roles.unwrap_or_else(|| Roles::of(majority()));
        let make = if roles.contains(node) { Config::new } else { Config::joining };
        make(node, seed, roles, functions, settings).expect("valid settings")
    }

    fn laws() -> Vec<Box<dyn Law<Self>>> {
        laws()
    }

    fn check_disks(_cluster: &Cluster) {}

    fn check_sent(node: &Node, _to: NodeId, message: &Message) {
        let disk = &node.disk;
        let state = disk.node_state();
        let roles = disk.roles();
        // A node that becomes an acceptor anew has erased what it told before, to nodes that do not count it any more.
        let is_anew = roles.as_ref().is_some_and(|roles| roles.since(node.core().config().node()) > 0);
        let accepted = |key: &[u8]| disk.register(key).map_or(Ballot::ZERO, |(_, accepted)| accepted);
        let told = |key: &[u8], told: Option<Ballot>| {
            let told = told.unwrap_or_default();
            assert!(accepted(key) >= told || state.removed >= told.round || is_anew, "what is not durable was told");
        };
        match message {
            Message::Prepare(Prepare { ballot, age, .. }) => {
                assert!(state.reserved >= ballot.round, "a ballot was heard of before it was reserved");
                assert!(state.age >= *age, "an age was told before it was durable");
            }
            Message::Accept(Accept { ballot, next, age, .. }) => {
                assert!(state.reserved >= ballot.round, "a ballot was heard of before it was reserved");
                assert!(state.reserved >= next.round, "a next ballot was heard of before it was reserved");
                assert!(state.age >= *age, "an age was told before it was durable");
            }
            Message::Promise(Promise { key, ballot, accepted, .. }) => {
                let promised = disk.register(key).map_or(Ballot::ZERO, |(promised, _)| promised);
                assert!(
                    promised >= *ballot || state.removed > 0 || is_anew,
                    "a promise was made before it was durable"
                );
                told(key, accepted.as_ref().map(|(ballot, _)| *ballot));
            }
            Message::Accepted(Accepted { key, ballot }) => told(key, Some(*ballot)),
            Message::Report(Report { key, accepted, .. }) => {
                told(key, accepted.as_ref().map(|(ballot, _)| *ballot));
            }
            Message::AgeRaised(AgeRaised { age, .. }) => {
                assert!(state.age >= *age, "an age was told before it was durable");
            }
            Message::Nack(_)
            | Message::Query(_)
            | Message::RaiseAge(_)
            | Message::RequireAges(_)
            | Message::AgesRequired { .. }
            | Message::Remove(_)
            | Message::Removed { .. }
            | Message::OtherSystem { .. }
            | Message::Behind { .. }
            | Message::InForce { .. }
            | Message::Probe { .. }
            | Message::Ready { .. }
            | Message::List(_) => {}
            Message::Listed(Listed { system, .. }) => {
                let epoch = roles.map_or(0, |roles| roles.epoch());
                assert!(epoch >= system.epoch, "registers were listed before their roles were durable");
            }
        }
    }

    fn on_request(_cluster: &mut Cluster, _node: NodeId, _ticket: Ticket, request: Infallible) {
        match request {}
    }

    fn on_asked(_cluster: &mut Cluster, _node: NodeId, _ticket: Ticket, request: Infallible) {
        match request {}
    }
}
