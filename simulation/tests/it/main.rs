//! The public surface under test.

mod decisions;
mod fault_effects;
mod history_generator;
mod host_runs;
mod probe;
mod raft_rows;
mod raft_runs;
mod register_histories;
mod replica_runs;
mod synod_runs;
mod transaction_histories;
mod transaction_runs;
mod transactions;
