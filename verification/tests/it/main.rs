//! The shipped protocols under faults.

mod command;
mod host_runs;
mod member_runs;
mod paxos_runs;
mod raft_rows;
mod raft_runs;
mod replica_runs;
mod synod_runs;
mod transaction_runs;
