//! The settings of a log.

use std::path::PathBuf;

use crate::format::ALIGNMENT_BYTES;

/// Settings of a log. The fields are public and have usable defaults. [`LogSettings::check`] finds values that do not
/// fit together, and [`Wal::open`](crate::Wal::open) calls it.
///
/// ```
/// use quorate_wal::LogSettings;
/// let settings = LogSettings { segment_bytes: 8 << 20, batch_bytes_max: 1 << 20, ..LogSettings::default() };
/// assert!(settings.check().is_ok());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// The log's directory, a single name below the disk's root. Its lock file is beside it, with the suffix `.lock`.
    pub directory: PathBuf,
    /// Bytes of a new segment file, a multiple of 4096. Existing segments keep their size.
    pub segment_bytes: u64,
    /// Maximum bytes of one batch on disk, padding included. A submission that does not fit one batch alone is refused.
    pub batch_bytes_max: u64,
    /// When sealed segments hold this number of bytes more than the live records, the streams that keep the oldest
    /// segment in use are moved or asked to compact.
    pub pinned_bytes_max: u64,
    /// Maximum bytes of one stream that are moved out of a segment. A stream with more is asked to compact instead.
    pub rewrite_bytes_max: u64,
    /// Maximum bytes of a torn tail that are kept in a side file when it is cut. None are kept if the disk has no room
    /// for them.
    pub cut_bytes_max: u64,
    /// Maximum number of side files of cut tails; the oldest are removed.
    pub cut_files_max: usize,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            directory: PathBuf::from("log"),
            segment_bytes: 32 << 20,
            batch_bytes_max: 8 << 20,
            pinned_bytes_max: 256 << 20,
            rewrite_bytes_max: 1 << 20,
            cut_bytes_max: 1 << 20,
            cut_files_max: 8,
        }
    }
}

impl LogSettings {
    /// Checks that the sizes fit together.
    ///
    /// # Errors
    /// When they do not; the message names the rule that is broken.
    pub fn check(&self) -> Result<(), SettingsError> {
        let is_name = self.directory.components().count() == 1 && self.directory.file_name().is_some();
        let rules = [
            (is_name, "the directory must be a single name"),
            (self.segment_bytes.is_multiple_of(ALIGNMENT_BYTES), "segment_bytes must be a multiple of 4096"),
            (u32::try_from(self.segment_bytes).is_ok(), "segment_bytes must be below 4 GiB"),
            (self.batch_bytes_max >= BATCH_BYTES_LEAST, "batch_bytes_max must be at least 16 KiB"),
            (
                self.batch_bytes_max.saturating_add(2 * ALIGNMENT_BYTES) <= self.segment_bytes,
                "batch_bytes_max must leave 8 KiB of segment_bytes",
            ),
            (self.cut_files_max > 0, "cut_files_max must not be zero"),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, what)) => Err(SettingsError(what)),
            None => Ok(()),
        }
    }
}

/// Settings that do not fit together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SettingsError(&'static str);

/// Room for a state record and its copy.
const BATCH_BYTES_LEAST: u64 = 4 * ALIGNMENT_BYTES;
