//! The public surface under test.

mod decisions;
mod history_generator;
mod host_runs;
mod raft_runs;
mod register_histories;
mod replica_runs;
mod synod_runs;
mod transaction_histories;
