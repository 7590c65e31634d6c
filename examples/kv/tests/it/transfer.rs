//! Imports and exports, against a server in this process and against a real Redis.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use quorate_kv::address::Address;
use quorate_kv::client::{Answer, Client};
use quorate_kv::credentials::Credentials;
use quorate_kv::rdb::{Content, Limits, Part, RdbFile, RdbWriter};
use quorate_kv::store::{Store, VALUE_BYTES_MAX};
use quorate_kv::transfer::{ServerUrl, Summary, TransferError, UrlError, export, import_file, import_from};

use crate::golden::RedisServer;
use crate::server::Server;

const LIMITS: Limits = Limits { text_bytes_max: 1 << 29, value_bytes_max: 1 << 32 };

/// A server and a client of it.
struct Kv {
    nodes: Vec<Address>,
    client: Client,
    _server: Server,
}

impl Kv {
    fn start() -> Self {
        let server = Server::start_on_time();
        Self { nodes: vec![server.address.into()], client: connect(server.address.port()), _server: server }
    }

    fn import(&self, path: &Path) -> Result<Summary, TransferError> {
        import_file(path, 0, &self.nodes, &Credentials::default(), &mut |_| {})
    }

    fn export(&self, path: &Path) -> Result<Summary, TransferError> {
        export(&self.nodes, &Credentials::default(), path, &mut |_| {})
    }
}

fn connect(port: u16) -> Client {
    Client::connect(("127.0.0.1", port), Duration::from_mins(1)).unwrap()
}

fn ask(client: &mut Client, command: &str) -> Answer {
    let arguments: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
    client.ask(&arguments).unwrap()
}

/// Many keys, one command for each line; `#` is a number.
fn fill(client: &mut Client, commands: &[&str], count: u32) {
    for first in (0..count).step_by(500) {
        let commands: Vec<String> = (first..count.min(first + 500))
            .flat_map(|number| commands.iter().map(move |command| command.replace('#', &number.to_string())))
            .collect();
        let split: Vec<Vec<&[u8]>> =
            commands.iter().map(|command| command.split(' ').map(str::as_bytes).collect()).collect();
        client.send(&split.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap();
        for command in &commands {
            let answer = client.receive().unwrap();
            assert!(!matches!(answer, Answer::Error(_)), "{command}: {answer:?}");
        }
    }
}

/// Values that need several commands, and some that do not.
fn fill_large(client: &mut Client) {
    let long = "x".repeat(100);
    let commands =
        ["RPUSH list # -# L", "HSET hash f# L", "SADD set L#", "ZADD zset #.5 L#", "XADD stream #-1 n # t L"];
    let commands: Vec<String> = commands.iter().map(|command| command.replace('L', &long)).collect();
    fill(client, &commands.iter().map(String::as_str).collect::<Vec<_>>(), 5_000);
    for command in [
        "SET text hello",
        "SET number 17 PX 100000000",
        "XDEL stream 17-1",
        "XGROUP CREATE stream g 5-0 ENTRIESREAD 6",
        "XREADGROUP GROUP g one COUNT 3 STREAMS stream >",
        "XREADGROUP GROUP g two COUNT 2 STREAMS stream >",
        "XGROUP CREATE stream h $",
        "PEXPIRE list 100000000",
    ] {
        let answer = ask(client, command);
        assert!(!matches!(answer, Answer::Error(_)), "{command}: {answer:?}");
    }
    let text = "#!lua name=lib\nredis.register_function('f', function(keys, args) return 'one' end)";
    client.ask(&[b"FUNCTION", b"LOAD", text.as_bytes()]).unwrap();
}

/// The digest of the keys of a file, and which of them end.
fn content(path: &Path) -> (u64, BTreeMap<Vec<u8>, bool>, usize) {
    let bytes = fs::read(path).unwrap();
    let mut file = RdbFile::open(&bytes[..], bytes.len() as u64, LIMITS).unwrap();
    let (mut store, mut keys, mut libraries) = (Store::new(), BTreeMap::new(), 0);
    while let Some(part) = file.next_part().unwrap() {
        match part {
            Part::Key { key, deadline, content } => {
                match content {
                    Content::Text(text) => store.put_text(&key, &[&text], None),
                    Content::Items(value) => store.put_value(&key, value, None),
                    Content::Unknown(what) => panic!("{what}"),
                }
                keys.insert(key, deadline.is_some());
            }
            Part::Function(_) => libraries += 1,
            _ => {}
        }
    }
    (store.digest(), keys, libraries)
}

fn temporary() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one.rdb"), folder.path().join("two.rdb"));
    (folder, one, two)
}

