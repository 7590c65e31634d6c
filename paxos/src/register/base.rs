//! The base on which the roles of a node stand: what they share, and the state record.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use quorate_protocol::{
    Chassis, Instant, LogIndex, NodeId, Now, Operation, OutboxLimits, Random, STATE_BYTES_MAX, Ticket, ViewWriter,
};

use super::codec::{RECORD_OVERHEAD_BYTES, encode_state};
use super::in_force::ROLES_BYTES_MAX;
use super::state::State;
use super::{Config, Ignored, Message, Register, RolesInForce, System};
use crate::Ballot;
use crate::ballot::{ROUND_LEAP_MAX, ROUND_MAX};
use crate::waits::draw;

/// State that every role of a node uses.
#[derive(Clone, Debug)]
pub(crate) struct Base {
    pub(crate) config: Config,
    pub(crate) chassis: Chassis<Register, Ignored>,
    random: Random,
    /// The roles in force as far as this node knows. The epoch never decreases.
    in_force: RolesInForce,
    /// The newest state record.
    state: State,
    /// The write that makes it durable.
    state_ticket: Ticket,
    /// True if a state record was written or is being written.
    is_founded: bool,
    /// The highest round that this node has used or seen. Never decreases.
    round: u64,
    /// Ballots of this node up to this round may leave: the reservation is durable. At most `state.reserved`.
    safe: u64,
    /// Messages to this node itself, each with the write that it waits for.
    mail: VecDeque<(Ticket, Message)>,
    /// Members that could not be reached and have not been heard since. At the start these are all other members.
    lost: BTreeSet<NodeId>,
    /// Nodes that were founded with other roles. Bounded.
    foreign: BTreeSet<NodeId>,
}

impl Base {
    /// The base of a node with this state record, if it has one, that has promised ballots up to `round`.
    pub(crate) fn new(now: Now, config: Config, found: Option<(RolesInForce, State)>, round: u64) -> Self {
        let is_founded = found.is_some();
        let (in_force, state) =
            found.unwrap_or_else(|| (RolesInForce::founding(config.roles().clone()), State::default()));
        let settings = config.settings();
        let limits =
            OutboxLimits { held_messages_max: settings.held_messages_max, write_bytes_max: settings.batch_bytes_max };
        Self {
            chassis: Chassis::new(now, limits),
            random: Random::new(config.seed()),
            round: round.max(state.reserved),
            safe: state.reserved,
            state,
            is_founded,
            state_ticket: Ticket(0),
            mail: VecDeque::new(),
            lost: in_force.members().into_iter().filter(|node| *node != config.node()).collect(),
            in_force,
            foreign: BTreeSet::new(),
            config,
        }
    }

    /// This node.
    pub(crate) fn node(&self) -> NodeId {
        self.config.node()
    }

    /// The roles in force.
    pub(crate) fn in_force(&self) -> &RolesInForce {
        &self.in_force
    }

    /// Names them.
    pub(crate) fn system(&self) -> System {
        System { founding: self.config.system(), epoch: self.in_force.epoch() }
    }

    /// True if this node is an acceptor.
    pub(crate) fn is_acceptor(&self) -> bool {
        self.in_force.is_acceptor(self.node())
    }

    /// True if this node is a proposer.
    pub(crate) fn is_proposer(&self) -> bool {
        self.in_force.is_proposer(self.node())
    }

    /// True if this node was no acceptor for a while before it became one with these roles. What it knows may be of
    /// registers that were deleted meanwhile.
    fn is_acceptor_anew(&self, newer: &RolesInForce) -> bool {
        newer.is_acceptor(self.node()) && newer.since(self.node()) > self.in_force.epoch()
    }

    /// These roles are in force from now on. Nothing is told under them before they are durable.
    pub(crate) fn adopt(&mut self, newer: RolesInForce) {
        self.state.is_erasing |= self.is_acceptor_anew(&newer);
        assert!(newer.epoch() > self.in_force.epoch(), "epochs only grow");
        let (me, before) = (self.node(), self.in_force.members());
        self.lost.extend(newer.members().into_iter().filter(|node| *node != me && !before.contains(node)));
        self.state.removed = self.state.removed.max(newer.removed());
        self.note_round(newer.removed());
        // Messages of a proposer that left are under earlier roles.
        self.state.required.retain(|node, _| newer.is_proposer(*node));
        self.in_force = newer;
        self.persist_with([]);
    }

    /// Everything is erased, durably, that this node had before it became an acceptor anew.
    pub(crate) fn end_erasing(&mut self) {
        self.state.is_erasing = false;
        self.persist_with([]);
    }

    /// True if the state record has room for these roles.
    pub(crate) fn has_room_for(&self, roles: &RolesInForce) -> bool {
        let ages = 16 * super::PROPOSERS_MAX;
        encode_state(self.config.description(), roles, &State::default()).len() + ages <= STATE_BYTES_MAX
    }

