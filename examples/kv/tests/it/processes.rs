//! Guarantees that hold in spite of killed processes and damaged files.

use std::fs;
use std::io::{BufRead as _, BufReader, Read, Seek, SeekFrom, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use quorate_kv::client::{Answer, Client};

use crate::cluster::{Cluster, Writers, assert_all_there, newest_file};

fn ok() -> Answer {
    Answer::Status("OK".to_owned())
}

fn bulk(text: &str) -> Answer {
    Answer::Bulk(text.to_owned().into())
}

#[test]
fn any_node_answers_any_client_and_status_shows_all() {
    let cluster = Cluster::start();
    for id in cluster.ids() {
        let key = format!("from {id}");
        assert_eq!(cluster.client(id).ask(&[b"SET", key.as_bytes(), b"1"]).unwrap(), ok());
        for other in cluster.ids() {
            assert_eq!(cluster.client(other).ask(&[b"GET", key.as_bytes()]).unwrap(), bulk("1"));
        }
    }
    let mut status = Command::new(env!("CARGO_BIN_EXE_kv"));
    let shown = status.args(["status", "--config"]).arg(cluster.config_path()).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert_eq!(shown.matches("follower").count(), 2, "{shown}");
    assert_eq!(shown.lines().count(), 4, "{shown}");
    let group = cluster.group(1).unwrap();
    assert_eq!(group.founded_with, cluster.ids());
    assert_eq!(shown.matches(&group.founding[..8]).count(), 3, "all founded it alike: {shown}");
}

#[test]
fn a_killed_leader_loses_no_acknowledged_write_and_rejoins() {
    let mut cluster = Cluster::start();
    let writers = Writers::start(6, &cluster.clients());
    cluster.wait("writes", || writers.count() > 500);
    let leader = cluster.leader();
    cluster.kill(leader);
    let before = writers.count();
    cluster.wait("writes after the leader's death", || writers.count() > before + 500);
    let keys = writers.stop();
    assert_ne!(cluster.leader(), leader);
    cluster.launch(leader);
    cluster.converge();
    for id in cluster.ids() {
        assert_all_there(&mut cluster.client(id), &keys);
    }
}

#[test]
fn all_killed_at_once_lose_no_acknowledged_write() {
    let mut cluster = Cluster::start();
    let writers = Writers::start(6, &cluster.clients());
    cluster.wait("writes", || writers.count() > 500);
    for id in cluster.ids() {
        cluster.signal(id, "KILL");
    }
    for id in cluster.ids() {
        cluster.kill(id);
    }
    let keys = writers.stop();
    cluster.start_all();
    cluster.leader();
    cluster.converge();
    for id in cluster.ids() {
        assert_all_there(&mut cluster.client(id), &keys);
    }
}

#[test]
fn nodes_that_are_told_to_stop_come_back_with_everything() {
    let mut cluster = Cluster::start();
    let mut client = cluster.client(1);
    assert_eq!(client.ask(&[b"SET", b"key", b"value"]).unwrap(), ok());
    for id in cluster.ids() {
        cluster.terminate(id);
    }
    cluster.start_all();
    cluster.leader();
    assert_eq!(cluster.client(2).ask(&[b"GET", b"key"]).unwrap(), bulk("value"));
}

/// Reads at a leader that was paused while it was deposed. They are sent after the new value was acknowledged.
#[test]
fn a_leader_that_was_paused_serves_no_old_value() {
    let cluster = Cluster::start();
    let paused = cluster.leader();
    let other = cluster.another_than(paused);
    let mut at_paused = cluster.client(paused);
    assert_eq!(at_paused.ask(&[b"SET", b"key", b"old"]).unwrap(), ok());
    cluster.signal(paused, "STOP");
    let mut at_other = cluster.client(other);
    cluster.wait("a write at the new leader", || at_other.ask(&[b"SET", b"key", b"new"]).unwrap() == ok());
    let read: &[&[u8]] = &[b"GET", b"key"];
    at_paused.send(&[read; 500]).unwrap();
    cluster.signal(paused, "CONT");
    at_paused.send(&[read; 500]).unwrap();
    let mut answered = 0;
    for _ in 0..1000 {
        match at_paused.receive().unwrap() {
            Answer::Error(error) => assert_eq!(error, "NOQUORUM not applied"),
            value => {
                assert_eq!(value, bulk("new"));
                answered += 1;
            }
        }
    }
    assert!(answered > 0, "no read was answered, so nothing was shown");
}

#[test]
fn without_a_majority_commands_fail_and_local_reads_go_on() {
    let mut cluster = Cluster::start();
    assert_eq!(cluster.client(1).ask(&[b"SET", b"key", b"value"]).unwrap(), ok());
    cluster.converge();
    let last = cluster.ids()[2];
    for id in cluster.ids() {
        if id != last {
            cluster.kill(id);
        }
    }
    let mut client = cluster.client(last);
    let mut write = || client.ask(&[b"SET", b"key", b"other"]).unwrap();
    // The first write may have been on its way to another node when the others went down.
    let first = write();
    assert!(
        ["NOQUORUM not applied", "TIMEOUT outcome unknown"].map(|text| Answer::Error(text.to_owned())).contains(&first)
    );
    cluster
        .wait("the node knows that there is no leader", || write() == Answer::Error("NOQUORUM not applied".to_owned()));
    assert_eq!(client.ask(&[b"GET", b"key"]).unwrap(), Answer::Error("NOQUORUM not applied".to_owned()));
    assert_eq!(client.ask(&[b"READONLY"]).unwrap(), ok());
    assert_eq!(client.ask(&[b"GET", b"key"]).unwrap(), bulk("value"));
    assert!(matches!(client.ask(&[b"INFO", b"replication"]).unwrap(), Answer::Bulk(_)));
    assert_eq!(client.ask(&[b"READWRITE"]).unwrap(), ok());
    assert_eq!(client.ask(&[b"GET", b"key"]).unwrap(), Answer::Error("NOQUORUM not applied".to_owned()));
}

#[test]
fn nodes_may_have_names_and_listen_elsewhere() {
    let mut cluster = Cluster::describe(3, "");
    cluster.edit(|text| {
        // The name is that of one address, so its ports are drawn there, and all are held until the last is drawn.
        let mut held = Vec::new();
        let line = |line: &str| match line.split_once(" = \"127.") {
            Some((key, _)) => {
                held.push(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
                format!("{key} = \"localhost:{}\"\n", held.last().unwrap().local_addr().unwrap().port())
            }
            None => format!("{line}\n"),
        };
        text.lines().map(line).collect::<String>().replace("[[node]]", "[[node]]\nbind = \"127.0.0.1\"")
    });
    cluster.start_all();
    let leader = cluster.leader();
    let follower = cluster.ids().into_iter().find(|id| *id != leader).unwrap();
    let mut client = cluster.client(follower);
    assert_eq!(client.ask(&[b"SET", b"key", b"value"]).unwrap(), ok());
    // Clients are told the name.
    let Answer::Array(role) = client.ask(&[b"ROLE"]).unwrap() else { panic!("ROLE is a list") };
    assert_eq!(role[1], bulk("localhost"));
}

#[test]
fn the_log_can_be_json() {
    let cluster = Cluster::describe(1, "");
    let mut kv = Command::new(env!("CARGO_BIN_EXE_kv"));
    kv.args(["serve", "--node", "1", "--log-format", "json", "--config"]).arg(cluster.config_path());
    let mut process = kv.env("RUST_LOG", "info").stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(process.stderr.take().unwrap()).read_line(&mut line).unwrap();
    process.kill().unwrap();
    process.wait().unwrap();
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&line["level"], &line["node"]), (&"INFO".into(), &1.into()), "{line}");
    assert!(line["timestamp"].is_string() && line["message"].is_string(), "{line}");
}

