//! What a node asks the other nodes about subscriptions, and their answers.
//!
//! Layout: a version byte, a kind byte, then fields. Lengths and counts are LEB128, other numbers little-endian. Names
//! and texts are lengths and bytes.

use std::collections::BTreeSet;

use bytes::{BufMut, Bytes, BytesMut};

use crate::entry::DecodeError;
use crate::entry::codec::{Decoder, put_bytes, put_length};

use super::{Message, Topic};

/// A question to every node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Hand these messages to the node's clients, and count the copies of each.
    Publish(Vec<Message>),
    /// The names of a kind that have subscribers: all, or those that match.
    Names {
        /// The kind.
        topic: Topic,
        /// The pattern.
        pattern: Option<Bytes>,
    },
    /// The number of subscribers of each of these names.
    Counts {
        /// The kind of the names.
        topic: Topic,
        /// The names.
        names: Vec<Bytes>,
    },
}

/// One node's answer, or that of several nodes together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A number for each message or name.
    Counts(Vec<u64>),
    /// Names.
    Names(BTreeSet<Bytes>),
}

impl Request {
    /// Bytes for another node.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u8(VERSION);
        match self {
            Self::Publish(messages) => {
                out.put_u8(PUBLISH);
                put_length(&mut out, messages.len());
                for Message { topic, channel, payload } in messages {
                    out.put_u8(*topic as u8);
                    put_bytes(&mut out, channel);
                    put_bytes(&mut out, payload);
                }
            }
            Self::Names { topic, pattern } => {
                out.put_u8(NAMES);
                out.put_u8(*topic as u8);
                out.put_u8(u8::from(pattern.is_some()));
                put_bytes(&mut out, pattern.as_deref().unwrap_or_default());
            }
            Self::Counts { topic, names } => {
                out.put_u8(COUNTS);
                out.put_u8(*topic as u8);
                put_length(&mut out, names.len());
                for name in names {
                    put_bytes(&mut out, name);
                }
            }
        }
        out.freeze()
    }

    /// The request of these bytes, which another node sent.
    ///
    /// # Errors
    /// When they are no request, or one of a newer program.
    pub fn decode(bytes: &Bytes) -> Result<Self, DecodeError> {
        let mut from = open(bytes)?;
        let request = match from.byte()? {
            PUBLISH => {
                let message = |from: &mut Decoder<'_>| {
                    let topic = topic(from)?;
                    if topic == Topic::Pattern {
                        return Err(DecodeError::Kind(topic as u8));
                    }
                    let (channel, payload) = (from.bytes()?, from.bytes()?);
                    Ok(Message { topic, channel: bytes.slice_ref(channel), payload: bytes.slice_ref(payload) })
                };
                Self::Publish((0..from.count()?).map(|_| message(&mut from)).collect::<Result<_, _>>()?)
            }
            NAMES => {
                let topic = topic(&mut from)?;
                let is_some = from.byte()? != 0;
                let pattern = from.bytes()?;
                Self::Names { topic, pattern: is_some.then(|| bytes.slice_ref(pattern)) }
            }
            COUNTS => {
                let topic = topic(&mut from)?;
                let name = |from: &mut Decoder<'_>| Ok(bytes.slice_ref(from.bytes()?));
                let names = (0..from.count()?).map(|_| name(&mut from)).collect::<Result<_, DecodeError>>()?;
                Self::Counts { topic, names }
            }
            kind => return Err(DecodeError::Kind(kind)),
        };
        close(&from)?;
        Ok(request)
    }
}

impl Answer {
    /// Bytes for the node that asked.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u8(VERSION);
        match self {
            Self::Counts(counts) => {
                out.put_u8(COUNTS);
                for count in counts {
                    out.put_u64_le(*count);
                }
            }
            Self::Names(names) => {
                out.put_u8(NAMES);
                for name in names {
                    put_bytes(&mut out, name);
                }
            }
        }
        out.freeze()
    }

    /// The answer of these bytes, which another node sent.
    ///
    /// # Errors
    /// When they are no answer, or one of a newer program.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut from = open(bytes)?;
        match from.byte()? {
            COUNTS => {
                let mut counts = Vec::new();
                while !from.is_empty() {
                    counts.push(from.u64()?);
                }
                Ok(Self::Counts(counts))
            }
            NAMES => {
                let mut names = BTreeSet::new();
                while !from.is_empty() {
                    names.insert(Bytes::copy_from_slice(from.bytes()?));
                }
                Ok(Self::Names(names))
            }
            kind => Err(DecodeError::Kind(kind)),
        }
    }

    /// Adds another node's answer to the same question. An answer of another shape, which no node of this cluster
    /// gives, adds nothing.
    pub fn add(&mut self, other: Self) {
        match (self, other) {
            (Self::Counts(counts), Self::Counts(others)) => {
                for (count, other) in counts.iter_mut().zip(others) {
                    *count = count.saturating_add(other);
                }
            }
            (Self::Names(names), Self::Names(others)) => names.extend(others),
            _ => {}
        }
    }
}

