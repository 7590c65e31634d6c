//! Functions that other programs use for placement but that are not placements themselves: tokens, and partitions of
//! several columns.

use alloc::vec::Vec;

use super::jenkins::{halves, postgres, postgres_number};
use super::md5::md5;
use super::murmur::murmur3_cassandra;

/// The token that Cassandra's and ScyllaDB's `Murmur3Partitioner` gives to a serialized partition key.
///
/// The last bytes of a key, which do not fill a block of sixteen, are read as signed. Other implementations of
/// MurmurHash3 agree only for ASCII keys and for keys of whole blocks.
///
/// ```
/// use quorate_consistent_hash::compat::{cassandra_composite, cassandra_token};
///
/// assert_eq!(cassandra_token(b"user:0"), 6339893720897220837);
/// let key = cassandra_composite([&b"a"[..], &5_i32.to_be_bytes()]);
/// assert_eq!(cassandra_token(&key), -702446043846556520);
/// ```
#[doc(alias = "Murmur3Partitioner")]
pub fn cassandra_token(key: &[u8]) -> i64 {
    match murmur3_cassandra(key).cast_signed() {
        // The smallest number is reserved for the position before all tokens.
        i64::MIN => i64::MAX,
        token => token,
    }
}

/// Serializes a partition key of several columns like Cassandra: for each column its length in two bytes, the value and
/// a zero byte. A key of one column is the value alone.
pub fn cassandra_composite<'a>(columns: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let columns: Vec<_> = columns.into_iter().collect();
    if let [only] = columns[..] {
        return only.to_vec();
    }
    let mut key = Vec::new();
    for column in columns {
        // Cassandra does not accept longer values in a key.
        let [.., high, low] = (column.len() as u64).to_be_bytes();
        key.extend([high, low]);
        key.extend(column);
        key.push(0);
    }
    key
}

/// A value of a column in the partition key of a PostgreSQL table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PostgresValue<'a> {
    /// NULL, which does not enter the hash.
    Null,
    /// `integer`.
    Int4(i32),
    /// `bigint`. Its hash differs from that of an `integer` only for values that do not fit an `integer`.
    Int8(i64),
    /// `text` of a deterministic collation, `bytea` or `uuid`, as bytes.
    Bytes(&'a [u8]),
}

/// The remainder of PostgreSQL's hash partition that a row belongs to (`satisfies_hash_partition`).
///
/// # Panics
///
/// If `modulus` is zero.
pub fn postgres_partition(columns: &[PostgresValue<'_>], modulus: u32) -> u32 {
    u32::try_from(postgres_row(columns) % u64::from(modulus)).expect("a remainder is below its divisor")
}

/// The hash of a row, of which PostgreSQL takes the remainder.
pub(super) fn postgres_row(columns: &[PostgresValue<'_>]) -> u64 {
    const SEED: u64 = 0x7A5B_2236_7996_DCFD;
    columns.iter().fold(0_u64, |row, column| {
        let hash = match *column {
            PostgresValue::Null => return row,
            PostgresValue::Int4(value) => postgres_number(value.cast_unsigned(), SEED),
            PostgresValue::Int8(value) => {
                let [low, high] = halves(value.cast_unsigned());
                postgres_number(low ^ if value < 0 { !high } else { high }, SEED)
            }
            PostgresValue::Bytes(bytes) => postgres(bytes, SEED),
        };
        let mixed = hash.wrapping_add(0x49A0_F4DD_15E5_A8E3).wrapping_add(row << 54).wrapping_add(row >> 7);
        row ^ mixed
    })
}

/// The partition of Swift's ring for an account, container or object. `path` is `/account[/container[/object]]`; prefix
/// and suffix are those of the cluster (`swift_hash_path_prefix` and `swift_hash_path_suffix`).
///
/// # Panics
///
/// If `part_power` is not from 1 to 32.
pub fn swift_partition(prefix: &[u8], path: &[u8], suffix: &[u8], part_power: u32) -> u32 {
    assert!((1..=32).contains(&part_power), "a part power is from 1 to 32");
    swift_hash(prefix, path, suffix) >> (32 - part_power)
}

/// The hash of Swift's ring for a path as in [`swift_partition`]. Its upper bits are the partition.
pub fn swift_hash(prefix: &[u8], path: &[u8], suffix: &[u8]) -> u32 {
    md5(&[prefix, path, suffix].concat())[0].swap_bytes()
}
