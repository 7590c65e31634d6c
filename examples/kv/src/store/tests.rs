use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering as AtomicOrdering};

use proptest::prelude::*;

use super::*;
use crate::command;
use crate::entry::EntryWriter;
use crate::resp::Version;

/// Carries out a command, whose arguments are separated by blanks, and returns the reply.
fn run(store: &mut Store, log_time: u64, command: &str) -> String {
    let arguments: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
    let mut entry = EntryWriter::new(Version::Resp2, log_time, 7, 0);
    entry.command(&arguments);
    let replies = command::apply(store, log_time, &entry.finish()).unwrap();
    String::from_utf8(replies.to_vec()).unwrap().trim_end().to_owned()
}

/// Checks the invariants between the parts of a store.
fn check(store: &Store) {
    let records: Vec<_> = store.table.iter().collect();
    let with_deadline = records.iter().filter(|record| record.deadline().is_some());
    assert_eq!(with_deadline.count(), store.deadlines.len());
    assert_eq!(records.iter().map(|record| record.weight()).sum::<u64>(), store.weight);
    assert_eq!(records.iter().fold(0_u64, |sum, record| sum.wrapping_add(record.digest())), store.digest);
    for record in records {
        assert!(record.version() <= store.revision);
        assert!(record.as_value().is_none_or(|value| !value.is_empty()), "an empty value stays");
    }
    for due in &store.deadlines {
        let record = store.table.get(store.table.hash(due.key.key()), due.key.key()).unwrap();
        assert_eq!(record.deadline(), Some(due.deadline));
    }
}

fn restored(store: &Store) -> Store {
    let mut bytes = Vec::new();
    store.snapshot().write(&mut bytes).unwrap();
    Store::restore(&mut &bytes[..]).unwrap()
}

#[test]
fn a_key_exists_until_log_time_reaches_its_deadline_and_not_longer() {
    let mut store = Store::new();
    run(&mut store, 1_000, "SET key value PX 500");
    assert_eq!(store.lifetime(1_499, b"key"), Lifetime::Until(1_500));
    assert_eq!(store.text(1_499, b"key"), Ok(Some(&b"value"[..])));
    assert_eq!(store.len(1_499), 1);
    assert_eq!(store.text(1_500, b"key"), Ok(None));
    assert_eq!(store.len(1_500), 0);
    assert_eq!(store.lifetime(1_500, b"key"), Lifetime::Absent);
    assert_eq!(store.table.len(), 1, "reads remove nothing");
}

#[test]
fn a_write_to_a_key_that_has_ended_finds_none() {
    for (before, write, expected) in [
        ("SET key 7", "INCR key", ":1"),
        ("SET key 7", "APPEND key xy", ":2"),
        ("SET key 7", "PERSIST key", ":0"),
        ("SET key 7", "DEL key", ":0"),
        ("SET key 7", "PEXPIRE key 10", ":0"),
        ("SET key 7", "SET key v NX KEEPTTL", "+OK"),
        ("SET key 7", "RENAME key other", "-ERR no such key"),
        ("SADD key a", "SADD key a", ":1"),
        ("SADD key a", "SET key v KEEPTTL", "+OK"),
        ("SADD key a", "RPUSH key a", ":1"),
        ("RPUSH key a", "LPUSHX key a", ":0"),
        ("HSET key a 1", "HINCRBY key a 1", ":1"),
        ("ZADD key 1 a", "ZINCRBY key 1 a", "$1\r\n1"),
        ("XADD key 5-0 a 1", "XADD key 4-0 a 1", "$3\r\n4-0"),
        ("XADD key 5-0 a 1", "XADD key NOMKSTREAM 6-0 a 1", "$-1"),
    ] {
        let mut store = Store::new();
        run(&mut store, 1_000, before);
        run(&mut store, 1_000, "PEXPIRE key 500");
        // Others that are due first are all that the entry removes.
        for number in 0..EXPIRED_PER_ENTRY_MAX {
            store.put_text(format!("other{number}").as_bytes(), &[b""], Some(1_400));
        }
        assert_eq!(run(&mut store, 1_500, write), expected, "{write:?}");
        assert!(!matches!(store.lifetime(1_500, b"key"), Lifetime::Until(_)), "{write:?}");
        check(&store);
    }
}