#[test]
fn data_are_for_their_owner_alone() {
    let cluster = Cluster::start();
    let mut folders = vec![cluster.data(1)];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let metadata = entry.metadata().unwrap();
            assert_eq!(metadata.permissions().mode() & 0o077, 0, "{}", entry.path().display());
            if metadata.is_dir() {
                folders.push(entry.path());
            } else {
                files += 1;
            }
        }
    }
    assert!(files > 0, "a node has files");
}

#[test]
fn keys_end_on_every_node() {
    let cluster = Cluster::start();
    let mut client = cluster.client(1);
    assert_eq!(client.ask(&[b"SET", b"key", b"value", b"PX", b"200"]).unwrap(), ok());
    for id in cluster.ids() {
        let mut client = cluster.client(id);
        cluster.wait("the key ends", || client.ask(&[b"GET", b"key"]).unwrap() == Answer::Nil);
        cluster.wait("the key is removed", || cluster.group(id).is_some_and(|group| group.bytes == 0));
    }
}

/// Writes data, stops a node, applies `damage` to the newest file of its log, and returns the cluster and the node's
/// id.
fn damaged(damage: impl FnOnce(&mut Vec<u8>)) -> (Cluster, u64) {
    let mut cluster = Cluster::start();
    let mut client = cluster.client(1);
    for number in 0..50 {
        let key = format!("key{number}");
        assert_eq!(client.ask(&[b"SET", key.as_bytes(), &[b'x'; 1000]]).unwrap(), ok());
    }
    cluster.converge();
    let victim = cluster.another_than(cluster.leader());
    cluster.kill(victim);
    let path = newest_file(&cluster.data(victim).join("log"), "segment-");
    let mut file = fs::File::options().read(true).write(true).open(path).unwrap();
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    damage(&mut bytes);
    file.seek(SeekFrom::Start(0)).unwrap();
    file.write_all(&bytes).unwrap();
    (cluster, victim)
}

