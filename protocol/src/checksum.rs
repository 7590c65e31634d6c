//! CRC-32C, for payloads whose checksum a core makes or checks itself.
//!
//! The table keeps the cores free of dependencies. The feature `hardware-checksum` uses the processor's instruction
//! instead. The runtime sets it, because a follower checks every payload that it receives.

/// CRC-32C (Castagnoli; RFC 3720, appendix B.4) of `bytes`.
///
/// ```
/// assert_eq!(quorate_protocol::crc32c(b"123456789"), 0xe306_9283);
/// ```
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    #[cfg(feature = "hardware-checksum")]
    return crc32c::crc32c(bytes);
    #[cfg(not(feature = "hardware-checksum"))]
    return by_table(bytes);
}

#[cfg(any(test, not(feature = "hardware-checksum")))]
fn by_table(bytes: &[u8]) -> u32 {
    let rest = bytes.iter().fold(u32::MAX, |crc, byte| {
        let low = crc.to_le_bytes()[0];
        TABLE[usize::from(low ^ byte)] ^ (crc >> 8)
    });
    !rest
}

#[cfg(any(test, not(feature = "hardware-checksum")))]
const TABLE: [u32; 256] = table();

#[cfg(any(test, not(feature = "hardware-checksum")))]
const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
            bit += 1;
        }
        table[byte as usize] = crc;
        byte += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::{by_table, crc32c};

    #[test]
    fn the_table_and_the_instruction_agree() {
        let bytes: Vec<u8> = (0..=255).cycle().take(1000).collect();
        assert!((0..1000).all(|length| by_table(&bytes[..length]) == crc32c(&bytes[..length])));
    }
}
