//! Users and passwords on real processes.

use std::process::Command;

use bytes::Bytes;
use quorate_kv::client::{Answer, Client};

use crate::cluster::Cluster;

fn call(client: &mut Client, command: &str) -> Answer {
    let arguments: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
    client.ask(&arguments).unwrap()
}

fn error(client: &mut Client, command: &str) -> String {
    match call(client, command) {
        Answer::Error(text) => text,
        other => panic!("{command}: {other:?}"),
    }
}

fn ok() -> Answer {
    Answer::Status("OK".to_owned())
}

fn logged_in(cluster: &Cluster, node: u64, command: &str) -> Client {
    let mut client = cluster.client(node);
    assert_eq!(call(&mut client, command), ok());
    client
}

/// A user that one node made may act at all others, soon, and is forgotten by all of them.
fn users_are_those_of_the_cluster(more: &str) {
    let mut cluster = Cluster::describe(3, &format!("requirepass = \"first\"\n{more}"));
    cluster.start_all();
    assert_eq!(error(&mut cluster.client(1), "GET k"), "NOAUTH Authentication required.");
    assert!(error(&mut cluster.client(1), "AUTH wrong").starts_with("WRONGPASS"));
    let mut admin = logged_in(&cluster, 1, "AUTH first");
    for key in ["mine:a", "mine:b", "other"] {
        assert_eq!(call(&mut admin, &format!("SET {key} v")), ok());
    }
    assert_eq!(call(&mut admin, "ACL SETUSER app on >secret ~mine:* +@all -@dangerous"), ok());
    let mut clients: Vec<Client> = Vec::new();
    for node in cluster.ids() {
        let mut client = cluster.client(node);
        cluster.wait("the user is known", || call(&mut client, "AUTH app secret") == ok());
        assert_eq!(call(&mut client, "MGET mine:a mine:b"), Answer::Array(vec![Answer::Bulk(Bytes::from("v")); 2]));
        assert!(error(&mut client, "MGET mine:a other").starts_with("NOPERM"));
        assert!(error(&mut client, "FLUSHALL").starts_with("NOPERM"));
        let script = "return#redis.call('get',KEYS[1])";
        assert_eq!(call(&mut client, &format!("EVAL {script} 1 mine:a")), Answer::Integer(1));
        let sneaks = format!("EVAL {} 1 mine:a", script.replace("KEYS[1]", "'other'"));
        assert!(error(&mut client, &sneaks).contains("can't access at least one of the keys"));
        clients.push(client);
    }
    // All of it is in the log: no password is, and a node that starts anew knows the users.
    assert_eq!(call(&mut admin, "ACL SETUSER app resetkeys ~new:*"), ok());
    assert!(error(&mut clients[0], "GET mine:a").starts_with("NOPERM"));
    let second = &mut clients[1];
    cluster.wait("another node knows the change", || error_or_nothing(second, "GET mine:a").starts_with("NOPERM"));
    cluster.kill(3);
    cluster.launch(3);
    let mut restarted = cluster.client(3);
    cluster.wait("the user is known again", || call(&mut restarted, "AUTH app secret") == ok());
    assert!(error(&mut restarted, "GET mine:a").starts_with("NOPERM"));
    assert_eq!(call(&mut admin, "ACL DELUSER app"), Answer::Integer(1));
    clients.truncate(2);
    clients.push(restarted);
    for client in &mut clients {
        cluster.wait("the user's connections end", || client.ask(&[b"GET", b"new:a"]).is_err());
    }
    assert!(!cluster.data_have(1, b"secret"), "a password is in the data of a node");
    assert!(cluster.data_have(1, b"mine:a"), "the data of the nodes are read");
}

fn error_or_nothing(client: &mut Client, command: &str) -> String {
    match call(client, command) {
        Answer::Error(text) => text,
        _ => String::new(),
    }
}

#[test]
fn users_are_those_of_the_cluster_in_one_shard() {
    users_are_those_of_the_cluster("");
}

#[test]
fn users_are_those_of_the_cluster_in_several_shards() {
    users_are_those_of_the_cluster("shards = 4");
}

/// Nobody is let in by a node that does not know the users, however empty its own store is.
#[test]
fn a_node_that_is_cut_off_takes_no_work() {
    let mut cluster = Cluster::describe(3, "");
    cluster.launch(1);
    let mut client = cluster.client(1);
    assert_eq!(call(&mut client, "PING"), Answer::Status("PONG".to_owned()));
    for command in ["GET k", "SET k v", "PUBLISH c m", "ACL SETUSER a on", "EVAL return(1) 0"] {
        assert!(error(&mut client, command).starts_with("NOQUORUM"), "{command}");
    }
    assert_eq!(call(&mut client, "READONLY"), ok());
    assert!(error(&mut client, "GET k").starts_with("NOQUORUM"));
}

/// Runs a command of `kv` on a cluster, as a user, and returns what it said. It must succeed.
fn kv(cluster: &Cluster, words: &[&str], user: &str, password: &str) -> String {
    let mut kv = Command::new(env!("CARGO_BIN_EXE_kv"));
    kv.args(words).arg("--config").arg(cluster.config_path()).args(["--user", user]).env("KV_PASSWORD", password);
    let output = kv.output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{words:?}: {said}");
    said
}

#[test]
fn a_backup_has_the_users_and_an_export_does_not() {
    let start = |shards: u16| {
        let mut cluster = Cluster::describe(1, &format!("requirepass = \"first\"\nshards = {shards}"));
        cluster.start_all();
        cluster
    };
    let (from, to) = (start(1), start(3));
    let mut admin = logged_in(&from, 1, "AUTH first");
    for command in [
        "SET mine:a v",
        "ACL SETUSER app on >secret >other ~mine:* %R~all:* &news:* +@read +set -get (~more:* +@all -@dangerous)",
        "ACL SETUSER gone off nopass",
        "ACL SETUSER default >second",
    ] {
        assert_eq!(call(&mut admin, command), ok());
    }
    let [dump, export] = ["dump.rdb", "export.rdb"].map(|name| from.folder().join(name).display().to_string());
    kv(&from, &["backup", &dump], "default", "second");
    kv(&from, &["export", "--out", &export], "default", "second");
    let bytes = |path: &str| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
    assert!(bytes(&dump).contains("user app on #") && !bytes(&dump).contains("secret"));
    assert!(!bytes(&export).contains("user app") && bytes(&export).contains("mine:a"));

    let mut first = logged_in(&to, 1, "AUTH first");
    let said = kv(&to, &["restore", &dump], "default", "first");
    assert!(said.contains("1 keys taken") && said.contains(" 3 users,"), "{said}");
    // Whether values of `RESTORE` are checked, which they always are, is said anew.
    let plain = |client: &mut Client| match call(client, "ACL LIST") {
        Answer::Array(lines) => {
            lines.iter().map(|line| format!("{line:?}").replace(" sanitize-payload", "")).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(plain(&mut first), plain(&mut admin));
    let mut app = logged_in(&to, 1, "AUTH app other");
    assert_eq!(call(&mut app, "MGET mine:a"), Answer::Array(vec![Answer::Bulk(Bytes::from("v"))]));
    logged_in(&to, 1, "AUTH second");
    assert!(error(&mut to.client(1), "AUTH gone x").starts_with("WRONGPASS"));
}
