use super::*;
use crate::command::{About, At, Role, ServerInfo, apply};
use crate::entry::{Entry, EntryWriter};
use crate::pubsub::Hub;
use crate::store::{Lifetime, Store};

mod observed;
mod shards;
mod strangers;
mod subscriptions;

const LIMITS: ConnectionLimits = ConnectionLimits {
    pipeline_bytes_max: 1000,
    replies_bytes_max: 1000,
    argument_bytes_max: ARGUMENT,
    command_bytes_max: 4096,
};
const ARGUMENT: usize = 100_000_000;
const NOW: At = At { log_time: 1_000, now: 1_000 };

/// A connection whose work is carried out when the test asks for it.
struct Client {
    connection: Connection,
    store: Store,
    hub: Hub,
}

impl Client {
    fn new() -> Self {
        Self { connection: Connection::new(1, LIMITS), store: Store::new(), hub: Hub::default() }
    }

    fn send(&mut self, text: &str) {
        self.connection.input().extend_from_slice(text.as_bytes());
    }

    /// All work that may begin, in a readable form.
    fn work(&mut self) -> (Vec<Work>, String) {
        let work: Vec<_> = std::iter::from_fn(|| self.connection.next_work()).collect();
        let names = work.iter().map(|work| match work {
            Work::Write { slot, entry, .. } => {
                let count = Entry::open(entry).unwrap().count();
                format!("{slot}:write {count}")
            }
            Work::Read { slot, batch, freshness, .. } => format!("{slot}:read {} {freshness:?}", batch.queries.len()),
            Work::Ask { slot, request } => format!("{slot}:ask {request:?}"),
            Work::Clients { slot, request } => format!("{slot}:clients {request:?}"),
            Work::Subscriptions(changes) => format!("{changes:?}"),
        });
        let names = names.collect::<Vec<_>>().join(", ");
        (work, names)
    }

    fn carry_out(&mut self, work: Work) {
        match work {
            Work::Write { slot, entry, .. } => {
                let replies = apply(&mut self.store, NOW.log_time, &entry).unwrap();
                self.connection.on_written(slot, Written::Applied(replies));
            }
            Work::Read { slot, batch, .. } => {
                let answer = batch.answer(&self.store, NOW, &ServerInfo::default());
                self.connection.on_read(slot, Ok(answer));
            }
            Work::Ask { slot, request } => self.connection.on_asked(slot, self.hub.answer(&request)),
            Work::Clients { slot, .. } => self.connection.on_clients(slot, &Reply::OK),
            Work::Subscriptions(changes) => self.hub.change(1, changes),
        }
    }

    fn carry_out_all(&mut self, work: impl IntoIterator<Item = Work>) {
        for work in work {
            self.carry_out(work);
        }
    }

    fn received(&mut self) -> String {
        String::from_utf8(self.connection.output().split().to_vec()).unwrap()
    }

    /// Sends a text, carries out all work, and returns the replies.
    fn ask(&mut self, text: &str) -> String {
        self.send(text);
        while let Some(work) = self.connection.next_work() {
            self.carry_out(work);
        }
        self.received()
    }
}

#[test]
fn writes_that_arrive_together_are_one_entry() {
    let mut client = Client::new();
    client.send("SET a 1\r\nINCR a\r\nAPPEND a 0\r\n");
    let (work, names) = client.work();
    assert_eq!(names, "0:write 3");
    client.carry_out_all(work);
    assert_eq!(client.received(), "+OK\r\n:2\r\n:2\r\n");
}

#[test]
fn reads_wait_for_the_writes_before_them_and_writes_for_the_reads() {
    let mut client = Client::new();
    client.send("SET a 1\r\nGET a\r\nGET b\r\nSET a 2\r\nGET a\r\n");
    for (expected, reply) in [
        ("0:write 1", "+OK\r\n"),
        ("1:read 2 Linearizable", "$1\r\n1\r\n$-1\r\n"),
        ("2:write 1", "+OK\r\n"),
        ("3:read 1 Linearizable", "$1\r\n2\r\n"),
        ("", ""),
    ] {
        let (work, names) = client.work();
        assert_eq!(names, expected);
        assert_eq!(client.received(), "");
        client.carry_out_all(work);
        assert_eq!(client.received(), reply);
    }
}

