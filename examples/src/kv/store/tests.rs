use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering as AtomicOrdering};

use proptest::prelude::*;

use super::*;

fn batch(writes: &[Write<'_>]) -> BytesMut {
    let mut batch = BytesMut::new();
    for write in writes {
        write.encode(&mut batch);
    }
    batch
}

fn set<'a>(key: &'a [u8], value: &'a [u8], expiry: Expiry) -> Write<'a> {
    Write::Set { key, value, condition: SetCondition::Always, expiry, answer: SetAnswer::Outcome }
}

fn expire(key: &[u8], in_ms: i64) -> Write<'_> {
    Write::Expire { key, in_ms, condition: ExpireCondition::default(), unit: Unit::Milliseconds }
}

/// Applies one write and returns its outcome in a readable form.
fn apply(store: &mut Store, log_time: u64, write: &Write<'_>) -> String {
    let answer = store.apply(log_time, &batch(std::slice::from_ref(write)));
    let outcomes: Vec<_> = WriteOutcome::decode_all(&answer).map(Result::unwrap).collect();
    assert_eq!(outcomes.len(), 1);
    format!("{:?}", outcomes[0])
}

/// Checks the invariants between the parts of a store.
fn check(store: &Store) {
    let records: Vec<_> = store.table.iter().collect();
    let with_deadline = records.iter().filter(|record| record.deadline().is_some());
    assert_eq!(with_deadline.count(), store.deadlines.len());
    assert_eq!(records.iter().map(|record| record.weight()).sum::<u64>(), store.weight);
    assert_eq!(records.iter().fold(0_u64, |sum, record| sum.wrapping_add(record.digest())), store.digest);
    for due in &store.deadlines {
        let record = store.table.get(store.table.hash(due.record.key()), due.record.key()).unwrap();
        assert_eq!((record.deadline(), record.value()), (Some(due.deadline), due.record.value()));
    }
}

#[test]
fn a_key_exists_until_log_time_reaches_its_deadline_and_not_longer() {
    let mut store = Store::new(0);
    apply(&mut store, 1_000, &set(b"key", b"value", Expiry::In(500)));
    assert_eq!(store.lifetime(1_499, b"key"), Lifetime::Until(1_500));
    assert_eq!(store.get(1_499, b"key"), Some(&b"value"[..]));
    assert_eq!(store.len(1_499), 1);
    assert_eq!(store.get(1_500, b"key"), None);
    assert_eq!(store.len(1_500), 0);
    assert_eq!(store.lifetime(1_500, b"key"), Lifetime::Absent);
    assert_eq!(store.table.len(), 1, "reads remove nothing");
}

#[test]
fn a_write_to_a_key_that_has_ended_finds_none() {
    let past = |store: &mut Store| {
        apply(store, 1_000, &set(b"key", b"7", Expiry::In(500)));
    };
    let absent = SetCondition::Absent;
    let writes = [
        (Write::Add { key: b"key", by: 1 }, "Integer(1)"),
        (Write::Append { key: b"key", value: b"xy" }, "Integer(2)"),
        (Write::Persist { key: b"key" }, "Integer(0)"),
        (Write::Delete { keys: vec![b"key"] }, "Integer(0)"),
        (expire(b"key", 10), "Integer(0)"),
        (
            Write::Set {
                key: b"key",
                value: b"v",
                condition: absent,
                expiry: Expiry::Keep,
                answer: SetAnswer::Outcome,
            },
            "Ok",
        ),
    ];
    for (write, expected) in writes {
        let mut store = Store::new(0);
        past(&mut store);
        assert_eq!(apply(&mut store, 1_500, &write), expected, "{write:?}");
        assert_ne!(store.lifetime(1_500, b"key"), Lifetime::Until(1_500), "{write:?}");
        check(&store);
    }
}

