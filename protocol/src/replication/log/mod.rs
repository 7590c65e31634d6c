//! The log as the core knows it: its start and end, its terms, its newest entries, and its durable part.

mod configurations;

use std::collections::VecDeque;

use configurations::Configurations;

use crate::{
    Configuration, ConfigurationError, Entry, EntryBatch, EntryKind, LogIndex, LogPosition, LogTime, Operation,
    RecoverError, Recovery, SnapshotMeta, Term, Ticket,
};

/// The log without its disk. Durable entries may leave the cache; their terms stay known.
///
/// ```text
///   base | compacted ... | first .. cache_first .. durable .. submitted .. last
/// ```
#[derive(Clone, Debug)]
#[expect(clippy::struct_field_names, reason = "log time is one word of the trade")]
pub(crate) struct Log {
    /// The position just before the first entry. Never above the commit index.
    base: LogPosition,
    /// The position of the first entry of each term, ascending, from the entry after the base on.
    runs: VecDeque<LogPosition>,
    /// The newest entries, up to `last`. Entries that are not durable are always here.
    cache: VecDeque<Entry>,
    cache_bytes: usize,
    cache_bytes_max: usize,
    /// The index of the newest entry.
    last: LogIndex,
    /// Entries up to here were passed to the outbox. At most `last`.
    submitted: LogIndex,
    /// Entries up to here are on disk and belong to this log. At most `submitted`.
    durable: LogIndex,
    /// Entries from here on must be removed from the disk before anything is appended.
    truncate_from: Option<LogIndex>,
    /// Writes that are not durable yet, ascending.
    marks: VecDeque<Mark>,
    /// The last entry on disk, even if it no longer belongs to this log.
    on_disk: LogIndex,
    /// The index just before the first entry on disk. It does not include compaction that is not durable yet.
    base_on_disk: LogIndex,
    configurations: Configurations,
    /// At least the log time of the newest entry.
    log_time: LogTime,
    /// Bytes of the entries after `submitted`.
    unsubmitted_bytes: usize,
}

/// The effect of a write once it is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Mark {
    ticket: Ticket,
    /// The last entry of this log that it makes durable. Entries that were truncated since do not count.
    durable: LogIndex,
    /// The last entry on disk after it.
    on_disk: LogIndex,
    /// The index just before the first entry on disk after it.
    base_on_disk: LogIndex,
}

impl Log {
    /// Makes the log from the recovered data.
    pub(crate) fn recover(recovery: &Recovery, cache_bytes_max: usize) -> Result<Self, RecoverError> {
        // The snapshot's configuration is the newest at or below its index. Later ones follow from the log itself.
        let at_base = recovery.snapshot.as_ref().map(|snapshot| snapshot.configuration.clone()).unwrap_or_default();
        let mut log = Self {
            base: recovery.base,
            runs: recovery.runs.iter().copied().collect(),
            cache: recovery.tail.iter().map(|(_, entry)| entry.clone()).collect(),
            cache_bytes: recovery.tail.iter().map(|(_, entry)| entry.encoded_len()).sum(),
            cache_bytes_max,
            last: recovery.last,
            submitted: recovery.last,
            durable: recovery.last,
            on_disk: recovery.last,
            base_on_disk: recovery.base.index,
            truncate_from: None,
            marks: VecDeque::new(),
            configurations: Configurations::new(recovery.base.index, at_base),
            log_time: LogTime(0),
            unsubmitted_bytes: 0,
        };
        log.check_recovered(recovery)?;
        if let Some(snapshot) = &recovery.snapshot {
            log.log_time = snapshot.log_time;
        }
        for (index, entry) in &recovery.configurations {
            let configuration =
                Configuration::decode(&entry.payload).map_err(|_| RecoverError::Configuration { index: *index })?;
            log.note_configuration(*index, configuration);
        }
        if let Some((_, newest)) = recovery.tail.last() {
            log.log_time = log.log_time.max(newest.header.log_time);
        }
        log.evict();
        Ok(log)
    }

