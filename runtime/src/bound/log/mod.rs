//! The state machine that keeps the log of a core.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::Range;

use bytes::Bytes;
use quorate_protocol::{LogIndex, Operation, Recovery, STATE_BYTES_MAX, WriteRefusal, crc32c};

use crate::replica::state_machine::{ApplyContext, StateMachine};

pub(super) mod codec;
#[cfg(test)]
mod tests;

use codec::{Command, CommandError, Response, SnapshotReader, VERSION};

/// The log of a core, as the state of a replica: the newest record of each key, and the core's state record.
///
/// It takes the operations of a core without an index: `Journal`, `PutState`, `CheckpointBegin` and `CheckpointDone`.
/// Each write names the [reign](Self::reign) in which its core was recovered. A write of an earlier reign changes
/// nothing, so the late proposal of a leader that was deposed never changes the log under its successor's core.
///
/// All records are in memory. A snapshot copies a pointer for each of them within the loop, not their bytes.
#[derive(Clone, Default)]
pub struct BoundLog {
    /// Never goes back.
    reign: Reign,
    state: Option<Bytes>,
    records: BTreeMap<u64, Record>,
    /// Bytes of all records, with an overhead for each.
    records_bytes: usize,
    /// The checkpoint that was done last.
    checkpoint: Option<u64>,
    /// The mark of each checkpoint that was begun and is not done.
    marks: BTreeMap<u64, u64>,
    /// The number of marks so far. A record holds this number as of its writing.
    last_mark: u64,
}

/// The time in which one core may write: from one take-over to the next. It is named by the index of the take-over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reign(pub LogIndex);

/// The newest record of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    bytes: Bytes,
    /// The number of the newest mark before it.
    mark: u64,
}

impl BoundLog {
    /// Returns the present reign; that of index 0 before the first take-over.
    #[must_use]
    pub fn reign(&self) -> Reign {
        self.reign
    }

    /// Number of records.
    #[must_use]
    pub fn records(&self) -> usize {
        self.records.len()
    }

    /// Bytes that the records take in memory, approximately.
    #[must_use]
    pub fn records_bytes(&self) -> usize {
        self.records_bytes
    }

    /// Returns the content that a core is recovered from.
    #[must_use]
    pub fn recovery(&self) -> Recovery {
        let records: Vec<_> = self.records.iter().map(|(key, record)| Ok((*key, record.bytes.clone()))).collect();
        Recovery {
            state: self.state.clone(),
            checkpoint: self.checkpoint,
            journal: Some(Box::new(records.into_iter())),
            ..Recovery::default()
        }
    }

    /// Returns the newest record of each key in the range.
    #[must_use]
    pub fn keys(&self, range: Range<u64>) -> Vec<(u64, Bytes)> {
        if range.is_empty() {
            return Vec::new();
        }
        self.records.range(range).map(|(key, record)| (*key, record.bytes.clone())).collect()
    }

    /// Number of bytes by which a write makes the records grow. A write that frees at least as much as it adds grows
    /// nothing.
    pub(super) fn growth(&self, operations: &[Operation]) -> usize {
        let (mut added, mut freed) = (0, 0);
        let mut newest = BTreeMap::new();
        for operation in operations {
            if let Operation::Journal { key, bytes } = operation {
                newest.insert(*key, bytes);
            }
        }
        for (key, bytes) in newest {
            added += weight(bytes);
            freed += self.records.get(&key).map_or(0, |record| weight(&record.bytes));
        }
        added.saturating_sub(freed)
    }

    /// Checks a write: carried out now, and in the order of its operations, it breaks no rule of a log.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub(super) fn check(&self, operations: &[Operation]) -> Result<(), WriteRefusal> {
        let mut begun: Vec<u64> = self.marks.keys().copied().collect();
        for operation in operations {
            match operation {
                Operation::PutState { commit_hint, .. } if *commit_hint != LogIndex::ZERO => {
                    return Err(WriteRefusal::Indexed);
                }
                Operation::PutState { bytes, .. } if bytes.len() > STATE_BYTES_MAX => {
                    return Err(WriteRefusal::StateTooLarge);
                }
                Operation::PutState { .. } | Operation::Journal { .. } => {}
                Operation::CheckpointBegin { id } => {
                    begun.retain(|other| other != id);
                    if begun.len() >= CHECKPOINTS_MAX {
                        return Err(WriteRefusal::Checkpoint);
                    }
                    begun.push(*id);
                }
                Operation::CheckpointDone { id } if begun.contains(id) => begun.retain(|other| other != id),
                Operation::CheckpointDone { .. } => return Err(WriteRefusal::Checkpoint),
                Operation::Append { .. }
                | Operation::TruncateFrom { .. }
                | Operation::CompactTo { .. }
                | Operation::Reset { .. }
                | Operation::CommitHint { .. } => return Err(WriteRefusal::Indexed),
            }
        }
        Ok(())
    }

    fn write(&mut self, reign: Reign, operations: Vec<Operation>) -> Response {
        if reign != self.reign {
            return Response::Fenced;
        }
        if self.check(&operations).is_err() {
            return Response::Refused;
        }
        for operation in operations {
            self.carry_out(operation);
        }
        Response::Written
    }

    fn carry_out(&mut self, operation: Operation) {
        match operation {
            Operation::Journal { key, bytes } => {
                self.records_bytes += weight(&bytes);
                let record = Record { bytes, mark: self.last_mark };
                let before =
                    if record.bytes.is_empty() { self.records.remove(&key) } else { self.records.insert(key, record) };
                self.records_bytes -= before.map_or(0, |record| weight(&record.bytes));
            }
            Operation::PutState { bytes, .. } => self.state = Some(bytes),
            Operation::CheckpointBegin { id } => {
                self.last_mark += 1;
                self.marks.insert(id, self.last_mark);
            }
            Operation::CheckpointDone { id } => {
                let mark = self.marks.remove(&id).expect("it was checked to have begun");
                self.checkpoint = Some(id);
                self.records.retain(|_, record| record.mark >= mark);
                self.records_bytes = self.records.values().map(|record| weight(&record.bytes)).sum();
            }
            _ => unreachable!("a write is checked first"),
        }
    }
}