#[test]
fn an_entry_removes_some_of_what_is_due_and_a_tick_more() {
    let mut store = Store::new(0);
    let keys: Vec<_> = (0..EXPIRED_PER_TICK_MAX + 100).map(|number| format!("key{number}")).collect();
    for key in &keys {
        store.put_parts(key.as_bytes(), &[b"value"], Some(2_000));
    }
    apply(&mut store, 2_000, &Write::Persist { key: b"absent" });
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

/// Replicas place keys differently, but remove the same ones when they remove only some.
#[test]
fn what_is_removed_does_not_depend_on_the_seed() {
    let mut stores = [Store::new(1), Store::new(2)];
    for store in &mut stores {
        for number in 0..100 {
            store.put_parts(format!("key{number}").as_bytes(), &[b"value"], Some(2_000));
        }
        apply(store, 2_000, &Write::Persist { key: b"absent" });
        assert_ne!(store.table.len(), 0);
    }
    assert_eq!(stores[0].digest(), stores[1].digest());
}

#[test]
fn a_batch_is_applied_as_one_and_answers_in_order() {
    let mut store = Store::new(0);
    let writes = [
        set(b"n", b"1", Expiry::Never),
        Write::Add { key: b"n", by: 41 },
        Write::Set {
            key: b"n",
            value: b"x",
            condition: SetCondition::Present,
            expiry: Expiry::Never,
            answer: SetAnswer::Old,
        },
        Write::Add { key: b"n", by: 1 },
        Write::Persist { key: b"n" },
    ];
    let answer = store.apply(0, &batch(&writes));
    let outcomes: Vec<_> = WriteOutcome::decode_all(&answer).map(Result::unwrap).collect();
    let expected = [
        WriteOutcome::Ok,
        WriteOutcome::Integer(42),
        WriteOutcome::Value(b"42"),
        WriteOutcome::Refused(Refusal::NotAnInteger),
        WriteOutcome::Integer(0),
    ];
    assert_eq!(outcomes, expected);
}

#[test]
fn an_append_beyond_the_limit_changes_nothing() {
    let mut store = Store::new(0);
    let half = vec![b'x'; VALUE_BYTES_MAX / 2 + 1];
    apply(&mut store, 0, &Write::Append { key: b"key", value: &half });
    assert_eq!(apply(&mut store, 0, &Write::Append { key: b"key", value: &half }), "Refused(TooLong)");
    assert_eq!(store.get(0, b"key").map(<[u8]>::len), Some(half.len()));
}

#[test]
#[should_panic(expected = "version 9 is not known")]
fn an_entry_of_a_newer_program_is_never_skipped() {
    Store::new(0).apply(0, &[9, 1, 2, 3]);
}

#[test]
fn flushed_and_dropped_keys_are_handed_on() {
    static HANDED: AtomicUsize = AtomicUsize::new(0);
    let mut store = Store::new(0).with_discard(|garbage| {
        HANDED.fetch_add(garbage.keys(), AtomicOrdering::Relaxed);
    });
    apply(&mut store, 0, &set(b"a", b"1", Expiry::Never));
    assert_eq!(apply(&mut store, 0, &Write::FlushAll), "Ok");
    assert_eq!((store.len(0), store.digest(), store.weight()), (0, 0, 0));
    assert_eq!(HANDED.load(AtomicOrdering::Relaxed), 1);
    apply(&mut store, 0, &set(b"a", b"1", Expiry::Never));
    apply(&mut store, 0, &set(b"b", b"1", Expiry::Never));
    drop(store);
    assert_eq!(HANDED.load(AtomicOrdering::Relaxed), 3);
}

#[test]
fn a_snapshot_stands_still_and_restores_the_same_store() {
    let mut store = Store::new(1);
    for number in 0..1_000_u32 {
        let deadline = number.is_multiple_of(3).then_some(5_000 + u64::from(number));
        store.put_parts(&number.to_le_bytes(), &[&vec![7; number as usize % 100]], deadline);
    }
    let (digest, snapshot) = (store.digest(), store.snapshot());
    apply(&mut store, 0, &Write::FlushAll);
    apply(&mut store, 0, &set(b"later", b"1", Expiry::Never));
    assert_eq!(snapshot.keys(5_000).count(), 999);
    let mut bytes = Vec::new();
    let written = snapshot.write(&mut bytes).unwrap();
    assert_eq!(written, bytes.len() as u64);
    let restored = Store::restore(2, &mut &bytes[..]).unwrap();
    assert_eq!((restored.digest(), restored.len(0)), (digest, 1_000));
    check(&restored);
}

#[test]
fn a_damaged_snapshot_is_refused() {
    let mut store = Store::new(0);
    store.put_parts(b"key", &[b"value"], Some(7));
    let mut bytes = Vec::new();
    store.snapshot().write(&mut bytes).unwrap();
    for position in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[position] ^= 0x40;
        assert!(Store::restore(0, &mut &damaged[..]).is_err(), "a flip at {position} was not seen");
        assert!(Store::restore(0, &mut &bytes[..position]).is_err(), "an end at {position} was not seen");
    }
    bytes.push(0);
    assert!(matches!(Store::restore(0, &mut &bytes[..]), Err(RestoreError::Malformed)));
}