#[test]
fn an_entry_removes_some_of_what_is_due_and_a_tick_more() {
    let mut store = Store::new();
    let keys: Vec<_> = (0..EXPIRED_PER_TICK_MAX + 100).map(|number| format!("key{number}")).collect();
    for key in &keys {
        store.put_text(key.as_bytes(), &[b"value"], Some(2_000));
    }
    run(&mut store, 2_000, "PERSIST absent");
    assert_eq!(store.table.len(), keys.len() - EXPIRED_PER_ENTRY_MAX);
    assert_eq!((store.len(1_999), store.len(2_000)), (keys.len() - EXPIRED_PER_ENTRY_MAX, 0));
    store.tick(1_999);
    assert_eq!(store.table.len(), keys.len() - EXPIRED_PER_ENTRY_MAX);
    store.tick(2_000);
    assert_eq!(store.table.len(), 100 - EXPIRED_PER_ENTRY_MAX);
    assert_eq!(store.next_deadline(), Some(2_000));
    store.tick(2_000);
    assert_eq!((store.table.len(), store.next_deadline()), (0, None));
    check(&store);
}

/// A store that was built otherwise may place keys differently, but removes the same ones when it removes only some.
#[test]
fn what_is_removed_does_not_depend_on_the_seed() {
    let mut stores = [Store::new(), Store::new()];
    for (seed, store) in stores.iter_mut().enumerate() {
        store.begin_entry(0, seed as u64);
        for number in 0..100 {
            store.put_text(format!("key{number}").as_bytes(), &[b"value"], Some(2_000));
        }
        run(store, 2_000, "PERSIST absent");
        assert_ne!(store.table.len(), 0);
    }
    assert_ne!(stores[0].table.seed(), stores[1].table.seed());
    assert_eq!(stores[0].digest(), stores[1].digest());
}

#[test]
fn the_first_entry_decides_the_places_of_keys_on_every_replica() {
    let mut store = Store::new();
    store.begin_entry(0, 17);
    store.begin_entry(0, 18);
    assert_eq!(store.table.seed(), 17);
    run(&mut store, 0, "SET a 1");
    assert_eq!(restored(&store).table.seed(), 17);
    let mut late = Store::new();
    late.put_text(b"a", &[b"1"], None);
    late.begin_entry(0, 17);
    assert_eq!(late.table.seed(), 0, "keys are not placed anew");
}

#[test]
fn an_append_beyond_the_limit_changes_nothing() {
    let mut store = Store::new();
    let half = "x".repeat(VALUE_BYTES_MAX / 2 + 1);
    run(&mut store, 0, &format!("APPEND key {half}"));
    let refused = run(&mut store, 0, &format!("APPEND key {half}"));
    assert_eq!(refused, "-ERR string exceeds maximum allowed size (proto-max-bulk-len)");
    assert_eq!(store.text(0, b"key"), Ok(Some(half.as_bytes())));
}

#[test]
fn flushed_and_dropped_keys_are_handed_on() {
    static HANDED: AtomicUsize = AtomicUsize::new(0);
    let mut store = Store::new().with_discard(|garbage| {
        HANDED.fetch_add(garbage.keys(), AtomicOrdering::Relaxed);
    });
    run(&mut store, 0, "SET a 1");
    assert_eq!(run(&mut store, 0, "FLUSHALL"), "+OK");
    assert_eq!((store.len(0), store.digest(), store.weight()), (0, 0, 0));
    assert_eq!(HANDED.load(AtomicOrdering::Relaxed), 1);
    run(&mut store, 0, "SET a 1");
    run(&mut store, 0, "RPUSH b 1");
    drop(store);
    assert_eq!(HANDED.load(AtomicOrdering::Relaxed), 3);
}

