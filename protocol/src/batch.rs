//! Consecutive entries on their way to peers: one raw section, encoded once for all of them.

use bytes::{Bytes, BytesMut};

use crate::{ENTRY_HEADER_BYTES, Entry, EntryError, LogIndex, Term};

/// Entries of one term that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Run {
    /// The term of every entry of the run.
    pub term: Term,
    /// Number of entries in the run.
    pub count: u32,
}

/// Indices and terms of the entries of a batch. The entries themselves bear neither.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct BatchHeader {
    /// The index of the first entry.
    pub first: LogIndex,
    /// The terms, as runs.
    pub runs: Vec<Run>,
}

/// Consecutive entries with their place in the log. Cloning copies no entry.
///
/// Its [`BatchHeader`] goes into the small section of a message, [`EntryBatch::raw`] into a raw one.
///
/// ```
/// use bytes::Bytes;
/// use quorate_protocol::{Entry, EntryBatch, EntryKind, LogIndex, LogTime, Term};
/// let entry = Entry::internal(EntryKind::NoOp, LogTime(5), Bytes::new());
/// let batch = EntryBatch::encode(LogIndex(7), [(Term(2), &entry)]);
/// let same = EntryBatch::from_parts(batch.header().clone(), batch.raw().clone());
/// let decoded = same.decode()?;
/// assert_eq!(decoded, [(LogIndex(7), Term(2), entry)]);
/// # Ok::<(), quorate_protocol::BatchError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct EntryBatch {
    header: BatchHeader,
    raw: Bytes,
}

impl EntryBatch {
    /// Encodes `entries`, which follow each other from index `first` on. This is the only time their payloads are
    /// copied.
    pub fn encode<'a>(first: LogIndex, entries: impl IntoIterator<Item = (Term, &'a Entry), IntoIter: Clone>) -> Self {
        let entries = entries.into_iter();
        let bytes = entries.clone().map(|(_, entry)| entry.encoded_len()).sum();
        let mut raw = BytesMut::with_capacity(bytes);
        let mut runs: Vec<Run> = Vec::new();
        for (term, entry) in entries {
            entry.encode(&mut raw);
            match runs.last_mut() {
                Some(run) if run.term == term && run.count < u32::MAX => run.count += 1,
                _ => runs.push(Run { term, count: 1 }),
            }
        }
        Self { header: BatchHeader { first, runs }, raw: raw.freeze() }
    }

    /// Makes a batch from its two parts, as they were received. It checks nothing: [`EntryBatch::decode`] does.
    #[must_use]
    pub fn from_parts(header: BatchHeader, raw: Bytes) -> Self {
        Self { header, raw }
    }

    /// The indices and terms of the entries.
    #[must_use]
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The entries' bytes, back to back.
    #[must_use]
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// True if there are no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.header.runs.is_empty()
    }

    /// Decodes the entries. Their payloads are slices of [`EntryBatch::raw`].
    ///
    /// # Errors
    /// When the two parts do not fit each other, a run is empty, a term is below the one before it, or an entry cannot
    /// be decoded.
    pub fn decode(&self) -> Result<Vec<(LogIndex, Term, Entry)>, BatchError> {
        let mut raw = self.raw.clone();
        let mut decoded = Vec::with_capacity(self.entries_at_most());
        let mut index = self.header.first.0;
        let mut last_term = Term(0);
        for run in &self.header.runs {
            if run.count == 0 || run.term < last_term {
                return Err(BatchError::Runs);
            }
            last_term = run.term;
            for _ in 0..run.count {
                let entry = Entry::decode_front(&mut raw).map_err(BatchError::Entry)?;
                decoded.push((LogIndex(index), run.term, entry));
                index = index.checked_add(1).ok_or(BatchError::Runs)?;
            }
        }
        if raw.is_empty() { Ok(decoded) } else { Err(BatchError::Trailing { bytes: raw.len() }) }
    }

    /// The number of entries that the runs state, or that the bytes can hold if that is less.
    fn entries_at_most(&self) -> usize {
        let stated = self.header.runs.iter().fold(0_usize, |sum, run| sum.saturating_add(run.count as usize));
        stated.min(self.raw.len() / ENTRY_HEADER_BYTES)
    }
}

/// Reason why a batch cannot be decoded. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BatchError {
    /// An entry cannot be decoded.
    Entry(EntryError),
    /// A run is empty, or its term is below that of the run before it, or an index overflows.
    Runs,
    /// Bytes follow the last entry.
    Trailing {
        /// Number of these bytes.
        bytes: usize,
    },
}

impl std::fmt::Display for BatchError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Entry(error) => write!(f, "entry of a batch: {error}"),
            Self::Runs => f.write_str("the terms and counts of a batch are not those of a log"),
            Self::Trailing { bytes } => write!(f, "{bytes} bytes follow the last entry of a batch"),
        }
    }
}

impl std::error::Error for BatchError {}
