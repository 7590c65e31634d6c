//! Catching up after an election: a node that was elected although voters have newer logs fetches what it lacks from
//! the best of them, and leads only then. This happens where the election rule lets any node be elected
//! ([`Election`]): it is the second half of the first phase of Paxos, in which a proposer adopts what a quorum has
//! accepted.
//!
//! 1. **The best log of a quorum.** Every voter states the position of its last entry with its vote, and takes no entry
//!    of an earlier leader afterwards. The log with the latest last term, and among those the longest, has every entry
//!    that was committed before, by the argument of Raft §5.4.3. The candidate makes its own log equal to that one.
//! 2. **Only what contradicts is truncated.** It asks for the entries after its commit index. Entries that are equal
//!    stay in place, so a crash in the middle loses nothing that this node acknowledged and that may be committed. An
//!    entry that contradicts the best log is not committed, and cannot be any more.
//! 3. **By the newest configuration.** If a fetched entry changes the members, the election counts by the new members,
//!    and the others are asked for their votes too.
//! 4. **Whatever the voter still has.** It sends entries from its cache or its disk, or its snapshot if the log no
//!    longer has them. Each answer is bounded, and asked for.

use crate::replication::candidate::ask_for_votes;
use crate::replication::error::Ignored;
use crate::replication::follower::take_entries;
use crate::replication::log_core::INDEX_MAX;
use crate::replication::message::{
    AppendEntries, AppendOutcome, AppendResponse, InstallSnapshot, Message, PullEntries, PulledEntries, PulledSnapshot,
    VoteKind,
};
use crate::replication::peers::replication::checked_entries;
use crate::replication::role::RoleState;
use crate::replication::shared::Shared;
use crate::replication::{Election, LogCore};
use crate::{EntryBatch, Instant, LoadFailure, LoadRange, Loaded, LogIndex, LogPosition, LogRequest, NodeId, Ticket};

/// The way of a candidate that has won to the log of its best voter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CatchUp {
    /// The voter with the best log.
    pub(crate) from: NodeId,
    /// The logs are equal up to here.
    pub(crate) at: LogPosition,
    /// The time at which the question is repeated.
    pub(crate) again_at: Instant,
}

/// What a voter is doing for the candidate that it elected. Over when the candidate leads, or its term ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Helping {
    /// The load of entries that left the cache, and the entry before them.
    pub(crate) loading: Option<(Ticket, LogPosition)>,
    /// The request to send the snapshot.
    pub(crate) sending: Option<Ticket>,
}

/// The candidate's side.
impl<E: Election> LogCore<E> {
    /// A quorum has elected this node: it leads if its log is as new as the newest of the quorum, and fetches that log
    /// otherwise.
    pub(crate) fn lead_or_catch_up(&mut self) {
        let RoleState::Candidate(received) = &self.role else { return };
        let end = self.shared.log.end();
        match received.best_log() {
            Some((from, best)) if E::elects_any() && is_newer(best, end) => {
                let at =
                    received.catch_up().filter(|it| it.from == from).map_or_else(|| self.shared.agreed(), |it| it.at);
                self.ask_for_entries(from, at);
            }
            _ => self.lead_once_durable(),
        }
    }

    /// Leads unless a write of the state or of entries is under way: those that came while this node caught up. So a
    /// leader's log is durable when its office begins, as in Raft.
    fn lead_once_durable(&mut self) {
        let is_state_durable = self.shared.chassis.outbox.is_durable(self.shared.durable.ticket());
        if is_state_durable && self.shared.log.durable() == self.shared.log.last() {
            self.become_leader();
        }
    }

    /// A write is durable. A candidate that has caught up may have waited for it.
    pub(crate) fn lead_if_caught_up(&mut self) {
        if let RoleState::Candidate(received) = &self.role
            && received.has_won(self.shared.log.configuration())
            && received.best_log().is_none_or(|(_, best)| !is_newer(best, self.shared.log.end()))
        {
            self.lead_once_durable();
        }
    }

