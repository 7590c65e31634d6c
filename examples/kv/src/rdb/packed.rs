//! Items that Redis keeps in one string: ziplist, listpack, intset and zipmap.

use std::borrow::Cow;

/// An item: its bytes, or the digits of a number.
pub(super) type Item<'a> = Cow<'a, [u8]>;

/// The items of a ziplist (Redis 2.8 to 6.2). `None` if it is malformed.
pub(super) fn ziplist(bytes: &[u8]) -> Option<Vec<Item<'_>>> {
    let length = bytes.len();
    let (total, rest) = bytes.split_first_chunk()?;
    let (_tail, rest) = rest.split_first_chunk::<4>()?;
    let (announced, mut rest) = rest.split_first_chunk()?;
    if u32::from_le_bytes(*total) as usize != length {
        return None;
    }
    let mut items = Vec::new();
    loop {
        let (first, after) = rest.split_first()?;
        if *first == END {
            break;
        }
        // The length of the entry before.
        let after = if *first == LONG_BEFORE { after.get(4..)? } else { after };
        let (item, after) = ziplist_item(after)?;
        items.push(item);
        rest = after;
    }
    let announced = usize::from(u16::from_le_bytes(*announced));
    let is_whole = rest.len() == 1 && (announced == usize::from(u16::MAX) || announced == items.len());
    is_whole.then_some(items)
}

fn ziplist_item(bytes: &[u8]) -> Option<(Item<'_>, &[u8])> {
    let (code, rest) = bytes.split_first()?;
    let text = |length: usize, rest| {
        let (text, rest): (&[u8], _) = <[u8]>::split_at_checked(rest, length)?;
        Some((Cow::Borrowed(text), rest))
    };
    match code {
        0..0x40 => text(usize::from(*code), rest),
        0x40..0x80 => {
            let (low, rest) = rest.split_first()?;
            text(usize::from(u16::from_be_bytes([code & 0x3f, *low])), rest)
        }
        0x80 => {
            let (length, rest) = rest.split_first_chunk()?;
            text(u32::from_be_bytes(*length) as usize, rest)
        }
        0xc0 => number(rest, 2),
        0xd0 => number(rest, 4),
        0xe0 => number(rest, 8),
        0xf0 => number(rest, 3),
        0xfe => number(rest, 1),
        0xf1..=0xfd => Some((digits(i64::from(code & 0x0f) - 1), rest)),
        _ => None,
    }
}

/// The items of a listpack (Redis 5.0 and later). `None` if it is malformed.
pub(super) fn listpack(bytes: &[u8]) -> Option<Vec<Item<'_>>> {
    let length = bytes.len();
    let (total, rest) = bytes.split_first_chunk()?;
    let (announced, mut rest) = rest.split_first_chunk()?;
    if u32::from_le_bytes(*total) as usize != length {
        return None;
    }
    let mut items = Vec::new();
    while *rest.first()? != END {
        let (item, after) = listpack_item(rest)?;
        let entry_bytes = rest.len() - after.len();
        items.push(item);
        // The length of the entry stands behind it, to be read from the back.
        let mut back = Vec::new();
        put_back_length(&mut back, entry_bytes);
        rest = after.strip_prefix(&back[..])?;
    }
    let announced = usize::from(u16::from_le_bytes(*announced));
    let is_whole = rest.len() == 1 && (announced == usize::from(u16::MAX) || announced == items.len());
    is_whole.then_some(items)
}

fn listpack_item(bytes: &[u8]) -> Option<(Item<'_>, &[u8])> {
    let (code, rest) = bytes.split_first()?;
    let text = |length: usize, rest| {
        let (text, rest): (&[u8], _) = <[u8]>::split_at_checked(rest, length)?;
        Some((Cow::Borrowed(text), rest))
    };
    match code {
        0..0x80 => Some((digits(i64::from(*code)), rest)),
        0x80..0xc0 => text(usize::from(code & 0x3f), rest),
        0xc0..0xe0 => {
            let (low, rest) = rest.split_first()?;
            // 13 bits with a sign.
            let number = i16::from_be_bytes([code << 3, 0]) | i16::from(*low) << 3;
            Some((digits(i64::from(number >> 3)), rest))
        }
        0xe0..0xf0 => {
            let (low, rest) = rest.split_first()?;
            text(usize::from(u16::from_be_bytes([code & 0x0f, *low])), rest)
        }
        0xf0 => {
            let (length, rest) = rest.split_first_chunk()?;
            text(u32::from_le_bytes(*length) as usize, rest)
        }
        0xf1 => number(rest, 2),
        0xf2 => number(rest, 3),
        0xf3 => number(rest, 4),
        0xf4 => number(rest, 8),
        _ => None,
    }
}