/// A store with all kinds of values, small and large.
fn mixed() -> Store {
    let mut store = Store::new();
    for number in 0..300_u32 {
        run(&mut store, 0, &format!("SET s{number} {number}"));
        for kind in ["RPUSH list", "SADD set"] {
            run(&mut store, 0, &format!("{kind} {number}"));
        }
        run(&mut store, 0, &format!("HSET hash {number} {}", number * 2));
        run(&mut store, 0, &format!("ZADD zset {} {number}", number % 7));
        run(&mut store, 0, &format!("XADD stream * number {number}"));
    }
    for command in ["XGROUP CREATE stream g 0", "XGROUP CREATE none g $ MKSTREAM", "XDEL stream 0-7"] {
        run(&mut store, 0, command);
    }
    run(&mut store, 0, "XREADGROUP GROUP g alice COUNT 150 STREAMS stream >");
    run(&mut store, 0, "XREADGROUP GROUP g bob COUNT 50 STREAMS stream >");
    for command in ["RPUSH l a b", "SADD u a b", "HSET h a 1 b 2", "ZADD z 1 a 2 b", "PEXPIRE set 9", "PEXPIRE s7 9"] {
        run(&mut store, 0, command);
    }
    store
}

#[test]
fn a_snapshot_stands_still_and_restores_the_same_store() {
    let mut store = mixed();
    let (digest, weight, snapshot) = (store.digest(), store.weight(), store.snapshot());
    let mut before = Vec::new();
    store.snapshot().write(&mut before).unwrap();
    for command in [
        "RPUSH list x",
        "LPOP list",
        "SADD set x",
        "SREM set 7",
        "HSET hash 1 x",
        "ZADD zset 9 3",
        "ZREM zset 4",
        "DEL l",
        "SREM u a",
        "HDEL h a b",
        "ZINCRBY z 1 a",
        "SET s9 x",
        "XADD stream 9-9 a b",
        "XTRIM stream MAXLEN 200",
        "XACK stream g 0-20",
        "XCLAIM stream g alice 0 0-199",
        "XGROUP DELCONSUMER stream g bob",
        "XGROUP SETID none g 7",
    ] {
        run(&mut store, 0, command);
        check(&store);
    }
    assert_ne!(store.digest(), digest);
    let mut bytes = Vec::new();
    snapshot.write(&mut bytes).unwrap();
    assert_eq!(bytes, before);
    assert_eq!(snapshot.keys(9).count(), 308);
    let mut restored = Store::restore(&mut &bytes[..]).unwrap();
    assert_eq!((restored.digest(), restored.weight(), restored.len(0)), (digest, weight, 310));
    check(&restored);
    // The restored store answers as the one that wrote the snapshot did.
    let mut again = Store::restore(&mut &bytes[..]).unwrap();
    for command in [
        "SPOP set 3",
        "SRANDMEMBER u",
        "LRANGE list 100 110",
        "ZRANGE zset 0 3 WITHSCORES",
        "HGETALL h",
        "XINFO STREAM stream FULL COUNT 0",
        "XAUTOCLAIM stream g carol 0 0-100",
    ] {
        assert_eq!(run(&mut restored, 0, command), run(&mut again, 0, command));
    }
    assert_eq!(restored.version(0, b"h"), again.version(0, b"h"));
}

#[test]
fn a_damaged_snapshot_is_refused() {
    let mut store = Store::new();
    for command in ["SET key value PX 7", "RPUSH l a bc", "HSET h f v", "SADD s m", "ZADD z 1.5 m", "XADD x 1-1 f v"] {
        run(&mut store, 0, command);
    }
    for command in ["XGROUP CREATE x g 0", "XREADGROUP GROUP g c STREAMS x >"] {
        run(&mut store, 5, command);
    }
    let mut bytes = Vec::new();
    store.snapshot().write(&mut bytes).unwrap();
    for length in 0..bytes.len() {
        assert!(Store::restore(&mut &bytes[..length]).is_err(), "an end at {length} was not seen");
    }
    let content = 4 + 1 + 1 + 8 + 8;
    let digest = store.digest();
    for position in (0..5).chain(content..bytes.len()) {
        let mut damaged = bytes.clone();
        damaged[position] ^= 0x40;
        let restored = Store::restore(&mut &damaged[..]);
        // A record's version is no part of the digest.
        assert!(restored.is_err() || restored.is_ok_and(|restored| restored.digest() == digest), "{position}");
    }
    bytes.push(0);
    assert!(matches!(Store::restore(&mut &bytes[..]), Err(RestoreError::Malformed)));
}

