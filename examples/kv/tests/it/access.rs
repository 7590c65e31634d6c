//! Users and passwords on real processes.

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