    /// True if this node may promise, accept and propose.
    pub(crate) fn is_counting(&self) -> bool {
        self.chassis.is_member(self.config.node())
    }

    /// Checks that the sender is a proposer whose incarnation is known.
    pub(crate) fn check_proposer(&self, from: NodeId) -> Result<(), Ignored> {
        if !self.in_force.is_proposer(from) {
            return Err(Ignored::NotMember);
        }
        self.check_known(from)
    }

    /// Checks that the sender is an acceptor whose incarnation is known.
    pub(crate) fn check_acceptor(&self, from: NodeId) -> Result<(), Ignored> {
        if !self.in_force.is_acceptor(from) {
            return Err(Ignored::NotMember);
        }
        self.check_known(from)
    }

    pub(crate) fn check_known(&self, from: NodeId) -> Result<(), Ignored> {
        if self.chassis.is_member(from) { Ok(()) } else { Err(Ignored::Stranger) }
    }

    /// Checks that a correct node can have begun this ballot.
    pub(crate) fn check_ballot(&self, ballot: Ballot) -> Result<(), Ignored> {
        let reached = self.round.saturating_add(ROUND_LEAP_MAX).min(ROUND_MAX);
        if ballot.round == 0 || ballot.round > reached { Err(Ignored::AbsurdBallot) } else { Ok(()) }
    }

    /// Checks that a correct node can have reached this round.
    pub(crate) fn check_round(&self, round: u64) -> Result<(), Ignored> {
        self.check_ballot(Ballot { round, node: self.node() })
    }

    /// Notes a round that some node has used.
    pub(crate) fn note_round(&mut self, round: u64) {
        self.round = self.round.max(round);
    }

