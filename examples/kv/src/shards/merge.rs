//! One reply made of the replies of several shards.

use bytes::BytesMut;

use crate::resp::{Encoder, Version};

/// The place at which a scan over all shards goes on: a shard, and a place in its store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScanCursor {
    /// The shard.
    pub shard: u16,
    /// The cursor of its store.
    pub inner: u64,
}

impl ScanCursor {
    /// The cursor of a client.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let number: u64 = std::str::from_utf8(text).ok()?.parse().ok()?;
        let shard = u16::try_from(number % SHARDS).expect("below 256");
        Some(Self { shard, inner: number / SHARDS })
    }

    fn number(self) -> u64 {
        self.inner * SHARDS + u64::from(self.shard)
    }
}

/// The reply to a step of a scan in a shard, with the cursor for all shards.
pub fn continue_scan(reply: BytesMut, shard: u16, shards: u16) -> BytesMut {
    let Some((inner, rest)) = split_cursor(&reply) else { return reply };
    let next = match inner {
        0 if shard + 1 == shards => 0,
        0 => ScanCursor { shard: shard + 1, inner: 0 }.number(),
        inner => ScanCursor { shard, inner }.number(),
    };
    let mut out = BytesMut::with_capacity(reply.len() + 8);
    let mut encoder = Encoder::new(&mut out, Version::Resp2);
    encoder.array(2);
    encoder.bulk(next.to_string().as_bytes());
    out.extend_from_slice(rest);
    out
}

/// The cursor of `*2 $length cursor rest`, and the rest.
fn split_cursor(reply: &[u8]) -> Option<(u64, &[u8])> {
    let (_, rest) = split_line(reply.strip_prefix(b"*2\r\n")?.strip_prefix(b"$")?)?;
    let (cursor, rest) = split_line(rest)?;
    Some((std::str::from_utf8(cursor).ok()?.parse().ok()?, rest))
}

/// The sum of replies that are numbers. An error takes its place.
pub fn sum(replies: &[BytesMut], version: Version) -> BytesMut {
    let mut sum = 0;
    for reply in replies {
        let number = reply.strip_prefix(b":").and_then(split_line).and_then(|(text, _)| std::str::from_utf8(text).ok());
        match number.and_then(|text| text.parse::<i64>().ok()) {
            Some(number) => sum += number,
            None => return reply.clone(),
        }
    }
    let mut out = BytesMut::new();
    Encoder::new(&mut out, version).integer(sum);
    out
}

/// All items of replies that are lists. An error takes their place.
pub fn concatenate(replies: &[BytesMut], version: Version) -> BytesMut {
    let mut count = 0;
    let mut items = Vec::new();
    for reply in replies {
        let head = reply.strip_prefix(b"*").and_then(split_line);
        match head.and_then(|(text, rest)| Some((std::str::from_utf8(text).ok()?.parse::<usize>().ok()?, rest))) {
            Some((more, rest)) => {
                count += more;
                items.push(rest);
            }
            None => return reply.clone(),
        }
    }
    let mut out = BytesMut::new();
    Encoder::new(&mut out, version).array(count);
    for items in items {
        out.extend_from_slice(items);
    }
    out
}

/// Returns true for the reply that there is nothing.
pub fn is_nil(reply: &[u8]) -> bool {
    [&b"$-1\r\n"[..], b"_\r\n"].contains(&reply)
}

fn split_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.windows(2).position(|two| two == b"\r\n")?;
    Some((&bytes[..end], &bytes[end + 2..]))
}

/// Shards that a cursor can name.
const SHARDS: u64 = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> BytesMut {
        BytesMut::from(text)
    }

    #[test]
    fn a_scan_goes_from_shard_to_shard() {
        let step = |reply: &str, shard| {
            let reply = continue_scan(bytes(reply), shard, 3);
            let (cursor, rest) = split_cursor(&reply).unwrap();
            assert_eq!(rest, b"*1\r\n$1\r\na\r\n");
            cursor
        };
        let cursor = step("*2\r\n$1\r\n7\r\n*1\r\n$1\r\na\r\n", 1);
        assert_eq!(ScanCursor::parse(cursor.to_string().as_bytes()), Some(ScanCursor { shard: 1, inner: 7 }));
        let cursor = step("*2\r\n$1\r\n0\r\n*1\r\n$1\r\na\r\n", 1);
        assert_eq!(ScanCursor::parse(cursor.to_string().as_bytes()), Some(ScanCursor { shard: 2, inner: 0 }));
        assert_eq!(step("*2\r\n$1\r\n0\r\n*1\r\n$1\r\na\r\n", 2), 0, "the end");
        assert_eq!(ScanCursor::parse(b"0"), Some(ScanCursor { shard: 0, inner: 0 }));
        assert_eq!(ScanCursor::parse(b"x"), None);
        assert_eq!(continue_scan(bytes("-ERR invalid cursor\r\n"), 0, 3), "-ERR invalid cursor\r\n");
    }

    #[test]
    fn numbers_are_added_and_lists_joined() {
        assert_eq!(sum(&[bytes(":3\r\n"), bytes(":4\r\n")], Version::Resp2), ":7\r\n");
        assert_eq!(sum(&[bytes(":3\r\n"), bytes("-NOQUORUM\r\n")], Version::Resp2), "-NOQUORUM\r\n");
        let lists = [bytes("*1\r\n$1\r\na\r\n"), bytes("*0\r\n"), bytes("*1\r\n$1\r\nb\r\n")];
        assert_eq!(concatenate(&lists, Version::Resp2), "*2\r\n$1\r\na\r\n$1\r\nb\r\n");
        assert!(is_nil(b"$-1\r\n") && !is_nil(b"$0\r\n\r\n"));
    }
}
