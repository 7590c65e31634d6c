//! The state that a node has in every role, and the outputs that every role makes.

use crate::replication::catch_up::Helping;
use crate::replication::clock::Clock;
use crate::replication::commitment::Commitment;
use crate::replication::disk::Disk;
use crate::replication::durable::Durable;
use crate::replication::error::Ignored;
use crate::replication::log::{Log, bootstrap_entry};
use crate::replication::log_core::TERM_MAX;
use crate::replication::message::{Message, ReadIndex, ReadIndexResponse, ReadOutcome};
use crate::replication::reads::{Inquiry, Reader, Reads};
use crate::replication::snapshots::Snapshots;
use crate::replication::timer::ElectionTimer;
use crate::replication::{Config, Election, LogCore, Settings, Start};
use crate::{
    Chassis, Configuration, DiskState, HaltReason, Input, Instant, LogCommand, LogEvent, LogIndex, LogTime, Member,
    NodeId, Now, Operation, OutboxLimits, ProposalId, ReadFailure, ReadId, RecoverError, Recovery, RefuseReason,
    SnapshotMeta, Standing, Term, VotingBar,
};

/// Everything but the role. A role's methods are handed it beside the role's own state.
#[derive(Clone, Debug)]
pub(crate) struct Shared<E: Election> {
    pub(crate) config: Config,
    pub(crate) chassis: Chassis<LogCore<E>, Ignored>,
    pub(crate) durable: Durable,
    pub(crate) log: Log,
    pub(crate) election: ElectionTimer,
    pub(crate) commitment: Commitment,
    pub(crate) snapshots: Snapshots,
    pub(crate) disk: Disk,
    pub(crate) reads: Reads,
    pub(crate) clock: Clock,
    /// The index of the configuration without this node, if another node stated that it is committed. It counts while
    /// this node's own configuration is older.
    pub(crate) removed_at: Option<LogIndex>,
    /// What this node does for the candidate that it elected.
    pub(crate) helping: Helping,
}

impl<E: Election> Shared<E> {
    pub(crate) fn recover(now: Now, config: Config, recovery: &Recovery) -> Result<Self, RecoverError> {
        let durable = Durable::recover::<E>(recovery)?;
        let settings = config.settings();
        let log = Log::recover(recovery, settings.cache_bytes_max)?;
        if log.last_term() > durable.term() {
            return Err(RecoverError::Inconsistent("the log is of a later term than the state record"));
        }
        let snapshot_index = recovery.snapshot.as_ref().map_or(LogIndex::ZERO, |snapshot| snapshot.index);
        if recovery.commit_hint > log.last().max(snapshot_index) {
            return Err(RecoverError::Inconsistent("the log ends before what was known to be committed"));
        }
        let commit_index = log.base().index.max(recovery.commit_hint.min(log.last()));
        let limits = OutboxLimits {
            held_messages_max: settings.held_messages_max,
            write_bytes_max: settings.batch_bytes_max.saturating_add(STATE_WRITE_BYTES),
        };
        Ok(Self {
            election: ElectionTimer::new(config.seed(), settings, now.instant),
            clock: Clock::new(settings.clock_step_max),
            disk: Disk::new(settings, now.instant),
            config,
            chassis: Chassis::new(now, limits),
            durable,
            log,
            commitment: Commitment::recover(commit_index, recovery.commit_hint, snapshot_index),
            snapshots: Snapshots::default(),
            reads: Reads::default(),
            removed_at: None,
            helping: Helping::default(),
        })
    }

    /// Takes the recovered snapshot, or founds the group if nothing was recovered.
    pub(crate) fn begin(&mut self, snapshot: Option<SnapshotMeta>) {
        if let Some(snapshot) = snapshot {
            self.adopt_recovered(snapshot);
        }
        // The first write may have been torn so that only its state record was found. Nothing that depends on it was
        // sent.
        let is_begun = self.log.last() > LogIndex::ZERO || self.term() > Term(0);
        if !is_begun && let Start::Initial(configuration) = self.config.start().clone() {
            self.bootstrap(configuration);
        }
    }

    /// Every initial member appends the same entry, so that the configuration is in the log and in snapshots from the
    /// start.
    fn bootstrap(&mut self, configuration: Configuration) {
        let entry = bootstrap_entry(&configuration);
        self.durable.note_founding(Some(entry.header.checksum));
        let index = self.log.append(Term(0), entry);
        self.log.note_configuration(index, configuration);
        self.persist_state();
    }

