//! The key of a collection.

use std::sync::Arc;

/// A key, of which a short one takes no allocation. Cloning costs little.
#[derive(Debug, Clone)]
pub(super) enum Key {
    /// So many of these bytes.
    Short(u8, [u8; SHORT_BYTES_MAX]),
    /// A longer one.
    Long(Arc<[u8]>),
}

impl Key {
    pub(super) fn new(key: &[u8]) -> Self {
        let mut short = [0; SHORT_BYTES_MAX];
        match (u8::try_from(key.len()), short.get_mut(..key.len())) {
            (Ok(length), Some(start)) => {
                start.copy_from_slice(key);
                Self::Short(length, short)
            }
            _ => Self::Long(Arc::from(key)),
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Short(length, bytes) => &bytes[..usize::from(*length)],
            Self::Long(bytes) => bytes,
        }
    }
}

/// Keys up to this length make a `Key` no larger than longer ones do.
const SHORT_BYTES_MAX: usize = 22;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_any_length_are_kept() {
        for length in [0, 1, 21, 22, 23, 300] {
            let key: Vec<u8> = (0..length).map(|place: usize| place.to_le_bytes()[0]).collect();
            assert_eq!(Key::new(&key).bytes(), key);
            assert_eq!(matches!(Key::new(&key), Key::Short(..)), length <= 22);
        }
        assert_eq!(size_of::<Key>(), 24);
    }
}
