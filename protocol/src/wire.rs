//! Encoding of messages for the wire.

use std::fmt;

use bytes::Bytes;

/// A message in two parts: a small one that serde encodes, and raw sections that are not copied.
///
/// Payloads of the application belong into raw sections: encoding them with serde takes 25 times as long. The enum
/// behind `Small` is versioned by its variants: new ones are only appended, and the fields of a variant never change.
///
/// ```
/// use bytes::Bytes;
/// use quorate_protocol::{Wire, WireError};
///
/// #[derive(Clone, Debug)]
/// struct Put { key: u64, value: Bytes }
///
/// impl Wire for Put {
///     type Small = u64;
///
///     fn to_parts(&self, raw: &mut Vec<Bytes>) -> u64 {
///         raw.push(self.value.clone());
///         self.key
///     }
///
///     fn from_parts(key: u64, raw: Vec<Bytes>) -> Result<Self, WireError> {
///         let [value] = raw.try_into().map_err(|_| WireError::Sections)?;
///         Ok(Self { key, value })
///     }
/// }
/// ```
pub trait Wire: Sized {
    /// The part that serde encodes. The runtime requires `Serialize` and `DeserializeOwned`.
    type Small;

    /// Returns the small part, and appends the raw sections to `raw`.
    fn to_parts(&self, raw: &mut Vec<Bytes>) -> Self::Small;

    /// Makes a message from its parts, which a peer chose.
    ///
    /// # Errors
    /// When the parts do not make a message. This function never panics.
    fn from_parts(small: Self::Small, raw: Vec<Bytes>) -> Result<Self, WireError>;
}

/// Reason why the parts that a peer sent are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WireError {
    /// The number of raw sections is not that of the message.
    Sections,
    /// A field or section holds a value that no correct peer sends; the text names it.
    Malformed(&'static str),
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sections => f.write_str("the message has a wrong number of raw sections"),
            Self::Malformed(what) => write!(f, "malformed {what}"),
        }
    }
}

impl std::error::Error for WireError {}
