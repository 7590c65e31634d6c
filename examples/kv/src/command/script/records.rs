//! `struct`: numbers and texts packed into bytes, as the library of that name in Redis 7.0 does it (Roberto
//! Ierusalimschy's, version 0.2).

use mlua::{Lua, MultiValue, Value};

use super::libraries::Refusal;

/// One option of a format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Item {
    Integer {
        is_signed: bool,
    },
    Float,
    Double,
    /// A text of a length, or of the length that was packed before it.
    Text {
        is_counted: bool,
    },
    /// A text up to a zero.
    Line,
    Pad,
}

/// Reads a format: each option with its size, and how many bytes stand before it to align it.
struct Format<'a> {
    rest: &'a [u8],
    is_little: bool,
    align: usize,
    /// Letters that mean nothing are passed over, as `struct.size` does it.
    is_lenient: bool,
}

impl<'a> Format<'a> {
    fn new(text: &'a [u8]) -> Self {
        Self { rest: text, is_little: true, align: 1, is_lenient: false }
    }

    /// The next option, its size, and the padding that it needs after so many bytes.
    fn next(&mut self, total: usize) -> Result<Option<(Item, usize, usize)>, Refusal> {
        while let Some((&letter, rest)) = self.rest.split_first() {
            self.rest = rest;
            let (item, size) = match letter {
                b'b' | b'B' => (Item::Integer { is_signed: letter == b'b' }, 1),
                b'h' | b'H' => (Item::Integer { is_signed: letter == b'h' }, 2),
                b'l' | b'L' => (Item::Integer { is_signed: letter == b'l' }, 8),
                b'T' => (Item::Integer { is_signed: false }, 8),
                b'i' | b'I' => (Item::Integer { is_signed: letter == b'i' }, self.integer_size()?),
                b'f' => (Item::Float, 4),
                b'd' => (Item::Double, 8),
                b'x' => (Item::Pad, 1),
                b's' => (Item::Line, 0),
                b'c' => {
                    let size = self.number()?.unwrap_or(1);
                    (Item::Text { is_counted: size > 0 }, size)
                }
                _ => {
                    self.set(letter)?;
                    continue;
                }
            };
            return Ok(Some((item, size, self.padding(item, size, total))));
        }
        Ok(None)
    }

    fn set(&mut self, letter: u8) -> Result<(), Refusal> {
        match letter {
            b' ' => {}
            b'<' => self.is_little = true,
            b'>' => self.is_little = false,
            b'!' => {
                self.align = self.number()?.unwrap_or(ALIGN_MAX);
                if !self.align.is_power_of_two() {
                    return Err(Refusal::Text(format!("alignment {} is not a power of 2", self.align)));
                }
            }
            _ if self.is_lenient => {}
            letter => {
                return Err(Refusal::Argument(1, format!("invalid format option '{}'", char::from(letter))));
            }
        }
        Ok(())
    }

    fn integer_size(&mut self) -> Result<usize, Refusal> {
        let size = self.number()?.unwrap_or(4);
        if size > INTEGER_BYTES_MAX {
            let text = format!("integral size {size} is larger than limit of {INTEGER_BYTES_MAX}");
            return Err(Refusal::Text(text));
        }
        Ok(size)
    }

    fn number(&mut self) -> Result<Option<usize>, Refusal> {
        let digits = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (number, rest) = self.rest.split_at(digits);
        self.rest = rest;
        let text = std::str::from_utf8(number).expect("digits");
        let number: Option<i32> = (digits > 0)
            .then(|| text.parse())
            .transpose()
            .map_err(|_| Refusal::Text("integral size overflow".to_owned()))?;
        Ok(number.map(|number| usize::try_from(number).expect("no sign")))
    }

    fn padding(&self, item: Item, size: usize, total: usize) -> usize {
        let align = size.min(self.align);
        let is_free = matches!(item, Item::Text { .. } | Item::Line | Item::Pad) || align <= 1;
        if is_free { 0 } else { (align - (total & (align - 1))) & (align - 1) }
    }
}

