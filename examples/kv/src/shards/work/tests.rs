use super::*;
use crate::entry::EntryWriter;
use crate::resp::Version;
use crate::store::AGE_MAX;

fn entry(commands: &[&[&[u8]]]) -> Bytes {
    let mut entry = EntryWriter::new(Version::Resp2, 0, 0, 0);
    for command in commands {
        entry.command(command);
    }
    entry.finish()
}

fn run(store: &mut Store, commands: &[&[&[u8]]]) -> ShardReply {
    Work::Entry { entry: entry(commands), asks: false }.carry_out(store, 1).unwrap()
}

fn slots(store: &mut Store, change: SlotChange, slots: &[u16]) -> ShardReply {
    Work::Slots { change, generation: 2, slots: slots.to_vec() }.carry_out(store, 1).unwrap()
}

const DONE: ShardReply = ShardReply::Done(Bytes::new());

#[test]
fn the_bytes_are_those_of_the_first_release() {
    let part = Part {
        checks: vec![(Bytes::from("a"), 7)],
        effects: vec![
            Effect::Remove(Bytes::from("b")),
            Effect::Put { key: Bytes::from("c"), record: Bytes::from("r"), moves: false },
            Effect::Put { key: Bytes::from("d"), record: Bytes::new(), moves: true },
        ],
    };
    let body = b"\x01\0\0\0\x01\0\0\0a\x07\0\0\0\0\0\0\0\x03\0\0\0\x01\x01\0\0\0b\x02\x01\0\0\0c\x01\0\0\0r\x03\x01\0\0\0d\0\0\0\0";
    for (only_if, kind) in [(false, 17), (true, 18)] {
        let work = Work::Part { part: part.clone(), only_if };
        assert_eq!(work.encode(), [&[kind], &body[..]].concat());
        assert_eq!(Work::decode(work.encode()), Ok(work));
    }
    let work = Work::Slots { change: SlotChange::Release(258), generation: 9, slots: vec![1, 515] };
    assert_eq!(&work.encode()[..], [19, 3, 2, 1, 9, 0, 0, 0, 0, 0, 0, 0, 1, 0, 3, 2]);
    assert_eq!(Work::decode(work.encode()), Ok(work));
    let work = Work::Cut { id: 513 };
    assert_eq!(&work.encode()[..], [20, 1, 2, 0, 0, 0, 0, 0, 0]);
    assert_eq!(Work::decode(work.encode()), Ok(work));
    let work = Work::Piece { id: 0x0201, place: 258, bytes: Bytes::from("ab") };
    assert_eq!(&work.encode()[..], b"\x15\x01\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x02\x01\0\0ab");
    assert_eq!(Work::decode(work.encode()), Ok(work));
    let work = Work::Whole { id: 0x0201, count: 7 };
    assert_eq!(&work.encode()[..], b"\x16\x01\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x07\0\0\0");
    assert_eq!(Work::decode(work.encode()), Ok(work));
    let work = Work::Entry { entry: entry(&[&[b"get", b"k"]]), asks: true };
    assert_eq!(work.encode()[..2], [16, 4]);
    assert_eq!(Work::decode(work.encode()), Ok(work));
}

#[test]
fn bytes_that_are_cut_or_of_a_newer_program_are_refused() {
    let part = Part { checks: vec![(Bytes::from("a"), 7)], effects: vec![Effect::Remove(Bytes::from("b"))] };
    let bytes = Work::Part { part, only_if: false }.encode();
    for length in 0..bytes.len() {
        assert!(Work::decode(bytes.slice(..length)).is_err(), "{length}");
    }
    for (bytes, error) in [
        (&[23][..], DecodeError::Kind(23)),
        (&[21, 1], DecodeError::Short),
        (&[22; 22], DecodeError::Length),
        (&[20, 1], DecodeError::Length),
        (&[19, 5, 0, 0], DecodeError::Kind(5)),
        (&[19, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x40], DecodeError::Length),
        (&[], DecodeError::Short),
    ] {
        assert_eq!(Work::decode(Bytes::copy_from_slice(bytes)), Err(error));
    }
}

#[test]
fn replies_survive_their_bytes() {
    for reply in [
        ShardReply::Done(Bytes::from("+OK\r\n")),
        ShardReply::Elsewhere(Elsewhere::Unknown),
        ShardReply::Elsewhere(Elsewhere::Moved(300)),
        ShardReply::Elsewhere(Elsewhere::Asked(1)),
        ShardReply::Changed,
        ShardReply::Refused("no".to_owned()),
        ShardReply::Dropped,
    ] {
        assert_eq!(ShardReply::decode(reply.clone().encode()), reply);
    }
}

