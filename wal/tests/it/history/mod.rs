//! One random history: operations, faults, and the laws that must hold.

mod damage;
mod faults;
mod parts;

use std::collections::BTreeMap;
use std::io::ErrorKind;

use quorate_protocol::{LogIndex, Operation, Random};
use quorate_wal::disk::{Crash, Disk, MemoryDisk};
use quorate_wal::{OpenError, OpeningReport, Poisoned, StreamId, SubmissionRefusal, Wal, WriteError};

use self::faults::READS_FAIL;
use self::parts::Parts;
use crate::model::Model;
use crate::support::*;

/// A law that was broken.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    pub(crate) law: &'static str,
    pub(crate) what: String,
}

/// Returns the violation of a law.
fn broken<T>(law: &'static str, what: impl Into<String>) -> Result<T, Violation> {
    Err(Violation { law, what: what.into() })
}

/// Number of times that the histories reached each case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen(BTreeMap<&'static str, u64>);

impl Seen {
    pub(crate) fn add(&mut self, other: &Self) {
        for (what, count) in &other.0 {
            *self.0.entry(what).or_default() += count;
        }
    }

    pub(crate) fn all_reached(&self) -> bool {
        SOMETIMES.iter().all(|what| self.0.get(what).is_some_and(|count| *count > 0))
    }

    fn count(&mut self, what: &'static str, count: u64) {
        assert!(SOMETIMES.contains(&what), "{what} is not among what is looked for");
        *self.0.entry(what).or_default() += count;
    }
}

/// The cases that a run of seeds must reach.
const SOMETIMES: [&str; 32] = [
    "rotated",
    "freed a segment",
    "moved a record",
    "cut a torn tail",
    "adopted a state",
    "poisoned",
    "deleted a stream",
    "power cut",
    "power cut while opening",
    "process ended alone",
    "process ended within an operation",
    "operation failed",
    "failed while opening",
    "disk full",
    "refused for want of room",
    "damage refused",
    "damage of a crashed log refused",
    "damage survived",
    "misplaced page not needed",
    "misplaced page noticed",
    "misdirected write",
    "misdirected write while opening",
    "misdirected write read",
    "misdirected write refused",
    "misdirected write survived",
    "misdirected write not told from a torn tail",
    "reads failed",
    "reads failed while opening",
    "folder lost",
    "misused part refused",
    "misused part survived",
    "older part not told from a torn tail",
];

/// A step of a history.
type Step = fn(&mut History) -> Result<(), Violation>;

/// The plan of one history, drawn from its seed. Each kind of fault is on or off, so that all combinations occur.
#[derive(Clone, Copy, Debug)]
struct Weights {
    power: u64,
    process: u64,
    failure: u64,
    full: u64,
    damage: u64,
    misplace: u64,
    misdirect: u64,
    reads: u64,
    delete: u64,
    sync: u64,
    journal: u64,
}

impl Weights {
    fn new(random: &mut Random) -> Self {
        let mut some = |most: u64| if random.between(0, 2) == 0 { 0 } else { random.between(1, most + 1) };
        Self {
            power: some(6),
            process: some(3),
            failure: some(4),
            full: some(3),
            damage: some(3),
            misplace: some(3),
            misdirect: some(2),
            reads: some(3),
            delete: some(2),
            sync: 10 + some(30),
            journal: some(60),
        }
    }
}

pub(crate) struct History {
    random: Random,
    weights: Weights,
    disk: MemoryDisk,
    wal: Option<Wal<MemoryDisk>>,
    model: Model,
    deleted: Vec<StreamId>,
    next_checkpoint: u64,
    /// Set if a write landed elsewhere since the log was opened: the number of syncs of later writes.
    misdirected: Option<u64>,
    /// True if the next write was set to land elsewhere.
    is_misdirecting: bool,
    parts: Parts,
    seen: Seen,
}

impl History {
    pub(crate) fn new(seed: u64) -> Self {
        let disk = MemoryDisk::new();
        let wal = Some(open(&disk));
        let mut random = Random::new(seed);
        let weights = Weights::new(&mut random);
        let (model, seen) = (Model::new(), Seen::default());
        Self {
            random,
            weights,
            disk,
            wal,
            model,
            deleted: Vec::new(),
            next_checkpoint: 1,
            misdirected: None,
            is_misdirecting: false,
            parts: Parts::new(seed),
            seen,
        }
    }