#[test]
fn later_writes_do_not_wait_and_replies_keep_their_order() {
    let mut client = Client::new();
    client.send("SET a 1\r\n");
    let (first, _) = client.work();
    client.send("INCR b\r\nPING\r\nINCR b\r\n");
    let (mut second, names) = client.work();
    assert_eq!(names, "1:write 1, 3:write 1");
    client.carry_out(second.remove(0));
    client.carry_out(second.remove(0));
    assert_eq!(client.received(), "");
    client.carry_out_all(first);
    assert_eq!(client.received(), "+OK\r\n:1\r\n+PONG\r\n:2\r\n");
}

#[test]
fn what_failed_and_what_is_unknown_are_different_answers() {
    let mut client = Client::new();
    client.send("SET a 1\r\nSET a 2\r\n");
    client.work();
    client.connection.on_written(0, Written::NotApplied(Reason::NoQuorum));
    assert_eq!(client.received(), "-NOQUORUM not applied\r\n-NOQUORUM not applied\r\n");
    client.send("SET a 1\r\n");
    client.work();
    client.connection.on_written(1, Written::Unknown);
    assert_eq!(client.received(), "-TIMEOUT outcome unknown\r\n");
    client.send("GET a\r\nGET b\r\n");
    client.work();
    client.connection.on_read(2, Err(Reason::NoQuorum));
    assert_eq!(client.received(), "-NOQUORUM not applied\r\n-NOQUORUM not applied\r\n");
}

#[test]
fn readonly_reads_locally_until_readwrite() {
    let mut client = Client::new();
    client.send("READONLY\r\nGET a\r\nREADWRITE\r\nGET a\r\nINFO\r\nKEYS *\r\n");
    let (work, names) = client.work();
    assert_eq!(names, "0:read 1 Local, 2:read 1 Linearizable, 3:read 1 Local, 4:read 1 Linearizable");
    client.carry_out_all(work);
    let replies = client.received();
    assert!(replies.starts_with("+OK\r\n$-1\r\n+OK\r\n$-1\r\n$"), "{replies}");
    assert!(replies.ends_with("\r\n*0\r\n"), "{replies}");
}

#[test]
fn a_value_that_is_answered_shares_an_entry_with_none() {
    let mut client = Client::new();
    client.send("SET a 1\r\nSET a 2 GET\r\nSET a 3\r\n");
    assert_eq!(client.work().1, "0:write 1, 1:write 1, 2:write 1");
}

#[test]
fn the_socket_is_not_read_while_too_much_is_unanswered() {
    let mut client = Client::new();
    let request = format!("SET a {}\r\n", "x".repeat(600));
    client.send(&request);
    let (first, _) = client.work();
    assert!(client.connection.wants_input());
    client.send(&request);
    let (second, _) = client.work();
    assert!(!client.connection.wants_input());
    client.carry_out_all(first);
    assert!(client.connection.wants_input());
    client.carry_out_all(second);
    assert_eq!(client.received(), "+OK\r\n+OK\r\n");
}

#[test]
fn one_request_may_be_larger_than_a_pipeline() {
    let mut client = Client::new();
    let value = "x".repeat(2_000);
    client.send("*3\r\n$3\r\nSET\r\n$1\r\na\r\n$2000\r\n");
    client.send(&value[..1_500]);
    assert!(client.connection.next_work().is_none());
    assert!(client.connection.wants_input());
    assert_eq!(client.ask(&format!("{}\r\n", &value[1_500..])), "+OK\r\n");
}

