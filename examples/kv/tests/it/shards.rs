//! Real processes with several shards.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use quorate_kv::client::{Answer, Client};
use quorate_kv::rdb::{Content, Limits, Part, RdbFile};
use quorate_kv::status;
use quorate_kv::store::slot_of;

use crate::cluster::{Cluster, Writers};

const SHARDS: &str = "shards = 4";

fn cluster() -> Cluster {
    let mut cluster = Cluster::describe(3, SHARDS);
    cluster.start_all();
    // Until every shard has a leader, commands are refused.
    for id in cluster.ids() {
        let mut client = cluster.client(id);
        cluster.wait("a node serves all shards", || ask(&mut client, "MSET a 1 b 2 c 3 d 4 e 5 f 6") == ok());
        cluster.wait("a node serves all shards", || ask(&mut client, "DEL a b c d e f") == Answer::Integer(6));
    }
    cluster
}

fn ask(client: &mut Client, line: &str) -> Answer {
    let arguments: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    client.ask(&arguments).unwrap()
}

fn bulk(text: &str) -> Answer {
    Answer::Bulk(text.to_owned().into())
}

fn bulks(texts: &[&str]) -> Answer {
    Answer::Array(texts.iter().map(|text| bulk(text)).collect())
}

fn ok() -> Answer {
    Answer::Status("OK".to_owned())
}

/// A command of `kv shard`.
fn shard_command(cluster: &Cluster, command: &str) -> Command {
    let mut kv = Command::new(env!("CARGO_BIN_EXE_kv"));
    kv.arg("shard").args(command.split(' ')).arg("--config").arg(cluster.config_path());
    kv
}

