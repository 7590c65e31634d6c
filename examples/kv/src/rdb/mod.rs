//! Redis's form of data: the files that `SAVE` writes, and the values of `DUMP`, `RESTORE` and `FUNCTION DUMP`.
//!
//! [`RdbFile`] reads a file part by part, and [`RdbWriter`] writes one. [`dump`] and [`load`] are one value as bytes of
//! their own, [`dump_functions`] and [`load_functions`] the libraries of functions. All kinds of values of Redis 2.8 to
//! 7.x are read, in every form that Redis gives them; written are the forms that each Redis since 5.0 reads.
//!
//! Bytes that are read may come from anyone. A length is compared with the bytes that are there before memory is taken
//! for it, nothing is nested, and an error names the offset.

mod crc64;
mod error;
mod file;
mod kind;
mod lzf;
mod packed;
mod payload;
mod read;
mod source;
mod stream;
#[cfg(test)]
mod tests;
mod write;

pub use error::RdbError;
pub use file::{Part, RdbFile, RdbWriter};
pub use payload::{NO_FUNCTION, dump, dump_functions, dump_value, load, load_functions, value_of_dump, with_checksum};
pub use source::Limits;

use super::store::Value;

/// The value of a key.
#[derive(Debug, Clone)]
pub enum Content {
    /// A string.
    Text(Vec<u8>),
    /// A value of several items.
    Items(Value),
    /// A value that this program has no kind for, in words. It was passed over.
    Unknown(String),
}

/// The version of the form that is written: that of Redis 7.0.
pub const VERSION_WRITTEN: u16 = 10;
/// The newest version that is read: that of Redis 7.4.
pub const VERSION_READ_MAX: u16 = 12;