#[test]
fn nothing_more_is_answered_while_replies_are_not_taken() {
    let mut client = Client::new();
    client.ask(&format!("SET a {}\r\n", "x".repeat(600)));
    client.send("GET a\r\nGET a\r\nGET a\r\n");
    let (work, _) = client.work();
    client.carry_out_all(work);
    client.send("PING\r\nGET a\r\n");
    assert_eq!(client.work().1, "");
    assert!(!client.connection.wants_input());
    client.received();
    assert_eq!(client.work().1, "2:read 1 Linearizable");
    assert_eq!(client.received(), "+PONG\r\n");
}

#[test]
fn many_bytes_of_replies_are_made_in_parts() {
    let mut client = Client::new();
    for key in ["a", "b"] {
        for _ in 0..4 {
            let mut entry = EntryWriter::new(Version::Resp2, 0, 0, 0);
            entry.command(&[b"append", key.as_bytes(), "x".repeat(128 * 1024).as_bytes()]);
            apply(&mut client.store, NOW.log_time, &entry.finish()).unwrap();
        }
    }
    client.send("GET a\r\nGET b\r\nGET a\r\nSTRLEN a\r\n");
    let (work, names) = client.work();
    assert_eq!(names, "0:read 4 Linearizable");
    client.carry_out_all(work);
    assert_eq!(client.work().1, "", "the first part was not taken yet");
    assert_eq!(client.received().len(), 2 * 524_299);
    client.send("SET a 1\r\n");
    let (work, names) = client.work();
    assert_eq!(names, "0:read 2 Linearizable");
    client.carry_out_all(work);
    assert_eq!(client.received().len(), 524_299 + ":524288\r\n".len());
    assert_eq!(client.work().1, "1:write 1");
}

#[test]
fn nothing_behind_another_database_is_carried_out() {
    for refused in ["SELECT 1", "SELECT 15"] {
        let mut client = Client::new();
        client.ask("SET a 1\r\n");
        let reply = client.ask(&format!("INCR a\r\n{refused}\r\nSET a 7\r\nINCR a\r\n"));
        assert!(reply.starts_with(":2\r\n-ERR ") && reply.matches("\r\n").count() == 2, "{refused}: {reply}");
        assert!(client.connection.is_done(), "{refused}");
        assert_eq!(client.store.text(NOW.log_time, b"a"), Ok(Some(&b"2"[..])), "{refused}");
    }
}

#[test]
fn a_transaction_is_one_entry_of_the_log() {
    let mut client = Client::new();
    client.send("SET a 1\r\nMULTI\r\nINCR a\r\nGET a\r\nLPUSH a x\r\nEXEC\r\nGET a\r\n");
    let (work, names) = client.work();
    assert_eq!(names, "0:write 1, 2:write 1", "the commands between are no work of their own");
    client.carry_out_all(work);
    let (work, names) = client.work();
    assert_eq!(names, "3:read 1 Linearizable");
    client.carry_out_all(work);
    let wrong = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";
    let queued = "+QUEUED\r\n".repeat(3);
    assert_eq!(client.received(), format!("+OK\r\n+OK\r\n{queued}*3\r\n:2\r\n$1\r\n2\r\n{wrong}$1\r\n2\r\n"));
}

#[test]
fn a_transaction_with_a_command_that_is_refused_is_not_carried_out() {
    for refused in ["NOTHING a", "SET a", "SUBSCRIBE a", "INFO"] {
        let mut client = Client::new();
        let replies = client.ask(&format!("MULTI\r\nSET a 1\r\n{refused}\r\nEXEC\r\nGET a\r\n"));
        assert!(replies.starts_with("+OK\r\n+QUEUED\r\n-ERR "), "{refused}: {replies}");
        let end = "-EXECABORT Transaction discarded because of previous errors.\r\n$-1\r\n";
        assert!(replies.ends_with(end), "{refused}: {replies}");
    }
}

#[test]
fn a_transaction_that_fits_no_entry_is_refused() {
    let mut client = Client::new();
    let set = format!("SET a {}\r\n", "x".repeat(900));
    let replies = client.ask(&format!("MULTI\r\n{}EXEC\r\nGET a\r\n", set.repeat(5)));
    let refused = "-TOOLARGE not applied\r\n-EXECABORT Transaction discarded because of previous errors.\r\n$-1\r\n";
    assert!(replies.starts_with("+OK\r\n+QUEUED\r\n") && replies.ends_with(refused), "{replies}");
}

