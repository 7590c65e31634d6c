use super::crc64::crc64;
use super::*;
use crate::command::apply;
use crate::entry::EntryWriter;
use crate::resp::{Version, split_inline};
use crate::store::Store;

const LIMITS: Limits = Limits { text_bytes_max: 1 << 20, value_bytes_max: 1 << 24 };

fn run(store: &mut Store, command: &str) -> Vec<u8> {
    let arguments = split_inline(command.as_bytes()).unwrap();
    let name = arguments[0].to_ascii_lowercase();
    let mut all: Vec<&[u8]> = arguments.iter().map(Vec::as_slice).collect();
    all[0] = &name;
    let mut entry = EntryWriter::new(Version::Resp2, 0, 0, 0);
    entry.command(&all);
    apply(store, 0, &entry.finish()).unwrap().to_vec()
}

/// A store with a key of every kind, small and large.
fn mixed() -> Store {
    let mut store = Store::new();
    for command in [
        "SET text hello",
        "SET number -32768",
        "SET empty \"\"",
        "RPUSH list a 1 -5 70000 \"\"",
        "HSET hash a 1 b 2",
        "SADD set 1 2 x",
        "ZADD zset -inf a 0.1 b 7 c inf d",
        "XADD stream 5-1 a b",
        "XADD stream 5-2 c d e -300",
        "XADD stream 9-0 a 1000000",
        "XDEL stream 5-2",
        "XGROUP CREATE stream g 0",
        "XREADGROUP GROUP g one COUNT 1 STREAMS stream >",
        "XREADGROUP GROUP g two STREAMS stream >",
        "XGROUP CREATE stream h $",
        "XGROUP CREATECONSUMER stream h idle",
    ] {
        let reply = run(&mut store, command);
        assert!(!reply.starts_with(b"-"), "{command}: {}", String::from_utf8_lossy(&reply));
    }
    for number in 0..300 {
        for command in ["RPUSH long x#", "HSET fields f# v#", "SADD members m#", "ZADD scores # m#", "XADD log #-1 n #"]
        {
            run(&mut store, &command.replace('#', &(number + 1).to_string()));
        }
    }
    store
}

fn keys(store: &Store) -> Vec<Vec<u8>> {
    store.scan(0, 0, usize::MAX).1.iter().map(|record| record.key().to_vec()).collect()
}

fn put(store: &mut Store, key: &[u8], content: Content) {
    match content {
        Content::Text(text) => store.put_text(key, &[&text], None),
        Content::Items(value) => store.put_value(key, value, None),
        Content::Unknown(what) => panic!("{what}"),
    }
}