    /// Runs this number of steps, and returns the cases that it reached.
    pub(crate) fn run(mut self, steps: u64) -> Result<Seen, Violation> {
        for _ in 0..steps {
            self.take_copy();
            self.step()?;
        }
        self.sync()?;
        self.restart(true)?;
        self.damage_closed()?;
        Ok(self.seen)
    }

    fn step(&mut self) -> Result<(), Violation> {
        let Weights { power, process, failure, full, damage, misplace, misdirect, reads, delete, sync, .. } =
            self.weights;
        let kinds: [(u64, Step); 14] = [
            (power, |history| history.restart(true)),
            (power, |history| {
                history.cut_power_soon();
                Ok(())
            }),
            (process, |history| history.restart(false)),
            (failure, |history| {
                history.fail_soon();
                Ok(())
            }),
            (full, |history| {
                history.fill_disk();
                Ok(())
            }),
            (damage, Self::damage_closed),
            (misplace, Self::misplace_pages),
            (misdirect, |history| {
                history.misdirect_soon();
                Ok(())
            }),
            (reads, Self::fail_reads),
            (delete, Self::delete),
            (sync, Self::sync),
            (5, Self::check_reads),
            (4, Self::settle),
            (60, Self::write),
        ];
        let mut drawn = self.draw(kinds.iter().map(|(weight, _)| weight).sum());
        for (weight, step) in kinds {
            match drawn.checked_sub(weight) {
                Some(rest) => drawn = rest,
                None => return step(self),
            }
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), Violation> {
        let stream = StreamId(1 + self.draw(4));
        if self.deleted.contains(&stream) {
            let refused = self.wal().write(&[(stream, vec![append(1, 1, 1)])]);
            if refused.is_ok_and(|written| written.refused != [(0, SubmissionRefusal::Deleted)]) {
                return broken("a deleted stream stays deleted", format!("{stream} took an entry"));
            }
            return self.note_failure();
        }
        let operations = self.operations(stream);
        let written = self.wal().write(&[(stream, operations.clone())]);
        let is_in_files = written.is_ok();
        match written {
            Ok(written) if written.refused == [(0, SubmissionRefusal::DiskFull)] => {
                self.seen.count("refused for want of room", 1);
                return Ok(());
            }
            Ok(written) if !written.refused.is_empty() => {
                return broken("what the rules allow is written", format!("{:?}", written.refused));
            }
            _ => {}
        }
        self.model.write(stream, &operations);
        if is_in_files {
            self.model.written();
        }
        self.note_failure()
    }

    /// One to three operations that the log must accept.
    fn operations(&mut self, stream: StreamId) -> Vec<Operation> {
        let mut preview = Model::new();
        preview.clock = self.model.clock;
        preview.streams.insert(stream, self.model.stream(stream));
        let mut operations = Vec::new();
        for _ in 0..=self.draw(3) {
            let operation = self.operation(stream, &preview);
            preview.write(stream, std::slice::from_ref(&operation));
            operations.push(operation);
        }
        operations
    }

    fn operation(&mut self, stream: StreamId, preview: &Model) -> Operation {
        let known = preview.stream(stream);
        let (base, last) = (known.base.0, known.last());
        let term = known.term_at(last) + u64::from(self.draw(5) == 0);
        let bytes = [0, 100, 1500, 3000][usize::try_from(self.draw(4)).unwrap()];
        if self.draw(100) < self.weights.journal {
            let text = if self.draw(8) == 0 { String::new() } else { format!("{}", self.random.next_u64()) };
            return journal(self.draw(5), &text);
        }
        match self.draw(20) {
            0 if last > known.hint.max(base) => {
                truncate(known.hint.max(base) + 1 + self.draw(last - known.hint.max(base)))
            }
            1 | 2 if last > base => {
                let index = base + 1 + self.draw(last - base);
                compact(index, known.term_at(index))
            }
            3 => reset(last.max(known.hint) + self.draw(3), term),
            4..7 => journal(self.draw(5), &format!("{}", self.draw(1000))),
            7 => journal(self.draw(5), ""),
            8 | 9 if known.pending.len() > 2 || (self.draw(2) == 0 && !known.pending.is_empty()) => {
                let chosen = self.draw(known.pending.len() as u64);
                let id = *known.pending.keys().nth(usize::try_from(chosen).unwrap()).unwrap();
                Operation::CheckpointDone { id }
            }
            8 | 9 => {
                self.next_checkpoint += 1;
                Operation::CheckpointBegin { id: self.next_checkpoint }
            }
            10..13 => state_with_hint(&format!("{}", self.random.next_u64()), known.hint + self.draw(2)),
            13 => Operation::CommitHint { index: LogIndex(known.hint.max(self.draw(last + 1))) },
            _ => append_sized(last + 1, term, 1 + self.draw(3), bytes),
        }
    }

    fn delete(&mut self) -> Result<(), Violation> {
        let stream = StreamId(1 + self.draw(4));
        if self.deleted.len() == 2 || self.deleted.contains(&stream) {
            return Ok(());
        }
        match self.wal().delete_stream(stream) {
            Err(WriteError::Refused(SubmissionRefusal::DiskFull)) => {
                self.seen.count("refused for want of room", 1);
                return Ok(());
            }
            Err(WriteError::Refused(refusal)) => {
                return broken("what the rules allow is written", format!("deletion of {stream}: {refusal}"));
            }
            outcome => {
                self.model.delete(stream);
                if outcome.is_ok() {
                    self.model.written();
                }
            }
        }
        self.note_failure()?;
        self.sync()?;
        // The refusal of an impossible entry shows whether the deletion survived a crash.
        let Ok(probe) = self.wal().write(&[(stream, vec![append(1 << 40, 1, 1)])]) else { return self.note_failure() };
        if probe.refused == [(0, SubmissionRefusal::Deleted)] {
            self.seen.count("deleted a stream", 1);
            self.deleted.push(stream);
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Violation> {
        let Ok(syncs) = self.wal().sync() else { return self.note_failure() };
        self.note_misdirected(syncs);
        // A hint alone is not made durable, and nothing depends on it.
        self.model.sync();
        let is_idle = self.draw(2) == 0;
        if self.draw(4) > 0 {
            let _ = self.wal().settle(is_idle);
        }
        self.note_failure()
    }

    /// Settles the log, whether or not anything was written since the last sync.
    fn settle(&mut self) -> Result<(), Violation> {
        let _ = self.wal().settle(false);
        self.note_failure()
    }

    /// Checks that reads return the data that was written last, whether or not it is durable.
    fn check_reads(&mut self) -> Result<(), Violation> {
        if self.disk.list("log".as_ref()).is_err() {
            return Ok(());
        }
        self.note_misdirected(0);
        let wal = self.wal.as_ref().expect("open");
        let read = if self.misdirected.is_none() {
            self.model.read_back(wal)
        } else {
            self.seen.count("misdirected write read", 1);
            self.model.read_back_each(wal).map(drop)
        };
        read.or_else(|what| broken("reads give what was written", what))
    }

    /// Makes the power go at one of the next disk operations.
    fn cut_power_soon(&mut self) {
        let operations = self.draw(12);
        self.disk.power_off_after(operations);
    }

    /// Makes one of the next disk operations fail.
    fn fail_soon(&mut self) {
        let (operations, kind) = (self.draw(12), self.draw(3));
        self.disk.fail(operations, if kind == 0 { ErrorKind::StorageFull } else { ErrorKind::Other });
        self.seen.count("operation failed", 1);
    }

    /// Leaves little room from now on, or enough again.
    fn fill_disk(&mut self) {
        let room = self.draw(5) * 20_000;
        if room == 80_000 {
            self.disk.set_capacity(None);
        } else {
            self.disk.set_capacity(Some(self.disk.used() + room));
            self.seen.count("disk full", 1);
        }
    }

    /// If the log failed, checks that it stays poisoned, and opens it again.
    fn note_failure(&mut self) -> Result<(), Violation> {
        let Some(reason) = self.wal().poisoned().cloned() else { return Ok(()) };
        self.seen.count("poisoned", 1);
        if reason.to_string().contains(&READS_FAIL.to_string()) {
            return broken("a read that fails harms no writer", reason.to_string());
        }
        let wal = self.wal();
        let answers: [Option<Poisoned>; 3] =
            [wal.sync().err(), wal.settle(true).err(), wal.write(&[(A, vec![state("late")])]).err()];
        if answers.iter().any(|answer| answer.as_ref() != Some(&reason)) {
            return broken("a failed log stays failed", format!("{answers:?}"));
        }
        let power_goes = self.draw(2) == 0;
        self.restart(power_goes)
    }

    /// Ends the process, and cuts the power if asked or if it is cut already. Then opens the log again, with power cuts
    /// and failures at times.
    fn restart(&mut self, mut power_goes: bool) -> Result<(), Violation> {
        self.disk.fail_reads(None);
        self.note_misdirected(0);
        if let Some(wal) = self.wal.take() {
            let metrics = wal.metrics();
            self.seen.count("rotated", metrics.rotations);
            self.seen.count("freed a segment", metrics.freed_segments);
            self.seen.count("moved a record", metrics.relocated);
        }
        let mut is_all_there = true;
        loop {
            is_all_there &= self.end(power_goes)?;
            self.open_unreadable()?;
            self.aim_at_opening();
            let operations = self.disk.operations();
            let outcome = try_open(&self.disk);
            if self.is_opening_misdirected() {
                // The write may have overwritten data that is read next: the log is checked after one more start.
                power_goes = self.draw(2) == 0;
                continue;
            }
            let error = match outcome {
                Ok((wal, report)) if self.disk.list("log".as_ref()).is_ok() => {
                    self.disk.power_off_after(u64::MAX >> 1);
                    self.disk.fail_read(u64::MAX >> 1, ErrorKind::Other);
                    return self.go_on(wal, &report, is_all_there);
                }
                Ok(_) => None,
                Err(error) => Some(error),
            };
            match error {
                Some(OpenError::DiskFull { .. }) => self.disk.set_capacity(None),
                Some(OpenError::Io { .. }) => self.seen.count("failed while opening", 1),
                Some(error) if self.misdirected.is_some() => {
                    if self.disk.operations() != operations {
                        return broken("a refusal changes nothing", error.to_string());
                    }
                    self.seen.count("misdirected write refused", 1);
                    self.start_over();
                    return Ok(());
                }
                Some(error) => return broken("the log opens", error.to_string()),
                None => self.seen.count("power cut while opening", 1),
            }
            power_goes = self.draw(2) == 0;
        }
    }

    /// Ends the process, within an operation if the power is off, and mostly cuts the power then. Returns true if
    /// everything that was in the files still is.
    fn end(&mut self, power_goes: bool) -> Result<bool, Violation> {
        let is_off = self.disk.list("".as_ref()).is_err();
        let is_machine_fine = self.weights.process > 0 && self.draw(3) == 0;
        if !power_goes && (!is_off || is_machine_fine) {
            self.disk.crash(Crash::Process);
            let what = if is_off { "process ended within an operation" } else { "process ended alone" };
            self.seen.count(what, 1);
            self.misuse_parts(false)?;
            return Ok(true);
        }
        let crash = match self.draw(4) {
            0 => Crash::LoseUnsynced,
            1 => Crash::KeepAll,
            _ => Crash::Seeded(self.random.next_u64()),
        };
        self.disk.crash(crash);
        self.seen.count("power cut", 1);
        self.damage_crashed()?;
        self.misuse_parts(false)?;
        Ok(false)
    }

    /// Sets a power cut or a fault of the disk for the next opening, at times.
    fn aim_at_opening(&mut self) {
        match self.draw(8) {
            0 | 1 if self.weights.power > 0 => {
                let operations = self.draw(20);
                self.disk.power_off_after(operations);
            }
            2 if self.weights.failure > 0 => {
                let operations = self.draw(20);
                self.disk.fail(operations, ErrorKind::Other);
            }
            3 if self.weights.reads > 0 => {
                let reads = self.draw(20);
                self.disk.fail_read(reads, ErrorKind::Other);
            }
            4 if self.weights.misdirect > 0 => self.misdirect_soon(),
            _ => {}
        }
    }

    /// Goes on with a log that was opened, after checking its content.
    fn go_on(&mut self, wal: Wal<MemoryDisk>, report: &OpeningReport, is_all_there: bool) -> Result<(), Violation> {
        self.seen.count("cut a torn tail", u64::from(report.cut.is_some()));
        self.seen.count("adopted a state", report.adopted_states);
        if self.is_unproven() {
            return self.judge_unproven(&wal);
        }
        if self.misdirected.take().is_some() {
            self.seen.count("misdirected write survived", 1);
        }
        let adopted = if is_all_there { self.model.adopt_all(&wal) } else { self.model.adopt(&wal) };
        self.wal = Some(wal);
        adopted.or_else(|what| broken("what was acknowledged is there", what))
    }

    fn wal(&mut self) -> &mut Wal<MemoryDisk> {
        self.wal.as_mut().expect("open")
    }

    fn draw(&mut self, count: u64) -> u64 {
        self.random.between(0, count)
    }

    fn pick(&mut self, count: usize) -> usize {
        usize::try_from(self.draw(count as u64)).expect("below a usize")
    }
}
