//! One random history: operations, faults, and what must hold.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::ops::Range;

use quorate_protocol::{LogIndex, Operation, Random};
use quorate_wal::disk::{Crash, Disk, MemoryDisk};
use quorate_wal::{OpenError, Poisoned, Refusal, StreamId, Wal, WriteError};

use crate::craft::{PAGE, is_checkpoint, is_record, number_64, records};
use crate::model::Model;
use crate::support::*;

/// A law that was broken.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    pub(crate) law: &'static str,
    pub(crate) what: String,
}

/// Says which law was broken.
fn broken<T>(law: &'static str, what: impl Into<String>) -> Result<T, Violation> {
    Err(Violation { law, what: what.into() })
}

/// How often the histories came by what.
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

/// What must be reached by a run of seeds.
const SOMETIMES: [&str; 19] = [
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
    "operation failed",
    "failed while opening",
    "disk full",
    "refused for want of room",
    "damage refused",
    "damage of a crashed log refused",
    "damage survived",
    "misdirected write read",
    "misdirected write noticed",
];

/// Something that a history does.
type Step = fn(&mut History) -> Result<(), Violation>;

/// What one history does, drawn from its seed: each kind of fault is on or off, so that they meet in all combinations.
#[derive(Clone, Copy, Debug)]
struct Weights {
    power: u64,
    process: u64,
    failure: u64,
    full: u64,
    damage: u64,
    misdirect: u64,
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
            misdirect: some(3),
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
    seen: Seen,
}

impl History {
    pub(crate) fn new(seed: u64) -> Self {
        let disk = MemoryDisk::new();
        let wal = Some(open(&disk));
        let mut random = Random::new(seed);
        let weights = Weights::new(&mut random);
        let (model, seen) = (Model::new(), Seen::default());
        Self { random, weights, disk, wal, model, deleted: Vec::new(), next_checkpoint: 1, seen }
    }

    /// Runs so many steps, and says what it came by.
    pub(crate) fn run(mut self, steps: u64) -> Result<Seen, Violation> {
        for _ in 0..steps {
            self.step()?;
        }
        self.sync()?;
        self.restart(true)?;
        self.damage_closed()?;
        Ok(self.seen)
    }

    fn step(&mut self) -> Result<(), Violation> {
        let Weights { power, process, failure, full, damage, misdirect, delete, sync, .. } = self.weights;
        let kinds: [(u64, Step); 12] = [
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
            (misdirect, Self::misdirect),
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
            if refused.is_ok_and(|written| written.refused != [(0, Refusal::Deleted)]) {
                return broken("a deleted stream stays deleted", format!("{stream} took an entry"));
            }
            return self.note_failure();
        }
        let operations = self.operations(stream);
        match self.wal().write(&[(stream, operations.clone())]) {
            Ok(written) if written.refused == [(0, Refusal::DiskFull)] => {
                self.seen.count("refused for want of room", 1);
                return Ok(());
            }
            Ok(written) if !written.refused.is_empty() => {
                return broken("what the rules allow is written", format!("{:?}", written.refused));
            }
            _ => {}
        }
        self.model.write(stream, &operations);
        self.note_failure()
    }

