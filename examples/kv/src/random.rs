//! Random numbers: one from the system for each entry, and any number that follow from it on every replica.

use std::hash::{BuildHasher, Hasher, RandomState};

/// A number that no client knows.
pub fn fresh() -> u64 {
    // Keyed by secret bytes of the system, and different at each call.
    RandomState::new().build_hasher().finish()
}

/// The next state and a drawn number (SplitMix64; Steele, Lea and Flood, OOPSLA 2014).
pub fn draw(state: u64) -> (u64, u64) {
    let next = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (next ^ (next >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (next, mixed ^ (mixed >> 31))
}

/// A drawn number brought below `bound`.
#[allow(clippy::cast_possible_truncation)]
pub fn below(drawn: u64, bound: usize) -> usize {
    ((u128::from(drawn) * bound as u128) >> 64) as usize
}
