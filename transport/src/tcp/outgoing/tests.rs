use std::io::IoSlice;

use bytes::{Bytes, BytesMut};
use proptest::prelude::{any, prop, prop_oneof, proptest};
use quorate_protocol::{GroupId, Incarnation};

use super::{COPIED_BYTES_MAX, Outgoing};
use crate::frame::{ChannelId, Frame};
use crate::wire;

proptest! {
    /// Whatever the layout of the frames, and wherever writes stop, the bytes leave once and in order.
    #[test]
    fn gives_the_bytes_in_order(
        sections in prop::collection::vec(prop::collection::vec(length(), 0..4), 1..8),
        writes in prop::collection::vec(any::<prop::sample::Index>(), 1..60),
    ) {
        let own = Incarnation(9);
        let (mut outgoing, mut expected, mut written) = (Outgoing::default(), BytesMut::new(), Vec::new());
        let mut writes = writes.into_iter().cycle();
        for (lengths, group) in sections.into_iter().zip(0..) {
            let raw = lengths.into_iter().zip(0..).map(|(length, fill)| Bytes::from(vec![fill; length])).collect();
            let frame = Frame::new(ChannelId(20), GroupId(group), Bytes::from_static(b"small"), raw).expect("it fits");
            outgoing.put_frame(&frame, own);
            wire::put_head(&frame, own, &mut expected);
            expected.extend_from_slice(b"small");
            frame.raw().iter().for_each(|section| expected.extend_from_slice(section));
            write(&mut outgoing, &mut written, writes.next().expect("it cycles"));
            assert_eq!(outgoing.bytes(), expected.len() - written.len());
        }
        while outgoing.bytes() > 0 {
            write(&mut outgoing, &mut written, writes.next().expect("it cycles"));
        }
        assert_eq!(written, expected);
    }
}

/// Writes like a socket that accepts some of the bytes in three slices.
fn write(outgoing: &mut Outgoing, written: &mut Vec<u8>, stop: prop::sample::Index) {
    let mut slices = [IoSlice::new(&[]); 3];
    let filled = outgoing.fill(&mut slices);
    let offered: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
    if !offered.is_empty() {
        let taken = 1 + stop.index(offered.len());
        written.extend_from_slice(&offered[..taken]);
        outgoing.advance(taken);
    }
}

fn length() -> impl proptest::strategy::Strategy<Value = usize> {
    prop_oneof![0..50usize, COPIED_BYTES_MAX - 2..COPIED_BYTES_MAX + 3, 0..3 * COPIED_BYTES_MAX]
}