/// Bytes of the first release.
#[test]
fn snapshots_are_those_of_the_first_release() {
    let mut store = Store::new();
    store.begin_entry(0, 0x0908);
    store.put_text(b"key", &[b"val", b"ue"], Some(0x0506));
    assert_eq!(store.digest(), DIGEST_OF_ONE_KEY);
    let mut bytes = Vec::new();
    store.snapshot().write(&mut bytes).unwrap();
    let head = b"QKVS\x05\x01\x08\x09\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let record = b"\x01\x06\x05\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x03\0\0\0key\x05\0\0\0value\x00\x01\0\0\0\0\0\0\0";
    assert_eq!(bytes, [&head[..], record, &DIGEST_OF_ONE_KEY.to_le_bytes()[..]].concat());
    for (command, content) in [
        ("RPUSH k ab", &b"\x02\0\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x01\0\0\0k\x01\x01\0\0\0\x02\0\0\0ab"[..]),
        ("HSET k f v", b"\x03\0\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x01\0\0\0k\x01\x01\0\0\0\x03\0\0\0\x01fv"),
        ("SADD k m", b"\x04\0\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x01\0\0\0k\x01\x01\0\0\0\x02\0\0\0\x01m"),
        (
            "ZADD k 1 m",
            b"\x05\0\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x01\0\0\0k\x01\x01\0\0\0\x09\0\0\0\xbf\xf0\0\0\0\0\0\0m",
        ),
        (
            "XADD k 1-2 f v",
            b"\x06\0\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x01\0\0\0k\x01\x01\0\0\0\x14\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02\x01f\x01v\
            \x28\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0",
        ),
    ] {
        store.clear();
        store.revision = 1;
        run(&mut store, 0, command);
        let mut bytes = Vec::new();
        store.snapshot().write(&mut bytes).unwrap();
        assert_eq!(&bytes[head.len()..head.len() + content.len()], content, "{command}");
    }
}

const DIGEST_OF_ONE_KEY: u64 = 12_948_333_507_294_429_474;

#[test]
fn integers_are_read_as_strictly_as_redis_reads_them() {
    let good = ["0", "1", "-1", "9223372036854775807", "-9223372036854775808", "10"];
    let bad =
        ["", "-", "+1", "01", "-0", "-01", " 1", "1 ", "1.0", "9223372036854775808", "-9223372036854775809", "1x"];
    for text in good {
        assert_eq!(parse_integer(text.as_bytes()), text.parse().ok(), "{text}");
    }
    for text in bad {
        assert_eq!(parse_integer(text.as_bytes()), None, "{text:?}");
    }
}

#[test]
fn ids_of_entries_follow_the_time_of_the_log_and_never_go_back() {
    let mut store = Store::new();
    for (log_time, id) in [(5, "5-0"), (5, "5-1"), (9, "9-0"), (9, "9-1")] {
        assert_eq!(run(&mut store, log_time, "XADD s * a b"), format!("$3\r\n{id}"));
    }
    run(&mut store, 9, "XADD s 20-7 a b");
    assert_eq!(run(&mut store, 10, "XADD s * a b"), "$4\r\n20-8");
    let mut other = restored(&store);
    run(&mut other, 10, "XDEL s 20-8");
    assert_eq!(run(&mut other, 10, "XADD s * a b"), "$4\r\n20-9");
}

