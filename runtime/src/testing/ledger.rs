//! A state machine that counts the commands that were applied to it.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;
use quorate_protocol::{LogIndex, LogTime};

use super::files::{LedgerFiles, StoredState};
use crate::replica::state_machine::{ApplyContext, Restorer, StateMachine};

/// Counts each command. `panic` panics, `due <ms>` requests a tick at that log time, `every <ms>` requests repeated
/// ticks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Number of times that each command was applied.
    pub counts: BTreeMap<Vec<u8>, u64>,
    /// The log time at which a tick is wanted.
    pub due: Option<LogTime>,
    /// The interval from a tick to the next one.
    pub every: Option<u64>,
    /// The log times of the ticks.
    pub ticks: Vec<u64>,
    /// The index of the last command or tick.
    pub applied: LogIndex,
    /// The files in which it stores its state itself; `None` if it stores nothing.
    pub files: Option<LedgerFiles>,
    /// The files that its own replace when it is installed. Until then a restart finds these.
    replaces: Option<LedgerFiles>,
}

impl Ledger {
    /// A ledger that stores its state in these files, with what they contain.
    pub fn open(files: LedgerFiles) -> Self {
        let StoredState { applied, counts } = files.written();
        Self { applied, counts, files: Some(files), ..Self::default() }
    }

    fn stored(&self) -> StoredState {
        StoredState { applied: self.applied, counts: self.counts.clone() }
    }

    /// Number of times that this command was applied.
    pub fn count(&self, command: &str) -> u64 {
        self.counts.get(command.as_bytes()).copied().unwrap_or(0)
    }
}

impl StateMachine for Ledger {
    type Snapshot = Self;

    /// Number of times that the command has been applied, as text.
    fn apply(&mut self, context: ApplyContext, command: Bytes) -> io::Result<Bytes> {
        assert_ne!(command, "panic", "it was asked to");
        self.applied = context.index;
        if let Some(due) = command.strip_prefix(b"due ") {
            let due = String::from_utf8_lossy(due).parse().expect("a number");
            self.due = Some(LogTime(due));
        }
        if let Some(every) = command.strip_prefix(b"every ") {
            let every = String::from_utf8_lossy(every).parse().expect("a number");
            (self.every, self.due) = (Some(every), Some(LogTime(context.log_time.0 + every)));
        }
        let count = self.counts.entry(command.to_vec()).or_default();
        *count += 1;
        Ok(Bytes::from(count.to_string()))
    }

    fn tick(&mut self, context: ApplyContext) -> io::Result<()> {
        self.applied = context.index;
        self.ticks.push(context.log_time.0);
        if self.due.take_if(|due| *due <= context.log_time).is_some() {
            self.due = self.every.map(|every| LogTime(context.log_time.0 + every));
        }
        Ok(())
    }

    fn end_batch(&mut self) -> io::Result<()> {
        self.files.as_ref().map_or(Ok(()), |files| files.write(self.stored()))
    }

    fn snapshot(&self) -> Self {
        self.clone()
    }

    fn write(snapshot: Self, out: &mut dyn io::Write) -> io::Result<()> {
        if snapshot.files.is_some() {
            out.write_all(&snapshot.applied.0.to_le_bytes())?;
        }
        for (command, count) in snapshot.counts {
            out.write_all(&u32::try_from(command.len()).expect("short").to_le_bytes())?;
            out.write_all(&command)?;
            out.write_all(&count.to_le_bytes())?;
        }
        Ok(())
    }

    fn restore(from: &mut dyn io::Read) -> io::Result<Self> {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes)?;
        let (mut rest, mut ledger) = (&bytes[..], Self::default());
        while let Some((length, behind)) = rest.split_first_chunk() {
            let length = usize::try_from(u32::from_le_bytes(*length)).map_err(io::Error::other)?;
            let is_short = || io::Error::other("the ledger ends early");
            let (command, behind) = behind.split_at_checked(length).ok_or_else(is_short)?;
            let (count, behind) = behind.split_first_chunk().ok_or_else(is_short)?;
            ledger.counts.insert(command.to_vec(), u64::from_le_bytes(*count));
            rest = behind;
        }
        Ok(ledger)
    }

    fn restorer(&self) -> Restorer<Self> {
        let Some(files) = self.files.clone() else { return Box::new(Self::restore) };
        Box::new(|from| {
            let mut applied = [0; 8];
            from.read_exact(&mut applied)?;
            let applied = LogIndex(u64::from_le_bytes(applied));
            let beside = Some(LedgerFiles::default());
            Ok(Self { applied, files: beside, replaces: Some(files), ..Self::restore(from)? })
        })
    }

    fn installed(&mut self) -> io::Result<()> {
        let Some(files) = self.replaces.take() else { return Ok(()) };
        files.replace(self.stored())?;
        self.files = Some(files);
        Ok(())
    }

    fn applied(&self) -> Option<LogIndex> {
        self.files.as_ref().map(|files| files.written().applied)
    }

    fn sync(snapshot: Self) -> io::Result<()> {
        snapshot.files.as_ref().map_or(Ok(()), |files| files.sync(snapshot.stored()))
    }

    fn digest(&self) -> u64 {
        self.counts.values().sum()
    }

    fn next_deadline(&self) -> Option<LogTime> {
        self.due
    }
}
