//! The id of an entry of a stream.

use std::fmt;

/// The place of an entry in a stream: a time in Unix ms, and a number among the entries of that millisecond.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamId {
    /// Unix ms, or any other number that the client chose.
    pub ms: u64,
    /// The number among the entries of the same time.
    pub seq: u64,
}

/// Bytes of an encoded id.
pub(super) const ID_BYTES: usize = 16;

impl StreamId {
    /// The lowest id, which no entry has.
    pub const MIN: Self = Self { ms: 0, seq: 0 };
    /// The highest id.
    pub const MAX: Self = Self { ms: u64::MAX, seq: u64::MAX };

    /// The id behind this one, if there is one.
    pub fn next(self) -> Option<Self> {
        self.number().checked_add(1).map(Self::from_number)
    }

    /// The id before this one, if there is one.
    pub fn previous(self) -> Option<Self> {
        self.number().checked_sub(1).map(Self::from_number)
    }

    /// Bytes that sort like the id.
    pub(super) fn to_bytes(self) -> [u8; ID_BYTES] {
        self.number().to_be_bytes()
    }

    /// The id at the start of an item, and the rest.
    ///
    /// # Panics
    /// When the item is shorter than an id.
    pub(super) fn split(item: &[u8]) -> (Self, &[u8]) {
        let (id, rest) = item.split_first_chunk().expect("an item begins with an id");
        (Self::from_number(u128::from_be_bytes(*id)), rest)
    }

    fn number(self) -> u128 {
        u128::from(self.ms) << 64 | u128::from(self.seq)
    }

    #[allow(clippy::cast_possible_truncation)]
    fn from_number(number: u128) -> Self {
        Self { ms: (number >> 64) as u64, seq: number as u64 }
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.ms, self.seq)
    }
}
