//! Laws that hold across nodes that run a core.

use std::collections::BTreeMap;

use quorate_protocol::{Law, LogIndex, NodeId, ReplicatedLog, Role, Term, Violation};

use super::{CoreDisk, CoreMachine};
use crate::log_time::{LogTimePace, Look};
use crate::world::{ClusterLaws, Machine, NodeView, converged};

/// The core's own laws, and those that need more than the cores: a committed entry is durable on a quorum and stays so;
/// a leader was elected by votes that are durable on a quorum; whatever a leader counts as acknowledged is durable; and
/// logs applied up to the same index give equal states.
pub struct CoreLaws<P: ReplicatedLog> {
    laws: Vec<Box<dyn Law<P>>>,
    vote_of: Option<VoteOf>,
    /// The newest committed entry, and its term if the node that reported it has the entry.
    committed: (LogIndex, Option<Term>),
    /// The newest term in which each node was seen as leader.
    leads: BTreeMap<NodeId, u64>,
    looks: u64,
    log_time: LogTimePace,
    /// The state at each applied index, as it was first seen.
    digests: BTreeMap<LogIndex, u64>,
    /// The index up to which each node was checked.
    applied: BTreeMap<NodeId, LogIndex>,
}

/// Decodes a state record: the term, and the node that got the vote in it.
pub type VoteOf = fn(&[u8]) -> Option<(Term, Option<NodeId>)>;

impl<P: ReplicatedLog> CoreLaws<P> {
    /// Makes a set of the core's laws and the other laws.
    #[must_use]
    pub fn new(laws: Vec<Box<dyn Law<P>>>) -> Self {
        Self {
            laws,
            vote_of: None,
            committed: (LogIndex::ZERO, None),
            leads: BTreeMap::new(),
            looks: 0,
            log_time: LogTimePace::default(),
            digests: BTreeMap::new(),
            applied: BTreeMap::new(),
        }
    }

    /// Also checks votes and acknowledgements, for which it reads the terms and votes on disks.
    #[must_use]
    pub fn votes(mut self, vote_of: VoteOf) -> Self {
        self.vote_of = Some(vote_of);
        self
    }
}

