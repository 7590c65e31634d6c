//! A transaction manager: atomic commit over resources such as databases, for programs that use their clients.

mod branch;
mod resource;
mod session;

pub use branch::{BranchId, ManagerId, ResourceId};
pub use resource::{CommitEnd, ResourceError, ResourceManager, RollBackEnd};
pub use session::Sessions;