/// Whoever waits for a stream looks at it again when entries come, when a group goes, and at no other time: each look
/// of a member of a group is an entry of the log.
#[test]
fn who_waits_for_a_stream_is_woken_by_entries_and_by_the_end_of_a_group() {
    let mut store = Store::new();
    run(&mut store, 0, "XADD s 1-0 a b");
    run(&mut store, 0, "XGROUP CREATE s g 0");
    let woken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&woken);
    let wake = move || {
        count.fetch_add(1, AtomicOrdering::Relaxed);
    };
    let _wait = store.waiters().wait(vec![Box::from(&b"s"[..])], wake);
    for (command, wakes) in [
        ("XREADGROUP GROUP g c STREAMS s >", 0),
        ("XREADGROUP GROUP g c STREAMS s >", 0),
        ("XREADGROUP GROUP g c STREAMS s 0", 0),
        ("XCLAIM s g d 0 1-0", 0),
        ("XACK s g 1-0", 0),
        ("XADD s 2-0 a b", 1),
        ("XDEL s 2-0", 0),
        ("XGROUP DESTROY s g", 1),
        ("DEL s", 1),
        ("XADD s 1-0 a b", 1),
        ("FLUSHALL", 1),
    ] {
        run(&mut store, 0, command);
        assert_eq!(woken.swap(0, AtomicOrdering::Relaxed), wakes, "{command}");
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_decoded_or_refused(bytes: Vec<u8>, version in 0..3_u8) {
        let _ = command::apply(&mut Store::new(), 0, &bytes);
        let _ = Store::restore(&mut &bytes[..]);
        let begun = [&b"QKVS\x05\x01"[..], &[0; 28], &[version], &bytes].concat();
        let _ = Store::restore(&mut &begun[..]);
    }

    /// Compares the store with a plain map, beside a replica that is restored from a snapshot midway.
    #[test]
    fn behaves_like_a_map_and_replicas_agree(steps in proptest::collection::vec(step(), 1..120), midway in 0_usize..120) {
        let (mut store, mut other) = (Store::new(), Store::new());
        let mut model = Model::default();
        let mut now = 1_000;
        for (number, (passed, step)) in steps.iter().enumerate() {
            now += u64::from(*passed);
            let command = step.command();
            let reply = run(&mut store, now, &command);
            prop_assert_eq!(&reply, &run(&mut other, now, &command));
            prop_assert_eq!(&reply, &model.apply(now, step), "{:?} at {}", step, now);
            prop_assert_eq!(store.digest(), other.digest());
            prop_assert_eq!(store.version(now, b"k1"), other.version(now, b"k1"));
            if number == midway {
                other = restored(&store);
            }
            check(&store);
        }
        for key in 0..KEYS {
            let text = store.text(now, format!("k{key}").as_bytes()).unwrap().map(<[u8]>::to_vec);
            prop_assert_eq!(text, model.get(now, key).map(|(value, _)| value));
        }
        prop_assert_eq!(store.len(now), (0..KEYS).filter(|key| model.get(now, *key).is_some()).count());
    }
}

const KEYS: u8 = 6;

#[derive(Debug, Clone)]
enum Step {
    Set(u8, String, u8, Option<i64>, bool),
    Delete(u8, u8),
    Add(u8, i64),
    Append(u8, String),
    Expire(u8, i64),
    Persist(u8),
    FlushAll,
}

fn step() -> impl Strategy<Value = (u8, Step)> {
    let key = 0..KEYS;
    let value = prop_oneof!["[0-9]{1,3}", "[a-z]{0,3}"];
    let set = (key.clone(), value.clone(), 0_u8..3, proptest::option::of(1_i64..300), any::<bool>());
    let step = prop_oneof![
        6 => set.prop_map(|(key, value, condition, ms, keeps)| Step::Set(key, value, condition, ms, keeps)),
        2 => (key.clone(), key.clone()).prop_map(|(one, other)| Step::Delete(one, other)),
        2 => (key.clone(), prop_oneof![-5_i64..5, Just(i64::MAX)]).prop_map(|(key, by)| Step::Add(key, by)),
        2 => (key.clone(), value).prop_map(|(key, value)| Step::Append(key, value)),
        3 => (key.clone(), -50_i64..300).prop_map(|(key, ms)| Step::Expire(key, ms)),
        2 => key.prop_map(Step::Persist),
        1 => Just(Step::FlushAll),
    ];
    (any::<u8>(), step)
}

