//! Laws of groups whose members change.

use std::collections::{BTreeMap, BTreeSet};

use quorate_protocol::{Configuration, Incarnation, LogIndex, NodeId, Violation};

use super::NodeMachine;
use super::members::marks;
use super::replica::{ChangeOutcome, REPLICA_GROUP, Replicated, Service, replica_of};
use crate::world::{Machine, NodeView, converged};

/// The configurations that a core has: the newest one at or before the base of its log, and every later one, each with
/// the index from which it is in force.
pub type ConfigurationsOf<L> = fn(&L) -> &[(LogIndex, Configuration)];

type View<'a, V> = NodeView<'a, NodeMachine<Replicated<V>>>;

/// Laws of the members of a group: a node votes only once it has caught up; a change that is said to be applied is
/// complete; and one that is said not to be applied never is. They also see what became of changes.
pub struct MemberLaws<V: Service> {
    configurations: ConfigurationsOf<V::Log>,
    /// Number of entries that a learner may be behind when it becomes a voter.
    lag_max: u64,
    /// Number of changes of each node at the last check.
    checked: BTreeMap<NodeId, u64>,
    /// The newest configuration that a leader was seen to have at each index, and the leader.
    appended: BTreeMap<LogIndex, (Configuration, NodeId)>,
    /// The leader under which a learner began to wait for its promotion.
    waiting: BTreeMap<NodeId, NodeId>,
    /// The index at which each attempt was committed.
    made: BTreeMap<u64, LogIndex>,
    /// The newest committed configuration that is not joint.
    complete: (LogIndex, Configuration),
    /// Attempts of which it was said that they are not applied.
    not_applied: BTreeSet<u64>,
    /// Number of outcomes of each node since its last start that were judged.
    judged: BTreeMap<NodeId, (Incarnation, u32, usize)>,
    /// Nodes whose disks were lost at the last check.
    lost: BTreeSet<NodeId>,
    reached: BTreeMap<&'static str, u64>,
}

impl<V: Service> MemberLaws<V> {
    /// Makes the laws. A learner may be `lag_max` entries behind when it becomes a voter.
    pub fn new(configurations: ConfigurationsOf<V::Log>, lag_max: u64) -> Self {
        Self {
            configurations,
            lag_max,
            checked: BTreeMap::new(),
            appended: BTreeMap::new(),
            waiting: BTreeMap::new(),
            made: BTreeMap::new(),
            complete: Default::default(),
            not_applied: BTreeSet::new(),
            judged: BTreeMap::new(),
            lost: BTreeSet::new(),
            reached: BTreeMap::new(),
        }
    }

