//! A logarithm in integers, so that weighted rendezvous hashing gives equal results on every platform.

/// The negative logarithm of a draw: -log2((x + 1) / 2^64) with 48 binary digits after the point, rounded up. It is 0
/// for the largest `x`, and below 2^55.
///
/// `x + 1` is m * 2^e with 1 <= m < 2. A reciprocal from a table turns m into 1 + z with 0 <= z < 2^-8. The series of
/// the logarithm up to z^6 gives the rest, with an error below 2^-58.
pub(super) fn surprise(x: u64) -> u64 {
    let Some(value) = x.checked_add(1) else {
        return 0;
    };
    let exponent = 63 - u64::from(value.leading_zeros());
    // 63 digits after the point.
    let mantissa = value << value.leading_zeros();
    let step = usize::from(mantissa.to_be_bytes()[0] & 0x7F) << 1 | usize::from(mantissa.to_be_bytes()[1] >> 7);
    let (reciprocal, logarithm) = STEPS[step];
    // Because the reciprocal is rounded down, the product can be just below one.
    let z = (u128::from(mantissa) * u128::from(reciprocal)).saturating_sub(1 << 126) >> 64;
    let fraction = logarithm + multiply(natural(narrow(z)), LOG2_E);
    (64 << 48) - (exponent << 48) - (fraction >> 14)
}

/// ln(1 + z) for z below 2^-8.
fn natural(z: u64) -> u64 {
    let sum = (1..6).rev().fold(ONE / 6, |sum, k| ONE / k - multiply(z, sum));
    multiply(z, sum)
}

const fn multiply(a: u64, b: u64) -> u64 {
    narrow((a as u128 * b as u128) >> 62)
}

#[expect(clippy::cast_possible_truncation, reason = "numbers here are below four, which fits")]
const fn narrow(value: u128) -> u64 {
    value as u64
}

/// The number one. Numbers have 62 binary digits after the point unless stated otherwise.
const ONE: u64 = 1 << 62;

/// log2(e).
const LOG2_E: u64 = 6_653_256_548_922_161_245;

/// For each 1 + i/256: its reciprocal r, rounded down, with 63 digits, and -log2(r).
const STEPS: [(u64, u64); 256] = {
    let mut steps = [(0, 0); 256];
    let mut i = 0;
    while i < 256 {
        let reciprocal = narrow((1_u128 << 71) / (256 + i as u128));
        steps[i] = (reciprocal, if i == 0 { 0 } else { ONE - log2(reciprocal) });
        i += 1;
    }
    steps
};

/// log2 of a number in [1, 2), digit by digit: squaring doubles the logarithm, so each square that reaches two gives a
/// digit one. A number of 63 digits in [1/2, 1) is read here as its double.
const fn log2(mut number: u64) -> u64 {
    let mut log = 0;
    let mut digit = ONE;
    while digit > 1 {
        digit >>= 1;
        let square = multiply(number, number);
        number = if square >= 2 * ONE {
            log += digit;
            square >> 1
        } else {
            square
        };
    }
    log
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition in floating point, computed from the end of the range where it is exact.
    #[expect(clippy::cast_precision_loss, reason = "the comparison allows for it")]
    fn reference(x: u64) -> f64 {
        if x < 1 << 63 {
            64.0 - ((x + 1) as f64).log2()
        } else {
            let missing = (u64::MAX - x) as f64 / 2_f64.powi(64);
            -(-missing).ln_1p() / core::f64::consts::LN_2
        }
    }

    #[test]
    #[expect(clippy::cast_precision_loss, reason = "the comparison allows for it")]
    fn agrees_with_floating_point() {
        for shift in 0..64 {
            for low in [0, 1, 12345, u64::MAX >> 1, u64::MAX] {
                for x in [low >> shift, u64::MAX - (low >> shift)] {
                    let ours = surprise(x) as f64 / 2_f64.powi(48);
                    assert!((ours - reference(x)).abs() < 3e-14, "{x:#x}: {ours} {}", reference(x));
                }
            }
        }
    }

    #[test]
    fn never_grows_with_the_draw() {
        let near = |x: u64| x.saturating_sub(300)..=x.saturating_add(300);
        let steps = (0..64).flat_map(|e| (256_u64..512).map(move |i| if e < 8 { i >> (8 - e) } else { i << (e - 8) }));
        for x in steps.chain([u64::MAX]) {
            let values: alloc::vec::Vec<_> = near(x).map(surprise).collect();
            assert!(values.is_sorted_by(|a, b| a >= b), "near {x:#x}");
        }
    }

    #[test]
    fn is_pinned() {
        // Computed to 60 decimal digits and rounded up.
        let pinned = [
            (0, 64 << 48),
            (1, 63 << 48),
            (2, 17_568_271_226_504_234),
            (1 << 32, 9_007_199_254_646_444),
            (1 << 63, 281_474_976_710_656),
            (0xC000_0000_0000_0000, 116_822_670_443_562),
            (u64::MAX - 1, 1),
            (u64::MAX, 0),
        ];
        for (x, expected) in pinned {
            assert_eq!(surprise(x), expected, "{x:#x}");
        }
    }
}
