//! Random histories with crashes, against the model.

use quorate_protocol::{LogIndex, Operation, Random};
use quorate_wal::disk::{Crash, Disk, MemoryDisk};
use quorate_wal::{Refusal, StreamId, Wal, WriteError};

use crate::model::Model;
use crate::support::*;

/// Appends, truncations, resets, compactions, checkpoints, deletions, crashes at any disk operation and reopenings: what was
/// acknowledged is there, nothing else is, and the log always opens.
#[test]
fn random_histories_agree_with_the_model() {
    let mut seen = Seen::default();
    for seed in 0..cases(200) {
        println!("seed {seed}");
        let mut history = History::new(seed);
        history.seen = seen;
        history.run(120);
        seen = history.seen;
    }
    println!("{seen:?}");
    let reached = [seen.rotations, seen.freed, seen.relocated, seen.cuts, seen.adopted, seen.poisoned];
    assert!(reached.iter().all(|count| *count > 0), "the interesting cases were reached: {seen:?}");
}

/// What the histories went through.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    rotations: u64,
    freed: u64,
    relocated: u64,
    cuts: u64,
    adopted: u64,
    poisoned: u64,
}

struct History {
    random: Random,
    disk: MemoryDisk,
    wal: Option<Wal<MemoryDisk>>,
    model: Model,
    deleted: Vec<StreamId>,
    next_checkpoint: u64,
    seen: Seen,
}

impl History {
    fn new(seed: u64) -> Self {
        let disk = MemoryDisk::new();
        let wal = Some(open(&disk));
        Self {
            random: Random::new(seed),
            disk,
            wal,
            model: Model::new(),
            deleted: Vec::new(),
            next_checkpoint: 1,
            seen: Seen::default(),
        }
    }

    fn run(&mut self, steps: u64) {
        for _ in 0..steps {
            match self.draw(100) {
                0..2 => self.crash(),
                2..4 => self.crash_soon(),
                4..6 => self.reopen(),
                6 => self.delete(),
                7..40 => self.sync(),
                _ => self.write(),
            }
        }
        self.sync();
        self.crash();
    }

    fn write(&mut self) {
        let stream = StreamId(1 + self.draw(4));
        if self.deleted.contains(&stream) {
            let refused = self.wal().write(&[(stream, vec![append(1, 1, 1)])]);
            assert!(refused.is_err() || !refused.unwrap().refused.is_empty());
            return;
        }
        let operations = self.operations(stream);
        let outcome = self.wal().write(&[(stream, operations.clone())]);
        if let Ok(written) = &outcome {
            assert_eq!(written.refused, [], "nothing is refused");
        }
        self.model.write(stream, &operations);
        if outcome.is_err() {
            self.restart();
        }
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
            10..13 => state_with_hint(&format!("{}", self.draw(1000)), known.hint + self.draw(2)),
            13 => Operation::CommitHint { index: LogIndex(known.hint.max(self.draw(last + 1))) },
            _ => append_sized(last + 1, term, 1 + self.draw(3), bytes),
        }
    }

    fn delete(&mut self) {
        let stream = StreamId(1 + self.draw(4));
        if self.deleted.len() == 2 || self.deleted.contains(&stream) {
            return;
        }
        let outcome = self.wal().delete_stream(stream);
        self.model.delete(stream);
        if !matches!(outcome, Ok(())) {
            assert!(matches!(outcome, Err(WriteError::Poisoned(_))));
            self.restart();
        }
        self.sync();
        // Whether the deletion outlived a crash shows in why an impossible entry is refused.
        let Ok(probe) = self.wal().write(&[(stream, vec![append(1 << 40, 1, 1)])]) else { return };
        if probe.refused == [(0, Refusal::Deleted)] {
            self.deleted.push(stream);
        }
    }

    fn sync(&mut self) {
        if self.wal().sync().is_err() {
            return self.restart();
        }
        // A hint alone is not made durable, and nothing depends on it.
        self.model.sync();
        let is_idle = self.draw(2) == 0;
        if self.draw(4) > 0 && self.wal().settle(is_idle).is_err() {
            self.restart();
        }
    }

    fn reopen(&mut self) {
        let closed = self.wal.take().expect("open").close();
        if closed.is_ok() {
            self.model.sync();
        }
        self.restart();
    }

    fn crash(&mut self) {
        self.restart();
    }

    /// The power goes at one of the next disk operations.
    fn crash_soon(&mut self) {
        let operations = self.draw(12);
        self.disk.power_off_after(operations);
    }

    /// Loses power and opens again, losing power in between now and then.
    fn restart(&mut self) {
        if let Some(wal) = self.wal.take() {
            let metrics = wal.metrics();
            self.seen.rotations += metrics.rotations;
            self.seen.freed += metrics.freed_segments;
            self.seen.relocated += metrics.relocated;
            self.seen.poisoned += u64::from(wal.poisoned().is_some());
        }
        loop {
            let crash = match self.draw(4) {
                0 => Crash::LoseUnsynced,
                1 => Crash::KeepAll,
                _ => Crash::Seeded(self.random.next_u64()),
            };
            self.disk.crash(crash);
            if self.draw(3) == 0 {
                let operations = self.draw(20);
                self.disk.power_off_after(operations);
            }
            match try_open(&self.disk) {
                Ok((wal, report)) => {
                    if self.disk.list("log".as_ref()).is_err() {
                        continue;
                    }
                    self.disk.power_off_after(u64::MAX >> 1);
                    self.seen.cuts += u64::from(report.cut.is_some());
                    self.seen.adopted += report.adopted_states;
                    self.model.adopt(&wal);
                    self.wal = Some(wal);
                    return;
                }
                Err(error) => assert!(error.to_string().contains("power is off"), "{error}"),
            }
        }
    }

    fn wal(&mut self) -> &mut Wal<MemoryDisk> {
        self.wal.as_mut().expect("open")
    }

    fn draw(&mut self, count: u64) -> u64 {
        self.random.between(0, count)
    }
}
