//! The public surface under test.

mod history_generator;
mod raft_runs;
mod register_histories;
mod replica_runs;
mod transaction_histories;
