//! Blocks of bytes for MD5 and SHA-256 (RFC 1321 §3.1, FIPS 180-4 §5.1.1).

/// Calls `absorb` with blocks of 64 bytes: first those of `bytes`, then one or two blocks of the remaining bytes, a one
/// bit, zeros, and `bits`, which is the length in bits in the digest's byte order.
pub(super) fn each_block(bytes: &[u8], bits: [u8; 8], mut absorb: impl FnMut(&[u8])) {
    let mut blocks = bytes.chunks_exact(64);
    blocks.by_ref().for_each(&mut absorb);
    let rest = blocks.remainder();
    let mut last = [0; 128];
    last[..rest.len()].copy_from_slice(rest);
    last[rest.len()] = 0x80;
    let end = if rest.len() < 56 { 64 } else { 128 };
    last[end - 8..end].copy_from_slice(&bits);
    last[..end].chunks_exact(64).for_each(absorb);
}

/// The length of `bytes` in bits.
pub(super) fn bits(bytes: &[u8]) -> u64 {
    (bytes.len() as u64).wrapping_mul(8)
}