#[test]
fn a_transaction_depends_on_the_keys_that_are_watched() {
    let exec = "MULTI\r\nSET b 1\r\nEXEC\r\n";
    let (ran, stopped) = ("+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n", "+OK\r\n+QUEUED\r\n*-1\r\n");
    for (before, after_watch, expected) in [
        ("SET a 1", "GET a", ran),
        ("SET a 1", "SET a 2", stopped),
        ("SET a 1", "SET a 1", stopped),
        ("SET a 1", "EXPIRE a 100", stopped),
        ("SET a 1", "DEL a", stopped),
        ("SET a 1", "FLUSHALL", stopped),
        ("DEL a", "SET a 1", stopped),
        ("DEL a", "DEL a", ran),
        ("SADD a x", "SADD a x", ran),
        ("SADD a x", "SADD a y", stopped),
        ("SADD a x", "SREM a x", stopped),
    ] {
        let mut client = Client::new();
        client.ask(&format!("{before}\r\nWATCH a\r\n"));
        client.ask(&format!("{after_watch}\r\n"));
        assert_eq!(client.ask(exec), expected, "{before}, then {after_watch}");
        assert_eq!(client.ask(exec), ran, "{before}, then {after_watch}: the keys are forgotten");
    }
}

#[test]
fn a_key_that_ends_has_changed() {
    let mut client = Client::new();
    // Others that are due first are all that the entry removes.
    for number in 0..crate::store::EXPIRED_PER_ENTRY_MAX {
        client.ask(&format!("SET other{number} 1 PX 5\r\n"));
    }
    client.ask("SET a 1 PX 10\r\nWATCH a\r\nMULTI\r\nSET b 1\r\n");
    client.send("EXEC\r\n");
    let Some(Work::Write { slot, entry, .. }) = client.connection.next_work() else { panic!("no work") };
    let replies = apply(&mut client.store, NOW.log_time + 10, &entry).unwrap();
    client.connection.on_written(slot, Written::Applied(replies));
    assert_eq!(client.received(), "*-1\r\n");
    assert_eq!(client.store.text(NOW.log_time + 10, b"b"), Ok(None));
}

#[test]
fn what_ends_a_watch_ends_it_in_order() {
    let exec = "MULTI\r\nSET b 1\r\nEXEC\r\n";
    for ends in ["UNWATCH", "MULTI\r\nDISCARD", "RESET"] {
        let mut client = Client::new();
        let replies = client.ask(&format!("WATCH a\r\n{ends}\r\nSET a 1\r\n{exec}"));
        assert!(replies.ends_with("*1\r\n+OK\r\n"), "{ends}: {replies}");
    }
    let mut client = Client::new();
    let replies = client.ask(&format!("WATCH a\r\nSET a 1\r\nWATCH a\r\n{exec}"));
    assert!(replies.ends_with("*-1\r\n"), "the older version counts: {replies}");
}

#[test]
fn a_transaction_whose_outcome_is_unknown_says_so_once() {
    let mut client = Client::new();
    client.send("MULTI\r\nINCR a\r\nINCR a\r\nEXEC\r\n");
    client.work();
    client.connection.on_written(0, Written::Unknown);
    assert_eq!(client.received(), "+OK\r\n+QUEUED\r\n+QUEUED\r\n-TIMEOUT outcome unknown\r\n");
}

#[test]
fn watched_keys_are_read_from_the_leader_also_where_other_reads_are_local() {
    let mut client = Client::new();
    client.send("READONLY\r\nWATCH a\r\n");
    assert_eq!(client.work().1, "0:read 1 Linearizable");
}

