//! The beginning of each corpus, made by our own encoders.

use bytes::Bytes;
use quorate_consistent_hash::{
    Maglev, MaglevState, Memento, MementoState, Nodes, Rendezvous, RendezvousState, Ring, RingState,
};
use quorate_kv::command::apply;
use quorate_kv::entry::{EntryWriter, encode_arguments};
use quorate_kv::members::{MemberRequest, NewNode};
use quorate_kv::moves::LayoutRequest;
use quorate_kv::pubsub::{Message, Request, Topic};
use quorate_kv::rdb::{self, RdbWriter};
use quorate_kv::resp::Version;
use quorate_kv::shards::layout::Layout;
use quorate_kv::shards::work::{Effect, Part, Work};
use quorate_kv::store::Store;
use quorate_protocol::{Configuration, Entry, EntryKind, GroupId, LogIndex, LogTime, NodeId, Term};
use quorate_transport::{ChannelId, Frame, codec};
use serde_json::to_vec;

use crate::peers::bytes_of;

/// The first files of a decoder's corpus.
pub fn seeds(decoder: &str) -> Vec<Vec<u8>> {
    match decoder {
        "resp" => sessions().into_iter().map(|text| [&[16], text.as_bytes()].concat()).collect(),
        "inline" => texts(&["SET \"a\\x00b\" 'c\\'d'", "  GET\tkey  ", "\"unbalanced", "a\"b\""]),
        "answer" => texts(&[
            &"*1\r\n".repeat(5_000),
            "+OK\r\n",
            "*2\r\n$3\r\nkey\r\n:-7\r\n",
            "$-1\r\n*-1\r\n",
            "-ERR no\r\n*1\r\n*1\r\n*0\r\n",
            // Found by the test: the decoder takes this for a number.
            &"*+1\r\n".repeat(5_000),
        ]),
        "login" => texts(&["Basic ZGVmYXVsdDpzZWNyZXQ=", "basic  eDp5", "Bearer x", "Basic =="]),
        "member_request" => requests(),
        "handshake" => GOLDEN_HANDSHAKES.iter().map(|bytes| bytes.to_vec()).collect(),
        "frames" => vec![GOLDEN_FRAMES[0].to_vec(), GOLDEN_FRAMES.concat()],
        "node_message" => node_messages(),
        "raft" | "multi_paxos" => messages(include_str!("../../raft/tests/golden/messages-v1.txt")),
        "synod" => messages(include_str!("../../paxos/tests/golden/synod-messages-v1.txt")),
        "register" => messages(include_str!("../../paxos/tests/golden/register-messages-v1.txt")),
        "two_phase_commit" => messages(include_str!("../../two-phase-commit/tests/golden/messages-v1.txt")),
        "three_phase_commit" => messages(include_str!("../../two-phase-commit/tests/golden/three-phase-v1.txt")),
        "records" => (0..6).map(|core| vec![core, 4, 1, 0, 0, 0, 1, 2, 3, 4, 5]).collect(),
        "entries" => entries(),
        "pubsub" => vec![
            Request::Publish(vec![Message { topic: Topic::Channel, channel: "news".into(), payload: "hello".into() }])
                .encode()
                .to_vec(),
        ],
        "kv_entry" => store_entries(),
        "kv_work" => shard_work(),
        "kv_layout" => vec![Layout::even(4).to_text().into(), Layout::grown(3).to_text().into()],
        "kv_snapshot" => vec![snapshot(&Store::new()), snapshot(&store())],
        "rdb" => vec![rdb_file()],
        "dump" => store().snapshot().records(0).map(rdb::dump).collect(),
        "cluster_toml" => texts(&[CLUSTER]),
        "history" => texts(&[HISTORY]),
        "placement" => placements(),
        "wal" => (0..4).map(|file| vec![file, 0, 0, 1, 2, 3, 4]).collect(),
        _ => Vec::new(),
    }
}

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn sessions() -> Vec<String> {
    let request = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let body: String = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
        format!("*{}\r\n{body}", words.len())
    };
    let session = |lines: &[&str]| lines.iter().map(|line| request(line)).collect::<String>();
    vec![
        session(&[
            "HELLO 3",
            "SET key value EX 10",
            "GET key",
            "INCRBY n -7",
            "SETRANGE s 3 x",
            "BITFIELD b SET u8 0 255",
        ]),
        session(&["MULTI", "RPUSH l a b c", "LPOP l 2", "EXEC", "WATCH l", "LRANGE l 0 -1", "SORT l ALPHA"]),
        session(&[
            "HSET h f v",
            "HRANDFIELD h 2",
            "ZADD z 1.5 a inf b",
            "ZRANGE z 0 -1 WITHSCORES",
            "SADD s a",
            "SSCAN s 0",
        ]),
        session(&["XADD s 1-1 f v", "XRANGE s - +", "XGROUP CREATE s g 0", "XREADGROUP GROUP g c STREAMS s >"]),
        session(&["SUBSCRIBE a", "PSUBSCRIBE b*", "PUBLISH a x", "UNSUBSCRIBE", "PUNSUBSCRIBE"]),
        session(&[
            "EVAL return{KEYS[1],1,2.5} 1 k",
            "GEOADD g 13.3 38.1 x",
            "GEOSEARCH g FROMMEMBER x BYRADIUS 1 km",
            "PFADD p a",
        ]),
        session(&[
            "CONFIG GET *",
            "COMMAND DOCS get",
            "CLIENT LIST",
            "ACL SETUSER a on ~* +@all",
            "DUMP key",
            "SCAN 0 MATCH a*",
        ]),
        "PING\r\nSET a \"b\\x00\"\r\n*1\r\n$-1\r\n".to_owned(),
    ]
}