    fn check_recovered(&self, recovery: &Recovery) -> Result<(), RecoverError> {
        let ends_early = RecoverError::Inconsistent("the log ends before it starts");
        let count = self.last.0.checked_sub(self.base.index.0).ok_or(ends_early)?;
        let is_covered = recovery.snapshot.as_ref().is_some_and(|newest| newest.index >= self.base.index);
        if self.base.index > LogIndex::ZERO && !is_covered {
            return Err(RecoverError::Inconsistent("the log was compacted beyond the newest snapshot"));
        }
        if self.runs.front().map(|run| run.index) != (count > 0).then(|| self.base.index.next()) {
            return Err(RecoverError::Inconsistent("the terms do not begin where the log does"));
        }
        if !self.runs_ascend() {
            return Err(RecoverError::Inconsistent("the terms of the log do not ascend"));
        }
        if self.runs.back().is_some_and(|run| run.index > self.last) {
            return Err(RecoverError::Inconsistent("a term begins behind the end of the log"));
        }
        // If the newest entry is longer than the bound given to recovery, there is no tail at all.
        let cached = u64::try_from(self.cache.len()).unwrap_or(u64::MAX);
        if cached > count {
            return Err(RecoverError::Inconsistent("the tail is not the end of the log"));
        }
        let first = self.cache_first();
        if !recovery.tail.iter().zip(first.0..).all(|((index, _), expected)| index.0 == expected) {
            return Err(RecoverError::Inconsistent("the tail has gaps"));
        }
        Ok(())
    }

    /// Returns the position just before the first entry.
    pub(crate) fn base(&self) -> LogPosition {
        self.base
    }

    /// Returns the index of the first entry, or the index that it would have.
    pub(crate) fn first(&self) -> LogIndex {
        self.base.index.next()
    }

    /// Returns the index of the newest entry, durable or not; the base if there is none.
    pub(crate) fn last(&self) -> LogIndex {
        self.last
    }

    /// Returns the term of the newest entry.
    pub(crate) fn last_term(&self) -> Term {
        self.runs.back().map_or(self.base.term, |run| run.term)
    }

    /// Returns the position of the last entry.
    pub(crate) fn end(&self) -> LogPosition {
        LogPosition { index: self.last(), term: self.last_term() }
    }

    /// Returns the last entry that is durable on this node.
    pub(crate) fn durable(&self) -> LogIndex {
        self.durable
    }

    /// Returns the last entry that was passed to the outbox.
    pub(crate) fn submitted(&self) -> LogIndex {
        self.submitted
    }

    /// Bytes of the entries that were not passed to the outbox yet.
    pub(crate) fn unsubmitted_bytes(&self) -> usize {
        self.unsubmitted_bytes
    }

    /// Returns at least the log time of the newest entry.
    pub(crate) fn log_time(&self) -> LogTime {
        self.log_time
    }

    /// Returns the configuration in force: the newest in the log, committed or not. It is empty while none is known.
    pub(crate) fn configuration(&self) -> &Configuration {
        self.configurations.newest()
    }

    /// Returns the configurations in the log.
    pub(crate) fn configurations(&self) -> &Configurations {
        &self.configurations
    }

    /// Returns the term of the entry at `index`, from the base to the last entry.
    pub(crate) fn term_at(&self, index: LogIndex) -> Option<Term> {
        if index == self.base.index {
            return Some(self.base.term);
        }
        if index < self.base.index || index > self.last {
            return None;
        }
        // The newest terms are requested most often.
        self.runs.iter().rev().find(|first| first.index <= index).map(|first| first.term)
    }

