//! Commands on the bits of strings.

use crate::resp::{Encoder, Reply};
use crate::store::parse_integer;

use super::context::{Change, View};
use super::errors::{check_length, integer, is, number, syntax_error};
use super::spec::{Keys, ONE_KEY, READ_SLOW, Spec, WRITE_SLOW};
use super::strings::within_text;

type Done = Result<(), Reply>;

pub(super) const COMMANDS: &[Spec] = &[
    Spec::read("bitcount", -2, ONE_KEY, count_ones).flags(READ_SLOW).about("bitmap", "Counts the bits that are set."),
    Spec::write("bitop", -4, Keys::Range(2, -1, 1), combine)
        .flags(WRITE_SLOW)
        .about("bitmap", "Combines the bits of strings and stores the result."),
    Spec::read("bitpos", -3, ONE_KEY, position)
        .flags(READ_SLOW)
        .about("bitmap", "Returns the place of the first bit that is set, or clear."),
    Spec::read("getbit", 3, ONE_KEY, |view, rest, out| {
        let place = place(rest[1])?;
        let text = view.text(rest[0])?.unwrap_or_default();
        out.integer(i64::from(bit(text, place)));
        Ok(())
    })
    .about("bitmap", "Returns a bit."),
    Spec::write("setbit", 4, ONE_KEY, set).flags(WRITE_SLOW).about("bitmap", "Sets or clears a bit."),
];

fn place(text: &[u8]) -> Result<usize, Reply> {
    let place = parse_integer(text).and_then(|place| usize::try_from(place).ok());
    let place = place.filter(|place| u32::try_from(*place).is_ok());
    place.ok_or_else(|| Reply::error("ERR bit offset is not an integer or out of range"))
}

pub(super) fn bit(text: &[u8], place: usize) -> bool {
    text.get(place / 8).is_some_and(|byte| byte >> (7 - place % 8) & 1 == 1)
}

fn set(change: &mut Change<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let place = place(rest[1])?;
    let value = match parse_integer(rest[2]) {
        Some(0) => false,
        Some(1) => true,
        _ => return Err(Reply::error("ERR bit is not an integer or out of range")),
    };
    let mut text = change.text(rest[0])?.unwrap_or_default().to_vec();
    let length = text.len().max(place / 8 + 1);
    check_length(length)?;
    let before = bit(&text, place);
    text.resize(length, 0);
    let mask = 1 << (7 - place % 8);
    text[place / 8] = if value { text[place / 8] | mask } else { text[place / 8] & !mask };
    change.store.put_text(rest[0], &[&text], change.deadline(rest[0]));
    out.integer(i64::from(before));
    Ok(())
}

/// The bits from the first to behind the last, of a range in bytes or bits.
fn range(length: usize, options: &[&[u8]]) -> Result<Option<(usize, usize)>, Reply> {
    let (start, end, in_bits) = match options {
        [] => return Ok(Some((0, 8 * length))),
        [start, end] => (start, end, false),
        [start, end, unit] if is(unit, "byte") => (start, end, false),
        [start, end, unit] if is(unit, "bit") => (start, end, true),
        _ => return Err(syntax_error()),
    };
    let (start, end) = (integer(start)?, integer(end)?);
    let range = within_text(if in_bits { 8 * length } else { length }, start, end);
    Ok(range.map(|(start, end)| if in_bits { (start, end) } else { (8 * start, 8 * end) }))
}

fn count_ones(view: &View<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let text = view.text(rest[0])?.unwrap_or_default();
    if rest.len() == 2 {
        return Err(syntax_error());
    }
    let ones = range(text.len(), &rest[1..])?.map_or(0, |(start, end)| {
        let (whole_start, whole_end) = (start.div_ceil(8), end / 8);
        if whole_start >= whole_end {
            return (start..end).filter(|place| bit(text, *place)).count();
        }
        let whole: usize = text[whole_start..whole_end].iter().map(|byte| byte.count_ones() as usize).sum();
        let edges = (start..8 * whole_start).chain(8 * whole_end..end);
        whole + edges.filter(|place| bit(text, *place)).count()
    });
    out.integer(number(ones));
    Ok(())
}

fn position(view: &View<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let sought = match parse_integer(rest[1]) {
        Some(0) => false,
        Some(1) => true,
        Some(_) => return Err(Reply::error("ERR The bit argument must be 1 or 0.")),
        None => return Err(Reply::error("ERR value is not an integer or out of range")),
    };
    let Some(text) = view.text(rest[0])? else {
        out.integer(if sought { -1 } else { 0 });
        return Ok(());
    };
    let found = match rest[2..] {
        [start] => range(text.len(), &[start, b"-1"])?,
        ref options => range(text.len(), options)?,
    };
    let passed = if sought { 0 } else { u8::MAX };
    let place = found.and_then(|(start, end)| {
        let mut place = start;
        while place < end {
            if place % 8 == 0 && place + 8 <= end && text[place / 8] == passed {
                place += 8;
            } else if bit(text, place) == sought {
                return Some(place);
            } else {
                place += 1;
            }
        }
        None
    });
    out.integer(match place {
        Some(place) => number(place),
        // Behind the string all bits are clear, if the client did not name an end.
        None if !sought && found.is_some() && rest.len() < 4 => number(8 * text.len()),
        None => -1,
    });
    Ok(())
}

fn combine(change: &mut Change<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let join: fn(u8, u8) -> u8 = match rest[0].to_ascii_lowercase().as_slice() {
        b"and" => |a, b| a & b,
        b"or" => |a, b| a | b,
        b"xor" => |a, b| a ^ b,
        b"not" if rest.len() == 3 => |a, _| !a,
        b"not" => return Err(Reply::error("ERR BITOP NOT must be called with a single source key.")),
        _ => return Err(syntax_error()),
    };
    let texts = rest[2..].iter().map(|key| Ok(change.text(key)?.unwrap_or_default()));
    let texts = texts.collect::<Result<Vec<&[u8]>, Reply>>()?;
    let length = texts.iter().map(|text| text.len()).max().unwrap_or(0);
    let at = |text: &[u8], place: usize| text.get(place).copied().unwrap_or(0);
    let (first, others) = texts.split_first().expect("there is a key");
    let joined = |place| match others {
        [] if is(rest[0], "not") => join(at(first, place), 0),
        others => others.iter().fold(at(first, place), |byte, text| join(byte, at(text, place))),
    };
    let built: Vec<u8> = (0..length).map(joined).collect();
    if built.is_empty() {
        change.remove(rest[1]);
    } else {
        change.store.put_text(rest[1], &[&built], None);
    }
    out.integer(number(length));
    Ok(())
}
