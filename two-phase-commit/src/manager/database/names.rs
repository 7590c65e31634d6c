//! The names of branches in databases. Their formats are for good: branches that are in doubt bear them.

use crate::{Epoch, TransactionNumber};

use super::super::branch::{BranchId, ManagerId, ResourceId};
use quorate_protocol::ClusterId;

/// What the names begin with: the format and its version.
const FORMAT: &str = "quorate-1";

/// Name of a branch in PostgreSQL: at most 118 bytes, of 199 that are possible. It has no character that a text literal
/// would have to escape.
pub(in super::super) fn gid(branch: BranchId) -> String {
    format!("{FORMAT}/{branch}")
}

/// The branch of a name that [`gid`] made; `None` for names that others made.
pub(in super::super) fn branch_of_gid(gid: &str) -> Option<BranchId> {
    let mut parts = gid.split('/');
    (parts.next()? == FORMAT).then_some(())?;
    let branch = branch(parts.next()?, parts.next()?, parts.next()?)?;
    // Only what is written as we write it is ours: there is one name for one branch.
    (self::gid(branch) == gid).then_some(branch)
}

/// Name of a branch in a database with XA: the owner in the first part, transaction and resource in the second, each of
/// at most 64 bytes. Both are part of the name and readable, other than the format id, which MariaDB does not compare.
#[cfg(feature = "mysql")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Xid {
    gtrid: String,
    bqual: String,
}

#[cfg(feature = "mysql")]
impl Xid {
    /// "Quo1"; numbers from 2^31 on are a syntax error.
    pub(in super::super) const FORMAT_ID: u32 = 0x5175_6f31;

    pub(in super::super) fn new(branch: BranchId) -> Self {
        Self { gtrid: branch.manager.to_string(), bqual: format!("{}/{}", branch.number, branch.resource) }
    }

    /// The name as it stands in statements.
    pub(in super::super) fn literal(&self) -> String {
        format!("'{}','{}',{}", self.gtrid, self.bqual, Self::FORMAT_ID)
    }
}

/// The branch of a row of `XA RECOVER`; `None` for those of others.
#[cfg(feature = "mysql")]
pub(in super::super) fn branch_of_xid(format_id: u64, gtrid_length: u64, data: &[u8]) -> Option<BranchId> {
    (format_id == u64::from(Xid::FORMAT_ID)).then_some(())?;
    let data = std::str::from_utf8(data).ok()?;
    let (gtrid, bqual) = data.split_at_checked(usize::try_from(gtrid_length).ok()?)?;
    let (number, resource) = bqual.split_once('/')?;
    let branch = branch(gtrid, number, resource)?;
    (Xid::new(branch) == Xid { gtrid: gtrid.to_owned(), bqual: bqual.to_owned() }).then_some(branch)
}

fn branch(manager: &str, number: &str, resource: &str) -> Option<BranchId> {
    let (cluster, log) = manager.split_once('-')?;
    let (epoch, sequence) = number.split_once('.')?;
    let cluster = ClusterId(u128::from_str_radix(cluster, 16).ok()?);
    let manager = ManagerId { cluster, log: u64::from_str_radix(log, 16).ok()? };
    let number = TransactionNumber { epoch: Epoch(epoch.parse().ok()?), sequence: sequence.parse().ok()? };
    Some(BranchId { manager, number, resource: ResourceId(u64::from_str_radix(resource, 16).ok()?) })
}

/// Key of the lock that a session of PostgreSQL holds while it works on this branch.
#[cfg(feature = "postgres")]
pub(in super::super) fn branch_lock(branch: BranchId) -> i64 {
    hash(&gid(branch))
}

/// Key of the lock that all sessions of this manager in this resource share while they work on a branch.
#[cfg(feature = "postgres")]
pub(in super::super) fn owner_lock(manager: ManagerId, resource: ResourceId) -> i64 {
    hash(&format!("{FORMAT}/{manager}/{resource}"))
}

/// Name of the lock that a session of MariaDB holds while it works on this branch: at most 64 characters.
#[cfg(feature = "mysql")]
pub(in super::super) fn lock_name(branch: BranchId) -> String {
    let owner = hash(&format!("{FORMAT}/{}/{}", branch.manager, branch.resource));
    format!("q1-{owner:016x}-{}", branch.number)
}

/// FNV-1a with 64 bits: it is the same for ever, and evenly spread over names that differ in a few digits.
fn hash(name: &str) -> i64 {
    let hash = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    hash.cast_signed()
}
