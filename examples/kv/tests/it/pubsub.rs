//! Messages between clients of different nodes.

use bytes::Bytes;
use quorate_kv::client::{Answer, Client};

use crate::cluster::Cluster;

fn call(client: &mut Client, command: &str) -> Answer {
    let arguments: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
    client.ask(&arguments).unwrap()
}

fn bulk(text: &str) -> Answer {
    Answer::Bulk(Bytes::copy_from_slice(text.as_bytes()))
}

fn message(channel: &str, payload: &str) -> Answer {
    Answer::Array(vec![bulk("message"), bulk(channel), bulk(payload)])
}

fn subscriber(cluster: &Cluster, node: u64, channel: &str) -> Client {
    let mut client = cluster.client(node);
    let told = call(&mut client, &format!("SUBSCRIBE {channel}"));
    assert_eq!(told, Answer::Array(vec![bulk("subscribe"), bulk(channel), Answer::Integer(1)]));
    client
}

/// Waits until a node is connected to those of this number of subscribers.
fn wait_for_subscribers(cluster: &Cluster, client: &mut Client, channel: &str, count: i64) {
    let told = Answer::Array(vec![bulk(channel), Answer::Integer(count)]);
    let question = format!("PUBSUB NUMSUB {channel}");
    cluster.wait("all subscribers are counted", || call(client, &question) == told);
}

#[test]
fn a_message_reaches_the_clients_of_all_nodes_in_order_and_once() {
    let cluster = Cluster::start();
    let mut publishers = cluster.ids().into_iter().map(|id| cluster.client(id)).collect::<Vec<_>>();
    let mut subscribers = cluster.ids().into_iter().map(|id| subscriber(&cluster, id, "news")).collect::<Vec<_>>();
    let mut pattern = cluster.client(3);
    call(&mut pattern, "PSUBSCRIBE n*");
    for publisher in &mut publishers {
        wait_for_subscribers(&cluster, publisher, "news", 3);
        assert_eq!(call(publisher, "PUBSUB CHANNELS"), Answer::Array(vec![bulk("news")]));
        assert_eq!(call(publisher, "PUBSUB NUMPAT"), Answer::Integer(1));
        assert_eq!(call(publisher, "PUBLISH news hello"), Answer::Integer(4));
        assert_eq!(call(publisher, "SPUBLISH news hello"), Answer::Integer(0));
    }
    for number in 0..1000 {
        publishers[0].send(&[&[b"PUBLISH", b"news", number.to_string().as_bytes()]]).unwrap();
    }
    for _ in 0..1000 {
        assert_eq!(publishers[0].receive().unwrap(), Answer::Integer(4));
    }
    call(&mut publishers[1], "MULTI");
    call(&mut publishers[1], "SET key written");
    call(&mut publishers[1], "PUBLISH news transaction");
    let told = call(&mut publishers[1], "EXEC");
    assert_eq!(told, Answer::Array(vec![Answer::Status("OK".to_owned()), Answer::Integer(4)]));
    let script = b"redis.call('PUBLISH', KEYS[1], 'script') return redis.call('GET', 'key')";
    assert_eq!(publishers[2].ask(&[b"EVAL", script, b"1", b"news"]).unwrap(), bulk("written"));
    assert_eq!(call(&mut publishers[1], "PUBLISH news last"), Answer::Integer(4));
    for subscriber in &mut subscribers {
        let numbers = (0..1000).map(|number| number.to_string());
        let texts = ["hello"; 3].map(str::to_owned).into_iter().chain(numbers);
        for text in texts.chain(["transaction", "script", "last"].map(str::to_owned)) {
            assert_eq!(subscriber.receive().unwrap(), message("news", &text));
        }
    }
}

/// A node that does not answer costs the publisher a second at most, and the others get their messages.
#[test]
fn a_node_that_stands_still_keeps_no_message_from_the_others() {
    let cluster = Cluster::start();
    let mut publisher = cluster.client(1);
    let mut second = subscriber(&cluster, 2, "news");
    let mut third = subscriber(&cluster, 3, "news");
    wait_for_subscribers(&cluster, &mut publisher, "news", 2);
    cluster.signal(3, "STOP");
    for _ in 0..3 {
        assert_eq!(call(&mut publisher, "PUBLISH news one"), Answer::Integer(1));
        assert_eq!(second.receive().unwrap(), message("news", "one"));
    }
    cluster.signal(3, "CONT");
    wait_for_subscribers(&cluster, &mut publisher, "news", 2);
    assert_eq!(call(&mut publisher, "PUBLISH news two"), Answer::Integer(2));
    assert_eq!(second.receive().unwrap(), message("news", "two"));
    // What was sent while the node stood still may have been lost, or comes first.
    while third.receive().unwrap() != message("news", "two") {}
}