    pub(crate) fn settings(&self) -> &Settings {
        self.config.settings()
    }

    /// Returns the time of the input that is handled.
    pub(crate) fn now(&self) -> Instant {
        self.chassis.instant()
    }

    /// Returns the current term.
    pub(crate) fn term(&self) -> Term {
        self.durable.term()
    }

    /// Returns the newest entry that is committed and durable on this node.
    pub(crate) fn committed_here(&self) -> LogIndex {
        self.commitment.here(self.log.durable())
    }

    /// Returns the newest entry that the application may take.
    pub(crate) fn may_be_applied(&self) -> LogIndex {
        self.commitment.may_be_applied(self.is_reset_durable())
    }

    /// Returns true if the newest start of the log after a snapshot is durable.
    pub(crate) fn is_reset_durable(&self) -> bool {
        self.chassis.outbox.is_durable(self.commitment.reset_ticket())
    }

    /// Returns true if a write has been under way for longer than the disk may take.
    pub(crate) fn is_stalled(&self) -> bool {
        self.disk.is_stalled(self.now())
    }

    /// Returns the state of this node's disk.
    pub(crate) fn disk_state(&self) -> DiskState {
        self.disk.state(self.chassis.storage(), self.now())
    }

    /// Returns the reason why this node neither votes nor campaigns, if there is one.
    pub(crate) fn barred(&self) -> Option<VotingBar> {
        let node = self.config.node();
        match self.chassis.standings().get(&node) {
            None => Some(VotingBar::NotIntroduced),
            Some(Standing::Stranger) => Some(VotingBar::Stranger),
            Some(Standing::Member) if self.term() >= TERM_MAX => Some(VotingBar::TermsUsedUp),
            Some(Standing::Member) => self.bar_of_membership(),
        }
    }

    /// Returns the configuration that is known to be committed, and those after it. A node that the newest one removes
    /// is needed until that is committed, and may have to lead until then: the others may lack the entry and be unable
    /// to get its vote (thesis §4.2.2).
    fn configurations_that_may_count(&self) -> impl Iterator<Item = &Configuration> {
        self.log.configurations().from(self.commitment.index())
    }

    fn bar_of_membership(&self) -> Option<VotingBar> {
        let (node, configuration) = (self.config.node(), self.log.configuration());
        if self.removed_at.is_some_and(|index| index >= self.log.configurations().index()) {
            Some(VotingBar::Removed)
        } else if self.configurations_that_may_count().any(|configuration| configuration.is_voter(node)) {
            None
        } else if configuration.contains(node) {
            Some(VotingBar::NotVoter)
        } else if self.log.configurations().mention(node) {
            Some(VotingBar::Removed)
        } else {
            Some(VotingBar::NotMember)
        }
    }

    /// Returns true if this node may give a candidate its vote. It may although its own configuration says that it is
    /// no voter: the candidate may know a newer one, and counts only the votes of the voters that it knows.
    pub(crate) fn may_vote(&self) -> bool {
        !self
            .barred()
            .is_some_and(|bar| matches!(bar, VotingBar::NotIntroduced | VotingBar::Stranger | VotingBar::TermsUsedUp))
    }

    /// Returns true if an entry of the current term is committed. Before that, a leader does not know the commit index
    /// (Raft §8).
    pub(crate) fn has_committed_in_term(&self) -> bool {
        self.log.term_at(self.commitment.index()) == Some(self.term())
    }

    /// Returns true if the configuration in force is committed, and was so in this leader's term.
    pub(crate) fn is_configuration_committed(&self) -> bool {
        self.has_committed_in_term() && self.log.configurations().index() <= self.commitment.index()
    }

    /// Returns true if no change of members is under way, so that this leader may begin one.
    pub(crate) fn is_settled(&self) -> bool {
        self.is_configuration_committed() && !self.log.configuration().is_joint()
    }

    /// Returns true if this node may campaign. A node whose disk is stalled could not serve as leader.
    pub(crate) fn may_campaign(&self) -> bool {
        let node = self.config.node();
        let is_eligible = |member: &Member| member.node == node && member.may_lead();
        let mut counting = self.configurations_that_may_count();
        self.barred().is_none()
            && !self.is_stalled()
            && counting.any(|counting| counting.members().iter().chain(counting.outgoing()).any(is_eligible))
    }