/// The numbers of a set. `None` if it is malformed.
pub(super) fn intset(bytes: &[u8]) -> Option<Vec<Item<'static>>> {
    let (width, rest) = bytes.split_first_chunk()?;
    let (count, rest) = rest.split_first_chunk()?;
    let (width, count) = (u32::from_le_bytes(*width) as usize, u32::from_le_bytes(*count) as usize);
    if ![2, 4, 8].contains(&width) || rest.len() != width.checked_mul(count)? {
        return None;
    }
    rest.chunks(width).map(|bytes| Some(Cow::Owned(number(bytes, width)?.0.into_owned()))).collect()
}

/// Fields and values in turn (Redis 2.4 and earlier). `None` if they are malformed.
pub(super) fn zipmap(bytes: &[u8]) -> Option<Vec<Item<'_>>> {
    let (_count, mut rest) = bytes.split_first()?;
    let mut items = Vec::new();
    while *rest.first()? != END {
        for is_value in [false, true] {
            let (length, after) = zipmap_length(rest)?;
            let (unused, after) = if is_value { after.split_first()? } else { (&0, after) };
            let (text, after) = after.split_at_checked(length)?;
            items.push(Cow::Borrowed(text));
            rest = after.get(usize::from(*unused)..)?;
        }
    }
    (rest.len() == 1).then_some(items)
}

fn zipmap_length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    match bytes.split_first()? {
        (&END, _) => None,
        (254, rest) => {
            let (length, rest) = rest.split_first_chunk()?;
            Some((u32::from_le_bytes(*length) as usize, rest))
        }
        (length, rest) => Some((usize::from(*length), rest)),
    }
}

/// A little-endian number of `width` bytes, and the rest.
fn number(bytes: &[u8], width: usize) -> Option<(Item<'_>, &[u8])> {
    let (low, rest) = bytes.split_at_checked(width)?;
    let mut wide = [0; 8];
    wide[8 - width..].copy_from_slice(low);
    Some((digits(i64::from_le_bytes(wide) >> (64 - 8 * width)), rest))
}

fn digits(number: i64) -> Item<'static> {
    Cow::Owned(number.to_string().into_bytes())
}

/// A listpack that is being written.
pub(super) struct ListpackWriter {
    bytes: Vec<u8>,
    count: usize,
}

impl ListpackWriter {
    pub(super) fn new() -> Self {
        Self { bytes: vec![0; LISTPACK_HEADER_BYTES], count: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn number(&mut self, number: i64) {
        let start = self.bytes.len();
        if let Ok(number @ 0..0x80) = u8::try_from(number) {
            self.bytes.push(number);
        } else if let Ok(number) = i16::try_from(number) {
            self.bytes.push(0xf1);
            self.bytes.extend_from_slice(&number.to_le_bytes());
        } else {
            self.bytes.push(0xf4);
            self.bytes.extend_from_slice(&number.to_le_bytes());
        }
        self.end_item(start);
    }

    /// Adds a string of less than 4 GiB.
    pub(super) fn text(&mut self, text: &[u8]) {
        let start = self.bytes.len();
        let length = u32::try_from(text.len()).expect("a string is bounded");
        match length.to_be_bytes() {
            [0, 0, 0, low @ 0..0x40] => self.bytes.push(0x80 | low),
            [0, 0, high @ 0..0x10, low] => self.bytes.extend_from_slice(&[0xe0 | high, low]),
            _ => {
                self.bytes.push(0xf0);
                self.bytes.extend_from_slice(&length.to_le_bytes());
            }
        }
        self.bytes.extend_from_slice(text);
        self.end_item(start);
    }

    fn end_item(&mut self, start: usize) {
        let length = self.bytes.len() - start;
        put_back_length(&mut self.bytes, length);
        self.count += 1;
    }

    /// Adds the items of another.
    pub(super) fn append(&mut self, other: &Self) {
        self.bytes.extend_from_slice(&other.bytes[LISTPACK_HEADER_BYTES..]);
        self.count += other.count;
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.bytes.push(END);
        let total = u32::try_from(self.bytes.len()).expect("a listpack is bounded");
        self.bytes[..4].copy_from_slice(&total.to_le_bytes());
        let count = u16::try_from(self.count).unwrap_or(u16::MAX);
        self.bytes[4..LISTPACK_HEADER_BYTES].copy_from_slice(&count.to_le_bytes());
        self.bytes
    }
}

/// Appends the length of a listpack's entry: groups of seven bits, the highest first, each but the first marked.
fn put_back_length(out: &mut Vec<u8>, length: usize) {
    // Redis takes one byte more for each length at the end of a range but the first.
    let groups = match length {
        0..=0x7f => 1,
        0x80..0x3fff => 2,
        0x3fff..0x1f_ffff => 3,
        0x1f_ffff..0x0fff_ffff => 4,
        _ => 5,
    };
    for group in (0..groups).rev() {
        let bits = (length >> (7 * group)).to_le_bytes()[0] & 0x7f;
        out.push(if group == groups - 1 { bits } else { bits | 0x80 });
    }
}

const END: u8 = 0xff;
/// Begins the length of a long entry before.
const LONG_BEFORE: u8 = 0xfe;
const LISTPACK_HEADER_BYTES: usize = 6;
