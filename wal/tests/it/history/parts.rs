//! Whole files of a log that are lost, cut short, or put back as they were at an earlier time, one or two of them,
//! after any kind of end.
//!
//! Expected: the log holds the right content, or opening it is refused and changes nothing. Two losses cannot be seen
//! in the files if no copy of the checkpoint was written since: the newest segment is replaced by an older copy, or, if
//! another file is misused with it, it is lost. Then a tail is missing, back to the opening of the log at most. In an
//! older copy another tail may be in its place, which a crash had removed.

use quorate_protocol::Random;
use quorate_wal::disk::{Crash, Disk, MemoryDisk};
use quorate_wal::{OpenError, Wal};

use super::{History, Violation, broken};
use crate::craft::is_checkpoint;
use crate::support::*;

/// The misuse of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Lost,
    Shortened,
    Older,
}

/// The misuse of files. It has random draws of its own, so that histories are the same with and without it.
pub(super) struct Parts {
    random: Random,
    /// Number of times out of 8.
    weight: u64,
    /// The disk as it was at an earlier time.
    copy: Option<MemoryDisk>,
}

impl Parts {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x7061_7274);
        let weight = random.between(0, 4);
        Self { random, weight, copy: None }
    }

    /// Drops the copy, which is of another disk.
    pub(super) fn forget(&mut self) {
        self.copy = None;
    }

    fn draw(&mut self, count: u64) -> u64 {
        self.random.between(0, count)
    }

    fn pick(&mut self, count: usize) -> usize {
        usize::try_from(self.draw(count as u64)).expect("below a usize")
    }
}

impl History {
    /// Keeps the files as they are now, every now and then.
    pub(super) fn take_copy(&mut self) {
        if self.parts.draw(25) == 0 && self.disk.list("log".as_ref()).is_ok() {
            self.parts.copy = Some(self.disk.fork());
        }
    }

    /// Misuses files of copies of the disk, which is not in use now, and checks the result of opening them.
    pub(super) fn misuse_parts(&mut self, is_closed: bool) -> Result<(), Violation> {
        if self.parts.draw(8) >= self.parts.weight || self.misdirected.is_some() || self.disk.is_misdirecting() {
            return Ok(());
        }
        if names(&self.disk, "segment-").is_empty() {
            return Ok(());
        }
        self.lose_folder()?;
        for _ in 0..MISUSES {
            let disk = self.disk.fork();
            if is_closed {
                // Faults may still be set for later operations.
                disk.crash(Crash::KeepAll);
            }
            disk.set_capacity(None);
            let mut done = Vec::new();
            for _ in 0..=self.parts.draw(2) {
                done.extend(self.misuse_one(&disk));
            }
            self.judge_misused(&disk, &done, is_closed)?;
        }
        Ok(())
    }

    /// A lost log is not created again.
    fn lose_folder(&mut self) -> Result<(), Violation> {
        let disk = self.disk.fork();
        disk.set_capacity(None);
        disk.lose("log");
        match Wal::open_existing(disk, small(), identity()).map(drop) {
            Err(OpenError::Missing { .. }) => self.seen.count("folder lost", 1),
            other => return broken("a lost or older part is noticed", format!("without its folder: {other:?}")),
        }
        Ok(())
    }

    fn misuse_one(&mut self, disk: &MemoryDisk) -> Option<(String, Fate)> {
        let copy = self.parts.copy.clone();
        let mut files = names(disk, "");
        files.extend(copy.iter().flat_map(|copy| names(copy, "")));
        let name = files[self.parts.pick(files.len())].clone();
        let path = format!("log/{name}");
        let found = disk.content(&path);
        match (self.parts.draw(3), found, copy) {
            (0, Some(_), _) => {
                disk.lose(&path);
                Some((name, Fate::Lost))
            }
            (1, Some(bytes), _) if !bytes.is_empty() => {
                disk.replace(&path, &bytes[..self.parts.pick(bytes.len())]);
                Some((name, Fate::Shortened))
            }
            (_, _, Some(copy)) if copy.content(&path).is_some() => {
                disk.restore(&path, &copy);
                Some((name, Fate::Older))
            }
            _ => None,
        }
    }

    fn judge_misused(&mut self, disk: &MemoryDisk, done: &[(String, Fate)], is_closed: bool) -> Result<(), Violation> {
        let newest = names(&self.disk, "segment-").pop().expect("looked at before");
        let of_newest = |fate| done.contains(&(newest.clone(), fate));
        let is_untold = !is_closed && (of_newest(Fate::Older) || (of_newest(Fate::Lost) && done.len() > 1));
        let operations = disk.operations();
        let wal = match Wal::open_existing(disk.clone(), small(), identity()) {
            Ok((wal, _)) => wal,
            Err(error) if self.must_open(done) => {
                return broken("what is there twice survives damage", format!("{done:?}: {error}"));
            }
            Err(_) if disk.operations() != operations => {
                return broken("a refusal changes nothing", format!("{done:?}"));
            }
            Err(_) => {
                self.seen.count("misused part refused", 1);
                return Ok(());
            }
        };
        let Err(found) = self.model.clone().adopt(&wal) else {
            self.seen.count("misused part survived", 1);
            return Ok(());
        };
        let is_tail = || self.model.clone().adopt_any_since_open(&wal).is_ok();
        if is_untold && (of_newest(Fate::Older) || is_tail()) {
            self.seen.count("older part not told from a torn tail", 1);
            return Ok(());
        }
        broken("a lost or older part is noticed", format!("{done:?}: {found}"))
    }

    /// Returns true if the log must open: only files without content of the log, or one of two copies, were misused.
    fn must_open(&self, done: &[(String, Fate)]) -> bool {
        let is_whole = |name: &str| self.disk.content(format!("log/{name}")).is_some_and(|bytes| is_checkpoint(&bytes));
        let are_whole = is_whole("checkpoint-a") && is_whole("checkpoint-b");
        let of_checkpoint = |(name, _): &&(String, Fate)| name.starts_with("checkpoint-");
        let checkpoints: std::collections::BTreeSet<_> =
            done.iter().filter(of_checkpoint).map(|(name, _)| name).collect();
        done.iter().filter(|one| !of_checkpoint(one)).all(|(name, _)| !name.starts_with("segment-"))
            && (checkpoints.is_empty() || (checkpoints.len() == 1 && are_whole))
    }
}

const MISUSES: usize = 6;
