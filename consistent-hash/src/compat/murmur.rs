//! MurmurHash2 and MurmurHash3 (Appleby) of 32 bits, and the part of MurmurHash3 of 128 bits that Cassandra uses.

/// MurmurHash2 of 32 bits.
pub(super) fn murmur2_32(bytes: &[u8], seed: u32) -> u32 {
    const MULTIPLIER: u32 = 0x5BD1_E995;
    let mix = |word: u32| (word ^ (word >> 24)).wrapping_mul(MULTIPLIER);
    let mut hash = seed ^ length(bytes);
    let mut words = bytes.chunks_exact(4);
    for word in &mut words {
        let word = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
        hash = hash.wrapping_mul(MULTIPLIER) ^ mix(word.wrapping_mul(MULTIPLIER));
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        hash = (hash ^ little_endian(rest)).wrapping_mul(MULTIPLIER);
    }
    let hash = (hash ^ (hash >> 13)).wrapping_mul(MULTIPLIER);
    hash ^ (hash >> 15)
}

/// MurmurHash3 of 32 bits (`x86_32`).
pub(super) fn murmur3_32(bytes: &[u8], seed: u32) -> u32 {
    murmur3_32_of(bytes.iter().copied(), seed)
}

/// MurmurHash3 of 32 bits, of the bytes of an iterator.
pub(super) fn murmur3_32_of(bytes: impl Iterator<Item = u8>, seed: u32) -> u32 {
    let mix = |word: u32| word.wrapping_mul(0xCC9E_2D51).rotate_left(15).wrapping_mul(0x1B87_3593);
    let (mut hash, mut word, mut length) = (seed, 0_u32, 0_u32);
    for byte in bytes {
        word |= u32::from(byte) << (8 * (length % 4));
        length = length.wrapping_add(1);
        if length.is_multiple_of(4) {
            hash = (hash ^ mix(word)).rotate_left(13).wrapping_mul(5).wrapping_add(0xE654_6B64);
            word = 0;
        }
    }
    // If no bytes remain, the word is zero and this changes nothing.
    hash ^= mix(word);
    hash ^= length;
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x85EB_CA6B);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xC2B2_AE35);
    hash ^ (hash >> 16)
}

/// The first half of MurmurHash3 of 128 bits (`x64_128`) as Cassandra computes it: the bytes after the last whole block
/// of sixteen are read as signed.
pub(super) fn murmur3_cassandra(bytes: &[u8]) -> u64 {
    const ONE: u64 = 0x87C3_7B91_1142_53D5;
    const TWO: u64 = 0x4CF5_AD43_2745_937F;
    let mix_one = |word: u64| word.wrapping_mul(ONE).rotate_left(31).wrapping_mul(TWO);
    let mix_two = |word: u64| word.wrapping_mul(TWO).rotate_left(33).wrapping_mul(ONE);
    let (mut one, mut two) = (0_u64, 0_u64);
    let mut blocks = bytes.chunks_exact(16);
    for block in &mut blocks {
        let word = |at: usize| block[at..at + 8].iter().rev().fold(0, |word: u64, &byte| word << 8 | u64::from(byte));
        one ^= mix_one(word(0));
        one = one.rotate_left(27).wrapping_add(two).wrapping_mul(5).wrapping_add(0x52DC_E729);
        two ^= mix_two(word(8));
        two = two.rotate_left(31).wrapping_add(one).wrapping_mul(5).wrapping_add(0x3849_5AB5);
    }
    let rest = blocks.remainder();
    let (first, second) = rest.split_at(rest.len().min(8));
    let signed = |bytes: &[u8]| {
        let extended = |byte: u8| i64::from(byte.cast_signed()).cast_unsigned();
        (0_u32..).zip(bytes).fold(0, |word, (place, &byte)| word ^ (extended(byte) << (8 * place)))
    };
    two ^= mix_two(signed(second));
    one ^= mix_one(signed(first));
    let length = bytes.len() as u64;
    (one, two) = (one ^ length, two ^ length);
    one = one.wrapping_add(two);
    two = two.wrapping_add(one);
    last(one).wrapping_add(last(two))
}

fn last(mut word: u64) -> u64 {
    word = (word ^ (word >> 33)).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
    word = (word ^ (word >> 33)).wrapping_mul(0xC4CE_B9FE_1A85_EC53);
    word ^ (word >> 33)
}

fn little_endian(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |word, &byte| word << 8 | u32::from(byte))
}

/// The length of a key modulo 2^32.
pub(super) fn length(bytes: &[u8]) -> u32 {
    let [a, b, c, d, ..] = (bytes.len() as u64).to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agree_with_the_programs() {
        // Values computed by kafka-python 2.0.2, pymemcache 4.0 and cassandra-driver 3.30.
        for (key, hash) in [("", 0x106E_08D9), ("a", 0xA2D0_B27C), ("abc", 0x1C94_221B), ("ключ", 0x7E80_6270)] {
            assert_eq!(murmur2_32(key.as_bytes(), 0x9747_B28C), hash, "{key}");
        }
        assert_eq!(murmur3_32(b"10.0.0.1:11211-user:0", 0), 3_136_961_052);
        for (key, token) in [
            (&b"a"[..], -8_839_064_797_231_613_815_i64),
            (b"user:0", 6_339_893_720_897_220_837),
            (&[0x80], -5_284_281_814_142_962_636),
            (&[0xFF; 15], -2_195_530_867_418_009_455),
            (&[0xFF; 16], -2_824_192_546_314_762_522),
            (&[0xFE; 17], -1_672_437_813_826_982_685),
        ] {
            assert_eq!(murmur3_cassandra(key).cast_signed(), token, "{key:?}");
        }
    }
}
