//! `bit`: the operations on 32 bits that Redis gives to scripts, as Lua BitOp does them.

use super::libraries::Refusal;

/// The lowest 32 bits of a number, which is rounded to a whole one.
pub(super) fn bits(number: f64) -> u32 {
    // Adding three times 2^51 leaves the whole number in the lowest bits.
    const SHIFT: f64 = 6_755_399_441_055_744.0;
    #[allow(clippy::cast_possible_truncation)]
    if number.is_nan() { 0 } else { (number + SHIFT).to_bits() as u32 }
}

/// An operation by its name. The result is signed, as in Lua BitOp.
pub(super) fn compute(name: &str, numbers: &[f64]) -> Result<f64, Refusal> {
    let missing = |place: usize| Refusal::Argument(place, "number expected, got no value".to_owned());
    let first = bits(*numbers.first().ok_or_else(|| missing(1))?);
    let by = || numbers.get(1).map(|count| bits(*count) & 31).ok_or_else(|| missing(2));
    let all = |operation: fn(u32, u32) -> u32| numbers.iter().map(|number| bits(*number)).reduce(operation);
    let result = match name {
        "bnot" => !first,
        "bswap" => first.swap_bytes(),
        "band" => all(|a, b| a & b).unwrap_or_default(),
        "bor" => all(|a, b| a | b).unwrap_or_default(),
        "bxor" => all(|a, b| a ^ b).unwrap_or_default(),
        "lshift" => first << by()?,
        "rshift" => first >> by()?,
        "arshift" => (first.cast_signed() >> by()?).cast_unsigned(),
        "rol" => first.rotate_left(by()?),
        "ror" => first.rotate_right(by()?),
        _ => first,
    };
    Ok(f64::from(result.cast_signed()))
}

/// Hexadecimal digits: the lowest `digits` of eight, in capital letters if the number is negative.
pub(super) fn hex(number: f64, digits: f64) -> String {
    let digits = bits(digits).cast_signed();
    let shown = digits.unsigned_abs().min(8) as usize;
    let all = format!("{:08x}", bits(number));
    let text = &all[8 - shown..];
    if digits < 0 { text.to_ascii_uppercase() } else { text.to_owned() }
}

/// The names of the operations that give a number.
pub(super) const OPERATIONS: [&str; 11] =
    ["tobit", "bnot", "bswap", "band", "bor", "bxor", "lshift", "rshift", "arshift", "rol", "ror"];
