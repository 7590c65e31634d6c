//! A group as its node sees it, whatever its protocol.

pub(crate) mod founding;
pub(crate) mod hostable;
pub(crate) mod interface;
pub(crate) mod job;
pub(crate) mod notice;
pub(crate) mod outcome;
pub(crate) mod reply;
pub(crate) mod snapshot;
pub(crate) mod start;

pub use founding::Founding;
pub use hostable::Hostable;
pub use interface::{CallId, Group, GroupInput, GroupOutput};
pub use job::{Job, JobResult};
pub use notice::Notice;
pub use outcome::{NotApplied, Outcome, ProposeError, ReadError, Retry, TransferError, Unknown};
pub use reply::Reply;
pub use snapshot::{SnapshotDone, SnapshotFailure, SnapshotLane, SnapshotOperation, SnapshotReader, SnapshotWriter};
pub use start::{BoxError, GroupStart, MakeGroup};