impl<P> ClusterLaws<CoreMachine<P>> for CoreLaws<P>
where
    P: ReplicatedLog,
    CoreMachine<P>: Machine<Disk = CoreDisk>,
{
    fn check(&mut self, nodes: &[NodeView<'_, CoreMachine<P>>]) -> Result<(), Violation> {
        let running = || nodes.iter().filter_map(|view| Some((view.node, view.machine?)));
        let cores: Vec<(NodeId, &P)> = running().map(|(node, machine)| (node, &machine.core)).collect();
        for law in &mut self.laws {
            law.check(&cores)?;
        }
        for (node, machine) in running() {
            if let Some(index) = machine.log_time_fell_at {
                let detail = format!("node {node} applied entry {index} of an earlier log time than the one before it");
                return Err(Violation { law: "log time never goes back", detail });
            }
            if let Some(other) = nodes.iter().find(|other| !other.is_lost && machine.accused.contains(&other.node)) {
                let detail = format!("node {node} reports that node {} lost what it acknowledged", other.node);
                return Err(Violation { law: "nobody is taken for an older copy without reason", detail });
            }
            let index = machine.applied.0;
            if self.applied.insert(node, index) != Some(index) {
                let digest = machine.registers.digest();
                let first = *self.digests.entry(index).or_insert(digest);
                if first != digest {
                    let detail = format!("node {node} has another state than others at index {index}");
                    return Err(Violation { law: "equal state at equal index", detail });
                }
            }
        }
        self.check_votes(nodes)?;
        self.looks += 1;
        if self.looks.is_multiple_of(LOOKS_APART) {
            self.check_leaders(nodes)?;
            let look = |(_, machine): (NodeId, &CoreMachine<P>)| Look {
                start: machine.start,
                now: machine.now,
                status: machine.core.status(),
            };
            let looks: Vec<Look> = running().map(look).collect();
            self.log_time.check(&looks)?;
        }
        self.check_durable(nodes)
    }

    fn at_end(&mut self, nodes: &[NodeView<'_, CoreMachine<P>>]) -> Result<(), Violation> {
        converged(nodes)
    }
}

impl<P> CoreLaws<P>
where
    P: ReplicatedLog,
    CoreMachine<P>: Machine<Disk = CoreDisk>,
{
    /// Checks that a leader has the votes of a quorum on its disks, or records of later terms there.
    fn check_votes(&mut self, nodes: &[NodeView<'_, CoreMachine<P>>]) -> Result<(), Violation> {
        let Some(vote_of) = self.vote_of else { return Ok(()) };
        for view in nodes {
            let Some(told) = view.machine.map(|machine| machine.told).filter(|told| told.is_leader) else { continue };
            if self.leads.insert(view.node, told.term) == Some(told.term) {
                continue;
            }
            let has_voted = |voter: &&NodeView<'_, CoreMachine<P>>| {
                let vote = voter.disk.stream.state.as_deref().and_then(vote_of);
                voter.is_lost
                    || vote.is_some_and(|vote| vote.0.0 > told.term || vote == (Term(told.term), Some(view.node)))
            };
            let votes = nodes.iter().filter(has_voted).count();
            if votes * 2 <= nodes.len() {
                let (node, term) = (view.node, told.term);
                let detail = format!("node {node} leads in term {term} by {votes} durable votes of {}", nodes.len());
                return Err(Violation { law: "a leader's votes are durable on a quorum", detail });
            }
        }
        Ok(())
    }

    /// Checks that a leader's term is on its disk, and that the entries it counts for a peer are on the peer's disk,
    /// unless the peer is in a later term.
    fn check_leaders(&self, nodes: &[NodeView<'_, CoreMachine<P>>]) -> Result<(), Violation> {
        let Some(vote_of) = self.vote_of else { return Ok(()) };
        for view in nodes {
            let Some(status) = view.machine.map(|machine| machine.core.status()) else { continue };
            if status.role != Role::Leader {
                continue;
            }
            let term_of =
                |disk: &CoreDisk| disk.stream.state.as_deref().and_then(vote_of).map_or(Term(0), |vote| vote.0);
            if term_of(view.disk) < status.term {
                let detail = format!("node {} leads in term {} and may forget it", view.node, status.term);
                return Err(Violation { law: "a leader's term is durable", detail });
            }
            for peer in status.peers {
                let index = peer.match_index;
                let Some(term) = view.disk.stream.term_at(index) else { continue };
                let has_it = |other: &NodeView<'_, CoreMachine<P>>| {
                    let stream = &other.disk.stream;
                    let is_excused = other.is_lost || term_of(other.disk) > status.term;
                    is_excused || stream.base.index >= index || stream.term_at(index) == Some(term)
                };
                if nodes.iter().any(|other| other.node == peer.node && !has_it(other)) {
                    let (leader, node) = (view.node, peer.node);
                    let detail = format!("node {leader} counts entry {index} of node {node}, which is not on its disk");
                    return Err(Violation { law: "what a leader counts is durable", detail });
                }
            }
        }
        Ok(())
    }

    /// Checks that committed entries are durable on a quorum, from the moment their commitment is known.
    fn check_durable(&mut self, nodes: &[NodeView<'_, CoreMachine<P>>]) -> Result<(), Violation> {
        for view in nodes {
            if let Some(machine) = view.machine
                && machine.told.committed > self.committed.0.0
            {
                let index = LogIndex(machine.told.committed);
                // The node that reports the index has the entry, unless it has compacted it. Another entry in its place
                // does not count as a copy.
                self.committed = (index, view.disk.stream.term_at(index));
            }
        }
        let (index, term) = self.committed;
        // The content of a lost disk is unknown: it may have been one of the copies.
        let has_it = |view: &&NodeView<'_, CoreMachine<P>>| {
            let here = view.disk.stream.term_at(index);
            view.is_lost || view.disk.stream.base.index >= index || (here.is_some() && (term.is_none() || here == term))
        };
        let copies = nodes.iter().filter(has_it).count();
        if copies * 2 > nodes.len() {
            return Ok(());
        }
        let detail = format!("entry {index} is committed, and durable on {copies} of {}", nodes.len());
        Err(Violation { law: "committed is durable on a quorum", detail })
    }
}

/// Number of steps between two checks of the leaders. A fault is not missed, because a leader does not forget what it
/// counted.
const LOOKS_APART: u64 = 32;