fn sealed(content: &[u8]) -> Vec<u8> {
    let mut bytes = [content, &VERSION_WRITTEN.to_le_bytes()].concat();
    let sum = crc64(0, &bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes
}

#[test]
fn every_value_is_made_again_from_its_dump() {
    let store = mixed();
    let mut other = Store::new();
    for key in keys(&store) {
        let dumped = dump(store.get(0, &key).unwrap());
        put(&mut other, &key, load(&dumped, LIMITS).unwrap());
        for at in (0..dumped.len()).step_by(dumped.len() / 20 + 1) {
            let mut damaged = dumped.clone();
            damaged[at] ^= 0x10;
            assert!(load(&damaged, LIMITS).is_err());
            assert!(load(&dumped[..at], LIMITS).is_err());
        }
    }
    assert_eq!(other.digest(), store.digest());
}

/// What anyone may send with a right checksum is read or refused, and what is read can be kept.
#[test]
fn damaged_values_are_refused_or_can_be_kept() {
    let store = mixed();
    let recorded =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/rdb_theirs.txt")).unwrap();
    let theirs = recorded.lines().filter(|line| line.starts_with("> RESTORE"));
    let theirs = theirs.map(|line| split_inline(&line.as_bytes()[2..]).unwrap().swap_remove(3));
    let ours = keys(&store).into_iter().map(|key| dump(store.get(0, &key).unwrap()));
    let (mut kept, mut refused) = (0, 0);
    for payload in theirs.chain(ours) {
        let content = &payload[..payload.len() - 10];
        for at in (0..content.len()).step_by(content.len() / 40 + 1) {
            for change in [1, 0x40, 0x80, 0xff] {
                let mut damaged = content.to_vec();
                damaged[at] = damaged[at].wrapping_add(change);
                match load(&sealed(&damaged), LIMITS) {
                    Ok(Content::Unknown(_)) | Err(_) => refused += 1,
                    Ok(content) => {
                        kept += 1;
                        let mut one = Store::new();
                        put(&mut one, b"k", content);
                        let mut bytes = Vec::new();
                        one.snapshot().write(&mut bytes).unwrap();
                        assert_eq!(Store::restore(&mut &bytes[..]).unwrap().digest(), one.digest());
                        let again = load(&dump(one.get(0, b"k").unwrap()), LIMITS).unwrap();
                        let digest = one.digest();
                        put(&mut one, b"k", again);
                        assert_eq!(one.digest(), digest);
                    }
                }
            }
            assert!(load(&sealed(&content[..at]), LIMITS).is_err());
        }
    }
    assert!(kept > 200 && refused > 200, "{kept} {refused}");
}

#[test]
fn forms_that_are_newer_than_the_server_of_the_recordings_are_read() {
    let set = b"\x14\x0e\x0e\0\0\0\x02\0\x81a\x02\x83500\x04\xff";
    let set = [&set[..1], &[15, 15], &set[3..]].concat();
    let Content::Items(Value::Set(members)) = load(&sealed(&set), LIMITS).unwrap() else {
        panic!("it is a set");
    };
    assert!(members.0.contains(b"a") && members.0.contains(b"500") && members.0.len() == 2);

    let mut store = mixed();
    let mut stream = dump(store.get(0, b"stream").unwrap());
    stream.truncate(stream.len() - 10);
    stream[0] = kind::STREAM_3;
    // Behind the time at which a consumer was seen comes the time at which it was active.
    for name in [&b"\x03one"[..], b"\x03two", b"\x04idle"] {
        let at = stream.windows(name.len()).rposition(|window| window == name).unwrap() + name.len() + 8;
        stream.splice(at..at, [0xff; 8]);
    }
    let digest = store.digest();
    put(&mut store, b"stream", load(&sealed(&stream), LIMITS).unwrap());
    assert_eq!(store.digest(), digest);
}

#[test]
fn what_has_no_kind_here_is_named() {
    let module = b"\x07\x81\x27\x8e\x5c\x75\xfd\x95\x90\x01\x02\x05\x04\0\0\0\0\0\0\0\0\x05\x02ab\x03\0\0\0\0\0";
    let Content::Unknown(what) = load(&sealed(module), LIMITS).unwrap() else { panic!("it is a module's") };
    assert!(what.starts_with("a value of the module "), "{what}");
    assert_eq!(read::module_name(0), "AAAAAAAAA");
    assert_eq!(read::module_name(u64::MAX), "_________");
    let hash = b"\x18\0\0\0\0\0\0\0\0\x01\x00\x01f\x01v";
    assert!(matches!(load(&sealed(hash), LIMITS), Ok(Content::Unknown(_))));
    assert!(matches!(load(&sealed(b"\x06\x01"), LIMITS), Err(RdbError::Unknown { offset: 0, code: 6, .. })));
}

#[test]
fn announced_lengths_take_no_memory() {
    for (content, what) in [
        (&b"\x00\x81\x7f\xff\xff\xff\xff\xff\xff\xff"[..], "a string"),
        (b"\x00\xc3\x05\x80\x7f\xff\xff\xffaaaaa", "a compressed string"),
        (b"\x01\x80\xff\xff\xff\xff", "a list"),
        (b"\x04\x81\xff\xff\xff\xff\xff\xff\xff\xff", "a hash"),
        (b"\x13\x80\xff\xff\xff\xff", "a stream"),
        (b"\x0b\x08\x08\0\0\0\xff\xff\xff\xff", "an intset"),
    ] {
        assert!(load(&sealed(content), LIMITS).is_err(), "{what}");
    }
    let small = Limits { text_bytes_max: 10, value_bytes_max: 25 };
    assert!(load(&sealed(b"\x00\x0aaaaaaaaaaa"), small).is_ok());
    assert!(matches!(load(&sealed(b"\x00\x0baaaaaaaaaaa"), small), Err(RdbError::TooLong { max: 10, .. })));
    let three = b"\x01\x03\x09aaaaaaaaa\x09aaaaaaaaa\x09aaaaaaaaa";
    assert!(matches!(load(&sealed(three), small), Err(RdbError::TooLong { .. })));
}

fn parts(bytes: &[u8]) -> Result<Vec<Part>, RdbError> {
    let mut file = RdbFile::open(bytes, bytes.len() as u64, LIMITS)?;
    std::iter::from_fn(|| file.next_part().transpose()).collect()
}

#[test]
fn a_file_that_was_written_is_read() {
    let store = mixed();
    let mut writer = RdbWriter::new(Vec::new(), &[("redis-ver", "7.0.15")]).unwrap();
    writer.function(b"#!lua name=lib\n").unwrap();
    writer.database(0, 13).unwrap();
    for key in keys(&store) {
        let dumped = dump(store.get(0, &key).unwrap());
        let value = value_of_dump(&dumped).unwrap();
        if key.len() % 2 == 0 {
            writer.key(&key, None, value).unwrap();
        } else {
            writer.content(&key, Some(77), &load(&dumped, LIMITS).unwrap()).unwrap();
        }
    }
    let bytes = writer.finish().unwrap();
    let mut other = Store::new();
    for part in parts(&bytes).unwrap() {
        match part {
            Part::Key { key, deadline, content } => {
                assert_eq!(deadline, (key.len() % 2 == 1).then_some(77));
                put(&mut other, &key, content);
            }
            Part::About { name, value } => assert_eq!((&name[..], &value[..]), (&b"redis-ver"[..], &b"7.0.15"[..])),
            Part::Database(number) => assert_eq!(number, 0),
            Part::Keys(keys) => assert_eq!(keys, 13),
            Part::Function(code) => assert_eq!(code, b"#!lua name=lib\n"),
            Part::Module(name) => panic!("{name}"),
        }
    }
    assert_eq!(other.digest(), store.digest());
    for length in (0..bytes.len()).step_by(7) {
        assert!(parts(&bytes[..length]).is_err(), "an end at {length} was not seen");
        let mut damaged = bytes.clone();
        damaged[length] ^= 0x20;
        assert!(parts(&damaged).is_err(), "damage at {length} was not seen");
    }
}

#[test]
fn a_file_of_redis_is_read() {
    let bytes = include_bytes!("../../tests/rdb/redis-7.0.15.rdb");
    let (mut store, mut database, mut deadlines, mut functions) = (Store::new(), 0, 0, 0);
    for part in parts(bytes).unwrap() {
        match part {
            Part::Database(number) => database = number,
            Part::Function(_) => functions += 1,
            Part::Key { key, deadline, content } if database == 0 => {
                deadlines += u64::from(deadline.is_some_and(|deadline| deadline / 1000 == 4_102_444_800));
                put(&mut store, &key, content);
            }
            Part::Key { key, .. } => assert_eq!((&key[..], database), (&b"other"[..], 3)),
            _ => {}
        }
    }
    assert_eq!((store.len(0), deadlines, functions), (25, 2, 1));
    assert_eq!(run(&mut store, "LINDEX list:small 5"), b"$5\r\n70000\r\n");
    assert_eq!(run(&mut store, "XLEN stream:many"), b":250\r\n");
}

#[test]
fn files_of_other_programs_and_versions_are_refused() {
    assert!(matches!(parts(b"RED"), Err(RdbError::Foreign)));
    assert!(matches!(parts(b"SQLite format"), Err(RdbError::Foreign)));
    assert!(matches!(parts(b"REDIS0099\xff"), Err(RdbError::Version(99))));
    assert!(matches!(parts(b"REDIS0010\xff"), Err(RdbError::Truncated { offset: 10, .. })));
    assert!(parts(b"REDIS0004\xff").is_ok(), "old files have no sum");
    assert!(parts(b"REDIS0010\xff\0\0\0\0\0\0\0\0").is_ok(), "the sum was not computed");
    let unknown = parts(b"REDIS0010\x08\x03keyv");
    assert!(matches!(unknown, Err(RdbError::Unknown { offset: 9, code: 8, .. })), "{unknown:?}");
    let old = parts(b"REDIS0003\xfe\x00\xfd\x01\x00\x00\x00\x00\x01k\x01v\xff").unwrap();
    assert!(matches!(&old[1], Part::Key { deadline: Some(1000), content: Content::Text(_), .. }), "{old:?}");
}
