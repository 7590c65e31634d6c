//! `BITFIELD`: numbers of any width at any bit of a string.

use crate::resp::{Encoder, Reply};
use crate::store::parse_integer;

use super::bits::bit;
use super::context::{Change, View};
use super::errors::{check_length, integer, is, syntax_error};
use super::spec::{ONE_KEY, Spec, WRITE_SLOW};

type Done = Result<(), Reply>;

pub(super) const COMMANDS: &[Spec] = &[
    Spec::write("bitfield", -2, ONE_KEY, change_fields)
        .flags(WRITE_SLOW)
        .long()
        .about("bitmap", "Reads, sets and increments numbers within a string."),
    Spec::read("bitfield_ro", -2, ONE_KEY, read_fields).about("bitmap", "Reads numbers within a string."),
];

/// What becomes of a number that is beyond its width.
#[derive(Debug, Clone, Copy)]
enum Overflow {
    Wrap,
    Saturate,
    Fail,
}

/// The bits of a number.
#[derive(Debug, Clone, Copy)]
struct Field {
    is_signed: bool,
    width: usize,
    start: usize,
}

#[derive(Debug, Clone, Copy)]
enum Operation {
    Get,
    Set(i64, Overflow),
    Add(i64, Overflow),
}

impl Field {
    fn parse(kind: &[u8], place: &[u8]) -> Result<Self, Reply> {
        let wrong_kind = || {
            Reply::error(
                "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.",
            )
        };
        let (is_signed, width) = match kind {
            [b'i', width @ ..] => (true, width),
            [b'u', width @ ..] => (false, width),
            _ => return Err(wrong_kind()),
        };
        let width = parse_integer(width).and_then(|width| usize::try_from(width).ok());
        let width =
            width.filter(|width| (1..=if is_signed { 64 } else { 63 }).contains(width)).ok_or_else(wrong_kind)?;
        let (factor, place) = match place {
            [b'#', place @ ..] => (width, place),
            place => (1, place),
        };
        let place = parse_integer(place).and_then(|place| usize::try_from(place).ok());
        let start = place.and_then(|place| place.checked_mul(factor)).filter(|start| u32::try_from(*start).is_ok());
        let start = start.ok_or_else(|| Reply::error("ERR bit offset is not an integer or out of range"))?;
        Ok(Self { is_signed, width, start })
    }

    /// Bytes of a string that has all bits of the number.
    fn bytes(self) -> usize {
        (self.start + self.width).div_ceil(8)
    }

    fn read(self, text: &[u8]) -> i128 {
        let bits =
            (self.start..self.start + self.width).fold(0, |bits, place| bits << 1 | i128::from(bit(text, place)));
        self.wrapped(bits)
    }

    /// Writes a number to a string that is long enough.
    fn write(self, text: &mut [u8], number: i128) {
        for place in 0..self.width {
            let at = self.start + self.width - 1 - place;
            let mask = 1 << (7 - at % 8);
            text[at / 8] = if number >> place & 1 == 1 { text[at / 8] | mask } else { text[at / 8] & !mask };
        }
    }

    /// The lowest and the highest number.
    fn bounds(self) -> (i128, i128) {
        if self.is_signed { (-1 << (self.width - 1), (1 << (self.width - 1)) - 1) } else { (0, (1 << self.width) - 1) }
    }

    /// The number with the same lowest bits that is within the bounds.
    fn wrapped(self, number: i128) -> i128 {
        let bits = number & ((1 << self.width) - 1);
        if self.is_signed && bits >> (self.width - 1) == 1 { bits - (1 << self.width) } else { bits }
    }

    /// The number that is written in place of one that may be out of bounds. `None` if none is.
    fn fitted(self, number: i128, overflow: Overflow) -> Option<i128> {
        let (low, high) = self.bounds();
        match overflow {
            _ if (low..=high).contains(&number) => Some(number),
            Overflow::Wrap => Some(self.wrapped(number)),
            Overflow::Saturate => Some(number.clamp(low, high)),
            Overflow::Fail => None,
        }
    }
}

fn parse(options: &[&[u8]]) -> Result<Vec<(Field, Operation)>, Reply> {
    let mut operations = Vec::new();
    let mut overflow = Overflow::Wrap;
    let mut rest = options;
    while let Some((option, after)) = rest.split_first() {
        let taken = match (option.to_ascii_lowercase().as_slice(), after) {
            (b"get", [kind, place, ..]) => {
                operations.push((Field::parse(kind, place)?, Operation::Get));
                2
            }
            (word @ (b"set" | b"incrby"), [kind, place, number, ..]) => {
                let (field, number) = (Field::parse(kind, place)?, integer(number)?);
                let is_set = word == b"set";
                let operation =
                    if is_set { Operation::Set(number, overflow) } else { Operation::Add(number, overflow) };
                operations.push((field, operation));
                3
            }
            (b"overflow", [name, ..]) => {
                overflow = match name {
                    name if is(name, "wrap") => Overflow::Wrap,
                    name if is(name, "sat") => Overflow::Saturate,
                    name if is(name, "fail") => Overflow::Fail,
                    _ => return Err(Reply::error("ERR Invalid OVERFLOW type specified")),
                };
                1
            }
            _ => return Err(syntax_error()),
        };
        rest = &after[taken..];
    }
    Ok(operations)
}

fn put(number: i128, out: &mut Encoder<'_>) {
    out.integer(i64::try_from(number).expect("a field has at most 64 bits"));
}

fn read_fields(view: &View<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let operations = parse(&rest[1..])?;
    if !operations.iter().all(|(_, operation)| matches!(operation, Operation::Get)) {
        return Err(Reply::error("ERR BITFIELD_RO only supports the GET subcommand"));
    }
    let text = view.text(rest[0])?.unwrap_or_default();
    out.array(operations.len());
    for (field, _) in operations {
        put(field.read(text), out);
    }
    Ok(())
}

fn change_fields(change: &mut Change<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let operations = parse(&rest[1..])?;
    let mut text = change.text(rest[0])?.unwrap_or_default().to_vec();
    let written = operations.iter().filter(|(_, operation)| !matches!(operation, Operation::Get));
    let needed = written.map(|(field, _)| field.bytes()).max();
    if let Some(needed) = needed {
        check_length(needed)?;
        text.resize(text.len().max(needed), 0);
    }
    out.array(operations.len());
    for (field, operation) in operations {
        let before = field.read(&text);
        let (number, overflow, shows_old) = match operation {
            Operation::Get => {
                put(before, out);
                continue;
            }
            // To an unsigned field, a negative number is a very high one.
            Operation::Set(number, overflow) if !field.is_signed => {
                (i128::from(number.cast_unsigned()), overflow, true)
            }
            Operation::Set(number, overflow) => (i128::from(number), overflow, true),
            Operation::Add(by, overflow) => (before + i128::from(by), overflow, false),
        };
        match field.fitted(number, overflow) {
            Some(number) => {
                field.write(&mut text, number);
                put(if shows_old { before } else { number }, out);
            }
            None => out.null(),
        }
    }
    if needed.is_some() {
        change.store.put_text(rest[0], &[&text], change.deadline(rest[0]));
    }
    Ok(())
}
