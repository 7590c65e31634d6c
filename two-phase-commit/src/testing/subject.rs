//! Two-phase commit in a cluster under test.

use std::collections::{BTreeMap, BTreeSet};

use quorate_protocol::testing::Subject;
use quorate_protocol::{Input, Instant, Law, NodeId, Ticket};

use super::laws::laws;
use super::manager::Manager;
use super::said::Said;
use super::{Builder, Cluster, Node};
use crate::{Answer, Config, CoordinatorId, Event, Message, Request, Settings, TwoPhaseCommit};

/// Settings of all nodes of a cluster.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// Times and bounds.
    pub settings: Settings,
    /// The coordinators of nodes that take over another one than that of their own log, in their second start.
    pub coordinators: BTreeMap<NodeId, CoordinatorId>,
}

impl From<Settings> for Setup {
    fn from(settings: Settings) -> Self {
        Self { settings, coordinators: BTreeMap::new() }
    }
}

/// The application of a node: a resource manager, and the requests that wait for it.
#[derive(Debug, Default)]
pub struct Site {
    /// The resource manager.
    pub manager: Manager,
    /// True while requests are held back.
    pub(super) is_holding: bool,
    pub(super) held: Vec<(Ticket, Request)>,
    /// Requests that were received since the start. One that comes again is the same request.
    heard: BTreeSet<Ticket>,
    /// Time until which the manager is busy with earlier requests.
    busy_until: Instant,
}

impl Subject for TwoPhaseCommit {
    type Settings = Setup;
    type Application = Site;

    fn config(cluster: &Builder, node: NodeId, start: u64) -> Config {
        let Setup { settings, coordinators } = &cluster.settings;
        let config = Config::new(node, cluster.seed ^ node.0, settings.clone()).expect("usable settings");
        match coordinators.get(&node) {
            Some(coordinator) if start > 1 => config.with_coordinator(*coordinator),
            _ => config,
        }
    }

    fn laws() -> Vec<Box<dyn Law<Self>>> {
        laws()
    }

    fn check_sent(node: &Node, to: NodeId, message: &Message) {
        Said::by(&node.disk).check_message(to, message);
    }

    fn on_event(node: &mut Node, event: &Event) {
        Said::by(&node.disk).check_event(event);
        node.application.manager.hear(event);
    }

    /// An application carries out one request after another.
    fn on_request(cluster: &mut Cluster, node: NodeId, ticket: Ticket, request: Request) {
        let is_lost = cluster.strikes(cluster.faults.deafness_percent);
        let site = &mut cluster.node_mut(node.0).application;
        if is_lost || !site.heard.insert(ticket) {
            return;
        }
        let busy_until = site.busy_until;
        let delay = cluster.draw(cluster.faults.answer_max).max(busy_until.since(cluster.now()));
        cluster.node_mut(node.0).application.busy_until = cluster.now().after(delay);
        cluster.ask_later(node, delay, ticket, request);
    }

    fn on_asked(cluster: &mut Cluster, node: NodeId, ticket: Ticket, request: Request) {
        let is_failed = cluster.strikes(cluster.faults.failure_percent);
        if !cluster.survives(node) {
            return;
        }
        let site = &mut cluster.node_mut(node.0).application;
        if site.is_holding {
            site.held.push((ticket, request));
            return;
        }
        let answer = site.manager.answer(&request);
        if cluster.survives(node) {
            let answer = if is_failed { Answer::Failed } else { answer };
            cluster.input(node, Input::Completed { ticket, answer });
        }
    }

    fn on_crash(site: &mut Site) {
        site.manager.crash();
        site.is_holding = false;
        site.held.clear();
        site.heard.clear();
    }
}
