//! The stable hash: specified, versioned, and equal on every platform.
//!
//! Version 1 ([`HASH_VERSION`]) is:
//!
//! - bytes: XXH64 with seed 0, or SipHash-2-4 when the hasher is [keyed](Hasher::keyed);
//! - a `u64`: `fold(x ^ 0x9E37_79B9_7F4A_7C15, 0xD6E8_FEB8_6659_FD93)`, where `fold(a, b)` is the exclusive or of the
//!   two halves of the 128-bit product; SipHash-2-4 of its eight little-endian bytes when keyed;
//! - Values that an algorithm derives from a hash use `fold` or [SplitMix64][vigna] (Steele, Lea, Flood 2014), as the
//!   algorithm states.
//!
//! A change of any of these makes a new version. A placement that was serialized under another version is refused.
//!
//! [vigna]: https://prng.di.unimi.it/splitmix64.c

mod sip;
#[cfg(test)]
mod tests;
pub(crate) mod xxh64;

pub(crate) use sip::siphash24;
pub(crate) use xxh64::xxh64;

/// Version of the hash specification that this crate uses.
pub const HASH_VERSION: u32 = 1;

/// A hashed key, which is the input of every look-up.
///
/// Hashing a key once and looking it up in several placements saves time. The hash must come from the placement's own
/// [`Placement::hash`](crate::Placement::hash), or be known to be uniform over 64 bits. A counter is not uniform: pass
/// it through [`Hasher::hash_u64`] first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct KeyHash(pub u64);

/// The hash of keys and node names.
///
/// ```
/// use quorate_consistent_hash::Hasher;
///
/// let stable = Hasher::STABLE;
/// assert_eq!(stable.hash(b"user:42").0, 0xdc1f_ea7d_a8d2_d1c2);
///
/// // If strangers choose the keys, a secret key prevents them from making keys that all land on one node.
/// let keyed = Hasher::keyed(*b"sixteen secrets!");
/// assert_ne!(stable.hash(b"user:42"), keyed.hash(b"user:42"));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Hasher {
    key: Option<[u64; 2]>,
}

impl Hasher {
    /// The hash without a key, equal for all users.
    pub const STABLE: Self = Self { key: None };

    /// A hash under a secret 128-bit key, for keys that strangers choose: without the key they cannot tell which keys
    /// land together. Every process that shares a placement needs the same key.
    pub fn keyed(key: [u8; 16]) -> Self {
        let low = xxh64::read_u64(&key[..8]);
        let high = xxh64::read_u64(&key[8..]);
        Self { key: Some([low, high]) }
    }

    pub(crate) fn key(self) -> Option<[u64; 2]> {
        self.key
    }

    /// Hashes bytes.
    #[inline]
    pub fn hash(&self, bytes: &[u8]) -> KeyHash {
        KeyHash(match self.key {
            None => xxh64(bytes, 0),
            Some(key) => sip::siphash24(bytes, key),
        })
    }

    /// Hashes a number, for keys that are numbers. It takes one multiplication.
    #[inline]
    pub fn hash_u64(&self, value: u64) -> KeyHash {
        KeyHash(match self.key {
            None => fold(value ^ GOLDEN, 0xD6E8_FEB8_6659_FD93),
            Some(key) => sip::siphash24(&value.to_le_bytes(), key),
        })
    }
}

/// The exclusive or of the two halves of the 128-bit product.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the halves are what is wanted")]
pub(crate) const fn fold(a: u64, b: u64) -> u64 {
    let product = a as u128 * b as u128;
    product as u64 ^ (product >> 64) as u64
}

/// Scales a hash to `0..bound` by the high half of a product: no division, and monotone in the hash.
#[inline]
pub(crate) const fn scale(hash: u64, bound: u64) -> u64 {
    ((hash as u128 * bound as u128) >> 64) as u64
}

/// The `index`-th output of SplitMix64 started at `seed`.
#[inline]
pub(crate) const fn splitmix(seed: u64, index: u64) -> u64 {
    let mut z = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(GOLDEN));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
