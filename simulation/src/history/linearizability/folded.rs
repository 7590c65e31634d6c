//! A quick hash for the memory of failed attempts, most of whose bits are random already.

use std::hash::{BuildHasherDefault, Hasher};

/// Builds a [`Folded`] for each key.
pub(super) type FoldedKeys = BuildHasherDefault<Folded>;

/// Folds words together by a multiplication each. Whoever chooses the states of a history could make hashes equal, but
/// not those of the random sums that are hashed with them.
#[derive(Default)]
pub(super) struct Folded(u64);

impl Folded {
    fn fold(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(26) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

impl Hasher for Folded {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.fold(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, number: u8) {
        self.fold(number.into());
    }

    fn write_u64(&mut self, number: u64) {
        self.fold(number);
    }

    fn write_usize(&mut self, number: usize) {
        self.fold(number as u64);
    }

    fn write_isize(&mut self, number: isize) {
        self.fold(number.cast_unsigned() as u64);
    }

    fn write_u128(&mut self, number: u128) {
        self.write(&number.to_le_bytes());
    }

    fn finish(&self) -> u64 {
        // The upper bits are mixed best; a table uses some of the lower ones too.
        self.0 ^ (self.0 >> 32)
    }
}
