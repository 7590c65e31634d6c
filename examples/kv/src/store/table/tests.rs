use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::super::record::Head;
use super::*;

fn record(key: u16, value: u8) -> Record {
    record_in(&Table::new(7), key, value)
}

fn record_in(table: &Table, key: u16, value: u8) -> Record {
    let key = key.to_le_bytes();
    let head = Head { hash: table.hash(&key), key: &key, deadline: None, version: 1 };
    Record::text(&mut Vec::new(), head, &[&[value]])
}

fn contents(table: &Table) -> BTreeMap<Vec<u8>, Vec<u8>> {
    table.iter().map(|record| (record.key().to_vec(), record.as_text().unwrap().to_vec())).collect()
}

/// Checks the shape that linear hashing promises, after any operations.
fn check(table: &Table) {
    let held: usize = table.segments.iter().map(|segment| segment.len()).sum();
    assert_eq!(held, table.buckets);
    assert_eq!(table.iter().count(), table.len());
    assert!(table.segments.iter().rev().skip(1).all(|segment| segment.len() == SEGMENT_BUCKETS));
    for (index, bucket) in table.segments.iter().flat_map(|segment| segment.iter()).enumerate() {
        assert!(bucket.iter().all(|record| address(record.hash(), table.buckets) == index));
    }
}

#[test]
fn grows_and_shrinks_by_one_bucket_at_a_time() {
    let mut table = Table::new(7);
    for key in 0..50_000 {
        let before = table.buckets;
        assert!(table.insert(record(key, 1)).is_none());
        assert!(table.buckets - before <= 1);
    }
    check(&table);
    assert_eq!(table.buckets, 50_000_usize.div_ceil(BUCKET_RECORDS));
    for key in 0..50_000 {
        let hash = table.hash(&u16::to_le_bytes(key));
        assert_eq!(table.get(hash, &u16::to_le_bytes(key)).map(|record| record.as_text().unwrap()), Some(&[1][..]));
        assert!(table.remove(hash, &u16::to_le_bytes(key)).is_some());
    }
    check(&table);
    assert_eq!((table.len(), table.buckets), (0, 1));
}

#[test]
fn a_write_after_a_copy_copies_one_segment_and_one_bucket() {
    let mut table = Table::new(7);
    for key in 0..50_000 {
        table.insert(record(key, 1));
    }
    let copy = table.clone();
    table.insert(record(7, 2));
    let pairs = || table.segments.iter().zip(&copy.segments);
    assert_eq!(pairs().filter(|(left, right)| !Arc::ptr_eq(left, right)).count(), 1);
    let buckets = pairs().flat_map(|(left, right)| left.iter().zip(right.iter()));
    assert_eq!(buckets.filter(|(left, right)| !Arc::ptr_eq(left, right)).count(), 1);
}

proptest! {
    #[test]
    fn holds_what_a_map_holds_and_copies_stand_still(
        seed: u64,
        steps in proptest::collection::vec((0_u16..200, 0_u8..8), 0..1500),
    ) {
        let mut table = Table::new(seed);
        let mut model = BTreeMap::new();
        let mut copies = Vec::new();
        for (key, action) in steps {
            let bytes = key.to_le_bytes();
            let hash = table.hash(&bytes);
            match action {
                0..=4 => {
                    let replaced = table.insert(record_in(&table, key, action));
                    let expected = model.insert(bytes.to_vec(), vec![action]);
                    prop_assert_eq!(replaced.map(|record| record.as_text().unwrap().to_vec()), expected);
                }
                5..=6 => {
                    let removed = table.remove(hash, &bytes);
                    prop_assert_eq!(removed.map(|record| record.as_text().unwrap().to_vec()), model.remove(&bytes[..]));
                }
                _ if copies.len() < 4 => copies.push((table.clone(), model.clone())),
                _ => prop_assert_eq!(table.get(hash, &bytes).map(|record| record.as_text().unwrap()), model.get(&bytes[..]).map(Vec::as_slice)),
            }
        }
        copies.push((table, model));
        for (table, model) in copies {
            check(&table);
            prop_assert_eq!(contents(&table), model);
        }
    }
}

/// Keys that are there from the start of a scan to its end are met, though the table grows and shrinks meanwhile.
#[test]
fn a_scan_meets_what_is_there_all_the_time() {
    for (start, end) in [(40_000_u16, 200_u16), (200, 40_000), (5, 5)] {
        let mut table = Table::new(7);
        for key in 0..start {
            table.insert(record(key, 1));
        }
        let stays = start.min(end);
        let (mut cursor, mut met, mut key) = (0, std::collections::BTreeSet::new(), start);
        loop {
            let (next, records) = table.scan(cursor);
            met.extend(records.map(|record| record.key().to_vec()));
            if next == 0 {
                break;
            }
            assert!(next > cursor);
            cursor = next;
            for _ in 0..20 {
                if key < end {
                    table.insert(record(key, 1));
                    key += 1;
                } else if key > end {
                    key -= 1;
                    let bytes = key.to_le_bytes();
                    table.remove(table.hash(&bytes), &bytes);
                }
            }
        }
        assert!((0..stays).all(|key| met.contains(&key.to_le_bytes()[..])), "{start} to {end}");
        check(&table);
    }
}
