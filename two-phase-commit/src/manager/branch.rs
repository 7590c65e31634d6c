//! The name of a branch in a resource, which says who may finish it.

use std::fmt;

use quorate_protocol::ClusterId;

use crate::{Epoch, TransactionNumber};

/// Identity of a transaction manager: its decision log. It never changes, and no other log ever has it. In which
/// process and on which machine the manager runs is no part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ManagerId {
    /// The name under which the log was made.
    pub cluster: ClusterId,
    /// Tells logs with the same name apart. Drawn when the log is made.
    pub log: u64,
}

/// Id of a resource of a manager, made from its name. It is written in the decision log and in the names of branches, so
/// the name of a resource must never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceId(pub u64);

/// Name of a branch: the work of one transaction in one resource. It is unique for ever, also among the branches of
/// other managers, and tells a manager whether a branch is its own and from an earlier start.
#[doc(alias = "xid")]
#[doc(alias = "gid")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BranchId {
    /// The manager that decides.
    pub manager: ManagerId,
    /// The transaction.
    pub number: TransactionNumber,
    /// The resource.
    pub resource: ResourceId,
}

impl BranchId {
    /// The start of the manager in which the transaction was begun.
    pub fn epoch(&self) -> Epoch {
        self.number.epoch
    }
}

impl fmt::Display for ManagerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}-{:016x}", self.cluster.0, self.log)
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Display for BranchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.manager, self.number, self.resource)
    }
}
