//! Jump consistent hash (Lamping and Veach, "A Fast, Minimal Memory, Consistent Hash Algorithm", 2014, figure 1).

use crate::hash::KeyHash;
use crate::numbered::{InOrder, Numbering};

/// Nodes numbered in the order given; jump consistent hash computes the number for a key.
///
/// | property | value |
/// | --- | --- |
/// | look-up | about ln(nodes) steps, each with a division |
/// | memory | the nodes only |
/// | balance | perfect, except for chance |
/// | disruption | minimal, but only the last node can be removed; weights must be equal |
///
/// The order of the nodes is part of the placement: append new nodes at the end.
pub type Jump = InOrder<JumpNumbering>;

/// Numbers by [`jump`].
#[derive(Clone, Debug)]
pub enum JumpNumbering {}

impl Numbering for JumpNumbering {
    #[inline]
    fn number(hash: KeyHash, buckets: u32) -> u32 {
        jump(hash, buckets)
    }
}

/// The number of a hashed key in `0..buckets`; 0 if `buckets` is 0.
///
/// ```
/// use quorate_consistent_hash::{KeyHash, jump};
///
/// assert_eq!(jump(KeyHash(0xdead10cc), 666), 361);
/// ```
#[doc(alias = "JumpConsistentHash")]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "operands are whole, below 2^53 and not negative; truncation is what the paper asks for, and too large saturates"
)]
pub fn jump(hash: KeyHash, buckets: u32) -> u32 {
    let mut key = hash.0;
    let (mut bucket, mut next) = (0_u64, 0_u64);
    while next < u64::from(buckets) {
        bucket = next;
        key = key.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        // Both operands are below 2^53, so every platform computes the same quotient (IEEE 754).
        let step = f64::from(1_u32 << 31) / ((key >> 33) + 1) as f64;
        next = ((bucket + 1) as f64 * step) as u64;
    }
    bucket as u32
}