fn last_used(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).unwrap()
}

#[test]
fn a_node_whose_last_record_is_torn_starts() {
    let (mut cluster, victim) = damaged(|bytes| {
        let last = last_used(bytes);
        bytes[last - 20..=last].fill(0);
    });
    cluster.launch(victim);
    cluster.converge();
    assert_eq!(cluster.client(victim).ask(&[b"STRLEN", b"key49"]).unwrap(), Answer::Integer(1000));
}

#[test]
fn a_node_with_a_flipped_bit_in_its_log_refuses_and_names_the_place() {
    let (mut cluster, victim) = damaged(|bytes| {
        // In the middle of a record's value, with many later records behind it.
        let middle = last_used(bytes) / 2;
        let place = middle + bytes[middle..].windows(16).position(|window| window == [b'x'; 16]).unwrap();
        bytes[place + 3] ^= 0x10;
    });
    let said = cluster.refusal(victim);
    for word in ["stream", "segment", "offset"] {
        assert!(said.contains(word), "{word} is not named: {said}");
    }
    // The other nodes work without it.
    let other = cluster.another_than(victim);
    assert_eq!(cluster.client(other).ask(&[b"SET", b"key", b"value"]).unwrap(), ok());
}

#[test]
fn a_foreign_directory_is_refused() {
    let mut cluster = Cluster::start();
    cluster.terminate(1);
    cluster.rename("another");
    let said = cluster.refusal(1);
    assert!(said.contains("belongs to cluster"), "{said}");
    cluster.rename("test");
}

