//! The public surface under test.

mod history_generator;
mod raft_runs;
mod register_histories;
mod transaction_histories;
