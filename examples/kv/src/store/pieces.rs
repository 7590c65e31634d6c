//! Work that is too long for one entry of the log: its pieces, until the entry that carries it out.
//!
//! The pieces are part of the state: every replica holds the same ones, and they are in snapshots and in the digest.
//! What is unfinished is dropped by a rule that depends on the log alone: the work whose last piece is [`AGE_MAX`] old,
//! and, if a new piece finds no room, the work whose last piece is the oldest. So a client that stops in the middle
//! takes up room for a while and holds up nobody.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::digest::{digest, mix};
use super::snapshot::{RestoreError, array, read_bytes, read_count, write_bytes};
use super::{Store, VALUE_BYTES_MAX};

/// Maximum bytes of work in pieces: a value of the maximum length, its key, and what else a command has.
pub const WORK_BYTES_MAX: usize = VALUE_BYTES_MAX + 2 * 1024 * 1024;

/// Maximum bytes of all unfinished work of a store.
pub const UNFINISHED_BYTES_MAX: usize = 4 * WORK_BYTES_MAX;

/// Maximum number of unfinished works of a store.
pub const UNFINISHED_MAX: usize = 256;

/// Milliseconds of log time after its last piece when unfinished work is dropped.
pub const AGE_MAX: u64 = 10_000;

/// A number that is drawn for one attempt to propose one work.
pub type WorkId = u128;

/// The work that is unfinished.
#[derive(Debug, Clone, Default)]
pub(super) struct Pieces {
    works: Arc<BTreeMap<WorkId, Unfinished>>,
    bytes: usize,
}

#[derive(Debug, Clone, Default)]
struct Unfinished {
    /// Log time of the last piece.
    last: u64,
    /// The pieces by their place, from 0.
    pieces: BTreeMap<u32, Bytes>,
    bytes: usize,
}

impl Pieces {
    fn add(&mut self, log_time: u64, id: WorkId, place: u32, piece: &[u8]) {
        let works = Arc::make_mut(&mut self.works);
        let work = works.entry(id).or_default();
        work.last = log_time;
        // The log's own buffer holds more than the piece.
        if let Some(before) = work.pieces.insert(place, Bytes::copy_from_slice(piece)) {
            work.bytes -= before.len();
            self.bytes -= before.len();
        }
        work.bytes += piece.len();
        self.bytes += piece.len();
        if work.bytes > WORK_BYTES_MAX {
            self.drop_work(id);
        }
        while self.works.len() > UNFINISHED_MAX || self.bytes > UNFINISHED_BYTES_MAX {
            let others = self.works.iter().filter(|(other, _)| **other != id);
            let Some(oldest) = others.min_by_key(|(id, work)| (work.last, **id)).map(|(id, _)| *id) else { break };
            self.drop_work(oldest);
        }
    }

    fn drop_work(&mut self, id: WorkId) {
        let dropped = Arc::make_mut(&mut self.works).remove(&id);
        self.bytes -= dropped.map_or(0, |work| work.bytes);
    }

    fn drop_old(&mut self, log_time: u64) {
        if self.next_deadline().is_none_or(|deadline| deadline > log_time) {
            return;
        }
        let old = self.works.iter().filter(|(_, work)| work.is_old(log_time)).map(|(id, _)| *id);
        for id in old.collect::<Vec<_>>() {
            self.drop_work(id);
        }
    }

    fn joined(&self, id: WorkId, count: u32) -> Option<Bytes> {
        let work = self.works.get(&id).filter(|work| work.is_whole(count))?;
        let mut whole = BytesMut::with_capacity(work.bytes);
        work.pieces.values().for_each(|piece| whole.extend_from_slice(piece));
        Some(whole.freeze())
    }

    pub(super) fn next_deadline(&self) -> Option<u64> {
        self.works.values().map(|work| work.last.saturating_add(AGE_MAX)).min()
    }

    pub(super) fn digest(&self) -> u64 {
        let mut sum: u64 = 0;
        for (id, work) in self.works.iter() {
            let head = mix(digest(&id.to_le_bytes()), work.last);
            let whole =
                work.pieces.iter().fold(head, |sum, (place, piece)| mix(mix(sum, (*place).into()), digest(piece)));
            sum = sum.wrapping_add(whole);
        }
        sum
    }

    pub(super) fn write(&self, writer: &mut impl Write) -> io::Result<()> {
        let count = |count: usize| u32::try_from(count).map_err(io::Error::other).map(u32::to_le_bytes);
        writer.write_all(&count(self.works.len())?)?;
        for (id, work) in self.works.iter() {
            writer.write_all(&id.to_le_bytes())?;
            writer.write_all(&work.last.to_le_bytes())?;
            writer.write_all(&count(work.pieces.len())?)?;
            for (place, piece) in &work.pieces {
                writer.write_all(&place.to_le_bytes())?;
                write_bytes(writer, piece)?;
            }
        }
        Ok(())
    }

    pub(super) fn read(reader: &mut impl Read) -> Result<Self, RestoreError> {
        let (mut works, mut bytes) = (BTreeMap::new(), 0);
        for _ in 0..read_count(reader)? {
            let (id, last) = (u128::from_le_bytes(array(reader)?), u64::from_le_bytes(array(reader)?));
            let mut work = Unfinished { last, ..Unfinished::default() };
            for _ in 0..read_count(reader)? {
                let (place, piece) = (read_count(reader)?, read_bytes(reader)?);
                work.bytes += piece.len();
                work.pieces.insert(place, piece.into());
            }
            bytes += work.bytes;
            works.insert(id, work);
        }
        Ok(Self { works: Arc::new(works), bytes })
    }
}

impl Unfinished {
    fn is_old(&self, log_time: u64) -> bool {
        self.last.saturating_add(AGE_MAX) <= log_time
    }

