use bytes::Bytes;
use proptest::prelude::*;
use quorate_protocol::{Entry, EntryError, EntryKind, LogTime};

use crate::golden::entry;

#[test]
fn says_which_version_kind_or_flag_it_does_not_know() {
    assert_eq!(decode_with(0, 2), Err(EntryError::Version(2)));
    assert_eq!(decode_with(1, 0), Err(EntryError::Kind(0)));
    assert_eq!(decode_with(1, 8), Err(EntryError::Kind(8)));
    assert_eq!(decode_with(2, 2), Err(EntryError::Flags(2)));
}

#[test]
fn refuses_short_and_long_bytes_and_leaves_them_whole() {
    let bytes = encoded();
    for length in 0..bytes.len() {
        let mut short = bytes.slice(..length);
        assert!(matches!(Entry::decode_front(&mut short), Err(EntryError::Short { .. })), "{length} bytes");
        assert_eq!(short.len(), length);
    }
    let long = Bytes::from([&bytes[..], b"x"].concat());
    assert_eq!(Entry::decode(long), Err(EntryError::Trailing { bytes: 1 }));
}

#[test]
fn a_payload_is_a_slice_not_a_copy() {
    let bytes = encoded();
    let payload = Entry::decode(bytes.clone()).expect("whole").payload;
    assert!(bytes.as_ptr_range().contains(&payload.as_ptr()));
}

#[test]
fn an_internal_entry_is_nobodys() {
    let entry = Entry::internal(EntryKind::NoOp, LogTime(3), Bytes::new());
    assert_eq!((entry.header.id.sequence, entry.header.checksum, entry.encoded_len()), (0, 0, 56));
}

#[test]
fn the_kind_of_an_encoded_entry_is_known_without_decoding_it() {
    for code in 0..=8 {
        let mut bytes = encoded().to_vec();
        bytes[1] = code;
        let decoded = Entry::decode(Bytes::from(bytes.clone())).map(|entry| entry.header.kind);
        assert_eq!(EntryKind::peek(&bytes), decoded.ok(), "{code}");
    }
    assert_eq!(EntryKind::peek(&[1]), None);
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut front = Bytes::from(bytes.clone());
        if let Ok(entry) = Entry::decode_front(&mut front) {
            prop_assert_eq!(entry.encoded_len() + front.len(), bytes.len());
        } else {
            prop_assert_eq!(front.len(), bytes.len());
        }
    }
}

fn encoded() -> Bytes {
    let mut bytes = Vec::new();
    entry().encode(&mut bytes);
    Bytes::from(bytes)
}

fn decode_with(at: usize, value: u8) -> Result<Entry, EntryError> {
    let mut bytes = encoded().to_vec();
    bytes[at] = value;
    Entry::decode(Bytes::from(bytes))
}
