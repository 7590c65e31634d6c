//! One key with its value and its deadline, in one allocation.

use std::sync::Arc;

/// Maximum bytes of a key or a value. A longer `SET` is refused before it is proposed, and an `APPEND` beyond it when
/// it is applied.
pub const VALUE_BYTES_MAX: usize = 512 * 1024;

/// A key, its value and its deadline. Cloning shares the bytes.
///
/// The bytes are always the record's own. A slice would keep alive the whole buffer in which it came from the network
/// or the log. So a store's memory is that of its keys and values. The price is one copy of each value, which takes a
/// few nanoseconds for 256 bytes.
#[derive(Debug, Clone)]
pub(super) struct Record(Arc<[u8]>);

impl Record {
    /// Copies the parts into one allocation. `scratch` is only working space, kept between calls.
    pub(super) fn new(scratch: &mut Vec<u8>, key: &[u8], value: &[&[u8]], deadline: Option<u64>) -> Self {
        let key_length = u32::try_from(key.len()).expect("a key is shorter than a request, which is bounded");
        scratch.clear();
        scratch.extend_from_slice(&[0; DIGEST]);
        scratch.extend_from_slice(&deadline.unwrap_or(NEVER).to_le_bytes());
        scratch.extend_from_slice(&key_length.to_le_bytes());
        scratch.extend_from_slice(key);
        for part in value {
            scratch.extend_from_slice(part);
        }
        let digest = digest(&scratch[DIGEST..]);
        scratch[..DIGEST].copy_from_slice(&digest.to_le_bytes());
        let record = Self(Arc::from(&scratch[..]));
        if scratch.capacity() > SCRATCH_BYTES_MAX {
            *scratch = Vec::new();
        }
        record
    }

    /// The key.
    pub(super) fn key(&self) -> &[u8] {
        &self.0[HEADER..self.value_start()]
    }

    /// The value.
    pub(super) fn value(&self) -> &[u8] {
        &self.0[self.value_start()..]
    }

    /// Log time in Unix ms from which on the key does not exist.
    pub(super) fn deadline(&self) -> Option<u64> {
        let deadline = u64::from_le_bytes(self.0[DIGEST..DIGEST + 8].try_into().expect("eight bytes"));
        (deadline != NEVER).then_some(deadline)
    }

    /// Returns true if the key still exists at `log_time`.
    pub(super) fn lives_at(&self, log_time: u64) -> bool {
        self.deadline().is_none_or(|deadline| deadline > log_time)
    }

    /// Bytes of key and value.
    pub(super) fn weight(&self) -> u64 {
        (self.0.len() - HEADER) as u64
    }

    /// A stable digest of the whole record. A store's digest is the wrapping sum of these. It is stored in the record,
    /// so that removing one reads only its head.
    pub(super) fn digest(&self) -> u64 {
        u64::from_le_bytes(self.0[..DIGEST].try_into().expect("eight bytes"))
    }

    fn value_start(&self) -> usize {
        let key_length = u32::from_le_bytes(self.0[HEADER - 4..HEADER].try_into().expect("four bytes"));
        HEADER + key_length as usize
    }
}

fn digest(bytes: &[u8]) -> u64 {
    let mut state = (bytes.len() as u64).wrapping_mul(DIGEST_MULTIPLIER) ^ DIGEST_START;
    let mut words = bytes.chunks_exact(8);
    for word in &mut words {
        state = mix(state, u64::from_le_bytes(word.try_into().expect("eight bytes")));
    }
    let mut last = [0; 8];
    last[..words.remainder().len()].copy_from_slice(words.remainder());
    mix(mix(state, u64::from_le_bytes(last)), DIGEST_START)
}

/// Mixes in one word by a full multiplication, of which both halves count.
fn mix(state: u64, word: u64) -> u64 {
    let product = u128::from(state ^ word) * u128::from(DIGEST_MULTIPLIER);
    #[allow(clippy::cast_possible_truncation)]
    let folded = (product >> 64) as u64 ^ product as u64;
    folded.wrapping_add(word.rotate_left(32))
}

/// Bytes of the digest, which come first.
const DIGEST: usize = 8;
/// Bytes before the key: digest, deadline, length of the key.
const HEADER: usize = DIGEST + 8 + 4;
/// A deadline that no log time reaches.
const NEVER: u64 = u64::MAX;
const SCRATCH_BYTES_MAX: usize = 64 * 1024;
const DIGEST_START: u64 = 0x243f_6a88_85a3_08d3;
const DIGEST_MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
