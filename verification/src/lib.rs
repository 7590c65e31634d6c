//! The shipped protocols as the simulator runs them: the application round each of them, its clients, its laws, and
//! settings that reach every bound. The program `simulate` and the tests run the same code.

mod beside;
mod decisions;
pub mod protocols;
mod registers;
mod replicated_logs;
mod synod;
mod three_phase_commit;
mod transactions;
mod two_phase_commit;

pub use protocols::Protocol;
pub use registers::{REGISTER, REGISTER_MEMBERS};
pub use replicated_logs::{PAXOS, PAXOS_CORE, PAXOS_MEMBERS, RAFT, RAFT_CORE, RAFT_GROUPS, RAFT_MEMBERS};
pub use synod::SYNOD;
pub use three_phase_commit::THREE_PHASE_COMMIT;
pub use two_phase_commit::TWO_PHASE_COMMIT;

/// The example of the runtime's README, compiled and run here because it needs a protocol.
#[cfg(doctest)]
#[doc = include_str!("../../runtime/README.md")]
struct ReadmeOfRuntime;
