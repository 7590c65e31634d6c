//! `maxmemory` on real processes.

use quorate_kv::client::{Answer, Client};

use crate::cluster::Cluster;

const OOM: &str = "OOM command not allowed when used memory > 'maxmemory'.";

fn refused() -> Answer {
    Answer::Error(OOM.to_owned())
}

fn ok() -> Answer {
    Answer::Status("OK".to_owned())
}

fn set(client: &mut Client, number: usize) -> Answer {
    client.ask(&[b"SET", format!("key:{number}").as_bytes(), &vec![b'x'; 100 * 1024]]).unwrap()
}

/// The number of keys of 100 KiB that are set before one is refused.
fn fill(client: &mut Client, from: usize) -> usize {
    let refusal = (from..1_000).find(|number| set(client, *number) == refused());
    refusal.expect("a key is refused") - from
}

fn says(client: &mut Client, line: &str) -> bool {
    let Answer::Bulk(text) = client.ask(&[b"INFO", b"memory"]).unwrap() else { panic!("no text") };
    String::from_utf8(text.to_vec()).unwrap().lines().any(|other| other == line)
}

#[test]
fn keys_grow_to_the_limit_on_all_nodes_alike_and_each_node_may_have_another() {
    let mut cluster = Cluster::describe(3, "maxmemory = \"1mb\"");
    cluster.start_all();
    cluster.leader();
    let mut clients = cluster.ids().into_iter().map(|id| cluster.client(id)).collect::<Vec<_>>();
    // The last one passes the limit.
    assert_eq!(fill(&mut clients[0], 0), 11);
    for client in &mut clients {
        assert_eq!(set(client, 500), refused());
        assert!(says(client, "maxmemory:1048576") && says(client, "maxmemory_policy:noeviction"));
        assert!(says(client, "maxmemory_human:1.00M"));
    }
    cluster.converge();
    assert_eq!(clients[1].ask(&[b"DEL", b"key:0"]).unwrap(), Answer::Integer(1));
    assert_eq!((set(&mut clients[2], 0), set(&mut clients[0], 501)), (ok(), refused()));
    let immutable = "ERR CONFIG SET failed (possibly related to argument 'maxmemory') - can't set immutable config";
    let answer = clients[0].ask(&[b"CONFIG", b"SET", b"maxmemory", b"0"]).unwrap();
    assert_eq!(answer, Answer::Error(immutable.to_owned()));
    // The limit of a node is that of its file, also after a restart.
    cluster.terminate(1);
    cluster.edit(|text| text.replace("\"1mb\"", "1200000"));
    cluster.launch(1);
    let mut restarted = cluster.client(1);
    cluster.wait("it takes commands", || matches!(restarted.ask(&[b"EXISTS", b"key:0"]), Ok(Answer::Integer(1))));
    assert_eq!(set(&mut clients[1], 502), refused());
    assert_eq!(fill(&mut restarted, 100), 1);
    assert!(says(&mut restarted, "maxmemory:1200000"));
    cluster.converge();
}

#[test]
fn the_limit_is_for_the_keys_of_all_shards_together() {
    let mut cluster = Cluster::describe(3, "shards = 4\nmaxmemory = \"1mb\"");
    cluster.start_all();
    let mut client = cluster.client(1);
    cluster
        .wait("all shards are served", || client.ask(&[b"MSET", b"a", b"1", b"b", b"1", b"c", b"1"]).unwrap() == ok());
    let mut number = 0;
    // A node sees at once what its own clients write, and with a short delay what the other shards weigh.
    cluster.wait("a key is refused", || {
        number += 1;
        set(&mut client, number) == refused()
    });
    assert!(number > 4, "{number}");
    cluster.wait("a transaction is refused", || client.ask(&[b"MSET", b"a", b"12", b"b", b"12"]).unwrap() == refused());
    assert_eq!(client.ask(&[b"DEL", b"a", b"b", b"c"]).unwrap(), Answer::Integer(3));
}
