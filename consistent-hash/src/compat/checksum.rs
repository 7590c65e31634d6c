//! Checksums and small hashes of the programs that this crate agrees with: CRC-32 (nginx, librdkafka and many more),
//! CRC-16 (Redis), MurmurHash2 of 64 bits (Envoy, if configured), FNV-1a (Sarama).

/// A CRC-32 (ISO 3309, reflected, polynomial 0xEDB88320) that can be computed piece by piece.
#[derive(Clone, Copy)]
pub(super) struct Crc32(u32);

impl Crc32 {
    pub(super) fn new() -> Self {
        Self(u32::MAX)
    }

    pub(super) fn update(mut self, bytes: &[u8]) -> Self {
        for &byte in bytes {
            self.0 = CRC32[usize::from(self.0.to_le_bytes()[0] ^ byte)] ^ (self.0 >> 8);
        }
        self
    }

    pub(super) fn finish(self) -> u32 {
        !self.0
    }
}

/// CRC-16/XMODEM: polynomial 0x1021, most significant bit first, from zero.
pub(super) fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc: u16, &byte| (crc << 8) ^ CRC16[usize::from(crc.to_be_bytes()[0] ^ byte)])
}

/// CRC-16/XMODEM in a register of 32 bits whose upper bits are kept, as twemproxy computes it.
pub(super) fn crc16_uncut(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |crc: u32, &byte| {
        let [_, high, ..] = crc.to_le_bytes();
        (crc << 8) ^ u32::from(CRC16[usize::from(high ^ byte)])
    })
}

/// MurmurHash2 for 64-bit machines (Appleby, `MurmurHash64A`), as the GNU C++ library's `std::hash` seeds it.
pub(super) fn murmur2(bytes: &[u8]) -> u64 {
    const MULTIPLIER: u64 = 0xC6A4_A793_5BD1_E995;
    const SEED: u64 = 0xC70F_6907;
    let mix = |word: u64| word ^ (word >> 47);
    let mut hash = SEED ^ (bytes.len() as u64).wrapping_mul(MULTIPLIER);
    let mut words = bytes.chunks_exact(8);
    for word in &mut words {
        let word = mix(little_endian(word).wrapping_mul(MULTIPLIER)).wrapping_mul(MULTIPLIER);
        hash = (hash ^ word).wrapping_mul(MULTIPLIER);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        hash = (hash ^ little_endian(rest)).wrapping_mul(MULTIPLIER);
    }
    mix(mix(hash).wrapping_mul(MULTIPLIER))
}

/// FNV-1a of 32 bits (Fowler, Noll, Vo).
pub(super) fn fnv1a32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811C_9DC5, |hash: u32, &byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte))
}

const CRC32: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0_u32;
    while byte < 256 {
        let mut crc = byte;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 };
            bit += 1;
        }
        table[byte as usize] = crc;
        byte += 1;
    }
    table
};

const CRC16: [u16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0_u16;
    while byte < 256 {
        let mut crc = byte << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 };
            bit += 1;
        }
        table[byte as usize] = crc;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agree_with_their_check_values() {
        // The check value of a CRC is its value for these nine digits.
        assert_eq!(Crc32::new().update(b"1234").update(b"56789").finish(), 0xCBF4_3926);
        assert_eq!(crc16(b"123456789"), 0x31C3);
        // Values published by the authors of FNV.
        assert_eq!(fnv1a32(b"foobar"), 0xBF9C_F968);
    }
}