    /// Sends a message. It states the term, so it waits for the write of the term.
    pub(crate) fn send(&mut self, to: NodeId, message: Message) {
        let after = self.durable.ticket().max(self.commitment.reset_ticket());
        self.chassis.outbox.send_after(after, to, message);
    }

    /// Enters a later term. Held messages are dropped by name: their acknowledgements and votes belong to the term that
    /// is over.
    pub(crate) fn enter_term(&mut self, term: Term) {
        self.durable.enter(term);
        self.commitment.enter_term();
        self.helping = Helping::default();
        self.chassis.outbox.drop_held(|_, message| message.term() < term);
    }

    /// Makes the state durable. Messages that state it are held until then.
    pub(crate) fn persist_state(&mut self) {
        self.persist_state_behind(None);
    }

    /// As [`Self::persist_state`], after another operation in the same write.
    pub(crate) fn persist_state_behind(&mut self, operation: Option<Operation>) {
        let commit_hint = self.commitment.hint(self.log.durable());
        self.durable.write(operation, commit_hint, &mut self.chassis.outbox);
    }

    /// Passes entries to the log unless it is busy; then the batch grows meanwhile. Returns their bytes.
    pub(crate) fn write_log(&mut self) -> usize {
        let is_free = !self.chassis.outbox.is_writing() && self.log.wants_writing();
        if is_free { self.write_batch() } else { 0 }
    }

    /// Passes all entries to the log, busy or not, because the next output states all of them.
    pub(crate) fn write_whole_log(&mut self) {
        while self.log.wants_writing() {
            self.write_batch();
        }
    }

    fn write_batch(&mut self) -> usize {
        let unsubmitted_bytes = self.log.unsubmitted_bytes();
        let mut operations = self.log.hand_over(self.config.settings().batch_bytes_max);
        operations.extend(self.commitment.new_hint(self.log.durable()));
        let ticket = self.chassis.outbox.persist(operations);
        self.log.mark(ticket);
        unsubmitted_bytes - self.log.unsubmitted_bytes()
    }

    /// Notes that the log refused a write. Everything that is not durable is written again after a while, with the
    /// content of that time; no output depended on it.
    pub(crate) fn rewind_writes(&mut self) {
        let is_reset_lost = !self.is_reset_durable();
        self.chassis.outbox.refused();
        self.disk.note_idle();
        let lost = if is_reset_lost { Some(self.log.rewind_reset()) } else { self.log.rewind() };
        self.persist_state_behind(lost);
        if is_reset_lost {
            self.commitment.note_reset(self.durable.ticket());
        }
        self.log.mark_base(self.durable.ticket());
        self.chassis.write_again_at(self.now().after(self.settings().heartbeat_interval));
    }

    /// Returns the log time of the next entry or heartbeat.
    pub(crate) fn next_log_time(&mut self) -> LogTime {
        self.clock.advance(self.chassis.now());
        self.report_clock();
        self.clock.log_time(self.chassis.now()).unwrap_or_default().max(self.log.log_time())
    }

    /// Reports once that this node's wall clock differs too much from log time, and once that it agrees again.
    pub(crate) fn report_clock(&mut self) {
        if let Some(news) = self.clock.news(self.chassis.now()) {
            self.chassis.outbox.event(news);
        }
    }

    /// Refuses a proposal.
    pub(crate) fn refuse(&mut self, id: ProposalId, reason: RefuseReason) {
        self.chassis.outbox.event(LogEvent::Refused { id, reason, leader: self.election.leader() });
    }

    /// Handles a read of this node's application.
    pub(crate) fn on_read(&mut self, id: ReadId) -> Result<(), Ignored> {
        if self.reads.len() >= self.settings().reads_max {
            self.fail_read(Reader::Local(id), ReadFailure::Overloaded);
        } else if self.election.leader().is_none() {
            self.fail_read(Reader::Local(id), ReadFailure::NoLeader);
        } else {
            self.reads.add(Reader::Local(id));
        }
        Ok(())
    }

    /// Handles a read of a follower. Only a leader takes one.
    pub(crate) fn on_read_index(&mut self, from: NodeId, message: ReadIndex) -> Result<(), Ignored> {
        let number = message.number;
        if self.reads.len() >= self.settings().reads_max {
            self.answer_read(from, number, ReadOutcome::Overloaded);
            return Ok(());
        }
        // A question that is repeated while it waits gets one answer.
        let reader = Reader::Remote(from, number);
        if self.reads.contains(reader) {
            return Err(Ignored::StaleAnswer);
        }
        self.reads.add(reader);
        Ok(())
    }

