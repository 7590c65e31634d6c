//! Parts for tests that run a [`Replica`](crate::replica::Replica) or a [`Bound`](crate::bound::Bound) group without a
//! node: a state machine, a core, and a store of snapshots, all in memory and open to the test.

mod files;
mod ledger;
mod notebook;
mod snapshots;

pub use crate::node::bundle::decode_node_frame;
pub use files::{LedgerFiles, StoredState};
pub use ledger::Ledger;
pub use notebook::{Notebook, NotebookCommand, NotebookEvent, NotebookMessage};
pub use snapshots::MemorySnapshots;
