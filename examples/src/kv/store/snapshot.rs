//! A store at one moment, and its bytes.
//!
//! Layout: `QKVS`, a version byte; then for each record 1, deadline as u64 (0: none), lengths of key and value as u32,
//! key and value; then 0, the number of records and the digest as u64. Numbers are little-endian. Records have no
//! particular order, so two snapshots of equal stores may differ in their bytes, but restore equal stores.

use std::io::{self, BufReader, BufWriter, Read, Write};

use super::record::{Record, VALUE_BYTES_MAX};
use super::table::Table;

/// The version that this program writes, and the newest it reads.
const SNAPSHOT_VERSION: u8 = 1;

/// A store at one moment: cheap to make, and `Send`, so that it is written and dropped off the loop.
#[derive(Debug)]
pub struct Snapshot {
    table: Table,
    digest: u64,
}

/// Reason why bytes were not restored. No store was built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The bytes are not a snapshot of a store.
    #[error("the bytes are not a snapshot of a key-value store")]
    Foreign,
    /// A newer program wrote them.
    #[error("snapshot version {0} is not known to this program")]
    Version(u8),
    /// A record is too long, or of an unknown kind.
    #[error("a record of the snapshot is malformed")]
    Malformed,
    /// The records do not match the number and digest at the end of the snapshot.
    #[error("the snapshot's records do not match its digest")]
    Mismatch,
    /// The bytes could not be read, or end too early.
    #[error("the snapshot could not be read: {0}")]
    Io(#[from] io::Error),
}

impl Snapshot {
    pub(super) fn new(table: Table, digest: u64) -> Self {
        Self { table, digest }
    }

    /// Number of keys in the snapshot, including expired ones that were not removed yet.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Returns true if the snapshot holds no keys.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The keys that exist at `log_time`, in no particular order.
    pub fn keys(&self, log_time: u64) -> impl Iterator<Item = &[u8]> {
        self.table.iter().filter(move |record| record.lives_at(log_time)).map(Record::key)
    }

    /// Writes the snapshot and returns the number of bytes written.
    ///
    /// # Errors
    /// Errors of the writer.
    pub fn write(&self, writer: &mut dyn Write) -> io::Result<u64> {
        let mut writer = BufWriter::with_capacity(BUFFER_BYTES, writer);
        let mut written = HEADER_BYTES + TRAILER_BYTES;
        writer.write_all(MAGIC)?;
        writer.write_all(&[SNAPSHOT_VERSION])?;
        for record in self.table.iter() {
            writer.write_all(&[RECORD])?;
            writer.write_all(&record.deadline().unwrap_or(0).to_le_bytes())?;
            writer.write_all(&length(record.key()))?;
            writer.write_all(&length(record.value()))?;
            writer.write_all(record.key())?;
            writer.write_all(record.value())?;
            written += RECORD_HEADER_BYTES + record.weight();
        }
        writer.write_all(&[END])?;
        writer.write_all(&(self.len() as u64).to_le_bytes())?;
        writer.write_all(&self.digest.to_le_bytes())?;
        writer.flush()?;
        Ok(written)
    }
}

/// The number of records and the digest at the end of a snapshot.
pub(super) struct Announced {
    pub(super) records: u64,
    pub(super) digest: u64,
}

/// Reads a snapshot record by record, and holds one record at a time.
pub(super) fn read(
    reader: &mut dyn Read,
    mut record: impl FnMut(&[u8], &[u8], Option<u64>),
) -> Result<Announced, RestoreError> {
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, reader);
    if array(&mut reader)? != *MAGIC {
        return Err(RestoreError::Foreign);
    }
    let [version] = array(&mut reader)?;
    if version != SNAPSHOT_VERSION {
        return Err(RestoreError::Version(version));
    }
    let mut bytes = Vec::new();
    loop {
        match array(&mut reader)? {
            [RECORD] => {}
            [END] => break,
            _ => return Err(RestoreError::Malformed),
        }
        let deadline = u64::from_le_bytes(array(&mut reader)?);
        let key = u32::from_le_bytes(array(&mut reader)?) as usize;
        let value = u32::from_le_bytes(array(&mut reader)?) as usize;
        if key > VALUE_BYTES_MAX || value > VALUE_BYTES_MAX {
            return Err(RestoreError::Malformed);
        }
        bytes.resize(key + value, 0);
        reader.read_exact(&mut bytes)?;
        record(&bytes[..key], &bytes[key..], (deadline != 0).then_some(deadline));
    }
    let announced =
        Announced { records: u64::from_le_bytes(array(&mut reader)?), digest: u64::from_le_bytes(array(&mut reader)?) };
    match reader.read(&mut [0])? {
        0 => Ok(announced),
        _ => Err(RestoreError::Malformed),
    }
}

fn array<const N: usize>(reader: &mut impl Read) -> io::Result<[u8; N]> {
    let mut array = [0; N];
    reader.read_exact(&mut array)?;
    Ok(array)
}

fn length(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).expect("a key or value is bounded").to_le_bytes()
}

const MAGIC: &[u8; 4] = b"QKVS";
const RECORD: u8 = 1;
const END: u8 = 0;
const HEADER_BYTES: u64 = 5;
const RECORD_HEADER_BYTES: u64 = 17;
const TRAILER_BYTES: u64 = 17;
const BUFFER_BYTES: usize = 64 * 1024;