#[test]
fn an_entry_is_carried_out_only_if_every_key_is_here() {
    let mut store = Store::new();
    let (here, away): (&[u8], &[u8]) = (b"here", b"away");
    assert_ne!(slot_of(here), slot_of(away));
    assert_eq!(slots(&mut store, SlotChange::Found, &[slot_of(here)]), DONE);
    assert_eq!(run(&mut store, &[&[b"set", here, b"1"]]), ShardReply::Done(Bytes::from("+OK\r\n")));
    let refused = ShardReply::Elsewhere(Elsewhere::Unknown);
    assert_eq!(run(&mut store, &[&[b"set", here, b"2"], &[b"set", away, b"2"]]), refused);
    assert_eq!(store.text(1, here), Ok(Some(&b"1"[..])), "nothing of it was done");
    assert_eq!(run(&mut store, &[&[b"mget", here, away]]), refused);
}

/// It would find nothing, or set a key where nobody looks for it.
#[test]
fn a_script_uses_no_key_of_another_shard() {
    let mut store = Store::new();
    slots(&mut store, SlotChange::Found, &[slot_of(b"here")]);
    for script in [
        &b"return redis.call('set', 'away', 1)"[..],
        b"return redis.call('sort', 'here', 'by', 'away*')",
        b"return redis.call('dbsize')",
    ] {
        let ShardReply::Done(reply) = run(&mut store, &[&[b"eval", script, b"1", b"here"]]) else { panic!("no reply") };
        assert!(reply.starts_with(b"-ERR Script attempted to access a non local key"), "{reply:?}");
    }
    assert_eq!(store.len(1), 0);
    let script = b"return redis.call('set', 'here', 1)";
    assert_eq!(run(&mut store, &[&[b"eval", script, b"1", b"here"]]), ShardReply::Done(Bytes::from("+OK\r\n")));
}

#[test]
fn a_part_is_possible_as_long_as_nothing_that_was_read_has_changed() {
    let mut store = Store::new();
    run(&mut store, &[&[b"set", b"a", b"1"]]);
    let version = store.version(1, b"a");
    let part = |version| Part {
        checks: vec![(Bytes::from("a"), version), (Bytes::from("none"), 0)],
        effects: vec![Effect::Remove(Bytes::from("a"))],
    };
    let work = |version, only_if| Work::Part { part: part(version), only_if };
    assert!(work(version, false).is_possible(&store, 1));
    assert!(!work(version + 1, false).is_possible(&store, 1));
    assert_eq!(work(version + 1, true).carry_out(&mut store, 1), Ok(ShardReply::Changed));
    assert_eq!(store.text(1, b"a"), Ok(Some(&b"1"[..])));
    assert_eq!(work(version, true).carry_out(&mut store, 1), Ok(DONE));
    assert_eq!(store.text(1, b"a"), Ok(None));
    run(&mut store, &[&[b"set", b"a", b"1", b"px", b"10"]]);
    let version = store.version(1, b"a");
    assert!(work(version, false).is_possible(&store, 10));
    assert!(!work(version, false).is_possible(&store, 11), "it has expired");
}

#[test]
fn a_prepared_part_is_carried_out_though_a_key_has_expired_since() {
    let mut store = Store::new();
    run(&mut store, &[&[b"set", b"a", b"1", b"px", b"10"]]);
    let version = store.version(1, b"a");
    let part = Part { checks: vec![(Bytes::from("a"), version)], effects: vec![Effect::Remove(Bytes::from("a"))] };
    assert_eq!(Work::Part { part, only_if: false }.carry_out(&mut store, 1_000), Ok(DONE));
}

#[test]
fn a_record_keeps_its_version_when_it_moves_and_gets_a_new_one_when_it_changes() {
    let (mut from, mut to) = (Store::new(), Store::new());
    run(&mut from, &[&[b"set", b"x", b"0"], &[b"rpush", b"list", b"a", b"b"]]);
    let record = from.get(1, b"list").unwrap().clone();
    let put = |moves| Part { checks: Vec::new(), effects: vec![Effect::put(&record, moves)] };
    Work::Part { part: put(true), only_if: false }.carry_out(&mut to, 1).unwrap();
    assert_eq!(to.version(1, b"list"), from.version(1, b"list"));
    assert_eq!(
        run(&mut to, &[&[b"lrange", b"list", b"0", b"-1"]]),
        run(&mut from, &[&[b"lrange", b"list", b"0", b"-1"]])
    );
    Work::Part { part: put(false), only_if: false }.carry_out(&mut to, 1).unwrap();
    assert!(to.version(1, b"list") > from.version(1, b"list"));
}

