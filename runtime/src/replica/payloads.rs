//! Payloads that are gathered into one frame.

use bytes::{Bytes, BytesMut};

/// Payloads in a row. A single one is not copied.
#[derive(Debug, Default)]
pub(super) struct Payloads {
    /// Number of payloads, empty ones among them.
    count: usize,
    bytes: Gathered,
}

#[derive(Debug, Default)]
enum Gathered {
    #[default]
    None,
    One(Bytes),
    Many(BytesMut),
}

impl Payloads {
    pub(super) fn push(&mut self, payload: Bytes) {
        self.count += 1;
        if payload.is_empty() {
            return;
        }
        match &mut self.bytes {
            Gathered::None => self.bytes = Gathered::One(payload),
            Gathered::One(first) => {
                let mut many = BytesMut::with_capacity((first.len() + payload.len()) * 2);
                many.extend_from_slice(first);
                many.extend_from_slice(&payload);
                self.bytes = Gathered::Many(many);
            }
            Gathered::Many(many) => many.extend_from_slice(&payload),
        }
    }

    /// Returns true if the next payload belongs into another frame.
    pub(super) fn is_full(&self) -> bool {
        let bytes = match &self.bytes {
            Gathered::None => 0,
            Gathered::One(one) => one.len(),
            Gathered::Many(many) => many.len(),
        };
        bytes >= FRAME_BYTES || self.count >= FRAME_COUNT
    }

    pub(super) fn into_bytes(self) -> Bytes {
        match self.bytes {
            Gathered::None => Bytes::new(),
            Gathered::One(one) => one,
            Gathered::Many(many) => many.freeze(),
        }
    }
}

/// A frame accepts no more payloads once they have this many bytes.
const FRAME_BYTES: usize = 256 << 10;

/// Maximum number of proposals or answers in a frame.
const FRAME_COUNT: usize = 4096;
