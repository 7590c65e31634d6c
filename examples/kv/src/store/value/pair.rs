//! A name and its data in one item: the length of the name as LEB128, the name, the data.

/// Puts a pair into `out`, which is emptied first.
pub(super) fn write<'a>(out: &'a mut Vec<u8>, name: &[u8], data: &[u8]) -> &'a [u8] {
    out.clear();
    put(out, name);
    out.extend_from_slice(data);
    out
}

/// Appends a name, its length before it.
pub(super) fn put(out: &mut Vec<u8>, name: &[u8]) {
    let mut rest = name.len();
    while rest >= 0x80 {
        out.push(rest.to_le_bytes()[0] | 0x80);
        rest >>= 7;
    }
    out.push(rest.to_le_bytes()[0]);
    out.extend_from_slice(name);
}

/// The name and the data of an item, which [`write`] made.
pub(super) fn read(item: &[u8]) -> (&[u8], &[u8]) {
    let (mut length, mut shift, mut at) = (0, 0, 0);
    loop {
        let byte = item[at];
        length |= usize::from(byte & 0x7f) << shift;
        at += 1;
        if byte & 0x80 == 0 {
            return item[at..].split_at(length);
        }
        shift += 7;
    }
}

/// Returns true if the bytes are an item, as they are checked when a snapshot is read.
pub(super) fn is_pair(item: &[u8]) -> bool {
    let mut length: usize = 0;
    for (at, byte) in item.iter().enumerate().take(5) {
        length |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return item.len() - at > length;
        }
    }
    false
}