#[test]
fn slots_move_with_their_keys() {
    let (mut from, mut to) = (Store::new(), Store::new());
    let slot = slot_of(b"key");
    slots(&mut from, SlotChange::Found, &[slot]);
    slots(&mut to, SlotChange::Found, &[]);
    run(&mut from, &[&[b"set", b"key", b"1"]]);
    assert_eq!(from.keys_in_slot(slot), 1);
    slots(&mut to, SlotChange::Arrive, &[slot]);
    slots(&mut from, SlotChange::Leave(1), &[slot]);
    assert!(matches!(slots(&mut from, SlotChange::Release(1), &[slot]), ShardReply::Refused(_)), "it has a key");
    let record = from.get(1, b"key").unwrap().clone();
    let gone = Part {
        checks: vec![(Bytes::from("key"), record.version())],
        effects: vec![Effect::Remove(Bytes::from("key"))],
    };
    let come = Part { checks: vec![(Bytes::from("key"), 0)], effects: vec![Effect::put(&record, true)] };
    for (store, part) in [(&mut from, gone), (&mut to, come)] {
        let work = Work::Part { part, only_if: false };
        assert!(work.is_possible(store, 1));
        work.carry_out(store, 1).unwrap();
    }
    assert_eq!(run(&mut from, &[&[b"get", b"key"]]), ShardReply::Elsewhere(Elsewhere::Asked(1)));
    let asking = Work::Entry { entry: entry(&[&[b"get", b"key"]]), asks: true };
    assert_eq!(asking.carry_out(&mut to, 1), Ok(ShardReply::Done(Bytes::from("$1\r\n1\r\n"))));
    assert_eq!(slots(&mut from, SlotChange::Release(1), &[slot]), DONE);
    assert_eq!(slots(&mut to, SlotChange::Settle, &[slot]), DONE);
    assert_eq!(run(&mut to, &[&[b"get", b"key"]]), ShardReply::Done(Bytes::from("$1\r\n1\r\n")));
    assert_eq!(run(&mut from, &[&[b"get", b"key"]]), ShardReply::Elsewhere(Elsewhere::Moved(1)));
}

#[test]
fn a_slot_is_not_released_while_a_transaction_holds_one_of_its_keys() {
    let release = Work::Slots { change: SlotChange::Release(1), generation: 2, slots: vec![slot_of(b"key")] };
    assert!(release.waits_for(b"key"));
    assert!(!release.waits_for(b"other"));
    let leave = Work::Slots { change: SlotChange::Leave(1), generation: 2, slots: vec![slot_of(b"key")] };
    assert!(!leave.waits_for(b"key"));
    assert!(Work::Entry { entry: entry(&[&[b"flushall"]]), asks: false }.waits_for(b"key"));
    assert!(!Work::Entry { entry: entry(&[&[b"set", b"key", b"1"]]), asks: false }.waits_for(b"other"));
}

#[test]
fn the_slots_of_a_shard_survive_its_snapshot() {
    let mut store = Store::new();
    slots(&mut store, SlotChange::Found, &[slot_of(b"key"), 3]);
    run(&mut store, &[&[b"set", b"key", b"1"]]);
    slots(&mut store, SlotChange::Leave(300), &[slot_of(b"key")]);
    let mut bytes = Vec::new();
    store.snapshot().write(&mut bytes).unwrap();
    let restored = Store::restore(&mut &bytes[..]).unwrap();
    assert_eq!(restored.slots(), store.slots());
    assert_eq!((restored.keys_in_slot(slot_of(b"key")), restored.digest()), (1, store.digest()));
}

/// Brings work in pieces of so many bytes, and returns the work that carries it out.
fn bring(store: &mut Store, id: u128, work: &Work, bytes: usize) -> Work {
    let whole = work.encode();
    let count = whole.len().div_ceil(bytes);
    for place in 0..count {
        let piece = whole.slice(place * bytes..whole.len().min((place + 1) * bytes));
        let piece = Work::Piece { id, place: place.try_into().unwrap(), bytes: piece };
        assert_eq!(piece.carry_out(store, 1), Ok(DONE));
    }
    Work::Whole { id, count: count.try_into().unwrap() }
}

#[test]
fn work_in_pieces_takes_effect_at_its_last_entry_and_once() {
    let mut store = Store::new();
    let append = |value: &[u8]| Work::Entry { entry: entry(&[&[b"append", b"k", value]]), asks: false };
    // Those of two clients, one between the pieces of the other.
    let first = bring(&mut store, 1, &append(b"first"), 5);
    let second = bring(&mut store, 2, &append(b"second"), 7);
    assert_eq!(store.text(1, b"k"), Ok(None), "nothing is done yet");
    assert_eq!(second.carry_out(&mut store, 1), Ok(ShardReply::Done(Bytes::from(":6\r\n"))));
    assert_eq!(first.carry_out(&mut store, 1), Ok(ShardReply::Done(Bytes::from(":11\r\n"))));
    for again in [first, second] {
        assert_eq!(again.carry_out(&mut store, 1), Ok(ShardReply::Dropped));
    }
    assert_eq!(store.text(1, b"k"), Ok(Some(&b"secondfirst"[..])));
}

#[test]
fn work_whose_pieces_were_dropped_is_not_done() {
    let mut store = Store::new();
    let set = Work::Entry { entry: entry(&[&[b"set", b"k", b"v"]]), asks: false };
    let whole = bring(&mut store, 1, &set, 5);
    assert_eq!(whole.carry_out(&mut store, 1 + AGE_MAX), Ok(ShardReply::Dropped));
    assert_eq!(store.text(1, b"k"), Ok(None));
    // Pieces within pieces are nothing that a node proposes.
    let within = bring(&mut store, 2, &Work::Whole { id: 1, count: 1 }, 50);
    assert_eq!(Work::decode_whole(within.encode(), &store), Ok(None));
    assert_eq!(within.carry_out(&mut store, 1), Ok(ShardReply::Dropped));
}
