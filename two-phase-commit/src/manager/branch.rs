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

/// Id of a resource of a manager, made from its name. It is written in the decision log and in the names of branches,
/// so the name of a resource must never change.
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

impl ResourceId {
    /// The id of the resource with this name: FNV-1a over its bytes (Fowler, Noll, Vo). Two names with one id are
    /// refused when a manager is opened.
    pub fn of_name(name: &str) -> Self {
        Self(name.bytes().fold(FNV_OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME)))
    }
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

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
