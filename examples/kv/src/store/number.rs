//! Numbers in Redis's notation.

/// A number as Redis accepts it: decimal, no plus sign, no leading zeros or blanks, and within 64 bits.
///
/// ```
/// use quorate_kv::store::parse_integer;
///
/// assert_eq!(parse_integer(b"-17"), Some(-17));
/// assert_eq!(parse_integer(b"017"), None);
/// ```
pub fn parse_integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] if digits.len() <= 19 => {}
        _ => return None,
    }
    digits.iter().try_fold(0_i64, |number, digit| {
        let digit = i64::from(digit.checked_sub(b'0').filter(|digit| *digit <= 9)?);
        let shifted = number.checked_mul(10)?;
        if negative { shifted.checked_sub(digit) } else { shifted.checked_add(digit) }
    })
}

/// A number as Redis accepts it where fractions are allowed: no blanks around it, and not NaN.
pub fn parse_double(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?;
    text.parse().ok().filter(|number: &f64| !number.is_nan())
}

/// A number with at most 17 digits that count, as C's `%.17g` and so Redis 7.0 write it.
///
/// ```
/// use quorate_kv::store::format_double;
///
/// assert_eq!(format_double(0.1), "0.10000000000000001");
/// assert_eq!(format_double(3.0), "3");
/// assert_eq!(format_double(1e21), "1e+21");
/// ```
pub fn format_double(number: f64) -> String {
    format_number(number, DIGITS)
}

/// A number with at most this many digits that count, as C's `%g` writes it.
pub fn format_number(number: f64, digits: usize) -> String {
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{number:.*e}", digits - 1);
    let (mantissa, exponent) = scientific.split_once('e').expect("an exponent was asked for");
    let exponent: i32 = exponent.parse().expect("an exponent is a number");
    let digits = i32::try_from(digits).expect("a small number");
    if (-4..digits).contains(&exponent) {
        let decimals = usize::try_from(digits - 1 - exponent).expect("the exponent is smaller");
        return without_zeros(&format!("{number:.decimals$}")).to_owned();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", without_zeros(mantissa), exponent.unsigned_abs())
}

/// A number with at most 17 digits behind the point, as Redis shows degrees.
pub fn format_decimals(number: f64) -> String {
    match without_zeros(&format!("{number:.17}")) {
        "-0" => "0".to_owned(),
        text => text.to_owned(),
    }
}

/// The sum of two numbers in decimal notation, exact where both have at most 17 digits behind the point and the sum
/// fits. `None` if it is infinite.
///
/// ```
/// use quorate_kv::store::add_decimals;
///
/// assert_eq!(add_decimals(b"0.1", b"0.2").as_deref(), Some("0.3"));
/// assert_eq!(add_decimals(b"5.0e3", b"200").as_deref(), Some("5200"));
/// ```
pub fn add_decimals(left: &[u8], right: &[u8]) -> Option<String> {
    if let (Some(left), Some(right)) = (fixed(left), fixed(right))
        && let Some(sum) = left.checked_add(right)
    {
        let (whole, part) = (sum.unsigned_abs() / SCALE, sum.unsigned_abs() % SCALE);
        let sign = if sum < 0 { "-" } else { "" };
        return Some(without_zeros(&format!("{sign}{whole}.{part:017}")).to_owned());
    }
    let sum = parse_double(left)? + parse_double(right)?;
    sum.is_finite().then(|| without_zeros(&format!("{sum:.17}")).to_owned())
}

/// A decimal number times [`SCALE`], if it has few digits.
fn fixed(text: &[u8]) -> Option<i128> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] | digits => (false, digits),
    };
    if let Some(exponent) = digits.iter().position(|byte| byte.eq_ignore_ascii_case(&b'e')) {
        let number = fixed(&text[..text.len() - digits.len() + exponent])?;
        let exponent: i32 = std::str::from_utf8(&digits[exponent + 1..]).ok()?.parse().ok()?;
        let power = 10_i128.checked_pow(exponent.unsigned_abs())?;
        if exponent >= 0 {
            return number.checked_mul(power);
        }
        return Some(number / power).filter(|_| number % power == 0);
    }
    let point = digits.iter().position(|byte| *byte == b'.');
    let (whole, part) = digits.split_at(point.unwrap_or(digits.len()));
    let part = part.get(1..).unwrap_or_default();
    if whole.len() + part.len() == 0 || whole.len() > DIGITS || part.len() > DIGITS {
        return None;
    }
    let padded = whole.iter().chain(part).chain(std::iter::repeat_n(&b'0', DIGITS - part.len()));
    let number = padded.into_iter().try_fold(0_i128, |number, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit <= 9)?;
        Some(number * 10 + i128::from(digit))
    })?;
    Some(if negative { -number } else { number })
}

fn without_zeros(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

const DIGITS: usize = 17;
const SCALE: u128 = 100_000_000_000_000_000;
