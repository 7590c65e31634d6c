//! Converts operations to records.

use quorate_protocol::Operation;

use crate::format::{BatchBuilder, RecordKind};

/// Returns true if an operation counts only once it is durable.
pub(super) fn must_sync(operation: &Operation) -> bool {
    !matches!(operation, Operation::CommitHint { .. })
}

/// Bytes of entries and records, without the bytes that a batch adds.
pub(super) fn content_bytes(operations: &[Operation]) -> u64 {
    let bytes = operations.iter().map(|operation| match operation {
        Operation::Append { entries, .. } => entries.iter().map(|entry| entry.encoded_len() as u64).sum(),
        Operation::Journal { bytes, .. } | Operation::PutState { bytes, .. } => bytes.len() as u64,
        _ => 0,
    });
    bytes.sum()
}

/// Adds the records of an operation to a batch.
pub(super) fn push(builder: &mut BatchBuilder, stream: u64, operation: &Operation) {
    match operation {
        Operation::Append { index, term, entries } => {
            for (position, entry) in (index.0..).zip(entries) {
                let parts = [&entry.encode_header()[..], &entry.payload[..]];
                builder.push(RecordKind::Entry, stream, position, term.0, &parts);
            }
        }
        Operation::TruncateFrom { index } => builder.push(RecordKind::TruncateFrom, stream, index.0, 0, &[]),
        Operation::CompactTo { index, term } => builder.push(RecordKind::CompactTo, stream, index.0, term.0, &[]),
        Operation::Reset { index, term } => builder.push(RecordKind::Reset, stream, index.0, term.0, &[]),
        Operation::Journal { key, bytes } => builder.push(RecordKind::Journal, stream, *key, 0, &[&bytes[..]]),
        Operation::CheckpointBegin { id } => builder.push(RecordKind::CheckpointBegin, stream, *id, 0, &[]),
        Operation::CheckpointDone { id } => builder.push(RecordKind::CheckpointDone, stream, *id, 0, &[]),
        Operation::PutState { bytes, commit_hint } => {
            builder.push(RecordKind::State, stream, commit_hint.0, 0, &[&bytes[..]]);
        }
        Operation::CommitHint { index } => builder.push(RecordKind::CommitHint, stream, index.0, 0, &[]),
    }
}