/// Packs values by a format.
pub(super) fn pack(lua: &Lua, format: &[u8], values: &MultiValue) -> mlua::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut format = Format::new(format);
    let mut place = 0;
    loop {
        let Some((item, size, padding)) = format.next(bytes.len())? else {
            return Ok(bytes);
        };
        bytes.resize(bytes.len() + padding, 0);
        if item == Item::Pad {
            bytes.push(0);
            continue;
        }
        let value = values.get(place).cloned().unwrap_or(Value::Nil);
        place += 1;
        put(lua, &mut bytes, item, size, format.is_little, (place + 1, value))?;
        if bytes.len() > BYTES_MAX {
            return Err(Refusal::Text("struct makes at most 16 MiB".to_owned()).into());
        }
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn put(
    lua: &Lua,
    bytes: &mut Vec<u8>,
    item: Item,
    size: usize,
    is_little: bool,
    (place, value): (usize, Value),
) -> mlua::Result<()> {
    let kind = value.type_name();
    let refused = |wanted: &str| Err(Refusal::Argument(place, format!("{wanted} expected, got {kind}")).into());
    match item {
        Item::Integer { .. } | Item::Float | Item::Double => {
            let Some(number) = lua.coerce_number(value)? else { return refused("number") };
            let mut number = match item {
                Item::Float => (number as f32).to_le_bytes().to_vec(),
                Item::Double => number.to_le_bytes().to_vec(),
                _ => {
                    let whole = if number < 0.0 { number as i64 as u64 } else { number as u64 };
                    let mut all = whole.to_le_bytes().to_vec();
                    all.resize(size, 0);
                    all
                }
            };
            if !is_little {
                number.reverse();
            }
            bytes.extend(number);
        }
        Item::Text { .. } | Item::Line => {
            let Some(text) = lua.coerce_string(value)? else { return refused("string") };
            let text = text.as_bytes();
            let taken = if item == (Item::Text { is_counted: true }) { size } else { text.len() };
            let Some(taken) = text.get(..taken) else {
                return Err(Refusal::Argument(place + 1, "string too short".to_owned()).into());
            };
            bytes.extend_from_slice(taken);
            if item == Item::Line {
                bytes.push(0);
            }
        }
        Item::Pad => bytes.push(0),
    }
    Ok(())
}

/// The values of a text by a format from a place on, which is counted from one, and where the next one begins.
pub(super) fn unpack(lua: &Lua, format: &[u8], text: &[u8], start: i64) -> mlua::Result<MultiValue> {
    let Some(mut at) = start.checked_sub(1).and_then(|start| usize::try_from(start).ok()) else {
        return Err(Refusal::Argument(3, "offset must be 1 or greater".to_owned()).into());
    };
    let short = || Err(Refusal::Argument(2, "data string too short".to_owned()).into());
    let mut format = Format::new(format);
    let mut values: Vec<Value> = Vec::new();
    while let Some((item, mut size, padding)) = format.next(at)? {
        at = at.saturating_add(padding);
        if item == (Item::Text { is_counted: false }) {
            let before = values.pop().and_then(|value| value.as_number());
            let Some(length) = before else {
                return Err(Refusal::Text("format 'c0' needs a previous size".to_owned()).into());
            };
            size = length_of(length);
        }
        if values.len() == VALUES_MAX {
            return Err(Refusal::Text("too many results".to_owned()).into());
        }
        let Some(bytes) = at.checked_add(size).and_then(|end| text.get(at..end)) else { return short() };
        match item {
            Item::Pad => {}
            Item::Text { .. } => values.push(Value::String(lua.create_string(bytes)?)),
            Item::Line => {
                let Some(length) = text.get(at..).and_then(|rest| rest.iter().position(|byte| *byte == 0)) else {
                    return Err(Refusal::Text("unfinished string in data".to_owned()).into());
                };
                values.push(Value::String(lua.create_string(&text[at..at + length])?));
                size = length + 1;
            }
            _ => values.push(Value::Number(number(item, bytes, format.is_little))),
        }
        at += size;
    }
    values.push(Value::Integer(i64::try_from(at + 1).expect("below 64 MiB")));
    Ok(MultiValue::from_vec(values))
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn length_of(number: f64) -> usize {
    if number < 0.0 { usize::MAX } else { number as usize }
}

/// The number in the bytes of an option. Of a longer integer its lowest eight bytes count.
#[allow(clippy::cast_precision_loss)]
fn number(item: Item, bytes: &[u8], is_little: bool) -> f64 {
    let mut low = bytes.to_vec();
    if !is_little {
        low.reverse();
    }
    let size = low.len();
    low.resize(8, 0);
    let whole = u64::from_le_bytes(low.try_into().expect("eight bytes"));
    match item {
        Item::Float => f64::from(f32::from_bits(u32::try_from(whole).expect("four bytes"))),
        Item::Double => f64::from_bits(whole),
        Item::Integer { is_signed: true } => {
            let unused = 64 - 8 * u32::try_from(size.min(8)).expect("at most eight");
            whole.checked_shl(unused).map_or(0, |high| high.cast_signed() >> unused) as f64
        }
        _ => whole as f64,
    }
}

/// How many bytes a format takes.
pub(super) fn size(format: &[u8]) -> Result<usize, Refusal> {
    let mut format = Format { is_lenient: true, ..Format::new(format) };
    let mut total: usize = 0;
    while let Some((item, size, padding)) = format.next(total)? {
        let unfixed = match item {
            Item::Line => Some("option 's' has no fixed size"),
            Item::Text { is_counted: false } => Some("option 'c0' has no fixed size"),
            _ => None,
        };
        if let Some(text) = unfixed {
            return Err(Refusal::Argument(1, text.to_owned()));
        }
        total = total.saturating_add(padding).saturating_add(size);
    }
    Ok(total)
}

/// `!` without a number.
const ALIGN_MAX: usize = 8;
const INTEGER_BYTES_MAX: usize = 32;
/// Maximum bytes that are made, but for the last value.
const BYTES_MAX: usize = 16 * 1024 * 1024;
/// Maximum number of values that a function returns.
const VALUES_MAX: usize = 7_000;