/// Runs a command of `kv shard`. Returns its exit code and all that it said.
pub(crate) fn shard(cluster: &Cluster, command: &str) -> (Option<i32>, String) {
    let output = shard_command(cluster, command).output().unwrap();
    (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

/// The node that leads a shard, once there is one.
fn leader(cluster: &Cluster, shard: u64) -> u64 {
    let mut leader = None;
    cluster.wait("the shard has a leader", || {
        leader = cluster.running().into_iter().find(|id| {
            let status = status::fetch(&cluster.credentials(), &cluster.node(*id).http);
            status.is_ok_and(|node| node.groups.iter().any(|it| it.group == shard && it.role == "leader"))
        });
        leader.is_some()
    });
    leader.unwrap()
}

#[test]
fn commands_reach_the_keys_of_all_shards_at_any_node() {
    let cluster = cluster();
    let [mut one, mut two, mut three] = [1, 2, 3].map(|id| cluster.client(id));
    assert_eq!(ask(&mut one, "MSET a 1 b 2 c 3 d 4 e 5"), ok());
    assert_eq!(ask(&mut two, "MGET a b c d e f"), {
        let mut all =
            [Some("1"), Some("2"), Some("3"), Some("4"), Some("5"), None].map(|it| it.map_or(Answer::Nil, bulk));
        all.reverse();
        Answer::Array(all.into_iter().rev().collect())
    });
    assert_eq!(ask(&mut three, "DEL a b nothing"), Answer::Integer(2));
    assert_eq!(ask(&mut one, "DBSIZE"), Answer::Integer(3));
    assert_eq!(ask(&mut two, "RENAME c x"), ok());
    assert_eq!(ask(&mut three, "MSETNX x 1 new 2"), Answer::Integer(0));
    assert_eq!(ask(&mut one, "EXISTS x new d e"), Answer::Integer(3));

    for list in ["RPUSH l1 1 2 3", "RPUSH l2 9"] {
        ask(&mut one, list);
    }
    assert_eq!(ask(&mut two, "LMOVE l1 l2 LEFT RIGHT"), bulk("1"));
    assert_eq!(ask(&mut three, "LRANGE l2 0 -1"), bulks(&["9", "1"]));
    ask(&mut one, "SADD s1 a b c");
    ask(&mut one, "SADD s2 b c d");
    assert_eq!(ask(&mut two, "SINTERSTORE s3 s1 s2"), Answer::Integer(2));
    assert_eq!(
        ask(&mut three, "EVAL return{redis.call('SCARD',KEYS[1]),redis.call('GET',KEYS[2])} 2 s3 d"),
        Answer::Array(vec![Answer::Integer(2), bulk("4")])
    );

    let Answer::Array(mut keys) = ask(&mut one, "KEYS *") else { panic!("no list") };
    keys.sort_by_key(|key| format!("{key:?}"));
    assert_eq!(keys.len(), 8, "{keys:?}");
    let (mut cursor, mut found) = ("0".to_owned(), 0);
    loop {
        let Answer::Array(mut step) = ask(&mut two, &format!("SCAN {cursor}")) else { panic!("no list") };
        let (Some(Answer::Array(some)), Some(Answer::Bulk(next))) = (step.pop(), step.pop()) else { panic!("no step") };
        found += some.len();
        cursor = String::from_utf8(next.to_vec()).unwrap();
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(found, 8);
    assert!(matches!(ask(&mut three, "RANDOMKEY"), Answer::Bulk(_)));
    assert_eq!(ask(&mut three, "FLUSHALL"), ok());
    assert_eq!(ask(&mut one, "DBSIZE"), Answer::Integer(0));
}

#[test]
fn transactions_over_shards_see_what_they_watch() {
    let cluster = cluster();
    let (mut one, mut two) = (cluster.client(1), cluster.client(2));
    assert_eq!(ask(&mut one, "MSET a 1 b 2 c 3 d 4"), ok());
    for line in ["WATCH a b", "MULTI", "INCR c", "INCRBY d 10", "MGET a b c d"] {
        ask(&mut one, line);
    }
    let done = Answer::Array(vec![Answer::Integer(4), Answer::Integer(14), bulks(&["1", "2", "4", "14"])]);
    assert_eq!(ask(&mut one, "EXEC"), done);
    for line in ["WATCH a b", "MULTI", "INCR c", "INCRBY d 10"] {
        ask(&mut one, line);
    }
    assert_eq!(ask(&mut two, "SET b 9"), ok());
    assert_eq!(ask(&mut one, "EXEC"), Answer::Nil, "a watched key has changed");
    assert_eq!(ask(&mut two, "MGET c d"), bulks(&["4", "14"]));

    // A pop over keys of several shards waits for any of them, whichever node gets the item.
    let waits = thread::spawn(move || ask(&mut one, "BLPOP l1 l2 l3 l4 0"));
    cluster.wait("the item is taken", || {
        ask(&mut two, "RPUSH l3 x");
        waits.is_finished()
    });
    assert_eq!(waits.join().unwrap(), bulks(&["l3", "x"]));
}

/// Clients that move money between accounts in different shards, until they are stopped.
struct Transfers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<usize>>,
}

const ACCOUNTS: usize = 12;

impl Transfers {
    fn start(cluster: &Cluster) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..4).map(|number| {
            let (stop, clients) = (Arc::clone(&stop), cluster.clients());
            thread::spawn(move || {
                let mut done = 0;
                for address in clients.iter().cycle().skip(number) {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let client = Client::connect(*address, std::time::Duration::from_secs(10));
                    if let Ok(mut client) = client {
                        // An error means that the node is down, and the next is tried.
                        let _ = transfer(&mut client, number, &stop, &mut done);
                    }
                }
                done
            })
        });
        Self { threads: threads.collect(), stop }
    }

    fn finish(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    }
}

fn transfer(client: &mut Client, number: usize, stop: &AtomicBool, done: &mut usize) -> std::io::Result<()> {
    for step in number.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let (from, to) = (format!("account{}", step % ACCOUNTS), format!("account{}", (step * 7 + 3) % ACCOUNTS));
        if from == to {
            continue;
        }
        client.ask(&[b"MULTI"])?;
        client.ask(&[b"DECRBY", from.as_bytes(), b"5"])?;
        client.ask(&[b"INCRBY", to.as_bytes(), b"5"])?;
        *done += usize::from(matches!(client.ask(&[b"EXEC"])?, Answer::Array(_)));
    }
    Ok(())
}

