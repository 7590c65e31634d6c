//! Synod in a cluster under test.

use std::convert::Infallible;

use quorate_protocol::testing::Subject;
use quorate_protocol::{Law, NodeId, Ticket};

use super::laws::laws;
use super::words::Records;
use super::{Builder, Cluster, Node};
use crate::QuorumSystem;
use crate::synod::message::{Accept, Accepted, Prepare, Promise, Report};
use crate::synod::{Config, GroupRoles, Message, Settings, Synod};

/// Settings of a cluster.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// Roles and quorums. By default every node has every role, and majorities are quorums.
    pub group: Option<GroupRoles>,
    /// Settings of every node.
    pub settings: Settings,
}

impl From<Settings> for Setup {
    fn from(settings: Settings) -> Self {
        Self { group: None, settings }
    }
}

impl From<GroupRoles> for Setup {
    fn from(group: GroupRoles) -> Self {
        Self { group: Some(group), settings: Settings::default() }
    }
}

impl Subject for Synod {
    type Settings = Setup;
    type Application = ();

    const TELLS_LINKS: bool = true;

    /// Each start uses another seed than the last.
    fn config(cluster: &Builder, node: NodeId, start: u64) -> Config {
        let seed = cluster.seed.wrapping_mul(1000).wrapping_add(node.0).wrapping_add(start << 32);
        let Setup { group, settings } = cluster.settings.clone();
        let majority = || QuorumSystem::majority((1..=cluster.nodes).map(NodeId)).expect("a sensible number of nodes");
        let group = group.unwrap_or_else(|| GroupRoles::of(majority()));
        Config::new(node, seed, group, settings).expect("valid settings")
    }

    fn laws() -> Vec<Box<dyn Law<Self>>> {
        laws()
    }

    /// A proposal that is known to be chosen is on the disks of a quorum. The content of a lost disk is unknown.
    fn check_disks(cluster: &Cluster) {
        let mut running = cluster.nodes.values().filter_map(|node| node.core.as_ref());
        let Some((group, chosen)) = running.find_map(|core| Some((core.config().group(), core.learner.chosen()?)))
        else {
            return;
        };
        let holds = |node: NodeId| {
            let node = &cluster.nodes[&node];
            node.is_wiped() || node.disk.accepted().is_some_and(|(_, accepted)| accepted == *chosen)
        };
        assert!(group.quorums().is_accept_quorum(holds), "what is chosen is on the disks of a quorum");
        let is_removed = |node: &Node| node.disk.written().any(|(_, bytes)| bytes.is_empty());
        assert!(!cluster.nodes.values().any(is_removed), "no record is ever taken away");
    }

    fn check_sent(node: &Node, _to: NodeId, message: &Message) {
        let disk = &node.disk;
        let accepted = || disk.accepted().map(|(ballot, _)| ballot);
        match message {
            Message::Prepare(Prepare { ballot, .. }) | Message::Accept(Accept { ballot, .. }) => {
                assert!(disk.round() >= ballot.round, "a ballot was heard of before it was durable");
            }
            Message::Promise(Promise { ballot, accepted: told }) => {
                assert!(disk.promised() >= *ballot, "a promise was made before it was durable");
                let told = told.as_ref().map(|(ballot, _)| *ballot);
                assert!(accepted() >= told, "what was accepted was told before it was durable");
            }
            Message::Accepted(Accepted { ballot }) => {
                assert!(accepted() >= Some(*ballot), "an acceptance was told before it was durable");
            }
            Message::Chosen(_) | Message::Announce | Message::Known => {
                assert!(disk.chosen().is_some(), "a decision was told before it was durable");
            }
            Message::Report(Report { accepted: told, .. }) => {
                let told = told.as_ref().map(|(ballot, _)| *ballot);
                assert!(accepted() >= told, "what was accepted was told before it was durable");
            }
            Message::Nack(_) | Message::Inquire | Message::Query(_) | Message::OtherSystem { .. } => {}
        }
    }

    fn on_request(_cluster: &mut Cluster, _node: NodeId, _ticket: Ticket, request: Infallible) {
        match request {}
    }

    fn on_asked(_cluster: &mut Cluster, _node: NodeId, _ticket: Ticket, request: Infallible) {
        match request {}
    }
}