    fn ask_for_entries(&mut self, from: NodeId, at: LogPosition) {
        let RoleState::Candidate(received) = &mut self.role else { return };
        let shared = &mut self.shared;
        let again_at = shared.now().after(shared.settings().heartbeat_interval);
        received.begin_catch_up(CatchUp { from, at, again_at });
        let LogPosition { index: prev_index, term: prev_term } = at;
        shared.send(from, Message::PullEntries(PullEntries { term: shared.term(), prev_index, prev_term }));
    }

    /// Repeats the question if its answer did not come.
    pub(crate) fn ask_for_entries_again(&mut self) {
        if let RoleState::Candidate(received) = &self.role
            && let Some(CatchUp { from, at, again_at }) = received.catch_up()
            && again_at <= self.shared.now()
        {
            self.ask_for_entries(from, at);
        }
    }

    /// Takes entries of the best voter's log.
    pub(crate) fn on_missing_entries(&mut self, from: NodeId, message: PulledEntries) -> Result<(), Ignored> {
        let PulledEntries { term, prev_index, prev_term, batch } = message;
        let catch_up = self.catch_up_from(from)?;
        if term != self.shared.term() || (prev_index, prev_term) != (catch_up.at.index, catch_up.at.term) {
            return Err(Ignored::StaleAnswer);
        }
        let entries = AppendEntries { term, prev_index, prev_term, commit_index: LogIndex::ZERO, batch };
        let last = take_entries(&mut self.shared, from, &entries)?;
        let at = LogPosition { index: last, term: self.shared.log.term_at(last).unwrap_or(prev_term) };
        self.continue_from(at);
        Ok(())
    }

    /// The best voter sends its snapshot, because its log no longer has the entries.
    pub(crate) fn on_missing_snapshot(&mut self, from: NodeId, message: PulledSnapshot) -> Result<(), Ignored> {
        let CatchUp { at, .. } = self.catch_up_from(from)?;
        let PulledSnapshot { term, snapshot, founding } = message;
        if term != self.shared.term() {
            return Err(Ignored::StaleAnswer);
        }
        // The voter lives, and works for this node.
        self.shared.election.arm(self.shared.now());
        if self.shared.on_install_snapshot(from, InstallSnapshot { term, snapshot, founding })? {
            self.continue_from(at.max(self.shared.agreed()));
        }
        Ok(())
    }

    /// The snapshot is in force.
    pub(crate) fn on_missing_snapshot_installed(&mut self) {
        self.continue_from(self.shared.agreed());
    }

    fn catch_up_from(&self, from: NodeId) -> Result<CatchUp, Ignored> {
        match &self.role {
            RoleState::Candidate(received) => {
                received.catch_up().filter(|it| it.from == from).ok_or(Ignored::StaleAnswer)
            }
            _ => Err(Ignored::StaleAnswer),
        }
    }

    /// The logs are equal up to `at` now. What came may have changed the members.
    fn continue_from(&mut self, at: LogPosition) {
        if self.shared.chassis.is_halted() {
            return;
        }
        self.shared.election.arm(self.shared.now());
        if !self.shared.may_campaign() {
            return self.step_down();
        }
        let RoleState::Candidate(received) = &mut self.role else { return };
        received.advance_to(at);
        let is_elected = received.has_won(self.shared.log.configuration());
        if is_elected {
            self.lead_or_catch_up();
        } else {
            received.end_catch_up();
            let term = self.shared.term();
            ask_for_votes(&mut self.shared, VoteKind::Full, term);
        }
    }
}

/// Returns true if a log that ends at `one` is newer than one that ends at `other` (Raft §5.4.1).
fn is_newer(one: LogPosition, other: LogPosition) -> bool {
    (one.term, one.index) > (other.term, other.index)
}

/// The voter's side.
impl<E: Election> LogCore<E> {
    /// The candidate that this node voted for asks for entries.
    pub(crate) fn help_elected(&mut self, to: NodeId, message: PullEntries) -> Result<(), Ignored> {
        let shared = &mut self.shared;
        let PullEntries { prev_index, prev_term, .. } = message;
        if prev_index > INDEX_MAX {
            return Err(Ignored::AbsurdIndex);
        }
        if prev_index < shared.log.base().index {
            return shared.help_with_snapshot(to);
        }
        let last = shared.log.last();
        if prev_index >= last || shared.log.term_at(prev_index) != Some(prev_term) {
            return Err(Ignored::StaleAnswer);
        }
        let bytes_max = shared.settings().batch_bytes_max;
        let at = LogPosition { index: prev_index, term: prev_term };
        match shared.log.batch(prev_index.next(), last, bytes_max) {
            Some((batch, _)) => shared.send_missing(to, at, batch),
            None if shared.helping.loading.is_some() => return Err(Ignored::AlreadyReceiving),
            None => {
                let range = prev_index.next()..shared.log.cache_first().min(last.next());
                let ticket = shared.chassis.outbox.load(LoadRange::Entries { range, bytes_max });
                shared.helping.loading = Some((ticket, at));
            }
        }
        Ok(())
    }