    pub(super) fn check(&mut self, nodes: &[View<'_, V>]) -> Result<(), Violation> {
        for view in nodes {
            let Some(machine) = view.machine else { continue };
            if self.checked.insert(view.node, view.changes) == Some(view.changes) {
                continue;
            }
            let Some(list) = self.list(machine) else { continue };
            let seen = machine.observe();
            let committed = list.partition_point(|(index, _)| index.0 <= seen.committed);
            if seen.is_leader {
                self.see_appended(view.node, list, nodes)?;
            }
            for (index, configuration) in &list[..committed] {
                self.see_committed(*index, configuration)?;
            }
            self.judge(view.node, machine)?;
        }
        self.lost = nodes.iter().filter(|view| view.is_lost).map(|view| view.node).collect();
        Ok(())
    }

    /// Checks that the members agree in the end, and that no change is under way.
    pub(super) fn at_end(&self, nodes: &[View<'_, V>]) -> Result<(), Violation> {
        let (_, configuration) = &self.complete;
        let members: Vec<_> = nodes.iter().copied().filter(|view| configuration.contains(view.node)).collect();
        converged(&members)?;
        for view in members.iter().filter(|view| !view.is_lost) {
            let Some((_, newest)) = view.machine.and_then(|machine| self.list(machine)?.last()) else { continue };
            // A node that was removed is not admitted again with a new disk unless the configuration names it.
            let disk = Some(view.disk.incarnation());
            let waits = configuration.member(view.node).is_some_and(|member| {
                member.promotion.is_some() && (view.disk.is_first() || member.incarnation == disk)
            });
            if waits || newest != configuration {
                let detail = format!("node {} has {newest:?}, and {configuration:?} is complete", view.node);
                return Err(Violation { law: "changes of members end", detail });
            }
        }
        Ok(())
    }

    pub(super) fn reached(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.reached.iter().map(|(what, times)| (*what, *times))
    }

    /// Checks that a committed entry is durable on the disks of a quorum. `before` is the index that was committed
    /// before.
    pub(super) fn check_durable(
        &self,
        by: &View<'_, V>,
        index: LogIndex,
        before: LogIndex,
        has_it: impl Fn(&View<'_, V>) -> bool,
        nodes: &[View<'_, V>],
    ) -> Result<(), Violation> {
        let Some(list) = by.machine.and_then(|machine| self.list(machine)) else { return Ok(()) };
        let from = list.partition_point(|(at, _)| *at <= index).saturating_sub(1);
        let holds = |node: NodeId, disk: Option<Incarnation>| {
            let view = nodes.iter().find(|view| view.node == node);
            view.is_some_and(|view| {
                view.is_lost || (disk.is_none_or(|disk| disk == view.disk.incarnation()) && has_it(view))
            })
        };
        let is_on_quorum = |(at, configuration): &(LogIndex, Configuration)| {
            // A leader may count by a newer configuration that was lost with it. Then the joint one before it is
            // committed.
            let is_left = configuration.is_joint() && *at <= before;
            let halves = [configuration.members(), configuration.outgoing()];
            let halves = if is_left { &halves[..1] } else { &halves[..] };
            halves.iter().all(|half| {
                let voters = half.iter().filter(|member| member.votes());
                let (held, all) = voters.fold((0, 0), |(held, all), member| {
                    (held + usize::from(holds(member.node, member.incarnation)), all + 1)
                });
                all == 0 || held * 2 > all
            })
        };
        if list[from..].iter().any(is_on_quorum) {
            return Ok(());
        }
        let detail =
            format!("entry {index} is committed, says node {}, and is on no quorum of {:?}", by.node, &list[from..]);
        Err(Violation { law: "committed is durable on a quorum", detail })
    }

    fn list<'a>(&self, machine: &'a NodeMachine<Replicated<V>>) -> Option<&'a [(LogIndex, Configuration)]> {
        replica_of(machine, REPLICA_GROUP).map(|replica| (self.configurations)(replica.core()))
    }

    /// A leader has these configurations, committed or not.
    fn see_appended(
        &mut self,
        leader: NodeId,
        list: &[(LogIndex, Configuration)],
        nodes: &[View<'_, V>],
    ) -> Result<(), Violation> {
        for pair in list.windows(2) {
            let [(before_index, before), (index, configuration)] = pair else { continue };
            let is_known = self.appended.get(index).is_some_and(|(known, _)| known == configuration);
            if is_known || before.members().is_empty() {
                continue;
            }
            let began = self.appended.get(before_index).map(|(_, leader)| *leader);
            self.appended.insert(*index, (configuration.clone(), leader));
            if before.is_joint() && !configuration.is_joint() {
                let is_other = began.is_some_and(|began| began != leader);
                self.note(reached_of_members::LEFT_BY_ANOTHER, is_other);
                self.note(reached_of_members::LEADER_REMOVED, !configuration.contains(leader));
            }
            self.see_promoted(leader, *index, [before, configuration], nodes)?;
        }
        Ok(())
    }

    fn see_promoted(
        &mut self,
        leader: NodeId,
        index: LogIndex,
        [before, configuration]: [&Configuration; 2],
        nodes: &[View<'_, V>],
    ) -> Result<(), Violation> {
        for member in configuration.members() {
            let was = before.members().iter().find(|was| was.node == member.node);
            if member.promotion.is_some() && was.is_none_or(|was| was.promotion.is_none()) {
                self.waiting.insert(member.node, leader);
            }
            if !member.votes() || was.is_some_and(quorate_protocol::Member::votes) {
                continue;
            }
            let adder = self.waiting.remove(&member.node);
            self.note(reached_of_members::PROMOTED, true);
            self.note(reached_of_members::PROMOTED_BY_ANOTHER, adder.is_some_and(|adder| adder != leader));
            let Some(view) = nodes.iter().find(|view| view.node == member.node && !view.is_lost) else { continue };
            let last = view.disk.durable(REPLICA_GROUP).map(super::Kept::last).unwrap_or_default();
            if last.0 + self.lag_max + 1 < index.0 {
                let detail = format!("node {} votes from entry {index} on, and has entries up to {last}", member.node);
                return Err(Violation { law: "a node votes once it has caught up", detail });
            }
        }
        Ok(())
    }

    fn see_committed(&mut self, index: LogIndex, configuration: &Configuration) -> Result<(), Violation> {
        for mark in marks(configuration) {
            self.made.entry(mark.attempt).or_insert(index);
            if self.not_applied.contains(&mark.attempt) {
                return Err(applied_after_all(mark.attempt));
            }
        }
        if configuration.is_joint() || index <= self.complete.0 {
            return Ok(());
        }
        let (_, before) = std::mem::replace(&mut self.complete, (index, configuration.clone()));
        for node in self.lost.clone() {
            let (was, is) = (before.member(node), configuration.member(node));
            self.note(reached_of_members::WIPED_REMOVED, was.is_some() && is.is_none());
        }
        for member in configuration.members().iter().filter(|member| member.votes() && member.incarnation.is_some()) {
            let was =
                before.member(member.node).is_some_and(|was| was.votes() && was.incarnation == member.incarnation);
            self.note(reached_of_members::WIPED_VOTES, !was);
        }
        Ok(())
    }

    /// Compares the new outcomes that a node has told its operator with the configurations.
    fn judge(&mut self, node: NodeId, machine: &NodeMachine<Replicated<V>>) -> Result<(), Violation> {
        let outcomes = machine.application().changes();
        let (disk, start) = (machine.node().identity().incarnation, machine.start);
        let judged = self.judged.insert(node, (disk, start, outcomes.len()));
        let from = judged.filter(|judged| (judged.0, judged.1) == (disk, start)).map_or(0, |judged| judged.2);
        for (attempt, outcome) in &outcomes[from..] {
            let made = self.made.get(attempt).copied();
            match outcome {
                ChangeOutcome::Applied => {
                    self.note(reached_of_members::APPLIED, true);
                    if made.is_none_or(|index| index > self.complete.0) {
                        let detail = format!("node {node} says that attempt {attempt} is applied: {made:?}");
                        return Err(Violation { law: "a change that is applied is complete", detail });
                    }
                }
                ChangeOutcome::NotApplied => {
                    self.note(reached_of_members::NOT_APPLIED, true);
                    self.not_applied.insert(*attempt);
                    if made.is_some() {
                        return Err(applied_after_all(*attempt));
                    }
                }
                ChangeOutcome::Unknown => self.note(reached_of_members::UNKNOWN, true),
            }
        }
        Ok(())
    }

    fn note(&mut self, what: &'static str, is_so: bool) {
        if is_so {
            *self.reached.entry(what).or_insert(0) += 1;
        }
    }
}

fn applied_after_all(attempt: u64) -> Violation {
    let detail = format!("attempt {attempt} is committed");
    Violation { law: "a change that is not applied never is", detail }
}

/// Events that runs with changing members reach.
pub mod reached_of_members {
    /// An operator was told that a change is applied.
    pub const APPLIED: &str = "a change of members was applied";
    /// An operator was told that a change is not applied.
    pub const NOT_APPLIED: &str = "a change of members was not applied";
    /// An operator was told that the outcome of a change is unknown.
    pub const UNKNOWN: &str = "the outcome of a change of members was unknown";
    /// A joint configuration was left by another leader than the one that began it.
    pub const LEFT_BY_ANOTHER: &str = "another leader left a joint configuration";
    /// A leader left the group.
    pub const LEADER_REMOVED: &str = "a leader was removed";
    /// A learner became a voter.
    pub const PROMOTED: &str = "a learner was promoted";
    /// A learner became a voter under another leader than the one that was asked for it.
    pub const PROMOTED_BY_ANOTHER: &str = "another leader promoted a learner";
    /// A member whose disk was wiped left the group.
    pub const WIPED_REMOVED: &str = "a wiped node left the group";
    /// A member whose disk was wiped votes again, with its new disk.
    pub const WIPED_VOTES: &str = "a wiped node votes with its new disk";
    /// A learner got a snapshot.
    pub const LEARNER_INSTALLED: &str = "a learner was brought up by a snapshot";
    /// A node learned that it was removed.
    pub const REMOVED_TOLD: &str = "a removed node learned of its removal";
}

/// The same, for reports.
pub const EXPECTED_OF_MEMBERS: &[&str] = &[
    reached_of_members::APPLIED,
    reached_of_members::NOT_APPLIED,
    reached_of_members::UNKNOWN,
    reached_of_members::LEFT_BY_ANOTHER,
    reached_of_members::LEADER_REMOVED,
    reached_of_members::PROMOTED,
    reached_of_members::PROMOTED_BY_ANOTHER,
    reached_of_members::WIPED_REMOVED,
    reached_of_members::WIPED_VOTES,
    reached_of_members::LEARNER_INSTALLED,
    reached_of_members::REMOVED_TOLD,
];