fn open(bytes: &[u8]) -> Result<Decoder<'_>, DecodeError> {
    let mut from = Decoder::new(bytes);
    match from.byte()? {
        VERSION => Ok(from),
        version => Err(DecodeError::Version(version)),
    }
}

fn close(from: &Decoder<'_>) -> Result<(), DecodeError> {
    if from.is_empty() { Ok(()) } else { Err(DecodeError::Length) }
}

fn topic(from: &mut Decoder<'_>) -> Result<Topic, DecodeError> {
    let byte = from.byte()?;
    Topic::ALL.into_iter().find(|topic| *topic as u8 == byte).ok_or(DecodeError::Kind(byte))
}

const VERSION: u8 = 1;
const PUBLISH: u8 = 1;
const NAMES: u8 = 2;
const COUNTS: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[test]
    fn what_nodes_ask_has_the_bytes_of_the_first_release() {
        let message = |topic| Message { topic, channel: bytes("c"), payload: bytes("hi") };
        let requests = [
            (Request::Publish(vec![message(Topic::Channel), message(Topic::Shard)]), "010102000163026869020163026869"),
            (Request::Names { topic: Topic::Pattern, pattern: None }, "0102010000"),
            (Request::Names { topic: Topic::Channel, pattern: Some(bytes("a*")) }, "0102000102612a"),
            (Request::Counts { topic: Topic::Shard, names: vec![bytes("a"), bytes("")] }, "01030202016100"),
        ];
        for (request, golden) in requests {
            let encoded = request.encode();
            assert_eq!(hex(&encoded), golden);
            assert_eq!(Request::decode(&encoded), Ok(request));
            for length in 0..encoded.len() {
                Request::decode(&encoded.slice(..length)).unwrap_err();
            }
            Request::decode(&Bytes::from([&encoded[..], b"x"].concat())).unwrap_err();
        }
        let answers = [
            (Answer::Counts(vec![2, 0]), "010302000000000000000000000000000000"),
            (Answer::Names([bytes("a"), bytes("bc")].into()), "01020161026263"),
        ];
        for (answer, golden) in answers {
            assert_eq!(hex(&answer.encode()), golden);
            assert_eq!(Answer::decode(&answer.encode()), Ok(answer));
        }
    }

    #[test]
    fn nothing_strange_is_read() {
        let pattern = Bytes::from_static(b"\x01\x01\x01\x01\x01c\x02hi");
        assert_eq!(Request::decode(&pattern), Err(DecodeError::Kind(1)));
        assert_eq!(Request::decode(&Bytes::from_static(b"\x02\x01\x00")), Err(DecodeError::Version(2)));
        assert_eq!(Request::decode(&Bytes::from_static(b"\x01\x09\x00")), Err(DecodeError::Kind(9)));
        assert_eq!(Answer::decode(b"\x01\x09"), Err(DecodeError::Kind(9)));
        assert_eq!(Answer::decode(b"\x01\x03\x01"), Err(DecodeError::Short));
    }

    #[test]
    fn answers_of_nodes_are_added() {
        let mut counts = Answer::Counts(vec![1, 2]);
        counts.add(Answer::Counts(vec![10, 20]));
        counts.add(Answer::Names(BTreeSet::new()));
        assert_eq!(counts, Answer::Counts(vec![11, 22]));
        let mut names = Answer::Names([bytes("a"), bytes("b")].into());
        names.add(Answer::Names([bytes("b"), bytes("c")].into()));
        assert_eq!(names, Answer::Names([bytes("a"), bytes("b"), bytes("c")].into()));
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