/// The sum of all accounts, read at one moment.
fn total(client: &mut Client) -> Option<i64> {
    let keys: Vec<String> = (0..ACCOUNTS).map(|number| format!("account{number}")).collect();
    let mut command: Vec<&[u8]> = vec![b"MGET"];
    command.extend(keys.iter().map(String::as_bytes));
    let Answer::Array(values) = client.ask(&command).ok()? else { return None };
    let value = |answer: &Answer| match answer {
        Answer::Bulk(text) => std::str::from_utf8(text).unwrap().parse::<i64>().unwrap(),
        other => panic!("{other:?}"),
    };
    Some(values.iter().map(value).sum())
}

/// The sum of all accounts in a backup, and the number of its keys.
fn total_of_backup(path: &Path) -> (i64, usize) {
    let file = fs::File::open(path).unwrap();
    let length = file.metadata().unwrap().len();
    let limits = Limits { text_bytes_max: length, value_bytes_max: length };
    let mut backup = RdbFile::open(std::io::BufReader::new(file), length, limits).unwrap();
    let (mut total, mut keys) = (0, 0);
    while let Some(part) = backup.next_part().unwrap() {
        if let Part::Key { key, content: Content::Text(text), .. } = part {
            keys += 1;
            if key.starts_with(b"account") {
                total += std::str::from_utf8(&text).unwrap().parse::<i64>().unwrap();
            }
        }
    }
    (total, keys)
}

