//! Values of a history. They are equal if they mean the same, whatever their notation.

use std::fmt;

use serde_json::Value;

/// A value that a call wrote or read. Large numbers are kept as text: a number beyond 64 bits would be rounded, and
/// would then equal its neighbours.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Datum {
    #[default]
    Null,
    Boolean(bool),
    /// A whole number that fits 64 bits.
    Integer(i64),
    /// Any other number, as [`canonical`] writes it.
    Number(Box<str>),
    Text(Box<str>),
    /// A keyword, symbol, character or ratio of EDN, in its original notation.
    Symbol(Box<str>),
    List(Vec<Datum>),
    /// Each value once, ascending.
    Set(Vec<Datum>),
    /// Ascending by name; each name once.
    Map(Vec<(Datum, Datum)>),
}

impl Datum {
    /// Reads JSON.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut parser = Parser { text, at: 0 };
        let datum = parser.datum(0)?;
        parser.skip_blanks();
        if parser.at == text.len() { Ok(datum) } else { Err(parser.unexpected()) }
    }

    pub(super) fn is_null(&self) -> bool {
        *self == Self::Null
    }

    pub(super) fn list(&self) -> Option<&[Self]> {
        match self {
            Self::List(list) => Some(list),
            _ => None,
        }
    }

    /// A number in the notation of JSON or EDN.
    pub(super) fn number(text: &str) -> Self {
        // A short number in plain notation is canonical already.
        let is_plain = text.len() < 18 && !text.starts_with(['0', '-', '+']);
        if let Some(number) = text.parse().ok().filter(|_| is_plain) {
            return Self::Integer(number);
        }
        let canonical = canonical(text);
        canonical.parse().map_or(Self::Number(canonical), Self::Integer)
    }

    pub(super) fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            _ => None,
        }
    }

    /// The value under a name. EDN writes the name with a colon.
    pub(super) fn part(&self, name: &str) -> Option<&Self> {
        let Self::Map(parts) = self else { return None };
        let is_named = |of: &Self| match of {
            Self::Text(text) => **text == *name,
            Self::Symbol(text) => text.strip_prefix(':') == Some(name),
            _ => false,
        };
        parts.iter().find(|(of, _)| is_named(of)).map(|(_, value)| value)
    }
}

impl From<&Value> for Datum {
    fn from(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(is) => Self::Boolean(*is),
            Value::Number(number) => number.as_i64().map_or_else(|| Self::number(&number.to_string()), Self::Integer),
            Value::String(text) => Self::Text(text.as_str().into()),
            Value::Array(list) => Self::List(list.iter().map(Self::from).collect()),
            Value::Object(map) => {
                let part = |(name, value): (&String, &Value)| (Self::Text(name.as_str().into()), value.into());
                let mut parts: Vec<(Self, Self)> = map.iter().map(part).collect();
                parts.sort_unstable();
                Self::Map(parts)
            }
        }
    }
}

/// In JSON, or in EDN where JSON has no notation.
impl fmt::Display for Datum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Boolean(is) => is.fmt(f),
            Self::Integer(number) => number.fmt(f),
            Self::Number(text) | Self::Symbol(text) => f.write_str(text),
            Self::Text(text) => f.write_str(&quoted(text)),
            Self::List(list) | Self::Set(list) => {
                let (begin, end) = if matches!(self, Self::Set(_)) { ("#{", "}") } else { ("[", "]") };
                f.write_str(begin)?;
                for (place, each) in list.iter().enumerate() {
                    write!(f, "{}{each}", if place == 0 { "" } else { "," })?;
                }
                f.write_str(end)
            }
            Self::Map(parts) => {
                f.write_str("{")?;
                for (place, (name, each)) in parts.iter().enumerate() {
                    write!(f, "{}{name}:{each}", if place == 0 { "" } else { "," })?;
                }
                f.write_str("}")
            }
        }
    }
}

