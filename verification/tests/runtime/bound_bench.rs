//! A bound group whose core works for databases: three nodes, the databases, and the applications of the nodes.

use quorate_protocol::{NodeId, Protocol};
use quorate_raft::{Raft, Settings as RaftSettings};
use quorate_runtime::ReplicaSettings;
use quorate_runtime::bound::Bound;
use quorate_runtime::group::Hostable;
use quorate_runtime::hosted::{NotServed, Told};

use crate::cluster::{Cluster, Member, N1, N3};

/// The databases that outlive every node, and the work that the applications of the nodes do in them.
pub(crate) trait Databases<P: Protocol>: Default + std::fmt::Debug {
    /// Carries out a request. `None` if the application of the node stops in the midst of it.
    fn carry_out(&mut self, request: &P::Request) -> Option<P::Answer>;
}

pub(crate) struct Bench<P: Hostable, D>
where
    Bound<Raft, P>: Member,
{
    pub(crate) cluster: Cluster<Bound<Raft, P>>,
    pub(crate) databases: D,
    pub(crate) events: Vec<(NodeId, P::Event)>,
    /// The application of this node has stopped.
    stopped: Option<NodeId>,
}

impl<P: Hostable, D: Databases<P>> Bench<P, D>
where
    Bound<Raft, P>: Member<Extra = ()>,
{
    /// Three nodes, of which the first serves.
    pub(crate) fn new() -> Self {
        let mut cluster: Cluster<Bound<Raft, P>> =
            Cluster::prepare(3, ReplicaSettings::default(), RaftSettings::default(), || None);
        cluster.boot_all();
        let now = cluster.clocks(N1);
        cluster.replica(N1).replica_mut().campaign(now).expect("nobody leads");
        cluster.settle();
        assert_eq!(cluster.run_until_served(N3), N1);
        Self { cluster, databases: D::default(), events: Vec::new(), stopped: None }
    }

    pub(crate) fn command(&mut self, node: NodeId, command: P::Command) {
        self.try_command(node, command).expect("it serves");
    }

    pub(crate) fn try_command(&mut self, node: NodeId, command: P::Command) -> Result<(), NotServed> {
        let now = self.cluster.clocks(node);
        self.cluster.replica(node).hosted_mut().command(now, command)?;
        self.cluster.settle();
        Ok(())
    }

    /// Lets a millisecond pass, and the applications work.
    pub(crate) fn step(&mut self) {
        self.cluster.run(1);
        for node in (1..=3).map(NodeId) {
            if self.cluster.nodes[&node].replica.is_some() && self.stopped != Some(node) {
                self.work(node);
            }
        }
    }

    fn work(&mut self, node: NodeId) {
        for told in self.cluster.replica(node).hosted_mut().take() {
            match told {
                Told::Event(event) => self.events.push((node, event)),
                Told::Request { ticket, request } => {
                    let Some(answer) = self.databases.carry_out(&request) else {
                        self.stopped = Some(node);
                        return;
                    };
                    let now = self.cluster.clocks(node);
                    // The core may be gone by now.
                    let _ = self.cluster.replica(node).hosted_mut().complete(now, ticket, answer);
                }
                Told::Lost(_) => panic!("they listen"),
                Told::Serving | Told::NotServing { .. } => {}
            }
        }
    }

    pub(crate) fn run_until<T>(&mut self, milliseconds: u64, found: impl Fn(&Self) -> Option<T>) -> T {
        for _ in 0..milliseconds {
            if let Some(found) = found(self) {
                return found;
            }
            self.step();
        }
        panic!("not within {milliseconds} ms: {:?}, {:?}", self.events, self.databases);
    }

    /// The first event of which this finds something, in any node.
    pub(crate) fn find<T>(&self, find: impl Fn(NodeId, &P::Event) -> Option<T>) -> Option<T> {
        self.events.iter().find_map(|(node, event)| find(*node, event))
    }

    /// Kills the node whose application stops. The others go on.
    pub(crate) fn kill(&mut self) -> NodeId {
        let node = self.run_until(1_000, |bench| bench.stopped);
        self.cluster.crash(node);
        self.stopped = None;
        node
    }
}

/// From a crash to the end of an election: the time-outs of two rounds at most, the first of which may be split, and
/// the repetition of a request to a database.
pub(crate) fn failover_ms() -> u64 {
    let election = RaftSettings::default().election_timeout_max;
    2 * u64::try_from(election.as_millis()).expect("short")
}
