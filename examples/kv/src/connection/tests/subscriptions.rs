use super::*;
use crate::pubsub::{self, Answer, Message, Topic};

const ROOM: usize = 100_000;

fn client() -> Client {
    let mut client = Client::new();
    client.connection.set_subscriptions_room(ROOM);
    client
}

fn message(channel: &'static str, payload: &'static str) -> Message {
    Message { topic: Topic::Channel, channel: Bytes::from(channel), payload: Bytes::from(payload) }
}

impl Client {
    /// Hands the client its messages.
    fn take_messages(&mut self) {
        while self.connection.wants_messages()
            && let Some(delivery) = self.hub.take(1)
        {
            self.connection.on_message(&delivery);
        }
    }
}

/// A subscriber is told of its subscription before the first message that comes by it, so the reply must not wait for
/// those of earlier requests.
#[test]
fn a_subscription_begins_when_all_earlier_requests_are_answered() {
    let mut client = client();
    client.send("HELLO 3\r\nGET a\r\nSUBSCRIBE b\r\nGET a\r\n");
    let (work, names) = client.work();
    assert_eq!(names, "0:read 1 Local, 1:read 1 Linearizable");
    client.carry_out_all(work);
    assert!(client.received().ends_with("_\r\n"));
    let subscription = client.connection.next_work().unwrap();
    assert!(matches!(&subscription, Work::Subscriptions(changes) if changes.len() == 1));
    client.carry_out(subscription);
    let read = client.connection.next_work().unwrap();
    client.hub.publish(&message("b", "hi"));
    client.take_messages();
    assert_eq!(
        client.received(),
        ">3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:1\r\n>3\r\n$7\r\nmessage\r\n$1\r\nb\r\n$2\r\nhi\r\n"
    );
    client.carry_out(read);
    assert_eq!(client.received(), "_\r\n");
}

/// Who gets a message must find what its sender wrote before.
#[test]
fn a_message_waits_for_the_writes_before_it_and_writes_for_the_message() {
    let mut client = client();
    client.send("SET a 1\r\nPUBLISH a x\r\nPUBLISH a y\r\nSET a 2\r\n");
    for (expected, reply) in [("0:write 1", "+OK\r\n"), ("1:ask", ":0\r\n:0\r\n"), ("2:write 1", "+OK\r\n")] {
        let (work, names) = client.work();
        assert!(names.starts_with(expected), "{names}");
        assert_eq!(work.len(), 1);
        client.carry_out_all(work);
        assert_eq!(client.received(), reply);
    }
}

#[test]
fn the_receivers_of_all_nodes_are_counted() {
    let mut client = client();
    client.send("PUBLISH a x\r\nPUBLISH b y\r\n");
    let (work, _) = client.work();
    let [Work::Ask { slot, request }] = &work[..] else { panic!("{work:?}") };
    assert_eq!(*request, pubsub::Request::Publish(vec![message("a", "x"), message("b", "y")]));
    client.connection.on_asked(*slot, Answer::Counts(vec![12, 0]));
    assert_eq!(client.received(), ":12\r\n:0\r\n");
}

#[test]
fn the_node_of_the_client_publishes_what_a_transaction_does() {
    let mut client = client();
    client.ask("MULTI\r\nPUBLISH a 1\r\nSET k v\r\nSPUBLISH b 2\r\n");
    client.send("EXEC\r\nGET k\r\n");
    let (work, names) = client.work();
    assert_eq!(names, "0:write 1");
    client.carry_out_all(work);
    assert_eq!(client.received(), "");
    let Some(Work::Ask { slot, request: pubsub::Request::Publish(messages) }) = client.connection.next_work() else {
        panic!("nothing is published")
    };
    assert_eq!(messages.len(), 2);
    assert_eq!((messages[1].topic, &messages[1].payload[..]), (Topic::Shard, &b"2"[..]));
    client.connection.on_asked(slot, Answer::Counts(vec![10, 3]));
    assert_eq!(client.received(), "*3\r\n:10\r\n+OK\r\n:3\r\n");
    assert_eq!(client.ask(""), "$1\r\nv\r\n");
}

#[test]
fn a_script_publishes_when_it_has_ended_and_sees_no_receivers() {
    let mut client = client();
    client.send("EVAL \"redis.call('PUBLISH', 'a', '1') return redis.call('PUBLISH', 'b', '2')\" 0\r\n");
    let (work, _) = client.work();
    client.carry_out_all(work);
    let (work, _) = client.work();
    let [Work::Ask { slot, request: pubsub::Request::Publish(messages) }] = &work[..] else { panic!("{work:?}") };
    assert_eq!(messages[..], [message("a", "1"), message("b", "2")]);
    client.connection.on_asked(*slot, Answer::Counts(vec![10, 3]));
    assert_eq!(client.received(), ":0\r\n");
}

/// The outcome is not known, so nothing may be said to others.
#[test]
fn a_transaction_without_an_answer_publishes_nothing() {
    let mut client = client();
    client.ask("MULTI\r\nPUBLISH a 1\r\n");
    client.send("EXEC\r\n");
    let (work, _) = client.work();
    let [Work::Write { slot, .. }] = &work[..] else { panic!("{work:?}") };
    client.connection.on_written(*slot, Written::Unknown);
    assert!(client.work().0.is_empty());
    assert_eq!(client.received(), "-TIMEOUT outcome unknown\r\n");
}

#[test]
fn a_transaction_publishes_only_so_much() {
    let mut store = Store::new();
    let payload = vec![b'x'; 500_000];
    let mut entry = EntryWriter::new(Version::Resp2, 0, 0, 0);
    (0..3).for_each(|_| entry.command(&[b"publish", b"a", &payload]));
    let (replies, published) = decode_outcome(apply(&mut store, 0, &entry.finish()).unwrap()).unwrap();
    assert_eq!(&replies[..], b":0\r\n:0\r\n-ERR a transaction or script publishes more than 1 MiB\r\n");
    assert_eq!(published.len(), 2);
}

#[test]
fn a_client_subscribes_to_no_more_than_there_is_room_for() {
    let mut client = client();
    client.connection.set_subscriptions_room(600);
    let told = client.ask("SUBSCRIBE a\r\nSUBSCRIBE a b c\r\n");
    assert!(told.ends_with(":2\r\n-ERR there are too many subscriptions\r\n"), "{told}");
    assert_eq!(client.connection.subscriptions_bytes(), 2 * 257);
    client.ask("UNSUBSCRIBE\r\n");
    assert_eq!((client.connection.subscriptions_bytes(), client.hub.clients()), (0, 0));
}

#[test]
fn a_client_that_takes_nothing_gets_no_more_messages() {
    let mut client = client();
    client.ask("SUBSCRIBE a\r\n");
    let payload = Bytes::from(vec![b'x'; 10_000]);
    for _ in 0..20 {
        assert_eq!(client.hub.publish(&Message { payload: payload.clone(), ..message("a", "") }), 1);
    }
    client.take_messages();
    let first = client.received().len();
    assert!((64 * 1024..80_000).contains(&first), "{first}");
    client.take_messages();
    client.take_messages();
    assert!(client.received().len() > 60_000);
}

#[test]
fn a_reset_ends_subscriptions() {
    let mut client = client();
    client.ask("SUBSCRIBE a\r\nPSUBSCRIBE a*\r\nSSUBSCRIBE a\r\n");
    assert_eq!(client.hub.clients(), 1);
    assert!(client.connection.is_subscribed());
    assert_eq!(client.ask("RESET\r\n"), "+RESET\r\n");
    assert_eq!(client.hub.clients(), 0);
    assert!(!client.connection.is_subscribed());
}