/// The log's time may be far from any wall clock. The key still lives for the span that the client meant.
#[test]
fn a_point_of_time_becomes_a_span_by_the_wall_clock_of_this_node() {
    let mut client = Client::new();
    client.connection.set_moment(1_700_000_000_000, 0);
    client.ask("SET a 1 PXAT 1700000000500\r\nSET b 1 EXAT 1700000007\r\nSET c 1\r\nSET c 1 EXAT 1699999999\r\n");
    for (key, lifetime) in [(b"a", Lifetime::Until(1_500)), (b"b", Lifetime::Until(8_000)), (b"c", Lifetime::Absent)] {
        assert_eq!(client.store.lifetime(NOW.log_time, key), lifetime);
    }
}

#[test]
fn a_value_that_is_too_large_is_refused_and_the_connection_goes_on() {
    let mut client = Client::new();
    let large = "x".repeat(100_000);
    let request = format!("*3\r\n$3\r\nSET\r\n$1\r\na\r\n${}\r\n{large}\r\n", large.len());
    let replies = client.ask(&format!("SET a 1\r\n{request}GET a\r\n"));
    assert_eq!(replies, "+OK\r\n-TOOLARGE not applied\r\n$1\r\n1\r\n");
}

/// As Redis does beyond its `proto-max-bulk-len`: at once, without its bytes.
#[test]
fn an_argument_beyond_the_longest_value_ends_the_connection() {
    let mut client = Client::new();
    let replies = client.ask(&format!("*3\r\n$3\r\nSET\r\n$1\r\na\r\n${}\r\n", ARGUMENT + 1));
    assert_eq!(replies, "-ERR Protocol error: invalid bulk length\r\n");
    assert!(client.connection.is_done());
}

/// A later one would overtake it, since it goes to its shard in pieces.
#[test]
fn nothing_begins_behind_an_entry_that_goes_in_pieces() {
    let limits = ConnectionLimits { command_bytes_max: 2 << 20, pipeline_bytes_max: 4 << 20, ..LIMITS };
    let mut client = Client { connection: Connection::new(1, limits), ..Client::new() };
    let value = "x".repeat(1 << 20);
    client.send(&format!("*3\r\n$3\r\nSET\r\n$1\r\na\r\n${}\r\n{value}\r\nSET a 1\r\nGET a\r\n", value.len()));
    for names in ["0:write 1", "1:write 1", "2:read 1 Linearizable"] {
        let (work, found) = client.work();
        assert_eq!(found, names);
        client.carry_out_all(work);
    }
    assert_eq!(client.received(), "+OK\r\n+OK\r\n$1\r\n1\r\n");
}

/// A request that is too large is read in pieces, as from a socket, and no more than a piece of it is kept.
#[test]
fn a_value_that_is_too_large_is_not_kept() {
    let mut client = Client::new();
    client.send("*3\r\n$3\r\nSET\r\n$1\r\na\r\n$100000000\r\n");
    for _ in 0..1000 {
        assert!(client.connection.wants_input());
        client.send(&"x".repeat(100_000));
        assert!(client.connection.next_work().is_none());
        assert!(client.connection.input().is_empty());
    }
    assert_eq!(client.ask("\r\nPING\r\n"), "-TOOLARGE not applied\r\n+PONG\r\n");
}

#[test]
fn a_client_that_takes_no_replies_is_waited_for_only_then() {
    let mut client = Client::new();
    client.ask(&format!("SET a {}\r\n", "x".repeat(600)));
    assert!(!client.connection.waits_for_client());
    client.send("GET a\r\nGET a\r\n");
    let (work, _) = client.work();
    client.carry_out_all(work);
    assert!(client.connection.waits_for_client());
    client.received();
    assert!(!client.connection.waits_for_client());
    client.send("PING\r\n");
    client.connection.end_input();
    client.work();
    assert!(client.connection.waits_for_client(), "nothing else will happen");
}

