//! Content of a snapshot: the feature level and the sessions, then the state machine's own content.

use std::any::Any;
use std::io::{self, BufReader, BufWriter, Read, Write};

use quorate_protocol::{HaltReason, LogIndex};

use super::sessions::{Sessions, SnapshotForm, read_header, write_header};
use crate::group::snapshot::{SnapshotDone, SnapshotFailure, SnapshotReader, SnapshotWriter};
use crate::replica::state_machine::{Restorer, StateMachine};

/// The content of a snapshot, as it was read.
pub(super) struct Restored<S> {
    pub(super) level: u32,
    pub(super) sessions: Sessions,
    pub(super) state: RestoredState<S>,
}

/// The state, as the content tells it.
pub(super) enum RestoredState<S> {
    /// A new state machine.
    New(S),
    /// It was not read, because the state machine itself has stored a newer one.
    Older,
    /// The state machine itself stores it. It has everything up to this index, that of the last command or tick.
    Stored(LogIndex),
}

/// The node that made a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Own,
    Peer,
}

/// Returns a writer of the content. If the content is without the state, the state machine makes its state durable
/// itself, and the content tells `given`, the index of the last command or tick that the state machine was given.
pub(super) fn writer<S: StateMachine>(
    form: SnapshotForm,
    level: u32,
    sessions: Sessions,
    given: LogIndex,
    state: S::Snapshot,
) -> SnapshotWriter {
    Box::new(move |out| {
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, out);
        write_header(form, level, &sessions, &mut out)?;
        match form {
            SnapshotForm::WithState => S::write(state, &mut out)?,
            SnapshotForm::WithoutState => {
                S::sync(state)?;
                out.write_all(&given.0.to_le_bytes())?;
            }
        }
        out.flush()
    })
}

/// Returns a reader of a content, which makes a [`Restored`] from it. Without a `restorer` the state is not read,
/// because the state machine itself has stored a newer one.
pub(super) fn reader<S: StateMachine>(origin: Origin, restorer: Option<Restorer<S>>) -> SnapshotReader {
    Box::new(move |from| {
        let mut from = BufReader::with_capacity(BUFFER_BYTES, from);
        let (form, level, sessions) = read_header(&mut from)?;
        let state = match (form, origin, restorer) {
            (SnapshotForm::WithState, _, Some(restore)) => RestoredState::New(restore(&mut from)?),
            (SnapshotForm::WithState, _, None) => RestoredState::Older,
            (SnapshotForm::WithoutState, Origin::Own, _) => {
                let mut given = [0; 8];
                from.read_exact(&mut given)?;
                RestoredState::Stored(LogIndex(u64::from_le_bytes(given)))
            }
            (SnapshotForm::WithoutState, Origin::Peer, _) => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a peer's snapshot without the state"));
            }
        };
        Ok(Box::new(Restored { level, sessions, state }) as Box<dyn Any + Send>)
    })
}

impl<S> RestoredState<S> {
    pub(super) fn form(&self) -> SnapshotForm {
        match self {
            Self::New(_) | Self::Older => SnapshotForm::WithState,
            Self::Stored(_) => SnapshotForm::WithoutState,
        }
    }
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