    /// Entries that the candidate asked for were loaded.
    pub(crate) fn on_loaded_to_help(
        &mut self,
        ticket: Ticket,
        result: Result<Loaded, LoadFailure>,
    ) -> Result<(), Ignored> {
        let shared = &mut self.shared;
        let is_awaited = |(loading, _): &mut (Ticket, LogPosition)| *loading == ticket;
        let (_, at) = shared.helping.loading.take_if(is_awaited).ok_or(Ignored::StaleAnswer)?;
        if at.index < shared.log.base().index {
            // Compacted meanwhile: the candidate asks again, and gets the snapshot.
            return Err(Ignored::StaleAnswer);
        }
        let loaded = match result {
            Ok(loaded) => loaded,
            Err(LoadFailure::Damaged) => {
                shared.halt(crate::HaltReason::Damaged { index: at.index.next() });
                return Err(Ignored::Halted);
            }
            // It asks again.
            Err(_) => return Ok(()),
        };
        let to = shared.durable.state().voted_for.ok_or(Ignored::StaleAnswer)?;
        let entries = checked_entries(shared, at.index.next(), loaded)?;
        let batch = EntryBatch::encode(at.index.next(), entries.iter().map(|(_, term, entry)| (*term, entry)));
        shared.send_missing(to, at, batch);
        Ok(())
    }

    /// The snapshot was sent, or could not be sent. The candidate asks again if it needs to.
    pub(crate) fn on_sent_to_help(&mut self, ticket: Ticket) -> Result<(), Ignored> {
        self.shared.helping.sending.take_if(|sending| *sending == ticket).map(drop).ok_or(Ignored::StaleAnswer)
    }
}

impl<E: Election> Shared<E> {
    /// The position up to which this log certainly equals that of every node with newer entries: it is committed.
    fn agreed(&self) -> LogPosition {
        let index = self.commitment.index();
        LogPosition { index, term: self.log.term_at(index).unwrap_or_default() }
    }

    /// Sends a node the entries after `at`, as it asked.
    pub(crate) fn send_missing(&mut self, to: NodeId, at: LogPosition, batch: EntryBatch) {
        let (term, LogPosition { index: prev_index, term: prev_term }) = (self.term(), at);
        self.send(to, Message::PulledEntries(PulledEntries { term, prev_index, prev_term, batch }));
    }

    /// The candidate received an entry whose payload does not match its checksum. This node's copy is read from disk
    /// again, where a checksum shows whether it is sound.
    pub(crate) fn on_corrupt_help(&mut self, from: NodeId, message: AppendResponse) -> Result<(), Ignored> {
        match message.outcome {
            AppendOutcome::Corrupt { index } if self.durable.state().voted_for == Some(from) => {
                self.log.drop_corrupt(index);
                Err(Ignored::CorruptEntries)
            }
            _ => Err(Ignored::NotLeading),
        }
    }

    /// Announces the newest snapshot, and has it sent.
    fn help_with_snapshot(&mut self, to: NodeId) -> Result<(), Ignored> {
        let snapshot = self.snapshots.newest().cloned().ok_or(Ignored::UselessSnapshot)?;
        let (term, founding) = (self.term(), self.durable.founding());
        let announced = PulledSnapshot { term, snapshot: snapshot.clone(), founding };
        self.send(to, Message::PulledSnapshot(announced));
        if self.helping.sending.is_none() {
            let request = LogRequest::SendSnapshot { to, term, snapshot };
            self.helping.sending = Some(self.chassis.outbox.request(request));
        }
        Ok(())
    }
}