impl StateMachine for BoundLog {
    type Snapshot = Self;

    fn apply(&mut self, context: ApplyContext, command: Bytes) -> io::Result<Bytes> {
        let response = match Command::decode(command) {
            Ok(Command::TakeOver) => {
                self.reign = Reign(context.index);
                // The core that began these checkpoints writes no more.
                self.marks.clear();
                Response::Reigns(self.reign)
            }
            Ok(Command::Write { reign, operations }) => self.write(reign, operations),
            Err(CommandError::Malformed) => Response::Refused,
            Err(CommandError::Version(version)) => {
                return Err(io::Error::other(format!("version {version} of a command is newer than this program")));
            }
        };
        Ok(response.encode())
    }

    fn snapshot(&self) -> Self {
        self.clone()
    }

    fn write(snapshot: Self, out: &mut dyn io::Write) -> io::Result<()> {
        out.write_all(&[VERSION])?;
        for number in [snapshot.reign.0.0, snapshot.last_mark] {
            out.write_all(&number.to_le_bytes())?;
        }
        out.write_all(&[u8::from(snapshot.checkpoint.is_some())])?;
        out.write_all(&snapshot.checkpoint.unwrap_or(0).to_le_bytes())?;
        out.write_all(&[u8::from(snapshot.state.is_some())])?;
        write_bytes(out, &snapshot.state.unwrap_or_default())?;
        out.write_all(&(snapshot.marks.len() as u64).to_le_bytes())?;
        for (id, mark) in snapshot.marks {
            out.write_all(&id.to_le_bytes())?;
            out.write_all(&mark.to_le_bytes())?;
        }
        out.write_all(&(snapshot.records.len() as u64).to_le_bytes())?;
        for (key, Record { bytes, mark }) in snapshot.records {
            out.write_all(&key.to_le_bytes())?;
            out.write_all(&mark.to_le_bytes())?;
            write_bytes(out, &bytes)?;
        }
        Ok(())
    }

    fn restore(from: &mut dyn io::Read) -> io::Result<Self> {
        let mut from = SnapshotReader(from);
        let version = from.u8()?;
        if version != VERSION {
            return Err(io::Error::other(format!("version {version} of a snapshot is not known")));
        }
        let mut log = Self { reign: Reign(LogIndex(from.u64()?)), last_mark: from.u64()?, ..Self::default() };
        let (is_done, checkpoint) = (from.u8()? != 0, from.u64()?);
        log.checkpoint = is_done.then_some(checkpoint);
        let (is_written, state) = (from.u8()? != 0, from.bytes()?);
        log.state = is_written.then_some(state);
        for _ in 0..from.u64()? {
            let (id, mark) = (from.u64()?, from.u64()?);
            log.marks.insert(id, mark);
        }
        for _ in 0..from.u64()? {
            let (key, mark, bytes) = (from.u64()?, from.u64()?, from.bytes()?);
            log.records_bytes += weight(&bytes);
            log.records.insert(key, Record { bytes, mark });
        }
        from.end()?;
        Ok(log)
    }

    fn digest(&self) -> u64 {
        let mut content = Vec::new();
        <Self as StateMachine>::write(self.clone(), &mut content).expect("memory takes everything");
        u64::from(crc32c(&content))
    }
}

impl fmt::Debug for BoundLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoundLog")
            .field("reign", &self.reign)
            .field("records", &self.records.len())
            .field("records_bytes", &self.records_bytes)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Reign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Bytes that a record takes in memory. An empty one is not kept.
fn weight(bytes: &Bytes) -> usize {
    if bytes.is_empty() { 0 } else { bytes.len() + RECORD_OVERHEAD_BYTES }
}

fn write_bytes(out: &mut dyn io::Write, bytes: &Bytes) -> io::Result<()> {
    out.write_all(&u32::try_from(bytes.len()).map_err(io::Error::other)?.to_le_bytes())?;
    out.write_all(bytes)
}

/// Maximum number of checkpoints that are under way at a time.
const CHECKPOINTS_MAX: usize = 16;
/// Bytes of a record beside its content.
const RECORD_OVERHEAD_BYTES: usize = 96;
