//! Hashes of Bob Jenkins that other programs use for placement: one-at-a-time (libmemcached), lookup2 (Erlang, Ceph,
//! and partly CRUSH) and lookup3 (PostgreSQL, libmemcached's `jenkins`).

/// One-at-a-time over signed bytes, as libmemcached and twemproxy compute it.
pub(super) fn one_at_a_time(bytes: &[u8]) -> u32 {
    let mut hash = bytes.iter().fold(0, |hash: u32, &byte| {
        let hash = hash.wrapping_add(i32::from(byte.cast_signed()).cast_unsigned());
        let hash = hash.wrapping_add(hash << 10);
        hash ^ (hash >> 6)
    });
    hash = hash.wrapping_add(hash << 3);
    hash ^= hash >> 11;
    hash.wrapping_add(hash << 15)
}

/// lookup2 of `bytes`, from `initial`.
pub(super) fn lookup2(bytes: &[u8], initial: u32) -> u32 {
    let (mut a, mut b, mut c) = (GOLDEN, GOLDEN, initial);
    let mut blocks = bytes.chunks_exact(12);
    for block in &mut blocks {
        let [one, two, three] = words(block);
        (a, b, c) = mix(a.wrapping_add(one), b.wrapping_add(two), c.wrapping_add(three));
    }
    let [one, two, three] = words(blocks.remainder());
    // The lowest byte of the third word holds the length.
    mix(a.wrapping_add(one), b.wrapping_add(two), c.wrapping_add(length(bytes)).wrapping_add(three << 8)).2
}

/// The mixing step of lookup2.
pub(super) fn mix(mut a: u32, mut b: u32, mut c: u32) -> (u32, u32, u32) {
    for [one, two, three] in [[13, 8, 13], [12, 16, 5], [3, 10, 15]] {
        a = a.wrapping_sub(b).wrapping_sub(c) ^ (c >> one);
        b = b.wrapping_sub(c).wrapping_sub(a) ^ (a << two);
        c = c.wrapping_sub(a).wrapping_sub(b) ^ (b >> three);
    }
    (a, b, c)
}

/// lookup3 of `bytes` (`hashlittle`), from `initial`.
pub(super) fn lookup3(bytes: &[u8], initial: u32) -> u32 {
    let start = 0xDEAD_BEEF_u32.wrapping_add(length(bytes)).wrapping_add(initial);
    let mut state = [start; 3];
    let mut rest = bytes;
    while rest.len() > 12 {
        let (block, more) = rest.split_at(12);
        state = mix3(added(state, words(block)));
        rest = more;
    }
    if rest.is_empty() { state[2] } else { last3(added(state, words(rest)))[2] }
}

/// PostgreSQL's 64-bit hash of bytes for partitions (`hash_any_extended`).
pub(super) fn postgres(bytes: &[u8], seed: u64) -> u64 {
    let mut state = postgres_start(length(bytes), seed);
    let mut blocks = bytes.chunks_exact(12);
    for block in &mut blocks {
        state = mix3(added(state, words(block)));
    }
    let [one, two, three] = words(blocks.remainder());
    // As in lookup2, the lowest byte of the third word is skipped.
    postgres_end(added(state, [one, two, three << 8]))
}

/// PostgreSQL's 64-bit hash of a number of four bytes (`hash_uint32_extended`).
pub(super) fn postgres_number(number: u32, seed: u64) -> u64 {
    postgres_end(added(postgres_start(4, seed), [number, 0, 0]))
}

fn postgres_start(length: u32, seed: u64) -> [u32; 3] {
    let start = GOLDEN.wrapping_add(length).wrapping_add(3_923_095);
    let [low, high] = halves(seed);
    if seed == 0 { [start; 3] } else { mix3(added([start; 3], [high, low, 0])) }
}

fn postgres_end(state: [u32; 3]) -> u64 {
    let [_, high, low] = last3(state);
    u64::from(high) << 32 | u64::from(low)
}

fn mix3([mut a, mut b, mut c]: [u32; 3]) -> [u32; 3] {
    for [one, two, three] in [[4, 6, 8], [16, 19, 4]] {
        a = a.wrapping_sub(c) ^ c.rotate_left(one);
        c = c.wrapping_add(b);
        b = b.wrapping_sub(a) ^ a.rotate_left(two);
        a = a.wrapping_add(c);
        c = c.wrapping_sub(b) ^ b.rotate_left(three);
        b = b.wrapping_add(a);
    }
    [a, b, c]
}

fn last3([mut a, mut b, mut c]: [u32; 3]) -> [u32; 3] {
    c = (c ^ b).wrapping_sub(b.rotate_left(14));
    a = (a ^ c).wrapping_sub(c.rotate_left(11));
    b = (b ^ a).wrapping_sub(a.rotate_left(25));
    c = (c ^ b).wrapping_sub(b.rotate_left(16));
    a = (a ^ c).wrapping_sub(c.rotate_left(4));
    b = (b ^ a).wrapping_sub(a.rotate_left(14));
    c = (c ^ b).wrapping_sub(b.rotate_left(24));
    [a, b, c]
}

fn added([a, b, c]: [u32; 3], [one, two, three]: [u32; 3]) -> [u32; 3] {
    [a.wrapping_add(one), b.wrapping_add(two), c.wrapping_add(three)]
}

/// Up to twelve bytes as three little-endian words, filled up with zeros.
fn words(bytes: &[u8]) -> [u32; 3] {
    let mut all = [0; 12];
    all[..bytes.len()].copy_from_slice(bytes);
    [0, 4, 8].map(|at| u32::from_le_bytes([all[at], all[at + 1], all[at + 2], all[at + 3]]))
}

/// The two halves of a number, the lower first.
pub(super) fn halves(number: u64) -> [u32; 2] {
    let bytes = number.to_le_bytes();
    [0, 4].map(|at| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]))
}

/// The length of a key modulo 2^32, which is all that these functions use.
fn length(bytes: &[u8]) -> u32 {
    halves(bytes.len() as u64)[0]
}

const GOLDEN: u32 = 0x9E37_79B9;

#[cfg(test)]
mod tests {
    use super::*;

    /// Values computed by libmemcached 1.1.4, Ceph 16.2.15, Erlang 25 and PostgreSQL 15.
    #[test]
    fn agree_with_the_programs() {
        const SEED: u64 = 0x7A5B_2236_7996_DCFD;
        assert_eq!(one_at_a_time(b"user:0"), 0x9313_5AC4);
        assert_eq!(lookup2(b"user:0", 0), 0x3883_5E6E);
        assert_eq!(lookup2(b"abcdefghijklm", 0x08D1_2E65) & 0x07FF_FFFF, 11_441_572);
        assert_eq!(postgres(b"user:0", SEED), 741_630_041_145_879_181);
        assert_eq!(postgres_number(5, SEED).cast_signed(), -2_840_406_021_921_404_358);
    }
}
