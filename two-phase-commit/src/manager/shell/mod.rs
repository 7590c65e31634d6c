//! The async side of a manager: the thread of its log, the calls to resources, and the handles of the application.

mod ballot;
mod builder;
mod calls;
mod error;
mod handle;
mod inbox;
mod log;
mod replicated;
mod resource;
mod shared;
mod transaction;

pub use builder::ManagerBuilder;
pub use error::{BeginError, EnlistError, OpenError, OutcomeError};
pub use handle::Manager;
pub use replicated::ReplicatedBuilder;
pub use resource::Resource;
pub use transaction::{AbortReason, Enlisted, Outcome, Transaction, Unresolved};