#[test]
fn a_backup_has_all_of_a_transaction_or_nothing() {
    let cluster = cluster();
    open_accounts(&cluster);
    let transfers = Transfers::start(&cluster);
    for number in 0..5 {
        let file = cluster.folder().join(format!("{number}.rdb"));
        let mut client = cluster.client(1 + number % 3);
        // What was acknowledged before is in it.
        assert_eq!(ask(&mut client, &format!("SET marker{number} 1")), ok());
        let mut kv = Command::new(env!("CARGO_BIN_EXE_kv"));
        kv.arg("backup").arg(&file).arg("--config").arg(cluster.config_path());
        let output = kv.args(["--node", &(1 + number % 3).to_string()]).output().unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(output.status.success(), "{said}");
        let (sum, keys) = total_of_backup(&file);
        let markers = usize::try_from(number).unwrap() + 1;
        assert_eq!((sum, keys), (i64::try_from(ACCOUNTS).unwrap() * 100, ACCOUNTS + markers), "{said}");
    }
    assert!(transfers.finish() > 0, "transfers went on");

    let restore = |cluster: &Cluster, file: &Path| {
        let mut kv = Command::new(env!("CARGO_BIN_EXE_kv"));
        let output = kv.arg("restore").arg(file).arg("--config").arg(cluster.config_path()).output().unwrap();
        (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    let file = cluster.folder().join("4.rdb");
    let (code, said) = restore(&cluster, &file);
    assert!(code == Some(1) && said.contains("keys already"), "{said}");
    let other = self::cluster();
    let (code, said) = restore(&other, &file);
    assert_eq!(code, Some(0), "{said}");
    let mut client = other.client(3);
    assert_eq!(total(&mut client), Some(i64::try_from(ACCOUNTS).unwrap() * 100));
    assert_eq!(ask(&mut client, "DBSIZE"), Answer::Integer(i64::try_from(ACCOUNTS).unwrap() + 5));
}

fn open_accounts(cluster: &Cluster) {
    let mut client = cluster.client(1);
    for number in 0..ACCOUNTS {
        assert_eq!(ask(&mut client, &format!("SET account{number} 100")), ok());
    }
}

#[test]
fn no_transfer_is_done_by_half_whichever_node_dies() {
    let mut cluster = cluster();
    open_accounts(&cluster);
    let transfers = Transfers::start(&cluster);
    for victim in [1, 2, 3] {
        let witness = cluster.another_than(victim);
        let mut client = cluster.client(witness);
        let mut seen = 0;
        cluster.wait("the total is seen", || {
            seen += usize::from(total(&mut client).inspect(|total| assert_eq!(*total, 1200)).is_some());
            seen >= 3
        });
        cluster.kill(victim);
        cluster.wait("the total is seen without a node", || {
            total(&mut client).inspect(|total| assert_eq!(*total, 1200)).is_some()
        });
        cluster.launch(victim);
    }
    assert!(transfers.finish() > 0);
    let mut client = cluster.client(2);
    cluster.wait("no key stays locked", || total(&mut client) == Some(1200));
}

#[test]
fn slots_move_while_clients_write_and_the_node_that_moves_them_dies() {
    let mut cluster = cluster();
    open_accounts(&cluster);
    let (writers, transfers) = (Writers::start(3, &cluster.clients()), Transfers::start(&cluster));
    cluster.wait("keys are written", || writers.count() > 200);
    let mut moving = shard_command(&cluster, "split 0 1").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    cluster.wait("the move has begun", || shard(&cluster, "list").1.contains("slots move from shard 0 to shard 1"));
    let mover = leader(&cluster, 0);
    cluster.kill(mover);
    cluster.wait("the move is complete", || !shard(&cluster, "list").1.contains("slots move"));
    cluster.launch(mover);
    assert!(moving.wait().unwrap().success(), "the command has waited for the end");
    let (code, said) = shard(&cluster, "rebalance");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("2048 slots of 16384 move"), "{said}");
    assert!(transfers.finish() > 0);
    let written = writers.stop();
    let mut client = cluster.client(2);
    for key in written {
        assert!(matches!(ask(&mut client, &format!("GET {key}")), Answer::Bulk(_)), "{key} was acknowledged");
    }
    assert_eq!(total(&mut client), Some(1200));
    let (code, said) = shard(&cluster, "move 0 1 16383");
    assert_eq!((code, said.contains("refused: slot 16383 is not held by that shard")), (Some(1), true), "{said}");
}

#[test]
fn who_waits_for_a_key_hears_of_it_after_its_slot_has_moved() {
    let cluster = cluster();
    // The second half of the slots of shard 0.
    let moves = |key: &String| (2048..4096).contains(&slot_of(key.as_bytes()));
    let key = (0..10_000).map(|number| format!("queue{number}")).find(moves).unwrap();
    let (mut consumer, mut client) = (cluster.client(2), cluster.client(2));
    let line = format!("BLPOP {key} 0");
    let waits = thread::spawn(move || ask(&mut consumer, &line));
    cluster.wait("the client waits", || {
        let Answer::Bulk(info) = ask(&mut client, "INFO clients") else { panic!("no text") };
        String::from_utf8_lossy(&info).contains("blocked_clients:1")
    });
    let (code, said) = shard(&cluster, "split 0 1");
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(ask(&mut cluster.client(1), &format!("RPUSH {key} item")), Answer::Integer(1));
    assert_eq!(waits.join().unwrap(), bulks(&[&key, "item"]));
}

#[test]
fn a_store_of_one_shard_becomes_one_of_several() {
    let mut cluster = Cluster::start();
    let mut client = cluster.client(1);
    for number in 0..100 {
        ask(&mut client, &format!("SET key{number} {number}"));
    }
    for id in cluster.ids() {
        cluster.terminate(id);
    }
    let file = fs::read_to_string(cluster.config_path()).unwrap();
    fs::write(cluster.config_path(), file.replacen("data = ", "shards = 3\ndata = ", 1)).unwrap();
    cluster.start_all();
    let mut client = cluster.client(2);
    cluster.wait("a leader", || ask(&mut client, "GET key7") == bulk("7"));
    let (code, said) = shard(&cluster, "rebalance --dry-run");
    assert_eq!((code, said.contains("10922 slots of 16384 move")), (Some(0), true), "{said}");
    let (code, said) = shard(&cluster, "rebalance");
    assert_eq!((code, said.contains("10922 slots have moved")), (Some(0), true), "{said}");
    for number in 0..100 {
        assert_eq!(ask(&mut client, &format!("GET key{number}")), bulk(&number.to_string()));
    }
    assert_eq!(ask(&mut client, "DBSIZE"), Answer::Integer(100));
    let (_, said) = shard(&cluster, "rebalance");
    assert!(said.contains("nothing has to move"), "{said}");
}