/// Bytes of the first release. New ones may be added, but none may change.
#[test]
fn encodings_are_those_of_the_first_release() {
    let expiry = Expiry::In(0x0102);
    let condition = ExpireCondition { present: true, later: true, ..ExpireCondition::default() };
    let golden: [(Write<'_>, &[u8]); 10] = [
        (set(b"k", b"v", Expiry::Never), b"\x01\x01\x00\x01k\x01v"),
        (
            Write::Set { key: b"k", value: b"", condition: SetCondition::Absent, expiry, answer: SetAnswer::Old },
            b"\x01\x01\x19\x02\x01\0\0\0\0\0\0\x01k\x00",
        ),
        (
            Write::Set {
                key: b"k",
                value: &[b'x'; 200],
                condition: SetCondition::Present,
                expiry: Expiry::Keep,
                answer: SetAnswer::Outcome,
            },
            &[&b"\x01\x01\x06\x01k\xc8\x01"[..], &[b'x'; 200]].concat(),
        ),
        (Write::Delete { keys: vec![b"a", b"bc"] }, b"\x01\x02\x02\x01a\x02bc"),
        (Write::Add { key: b"n", by: -2 }, b"\x01\x03\xfe\xff\xff\xff\xff\xff\xff\xff\x01n"),
        (Write::Append { key: b"k", value: b"v" }, b"\x01\x04\x01k\x01v"),
        (Write::SetMany { pairs: vec![(b"a", b"1")] }, b"\x01\x05\x01\x01a\x011"),
        (
            Write::Expire { key: b"k", in_ms: 3, condition, unit: Unit::Milliseconds },
            b"\x01\x06\x16\x03\0\0\0\0\0\0\0\x01k",
        ),
        (Write::Persist { key: b"k" }, b"\x01\x07\x01k"),
        (Write::FlushAll, b"\x01\x08"),
    ];
    for (write, bytes) in golden {
        assert_eq!(&batch(std::slice::from_ref(&write))[..], bytes, "{write:?}");
        let decoded: Vec<_> = Batch::open(bytes).unwrap().collect();
        assert_eq!(decoded, [Ok(write)]);
    }
    let outcomes: [(WriteOutcome<'_>, &[u8]); 6] = [
        (WriteOutcome::Nil, b"\x00"),
        (WriteOutcome::Ok, b"\x01"),
        (WriteOutcome::Integer(-1), b"\x02\xff\xff\xff\xff\xff\xff\xff\xff"),
        (WriteOutcome::Value(b"ab"), b"\x03\x02ab"),
        (WriteOutcome::Refused(Refusal::NotAnInteger), b"\x04\x01"),
        (WriteOutcome::Refused(Refusal::TooLong), b"\x04\x06"),
    ];
    for (outcome, bytes) in outcomes {
        let mut encoded = BytesMut::new();
        outcome.encode(&mut encoded);
        assert_eq!(&encoded[..], bytes);
        assert_eq!(WriteOutcome::decode_all(bytes).collect::<Vec<_>>(), [Ok(outcome)]);
    }
    let mut store = Store::new(0);
    store.put_parts(b"key", &[b"val", b"ue"], Some(0x0506));
    assert_eq!(store.digest(), DIGEST_OF_ONE_KEY);
    let mut bytes = Vec::new();
    store.snapshot().write(&mut bytes).unwrap();
    let start = b"QKVS\x01\x01\x06\x05\0\0\0\0\0\0\x03\0\0\0\x05\0\0\0keyvalue\x00\x01\0\0\0\0\0\0\0";
    assert_eq!(bytes, [start, &DIGEST_OF_ONE_KEY.to_le_bytes()[..]].concat());
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

proptest! {
    #[test]
    fn arbitrary_bytes_are_decoded_or_refused(bytes: Vec<u8>) {
        if let Ok(batch) = Batch::open(&bytes) {
            let _ = batch.take_while(Result::is_ok).count();
        }
        let _ = WriteOutcome::decode_all(&bytes).take_while(Result::is_ok).count();
        let _ = Store::restore(0, &mut &bytes[..]);
    }

    /// Compares the store with a plain map, on two replicas with different seeds, one of which is restored from a
    /// snapshot midway.
    #[test]
    fn behaves_like_a_map_and_replicas_agree(steps in proptest::collection::vec(step(), 1..120), midway in 0_usize..120) {
        let (mut store, mut other) = (Store::new(1), Store::new(2));
        let mut model = Model::default();
        let mut now = 1_000;
        for (number, (passed, step)) in steps.iter().enumerate() {
            now += u64::from(*passed);
            let write = step.write();
            let outcome = apply(&mut store, now, &write);
            prop_assert_eq!(&outcome, &apply(&mut other, now, &write));
            prop_assert_eq!(&outcome, &model.apply(now, step), "{:?} at {}", step, now);
            prop_assert_eq!(store.digest(), other.digest());
            if number == midway {
                let mut bytes = Vec::new();
                store.snapshot().write(&mut bytes).unwrap();
                other = Store::restore(3, &mut &bytes[..]).unwrap();
            }
            check(&store);
        }
        for key in 0..KEYS {
            prop_assert_eq!(store.get(now, &[key]).map(<[u8]>::to_vec), model.get(now, key).map(|(value, _)| value));
        }
        prop_assert_eq!(store.len(now), (0..KEYS).filter(|key| model.get(now, *key).is_some()).count());
    }
}

const KEYS: u8 = 6;

#[derive(Debug, Clone)]
enum Step {
    Set(u8, Vec<u8>, u8, Option<i64>, bool),
    Delete(u8, u8),
    Add(u8, i64),
    Append(u8, Vec<u8>),
    Expire(u8, i64),
    Persist(u8),
    FlushAll,
}

fn step() -> impl Strategy<Value = (u8, Step)> {
    let key = 0..KEYS;
    let value = prop_oneof!["[0-9]{1,3}", "[a-z]{0,3}"].prop_map(String::into_bytes);
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
    fn write(&self) -> Write<'_> {
        match self {
            Self::Set(key, value, condition, ms, keeps) => Write::Set {
                key: std::slice::from_ref(key),
                value,
                condition: [SetCondition::Always, SetCondition::Absent, SetCondition::Present][usize::from(*condition)],
                expiry: match ms {
                    Some(ms) => Expiry::In(*ms),
                    None if *keeps => Expiry::Keep,
                    None => Expiry::Never,
                },
                answer: SetAnswer::Outcome,
            },
            Self::Delete(one, other) => {
                Write::Delete { keys: vec![std::slice::from_ref(one), std::slice::from_ref(other)] }
            }
            Self::Add(key, by) => Write::Add { key: std::slice::from_ref(key), by: *by },
            Self::Append(key, value) => Write::Append { key: std::slice::from_ref(key), value },
            Self::Expire(key, ms) => expire(std::slice::from_ref(key), *ms),
            Self::Persist(key) => Write::Persist { key: std::slice::from_ref(key) },
            Self::FlushAll => Write::FlushAll,
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
                    return "Nil".to_owned();
                }
                let kept = old.filter(|_| *keeps).and_then(|(_, deadline)| deadline);
                self.0.insert(*key, (value.clone(), ms.map(after).or(kept)));
                "Ok".to_owned()
            }
            Step::Delete(one, other) => {
                let removed = [one, other].into_iter().filter(|key| {
                    let existed = self.get(now, **key).is_some();
                    self.0.remove(key);
                    existed
                });
                format!("Integer({})", removed.count())
            }
            Step::Add(key, by) => {
                let (value, deadline) = self.get(now, *key).unwrap_or((b"0".to_vec(), None));
                let Some(number) = parse_integer(&value) else { return "Refused(NotAnInteger)".to_owned() };
                let Some(sum) = number.checked_add(*by) else { return "Refused(Overflow)".to_owned() };
                self.0.insert(*key, (sum.to_string().into_bytes(), deadline));
                format!("Integer({sum})")
            }
            Step::Append(key, value) => {
                let (mut old, deadline) = self.get(now, *key).unwrap_or_default();
                old.extend(value);
                self.0.insert(*key, (old.clone(), deadline));
                format!("Integer({})", old.len())
            }
            Step::Expire(key, ms) => match self.get(now, *key) {
                None => "Integer(0)".to_owned(),
                Some((value, _)) => {
                    self.0.insert(*key, (value, Some(after(*ms))));
                    "Integer(1)".to_owned()
                }
            },
            Step::Persist(key) => match self.get(now, *key) {
                Some((value, Some(_))) => {
                    self.0.insert(*key, (value, None));
                    "Integer(1)".to_owned()
                }
                _ => "Integer(0)".to_owned(),
            },
            Step::FlushAll => {
                self.0.clear();
                "Ok".to_owned()
            }
        }
    }
}
