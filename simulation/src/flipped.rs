//! Bit flips in memory.

use bytes::{Bytes, BytesMut};
use quorate_protocol::{Entry, Random};

/// Returns the same entries, back to back, with one bit of one payload flipped. Returns `None` if the bytes are not
/// entries, or no entry has a payload.
pub(crate) fn flip_bit_of_entries(entries: &Bytes, random: &mut Random) -> Option<Bytes> {
    let mut payloads = Vec::new();
    let mut rest = entries.clone();
    while !rest.is_empty() {
        let entry = Entry::decode_front(&mut rest).ok()?;
        let end = entries.len() - rest.len();
        payloads.push(end - entry.payload.len()..end);
    }
    payloads.retain(|payload| !payload.is_empty());
    let number = usize::try_from(random.between(0, payloads.len().max(1) as u64)).expect("few entries");
    let payload = payloads.get(number)?;
    let place = random.between(payload.start as u64, payload.end as u64);
    let mut flipped = BytesMut::from(&entries[..]);
    flipped[usize::try_from(place).expect("within the section")] ^= 1 << random.between(0, 8);
    Some(flipped.freeze())
}
