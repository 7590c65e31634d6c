//! The bytes of messages: written as text, compared with what was released, and read back.

use std::fmt::{Debug, Write};

use bytes::Bytes;
use quorate_protocol::{Wire, WireError};
use serde::Serialize;
use serde::de::DeserializeOwned;

fn wire() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<65_536>()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes everything");
        text
    })
}

fn unhex(text: &str) -> Bytes {
    let digits = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal");
    (0..text.len()).step_by(2).map(digits).collect()
}

/// Expects the messages to have the bytes in the file of this name: one line for each, with its name, the small section
/// and the raw sections.
pub(crate) fn expect_bytes<M: Wire<Small: Serialize> + Debug>(messages: &[M], file: &str) {
    let mut text = String::new();
    for message in messages {
        let mut raw = Vec::new();
        let small = message.to_parts(&mut raw);
        let small = bincode::serde::encode_to_vec(&small, wire()).expect("it encodes");
        let raw: String = raw.iter().map(|section| format!(" {}", hex(section))).collect();
        let name = format!("{message:?}");
        let name = name.split(['(', ' ']).next().expect("a name").to_owned();
        writeln!(text, "{name} {}{raw}", hex(&small)).expect("a string takes everything");
    }
    if std::env::var_os("QUORATE_PAXOS_WRITE_GOLDEN").is_some() {
        std::fs::write(path(file), &text).expect("the file can be written");
    }
    assert_eq!(text, released(file));
}

/// Expects the lines of the file to be read as the messages.
pub(crate) fn expect_read<M: Wire<Small: DeserializeOwned> + Debug + PartialEq>(messages: Vec<M>, file: &str) {
    let released = released(file);
    let lines = released.lines();
    assert_eq!(lines.clone().count(), messages.len());
    for (line, expected) in lines.zip(messages) {
        let mut fields = line.split(' ').skip(1);
        let small = unhex(fields.next().expect("a small section"));
        let (small, read): (M::Small, usize) = bincode::serde::decode_from_slice(&small, wire()).expect("it decodes");
        assert_eq!(read * 2, line.split(' ').nth(1).expect("a section").len(), "all of it is read");
        let raw: Vec<Bytes> = fields.map(unhex).collect();
        assert_eq!(M::from_parts(small, raw), Ok(expected));
    }
}

/// Expects a message with one section too many, or one too few, to be refused.
pub(crate) fn expect_sections_counted<M: Wire<Small: Clone + Debug> + Debug + PartialEq>(messages: &[M]) {
    for message in messages {
        let mut raw = Vec::new();
        let small = message.to_parts(&mut raw);
        let too_many = [&raw[..], &[Bytes::new()]].concat();
        assert_eq!(M::from_parts(small.clone(), too_many), Err(WireError::Sections), "{small:?}");
        if raw.pop().is_some() {
            assert_eq!(M::from_parts(small.clone(), raw), Err(WireError::Sections), "{small:?}");
        }
    }
}

fn released(file: &str) -> String {
    std::fs::read_to_string(path(file)).expect("the file is there")
}

fn path(file: &str) -> String {
    format!("{}/tests/golden/{file}", env!("CARGO_MANIFEST_DIR"))
}
