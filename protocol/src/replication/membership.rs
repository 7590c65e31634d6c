//! Changes of members by joint consensus (Raft §6; thesis §4.3), promotion of learners, and the end of membership.
//!
//! A configuration is in force from the moment at which it is appended. A change that alters the set of voters goes
//! through a joint configuration, in which every decision needs a quorum of the old and of the new voters. Once the
//! joint configuration is committed, its leader, whoever that is by then, appends the new configuration alone. Changes
//! begin one at a time, and only after the leader has committed an entry of its own term: otherwise two leaders could
//! each make a change that the other does not know (see the correction to the thesis' single-server changes of 2015).

use std::collections::BTreeMap;

use crate::replication::Election;
use crate::replication::leader::{Leader, Office};
use crate::replication::peers::Peers;
use crate::replication::progress::{Progress, SendState};
use crate::replication::quorum::reached_by_quorum;
use crate::replication::shared::Shared;
use crate::{
    Configuration, ConfigurationError, DiskState, ENTRY_HEADER_BYTES, EntryKind, Instant, LogIndex, Member,
    MemberChange, NodeId, ProposalId, RefuseReason,
};

/// The learners that wait for their promotion, as their leader sees them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Promotions {
    rounds: BTreeMap<NodeId, Round>,
}

/// A round of catching up (thesis §4.2.1): the learner receives the entries that the log had when the round began.
#[derive(Clone, Copy, Debug)]
struct Round {
    goal: LogIndex,
    since: Instant,
}

impl Promotions {
    /// Returns the learners that have caught up: their last round took less than an election time-out, and they are
    /// only a few entries behind. A learner that is gone, or whose disk does not accept writes, begins again.
    fn due<E: Election>(&mut self, shared: &Shared<E>, peers: &Peers) -> Vec<NodeId> {
        let (now, last, settings) = (shared.now(), shared.log.last(), shared.settings());
        let members = shared.log.configuration().members();
        let waiting: Vec<NodeId> =
            members.iter().filter(|member| member.promotion.is_some()).map(|member| member.node).collect();
        self.rounds.retain(|node, _| waiting.contains(node));
        let mut due = Vec::new();
        for node in waiting {
            let able = peers.get(node).filter(|progress| is_able(progress, shared));
            let Some(progress) = able else {
                self.rounds.remove(&node);
                continue;
            };
            let round = self.rounds.entry(node).or_insert(Round { goal: last, since: now });
            if progress.match_index < round.goal {
                continue;
            }
            let is_short = now.since(round.since) <= settings.election_timeout_min;
            if is_short && progress.is_close(shared) {
                due.push(node);
            } else {
                *round = Round { goal: last, since: now };
            }
        }
        due
    }

    /// The goal of each round, and its beginning.
    pub(crate) fn rounds(&self) -> impl Iterator<Item = (NodeId, LogIndex, Instant)> + '_ {
        self.rounds.iter().map(|(node, round)| (*node, round.goal, round.since))
    }
}

/// The leader's part in a change.
impl Leader {
    /// Appends the configuration that begins a change, or refuses the change with a reason.
    pub(crate) fn on_change<E: Election>(&mut self, shared: &mut Shared<E>, id: ProposalId, changes: &[MemberChange]) {
        let next = match self.refusal_of_changes() {
            Some(reason) => Err(reason),
            None => requested(shared, changes),
        };
        let next = next.and_then(|next| {
            if is_carried(shared, &self.peers, &next) { Ok(next) } else { Err(RefuseReason::QuorumSilent) }
        });
        match next {
            Ok(configuration) => self.append_configuration(shared, id, configuration),
            Err(reason) => shared.refuse(id, reason),
        }
    }

    /// Carries a change on that is under way, whoever began it: leaves a joint configuration that is committed, and
    /// ends the leadership of a node that votes no more.
    pub(crate) fn carry_change_on<E: Election>(&mut self, shared: &mut Shared<E>) {
        if !shared.is_configuration_committed() {
            return;
        }
        let configuration = shared.log.configuration();
        if configuration.is_joint() {
            let members = configuration.members().to_vec();
            let next = Configuration::new(members).expect("a half of a valid configuration");
            self.append_configuration(shared, ProposalId::default(), next);
        } else if !configuration.is_voter(shared.config.node()) && !self.is_retiring {
            self.is_retiring = true;
            if let Some(to) = self.peers.successor(shared, |_, _| true) {
                self.begin_transfer(shared, to, shared.settings().election_timeout_max);
            }
        }
    }

