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
    assert_eq!(read(&GOOD.replace("data =", "engine = \"paxos\"\ndata =")).unwrap().engine, Engine::Paxos);
    assert_eq!(config.nodes.keys().copied().collect::<Vec<_>>(), [1, 2]);
    assert_eq!(config.nodes[&2].client, "127.0.0.1:6372".parse().unwrap());
}

#[test]
fn every_bad_file_is_refused_with_its_reason() {
    let cases = [
        (GOOD.replace("\"demo\"", "\"\""), "`cluster` is a name"),
        (GOOD.replace("\"demo\"", &format!("{:?}", "x".repeat(256))), "`cluster` is a name"),
        (GOOD.replace("data =", "snapshot_entries = 99\ndata ="), "`snapshot_entries` is at least 100"),
        (GOOD.replace("data =", "engine = \"zab\"\ndata ="), "unknown variant `zab`, expected `raft` or `paxos`"),
        (GOOD.replace("cluster =", "clutser ="), "unknown field `clutser`"),
        (GOOD.replace("data = \"data\"", ""), "missing field `data`"),
        (GOOD.replace("http = \"127", "htpp = \"127"), "unknown field `htpp`"),
        (GOOD.replace("id = 2", "id = 1"), "node 1 stands there twice"),
        (GOOD.replace("id = 2", "id = 0"), "node ids begin at 1"),
        (GOOD.replace("id = 2", "id = -2"), "invalid value"),
        (GOOD.replace("id = 2", "id = \"two\""), "invalid type"),
        (GOOD.replace("127.0.0.1:7102", "localhost"), "node 2: `peer` is an IP address and a port"),
        (GOOD.replace(":6372", ":66372"), "node 2: `client` is an IP address and a port"),
        (GOOD.replace(":7102", ":0"), "node 2: `peer` 127.0.0.1:0 has no port"),
        (GOOD.replace(":6372", ":0"), "node 2: `client` 127.0.0.1:0 has no port"),
        (GOOD.replace(":7102", ":7101"), "node 2: `peer` 127.0.0.1:7101 is taken"),
        (GOOD.replace(":6372", ":7102"), "node 2: `client` 127.0.0.1:7102 is taken"),
        (GOOD[..GOOD.find("[[").unwrap()].to_owned(), "1 to 9 nodes, not 0"),
        (GOOD.replace("[[node]]", "[[node"), "TOML parse error"),
        (GOOD.replace("http =", "join = true\nhttp ="), "every node has `join = true`"),
        (format!("shards = 0\n{GOOD}"), "`shards` is from 1 to 256, not 0"),
        (format!("shards = 257\n{GOOD}"), "`shards` is from 1 to 256, not 257"),
        (
            format!("shards = 2\n{}", GOOD.replace("id = 2", "id = 2\njoin = true")),
            "node 2 has `join = true`: a store of several shards keeps the nodes",
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
fn a_node_listens_to_other_machines_only_when_told_to() {
    let config = read(GOOD).unwrap();
    assert!(config.node(1, Exposure::Loopback).is_ok());
    let refused = config.node(2, Exposure::Loopback).unwrap_err();
    assert!(matches!(refused, ConfigError::NotLoopback { node: 2, field: "http", .. }), "{refused}");
    assert!(config.node(2, Exposure::Anywhere).is_ok());
    assert!(matches!(config.node(3, Exposure::Anywhere), Err(ConfigError::UnknownNode(3))));
}
