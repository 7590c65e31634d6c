//! The public surface under test.

mod history_generator;
mod host_runs;
mod raft_runs;
mod register_histories;
mod replica_runs;
mod transaction_histories;
