//! A transaction manager: atomic commit over resources such as databases, for programs that use their clients.

mod branch;
#[cfg(feature = "testing")]
pub mod conformance;
pub mod core;
#[cfg(any(feature = "postgres", feature = "mysql"))]
mod database;
pub mod memory;
pub mod metrics;
#[cfg(feature = "mysql")]
pub mod mysql;
mod name;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod replica;
mod resource;
mod session;
mod shell;

pub use branch::{BranchId, ManagerId, ResourceId};
pub use core::{ManagerSettings, ManagerStatus};
#[cfg(any(feature = "postgres", feature = "mysql"))]
pub use database::{Database, Driver};
pub use name::{ParseTransactionNameError, TransactionName};
pub use resource::{CommitEnd, ResourceError, ResourceManager, RollBackEnd};
pub use session::Sessions;
pub use shell::{
    AbortReason, BeginError, EnlistError, Enlisted, Manager, ManagerBuilder, OpenError, Outcome, OutcomeError,
    ReplicatedBuilder, Resource, Transaction, Unresolved,
};
