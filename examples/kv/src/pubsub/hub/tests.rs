use super::*;

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn added(topic: Topic, name: &str) -> Vec<Change> {
    vec![Change::Added(topic, bytes(name))]
}

fn removed(topic: Topic, name: &str) -> Vec<Change> {
    vec![Change::Removed(topic, bytes(name))]
}

fn message(topic: Topic, channel: &str, payload: &str) -> Message {
    Message { topic, channel: bytes(channel), payload: bytes(payload) }
}

/// The texts that wait for a client, each behind the pattern by which it came.
fn taken(hub: &mut Hub, client: i64) -> Vec<String> {
    let text = |delivery: Delivery| {
        let pattern = delivery.pattern.map(|pattern| format!("{}:", String::from_utf8_lossy(&pattern)));
        pattern.unwrap_or_default() + &String::from_utf8_lossy(&delivery.message.payload)
    };
    std::iter::from_fn(|| hub.take(client)).map(text).collect()
}

#[test]
fn a_message_reaches_its_subscribers_once_for_each_subscription() {
    let mut hub = Hub::default();
    hub.change(1, added(Topic::Channel, "news"));
    hub.change(1, added(Topic::Pattern, "n*"));
    hub.change(2, added(Topic::Pattern, "*s"));
    hub.change(3, added(Topic::Shard, "news"));
    hub.change(4, added(Topic::Channel, "other"));
    assert_eq!(hub.publish(&message(Topic::Channel, "news", "a")), 3);
    assert_eq!(hub.publish(&message(Topic::Shard, "news", "b")), 1);
    assert_eq!(hub.publish(&message(Topic::Channel, "nobody", "c")), 1);
    assert_eq!(taken(&mut hub, 1), ["a", "n*:a", "n*:c"]);
    assert_eq!(taken(&mut hub, 2), ["*s:a"]);
    assert_eq!(taken(&mut hub, 3), ["b"]);
    assert_eq!(taken(&mut hub, 4), [""; 0]);
    assert_eq!(hub.waiting_bytes, 0);
}

#[test]
fn what_came_by_a_subscription_that_ended_is_dropped() {
    let mut hub = Hub::default();
    hub.change(1, added(Topic::Channel, "a"));
    hub.change(1, added(Topic::Pattern, "?"));
    hub.publish(&message(Topic::Channel, "a", "x"));
    hub.change(1, removed(Topic::Channel, "a"));
    assert_eq!(taken(&mut hub, 1), ["?:x"]);
    hub.publish(&message(Topic::Channel, "a", "y"));
    hub.change(1, removed(Topic::Pattern, "?"));
    assert_eq!(hub.publish(&message(Topic::Channel, "a", "z")), 0);
    assert_eq!(taken(&mut hub, 1), [""; 0]);
    assert_eq!((hub.clients(), hub.waiting_bytes, hub.subscriptions_bytes), (0, 0, 0));
}

#[test]
fn a_client_that_leaves_is_forgotten() {
    let mut hub = Hub::default();
    for (client, topic) in (1..).zip(Topic::ALL) {
        hub.change(client, added(topic, "a"));
        hub.change(client, added(topic, "b"));
        hub.publish(&message(Topic::Channel, "a", "x"));
        hub.leave(client);
        hub.leave(client);
        assert_eq!(hub.names(topic), 0);
    }
    assert_eq!((hub.clients(), hub.waiting_bytes, hub.subscriptions_bytes), (0, 0, 0));
}

#[test]
fn a_client_that_takes_nothing_is_given_up_and_the_others_are_not() {
    let message = message(Topic::Channel, "a", &"x".repeat(1000));
    let mut hub = Hub::new(HubLimits { client_bytes_max: 10_000, ..HubLimits::default() });
    hub.change(1, added(Topic::Channel, "a"));
    hub.change(2, added(Topic::Channel, "a"));
    let mut sent = 0;
    while hub.watch(1, Waker::noop()).is_ok() {
        hub.publish(&message);
        assert_eq!(taken(&mut hub, 2).len(), 1);
        sent += 1;
    }
    assert!((8..=10).contains(&sent), "{sent}");
    assert_eq!(hub.publish(&message), 1);
    assert_eq!(hub.waiting_bytes, hub.clients[&2].bytes);
    hub.watch(2, Waker::noop()).unwrap();
    assert_eq!(taken(&mut hub, 1), [""; 0]);
    hub.leave(1);
    assert_eq!(hub.clients(), 1);
}

/// One message is taken even if it is longer than all limits: otherwise nobody could ever get it.
#[test]
fn messages_for_many_clients_are_bounded_together() {
    let limits = HubLimits { waiting_bytes_max: 10_000, scarce_bytes_max: 1_500, ..HubLimits::default() };
    let mut hub = Hub::new(limits);
    (1..=20).for_each(|client| hub.change(client, added(Topic::Channel, "a")));
    assert_eq!(hub.publish(&message(Topic::Channel, "a", &"x".repeat(1000))), 20);
    // Mailboxes are cleared until the rest may get the message.
    let rest = hub.publish(&message(Topic::Channel, "a", &"y".repeat(1000)));
    assert!((1..6).contains(&rest), "{rest}");
    let given_up = (1..=20).filter(|client| hub.watch(*client, Waker::noop()).is_err()).count();
    assert_eq!(given_up as u64, 20 - rest);
    assert!(hub.waiting_bytes <= 10_000, "{}", hub.waiting_bytes);
}

#[test]
fn subscriptions_are_bounded_together() {
    let limits =
        HubLimits { client_subscriptions_bytes_max: 1_000, subscriptions_bytes_max: 1_500, ..HubLimits::default() };
    let mut hub = Hub::new(limits);
    assert_eq!(hub.room(0), 1_000);
    hub.change(1, added(Topic::Channel, &"a".repeat(700 - SUBSCRIPTION_BYTES)));
    assert_eq!((hub.room(700), hub.room(0)), (300, 800));
    hub.change(1, added(Topic::Channel, &"a".repeat(700 - SUBSCRIPTION_BYTES)));
    assert_eq!(hub.room(0), 800);
}

#[test]
fn a_hub_tells_its_names() {
    let mut hub = Hub::default();
    for (client, name) in [(1, "a1"), (2, "a1"), (2, "b")] {
        hub.change(client, added(Topic::Channel, name));
        hub.change(client, added(Topic::Pattern, name));
    }
    let names = |pattern: Option<&str>| Request::Names { topic: Topic::Channel, pattern: pattern.map(bytes) };
    assert_eq!(hub.answer(&names(None)), Answer::Names([bytes("a1"), bytes("b")].into()));
    assert_eq!(hub.answer(&names(Some("a?"))), Answer::Names([bytes("a1")].into()));
    let counts = Request::Counts { topic: Topic::Channel, names: vec![bytes("b"), bytes("c"), bytes("a1")] };
    assert_eq!(hub.answer(&counts), Answer::Counts(vec![1, 0, 2]));
    let publish = Request::Publish(vec![message(Topic::Channel, "a1", "x"), message(Topic::Channel, "c", "x")]);
    assert_eq!(hub.answer(&publish), Answer::Counts(vec![4, 0]));
}
