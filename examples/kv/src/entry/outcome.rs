//! What applying an entry returns: the replies, and the messages that are to be published.
//!
//! Every replica computes it, and only the node that proposed the entry gets it, so only that node publishes.
//!
//! Layout: without messages, the replies, whose first byte is that of a reply. With messages: 0, their number, each
//! one's kind, the place of its number of receivers among the replies plus 1 (0: nowhere), channel and text; then the
//! replies.

use bytes::{BufMut, Bytes, BytesMut};

use crate::pubsub::{Message, Topic};

use super::codec::{DecodeError, Decoder, put_bytes, put_length};

/// A message of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The message.
    pub message: Message,
    /// The place among the replies where [`NO_RECEIVERS`] stands for the number of receivers. `None` if the client does
    /// not see that number.
    pub place: Option<usize>,
}

/// The reply that stands for the number of receivers of a message.
pub const NO_RECEIVERS: &[u8] = b":0\r\n";

/// The bytes of an outcome.
pub fn encode_outcome(replies: BytesMut, published: &[Published]) -> Bytes {
    if published.is_empty() {
        return replies.freeze();
    }
    let mut out = BytesMut::with_capacity(replies.len());
    out.put_u8(WITH_MESSAGES);
    put_length(&mut out, published.len());
    for Published { message, place } in published {
        out.put_u8(message.topic as u8);
        put_length(&mut out, place.map_or(0, |place| place + 1));
        put_bytes(&mut out, &message.channel);
        put_bytes(&mut out, &message.payload);
    }
    out.put_slice(&replies);
    out.freeze()
}

/// The replies and messages of an outcome.
///
/// # Errors
/// When these bytes are no outcome.
pub fn decode_outcome(outcome: Bytes) -> Result<(Bytes, Vec<Published>), DecodeError> {
    if outcome.first() != Some(&WITH_MESSAGES) {
        return Ok((outcome, Vec::new()));
    }
    let mut from = Decoder::new(&outcome[1..]);
    let mut published = Vec::new();
    for _ in 0..from.count()? {
        let byte = from.byte()?;
        let topic = Topic::ALL.into_iter().find(|topic| *topic as u8 == byte).ok_or(DecodeError::Kind(byte))?;
        let place = from.length()?.checked_sub(1);
        let (channel, payload) = (outcome.slice_ref(from.bytes()?), outcome.slice_ref(from.bytes()?));
        published.push(Published { message: Message { topic, channel, payload }, place });
    }
    Ok((outcome.slice_ref(from.rest()), published))
}

/// Puts the numbers of receivers into the replies.
pub fn put_receivers(replies: &[u8], receivers: impl IntoIterator<Item = (usize, u64)>) -> BytesMut {
    let mut out = BytesMut::with_capacity(replies.len());
    let mut done = 0;
    for (place, count) in receivers {
        out.put_slice(&replies[done..place]);
        out.put_slice(format!(":{count}\r\n").as_bytes());
        done = place + NO_RECEIVERS.len();
    }
    out.put_slice(&replies[done..]);
    out
}

const WITH_MESSAGES: u8 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_has_the_bytes_of_the_first_release() {
        let message = |topic| Message { topic, channel: Bytes::from("c"), payload: Bytes::from("hi") };
        let published = vec![
            Published { message: message(Topic::Channel), place: Some(4) },
            Published { message: message(Topic::Shard), place: None },
        ];
        let replies = BytesMut::from("*1\r\n:0\r\n");
        let outcome = encode_outcome(replies.clone(), &published);
        assert_eq!(&outcome[..], b"\x00\x02\x00\x05\x01c\x02hi\x02\x00\x01c\x02hi*1\r\n:0\r\n");
        assert_eq!(decode_outcome(outcome), Ok((replies.freeze(), published)));
        let plain = Bytes::from("+OK\r\n");
        assert_eq!(encode_outcome(BytesMut::from(&plain[..]), &[]), plain);
        assert_eq!(decode_outcome(plain.clone()), Ok((plain, Vec::new())));
        decode_outcome(Bytes::from_static(b"\x00\x01\x00\x01\x05c")).unwrap_err();
    }

    #[test]
    fn receivers_are_put_in_their_places() {
        let replies = put_receivers(b"*3\r\n:0\r\n+OK\r\n:0\r\n", [(4, 12), (13, 0)]);
        assert_eq!(&replies[..], b"*3\r\n:12\r\n+OK\r\n:0\r\n");
    }
}
