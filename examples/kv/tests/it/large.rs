//! Values of many megabytes, which go to the log in pieces, on real processes.

use std::thread::{self, JoinHandle};

use quorate_kv::client::{Answer, Client};
use quorate_kv::store::{VALUE_BYTES_MAX, slot_of};

use crate::cluster::Cluster;
use crate::shards::shard;

/// Bytes of a value that goes in several pieces.
const LONG: usize = 32 * 1024 * 1024;

fn value(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|place| (place ^ place >> 8 ^ place >> 16).to_le_bytes()[0]).collect()
}

fn ok() -> Answer {
    Answer::Status("OK".to_owned())
}

/// Sends a command and waits for its answer beside the test.
fn begin(mut client: Client, command: &'static [u8], key: &'static [u8], bytes: usize) -> JoinHandle<Answer> {
    thread::spawn(move || client.ask(&[command, key, &value(bytes)]).unwrap())
}

/// Asks until a leader answers.
fn ask(cluster: &Cluster, client: &mut Client, command: &[&[u8]]) -> Answer {
    let mut answer = Answer::Nil;
    cluster.wait("a leader answers", || {
        answer = client.ask(command).unwrap();
        !matches!(&answer, Answer::Error(error) if error.ends_with("not applied"))
    });
    answer
}

fn applied(cluster: &Cluster, id: u64) -> u64 {
    cluster.group(id).map_or(0, |group| group.applied_index)
}

/// Waits until some pieces of a command that was just begun are in the log.
fn wait_for_pieces(cluster: &Cluster, id: u64, before: u64, pieces: u64) {
    cluster.wait("pieces are applied", || applied(cluster, id) >= before + pieces);
}

#[test]
fn the_longest_value_is_kept_by_all_nodes_and_a_longer_one_is_refused() {
    let cluster = Cluster::start();
    let leader = cluster.leader();
    let longest = value(VALUE_BYTES_MAX);
    let mut client = cluster.client(cluster.another_than(leader));
    assert_eq!(client.ask(&[b"SET", b"long", &longest]).unwrap(), ok());
    // What follows in the same pipeline is not overtaken, and sees it.
    client.send(&[&[b"SET", b"other", &longest[..LONG]], &[b"STRLEN", b"other"], &[b"SET", b"other", b"1"]]).unwrap();
    let length = i64::try_from(LONG).unwrap();
    assert_eq!([(); 3].map(|()| client.receive().unwrap()), [ok(), Answer::Integer(length), ok()]);
    let too_long = "ERR string exceeds maximum allowed size (proto-max-bulk-len)".to_owned();
    assert_eq!(client.ask(&[b"APPEND", b"long", b"x"]).unwrap(), Answer::Error(too_long));
    let read = ask(&cluster, &mut cluster.client(leader), &[b"GET", b"long"]);
    assert!(matches!(read, Answer::Bulk(bytes) if bytes == longest));
    cluster.converge();
    client
        .send(&[&[b"CONFIG", b"GET", b"proto-max-bulk-len"], &[b"SET", b"long", &vec![b'x'; VALUE_BYTES_MAX + 1]]])
        .ok();
    let limit = [&b"proto-max-bulk-len"[..], b"67108864"].map(|text| Answer::Bulk(text.to_vec().into()));
    assert_eq!(client.receive().unwrap(), Answer::Array(limit.to_vec()));
    // The rest of the bytes may be refused by a reset before the answer is read.
    if let Ok(answer) = client.receive() {
        assert_eq!(answer, Answer::Error("ERR Protocol error: invalid bulk length".to_owned()));
        client.receive().unwrap_err();
    }
}

#[test]
fn a_command_in_pieces_takes_effect_once_or_not_at_all_though_the_leader_dies_between_them() {
    let mut cluster = Cluster::start();
    let mut length = 0;
    for _ in 0..2 {
        let leader = cluster.leader();
        let node = cluster.another_than(leader);
        let before = applied(&cluster, node);
        let append = begin(cluster.client(node), b"APPEND", b"long", LONG);
        wait_for_pieces(&cluster, node, before, 10);
        cluster.kill(leader);
        let answer = append.join().unwrap();
        let found = ask(&cluster, &mut cluster.client(node), &[b"STRLEN", b"long"]);
        let appended = length + i64::try_from(LONG).unwrap();
        match &answer {
            Answer::Integer(told) => assert_eq!((*told, &found), (appended, &answer)),
            Answer::Error(error) if error.ends_with("not applied") => assert_eq!(found, Answer::Integer(length)),
            Answer::Error(error) if error == "TIMEOUT outcome unknown" => {
                assert!([length, appended].map(Answer::Integer).contains(&found), "{found:?}");
            }
            _ => panic!("{answer:?}"),
        }
        let Answer::Integer(found) = found else { panic!("{found:?}") };
        length = found;
        cluster.launch(leader);
        cluster.converge();
    }
    let whole = ask(&cluster, &mut cluster.client(1), &[b"GET", b"long"]);
    let expected = value(LONG).repeat(usize::try_from(length).unwrap() / LONG);
    assert!(matches!(whole, Answer::Bulk(bytes) if bytes == expected) || length == 0);
}

#[test]
fn pieces_are_in_a_snapshot_from_which_a_node_starts_again() {
    let mut cluster = Cluster::describe(3, "snapshot_entries = 100");
    cluster.start_all();
    let leader = cluster.leader();
    let node = cluster.another_than(leader);
    let before = applied(&cluster, node);
    let set = begin(cluster.client(leader), b"SET", b"long", VALUE_BYTES_MAX);
    // A snapshot is made every 100 entries, and one piece is an entry.
    wait_for_pieces(&cluster, node, before, 150);
    cluster.kill(node);
    cluster.launch(node);
    assert_eq!(set.join().unwrap(), ok());
    cluster.converge();
    let read = ask(&cluster, &mut cluster.client(node), &[b"GET", b"long"]);
    assert!(matches!(read, Answer::Bulk(bytes) if bytes == value(VALUE_BYTES_MAX)));
}

#[test]
fn long_values_are_committed_over_shards_and_move_between_them() {
    let mut cluster = Cluster::describe(3, "shards = 2");
    cluster.start_all();
    let mut client = cluster.client(1);
    let long = value(LONG);
    // One is in the first shard, the other in the second.
    cluster.wait("both shards are served", || client.ask(&[b"MSET", b"a", b"1", b"b", b"2"]).unwrap() == ok());
    assert_eq!((slot_of(b"a") / 8192, slot_of(b"b") / 8192), (1, 0));
    assert_eq!(ask(&cluster, &mut client, &[b"MSET", b"a", &long, b"b", &long[..LONG / 2]]), ok());
    assert_eq!(ask(&cluster, &mut client, &[b"RENAME", b"a", b"b"]), ok());
    let mut other = cluster.client(2);
    let long = Answer::Bulk(long.into());
    assert_eq!(ask(&cluster, &mut other, &[b"GET", b"b"]), long);
    assert_eq!(ask(&cluster, &mut other, &[b"EXISTS", b"a"]), Answer::Integer(0));
    let (code, said) = shard(&cluster, &format!("move 0 1 {}", slot_of(b"b")));
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(ask(&cluster, &mut other, &[b"GET", b"b"]), long, "it has moved");
    assert_eq!(other.ask(&[b"CLUSTER", b"COUNTKEYSINSLOT", b"3300"]).unwrap(), Answer::Integer(1));
}
