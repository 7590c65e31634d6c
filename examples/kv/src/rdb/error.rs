//! Reasons why bytes are not read.

use std::io;

/// Reason why bytes in Redis's form are not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RdbError {
    /// They could not be read.
    #[error("at byte {offset}: {error}")]
    Io {
        /// The number of bytes before.
        offset: u64,
        /// The reader's error.
        error: io::Error,
    },
    /// They end too early.
    #[error("at byte {offset}: {wanted} more bytes are announced than there are")]
    Truncated {
        /// The number of bytes before.
        offset: u64,
        /// Bytes that are missing.
        wanted: u64,
    },
    /// They do not begin as a file of Redis does.
    #[error("this is no RDB file: it does not begin with REDIS and four digits")]
    Foreign,
    /// They are too few to be a value with its checksum.
    #[error("{0} bytes are too few for a value and its checksum")]
    TooShort(u64),
    /// A newer Redis wrote them.
    #[error("RDB version {0} is not known to this program")]
    Version(u16),
    /// They were changed afterwards.
    #[error("the checksum is {found:016x}, but the bytes have {computed:016x}")]
    Checksum {
        /// What stands at the end.
        found: u64,
        /// What it should be.
        computed: u64,
    },
    /// A byte that tells what follows is not known, so the rest cannot be read.
    #[error("at byte {offset}: {what} {code} is not known to this program")]
    Unknown {
        /// The number of bytes before.
        offset: u64,
        /// What the byte stands for.
        what: &'static str,
        /// The byte.
        code: u8,
    },
    /// Something is not as Redis writes it.
    #[error("at byte {offset}: {what} is malformed")]
    Malformed {
        /// The number of bytes before, or before the string in which it is.
        offset: u64,
        /// What is malformed.
        what: &'static str,
    },
    /// A string or a value is longer than the reader allows.
    #[error("at byte {offset}: {bytes} bytes are more than the {max} that are read")]
    TooLong {
        /// The number of bytes before.
        offset: u64,
        /// Its bytes.
        bytes: u64,
        /// Maximum bytes.
        max: u64,
    },
}
