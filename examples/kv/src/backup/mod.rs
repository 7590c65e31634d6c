//! Backups: the store of every shard at one moment, as an RDB file that any Redis loads.

use std::io::{self, Write};

use super::command::{REDIS_VERSION, user_lines};
use super::rdb::RdbWriter;
use super::store::{Cut, Libraries};

mod fetch;
mod stream;

pub use fetch::{BackupError, Content, fetch};
pub use stream::{Written, written};

/// The name under which a backup has each user, as a line of `ACL LIST`. Redis passes it over.
pub const USER: &str = "kv-acl-user";

/// Writes the parts of a cut as one RDB file.
///
/// # Errors
/// Errors of the writer.
pub fn write(cuts: &[Cut], cluster: &str, out: &mut dyn Write) -> io::Result<()> {
    let mut file = RdbWriter::new(out, &[("redis-ver", REDIS_VERSION), ("redis-bits", "64"), ("kv-cluster", cluster)])?;
    // They are part of the data of the first shard.
    for line in cuts.first().into_iter().flat_map(|cut| user_lines(cut.snapshot.users())) {
        file.about(USER, &line)?;
    }
    // Every shard has all libraries.
    let libraries = cuts.first().map(|cut| cut.snapshot.libraries());
    for (_, library) in libraries.into_iter().flat_map(Libraries::iter) {
        file.function(&library.code)?;
    }
    file.database(0, cuts.iter().map(|cut| cut.snapshot.len() as u64).sum())?;
    for cut in cuts {
        for record in cut.snapshot.records(cut.log_time) {
            file.record(record)?;
        }
    }
    file.finish()?.flush()
}
