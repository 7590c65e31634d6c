//! What the databases have in common: names of branches, and the table of their connections.

mod driver;
mod names;
mod resource;
mod table;
#[cfg(test)]
mod tests;

pub use driver::Driver;
pub(super) use driver::{Finished, Patience};
#[cfg(feature = "mysql")]
pub(super) use names::{Xid, branch_of_xid, lock_name};
#[cfg(feature = "postgres")]
pub(super) use names::{branch_lock, branch_of_gid, gid, owner_lock};
pub use resource::Database;

use crate::TransactionNumber;

use super::branch::BranchId;
use super::resource::ResourceError;

/// Numbers of a branch as the databases store them, which have no unsigned numbers of 64 bits that all clients read.
/// Epoch and sequence keep their order; of the others only equality counts.
pub(super) struct Row {
    pub(super) log: i64,
    pub(super) resource: i64,
    pub(super) epoch: i64,
    pub(super) sequence: i64,
}

impl Row {
    pub(super) fn new(branch: BranchId) -> Result<Self, ResourceError> {
        let (epoch, sequence) = number(branch.number)?;
        let log = branch.manager.log.cast_signed();
        Ok(Self { log, resource: branch.resource.0.cast_signed(), epoch, sequence })
    }
}

/// The number of a transaction as a database stores it.
pub(super) fn number(number: TransactionNumber) -> Result<(i64, i64), ResourceError> {
    let stored = |part: u64| i64::try_from(part).map_err(|error| ResourceError::Refused(Box::new(error)));
    Ok((stored(number.epoch.0)?, stored(number.sequence)?))
}