/// A text in the notation of JSON.
pub(super) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// Parses values from a line. They may be nested so deeply that recursion must be bounded.
struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl Parser<'_> {
    fn datum(&mut self, depth: usize) -> Result<Datum, String> {
        if depth > DEPTH_MAX {
            return Err(format!("a value is nested more than {DEPTH_MAX} deep"));
        }
        self.skip_blanks();
        match self.next() {
            Some(b'n') => self.word("null").map(|()| Datum::Null),
            Some(b't') => self.word("true").map(|()| Datum::Boolean(true)),
            Some(b'f') => self.word("false").map(|()| Datum::Boolean(false)),
            Some(b'"') => self.string().map(Datum::Text),
            Some(b'-' | b'0'..=b'9') => {
                let is_part = |byte: u8| byte.is_ascii_digit() || b"+-.eE".contains(&byte);
                let length = self.text.as_bytes()[self.at..].iter().take_while(|byte| is_part(**byte)).count();
                let number = &self.text[self.at..self.at + length];
                self.at += length;
                Ok(Datum::number(number))
            }
            Some(b'[') => {
                let mut list = Vec::new();
                self.each(b']', |parser| {
                    list.push(parser.datum(depth + 1)?);
                    Ok(())
                })?;
                Ok(Datum::List(list))
            }
            Some(b'{') => {
                let mut parts = Vec::new();
                self.each(b'}', |parser| {
                    let name = parser.string()?;
                    parser.skip_blanks();
                    parser.byte(b':')?;
                    parts.push((Datum::Text(name), parser.datum(depth + 1)?));
                    Ok(())
                })?;
                parts.sort_by(|(one, _): &(Datum, Datum), (other, _)| one.cmp(other));
                // Of equal names the last counts, as in serde_json.
                parts.reverse();
                parts.dedup_by(|(one, _), (other, _)| one == other);
                parts.reverse();
                Ok(Datum::Map(parts))
            }
            _ => Err(self.unexpected()),
        }
    }

    /// Parses the values between brackets, separated by commas.
    fn each(&mut self, end: u8, mut part: impl FnMut(&mut Self) -> Result<(), String>) -> Result<(), String> {
        self.at += 1;
        self.skip_blanks();
        if self.next() == Some(end) {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.skip_blanks();
            part(self)?;
            self.skip_blanks();
            if self.next() == Some(end) {
                self.at += 1;
                return Ok(());
            }
            self.byte(b',')?;
        }
    }

    fn string(&mut self) -> Result<Box<str>, String> {
        let rest = &self.text[self.at..];
        let mut is_escaped = false;
        let end = rest.bytes().enumerate().skip(1).find_map(|(at, byte)| {
            let is_end = byte == b'"' && !is_escaped;
            is_escaped = byte == b'\\' && !is_escaped;
            is_end.then_some(at)
        });
        let length = end.ok_or_else(|| self.unexpected())? + 1;
        self.at += length;
        serde_json::from_str::<String>(&rest[..length]).map(Into::into).map_err(|error| error.to_string())
    }

    fn word(&mut self, word: &str) -> Result<(), String> {
        if !self.text[self.at..].starts_with(word) {
            return Err(self.unexpected());
        }
        self.at += word.len();
        Ok(())
    }

    fn byte(&mut self, byte: u8) -> Result<(), String> {
        if self.next() != Some(byte) {
            return Err(self.unexpected());
        }
        self.at += 1;
        Ok(())
    }

    fn next(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_blanks(&mut self) {
        while self.next().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    fn unexpected(&self) -> String {
        format!("a value is not JSON at its byte {}", self.at + 1)
    }
}

/// A canonical notation of a JSON number, so that equal numbers have equal texts: `1.50`, `15e-1` and `1.5` become
/// `1.5`.
pub(super) fn canonical(number: &str) -> Box<str> {
    let is_whole = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    if is_whole && number.len() <= PLAIN_MAX {
        return if number == "-0" { "0".into() } else { number.into() };
    }
    rewritten(number).unwrap_or_else(|| number.into())
}

/// `None` if the exponent does not fit 64 bits.
fn rewritten(number: &str) -> Option<Box<str>> {
    let (sign, absolute) = number.strip_prefix('-').map_or(("", number), |rest| ("-", rest));
    let (mantissa, exponent) = absolute.split_once(['e', 'E']).unwrap_or((absolute, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = [whole, fraction].concat();
    let leading = digits.trim_start_matches('0');
    let digits = leading.trim_end_matches('0');
    if digits.is_empty() {
        return Some("0".into());
    }
    let zeros = i64::try_from(leading.len() - digits.len()).ok()?;
    let exponent: i64 = exponent.parse().ok()?;
    let exponent = exponent.checked_sub(i64::try_from(fraction.len()).ok()?)?.checked_add(zeros)?;
    let places = usize::try_from(exponent.unsigned_abs()).ok()?;
    let text = if places > PLAIN_MAX {
        format!("{sign}{digits}e{exponent}")
    } else if exponent >= 0 {
        format!("{sign}{digits}{}", "0".repeat(places))
    } else {
        let padded = format!("{digits:0>width$}", width = places + 1);
        let (whole, fraction) = padded.split_at(padded.len() - places);
        format!("{sign}{whole}.{fraction}")
    };
    Some(text.into())
}

/// Numbers with more digits are written with an exponent if that is shorter.
const PLAIN_MAX: usize = 40;
/// The limit of serde_json.
const DEPTH_MAX: usize = 127;

#[cfg(test)]
mod tests {
    use super::{Datum, canonical};

    #[test]
    fn numbers_are_equal_if_they_are_the_same_number() {
        for (one, same) in [
            ("0", "-0"),
            ("0", "0.000"),
            ("0", "0e99999999999999999999"),
            ("1.5", "1.50"),
            ("1.5", "15e-1"),
            ("1.5", "0.0015E+3"),
            ("100", "1e2"),
            ("1", "1.0"),
            ("-25", "-2.5e1"),
            ("10000000000000000000000000000000000000000000000000", "1e49"),
            ("0.1", "0.10000000000000000000000000000000000000000000000000"),
        ] {
            assert_eq!(canonical(one), canonical(same), "{one} and {same}");
        }
        for (one, other) in [
            ("18446744073709551617", "18446744073709551619"),
            ("0.1234567890123456789012", "0.1234567890123456789013"),
            ("1e300", "1e301"),
            ("1", "-1"),
            ("1e99999999999999999999", "1e99999999999999999998"),
            ("10", "1"),
        ] {
            assert_ne!(canonical(one), canonical(other), "{one} and {other}");
        }
        assert_eq!(&*canonical("-0.0250e1"), "-0.25");
    }

    #[test]
    fn a_whole_number_has_one_form() {
        for (text, same) in
            [("7", "7.0"), ("0", "-0"), ("-12", "-1.2e1"), ("9223372036854775807", "9223372036854775807.0")]
        {
            assert_eq!(Datum::number(text), Datum::number(same), "{text}");
            assert!(Datum::number(text).integer().is_some(), "{text}");
        }
        assert_eq!(Datum::number("9223372036854775808").integer(), None);
        assert_ne!(Datum::number("9223372036854775808"), Datum::number("9223372036854775809"));
    }

    #[test]
    fn values_are_read_as_they_are_written() {
        for (text, shown) in [
            (
                r#" [ 1 , -2.50, "a\"\\é\u0041" , null, true ,false, [], {} ] "#,
                r#"[1,-2.5,"a\"\\éA",null,true,false,[],{}]"#,
            ),
            (r#"{"b":1,"a":{"c":[2]}}"#, r#"{"a":{"c":[2]},"b":1}"#),
            (r#"{"a":1,"a":2}"#, r#"{"a":2}"#),
        ] {
            let datum = Datum::parse(text).expect("JSON");
            assert_eq!(datum.to_string(), shown);
            let value: serde_json::Value = serde_json::from_str(text).expect("JSON");
            assert_eq!(Datum::from(&value), datum, "{text}");
        }
        for text in ["", "[1", "[1,]", "{\"a\"}", "\"a", "nul", "1 2", "?"] {
            assert!(Datum::parse(text).is_err(), "{text}");
        }
        let deep = "[".repeat(100_000);
        assert!(Datum::parse(&deep).expect_err("too deep").contains("nested"));
    }
}