    /// One to three operations that the log must take.
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
            Err(WriteError::Refused(Refusal::DiskFull)) => {
                self.seen.count("refused for want of room", 1);
                return Ok(());
            }
            Err(WriteError::Refused(refusal)) => {
                return broken("what the rules allow is written", format!("deletion of {stream}: {refusal}"));
            }
            _ => self.model.delete(stream),
        }
        self.note_failure()?;
        self.sync()?;
        // Whether the deletion outlived a crash shows in why an impossible entry is refused.
        let Ok(probe) = self.wal().write(&[(stream, vec![append(1 << 40, 1, 1)])]) else { return self.note_failure() };
        if probe.refused == [(0, Refusal::Deleted)] {
            self.seen.count("deleted a stream", 1);
            self.deleted.push(stream);
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Violation> {
        if self.wal().sync().is_err() {
            return self.note_failure();
        }
        // A hint alone is not made durable, and nothing depends on it.
        self.model.sync();
        let is_idle = self.draw(2) == 0;
        if self.draw(4) > 0 {
            let _ = self.wal().settle(is_idle);
        }
        self.note_failure()
    }

    /// Whether or not anything was written since the last sync.
    fn settle(&mut self) -> Result<(), Violation> {
        let _ = self.wal().settle(false);
        self.note_failure()
    }

    /// What is read is what was written last, whether or not it is durable.
    fn check_reads(&mut self) -> Result<(), Violation> {
        if self.disk.list("log".as_ref()).is_err() {
            return Ok(());
        }
        let wal = self.wal.as_ref().expect("open");
        match self.model.read_back(wal) {
            Ok(()) => Ok(()),
            Err(what) => broken("reads give what was written", what),
        }
    }

    /// The power goes at one of the next disk operations.
    fn cut_power_soon(&mut self) {
        let operations = self.draw(12);
        self.disk.power_off_after(operations);
    }

    /// One of the next disk operations fails.
    fn fail_soon(&mut self) {
        let (operations, kind) = (self.draw(12), self.draw(3));
        self.disk.fail(operations, if kind == 0 { ErrorKind::StorageFull } else { ErrorKind::Other });
        self.seen.count("operation failed", 1);
    }

    /// There is little room from now on, or enough again.
    fn fill_disk(&mut self) {
        let room = self.draw(5) * 20_000;
        if room == 80_000 {
            self.disk.set_capacity(None);
        } else {
            self.disk.set_capacity(Some(self.disk.used() + room));
            self.seen.count("disk full", 1);
        }
    }

    /// If the log failed, it stays so, and is opened anew.
    fn note_failure(&mut self) -> Result<(), Violation> {
        let Some(reason) = self.wal().poisoned().cloned() else { return Ok(()) };
        self.seen.count("poisoned", 1);
        let wal = self.wal();
        let answers: [Option<Poisoned>; 3] =
            [wal.sync().err(), wal.settle(true).err(), wal.write(&[(A, vec![state("late")])]).err()];
        if answers.iter().any(|answer| answer.as_ref() != Some(&reason)) {
            return broken("a failed log stays failed", format!("{answers:?}"));
        }
        let power_goes = self.draw(2) == 0;
        self.restart(power_goes)
    }

    /// Ends the process, and cuts the power where asked or where it is cut already; then opens the log again, losing power or
    /// failing now and then meanwhile.
    fn restart(&mut self, mut power_goes: bool) -> Result<(), Violation> {
        if let Some(wal) = self.wal.take() {
            let metrics = wal.metrics();
            self.seen.count("rotated", metrics.rotations);
            self.seen.count("freed a segment", metrics.freed_segments);
            self.seen.count("moved a record", metrics.relocated);
        }
        loop {
            power_goes |= self.disk.list("".as_ref()).is_err();
            if power_goes {
                let crash = match self.draw(4) {
                    0 => Crash::LoseUnsynced,
                    1 => Crash::KeepAll,
                    _ => Crash::Seeded(self.random.next_u64()),
                };
                self.disk.crash(crash);
                self.seen.count("power cut", 1);
                self.damage_crashed()?;
            } else {
                self.seen.count("process ended alone", 1);
            }
            match self.draw(6) {
                0 | 1 if self.weights.power > 0 => {
                    let operations = self.draw(20);
                    self.disk.power_off_after(operations);
                }
                2 if self.weights.failure > 0 => {
                    let operations = self.draw(20);
                    self.disk.fail(operations, ErrorKind::Other);
                }
                _ => {}
            }
            let error = match try_open(&self.disk) {
                Ok((wal, report)) if self.disk.list("log".as_ref()).is_ok() => {
                    self.disk.power_off_after(u64::MAX >> 1);
                    self.seen.count("cut a torn tail", u64::from(report.cut.is_some()));
                    self.seen.count("adopted a state", report.adopted_states);
                    let adopted = self.model.adopt(&wal);
                    self.wal = Some(wal);
                    return adopted.or_else(|what| broken("what was acknowledged is there", what));
                }
                Ok(_) => None,
                Err(error) => Some(error),
            };
            match error {
                Some(OpenError::Io { error, .. }) if error.kind() == ErrorKind::StorageFull => {
                    self.disk.set_capacity(None);
                }
                Some(OpenError::Io { .. }) => self.seen.count("failed while opening", 1),
                Some(error) => return broken("the log opens", error.to_string()),
                None => self.seen.count("power cut while opening", 1),
            }
            power_goes = self.draw(2) == 0;
        }
    }

    /// Closes the log, which leaves proof of all that is in it; then damages copies of the disk and looks what opening them gives.
    fn damage_closed(&mut self) -> Result<(), Violation> {
        let closed = self.wal.take().expect("open").close();
        if closed.is_ok() {
            self.model.sync();
            for _ in 0..DAMAGES {
                self.damage_once()?;
            }
        }
        self.restart(false)
    }

    /// Damages batches of copies of the disk after a crash, of which later batches say that they were durable.
    fn damage_crashed(&mut self) -> Result<(), Violation> {
        if self.weights.damage == 0 || self.draw(4) > 0 {
            return Ok(());
        }
        self.damage_checkpoint()?;
        let proven = proven(&self.disk);
        for _ in 0..DAMAGES.min(proven.len()) {
            let (path, batch) = proven[self.pick(proven.len())].clone();
            let disk = self.disk.fork();
            disk.set_capacity(None);
            let mut bytes = disk.content(&path).expect("just read");
            let at = batch.start + self.pick(batch.end - batch.start);
            bytes[at] ^= 1 << self.draw(8);
            disk.replace(&path, &bytes);
            match try_open(&disk) {
                Ok((wal, _)) => {
                    self.seen.count("damage survived", 1);
                    if let Err(found) = self.model.clone().adopt(&wal) {
                        return broken("damage is noticed", format!("a bit of {path} at {at}: {found}"));
                    }
                }
                Err(_) => self.seen.count("damage of a crashed log refused", 1),
            }
        }
        Ok(())
    }

    /// Damages one copy of the checkpoint, where both are whole.
    fn damage_checkpoint(&mut self) -> Result<(), Violation> {
        let copies = ["log/checkpoint-a", "log/checkpoint-b"];
        let is_whole = |path: &&str| self.disk.content(path).is_some_and(|bytes| is_checkpoint(&bytes));
        if !copies.iter().all(is_whole) {
            return Ok(());
        }
        let path = copies[self.pick(2)];
        let disk = self.disk.fork();
        disk.set_capacity(None);
        disk.flip(path, self.draw(80), 3);
        let (wal, _) = match try_open(&disk) {
            Err(error) => return broken("what is there twice survives damage", format!("{path}: {error}")),
            Ok(opened) => opened,
        };
        let adopted = self.model.clone().adopt(&wal);
        adopted.or_else(|found| broken("what is there twice survives damage", format!("{path}: {found}")))
    }

    fn damage_once(&mut self) -> Result<(), Violation> {
        let disk = self.disk.fork();
        disk.crash(Crash::KeepAll);
        disk.set_capacity(None);
        let (what, must_open) = self.damage(&disk);
        let operations = disk.operations();
        match try_open(&disk) {
            Ok((wal, _)) => {
                self.seen.count("damage survived", 1);
                if let Err(found) = self.model.clone().adopt(&wal) {
                    return broken("damage is noticed", format!("{what}: {found}"));
                }
            }
            Err(error) if must_open => {
                return broken("what is there twice survives damage", format!("{what}: {error}"));
            }
            Err(_) if disk.operations() != operations => return broken("a refusal changes nothing", what),
            Err(_) => self.seen.count("damage refused", 1),
        }
        Ok(())
    }

    /// Damages one thing. Says what, and whether it must be survived.
    fn damage(&mut self, disk: &MemoryDisk) -> (String, bool) {
        let files = names(disk, "");
        let name = files[self.pick(files.len())].clone();
        let path = format!("log/{name}");
        if self.draw(12) == 0 {
            disk.remove(path.as_ref()).expect("it is there");
            return (format!("{name} is gone"), !name.starts_with("segment"));
        }
        let mut bytes = disk.content(&path).expect("just listed");
        let pages = bytes.len() / PAGE;
        if pages == 0 {
            return (format!("{name} is left as it is"), true);
        }
        let place = self.pick_page(&bytes);
        let is_needed = name.starts_with("segment") && !bears_state_alone(&bytes, place);
        let before = bytes.clone();
        let page = place..place + PAGE;
        let what = match self.draw(4) {
            0 => {
                let at = place + self.pick(PAGE);
                bytes[at] ^= 1 << self.draw(8);
                format!("a bit of {name} at {at}")
            }
            1 => {
                bytes[page].fill(0);
                format!("zeros in {name} at {place}")
            }
            2 => {
                for at in page {
                    bytes[at] = self.random.next_u64().to_le_bytes()[0];
                }
                format!("garbage in {name} at {place}")
            }
            _ => {
                let (from, source) = self.other_page(disk, place);
                bytes[page].copy_from_slice(&source);
                format!("a page of {from} in {name} at {place}")
            }
        };
        disk.replace(&path, &bytes);
        (what, !is_needed || bytes == before)
    }

    /// Puts pages where others should be while the log is open, as misdirected writes do, and reads.
    fn misdirect(&mut self) -> Result<(), Violation> {
        if self.disk.list("log".as_ref()).is_err() {
            return Ok(());
        }
        let segments = names(&self.disk, "segment-");
        for _ in 0..MISDIRECTED {
            let path = format!("log/{}", segments[self.pick(segments.len())]);
            let before = self.disk.content(&path).expect("just listed");
            let place = self.pick_page(&before);
            let (from, source) = self.other_page(&self.disk.clone(), place);
            self.disk.poke(&path, place as u64, &source);
            let wal = self.wal.as_ref().expect("open");
            let read = self.model.read_back_undamaged(wal);
            self.disk.poke(&path, place as u64, &before[place..place + PAGE]);
            match read {
                Ok(damaged) if damaged > 0 => self.seen.count("misdirected write noticed", 1),
                Ok(_) => self.seen.count("misdirected write read", 1),
                Err(what) => {
                    let what = format!("a page of {from} in {path} at {place}: {what}");
                    return broken("reads give what was written", what);
                }
            }
        }
        Ok(())
    }

    /// A page of some file, at the same place where that can be.
    fn other_page(&mut self, disk: &MemoryDisk, place: usize) -> (String, Vec<u8>) {
        let files = names(disk, "s");
        let name = files[self.pick(files.len())].clone();
        let bytes = disk.content(format!("log/{name}")).expect("just listed");
        let is_same = self.draw(2) == 0 && place + PAGE <= bytes.len();
        let place = if is_same || bytes.len() < PAGE { place } else { self.pick_page(&bytes) };
        (format!("{name} at {place}"), bytes.get(place..place + PAGE).map_or(vec![0; PAGE], <[u8]>::to_vec))
    }

    /// The start of a page, of one that holds something rather than of an empty one.
    fn pick_page(&mut self, bytes: &[u8]) -> usize {
        let used = bytes.chunks_exact(PAGE).rposition(|page| page.iter().any(|byte| *byte != 0)).unwrap_or(0);
        PAGE * self.pick(used + 1)
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

/// The batches that a later record of the same segment knows to have been durable, by file.
fn proven(disk: &MemoryDisk) -> Vec<(String, Range<usize>)> {
    let mut found = Vec::new();
    for name in names(disk, "segment-") {
        let path = format!("log/{name}");
        let bytes = disk.content(&path).expect("just listed");
        let id = u64::from_str_radix(&name["segment-".len()..], 16).expect("a segment's name");
        let (mut batches, mut durable, mut start) = (Vec::new(), 0, PAGE);
        while start < bytes.len() && bytes[start + 4] == 1 && is_record(&bytes, id, start) {
            let last = *records(&bytes, start).last().expect("at least the first");
            if number_64(&bytes, start + 16) <= batches.last().map_or(0, |(_, last_lsn)| *last_lsn) {
                break;
            }
            durable = durable.max(number_64(&bytes, start + 32));
            batches.push((start..last + 56, number_64(&bytes, last + 16)));
            start = (last + 56).next_multiple_of(PAGE);
        }
        let proven = batches.into_iter().filter(|(_, last_lsn)| *last_lsn <= durable);
        found.extend(proven.map(|(place, _)| (path.clone(), place)));
    }
    found
}

/// Whether the page at `place` of a segment belongs to a batch with state records and no others, or to none.
fn bears_state_alone(bytes: &[u8], place: usize) -> bool {
    if place == 0 {
        return false;
    }
    let mut start = PAGE;
    while start < bytes.len() && bytes[start + 4] == 1 {
        let batch = records(bytes, start);
        let last = *batch.last().expect("at least the first");
        let end = (last + 56).next_multiple_of(PAGE);
        if place < end {
            let kinds: Vec<u8> = batch.iter().map(|at| bytes[at + 4]).collect();
            return kinds.contains(&10) && kinds.iter().all(|kind| matches!(kind, 1 | 2 | 10));
        }
        start = end;
    }
    true
}

const DAMAGES: usize = 6;
const MISDIRECTED: usize = 12;
