//! Messages of other threads to the loop.

use quorate_wal::Completions;

use crate::node::interface::NodeInput;

/// A message of another thread to the loop.
#[derive(Debug)]
pub(crate) enum News {
    Node(NodeInput),
    Log(Completions),
    /// One of the threads that hold the data directory has ended.
    Ended,
    /// The threads have not ended in time.
    Late,
}
