//! A group as its node sees it, whatever its protocol. You need this module to write a group of your own, or to drive
//! one without a node, as a simulator or a test does.
//!
//! [`Group`] is the trait. [`Replica`](crate::replica::Replica) and [`Hosted`](crate::hosted::Hosted) implement it, so
//! that most programs never see it.

pub(crate) mod change;
pub(crate) mod founding;
pub(crate) mod hostable;
pub(crate) mod interface;
pub(crate) mod job;
pub(crate) mod notice;
pub(crate) mod outcome;
pub(crate) mod reply;
pub(crate) mod snapshot;
pub(crate) mod start;

pub use change::{GroupError, NewGroup};
pub use founding::Founding;
pub use hostable::Hostable;
pub use interface::{CallId, Group, GroupInput, GroupOutput, Members, Membership};
pub use job::{Job, JobResult};
pub use notice::Notice;
pub use quorate_transport::ChannelId;
pub use reply::Reply;
pub use snapshot::{SnapshotDone, SnapshotFailure, SnapshotLane, SnapshotOperation, SnapshotReader, SnapshotWriter};
pub use start::{MakeGroup, ReopenGroup};