/// The messages of a file of golden bytes: a name, and the sections of the message in hexadecimal.
fn messages(golden: &str) -> Vec<Vec<u8>> {
    let message = |line: &str| {
        let mut sections = line.split([' ', ',']).skip(1).filter(|text| !text.is_empty()).map(unhex);
        let small = sections.next()??;
        let raw = sections.collect::<Option<Vec<_>>>()?;
        bytes_of(&Frame::new(ChannelId(20), GroupId(0), small, raw).ok()?)
    };
    golden
        .lines()
        .filter(|line| !line.starts_with("record") && !line.starts_with("state"))
        .filter_map(message)
        .collect()
}

fn unhex(text: &str) -> Option<Bytes> {
    let digits = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    (0..text.len()).step_by(2).map(digits).collect()
}

/// Variants by their positions, and a bundle of two frames.
fn node_messages() -> Vec<Vec<u8>> {
    let frame = |channel: ChannelId, small: Vec<u8>, raw: Vec<Bytes>| {
        bytes_of(&Frame::new(channel, GroupId(0), small.into(), raw).expect("a small frame")).expect("it is short")
    };
    let bundled = vec![2, 20, 0, 3, 1, 2, 20, 1, 0, 0];
    let mut all: Vec<_> = (0..9).map(|kind| frame(ChannelId::NODE, vec![kind, 0, 1, 1, 0, 0], Vec::new())).collect();
    all.push(frame(ChannelId::BUNDLES, bundled, vec![Bytes::from_static(b"abcde")]));
    all
}

fn entries() -> Vec<Vec<u8>> {
    let entry = Entry::internal(EntryKind::Command, LogTime(7), Bytes::from_static(b"payload"));
    let batch = quorate_protocol::EntryBatch::encode(LogIndex(1), [(Term(1), &entry), (Term(2), &entry)]);
    let small = codec::encode_small(batch.header()).expect("a small header");
    let frame = Frame::new(ChannelId(0), GroupId(0), small, vec![batch.raw().clone()]).expect("a small frame");
    let members = Configuration::of_voters([NodeId(1), NodeId(2)]);
    vec![bytes_of(&frame).expect("it is short"), batch.raw().to_vec(), members.encode().to_vec()]
}

fn store_entries() -> Vec<Vec<u8>> {
    let entry = |commands: &[&[&[u8]]]| {
        let mut writer = EntryWriter::new(Version::Resp3, 1_000, 7, 256);
        for command in commands {
            writer.command(command);
        }
        writer.finish().to_vec()
    };
    let mut writer = EntryWriter::new(Version::Resp2, 1_000, 7, 256);
    writer.transaction(&[], &[encode_arguments(&[b"SET", b"a", b"b"]), encode_arguments(&[b"INCR", b"n"])]);
    vec![
        entry(&[&[b"SET", b"key", b"value"], &[b"APPEND", b"key", b"more"]]),
        entry(&[&[b"ZADD", b"z", b"1", b"a"], &[b"XADD", b"s", b"*", b"f", b"v"], &[b"EVAL", b"return 1", b"0"]]),
        writer.finish().to_vec(),
    ]
}