    /// Returns true if all of so many pieces are here.
    fn is_whole(&self, count: u32) -> bool {
        self.pieces.len() == count as usize && self.pieces.keys().copied().eq(0..count)
    }
}

impl Store {
    /// Keeps a piece of work. Makes room for it by the rule above. Work that is longer than [`WORK_BYTES_MAX`] is
    /// dropped.
    pub fn add_piece(&mut self, log_time: u64, id: WorkId, place: u32, piece: &[u8]) {
        self.pieces.add(log_time, id, place, piece);
    }

    /// Drops the unfinished work that is too old.
    pub fn drop_old_pieces(&mut self, log_time: u64) {
        self.pieces.drop_old(log_time);
    }

    /// Work of which all pieces are here: so many. `None` if it was dropped, or never brought.
    pub fn joined_pieces(&self, id: WorkId, count: u32) -> Option<Bytes> {
        self.pieces.joined(id, count)
    }

    /// As [`joined_pieces`](Self::joined_pieces), and the pieces are here no more.
    pub fn take_pieces(&mut self, id: WorkId, count: u32) -> Option<Bytes> {
        let whole = self.pieces.joined(id, count);
        self.pieces.drop_work(id);
        whole
    }

    /// Bytes of the unfinished work.
    pub fn unfinished_bytes(&self) -> usize {
        self.pieces.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restored(store: &Store) -> Store {
        let mut bytes = Vec::new();
        store.snapshot().write(&mut bytes).unwrap();
        Store::restore(&mut &bytes[..]).unwrap()
    }

    #[test]
    fn work_is_whole_once_all_its_pieces_are_here_in_any_order_and_more_than_once() {
        let mut store = Store::new();
        for (place, piece) in [(2, "ing"), (0, "tog"), (0, "tog"), (1, "eth")] {
            assert_eq!(store.joined_pieces(7, 3), None, "piece {place} is missing");
            store.add_piece(1, 7, place, piece.as_bytes());
        }
        store.add_piece(1, 8, 0, b"another");
        assert_eq!(store.joined_pieces(7, 2), None, "it has more pieces");
        assert_eq!(store.joined_pieces(7, 3).as_deref(), Some(&b"togething"[..]));
        assert_eq!(store.unfinished_bytes(), 16);
        assert!(store.take_pieces(7, 3).is_some());
        assert_eq!((store.take_pieces(7, 3), store.unfinished_bytes()), (None, 7), "it is done once");
    }

    #[test]
    fn unfinished_work_is_dropped_by_its_age_in_log_time() {
        let mut store = Store::new();
        store.add_piece(1_000, 7, 0, b"old");
        store.add_piece(1_001, 8, 0, b"new");
        assert_eq!(store.next_deadline(), Some(1_000 + AGE_MAX), "so the log has a tick then");
        store.tick(999 + AGE_MAX);
        assert_eq!(store.unfinished_bytes(), 6);
        store.tick(1_000 + AGE_MAX);
        assert_eq!(store.unfinished_bytes(), 3);
        store.add_piece(5_000, 8, 1, b"er");
        store.tick(1_001 + AGE_MAX);
        assert_eq!(store.joined_pieces(8, 2).as_deref(), Some(&b"newer"[..]), "another piece has come");
    }

    #[test]
    fn the_oldest_work_makes_room_and_never_the_one_that_goes_on() {
        let mut store = Store::new();
        let piece = vec![b'x'; WORK_BYTES_MAX];
        for id in 0..4 {
            store.add_piece(u64::try_from(id).unwrap(), id, 0, &piece);
        }
        assert_eq!(store.unfinished_bytes(), UNFINISHED_BYTES_MAX);
        // The first has a later piece, so the second is the oldest.
        store.add_piece(9, 0, 1, b"");
        store.add_piece(10, 9, 0, b"x");
        let left: Vec<_> = [0, 1, 2, 3, 9].into_iter().filter(|id| store.pieces.works.contains_key(id)).collect();
        assert_eq!(left, [0, 2, 3, 9]);
        for id in 100..100 + UNFINISHED_MAX as u128 {
            store.add_piece(11, id, 0, b"y");
        }
        assert_eq!(store.unfinished_bytes(), UNFINISHED_MAX);
        store.add_piece(12, 100, 1, &piece);
        assert_eq!(store.joined_pieces(100, 2), None, "it is too long");
        assert_eq!(store.unfinished_bytes(), UNFINISHED_MAX - 1);
    }

    #[test]
    fn unfinished_work_survives_a_snapshot_and_counts_in_the_digest() {
        let (mut store, empty) = (Store::new(), Store::new());
        store.add_piece(1_000, 7, 1, b"lo");
        assert_ne!(store.digest(), empty.digest());
        let mut other = Store::new();
        other.add_piece(1_000, 7, 0, b"lo");
        assert_ne!(store.digest(), other.digest(), "the place counts");
        let mut again = restored(&store);
        assert_eq!(again.digest(), store.digest());
        for store in [&mut store, &mut again] {
            store.add_piece(2_000, 7, 0, b"hel");
            assert_eq!(store.take_pieces(7, 2).as_deref(), Some(&b"hello"[..]));
            assert_eq!(store.digest(), empty.digest());
        }
    }

    #[test]
    fn the_bytes_in_a_snapshot_are_those_of_the_first_release() {
        let mut store = Store::new();
        store.add_piece(258, 3, 1, b"lo");
        let mut bytes = Vec::new();
        store.pieces.write(&mut bytes).unwrap();
        let mut expected = vec![1, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        expected.extend_from_slice(&[2, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, b'l', b'o']);
        assert_eq!(bytes, expected);
    }
}
