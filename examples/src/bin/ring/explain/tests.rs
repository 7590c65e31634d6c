//! Each way ends at the owner, and its numbers are those of the real programs.

use std::fs;

use crate::algorithm::Algorithm;
use crate::tests::{algorithms, field, fields, ring};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../consistent-hash/tests/golden/systems/");

/// The way of a key on this number of nodes named n0, n1, ...
fn way(key: &str, algorithm: &str, nodes: u32) -> String {
    let nodes: String = (0..nodes).map(|i| format!("n{i}\n")).collect();
    ring(&[("nodes", &nodes)], &format!("explain {key} --algorithm {algorithm} --nodes @nodes")).unwrap()
}

/// The number at the start of a text.
fn number(text: &str) -> &str {
    text.split(' ').next().unwrap()
}

#[test]
fn every_algorithm_explains_its_way_to_the_owner() {
    for algorithm in algorithms() {
        let files = [("nodes", "a\nb\nc\n"), ("keys", "user:1\n")];
        let explained = ring(&files, &format!("explain user:1 --algorithm {algorithm} --nodes @nodes")).unwrap();
        field(&explained, "rule");
        // What is hashed, and at least one step between it and the rule.
        let steps = explained.lines().count();
        assert!(steps >= 6, "{explained}");
        if algorithm != Algorithm::Pymemcache {
            assert!(field(&explained, "hashed").ends_with(" bytes"), "{explained}");
        }
        if algorithm != Algorithm::RedisSlot {
            let owners = ring(&files, &format!("owners --algorithm {algorithm} --nodes @nodes --keys @keys")).unwrap();
            assert_eq!(owners.trim_end(), format!("user:1\t{}", field(&explained, "owner")));
        }
    }
}

#[test]
fn rings_show_the_hash_and_its_neighbours() {
    let haproxy = way("user:0", "haproxy", 3);
    assert_eq!(field(&haproxy, "hash"), "0ce7db6d, by Sdbm, mixed once more by avalanche");
    let this = field(&haproxy, "this part, up to").split(' ').nth(1).unwrap();
    assert_eq!(field(&haproxy, "owner"), this);
    let tagged = way("a{user:0}b", "twemproxy --hash md5 --hash-tag {}", 3);
    assert_eq!(field(&tagged, "hashed"), "\"user:0\", 6 bytes");
    assert!(field(&tagged, "hash").starts_with("e8b8f1f5"), "{tagged}");
}

#[test]
fn computed_numbers_show_each_step() {
    let jump = way("user:1", "jump", 40);
    let last = fields(&jump, "jump").last().unwrap();
    assert!(last.starts_with(&format!("to number {} with", &field(&jump, "owner")[1..])), "{jump}");
    let mut ranges = 0;
    for i in 0..20 {
        let explained = way(&format!("user:{i}"), "jump-back", 40);
        let owner = &field(&explained, "owner")[1..];
        let last = fields(&explained, "range").last();
        let found = last.map(|range| range.split("has ").nth(1).unwrap().split(',').next().unwrap());
        // Without a number in any range it is 0.
        assert!(found == Some(owner) || owner == "0", "{explained}");
        ranges += fields(&explained, "range").count();
    }
    assert!(ranges > 20, "{ranges}");
    let kafka = way("user:1", "kafka", 40);
    assert_eq!(field(&kafka, "owner"), format!("n{}", number(field(&kafka, "place"))));
    assert!(way("user:0", "kafka", 10).contains("hash\t1712425299, by murmur2"));
    // A queue of weight 10 has ten buckets, and each jump says on to which bucket it leads.
    let nodes = ("nodes", "q0\nq1 2\nq2 10\n");
    let rabbit = ring(&[nodes], "explain user:0 --algorithm rabbitmq --nodes @nodes").unwrap();
    assert!(field(&rabbit, "hash").starts_with("46770898, "), "{rabbit}");
    let jumps: Vec<&str> = fields(&rabbit, "jump").collect();
    for pair in jumps.windows(2) {
        let next = pair[0].split("on to ").nth(1).unwrap().split('.').next().unwrap();
        assert!(pair[1].starts_with(&format!("bucket {next} ")), "{rabbit}");
    }
    assert!(jumps.last().unwrap().contains("(q1)") && field(&rabbit, "owner") == "q1", "{rabbit}");
}

