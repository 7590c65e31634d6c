//! CRC-32C, for payloads that a core writes itself.
//!
//! The log, the transport and the runtime use the processor's instruction; this table keeps the cores free of
//! dependencies for the few bytes they write themselves.

/// CRC-32C (Castagnoli; RFC 3720, appendix B.4) of `bytes`.
///
/// ```
/// assert_eq!(quorate_protocol::crc32c(b"123456789"), 0xe306_9283);
/// ```
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    let rest = bytes.iter().fold(u32::MAX, |crc, byte| {
        let low = crc.to_le_bytes()[0];
        TABLE[usize::from(low ^ byte)] ^ (crc >> 8)
    });
    !rest
}

const TABLE: [u32; 256] = table();

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