#[test]
fn a_node_whose_disk_was_replaced_answers_reads_and_refuses_writes() {
    let mut cluster = Cluster::start();
    let lost = cluster.another_than(cluster.leader());
    assert_eq!(cluster.client(lost).ask(&[b"SET", b"key", b"value"]).unwrap(), ok());
    cluster.terminate(lost);
    fs::remove_dir_all(cluster.data(lost)).unwrap();
    cluster.launch(lost);
    let get = |cluster: &Cluster| cluster.client(lost).ask(&[b"GET", b"key"]).ok();
    cluster.wait("the others fill it", || get(&cluster) == Some(bulk("value")));
    let Ok(Answer::Error(refused)) = cluster.client(lost).ask(&[b"SET", b"key", b"other"]) else {
        panic!("a stranger")
    };
    assert!(refused.starts_with("READONLY not applied"), "{refused}");
    assert_eq!(get(&cluster), Some(bulk("value")));
}

#[test]
fn a_second_process_on_the_same_data_is_refused() {
    let mut cluster = Cluster::describe(1, "");
    cluster.launch(1);
    cluster.leader();
    let mut twin = Cluster::describe_at(1, cluster.data(1).parent().unwrap(), "");
    let said = twin.refusal(1);
    assert!(said.contains("in use by another process"), "{said}");
}

/// Keeps a node down while the others write so much that it counts as far behind. Snapshots are made meanwhile, the
/// last of them when the leader no longer keeps entries for that node.
fn write_while_down(cluster: &mut Cluster) -> u64 {
    let down = cluster.another_than(cluster.leader());
    cluster.kill(down);
    let mut client = cluster.client(cluster.leader());
    // The leader checks for lagging peers once a second, so this one must lag for longer.
    let start = Instant::now();
    for round in 0.. {
        if round >= ROUNDS_WHILE_DOWN && start.elapsed() > Duration::from_secs(3) {
            break;
        }
        write_entries(&mut client, round * ENTRIES_A_ROUND);
    }
    down
}

#[test]
fn a_node_that_was_down_catches_up_by_the_log() {
    let mut cluster = Cluster::start();
    let down = write_while_down(&mut cluster);
    cluster.launch(down);
    cluster.converge();
    let leader = cluster.leader();
    cluster
        .wait("the leader counts it", || cluster.group(leader).is_some_and(|group| group.peers_caught_up_by_log == 1));
    assert_eq!(cluster.group(down).unwrap().caught_up_by_snapshot, 0);
    assert_eq!(cluster.group(leader).unwrap().peers_caught_up_by_snapshot, 0);
}

#[test]
fn a_node_that_was_down_too_long_catches_up_by_a_snapshot_however_often_it_is_killed() {
    let mut cluster = Cluster::describe(3, "snapshot_entries = 5000");
    cluster.start_all();
    let down = write_while_down(&mut cluster);
    cluster.launch(down);
    cluster.converge();
    let leader = cluster.leader();
    cluster.wait("the leader counts it", || {
        cluster.group(leader).is_some_and(|group| group.peers_caught_up_by_snapshot == 1)
    });
    assert_eq!(cluster.group(down).unwrap().caught_up_by_snapshot, 1);
    let before = cluster.group(down).unwrap().last_index;
    let down = write_while_down(&mut cluster);
    for point in 1..=3 {
        cluster.launch(down);
        // Killed at some point between listening and being ready; the point differs from time to time.
        for _ in 0..point {
            cluster.wait("the node listens", || cluster.group(down).is_some());
        }
        cluster.kill(down);
    }
    cluster.launch(down);
    cluster.converge();
    assert!(cluster.group(down).unwrap().first_index > before, "a snapshot brought it up");
    assert_eq!(cluster.client(down).ask(&[b"DBSIZE"]).unwrap(), Answer::Integer(i64::try_from(KEYS).unwrap()));
}

/// Writes a number of entries. Each write requests the old value, so that it is an entry of its own.
fn write_entries(client: &mut Client, first: u64) {
    let names: Vec<_> = (first..first + ENTRIES_A_ROUND).map(|number| format!("key:{}", number % KEYS)).collect();
    let commands: Vec<[&[u8]; 4]> =
        names.iter().map(|name| [&b"SET"[..], name.as_bytes(), name.as_bytes(), b"GET"]).collect();
    let commands: Vec<&[&[u8]]> = commands.iter().map(|command| &command[..]).collect();
    client.send(&commands).unwrap();
    for _ in &commands {
        let answer = client.receive().unwrap();
        assert!(matches!(answer, Answer::Nil | Answer::Bulk(_)), "{answer:?}");
    }
}