    /// Returns the position of the newest entry at or before `at.index` whose term is at most `at.term`; the base if
    /// there is none.
    pub(crate) fn newest_at_most(&self, at: LogPosition) -> LogPosition {
        let mut end = at.index.min(self.last);
        for first in self.runs.iter().rev() {
            if first.index <= end {
                if first.term <= at.term {
                    return LogPosition { index: end, term: first.term };
                }
                end = first.index.previous();
            }
        }
        self.base
    }

    /// Appends an entry after the last one.
    pub(crate) fn append(&mut self, term: Term, entry: Entry) -> LogIndex {
        let index = self.last.next();
        let newest = self.last_term();
        assert!(term >= newest, "a log's terms never fall");
        if term > newest || self.runs.is_empty() {
            self.runs.push_back(LogPosition { index, term });
        }
        let bytes = entry.encoded_len();
        self.cache_bytes += bytes;
        self.unsubmitted_bytes += bytes;
        self.log_time = self.log_time.max(entry.header.log_time);
        self.last = index;
        self.cache.push_back(entry);
        index
    }

    /// Notes that the entry at `index` is this configuration.
    pub(crate) fn note_configuration(&mut self, index: LogIndex, configuration: Configuration) {
        self.configurations.add(index, configuration);
    }

    /// Removes the entries from `index` on.
    pub(crate) fn truncate_from(&mut self, index: LogIndex) {
        assert!(index > self.base.index, "what was compacted is committed and cannot be truncated");
        let kept = index.previous();
        if kept >= self.last {
            return;
        }
        while self.last > kept {
            if let Some(entry) = self.cache.pop_back() {
                self.cache_bytes -= entry.encoded_len();
                if self.last > self.submitted {
                    self.unsubmitted_bytes -= entry.encoded_len();
                }
            }
            self.last = self.last.previous();
        }
        while self.runs.back().is_some_and(|first| first.index > kept) {
            self.runs.pop_back();
        }
        self.configurations.truncate(kept);
        // If the newest remaining entry is not cached, its log time is unknown, and the old value stays as an upper
        // bound.
        if let Some(newest) = self.cache.back() {
            self.log_time = newest.header.log_time;
        }
        if self.submitted > kept {
            self.truncate_from = Some(self.truncate_from.map_or(index, |earlier| earlier.min(index)));
            self.submitted = kept;
        }
        // The late completion of a write must not count for a new entry at the same index.
        self.durable = self.durable.min(kept);
        for mark in &mut self.marks {
            mark.durable = mark.durable.min(kept);
        }
    }

    /// Returns true if there is anything to write.
    pub(crate) fn wants_writing(&self) -> bool {
        self.truncate_from.is_some() || self.submitted < self.last
    }

    /// Returns the operations that bring the disk up to date, as many as fit `bytes_max` (at least one entry).
    pub(crate) fn hand_over(&mut self, bytes_max: usize) -> Vec<Operation> {
        let mut operations = Vec::with_capacity(2);
        operations.extend(self.truncate_from.take().map(|index| Operation::TruncateFrom { index }));
        let mut bytes = 0;
        while self.submitted < self.last {
            let index = self.submitted.next();
            let (term, end) = self.run_of(index);
            let wanted = self.count(index, end);
            let mut taken = 0;
            let mut taken_bytes = 0;
            for entry in self.cached(index).take(wanted) {
                let weight = entry.encoded_len() + WRITE_OVERHEAD_BYTES;
                if bytes > 0 && bytes + weight > bytes_max {
                    break;
                }
                bytes += weight;
                taken_bytes += entry.encoded_len();
                taken += 1;
            }
            if taken == 0 {
                break;
            }
            self.unsubmitted_bytes -= taken_bytes;
            let entries = self.cached(index).take(taken).cloned().collect();
            self.submitted = index.plus(taken as u64 - 1);
            operations.push(Operation::Append { index, term, entries });
            if taken < wanted {
                break;
            }
        }
        operations
    }