#[test]
fn a_node_says_what_it_is_in_its_group() {
    let follower = ServerInfo {
        about: About {
            quorum: 1,
            role: Role::Replica { master: "10.0.0.1:6379".parse().ok() },
            lines: vec![("quorate_node", "2".to_owned())],
        },
        ..ServerInfo::default()
    };
    let mut client = Client::new();
    client.send("HELLO 3\r\nINFO replication\r\nINFO cluster\r\nROLE\r\n");
    for work in client.work().0 {
        let Work::Read { slot, batch, freshness: Freshness::Local, .. } = work else { panic!("not local: {work:?}") };
        let answer = batch.answer(&client.store, NOW, &follower);
        client.connection.on_read(slot, Ok(answer));
    }
    let replies = client.received();
    assert!(replies.contains("$4\r\nrole\r\n$5\r\nslave\r\n"), "{replies}");
    let lines = "role:slave\r\nmaster_host:10.0.0.1\r\nmaster_port:6379\r\nmaster_link_status:up\r\n";
    assert!(replies.contains(lines) && replies.contains("quorate_node:2\r\n"), "{replies}");
    assert!(
        replies.ends_with("*5\r\n$5\r\nslave\r\n$8\r\n10.0.0.1\r\n:6379\r\n$9\r\nconnected\r\n:0\r\n"),
        "{replies}"
    );
    assert!(replies.contains("# Cluster\r\ncluster_enabled:0\r\n"), "{replies}");
}

#[test]
fn clients_are_told_of_the_commands_that_there_are() {
    let mut client = Client::new();
    let count: usize = client.ask("COMMAND COUNT\r\n").trim().trim_start_matches(':').parse().unwrap();
    let listed = client.ask("COMMAND LIST\r\n");
    assert_eq!(listed.lines().next().unwrap(), format!("*{count}"));
    for refused in ["host:", "post"] {
        assert!(!listed.contains(&format!("\r\n{refused}\r\n")), "{refused} is listed");
    }
    let docs = client.ask("COMMAND DOCS get nothing post\r\n");
    assert!(docs.starts_with("*2\r\n$3\r\nget\r\n*4\r\n$7\r\nsummary\r\n"), "{docs}");
    assert_eq!(client.ask("COMMAND DOCS\r\n").lines().next().unwrap(), format!("*{}", 2 * count));
}

#[test]
fn what_the_client_sent_before_it_ended_is_answered() {
    let mut client = Client::new();
    client.send("SET a 1\r\nGET a\r\nGET");
    client.connection.end_input();
    while let Some(work) = client.connection.next_work() {
        assert!(!client.connection.is_done());
        client.carry_out(work);
    }
    assert!(!client.connection.is_done());
    assert_eq!(client.received(), "+OK\r\n$1\r\n1\r\n");
    assert!(client.connection.is_done());
}

#[test]
fn a_protocol_error_is_answered_behind_what_came_before_and_ends_the_connection() {
    let mut client = Client::new();
    client.send("SET a 1\r\n*1\r\n+\r\nPING\r\n");
    let (work, names) = client.work();
    assert_eq!(names, "0:write 1");
    assert!(!client.connection.wants_input());
    client.carry_out_all(work);
    assert_eq!(client.received(), "+OK\r\n-ERR Protocol error: expected '$', got '+'\r\n");
    assert!(client.connection.is_done());
}

#[test]
fn a_command_that_fits_no_entry_is_refused_and_nothing_else() {
    let mut client = Client::new();
    let pairs: String = (0..5).map(|key| format!("{key} {} ", "x".repeat(900))).collect();
    let replies = client.ask(&format!("SET a 1\r\nMSET {pairs}\r\nGET a\r\nGET 0\r\n"));
    assert_eq!(replies, "+OK\r\n-TOOLARGE not applied\r\n$1\r\n1\r\n$-1\r\n");
}

#[test]
fn hello_takes_effect_for_what_follows() {
    let mut client = Client::new();
    client.send("GET a\r\n");
    let (work, _) = client.work();
    client.send("HELLO 3\r\nGET a\r\n");
    let (later, _) = client.work();
    client.carry_out_all(work.into_iter().chain(later));
    let replies = client.received();
    assert!(replies.starts_with("$-1\r\n%7\r\n"), "{replies}");
    assert!(replies.ends_with("_\r\n"), "{replies}");
}

