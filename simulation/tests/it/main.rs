//! The public surface under test.

#[path = "../../../examples/src/bin/simulate/beside.rs"]
mod beside;
#[path = "../../../examples/src/bin/simulate/decisions.rs"]
mod decisions;
mod endings;
mod fault_effects;
mod history_generator;
mod host_runs;
mod jepsen_histories;
mod model_histories;
mod probe;
mod raft_rows;
mod raft_runs;
mod register_histories;
mod replica_runs;
mod synod_runs;
mod transaction_histories;
mod transaction_runs;
#[path = "../../../examples/src/bin/simulate/transactions.rs"]
mod transactions;