    /// Notes that everything handed over so far is durable once `ticket` is.
    pub(crate) fn mark(&mut self, ticket: Ticket) {
        self.marks.pop_back_if(|newest| newest.ticket == ticket);
        let (durable, on_disk) = (self.submitted, self.submitted);
        self.marks.push_back(Mark { ticket, durable, on_disk, base_on_disk: self.base.index });
    }

    /// Notes that compacted entries are gone from disk once `ticket` is durable. It does not change the end of the log.
    pub(crate) fn mark_base(&mut self, ticket: Ticket) {
        let newest = self.marks.back();
        let (durable, on_disk) = newest.map_or((self.durable, self.on_disk), |mark| (mark.durable, mark.on_disk));
        self.marks.pop_back_if(|newest| newest.ticket == ticket);
        self.marks.push_back(Mark { ticket, durable, on_disk, base_on_disk: self.base.index });
    }

    /// Notes which writes are durable by now. Returns true if more entries are durable.
    pub(crate) fn persisted(&mut self, is_durable: impl Fn(Ticket) -> bool) -> bool {
        let before = self.durable;
        while let Some(mark) = self.marks.front()
            && is_durable(mark.ticket)
        {
            self.durable = self.durable.max(mark.durable);
            self.on_disk = mark.on_disk;
            self.base_on_disk = mark.base_on_disk;
            self.marks.pop_front();
        }
        self.evict();
        self.durable > before
    }

    /// Handles a refused write: no entry that is not durable was written. All of them are handed over again, after
    /// removing the entries on disk that no longer belong to this log. Returns the compaction that was lost, which must
    /// be written before.
    pub(crate) fn rewind(&mut self) -> Option<Operation> {
        self.rewind_entries();
        let LogPosition { index, term } = self.base;
        (self.base_on_disk < index).then_some(Operation::CompactTo { index, term })
    }

    fn rewind_entries(&mut self) {
        self.marks.clear();
        self.submitted = self.durable;
        self.truncate_from = (self.on_disk > self.durable).then(|| self.durable.next());
        self.unsubmitted_bytes = self.cached(self.durable.next()).map(Entry::encoded_len).sum();
    }

    /// As [`Log::rewind`], if the reset of the log after a snapshot was not written either.
    pub(crate) fn rewind_reset(&mut self) -> Operation {
        let LogPosition { index, term } = self.base;
        (self.on_disk, self.base_on_disk) = (index, index);
        self.rewind_entries();
        Operation::Reset { index, term }
    }

    /// Returns the encoded entries from `index` up to `end`, as many as fit `bytes_max` (at least one), and the last
    /// index. Returns `None` if the first is not in the cache.
    pub(crate) fn batch(&self, index: LogIndex, end: LogIndex, bytes_max: usize) -> Option<(EntryBatch, LogIndex)> {
        if index < self.cache_first() || index > end {
            return None;
        }
        let mut bytes = 0;
        let mut count = 0_usize;
        for entry in self.cached(index).take(self.count(index, end)) {
            bytes += entry.encoded_len();
            if count > 0 && bytes > bytes_max {
                break;
            }
            count += 1;
        }
        let last = index.plus(count as u64 - 1);
        let (term, run_end) = self.run_of(index);
        let batch = if run_end >= last {
            EntryBatch::encode(index, self.cached(index).take(count).map(|entry| (term, entry)))
        } else {
            let terms = (index.0..).map(|at| self.term_at(LogIndex(at)).unwrap_or_default());
            EntryBatch::encode(index, terms.zip(self.cached(index)).take(count))
        };
        Some((batch, last))
    }

