//! How a message takes to the wire.

use std::fmt;

use bytes::Bytes;

/// A message in two parts: a small one that serde encodes, and raw sections that nothing copies.
///
/// Payloads of the application belong into raw sections: through serde they cost 25 times as much.
/// The enum behind `Small` is versioned by its variants: they are only appended, and a variant's fields never change.
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
    /// What is encoded with serde. The runtime asks for `Serialize` and `DeserializeOwned`.
    type Small;

    /// Gives the small part, and appends the raw sections to `raw`.
    fn to_parts(&self, raw: &mut Vec<Bytes>) -> Self::Small;

    /// The message that came in these parts, which a peer chose.
    ///
    /// # Errors
    /// When the parts do not make a message. Never panics.
    fn from_parts(small: Self::Small, raw: Vec<Bytes>) -> Result<Self, WireError>;
}

/// Why the parts a peer sent are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WireError {
    /// Not the number of raw sections that the message has.
    Sections,
    /// A field or section that no correct peer sends, and which.
    Malformed(&'static str),
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sections => f.write_str("the message has another number of raw sections"),
            Self::Malformed(what) => write!(f, "malformed {what}"),
        }
    }
}

impl std::error::Error for WireError {}
