//! Content of a snapshot: the feature level and the sessions, then the state machine's own content.

use std::any::Any;
use std::io::{BufReader, BufWriter, Write};

use quorate_protocol::HaltReason;

use super::sessions::{Sessions, read_header, write_header};
use crate::group::snapshot::{SnapshotDone, SnapshotFailure, SnapshotReader, SnapshotWriter};
use crate::replica::state_machine::StateMachine;

/// The content of a snapshot, as it was read.
pub(super) struct Restored<S> {
    pub(super) level: u32,
    pub(super) sessions: Sessions,
    /// `None` if the state machine itself has stored a newer state.
    pub(super) state: Option<S>,
}

/// Returns a writer of the content.
pub(super) fn writer<S: StateMachine>(level: u32, sessions: Sessions, state: S::Snapshot) -> SnapshotWriter {
    Box::new(move |out| {
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, out);
        write_header(level, &sessions, &mut out)?;
        S::write(state, &mut out)?;
        out.flush()
    })
}

/// Returns a reader of a content, which makes a [`Restored`] from it. `has_newer_state` is true if the state machine
/// itself has stored a newer state.
pub(super) fn reader<S: StateMachine>(has_newer_state: bool) -> SnapshotReader {
    Box::new(move |from| {
        let mut from = BufReader::with_capacity(BUFFER_BYTES, from);
        let (level, sessions) = read_header(&mut from)?;
        let state = if has_newer_state { None } else { Some(S::restore(&mut from)?) };
        Ok(Box::new(Restored { level, sessions, state }) as Box<dyn Any + Send>)
    })
}

/// Takes the content from the result of a restore.
///
/// # Errors
/// When it could not be restored.
pub(super) fn restored<S: StateMachine>(
    result: Result<SnapshotDone, SnapshotFailure>,
) -> Result<Restored<S>, HaltReason> {
    let restored = match result {
        Ok(SnapshotDone::Restored(restored)) => restored.downcast::<Restored<S>>(),
        Ok(_) => return Err(HaltReason::Restore("the store gave another answer".into())),
        Err(failure) => return Err(HaltReason::Restore(format!("{failure:?}"))),
    };
    let foreign = |_| HaltReason::Restore("the store gave another state machine".into());
    restored.map(|restored| *restored).map_err(foreign)
}

/// State machines write and read small pieces, but the store needs large ones.
const BUFFER_BYTES: usize = 256 << 10;
