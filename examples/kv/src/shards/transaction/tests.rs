use super::*;
use crate::entry::{EntryWriter, Watched, decode_arguments, encode_arguments};
use crate::resp::Version;
use crate::shards::work::{ShardReply, Work};

/// Two shards, of which each has the keys that begin with its number.
struct Shards([Store; 2]);

impl Shards {
    fn new(setup: &[&str]) -> Self {
        let mut shards = Self([Store::new(), Store::new()]);
        for line in setup {
            let arguments: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            let shard = usize::from(shard_of(arguments[1]));
            command::apply(&mut shards.0[shard], 1, &entry(&[line])).unwrap();
        }
        shards
    }

    fn known(&self, keys: &[&str]) -> BTreeMap<Box<[u8]>, Known> {
        let known = keys.iter().map(|key| {
            let shard = shard_of(key.as_bytes());
            let record = self.0[usize::from(shard)].get(1, key.as_bytes()).cloned();
            (Box::from(key.as_bytes()), Known { shard, record })
        });
        known.collect()
    }

    fn try_with(&self, entry: &[u8], keys: &[&str]) -> Trial {
        attempt(entry, &self.known(keys), Arc::default(), 1).unwrap()
    }

    /// Carries the parts out, and returns the replies.
    fn run(&mut self, entry: &[u8], keys: &[&str]) -> String {
        let Trial::Ready { replies, parts } = self.try_with(entry, keys) else { panic!("not ready") };
        for (shard, part) in parts {
            let work = Work::Part { part, only_if: true };
            let done = work.carry_out(&mut self.0[usize::from(shard)], 1).unwrap();
            assert_eq!(done, ShardReply::Done(Bytes::new()));
        }
        String::from_utf8(replies.to_vec()).unwrap()
    }

    fn get(&self, key: &str) -> Option<&[u8]> {
        self.0[usize::from(shard_of(key.as_bytes()))].text(1, key.as_bytes()).unwrap()
    }
}

fn shard_of(key: &[u8]) -> u16 {
    u16::from(key[0] == b'1')
}

fn entry(lines: &[&str]) -> Bytes {
    let mut entry = EntryWriter::new(Version::Resp2, 0, 7, 0);
    for line in lines {
        entry.command(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>());
    }
    entry.finish()
}

fn transaction(watched: &[Watched], lines: &[&str]) -> Bytes {
    let mut entry = EntryWriter::new(Version::Resp2, 0, 7, 0);
    let commands: Vec<_> =
        lines.iter().map(|line| encode_arguments(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>())).collect();
    assert!(commands.iter().all(|command| decode_arguments(command).is_ok()));
    entry.transaction(watched, &commands);
    entry.finish()
}

#[test]
fn commands_read_and_write_keys_of_both_shards() {
    let mut shards = Shards::new(&["set 0a 1", "set 1b 2", "rpush 1list x y"]);
    assert_eq!(
        shards.run(&entry(&["mget 0a 1b 0none"]), &["0a", "1b", "0none"]),
        "*3\r\n$1\r\n1\r\n$1\r\n2\r\n$-1\r\n"
    );
    assert_eq!(shards.run(&entry(&["lmove 1list 0list left right"]), &["1list", "0list"]), "$1\r\nx\r\n");
    assert_eq!(shards.run(&entry(&["llen 0list"]), &["0list"]), ":1\r\n");
    assert_eq!(
        shards.run(&transaction(&[], &["incr 0a", "incrby 1b 5", "rename 0a 1c"]), &["0a", "1b", "1c"]),
        "*3\r\n:2\r\n:7\r\n+OK\r\n"
    );
    assert_eq!((shards.get("0a"), shards.get("1b"), shards.get("1c")), (None, Some(&b"7"[..]), Some(&b"2"[..])));
}

#[test]
fn each_shard_checks_what_was_read_and_only_that() {
    let shards = Shards::new(&["set 0a 1", "set 1b 2"]);
    let parts = |entry: &[u8]| match shards.try_with(entry, &["0a", "1b"]) {
        Trial::Ready { parts, .. } => parts,
        other => panic!("{other:?}"),
    };
    let counts = |parts: &BTreeMap<u16, Part>| {
        parts.values().map(|part| (part.checks.len(), part.effects.len())).collect::<Vec<_>>()
    };
    assert_eq!(counts(&parts(&entry(&["mset 0a 3 1b 4"]))), [(0, 1), (0, 1)], "what is overwritten is not looked at");
    assert_eq!(counts(&parts(&entry(&["mget 0a 1b"]))), [(1, 0), (1, 0)]);
    assert_eq!(counts(&parts(&entry(&["copy 0a 1b replace"]))), [(1, 0), (0, 1)]);
    assert_eq!(counts(&parts(&entry(&["msetnx 0a 3 1b 4"]))), [(1, 0)], "the first key decides");
}

#[test]
fn a_watched_key_that_changed_makes_the_reply_nil_and_nothing_is_done() {
    let mut shards = Shards::new(&["set 0a 1", "set 1b 2"]);
    let version = |shards: &Shards| shards.0[0].version(1, b"0a");
    let watched = |version| [Watched { key: Box::from(&b"0a"[..]), version }];
    let old = watched(version(&shards));
    assert_eq!(shards.run(&transaction(&old, &["incr 0a", "incr 1b"]), &["0a", "1b"]), "*2\r\n:2\r\n:3\r\n");
    assert_eq!(shards.run(&transaction(&old, &["incr 0a", "incr 1b"]), &["0a", "1b"]), "*-1\r\n");
    assert_eq!(shards.get("1b"), Some(&b"3"[..]));
}

#[test]
fn keys_that_turn_out_to_be_needed_are_named() {
    let shards = Shards::new(&["set 0a 1", "set 1b 2"]);
    let mut sort = EntryWriter::new(Version::Resp2, 0, 7, 0);
    sort.command(&[b"eval", b"return redis.call('get', KEYS[1] .. 'x')", b"1", b"0a"]);
    let Trial::Needs(keys) = shards.try_with(&sort.finish(), &["0a"]) else { panic!("it needs a key") };
    assert_eq!(keys.into_iter().collect::<Vec<_>>(), [Box::from(&b"0ax"[..])]);
    assert!(matches!(shards.try_with(&entry(&["set 1z 1"]), &["0a"]), Trial::Needs(keys) if keys.len() == 1));
    assert!(matches!(shards.try_with(&transaction(&[], &["incr 0a", "dbsize"]), &["0a"]), Trial::NeedsAll));
    assert!(matches!(shards.try_with(&transaction(&[], &["incr 0a", "flushall"]), &["0a"]), Trial::NeedsAll));
}

#[test]
fn what_is_set_and_removed_again_has_no_effect() {
    let shards = Shards::new(&["set 0a 1"]);
    let entry = transaction(&[], &["set 1new 1", "del 1new", "set 0a 2"]);
    let Trial::Ready { parts, .. } = shards.try_with(&entry, &["0a", "1new"]) else { panic!("not ready") };
    assert!(parts.get(&1).is_none_or(|part| part.effects.is_empty()));
    assert_eq!(parts[&0].effects.len(), 1);
}