impl Step {
    fn command(&self) -> String {
        match self {
            Self::Set(key, value, condition, ms, keeps) => {
                let condition = ["", " NX", " XX"][usize::from(*condition)];
                let expiry = match ms {
                    Some(ms) => format!(" PX {ms}"),
                    None if *keeps => " KEEPTTL".to_owned(),
                    None => String::new(),
                };
                format!("SET k{key} {value}{condition}{expiry}")
            }
            Self::Delete(one, other) => format!("DEL k{one} k{other}"),
            Self::Add(key, by) => format!("INCRBY k{key} {by}"),
            Self::Append(key, value) => format!("APPEND k{key} {value}"),
            Self::Expire(key, ms) => format!("PEXPIRE k{key} {ms}"),
            Self::Persist(key) => format!("PERSIST k{key}"),
            Self::FlushAll => "FLUSHALL".to_owned(),
        }
    }
}

/// A simple model of the store.
#[derive(Default)]
struct Model(BTreeMap<u8, (Vec<u8>, Option<u64>)>);

impl Model {
    fn get(&self, now: u64, key: u8) -> Option<(Vec<u8>, Option<u64>)> {
        self.0.get(&key).filter(|(_, deadline)| deadline.is_none_or(|deadline| deadline > now)).cloned()
    }

    fn apply(&mut self, now: u64, step: &Step) -> String {
        let after = |ms: i64| now.saturating_add_signed(ms);
        match step {
            Step::Set(key, value, condition, ms, keeps) => {
                let old = self.get(now, *key);
                if (*condition == 1 && old.is_some()) || (*condition == 2 && old.is_none()) {
                    return "$-1".to_owned();
                }
                let kept = old.filter(|_| *keeps).and_then(|(_, deadline)| deadline);
                self.0.insert(*key, (value.clone().into_bytes(), ms.map(after).or(kept)));
                "+OK".to_owned()
            }
            Step::Delete(one, other) => {
                let removed = [one, other].into_iter().filter(|key| {
                    let existed = self.get(now, **key).is_some();
                    self.0.remove(key);
                    existed
                });
                format!(":{}", removed.count())
            }
            Step::Add(key, by) => {
                let (value, deadline) = self.get(now, *key).unwrap_or((b"0".to_vec(), None));
                let Some(number) = parse_integer(&value) else {
                    return "-ERR value is not an integer or out of range".to_owned();
                };
                let Some(sum) = number.checked_add(*by) else {
                    return "-ERR increment or decrement would overflow".to_owned();
                };
                self.0.insert(*key, (sum.to_string().into_bytes(), deadline));
                format!(":{sum}")
            }
            Step::Append(key, value) => {
                let (mut old, deadline) = self.get(now, *key).unwrap_or_default();
                old.extend(value.as_bytes());
                self.0.insert(*key, (old.clone(), deadline));
                format!(":{}", old.len())
            }
            Step::Expire(key, ms) => match self.get(now, *key) {
                None => ":0".to_owned(),
                Some((value, _)) => {
                    self.0.insert(*key, (value, Some(after(*ms))));
                    ":1".to_owned()
                }
            },
            Step::Persist(key) => match self.get(now, *key) {
                Some((value, Some(_))) => {
                    self.0.insert(*key, (value, None));
                    ":1".to_owned()
                }
                _ => ":0".to_owned(),
            },
            Step::FlushAll => {
                self.0.clear();
                "+OK".to_owned()
            }
        }
    }
}

/// The next change would have overflowed.
#[test]
fn a_revision_that_cannot_grow_is_refused() {
    let mut bytes = Vec::new();
    Store::new().snapshot().write(&mut bytes).unwrap();
    // Behind the name, the version, the mark of the seed, and the seed.
    let revision = 14..22;
    bytes[revision.clone()].copy_from_slice(&(1_u64 << 62).to_le_bytes());
    assert!(Store::restore(&mut &bytes[..]).is_ok());
    bytes[revision].copy_from_slice(&(1_u64 << 63).to_le_bytes());
    assert!(matches!(Store::restore(&mut &bytes[..]), Err(RestoreError::Malformed)));
}