const ENTRIES_A_ROUND: u64 = 500;
const ROUNDS_WHILE_DOWN: u64 = 50;
const KEYS: u64 = 5000;

/// The reader of the log is slow, then gone, and the terminal is closed. The node keeps serving, and ends in order on a
/// signal.
#[test]
fn a_node_outlives_whoever_reads_its_log() {
    let mut cluster = Cluster::describe(1, "");
    cluster.launch_with(1, "trace", Stdio::piped());
    let reader = cluster.log_reader(1);
    let mut client = cluster.client(1);
    // Far more lines than a pipe holds, and no reader takes them.
    for number in 0..2_000 {
        assert_eq!(client.ask(&[b"SET", b"key", format!("{number}").as_bytes()]).unwrap(), ok());
    }
    drop(reader);
    cluster.signal(1, "HUP");
    for number in 0..2_000 {
        assert_eq!(client.ask(&[b"SET", b"key", format!("{number}").as_bytes()]).unwrap(), ok());
    }
    cluster.terminate(1);
}

/// Such a node cannot do anything any more: a supervisor has to start it again.
#[test]
fn a_node_whose_log_fails_ends_and_says_why() {
    let mut cluster = Cluster::describe(1, "");
    cluster.launch_limited(1);
    let mut client = cluster.client(1);
    assert_eq!(client.ask(&[b"SET", b"key", b"value"]).unwrap(), ok());
    cluster.refuse_writes(1);
    let refused = client.ask(&[b"SET", b"key", b"other"]);
    assert!(!matches!(refused, Ok(Answer::Status(_))), "{refused:?}");
    let (code, said) = cluster.end(1);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("kv: node 1 stopped by itself: its group has stopped: the log"), "{said}");
    cluster.launch(1);
    assert_eq!(cluster.client(1).ask(&[b"GET", b"key"]).unwrap(), bulk("value"));
}

#[test]
fn a_follower_says_that_it_is_none_to_write_to_first() {
    let cluster = Cluster::start();
    let leader = cluster.leader();
    let follower = cluster.another_than(leader);
    let told = |id| match cluster.client(id).ask(&[b"INFO", b"replication"]).unwrap() {
        Answer::Bulk(info) => String::from_utf8(info.to_vec()).unwrap(),
        other => panic!("{other:?}"),
    };
    cluster.wait("each says what it is", || {
        let port = format!("master_port:{}\r\n", cluster.node(cluster.leader()).client.port());
        told(leader).contains("role:master\r\n") && told(follower).contains(&port)
    });
    assert!(told(follower).contains("role:slave\r\n"));
}

#[test]
fn the_tour_ends_well_and_its_folder_can_be_used_again() {
    tour_twice("raft", "paxos");
}

#[test]
fn the_tour_on_paxos_ends_as_well() {
    tour_twice("paxos", "raft");
}

fn tour_twice(engine: &str, other: &str) {
    let folder = tempfile::tempdir().unwrap();
    let tour = |engine: &str| {
        let mut tour = Command::new(env!("CARGO_BIN_EXE_kv"));
        tour.args(["demo", "--engine", engine, "--dir"]).arg(folder.path()).output().unwrap()
    };
    for _ in 0..2 {
        let toured = tour(engine);
        let said = String::from_utf8_lossy(&toured.stdout);
        assert!(toured.status.success(), "{said}{}", String::from_utf8_lossy(&toured.stderr));
        assert!(said.contains("All of it held"), "{said}");
    }
    let refused = tour(other);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains(&format!("runs on {engine}")), "{said}");
}