    /// Returns the cached entries from `index` up to `end`, as many as fit `bytes_max` (at least one). Returns `None`
    /// if the first is not in the cache.
    pub(crate) fn read(
        &self,
        index: LogIndex,
        end: LogIndex,
        bytes_max: usize,
    ) -> Option<Vec<(LogIndex, Term, Entry)>> {
        if index < self.cache_first() {
            return None;
        }
        let mut bytes = 0;
        let mut entries = Vec::new();
        let mut at = index;
        while at <= end {
            let (term, run_end) = self.run_of(at);
            let wanted = self.count(at, run_end.min(end));
            for entry in self.cached(at).take(wanted) {
                bytes += entry.encoded_len();
                if !entries.is_empty() && bytes > bytes_max {
                    return Some(entries);
                }
                if entries.is_empty() {
                    entries.reserve(wanted.min(1 + bytes_max / entry.encoded_len()));
                }
                entries.push((at, term, entry.clone()));
                at = at.next();
            }
        }
        Some(entries)
    }

    /// Returns the index of the first cached entry, or the index that the next entry will have.
    pub(crate) fn cache_first(&self) -> LogIndex {
        LogIndex(self.last.0 + 1 - self.cache.len() as u64)
    }

    /// Removes the entries up to and including `index` from the cache if the one at `index` is corrupt, so that it is
    /// read from disk again.
    pub(crate) fn drop_corrupt(&mut self, index: LogIndex) {
        let is_cached = index >= self.cache_first() && index <= self.durable;
        if is_cached && self.cached(index).next().is_some_and(|entry| !entry.is_intact()) {
            self.uncache(index);
        }
    }

    /// Flips a bit of the cached entry at `index`, like faulty memory does.
    #[cfg(feature = "testing")]
    pub(crate) fn flip_cached(&mut self, index: LogIndex) {
        let place = usize::try_from(index.0 - self.cache_first().0).expect("a small cache");
        let mut payload = self.cache[place].payload.to_vec();
        payload[0] ^= 1;
        self.cache[place].payload = payload.into();
    }

    /// Compacts the log up to and including `index`.
    pub(crate) fn compact_to(&mut self, index: LogIndex) -> Option<Operation> {
        let index = index.min(self.durable);
        if index <= self.base.index {
            return None;
        }
        let term = self.term_at(index).expect("an index between base and last has a term");
        self.uncache(index);
        while self.runs.len() > 1 && self.runs[1].index <= index.next() {
            self.runs.pop_front();
        }
        if index == self.last {
            self.runs.clear();
        } else if let Some(run) = self.runs.front_mut() {
            run.index = run.index.max(index.next());
        }
        self.configurations.compact(index);
        self.base = LogPosition { index, term };
        Some(Operation::CompactTo { index, term })
    }

    /// Drops all entries and starts the log again after a snapshot.
    pub(crate) fn reset(&mut self, snapshot: &SnapshotMeta) -> Operation {
        self.base = LogPosition { index: snapshot.index, term: snapshot.term };
        self.runs.clear();
        self.cache.clear();
        self.cache_bytes = 0;
        self.unsubmitted_bytes = 0;
        self.last = snapshot.index;
        self.submitted = snapshot.index;
        self.durable = snapshot.index;
        self.truncate_from = None;
        self.marks.clear();
        self.configurations.reset(snapshot.index, snapshot.configuration.clone());
        self.log_time = snapshot.log_time;
        Operation::Reset { index: snapshot.index, term: snapshot.term }
    }

