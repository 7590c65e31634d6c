//! Functions of Erlang that RabbitMQ's consistent hash exchange uses: `phash2` and the generator `exs1024s`.

use super::jenkins::lookup2;

/// `erlang:phash2` of a binary: 27 bits.
pub(super) fn phash2(binary: &[u8]) -> u32 {
    const INITIAL: u32 = 0x08D1_2E65;
    // An empty binary keeps the initial value.
    let hash = if binary.is_empty() { INITIAL } else { lookup2(binary, INITIAL) };
    hash & 0x07FF_FFFF
}

/// The bucket of a hash: jump consistent hash with random numbers from `exs1024s`. Reports each bucket on the way, with
/// the number that is drawn there.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "buckets are far below 2^53; truncation is what the program does, and too large saturates"
)]
pub(super) fn jump(hash: u64, buckets: usize, mut visit: impl FnMut(usize, f64)) -> usize {
    let mut generator = Exs1024::seeded(hash);
    let (mut bucket, mut next) = (0_usize, 0_usize);
    while next < buckets {
        bucket = next;
        let number = generator.uniform();
        visit(bucket, number);
        next = ((bucket + 1) as f64 / number) as usize;
    }
    bucket
}

struct Exs1024 {
    words: [u64; 16],
    at: usize,
}

impl Exs1024 {
    fn seeded(seed: u64) -> Self {
        const BITS: u64 = (1 << 21) - 1;
        let part = |factor: u64| ((seed & BITS) + 1).wrapping_mul(factor) & BITS;
        let mut state = part(2_097_131) << 43 | part(2_097_133) << 22 | part(2_097_143) << 1 | 1;
        let mut words = [0; 16];
        for word in words.iter_mut().rev() {
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            *word = state.wrapping_mul(2_685_821_657_736_338_717);
        }
        Self { words, at: 0 }
    }

    /// A number from 0 up to and without 1.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
    fn uniform(&mut self) -> f64 {
        let mut first = self.words[self.at];
        self.at = (self.at + 1) % 16;
        let mut second = self.words[self.at];
        second ^= (second & ((1 << 33) - 1)) << 31;
        second ^= second >> 11;
        first ^= first >> 30;
        self.words[self.at] = first ^ second;
        let output = (first ^ second).wrapping_mul(1_181_783_497_276_652_981);
        (output >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values computed by Erlang 25.
    #[test]
    fn agree_with_erlang() {
        for (binary, hash) in
            [("", 13_708_901), ("a", 112_802_447), ("user:0", 46_770_898), ("abcdefghijkl", 15_432_855)]
        {
            assert_eq!(phash2(binary.as_bytes()), hash, "{binary}");
        }
        let mut generator = Exs1024::seeded(42);
        assert!((generator.uniform() - 0.743_912_254_424_712_5).abs() < 1e-15);
        assert!((generator.uniform() - 0.541_885_875_940_216_9).abs() < 1e-15);
    }
}
