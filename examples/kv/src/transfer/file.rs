//! Keys from a file that Redis wrote.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use crate::backup::USER;
use crate::rdb::{Content, Limits, Part, RdbFile};

use super::{Summary, TransferError};

/// What a file has for an import.
pub(super) enum Item {
    Library(Vec<u8>),
    /// A user of a backup, as a line of `ACL LIST`.
    User(Vec<u8>),
    Key {
        key: Vec<u8>,
        deadline: Option<u64>,
        content: Content,
    },
}

/// Reads a whole file, and hands over the libraries and the keys of one database. What is passed over is noted.
pub(super) fn read(
    path: &Path,
    database: u64,
    summary: &mut Summary,
    mut take: impl FnMut(Item, &mut Summary) -> Result<(), TransferError>,
) -> Result<(), TransferError> {
    let failed = |error| TransferError::File { path: path.display().to_string(), error };
    let broken = |error| TransferError::Rdb { path: path.display().to_string(), error };
    let file = File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    let mut file = RdbFile::open(BufReader::with_capacity(BUFFER_BYTES, file), length, LIMITS).map_err(broken)?;
    let mut present = 0;
    while let Some(part) = file.next_part().map_err(broken)? {
        match part {
            Part::Database(number) => present = number,
            Part::Function(code) => take(Item::Library(code), summary)?,
            Part::Key { key, deadline, content } if present == database => {
                take(Item::Key { key, deadline, content }, summary)?;
            }
            Part::Key { .. } => *summary.other_databases.entry(present).or_default() += 1,
            Part::Module(name) => summary.refuse(name.as_bytes(), "what a module has besides keys"),
            Part::About { name, value } if name == USER.as_bytes() => take(Item::User(value), summary)?,
            Part::About { .. } | Part::Keys(_) => {}
        }
    }
    Ok(())
}

/// A string of Redis has at most 512 MiB. A value that does not fit into memory ends the import.
pub(super) const LIMITS: Limits = Limits { text_bytes_max: 512 * 1024 * 1024, value_bytes_max: 4 * 1024 * 1024 * 1024 };
const BUFFER_BYTES: usize = 256 * 1024;
