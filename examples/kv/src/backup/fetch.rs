//! Takes a backup from a node into a file.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;
use std::time::Duration;

use crate::address::Address;
use crate::credentials::Credentials;
use crate::new_file::NewFile;
use crate::rdb::{Limits, Part, RdbError, RdbFile};

/// The content of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// Number of keys.
    pub keys: u64,
    /// Length of the file.
    pub bytes: u64,
}

/// Reason why there is no backup. The file was not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The node was not reached, the connection failed, or the file could not be written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The node gives no backup now.
    #[error("{0}")]
    Refused(String),
    /// What came from the node is no whole backup.
    #[error("what came is no whole backup: {0}")]
    Damaged(#[from] RdbError),
    /// There is a file of this name.
    #[error("the file exists already")]
    Exists,
}

/// Takes a backup from a node, and reads it once from its beginning to its end. The file appears when all of it is
/// durable. `progress` is told how many bytes have come.
///
/// # Errors
/// When there is no whole backup.
pub fn fetch(
    credentials: &Credentials,
    http: &Address,
    out: &Path,
    mut progress: impl FnMut(u64),
) -> Result<Content, BackupError> {
    let named = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => BackupError::Exists,
        _ => BackupError::Io(error),
    };
    let new = NewFile::create(out).map_err(named)?;
    let mut body = request(credentials, http)?;
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut bytes = 0;
    loop {
        let length = body.read(&mut chunk)?;
        if length == 0 {
            break;
        }
        new.file().write_all(&chunk[..length])?;
        bytes += length as u64;
        progress(bytes);
    }
    let keys = count(&new.reopen()?, bytes)?;
    new.publish().map_err(named)?;
    Ok(Content { keys, bytes })
}

/// The body of the node's answer. With HTTP 1.0 it comes as it is, and ends with the connection; the file itself tells
/// whether it is whole.
fn request(credentials: &Credentials, http: &Address) -> Result<impl Read, BackupError> {
    let mut stream = credentials.stream(http, PATIENCE, PATIENCE)?;
    write!(stream, "GET /backup HTTP/1.0\r\nHost: {http}\r\n{}\r\n", credentials.header_line())?;
    let mut answer = BufReader::new(stream);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        answer.read_exact(&mut byte)?;
        head.push(byte[0]);
        if head.len() > HEAD_BYTES_MAX {
            return Err(BackupError::Refused("something else answers".to_owned()));
        }
    }
    let is_good = head.starts_with(b"HTTP/1.0 200 ") || head.starts_with(b"HTTP/1.1 200 ");
    if is_good {
        return Ok(answer);
    }
    let mut reason = String::new();
    answer.take(HEAD_BYTES_MAX as u64).read_to_string(&mut reason)?;
    Err(BackupError::Refused(reason.trim_end().to_owned()))
}

/// Reads a backup to its end, and returns the number of its keys.
fn count(file: &File, bytes: u64) -> Result<u64, RdbError> {
    let mut backup = RdbFile::open(BufReader::new(file), bytes, ANY)?;
    let mut keys = 0;
    while let Some(part) = backup.next_part()? {
        keys += u64::from(matches!(part, Part::Key { .. }));
    }
    Ok(keys)
}

/// A node sends what it has.
const ANY: Limits = Limits { text_bytes_max: u64::MAX, value_bytes_max: u64::MAX };
/// Longer than a node takes to find a moment for a backup.
const PATIENCE: Duration = Duration::from_secs(30);
const HEAD_BYTES_MAX: usize = 8 * 1024;
const CHUNK_BYTES: usize = 64 * 1024;
