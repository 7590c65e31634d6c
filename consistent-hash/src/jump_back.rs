//! JumpBackHash (Ertl, "JumpBackHash: Say Goodbye to the Modulo Operation to Distribute Keys Uniformly to Buckets",
//! 2024, algorithm 5).

use alloc::vec::Vec;

use crate::hash::{KeyHash, fold, splitmix};
use crate::numbered::{InOrder, Numbering};

/// Nodes numbered in the order given; JumpBackHash computes the number for a key. It has the properties of
/// [`Jump`](crate::Jump), in constant expected time and with integers only.
///
/// | property | value |
/// | --- | --- |
/// | look-up | constant: fewer than two random words expected, for any number of nodes |
/// | memory | the nodes only |
/// | balance | perfect, except for chance |
/// | disruption | minimal, but only the last node can be removed; weights must be equal |
///
/// The first random word of a key is `fold(hash ^ 0x2545_F491_4F6C_DD1D, 0x9FB2_1C65_1E98_DF25)`, and the others are
/// SplitMix64 seeded with it. The order of the nodes is part of the placement: append new nodes at the end.
pub type JumpBack = InOrder<JumpBackNumbering>;

/// Numbers by [`jump_back`].
#[derive(Clone, Debug)]
pub enum JumpBackNumbering {}

impl Numbering for JumpBackNumbering {
    #[inline]
    fn number(hash: KeyHash, buckets: u32) -> u32 {
        jump_back(hash, buckets)
    }
}

/// The number of a hashed key in `0..buckets`; 0 if `buckets` is 0.
///
/// ```
/// use quorate_consistent_hash::{KeyHash, jump_back};
///
/// let before = jump_back(KeyHash(42), 1000);
/// assert!([before, 1000].contains(&jump_back(KeyHash(42), 1001)));
/// ```
#[inline]
pub fn jump_back(hash: KeyHash, buckets: u32) -> u32 {
    search(hash, buckets, |_, _| {})
}

/// The steps of [`jump_back`]. Each is a range, by the power of two at which it starts, and the bucket that the key has
/// in it or, below the range, the news that it has none there. The last bucket is the result, unless none is below
/// `buckets`; then the result is 0.
pub fn jump_back_path(hash: KeyHash, buckets: u32) -> Vec<(u32, u32)> {
    let mut path = Vec::new();
    search(hash, buckets, |range, bucket| path.push((range, bucket)));
    path
}

/// Computes [`jump_back`], and reports each step.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "halves of a random word are what is wanted")]
fn search(hash: KeyHash, buckets: u32, mut visit: impl FnMut(u32, u32)) -> u32 {
    if buckets < 2 {
        return 0;
    }
    let first = fold(hash.0 ^ 0x2545_F491_4F6C_DD1D, 0x9FB2_1C65_1E98_DF25);
    let mut words = 0;
    // Each one bit of `active` stands for a range [q, 2q) in which the key has a bucket. The highest bucket below
    // `buckets` is the result.
    let mut active = (first ^ (first >> 32)) as u32 & (u32::MAX >> (buckets - 1).leading_zeros());
    while active != 0 {
        let q = 1 << active.ilog2();
        // The numbers below 2q, written so that 2q need not fit the type.
        let both = q | (q - 1);
        // `active` is the exclusive or of the two halves, so the half is chosen by a bit that is independent of it.
        let half = (first >> ((active.count_ones() & 1) << 5)) as u32;
        let mut bucket = q + (half & (q - 1));
        loop {
            visit(q, bucket);
            if bucket < buckets {
                return bucket;
            }
            let word = splitmix(first, words);
            words += 1;
            bucket = word as u32 & both;
            visit(q, bucket);
            if bucket < q {
                break;
            }
            if bucket < buckets {
                return bucket;
            }
            bucket = (word >> 32) as u32 & both;
            if bucket < q {
                visit(q, bucket);
                break;
            }
        }
        active ^= q;
    }
    0
}