fn shard_work() -> Vec<Vec<u8>> {
    let entry = |asks| Work::Entry { entry: store_entries().remove(0).into(), asks };
    let store = store();
    let snapshot = store.snapshot();
    let put = snapshot.records(0).map(|record| Effect::put(record, true));
    let effects = std::iter::once(Effect::Remove("gone".into())).chain(put).collect();
    let part = |only_if| {
        let part = Part { checks: vec![("key".into(), 0), ("other".into(), 7)], effects: Vec::new() };
        Work::Part { part, only_if }
    };
    let whole = Work::Part { part: Part { checks: Vec::new(), effects }, only_if: false };
    let all = [entry(false), entry(true), part(true), part(false), whole, Work::Cut { id: 7 }];
    all.iter().map(|work| work.encode().to_vec()).collect()
}

fn store() -> Store {
    let mut store = Store::new();
    let mut writer = EntryWriter::new(Version::Resp2, 1_000, 7, 256);
    let commands: [&[&[u8]]; 6] = [
        &[b"SET", b"text", b"value", b"PX", b"100000"],
        &[b"RPUSH", b"list", b"a", b"17", b"70000"],
        &[b"HSET", b"hash", b"field", b"value"],
        &[b"SADD", b"set", b"a", b"b"],
        &[b"ZADD", b"zset", b"1.5", b"a", b"-inf", b"b"],
        &[b"XADD", b"stream", b"1-1", b"f", b"v"],
    ];
    for command in commands {
        writer.command(command);
    }
    apply(&mut store, 1_000, &writer.finish()).expect("our own entry");
    store
}

fn snapshot(store: &Store) -> Vec<u8> {
    let mut bytes = Vec::new();
    store.snapshot().write(&mut bytes).expect("a vector takes all");
    bytes
}

fn rdb_file() -> Vec<u8> {
    let mut file = RdbWriter::new(Vec::new(), &[("redis-ver", "7.0.15")]).expect("a vector takes all");
    file.database(0, 6).expect("a vector takes all");
    for record in store().snapshot().records(0) {
        file.record(record).expect("a vector takes all");
    }
    file.finish().expect("a vector takes all")
}

fn placements() -> Vec<Vec<u8>> {
    let nodes = || Nodes::named(["a", "b", "c"]).expect("three names");
    let ring = Ring::builder().virtual_nodes(4).build(nodes()).expect("three nodes");
    vec![
        to_vec(&RingState::from(&ring)).expect("plain data"),
        to_vec(&MementoState::from(&Memento::new(nodes()).expect("three nodes"))).expect("plain data"),
        to_vec(&RendezvousState::from(&Rendezvous::new(nodes()).expect("three nodes"))).expect("plain data"),
        to_vec(&MaglevState::from(&Maglev::new(nodes()).expect("three nodes"))).expect("plain data"),
    ]
}

fn requests() -> Vec<Vec<u8>> {
    let node = NewNode { id: 4, address: "a:1".to_owned(), incarnation: "1f".to_owned() };
    let layout = [LayoutRequest::Move { from: 0, to: 1, slots: vec![1, 2] }, LayoutRequest::Split { from: 0, to: 9 }];
    let members = [MemberRequest::Remove(3), MemberRequest::Add { node, learner: true }];
    let members = members.iter().map(|request| to_vec(request).expect("plain data"));
    members.chain(layout.iter().map(|request| to_vec(request).expect("plain data"))).collect()
}

const GOLDEN_HANDSHAKES: [&[u8]; 4] = [
    include_bytes!("../../transport/tests/golden/hello-v1-bulk-expecting.bin"),
    include_bytes!("../../transport/tests/golden/hello-v1-control.bin"),
    include_bytes!("../../transport/tests/golden/answer-v1-accepted.bin"),
    include_bytes!("../../transport/tests/golden/answer-v1-unknown-peer.bin"),
];
const GOLDEN_FRAMES: [&[u8]; 2] = [
    include_bytes!("../../transport/tests/golden/frame-v1-sections.bin"),
    include_bytes!("../../transport/tests/golden/frame-v1-empty.bin"),
];
const CLUSTER: &str = "cluster = \"c\"\ndata = \"data\"\nshards = 3\n[tls]\nca = \"a\"\ncert = \"{node}\"\nkey = \"k\"\n\
    [[node]]\nid = 1\npeer = \"a:1\"\nclient = \"a:2\"\nhttp = \"[::1]:3\"\nbind = \"0.0.0.0\"\n";
const HISTORY: &str = "{\"process\":0,\"type\":\"invoke\",\"f\":\"write\",\"key\":\"x\",\"value\":1}\n\
    {\"process\":0,\"type\":\"ok\",\"f\":\"write\",\"key\":\"x\",\"value\":1}\n";
