//! The only random numbers of a core: a small generator whose seed comes with the configuration.

/// SplitMix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014, figure 16).
///
/// Not for secrets. Equal seeds give equal numbers on every platform.
///
/// ```
/// use quorate_protocol::Random;
/// let mut random = Random::new(7);
/// assert_eq!(random.next_u64(), Random::new(7).next_u64());
/// assert!((10..20).contains(&random.between(10, 20)));
/// ```
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// A generator that starts from `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next number, uniform over all of `u64`.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A random number from `low` up to and without `high`. The bias is below 2^-64 times the width.
    ///
    /// # Panics
    /// When `low` is not below `high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        assert!(low < high, "a range to draw a number from is not empty");
        let width = u128::from(high - low);
        let scaled = (u128::from(self.next_u64()) * width) >> 64;
        low + u64::try_from(scaled).expect("scaled down below the width")
    }
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn gives_the_published_sequence() {
        let mut random = Random::new(1_234_567);
        let drawn: Vec<u64> = (0..3).map(|_| random.next_u64()).collect();
        assert_eq!(drawn, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn stays_within_the_range() {
        let mut random = Random::new(1);
        assert!((0..1_000).all(|_| (5..8).contains(&random.between(5, 8))));
    }
}
