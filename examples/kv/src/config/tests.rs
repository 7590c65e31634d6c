use std::fs;

use super::*;

const GOOD: &str = r#"
cluster = "demo"
data = "data"

[[node]]
id = 1
peer = "127.0.0.1:7101"
client = "127.0.0.1:6371"
http = "127.0.0.1:8101"

[[node]]
id = 2
peer = "127.0.0.1:7102"
client = "127.0.0.1:6372"
http = "192.168.0.1:8102"
"#;

fn read(text: &str) -> Result<ClusterConfig, ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cluster.toml");
    fs::write(&path, text).unwrap();
    let mut config = ClusterConfig::read(&path)?;
    assert_eq!(config.data, folder.path().join("data"));
    config.data = "data".into();
    Ok(config)
}

fn error(text: &str) -> String {
    read(text).unwrap_err().to_string()
}

#[test]
fn a_good_file_is_read() {
    let config = read(GOOD).unwrap();
    assert_eq!((config.name.as_str(), config.snapshot_entries), ("demo", 1_000_000));
    assert_eq!(config.engine, Engine::Raft);
    assert_eq!(config.memory_max, 0);
    for (bytes, expected) in [("1000", 1_000), ("\"2gb\"", 2 << 30)] {
        assert_eq!(
            read(&GOOD.replace("data =", &format!("maxmemory = {bytes}\ndata ="))).unwrap().memory_max,
            expected
        );
    }
    assert_eq!(read(&GOOD.replace("data =", "engine = \"paxos\"\ndata =")).unwrap().engine, Engine::Paxos);
    assert_eq!(config.nodes.keys().copied().collect::<Vec<_>>(), [1, 2]);
    assert_eq!(config.nodes[&2].client.to_string(), "127.0.0.1:6372");
}

#[test]
fn every_bad_file_is_refused_with_its_reason() {
    let cases = [
        (GOOD.replace("\"demo\"", "\"\""), "cluster.toml:2: `cluster`: the name has 1 to 255 bytes"),
        (
            GOOD.replace("\"demo\"", &format!("{:?}", "x".repeat(256))),
            "cluster.toml:2: `cluster`: the name has 1 to 255 bytes",
        ),
        (GOOD.replace("data =", "snapshot_entries = 99\ndata ="), "cluster.toml:3: `snapshot_entries`: at least 100"),
        (
            GOOD.replace("data =", "maxmemory = \"5x\"\ndata ="),
            "cluster.toml:3: `maxmemory`: a number of bytes, or a text",
        ),
        (GOOD.replace("data =", "maxmemory = true\ndata ="), "data did not match"),
        (GOOD.replace("data =", "engine = \"zab\"\ndata ="), "unknown variant `zab`, expected `raft` or `paxos`"),
        (GOOD.replace("cluster =", "clutser ="), "unknown field `clutser`"),
        (GOOD.replace("data = \"data\"", ""), "missing field `data`"),
        (GOOD.replace("http = \"127", "htpp = \"127"), "unknown field `htpp`"),
        (GOOD.replace("id = 2", "id = 1"), "cluster.toml:12: `id`: node 1 stands there twice"),
        (GOOD.replace("id = 2", "id = 0"), "cluster.toml:12: `id`: node ids begin at 1"),
        (GOOD.replace("id = 2", "id = -2"), "invalid value"),
        (GOOD.replace("id = 2", "id = \"two\""), "invalid type"),
        (
            GOOD.replace("127.0.0.1:7102", "localhost"),
            "cluster.toml:13: `peer`: \"localhost\" of node 2: an address is",
        ),
        (GOOD.replace(":6372", ":66372"), "cluster.toml:14: `client`: \"127.0.0.1:66372\" of node 2: an address is"),
        (GOOD.replace(":7102", ":0"), "cluster.toml:13: `peer`: \"127.0.0.1:0\" of node 2: port 0"),
        (GOOD.replace(":6372", ":0"), "cluster.toml:14: `client`: \"127.0.0.1:0\" of node 2: port 0"),
        (GOOD.replace(":7102", ":7101"), "cluster.toml:13: `peer`: 127.0.0.1:7101 of node 2 is taken"),
        (GOOD.replace(":6372", ":7102"), "cluster.toml:14: `client`: 127.0.0.1:7102 of node 2 is taken"),
        (GOOD[..GOOD.find("[[").unwrap()].to_owned(), "cluster.toml: `node`: a cluster has 1 to 9 nodes, not 0"),
        (GOOD.replace("[[node]]", "[[node"), "TOML parse error"),
        (GOOD.replace("http =", "join = true\nhttp ="), "cluster.toml: `join`: every node has `join = true`"),
        (format!("shards = 0\n{GOOD}"), "cluster.toml:1: `shards`: from 1 to 256, not 0"),
        (format!("shards = 257\n{GOOD}"), "cluster.toml:1: `shards`: from 1 to 256, not 257"),
        (
            format!("shards = 2\n{}", GOOD.replace("id = 2", "id = 2\njoin = true")),
            "cluster.toml:14: `join`: node 2 cannot join: a store of several shards keeps the nodes",
        ),
        (String::new(), "missing field `cluster`"),
    ];
    for (text, expected) in cases {
        let error = error(&text);
        assert!(error.contains(expected), "{error:?} does not say {expected:?}");
    }
}

