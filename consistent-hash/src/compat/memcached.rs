//! The hash functions that clients and proxies of memcached offer.

use super::checksum::{Crc32, crc16_uncut};
use super::jenkins::{lookup3, one_at_a_time};
use super::md5::md5;
use super::murmur::{length, murmur2_32, murmur3_32};

/// Hash of a key to 32 bits in libmemcached (`MEMCACHED_BEHAVIOR_HASH`) and twemproxy (`hash:`).
///
/// Both read the bytes of a key as signed in one-at-a-time, in the four FNV functions, and in part of Hsieh's function.
/// So the hash of a key beyond ASCII differs from that of the function's authors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MemcachedHash {
    /// The default of libmemcached; `one_at_a_time` in twemproxy.
    OneAtATime,
    /// The first four bytes of MD5, little-endian.
    Md5,
    /// Fifteen bits of CRC-32. On a ring of 32 bits all keys lie in the lowest 32768th part.
    Crc,
    /// The whole CRC-32; `crc32a` in twemproxy.
    Crc32a,
    /// `crc16` of twemproxy, which has 32 bits, because the upper bits are kept.
    Crc16,
    /// The lower half of the 64-bit FNV-1.
    Fnv1Of64,
    /// The lower half of the 64-bit FNV-1a; `fnv1a_64` in twemproxy, and its default.
    Fnv1aOf64,
    /// FNV-1 of 32 bits.
    Fnv1Of32,
    /// FNV-1a of 32 bits.
    Fnv1aOf32,
    /// Hsieh's SuperFastHash (twemproxy only).
    Hsieh,
    /// MurmurHash2.
    Murmur,
    /// MurmurHash3 (libmemcached only).
    Murmur3,
    /// lookup3.
    Jenkins,
}

impl MemcachedHash {
    /// The hash with this name in twemproxy's `hash:`, or with libmemcached's name in the same form; `None` if there is
    /// none.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "one_at_a_time" => Self::OneAtATime,
            "md5" => Self::Md5,
            "crc16" => Self::Crc16,
            "crc" | "crc32" => Self::Crc,
            "crc32a" => Self::Crc32a,
            "fnv1_64" => Self::Fnv1Of64,
            "fnv1a_64" => Self::Fnv1aOf64,
            "fnv1_32" => Self::Fnv1Of32,
            "fnv1a_32" => Self::Fnv1aOf32,
            "hsieh" => Self::Hsieh,
            "murmur" => Self::Murmur,
            "murmur3" => Self::Murmur3,
            "jenkins" => Self::Jenkins,
            _ => return None,
        })
    }

    /// The hash of a key.
    pub fn hash(self, key: &[u8]) -> u32 {
        const MURMUR: u32 = 0xDEAD_BEEF;
        match self {
            Self::OneAtATime => one_at_a_time(key),
            Self::Md5 => md5(key)[0],
            Self::Crc => (crc(key) >> 16) & 0x7FFF,
            Self::Crc32a => crc(key),
            Self::Crc16 => crc16_uncut(key),
            Self::Fnv1Of64 => fnv(key, OFFSET_64, PRIME_64, false),
            Self::Fnv1aOf64 => fnv(key, OFFSET_64, PRIME_64, true),
            Self::Fnv1Of32 => fnv(key, OFFSET_32, PRIME_32, false),
            Self::Fnv1aOf32 => fnv(key, OFFSET_32, PRIME_32, true),
            Self::Hsieh => hsieh(key),
            Self::Murmur => murmur2_32(key, MURMUR.wrapping_mul(length(key))),
            Self::Murmur3 => murmur3_32(key, MURMUR.wrapping_mul(length(key))),
            Self::Jenkins => lookup3(key, 13),
        }
    }
}

fn crc(key: &[u8]) -> u32 {
    Crc32::new().update(key).finish()
}

fn hsieh(key: &[u8]) -> u32 {
    let pair = |bytes: &[u8]| u32::from(bytes[0]) | u32::from(bytes[1]) << 8;
    let signed = |byte: u8| i32::from(byte.cast_signed()).cast_unsigned();
    let mut hash = 0_u32;
    let mut words = key.chunks_exact(4);
    for word in &mut words {
        hash = hash.wrapping_add(pair(word));
        hash = (hash << 16) ^ (pair(&word[2..]) << 11) ^ hash;
        hash = hash.wrapping_add(hash >> 11);
    }
    match *words.remainder() {
        // The last byte of a remainder of three is read as signed; a single remaining byte is not.
        [one, two, three] => {
            hash = hash.wrapping_add(pair(&[one, two]));
            hash ^= hash << 16;
            hash ^= signed(three) << 18;
            hash = hash.wrapping_add(hash >> 11);
        }
        [one, two] => {
            hash = hash.wrapping_add(pair(&[one, two]));
            hash ^= hash << 11;
            hash = hash.wrapping_add(hash >> 17);
        }
        [one] => {
            hash = hash.wrapping_add(u32::from(one));
            hash ^= hash << 10;
            hash = hash.wrapping_add(hash >> 1);
        }
        _ => {}
    }
    for (left, right) in [(3, 5), (4, 17), (25, 6)] {
        hash ^= hash << left;
        hash = hash.wrapping_add(hash >> right);
    }
    hash
}

/// FNV over signed bytes. The lower half of the 64-bit result depends only on the lower halves of its operands.
fn fnv(key: &[u8], offset: u32, prime: u32, xor_first: bool) -> u32 {
    key.iter().fold(offset, |hash, &byte| {
        let byte = i32::from(byte.cast_signed()).cast_unsigned();
        if xor_first { (hash ^ byte).wrapping_mul(prime) } else { hash.wrapping_mul(prime) ^ byte }
    })
}

const OFFSET_32: u32 = 0x811C_9DC5;
const PRIME_32: u32 = 0x0100_0193;
/// The lower halves of the 64-bit constants 0xCBF29CE484222325 and 0x100000001B3.
const OFFSET_64: u32 = 0x8422_2325;
const PRIME_64: u32 = 0x0000_01B3;
