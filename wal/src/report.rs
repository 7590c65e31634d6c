//! The result of opening a log.

/// Findings and repairs when a log was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpeningReport {
    /// The log was missing and was created.
    pub is_new: bool,
    /// The torn tail that was cut off: batches that were being written when the process or machine stopped. None of
    /// them was acknowledged, unless the disk lost the newest batch and nothing on it shows that.
    pub cut: Option<Cut>,
    /// Number of state records that were adopted from batches that were cut.
    pub adopted_states: u64,
    /// Number of durable batches that lost a sector whose records all have another copy.
    pub repaired_batches: u64,
}

/// A torn tail. Its first bytes are kept in a file whose name begins with `cut-`, unless the disk has no room for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Id of the segment.
    pub segment: u64,
    /// Offset of the first byte that was cut, in the segment.
    pub offset: u64,
    /// Number of bytes that were cut.
    pub bytes: u64,
}