#[test]
fn a_node_that_joins_says_so() {
    assert!(read(GOOD).unwrap().joining().is_empty());
    let config = read(&GOOD.replace("id = 2", "id = 2\njoin = true")).unwrap();
    assert_eq!(config.joining().into_iter().collect::<Vec<_>>(), [2]);
}

#[test]
fn a_missing_file_is_named() {
    let error = ClusterConfig::read(Path::new("/nowhere/cluster.toml")).unwrap_err();
    assert!(matches!(&error, ConfigError::Read { .. }), "{error}");
    assert!(error.to_string().starts_with("/nowhere/cluster.toml: "), "{error}");
}

#[test]
fn all_mistakes_of_a_file_are_named() {
    let bad = GOOD.replace("\"demo\"", "\"\"").replace("id = 2", "id = 0").replace(":6372", ":0");
    let error = error(&bad);
    let lines: Vec<&str> = error.lines().filter_map(|line| line.split_once("cluster.toml:")).map(|it| it.1).collect();
    assert_eq!(lines.len(), 3, "{error}");
    assert!(lines[0].starts_with("2: `cluster`") && lines[1].starts_with("12: `id`"), "{error}");
    assert!(lines[2].starts_with("14: `client`"), "{error}");
}

#[test]
fn a_node_listens_to_other_machines_only_when_told_to() {
    let config = read(GOOD).unwrap();
    assert!(config.listeners(1, Exposure::Loopback).is_ok());
    let refused = config.listeners(2, Exposure::Loopback).unwrap_err();
    assert!(matches!(refused, ConfigError::NotLoopback { node: 2, field: "http", .. }), "{refused}");
    assert!(config.listeners(2, Exposure::Anywhere).is_ok());
    assert!(matches!(config.listeners(3, Exposure::Anywhere), Err(ConfigError::UnknownNode(3))));
}

#[test]
fn a_node_may_have_names_and_listen_elsewhere() {
    let named = GOOD.replace("127.0.0.1:7101", "localhost:7101");
    let config = read(&named).unwrap();
    assert_eq!(config.peers()[&1].to_string(), "localhost:7101");
    let at = config.listeners(1, Exposure::Loopback).unwrap();
    assert!(at.peer.ip().is_loopback() && at.peer.port() == 7101, "{at:?}");

    let bound = named.replace("localhost", "db1.invalid").replace("id = 1", "id = 1\nbind = \"0.0.0.0\"");
    let config = read(&bound).unwrap();
    assert_eq!(config.peers()[&1].to_string(), "db1.invalid:7101");
    let refused = config.listeners(1, Exposure::Loopback).unwrap_err();
    assert!(matches!(refused, ConfigError::NotLoopback { node: 1, field: "peer", .. }), "{refused}");
    let at = config.listeners(1, Exposure::Anywhere).unwrap();
    assert_eq!([at.peer, at.client, at.http], [7101, 6371, 8101].map(|port| ([0, 0, 0, 0], port).into()));
}
