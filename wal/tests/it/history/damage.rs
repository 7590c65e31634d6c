//! Damage to the files of a log that is closed, or of copies of it.

use std::ops::Range;

use quorate_wal::disk::{Crash, Disk, MemoryDisk};

use super::faults::PROOF;
use super::{History, Violation, broken};
use crate::craft::{PAGE, is_checkpoint, is_record, number_64, records};
use crate::support::*;

impl History {
    /// Closes the log, which leaves proof of all that is in it; then damages copies of the disk and checks the result
    /// of opening them.
    pub(super) fn damage_closed(&mut self) -> Result<(), Violation> {
        self.note_misdirected(0);
        let closed = self.wal.take().expect("open").close();
        if closed.is_ok() {
            self.note_misdirected(PROOF);
            self.model.sync();
            if self.misdirected.is_none() {
                self.disk.misdirect(None);
                for _ in 0..DAMAGES {
                    self.damage_once()?;
                }
                self.misuse_parts(true)?;
            }
        }
        self.restart(false)
    }

    /// After a crash, damages batches in copies of the disk that were durable according to later batches.
    pub(super) fn damage_crashed(&mut self) -> Result<(), Violation> {
        if self.weights.damage == 0 || self.draw(4) > 0 || self.misdirected.is_some() || self.disk.is_misdirecting() {
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

    /// Damages one copy of the checkpoint, if both are intact.
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

    /// Damages one place. Returns its description, and true if the log must survive the damage.
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

    /// Replaces pages by others while the log is open, and reads.
    pub(super) fn misplace_pages(&mut self) -> Result<(), Violation> {
        if self.disk.list("log".as_ref()).is_err() {
            return Ok(());
        }
        let segments = names(&self.disk, "segment-");
        for _ in 0..MISPLACED {
            let path = format!("log/{}", segments[self.pick(segments.len())]);
            let before = self.disk.content(&path).expect("just listed");
            let place = self.pick_page(&before);
            let (from, source) = self.other_page(&self.disk.clone(), place);
            self.disk.poke(&path, place as u64, &source);
            let wal = self.wal.as_ref().expect("open");
            let read = self.model.read_back_each(wal);
            self.disk.poke(&path, place as u64, &before[place..place + PAGE]);
            match read {
                Ok(read) if read.damaged > 0 => self.seen.count("misplaced page noticed", 1),
                Ok(_) => self.seen.count("misplaced page not needed", 1),
                Err(what) => {
                    let what = format!("a page of {from} in {path} at {place}: {what}");
                    return broken("reads give what was written", what);
                }
            }
        }
        Ok(())
    }

    /// A page of some file, at the same place if possible.
    fn other_page(&mut self, disk: &MemoryDisk, place: usize) -> (String, Vec<u8>) {
        let files = names(disk, "s");
        let name = files[self.pick(files.len())].clone();
        let bytes = disk.content(format!("log/{name}")).expect("just listed");
        let is_same = self.draw(2) == 0 && place + PAGE <= bytes.len();
        let place = if is_same || bytes.len() < PAGE { place } else { self.pick_page(&bytes) };
        (format!("{name} at {place}"), bytes.get(place..place + PAGE).map_or(vec![0; PAGE], <[u8]>::to_vec))
    }

    /// The start of a page, preferably of one that is not empty.
    fn pick_page(&mut self, bytes: &[u8]) -> usize {
        let used = bytes.chunks_exact(PAGE).rposition(|page| page.iter().any(|byte| *byte != 0)).unwrap_or(0);
        PAGE * self.pick(used + 1)
    }
}

/// The batches that were durable according to a later record of the same segment, by file.
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

/// Returns true if the page at `place` of a segment belongs to a batch with state records only, or to no batch.
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
const MISPLACED: usize = 12;
