//! Keys that come from Redis or go to it: `kv import` and `kv export`.
//!
//! An import reads a file or a running Redis, and writes as a client of the cluster's nodes does. Each key takes the
//! place of the one before, so an import that was interrupted is repeated without harm. An export reads the cluster key
//! by key while others go on writing: each key is of one moment, the file is not.

mod command;
mod file;
mod source;
mod target;
mod value;

pub use command::{ServerUrl, UrlError, export, import_file, import_from, restore};

use std::collections::BTreeMap;
use std::{fmt, io};

use super::rdb::RdbError;

/// Progress of an import or export.
#[derive(Debug, Clone, Copy, Default)]
pub struct Progress {
    /// Keys that were taken.
    pub keys: u64,
    /// Bytes of these keys in Redis's form.
    pub bytes: u64,
    /// Number of keys that there are, as far as it is known.
    pub keys_expected: u64,
}

/// What an import or export did.
#[derive(Debug, Default)]
pub struct Summary {
    /// What was taken.
    pub progress: Progress,
    /// Libraries of functions that were taken.
    pub libraries: u64,
    /// Users that were made.
    pub users: u64,
    /// Keys whose deadline had passed.
    pub expired: u64,
    /// Number of keys in other databases, which were passed over.
    pub other_databases: BTreeMap<u64, u64>,
    /// What was not taken, and why. Of many, the first [`NAMED_MAX`].
    pub refused: Vec<(String, String)>,
    /// Number of keys, libraries and parts that were not taken, besides those of other databases.
    pub refused_count: u64,
}

/// Number of refused keys that are named.
pub const NAMED_MAX: usize = 100;

impl Summary {
    /// Notes that something was not taken.
    fn refuse(&mut self, name: &[u8], why: impl Into<String>) {
        self.refused_count += 1;
        if self.refused.len() < NAMED_MAX {
            self.refused.push((String::from_utf8_lossy(name).into_owned(), why.into()));
        }
    }

    /// Returns true if all was taken that was to be taken.
    pub fn is_whole(&self) -> bool {
        self.refused_count == 0 && self.other_databases.is_empty()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Progress { keys, bytes, .. } = self.progress;
        write!(
            f,
            "{keys} keys taken ({bytes} bytes), {} libraries, {} users, {} keys had expired",
            self.libraries, self.users, self.expired
        )?;
        for (database, keys) in &self.other_databases {
            write!(f, "\nnot taken: {keys} keys of database {database}; --db {database} takes them")?;
        }
        for (name, why) in &self.refused {
            write!(f, "\nnot taken: {name:?}: {why}")?;
        }
        let unnamed = self.refused_count - self.refused.len() as u64;
        if unnamed > 0 { write!(f, "\nnot taken: {unnamed} more") } else { Ok(()) }
    }
}

/// Reason why an import or export ended early. Keys that were taken before stay.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// The file cannot be read or written.
    #[error("{path}: {error}")]
    File {
        /// The file.
        path: String,
        /// The reason.
        error: io::Error,
    },
    /// The file is not as Redis writes it.
    #[error("{path}: {error}")]
    Rdb {
        /// The file.
        path: String,
        /// The reason.
        error: RdbError,
    },
    /// The server from which keys are read does not answer.
    #[error("{server}: {error}")]
    Source {
        /// The server.
        server: String,
        /// The reason.
        error: io::Error,
    },
    /// The server from which keys are read refuses a command.
    #[error("{server} answers {command}: {error}")]
    Refused {
        /// The server.
        server: String,
        /// The name of the command.
        command: String,
        /// Its answer.
        error: String,
    },
    /// The cluster that is to be restored has keys already. Nothing was written.
    #[error("the cluster has {0} keys already: restore into an empty one, or use `kv import`")]
    NotEmpty(i64),
    /// No node of the cluster took the keys for a while.
    #[error("no node takes keys any more: {0}. What was taken stays; repeat this once the cluster is well")]
    Cluster(String),
}
