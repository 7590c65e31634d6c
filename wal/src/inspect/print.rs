//! Prints the findings of an inspection.

use std::fmt::{Arguments, Display};
use std::io::{self, Write};

use bytes::Bytes;
use quorate_protocol::Identity;

use super::condition::{Condition, Detail};
use crate::format::{
    Checkpoint, CheckpointError, HeaderError, JournalCheckpoint, SegmentHeader, StateRecord, StreamBase,
};
use crate::index::StreamIndex;
use crate::opening::{Listing, Seen, Tail};

/// A copy of the checkpoint as it was read. `None` if it is missing.
type Read<'a> = Option<Result<&'a Checkpoint, &'a CheckpointError>>;

/// Prints lines. After the first failure it prints no more.
pub(super) struct Printer<'a> {
    out: &'a mut dyn Write,
    detail: Detail,
    outcome: io::Result<()>,
}

impl<'a> Printer<'a> {
    pub(super) fn new(out: &'a mut dyn Write, detail: Detail) -> Self {
        Self { out, detail, outcome: Ok(()) }
    }

    /// Returns the first failure to print, if there was one.
    pub(super) fn finish(self) -> io::Result<()> {
        self.outcome
    }

    pub(super) fn problem(&mut self, problem: &dyn Display) {
        self.line(format_args!("damage: {problem}"));
    }

    /// Prints the reason why the log cannot be judged.
    pub(super) fn obstacle(&mut self, obstacle: &dyn Display) {
        self.line(format_args!("error: {obstacle}"));
    }

    pub(super) fn condition(&mut self, condition: Condition) {
        self.line(format_args!(
            "{}",
            match condition {
                Condition::Clean => "clean",
                Condition::Torn => "torn: opening the log will put it right",
                Condition::Corrupt => "corrupt: the log will not open",
                Condition::Unreadable => "cannot be judged",
            }
        ));
    }

    pub(super) fn identity(&mut self, identity: &Identity) {
        let Identity { cluster, node, incarnation } = identity;
        self.more(format_args!("cluster {cluster}, node {node}, incarnation {incarnation}"));
    }

    pub(super) fn checkpoint(&mut self, name: &str, read: Read<'_>) {
        match read {
            Some(Ok(checkpoint)) => self.more(format_args!(
                "{name}: generation {}, segments {} to {}, durable to LSN {}, seen to LSN {}, {} streams",
                checkpoint.generation,
                checkpoint.oldest_segment,
                checkpoint.newest_segment,
                checkpoint.durable_lsn,
                checkpoint.seen_lsn,
                checkpoint.streams.len(),
            )),
            Some(Err(CheckpointError::Damaged)) => self.line(format_args!("damage: {name} is not what was written")),
            Some(Err(CheckpointError::Refused(error))) => {
                self.line(format_args!("damage: {name} {}", refusal(error)));
            }
            None => self.line(format_args!("damage: {name} is missing")),
        }
    }

    /// Prints the numbers of files without content of the log.
    pub(super) fn other_files(&mut self, listing: &Listing, freed: usize) {
        let (spares, cuts, leftovers) = (listing.spares.len(), listing.cuts.len(), listing.leftovers.len());
        self.more(format_args!(
            "other files: {spares} spare, {freed} freed, {cuts} of cut tails, {leftovers} never finished"
        ));
    }

    pub(super) fn deleted(&mut self, checkpoint: &Checkpoint) {
        for ids in &checkpoint.deleted {
            self.more(format_args!("deleted streams: {} to {}", ids.start(), ids.end()));
        }
    }

    pub(super) fn seen(&mut self, seen: &Seen) {
        match seen {
            Seen::Segment { header, length } => self.more(format_args!(
                "segment {}: {length} bytes, records from LSN {} on, chain {:08x}",
                header.id, header.first_lsn, header.chain,
            )),
            Seen::Batch { offset, last_lsn, header } => {
                let kind = if header.is_marker() { "marker" } else { "batch" };
                self.more(format_args!(
                    "  {kind} at {offset}: {} bytes, {} records, LSN {} to {last_lsn}, durable before it to LSN {}",
                    header.bytes, header.records, header.first_lsn, header.witness.prev_durable,
                ));
            }
            Seen::Repaired { offset, last_lsn } => self.line(format_args!(
                "damage: the batch at {offset}, to LSN {last_lsn}, lost nothing but what is there twice"
            )),
        }
    }

    pub(super) fn stream(&mut self, stream: u64, known: &StreamIndex) {
        let StreamBase { position: base, mark } = known.base;
        let entries = match known.last() {
            last if last == base => format!("no entries behind {base}"),
            last => format!("entries {} to {last}", base + 1),
        };
        self.more(format_args!("stream {stream}: {entries}, base mark {mark}, commit hint {}", known.commit_hint));
        for (first, mark) in known.runs() {
            self.more(format_args!("  mark {mark} from {first} on"));
        }
        if !known.configurations.is_empty() {
            self.more(format_args!("  configurations at {:?}", known.configurations));
        }
        if let Some(StateRecord { lsn, bytes }) = &known.state {
            self.more(format_args!("  state of LSN {lsn}, {} bytes: {}", bytes.len(), digits(bytes)));
        }
        if let (Some((first, _)), Some((last, _))) = (known.journal.first_key_value(), known.journal.last_key_value()) {
            self.more(format_args!("  journal of {} keys, {first} to {last}", known.journal.len()));
        }
        if let Some(JournalCheckpoint { id, lsn }) = known.checkpoint {
            self.more(format_args!("  journal's checkpoint {id}, marked at LSN {lsn}"));
        }
        for (id, lsn) in &known.pending {
            self.more(format_args!("  journal's checkpoint {id} under way, marked at LSN {lsn}"));
        }
    }

    pub(super) fn tail(&mut self, header: &SegmentHeader, tail: &Tail) {
        self.more(format_args!("the log ends at {} of segment {}", tail.offset, header.id));
        if let Some(end) = tail.cut_end {
            self.line(format_args!(
                "damage: torn tail in segment {} from offset {} to {end}, with {} copies of state records",
                header.id,
                tail.offset,
                tail.states.len(),
            ));
        }
    }

    /// Prints the batches of the last segment that opening will write again, from `start` to `end`.
    pub(super) fn doubt(&mut self, segment: u64, start: u64, end: u64) {
        self.line(format_args!(
            "in doubt: nothing shows that the batches of segment {segment} from offset {start} to {end} are durable; \
             opening the log will write them again"
        ));
    }

    /// Prints a line only with [`Detail::Everything`].
    fn more(&mut self, line: Arguments<'_>) {
        if self.detail == Detail::Everything {
            self.line(line);
        }
    }

    fn line(&mut self, line: Arguments<'_>) {
        if self.outcome.is_ok() {
            self.outcome = writeln!(self.out, "{line}");
        }
    }
}

fn refusal(error: &HeaderError) -> String {
    match error {
        HeaderError::Newer { version } => format!("has format version {version}"),
        HeaderError::Features { bits } => format!("needs features {bits:#x}"),
        HeaderError::Foreign { field, found, .. } => format!("belongs to another {field}: {found}"),
        HeaderError::Damaged { field } => format!("is damaged: {field}"),
    }
}

/// The first bytes of a state record, as digits.
fn digits(bytes: &Bytes) -> String {
    let shown: String = bytes.iter().take(SHOWN_BYTES).map(|byte| format!("{byte:02x}")).collect();
    if bytes.len() > SHOWN_BYTES { format!("{shown}..") } else { shown }
}

const SHOWN_BYTES: usize = 32;