    /// Handles the leader's answer to this follower's question.
    pub(crate) fn on_read_index_response(&mut self, from: NodeId, message: ReadIndexResponse) -> Result<(), Ignored> {
        match self.reads.inquiry() {
            Some(Inquiry::Question { number, .. })
                if number == message.number && self.election.leader() == Some(from) => {}
            _ => return Err(Ignored::StaleAnswer),
        }
        let asked = self.reads.end_inquiry();
        match message.outcome {
            ReadOutcome::Index(index) => {
                // The index is committed. Followers learn it here earlier than with the next entries.
                self.commitment.follow(index);
                for reader in asked {
                    self.serve_read(reader, index);
                }
            }
            ReadOutcome::NotLeader | ReadOutcome::Overloaded => {
                let reason = message.outcome.failure().unwrap_or(ReadFailure::LeadershipLost);
                for reader in asked {
                    self.fail_read(reader, reason);
                }
            }
        }
        Ok(())
    }

    /// On a follower: starts a question to the leader if reads wait and none is under way.
    pub(crate) fn start_question(&mut self) {
        if !self.reads.is_round_wanted() {
            return;
        }
        self.reads.take_waiting();
        if self.reads.note_start() {
            self.durable.count_start();
            self.persist_state();
        }
        let number = self.reads.next_question(self.durable.state().starts);
        self.ask(number);
    }

    /// Asks the leader again if no answer came.
    pub(crate) fn ask_again(&mut self) {
        if let Some(Inquiry::Question { number, again_at }) = self.reads.inquiry()
            && again_at <= self.now()
        {
            self.ask(number);
        }
    }

    fn ask(&mut self, number: u64) {
        if let Some(leader) = self.election.leader() {
            let again_at = self.now().after(self.settings().heartbeat_interval);
            self.reads.begin_inquiry(Inquiry::Question { number, again_at });
            self.send(leader, Message::ReadIndex(ReadIndex { term: self.term(), number }));
        }
    }

    /// Fails all reads, because no node can confirm their index any more.
    pub(crate) fn fail_reads(&mut self, reason: ReadFailure) {
        self.reads.take_all().for_each(|reader| self.fail_read(reader, reason));
    }

    /// Lets a read be served from a state that has applied `index`.
    pub(crate) fn serve_read(&mut self, reader: Reader, index: LogIndex) {
        match reader {
            Reader::Local(id) => self.chassis.outbox.event(LogEvent::ReadReady { id, index }),
            Reader::Remote(to, number) => self.answer_read(to, number, ReadOutcome::Index(index)),
        }
    }

    fn fail_read(&mut self, reader: Reader, reason: ReadFailure) {
        match reader {
            Reader::Local(id) => self.chassis.outbox.event(LogEvent::ReadFailed { id, reason }),
            Reader::Remote(to, number) => self.answer_read(to, number, ReadOutcome::NotLeader),
        }
    }

    pub(crate) fn answer_read(&mut self, to: NodeId, number: u64, outcome: ReadOutcome) {
        let message = ReadIndexResponse { term: self.term(), number, outcome };
        self.send(to, Message::ReadIndexResponse(message));
    }

    /// Stops this group on this node permanently. Held outputs are dropped. The role ends with the input.
    pub(crate) fn halt(&mut self, reason: HaltReason) {
        self.chassis.halt(reason);
        self.election.set_leader(None);
        self.reads = Reads::default();
    }

    /// Handles an input of a group that has stopped: it answers its own application only.
    pub(crate) fn on_input_halted(&mut self, input: Input<LogCore<E>>) -> Result<(), Ignored> {
        match input {
            Input::Command(LogCommand::Propose(proposal)) => self.refuse(proposal.id, RefuseReason::Halted),
            Input::Command(LogCommand::ChangeConfiguration { id, .. }) => self.refuse(id, RefuseReason::Halted),
            Input::Command(LogCommand::Read { id }) => self.fail_read(Reader::Local(id), ReadFailure::NoLeader),
            _ => {}
        }
        Err(Ignored::Halted)
    }
}

/// Room for a state record beside a batch of entries.
const STATE_WRITE_BYTES: usize = 4096;
