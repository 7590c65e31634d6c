//! Requests of a store with several shards.

use super::*;
use crate::shards::layout::{Layout, Target};

/// A client of a store with two shards. `{a}` is in shard 0 and `{b}` in shard 1... or the other way round.
fn client() -> (Client, [u16; 2]) {
    let mut client = Client::new();
    let layout = Arc::new(Layout::even(2));
    client.connection.set_layout(&layout);
    let shards = [b"a", b"b"].map(|key| layout.shard_of(key));
    assert_ne!(shards[0], shards[1]);
    (client, shards)
}

fn targets(work: &[Work]) -> Vec<Target> {
    let target = |work: &Work| match work {
        Work::Write { target, .. } | Work::Read { target, .. } => *target,
        other => panic!("{other:?}"),
    };
    work.iter().map(target).collect()
}

#[test]
fn requests_go_to_the_shards_of_their_keys() {
    let (mut client, [a, b]) = client();
    for (text, target) in [
        ("SET a 1\r\n", Target::Shard(a)),
        ("MSET {b}1 1 {b}2 2\r\n", Target::Shard(b)),
        ("MSET a 1 b 2\r\n", Target::Several),
        ("GET b\r\n", Target::Shard(b)),
        ("MGET a b\r\n", Target::Several),
        ("SORT a STORE b\r\n", Target::Several),
        ("SORT a BY x*\r\n", Target::Several),
        ("SORT a STORE {a}2\r\n", Target::Shard(a)),
        ("WATCH a b\r\n", Target::Several),
        ("DBSIZE\r\n", Target::Every),
        ("KEYS *\r\n", Target::Every),
        ("FLUSHALL\r\n", Target::Every),
        ("EVAL x 1 b\r\n", Target::Shard(b)),
        ("TIME\r\n", Target::Shard(0)),
        ("SINTERCARD x a\r\n", Target::Shard(0)),
    ] {
        client.send(text);
        let (work, _) = client.work();
        assert_eq!(targets(&work), [target], "{text}");
        client.carry_out_all(work);
    }
}

#[test]
fn the_keys_of_all_commands_decide_where_a_transaction_goes() {
    let (mut client, [a, b]) = client();
    for (texts, target) in [
        ("MULTI\r\nSET a 1\r\nGET {a}2\r\nEXEC\r\n", Target::Shard(a)),
        ("MULTI\r\nSET a 1\r\nGET b\r\nEXEC\r\n", Target::Several),
        ("WATCH a\r\nMULTI\r\nSET b 1\r\nEXEC\r\n", Target::Several),
        ("WATCH b\r\nMULTI\r\nTIME\r\nEXEC\r\n", Target::Shard(b)),
    ] {
        client.send(texts);
        let mut last = None;
        while let Some(work) = client.connection.next_work() {
            last = targets(std::slice::from_ref(&work)).pop();
            client.carry_out(work);
        }
        assert_eq!(last, Some(target), "{texts}");
        client.received();
    }
    client.received();
    let refused = client.ask("MULTI\r\nDBSIZE\r\nEXEC\r\n");
    assert!(refused.starts_with("+OK\r\n-CROSSSLOT ") && refused.contains("-EXECABORT "), "{refused}");
}

#[test]
fn of_several_shards_each_gets_one_entry_at_a_time() {
    let (mut client, [a, b]) = client();
    client.send("SET a 1\r\nSET b 1\r\nSET a 2\r\nSET b 2\r\n");
    let (work, names) = client.work();
    assert_eq!((targets(&work), &*names), (vec![Target::Shard(a), Target::Shard(b)], "0:write 1, 1:write 1"));
    // The first may still be refused and proposed again.
    let mut work = work.into_iter();
    let (first, second) = (work.next().unwrap(), work.next().unwrap());
    client.carry_out(second);
    assert_eq!(client.work().1, "", "the next in order is for the shard that has not answered");
    client.carry_out(first);
    let (work, _) = client.work();
    assert_eq!(targets(&work), [Target::Shard(a), Target::Shard(b)]);
    client.carry_out_all(work);
    assert_eq!(client.received(), "+OK\r\n+OK\r\n+OK\r\n+OK\r\n");
}

#[test]
fn work_for_several_shards_is_alone() {
    let (mut client, [a, _]) = client();
    client.send("SET a 1\r\nMGET a b\r\nSET a 2\r\nGET a\r\n");
    for target in [Target::Shard(a), Target::Several, Target::Shard(a), Target::Shard(a)] {
        let (work, _) = client.work();
        assert_eq!(targets(&work), [target]);
        client.carry_out_all(work);
    }
    assert_eq!(client.received(), "+OK\r\n*2\r\n$1\r\n1\r\n$-1\r\n+OK\r\n$1\r\n2\r\n");
}