    /// True if this node can begin no further ballot.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.round >= ROUND_MAX - 1
    }

    /// A ballot of this node above every one used or seen. Rounds are reserved durably in blocks, and messages with a
    /// ballot wait for the reservation ([`Base::ballot_ticket`]).
    pub(crate) fn take_ballot(&mut self) -> Ballot {
        self.round += 1;
        if self.round + ROUNDS_RESERVED / 2 > self.state.reserved {
            self.state.reserved = self.round + ROUNDS_RESERVED;
            self.persist_with([]);
        }
        Ballot { round: self.round, node: self.node() }
    }

    /// The write after which messages with this ballot of this node may leave.
    pub(crate) fn ballot_ticket(&self, ballot: Ballot) -> Ticket {
        if ballot.round <= self.safe { Ticket(0) } else { self.state_ticket }
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// Raises the age above that under which ballots up to `round` were begun.
    pub(crate) fn raise_age(&mut self, round: u64) {
        self.note_round(round);
        self.state.age += 1;
        self.state.floor = self.round;
        // Nothing of the new age leaves before it is durable.
        self.safe = 0;
        self.state.reserved = self.round + ROUNDS_RESERVED;
        self.persist_with([]);
    }

    /// Requires ages of proposers. They are durable with the returned write.
    pub(crate) fn require_ages(&mut self, ages: &[(NodeId, u64)]) -> Ticket {
        let mut is_changed = false;
        for (node, age) in ages {
            let required = self.state.required.entry(*node).or_default();
            is_changed |= *required < *age;
            *required = (*required).max(*age);
        }
        if is_changed { self.persist_with([]) } else { self.state_ticket }
    }

    /// Checks that a message of a proposer has an age that is not ignored.
    pub(crate) fn check_age(&self, from: NodeId, age: u64) -> Result<(), Ignored> {
        let required = self.state.required.get(&from).copied().unwrap_or_default();
        if age < required { Err(Ignored::OldAge) } else { Ok(()) }
    }

    /// Writes the state record, with the roles, before or with the first record of the journal.
    pub(crate) fn found(&mut self) {
        if !self.is_founded {
            self.persist_with([]);
        }
    }

    /// Notes that registers which were deleted up to this round are removed, in one write with their removal.
    pub(crate) fn note_removed(&mut self, round: u64, erased: Vec<Operation>) -> Ticket {
        self.state.removed = self.state.removed.max(round);
        self.persist_with(erased)
    }

    /// Makes the state record durable, in one write with other operations.
    fn persist_with(&mut self, others: impl IntoIterator<Item = Operation>) -> Ticket {
        self.is_founded = true;
        let state = self.put_state();
        self.state_ticket = self.chassis.outbox.persist([state].into_iter().chain(others));
        self.state_ticket
    }

    fn put_state(&self) -> Operation {
        let bytes = encode_state(self.config.description(), &self.in_force, &self.state);
        debug_assert!(bytes.len() <= STATE_BYTES_MAX, "roles are bounded");
        Operation::PutState { bytes, commit_hint: LogIndex::ZERO }
    }

    /// Ends a checkpoint of the journal, with the state record.
    pub(crate) fn end_checkpoint(&mut self, id: u64) -> Ticket {
        self.persist_with([Operation::CheckpointDone { id }])
    }

    /// Writes the state record again.
    pub(crate) fn write_again(&mut self) {
        self.persist_with([]);
    }

    /// A write is durable.
    pub(crate) fn persisted(&mut self, ticket: Ticket) {
        self.chassis.outbox.persisted(ticket);
        if self.chassis.outbox.is_durable(self.state_ticket) {
            self.safe = self.state.reserved;
        }
    }

    /// The log refused a write, and everything was queued again: all that waits, waits for the newest write.
    pub(crate) fn rebind_held(&mut self) {
        let newest = self.chassis.outbox.newest_write();
        self.chassis.outbox.rebind_held(newest);
        for (after, _) in &mut self.mail {
            *after = newest;
        }
    }

    /// Sends a message once the write `after` is durable. A message to this node itself is handled like any other.
    pub(crate) fn post(&mut self, after: Ticket, to: NodeId, message: Message) {
        if to == self.node() {
            self.mail.push_back((after, message));
        } else {
            self.chassis.outbox.send_after(after, to, message);
        }
    }

    /// The oldest message to this node itself whose write is durable.
    pub(crate) fn take_mail(&mut self) -> Option<Message> {
        let outbox = &self.chassis.outbox;
        let at = self.mail.iter().position(|(after, _)| outbox.is_durable(*after))?;
        self.mail.remove(at).map(|(_, message)| message)
    }

    /// Drops the messages to this node itself.
    pub(crate) fn drop_mail(&mut self) {
        self.mail.clear();
    }

    /// The acceptors.
    pub(crate) fn acceptors(&self) -> Vec<NodeId> {
        self.in_force.acceptors().into_iter().collect()
    }

    /// Handles a message of a node that was founded with other roles. Both sides learn of the difference.
    pub(crate) fn on_other_system(&mut self, from: NodeId, message: &Message) -> Ignored {
        if self.foreign.len() < FOREIGN_MAX {
            self.foreign.insert(from);
        }
        if !matches!(message, Message::OtherSystem { .. }) && from != self.node() {
            self.chassis.outbox.send(from, Message::OtherSystem { system: self.system() });
        }
        Ignored::OtherSystem
    }

    /// Nothing can be sent to the node now.
    pub(crate) fn on_unreachable(&mut self, node: NodeId) -> Result<(), Ignored> {
        if node == self.node() || !self.in_force.contains(node) {
            return Err(Ignored::NotMember);
        }
        self.lost.insert(node);
        Ok(())
    }

    /// Notes that the node was heard. Returns true if it was lost before.
    pub(crate) fn note_heard(&mut self, node: NodeId) -> bool {
        self.lost.remove(&node)
    }

    /// Nodes that were founded with other roles.
    pub(crate) fn foreign(&self) -> &BTreeSet<NodeId> {
        &self.foreign
    }

    /// Draws the end of a wait between half of `shortest * 2^doublings`, limited to `max`, and all of it.
    pub(crate) fn draw_wait(&mut self, shortest: Duration, doublings: u32, max: Duration) -> Instant {
        draw(&mut self.random, self.chassis.instant(), shortest, doublings, max)
    }

    /// Draws the end of a pause that grows with each repetition in a row.
    pub(crate) fn draw_backoff(&mut self, repetitions: u32) -> Instant {
        let settings = self.config.settings();
        let (shortest, max) = (settings.backoff_min, settings.backoff_max);
        self.draw_wait(shortest, repetitions, max)
    }

    /// The write of the state record, and those that messages to this node wait for.
    pub(crate) fn tickets(&self) -> impl Iterator<Item = Ticket> + '_ {
        [self.state_ticket].into_iter().chain(self.mail.iter().map(|(after, _)| *after))
    }

    /// The write that makes the state record durable.
    pub(crate) fn state_ticket(&self) -> Ticket {
        self.state_ticket
    }

    pub(crate) fn view(&self, writer: &mut ViewWriter) {
        let chassis = &self.chassis;
        writer.put(&(self.node(), chassis.standings(), &self.lost, chassis.storage(), chassis.halted()));
        writer.put(&chassis.rewrite_at().map(|at| writer.time(at)));
        writer.put(&self.in_force);
        writer.put(&(&self.state, self.is_founded, writer.ticket(self.state_ticket), self.round, self.safe));
        for (after, message) in &self.mail {
            writer.put(&(writer.ticket(*after), message));
        }
        writer.put_outbox(&chassis.outbox);
    }
}

/// Bytes of the smallest write that is always possible: the largest record, with the state record.
pub(crate) fn record_write_bytes(key_bytes_max: usize, value_bytes_max: usize) -> usize {
    let largest = key_bytes_max.saturating_add(value_bytes_max).max(ROLES_BYTES_MAX);
    largest.saturating_add(RECORD_OVERHEAD_BYTES + STATE_BYTES_MAX + 512)
}

/// Number of rounds that are reserved with one write.
const ROUNDS_RESERVED: u64 = 1024;
/// Number of foreign nodes that are remembered.
const FOREIGN_MAX: usize = 256;