#[test]
fn nothing_behind_a_command_that_waits_begins_before_it_is_answered() {
    let mut client = Client::new();
    client.send("BLPOP a b 2.5\r\nPING\r\nSET c 1\r\n");
    let Some(Work::Write { slot, entry, blocking: Some(blocking), .. }) = client.connection.next_work() else {
        panic!("it does not wait");
    };
    assert_eq!(blocking.keys, [Box::from(&b"a"[..]), Box::from(&b"b"[..])]);
    assert_eq!(blocking.timeout, Some(std::time::Duration::from_millis(2_500)));
    assert!(client.connection.next_work().is_none());
    assert!(client.connection.wants_input(), "the end of the connection has to be noticed");
    let replies = apply(&mut client.store, NOW.log_time, &entry).unwrap();
    client.connection.on_written(slot, Written::Applied(replies));
    assert_eq!(client.work().1, "1:write 1");
    assert_eq!(client.received(), "*-1\r\n+PONG\r\n");
}

#[test]
fn a_read_that_waits_begins_alone_and_holds_up_what_is_behind_it() {
    let mut client = Client::new();
    client.send("GET a\r\nXREAD BLOCK 1500 STREAMS s t 0 $\r\nPING\r\n");
    let Some(Work::Read { slot: first, batch: get, .. }) = client.connection.next_work() else {
        panic!("it is no read");
    };
    assert_eq!((get.queries.len(), get.blocking()), (1, None));
    assert!(client.connection.next_work().is_none(), "the answer to the first read would be taken for the other's");
    let answer = get.answer(&client.store, NOW, &ServerInfo::default());
    client.connection.on_read(first, Ok(answer));
    let Some(Work::Read { slot, batch, .. }) = client.connection.next_work() else {
        panic!("it does not begin");
    };
    let blocking = batch.blocking().unwrap();
    assert_eq!(blocking.keys, [Box::from(&b"s"[..]), Box::from(&b"t"[..])]);
    assert_eq!(blocking.timeout, Some(std::time::Duration::from_millis(1_500)));
    assert!(client.connection.next_work().is_none());
    let answer = batch.answer(&client.store, NOW, &ServerInfo::default());
    client.connection.on_read(slot, Ok(answer));
    assert!(client.connection.next_work().is_none());
    assert_eq!(client.received(), "$-1\r\n*-1\r\n+PONG\r\n");
}

#[test]
fn a_read_without_the_option_or_in_a_transaction_does_not_wait() {
    for request in ["XREAD STREAMS s 0\r\n", "XREAD BLOCK x STREAMS s 0\r\n", "XREAD BLOCK -1 STREAMS s 0\r\n"] {
        let mut client = Client::new();
        client.send(request);
        let work = client.connection.next_work();
        assert!(matches!(&work, Some(Work::Read { batch, .. }) if batch.blocking().is_none()), "{request}: {work:?}");
    }
    let mut client = Client::new();
    client.send("MULTI\r\nXREAD BLOCK 0 STREAMS s 0\r\nXREADGROUP GROUP g c BLOCK 0 STREAMS s >\r\nEXEC\r\n");
    let work = client.connection.next_work();
    assert!(matches!(work, Some(Work::Write { blocking: None, .. })), "{work:?}");
}

#[test]
fn a_client_that_has_gone_is_waited_for_no_longer() {
    let mut client = Client::new();
    client.send("BLPOP a 0\r\n");
    assert_eq!(client.work().1, "0:write 1");
    assert!(!client.connection.is_abandoned());
    client.connection.end_input();
    assert!(client.connection.is_abandoned());
}

#[test]
fn a_command_that_waits_with_wrong_arguments_or_in_a_transaction_does_not_wait() {
    for request in ["BLPOP a x\r\n", "BLPOP a -1\r\n", "MULTI\r\nBLPOP a 0\r\nEXEC\r\n"] {
        let mut client = Client::new();
        client.send(request);
        let work = client.connection.next_work();
        assert!(matches!(work, Some(Work::Write { blocking: None, .. })), "{request}: {work:?}");
    }
}
