use super::super::branch::{BranchId, ManagerId, ResourceId};
use super::*;
use crate::Epoch;
use quorate_protocol::ClusterId;

fn branch() -> BranchId {
    BranchId {
        manager: ManagerId { cluster: ClusterId(0xc1), log: 0x10 },
        number: TransactionNumber { epoch: Epoch(3), sequence: 14 },
        resource: ResourceId(0xab),
    }
}

fn largest() -> BranchId {
    BranchId {
        manager: ManagerId { cluster: ClusterId(u128::MAX), log: u64::MAX },
        number: TransactionNumber { epoch: Epoch(u64::MAX), sequence: u64::MAX },
        resource: ResourceId(u64::MAX),
    }
}

#[cfg(feature = "postgres")]
#[test]
fn a_gid_is_for_ever_and_short_enough() {
    let golden = "quorate-1/000000000000000000000000000000c1-0000000000000010/3.14/00000000000000ab";
    assert_eq!(gid(branch()), golden);
    assert_eq!(branch_of_gid(golden), Some(branch()));
    assert_eq!(branch_lock(branch()), -4_003_667_052_051_202_436);
    assert_eq!(owner_lock(branch().manager, branch().resource), 8_249_262_280_449_427_237);
    assert_eq!(gid(largest()).len(), 118);
    assert_eq!(branch_of_gid(&gid(largest())), Some(largest()));
}

#[cfg(feature = "postgres")]
#[test]
fn gids_of_others_are_not_taken_for_own() {
    let own = gid(branch());
    for foreign in ["", "pg_gid_16394_731", "quorate-2/0-1/3.14/ab", "quorate-1/c1-10/3.14/ab", &own.to_uppercase()] {
        assert_eq!(branch_of_gid(foreign), None, "{foreign}");
    }
    for end in ["/", " ", "/1", "0"] {
        assert_eq!(branch_of_gid(&format!("{own}{end}")), None);
    }
    assert_eq!(branch_of_gid(&own.replace("/3.", "/+3.")), None);
}

#[cfg(feature = "mysql")]
#[test]
fn an_xid_is_for_ever_and_short_enough() {
    let golden = "'000000000000000000000000000000c1-0000000000000010','3.14/00000000000000ab',1366650673";
    assert_eq!(Xid::new(branch()).literal(), golden);
    assert_eq!(lock_name(branch()), "q1-727b44566d378725-3.14");
    let largest = largest();
    let (gtrid, bqual) = (largest.manager.to_string(), format!("{}/{}", largest.number, largest.resource));
    assert!(gtrid.len() <= 64 && bqual.len() <= 64 && lock_name(largest).len() <= 64);
    assert_eq!(branch_of_xid(0x5175_6f31, 49, format!("{gtrid}{bqual}").as_bytes()), Some(largest));
}

#[cfg(feature = "mysql")]
#[test]
fn xids_of_others_are_not_taken_for_own() {
    let own = "000000000000000000000000000000c1-00000000000000103.14/00000000000000ab";
    assert_eq!(branch_of_xid(0x5175_6f31, 49, own.as_bytes()), Some(branch()));
    assert_eq!(branch_of_xid(1, 49, own.as_bytes()), None);
    assert_eq!(branch_of_xid(0x5175_6f31, 48, own.as_bytes()), None);
    assert_eq!(branch_of_xid(0x5175_6f31, 400, own.as_bytes()), None);
    assert_eq!(branch_of_xid(0x5175_6f31, 1, &[0xff, 0, 0xfe]), None);
}
