//! Parts for tests that run a [`Replica`](crate::replica::Replica) without a node: a state machine and a store of
//! snapshots, both in memory and open to the test.

mod files;
mod ledger;
mod snapshots;

pub use files::{LedgerFiles, StoredState};
pub use ledger::Ledger;
pub use snapshots::MemorySnapshots;