#[test]
fn keys_go_through_a_file_and_back() {
    let (folder, one, two) = temporary();
    let mut from = Kv::start();
    fill_large(&mut from.client);
    let exported = from.export(&one).unwrap();
    assert!(exported.is_whole() && exported.progress.keys == 7 && exported.libraries == 1, "{exported}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
    let before = content(&one);
    assert_eq!(before.1.values().filter(|ends| **ends).count(), 2);

    let mut to = Kv::start();
    ask(&mut to.client, "RPUSH list what was there before");
    // The second import finds what the first made.
    for _ in 0..2 {
        let imported = to.import(&one).unwrap();
        assert!(imported.is_whole() && imported.progress.keys == 7 && imported.libraries == 1, "{imported}");
    }
    to.export(&two).unwrap();
    let (digest, keys, libraries) = content(&two);
    assert_eq!((keys, libraries), (before.1, before.2));
    assert_eq!(ask(&mut to.client, "XINFO GROUPS stream"), ask(&mut from.client, "XINFO GROUPS stream"));
    // When a consumer was seen is the time of the import, for a stream in pieces.
    assert_ne!(digest, before.0);
    for client in [&mut from.client, &mut to.client] {
        ask(client, "XGROUP DESTROY stream g");
    }
    let (three, four) = (folder.path().join("three"), folder.path().join("four"));
    from.export(&three).unwrap();
    to.export(&four).unwrap();
    assert_eq!(content(&three).0, content(&four).0);
}

#[test]
fn an_export_replaces_no_file() {
    let (folder, one, _) = temporary();
    fs::write(&one, "dear").unwrap();
    let refused = Kv::start().export(&one);
    assert!(matches!(refused, Err(TransferError::File { .. })), "{refused:?}");
    assert_eq!(fs::read(&one).unwrap(), b"dear");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_file_of_redis_is_imported() {
    let mut kv = Kv::start();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rdb/redis-7.0.15.rdb");
    let imported = kv.import(&path).unwrap();
    assert_eq!((imported.progress.keys, imported.libraries, imported.refused_count), (25, 1, 0), "{imported}");
    assert_eq!(imported.other_databases, BTreeMap::from([(3, 1)]));
    assert!(!imported.is_whole());
    assert_eq!(ask(&mut kv.client, "LINDEX list:small 5"), Answer::Bulk("70000".into()));
    assert_eq!(ask(&mut kv.client, "EXISTS other"), Answer::Integer(0));
    let imported = import_file(&path, 3, &kv.nodes, &Credentials::default(), &mut |_| {}).unwrap();
    assert_eq!((imported.progress.keys, &imported.other_databases), (1, &BTreeMap::from([(0, 25)])));
    assert_eq!(ask(&mut kv.client, "GET other"), Answer::Bulk("database".into()));
}

#[test]
fn what_cannot_be_taken_is_named_and_nothing_else_is_lost() {
    let (_folder, one, _) = temporary();
    let mut file = RdbWriter::new(File::create(&one).unwrap(), &[]).unwrap();
    file.function(b"#!lua name=wrong\nno Lua").unwrap();
    file.database(0, 5).unwrap();
    file.content(b"first", None, &Content::Text(b"1".to_vec())).unwrap();
    file.content(b"long", None, &Content::Text(vec![b'x'; VALUE_BYTES_MAX + 1])).unwrap();
    file.key(b"module", None, b"\x07\x00\x02\x05\x00").unwrap();
    file.content(b"ended", Some(1), &Content::Text(b"1".to_vec())).unwrap();
    file.content(b"last", None, &Content::Text(b"1".to_vec())).unwrap();
    file.finish().unwrap().flush().unwrap();
    let mut kv = Kv::start();
    let imported = kv.import(&one).unwrap();
    assert_eq!((imported.progress.keys, imported.expired, imported.refused_count), (2, 1, 3), "{imported}");
    let names: Vec<&str> = imported.refused.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["#!lua name=wrong", "long", "module"]);
    assert!(imported.refused[2].1.contains("the module AAAAAAAAA"), "{imported}");
    assert_eq!(
        ask(&mut kv.client, "MGET first last"),
        Answer::Array(vec![Answer::Bulk("1".into()), Answer::Bulk("1".into())])
    );
}

#[test]
fn a_damaged_file_changes_nothing() {
    let (_folder, one, _) = temporary();
    let mut file = RdbWriter::new(Vec::new(), &[]).unwrap();
    // More than are sent at once.
    for number in 0..2_000 {
        file.content(format!("k{number}").as_bytes(), None, &Content::Text(b"value".to_vec())).unwrap();
    }
    let mut bytes = file.finish().unwrap();
    let place = bytes.len() - 12;
    bytes[place] ^= 1;
    fs::write(&one, &bytes).unwrap();
    let mut kv = Kv::start();
    let failed = kv.import(&one);
    assert!(matches!(failed, Err(TransferError::Rdb { .. })), "{failed:?}");
    assert_eq!(ask(&mut kv.client, "DBSIZE"), Answer::Integer(0));
    let failed = kv.import(Path::new("/nowhere/file")).unwrap_err();
    assert!(failed.to_string().starts_with("/nowhere/file: "), "{failed}");
}

#[test]
fn addresses_of_servers_are_read() {
    let url: ServerUrl = "redis://me:p@ss:word@host:6379/3".parse().unwrap();
    assert_eq!((url.address.to_string(), url.database), ("host:6379".to_owned(), 3));
    assert_eq!((url.login.user.as_deref(), url.login.password.as_deref()), (Some("me"), Some("p@ss:word")));
    assert!(!format!("{url:?}").contains("word"), "a password is not shown");
    let url: ServerUrl = "redis://:secret@[::1]:1".parse().unwrap();
    assert_eq!((url.login.user, url.login.password.as_deref(), url.database), (None, Some("secret"), 0));
    assert_eq!("rediss://host:1".parse::<ServerUrl>().unwrap_err(), UrlError::Encrypted);
    for text in ["host:1", "redis://host", "redis://host:1/x", "redis://word@host:1"] {
        assert_eq!(text.parse::<ServerUrl>().unwrap_err(), UrlError::Form, "{text}");
    }
}

/// Keys of all kinds go from Redis to the store and back by a file, which another Redis loads. As many as
/// `QUORATE_TRANSFER_KEYS` says, or 10,000.
#[test]
fn everything_goes_from_redis_and_back() {
    let has_redis = std::process::Command::new("redis-server").arg("--version").output().is_ok();
    if !has_redis {
        println!("skipped: there is no redis-server on the path");
        return;
    }
    let (folder, one, _) = temporary();
    let redis = RedisServer::start();
    let mut client = connect(redis.port);
    let kinds = [
        "SET s# v#",
        "RPUSH l# a # -#",
        "HSET h# f # g v#",
        "SADD t# a # b#",
        "ZADD z# #.25 a 1 b#",
        "XADD x# #-1 a # b c",
    ];
    let wanted: u32 = std::env::var("QUORATE_TRANSFER_KEYS").map_or(10_000, |keys| keys.parse().unwrap());
    fill(&mut client, &kinds, wanted / 6 + 1);
    fill_large(&mut client);
    fill(&mut client, &["PEXPIREAT s# 4102444800123"], 100);
    ask(&mut client, "SETEX soon 1000 v");
    // The time of a consumer's last sight is not kept for a stream in pieces.
    ask(&mut client, "XGROUP DESTROY stream g");
    let kv = Kv::start();
    let url: ServerUrl = format!("redis://127.0.0.1:{}", redis.port).parse().unwrap();
    let mut reports = 0;
    let imported = import_from(&url, &kv.nodes, &Credentials::default(), &mut |_| reports += 1).unwrap();
    let Answer::Integer(keys) = ask(&mut client, "DBSIZE") else { panic!("a number") };
    assert!(imported.is_whole() && imported.progress.keys >= u64::from(wanted) && reports > 1, "{imported}");
    assert!(imported.progress.keys_expected == keys.unsigned_abs() && imported.libraries == 1);
    let exported = kv.export(&one).unwrap();
    assert!(exported.is_whole() && exported.progress.keys == keys.unsigned_abs(), "{exported}");

    let other = RedisServer::start_with(&["--dir", &folder.path().display().to_string(), "--dbfilename", "one.rdb"]);
    let mut loaded = connect(other.port);
    while matches!(ask(&mut loaded, "PING"), Answer::Error(_)) {}
    assert_eq!(ask(&mut loaded, "DEBUG DIGEST"), ask(&mut client, "DEBUG DIGEST"));
    let time = ask(&mut loaded, "PEXPIRETIME s5");
    assert!(matches!(time, Answer::Integer(ms) if (ms - 4_102_444_800_123).abs() < 120_000), "{time:?}");
    assert_eq!(ask(&mut loaded, "FCALL f 0"), Answer::Bulk("one".into()));
}