#[test]
fn draws_are_shown_best_first() {
    let nodes = ("nodes", "a\nb 2\nc 0.5\n");
    let explained = ring(&[nodes], "explain user:1 --algorithm rendezvous --nodes @nodes").unwrap();
    let draws: Vec<(&str, f64)> = explained
        .lines()
        .filter_map(|line| line.strip_prefix("draw of ")?.split_once('\t'))
        .map(|(node, draw)| (node, draw.rsplit(": ").next().unwrap().parse().unwrap()))
        .collect();
    assert!(draws.len() == 3 && draws.is_sorted_by(|one, other| one.1 <= other.1), "{explained}");
    assert_eq!(
        (field(&explained, "owner"), field(&explained, "then")),
        (draws[0].0, &*format!("{}, {}", draws[1].0, draws[2].0))
    );
    assert!(way("user:1", "rendezvous", 20).contains("worse draws\t12\n"));
    // Scores that pymemcache 4.0 computes.
    let nodes = ("nodes", "10.0.0.1:11211\n10.0.0.2:11211\n10.0.0.3:11212\n");
    let explained = ring(&[nodes], "explain user:0 --algorithm pymemcache --nodes @nodes").unwrap();
    for (server, score) in [("1:11211", "3136961052"), ("2:11211", "4281035355"), ("3:11212", "271694930")] {
        assert_eq!(number(field(&explained, &format!("score of 10.0.0.{server}"))), format!("{score},"));
    }
    assert_eq!(field(&explained, "owner"), "10.0.0.2:11211");
}

#[test]
fn tables_show_the_entry_and_its_neighbours() {
    for algorithm in ["maglev", "envoy-maglev"] {
        let explained = way("user:1", algorithm, 5);
        let entry: u32 = number(field(&explained, "entry")).parse().unwrap();
        let this = field(&explained, "this entry");
        assert_eq!(this, format!("{entry} {}", field(&explained, "owner")));
        assert_eq!(number(field(&explained, "entry after")), (entry + 1).to_string());
    }
    let slot = ring(&[], "explain {user1000}.following --algorithm redis-slot").unwrap();
    assert!(slot.contains("hashed\t\"user1000\", 8 bytes\nslot\t3443, "), "{slot}");
    let slots = way("{user1000}.following", "redis-slot", 3);
    assert_eq!(field(&slots, "its slots"), "0 to 5460 n0");
    assert_eq!(field(&slots, "slot after them"), "5461 n1");
    let token = ring(&[], "explain user:0 --algorithm cassandra").unwrap();
    assert_eq!(number(field(&token, "token")), "6339893720897220837,");
}

#[test]
fn a_swift_ring_shows_the_partition_and_its_handoffs() {
    let command = format!(
        "explain /AUTH_test/photos/a.jpg --config {GOLDEN}swift.ring.gz --format swift --swift-prefix pre --swift-suffix suf"
    );
    let explained = ring(&[], &command).unwrap();
    assert!(field(&explained, "hashed").starts_with("\"pre/AUTH_test/photos/a.jpgsuf\""), "{explained}");
    assert_eq!(field(&explained, "partition"), "77 of 256: the first 8 bits of the hash");
    assert_eq!(field(&explained, "replica 0"), field(&explained, "owner"));
    let handoffs: Vec<&str> = fields(&explained, "handoff").collect();
    assert_eq!(handoffs.len(), 4);
    let order =
        ring(&[("keys", "77\n")], &format!("owners {} --numeric --keys @keys --replicas 7", &command[32..])).unwrap();
    for handoff in handoffs {
        assert!(order.contains(handoff.split(", ").next().unwrap()), "{order} {handoff}");
    }
}

/// The draws, rejections and devices of a rule. The devices are those that Ceph finds.
#[test]
fn a_crush_map_shows_every_draw() {
    let table = fs::read_to_string(format!("{GOLDEN}crush-map.tsv")).unwrap();
    let mut rejected = 0;
    let of_objects = table.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    for line in of_objects.filter(|line| line[0] == "object").take(40) {
        let (object, devices) = (line[2], line[3]);
        let command = format!(
            "explain {object} --config {GOLDEN}crush-map.txt --format crush --rule replicated --pg-num 192 --pool-size 3"
        );
        let explained = ring(&[], &command).unwrap();
        let expected: Vec<_> = devices.split(',').map(|device| format!("osd.{device}")).collect();
        assert_eq!(field(&explained, "devices"), expected.join(", "), "{explained}");
        assert_eq!(field(&explained, "owner"), expected[0]);
        let count = |what: &str| fields(&explained, what).count();
        assert_eq!(count("chosen"), 3);
        assert!((3..=3 + count("rejected")).contains(&count("try")), "{explained}");
        rejected += count("rejected");
        // The winner is the first of the straws, which are shown by their lengths.
        for straws in fields(&explained, "straws") {
            let (winner, all) = straws.split(": ").nth(1).unwrap().split_once(" wins of ").unwrap();
            assert_eq!(number(all), winner, "{straws}");
        }
    }
    assert!(rejected > 0, "no try was rejected");
}