    /// Returns the writes that are not durable yet: the ticket, the last entry that it makes durable, the last entry on
    /// disk after it, and the base on disk after it.
    pub(crate) fn marks(&self) -> impl Iterator<Item = (Ticket, [LogIndex; 3])> + '_ {
        self.marks.iter().map(|mark| (mark.ticket, [mark.durable, mark.on_disk, mark.base_on_disk]))
    }

    /// The rest of the state that affects behaviour. The cache does, because entries outside of it must be loaded.
    pub(crate) fn view(&self) -> impl std::fmt::Debug + '_ {
        let on_disk = (self.base_on_disk, self.on_disk);
        let places = (self.base, self.last, self.submitted, self.durable, on_disk, self.truncate_from);
        (places, &self.runs, &self.cache, self.configurations.view(), self.log_time)
    }

    /// Checks that the parts of the log are consistent.
    pub(crate) fn check_invariants(&self) {
        assert!(self.base.index <= self.durable, "the base is durable");
        assert!(self.durable <= self.submitted, "only what was submitted is durable");
        assert!(self.submitted <= self.last, "only what is there was submitted");
        assert!(self.cache_first() > self.base.index, "what was compacted is not cached");
        assert!(self.cache_first() <= self.durable.next(), "what is not durable is cached");
        let bytes = self.cache.iter().map(Entry::encoded_len).sum::<usize>();
        assert!(bytes == self.cache_bytes, "the cache's bytes are counted");
        let unsubmitted = self.cached(self.submitted.next()).map(Entry::encoded_len).sum::<usize>();
        assert!(unsubmitted == self.unsubmitted_bytes, "the unsubmitted bytes are counted");
        assert!(self.runs_ascend(), "runs ascend");
        assert!(self.runs.front().is_none_or(|run| run.index == self.base.index.next()), "runs start behind the base");
        assert!(self.runs.is_empty() == (self.last == self.base.index), "entries have terms");
        assert!(self.marks.iter().all(|mark| mark.durable <= self.submitted), "marks follow truncation");
        self.configurations.check_invariants();
    }

    /// Returns the term of the entry at `index`, and the last entry of its run.
    fn run_of(&self, index: LogIndex) -> (Term, LogIndex) {
        let mut end = self.last;
        for first in self.runs.iter().rev() {
            if first.index <= index {
                return (first.term, end);
            }
            end = first.index.previous();
        }
        (self.base.term, end)
    }

    fn runs_ascend(&self) -> bool {
        let pairs = self.runs.iter().zip(self.runs.iter().skip(1));
        pairs.into_iter().all(|(run, next)| run.index < next.index && run.term < next.term)
    }

    fn count(&self, index: LogIndex, end: LogIndex) -> usize {
        let end = end.min(self.last);
        usize::try_from((end.0 + 1).saturating_sub(index.0)).unwrap_or(usize::MAX)
    }

    /// Returns the cached entries from `index` on. `index` must be cached or one after the last.
    fn cached(&self, index: LogIndex) -> std::collections::vec_deque::Iter<'_, Entry> {
        let skipped = index.0.saturating_sub(self.cache_first().0);
        let start = usize::try_from(skipped).unwrap_or(usize::MAX).min(self.cache.len());
        self.cache.range(start..)
    }

    /// Drops the entries up to and including `index` from the cache. They are durable.
    fn uncache(&mut self, index: LogIndex) {
        while self.cache_first() <= index
            && let Some(entry) = self.cache.pop_front()
        {
            self.cache_bytes -= entry.encoded_len();
        }
    }

    /// Drops the oldest entries while the cache is above its bound and they are durable.
    fn evict(&mut self) {
        while self.cache_bytes > self.cache_bytes_max
            && self.cache_first() <= self.durable
            && let Some(entry) = self.cache.pop_front()
        {
            self.cache_bytes -= entry.encoded_len();
        }
    }
}

/// Returns the configuration in an entry, if the entry is one.
pub(crate) fn configuration_of(entry: &Entry) -> Result<Option<Configuration>, ConfigurationError> {
    if entry.header.kind == EntryKind::Configuration {
        Configuration::decode(&entry.payload).map(Some)
    } else {
        Ok(None)
    }
}

/// Makes the entry at index 1 of every initial member's log: equal bytes on all of them.
pub(crate) fn bootstrap_entry(configuration: &Configuration) -> Entry {
    Entry::internal(EntryKind::Configuration, LogTime(0), configuration.encode())
}

/// The index of the group's first configuration.
pub(crate) const FOUNDING_INDEX: LogIndex = LogIndex(1);

/// Bytes that an entry may take in the log beside its encoding.
const WRITE_OVERHEAD_BYTES: usize = 64;

#[cfg(test)]
mod tests;