    /// With each tick: gives learners the vote that should have it, and steps down if this node votes no more and has
    /// handed its leadership over, or found no successor.
    pub(crate) fn look_after_members<E: Election>(&mut self, shared: &mut Shared<E>) -> Office {
        self.peers.part(shared);
        if self.is_retiring && !self.transfers.is_under_way() {
            return Office::StepsDown;
        }
        if shared.is_settled()
            && !self.is_retiring
            && let Some(goal) = self.wanted_members(shared)
            && let Ok(next) = step_towards(shared.log.configuration(), goal)
            && is_carried(shared, &self.peers, &next)
        {
            self.append_configuration(shared, ProposalId::default(), next);
        }
        Office::Stays
    }

    /// Returns the configuration that the leader wants by itself, if it is another than the present one: learners that
    /// have caught up vote, and a spare votes in the place of a voter that is gone.
    fn wanted_members<E: Election>(&mut self, shared: &Shared<E>) -> Option<Configuration> {
        let due = self.promotions.due(shared, &self.peers);
        if due.is_empty() {
            return with_spare(shared, &self.peers);
        }
        shared.log.configuration().promoted(&due).ok()
    }

    fn append_configuration<E: Election>(
        &mut self,
        shared: &mut Shared<E>,
        id: ProposalId,
        configuration: Configuration,
    ) {
        let payload = configuration.encode();
        let index = self.append_own(shared, EntryKind::Configuration, id, payload);
        shared.log.note_configuration(index, configuration);
        self.peers.follow_configuration(shared);
    }
}

/// Returns true if a quorum of this configuration is there, or it has the voters of the present one. Without a quorum a
/// joint configuration is never committed, and nothing can be changed after it.
fn is_carried<E: Election>(shared: &Shared<E>, peers: &Peers, next: &Configuration) -> bool {
    let me = shared.config.node();
    let is_there = |node| node == me || peers.get(node).is_some_and(|peer| peer.counts() && peer.is_alive(shared));
    !next.is_joint() || reached_by_quorum(next, is_there)
}

/// Returns true if a peer could vote: it is there, and accepts entries as they come.
fn is_able<E: Election>(progress: &Progress, shared: &Shared<E>) -> bool {
    progress.counts()
        && progress.is_alive(shared)
        && progress.disk == DiskState::Ready
        && progress.pace == SendState::Replicate
}

/// Returns the configuration in which a spare votes in the place of a voter that was not heard from for
/// `replace_after`. The voter becomes a learner, and with that a spare if it comes back.
fn with_spare<E: Election>(shared: &Shared<E>, peers: &Peers) -> Option<Configuration> {
    let (now, patience) = (shared.now(), shared.settings().replace_after?);
    let configuration = shared.log.configuration();
    let is_gone = |node: &NodeId| peers.get(*node).is_some_and(|peer| now.since(peer.heard_at(now)) >= patience);
    let gone = configuration.voters().find(is_gone)?;
    let is_spare = |member: &&Member| {
        let is_idle = !member.votes() && member.promotion.is_none() && member.priority > 0;
        let peer = peers.get(member.node);
        is_idle && peer.is_some_and(|progress| is_able(progress, shared) && progress.is_close(shared))
    };
    let spare = configuration.members().iter().find(is_spare)?.node;
    configuration.promoted(&[spare]).ok()?.changed(&[MemberChange::Demote(gone)]).ok()
}

/// Returns the configuration that begins these changes.
fn requested<E: Election>(shared: &Shared<E>, changes: &[MemberChange]) -> Result<Configuration, RefuseReason> {
    if !shared.is_settled() {
        return Err(RefuseReason::ConfigurationPending);
    }
    let current = shared.log.configuration();
    let changed = current.changed(changes).map_err(RefuseReason::ConfigurationInvalid)?;
    let next = step_towards(current, changed).map_err(RefuseReason::ConfigurationInvalid)?;
    // A promotion that follows is joint as well.
    let members = next.members().to_vec();
    let widest = Configuration::joint(members.clone(), members).map_err(RefuseReason::ConfigurationInvalid)?;
    let bytes = ENTRY_HEADER_BYTES + next.encode().len().max(widest.encode().len());
    if bytes > shared.settings().entry_bytes_max { Err(RefuseReason::TooLarge) } else { Ok(next) }
}

/// Returns the next configuration on the way from `current` to `goal`: the goal itself if it has the same voters, or
/// the joint configuration.
fn step_towards(current: &Configuration, goal: Configuration) -> Result<Configuration, ConfigurationError> {
    if current.voters().eq(goal.voters()) {
        return Ok(goal);
    }
    Configuration::joint(goal.members().to_vec(), current.members().to_vec())
}
