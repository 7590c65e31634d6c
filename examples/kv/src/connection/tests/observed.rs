use super::*;
use crate::stats::Stats;
use std::cell::RefCell;
use std::rc::Rc;

fn client() -> (Client, Rc<RefCell<Stats>>) {
    let mut client = Client::new();
    let stats = Rc::new(RefCell::new(Stats::default()));
    client.connection.share_stats(Rc::clone(&stats), 1_000_000);
    client.connection.set_moment(5_000, 0);
    (client, stats)
}

fn line(stats: &RefCell<Stats>, name: &str) -> String {
    let lines = stats.borrow().command_lines();
    lines.into_iter().find(|(found, _)| found == name).map(|(_, value)| value).unwrap_or_default()
}

#[test]
fn a_command_lasts_from_its_request_to_its_reply() {
    let (mut client, stats) = client();
    client.send("SET a 1\r\nSET b 1\r\nINCRBY a 4\r\n");
    let (work, _) = client.work();
    client.connection.set_clock(1_012_000);
    client.carry_out_all(work);
    assert_eq!(
        line(&stats, "cmdstat_set"),
        "calls=2,usec=24000,usec_per_call=12000.00,rejected_calls=0,failed_calls=0"
    );
    assert!(line(&stats, "cmdstat_incrby").starts_with("calls=1,usec=12000,"));
    let Reply::Array(slow) = stats.borrow().slow_log.reply(9) else { panic!("a list") };
    let Reply::Array(entry) = &slow[0] else { panic!("a list") };
    assert_eq!(entry[1..3], [Reply::Integer(5), Reply::Integer(12_000)]);
    assert_eq!(entry[3], Reply::Array(["SET", "a", "1"].map(Reply::bulk).to_vec()));
    assert_eq!(slow.len(), 1);
}

#[test]
fn a_slow_read_is_kept_with_its_arguments() {
    let (mut client, stats) = client();
    client.send("GET a\r\nGET b\r\n");
    let (work, _) = client.work();
    client.connection.set_clock(2_000_000);
    client.carry_out_all(work);
    let Reply::Array(slow) = stats.borrow().slow_log.reply(9) else { panic!("a list") };
    let Reply::Array(entry) = &slow[0] else { panic!("a list") };
    assert_eq!(entry[3], Reply::Array(["GET", "a"].map(Reply::bulk).to_vec()));
}

/// As in Redis: the time until something came is not the command's.
#[test]
fn the_time_for_which_a_command_waits_is_not_slow() {
    let (mut client, stats) = client();
    client.send("BLPOP queue 0\r\n");
    let (work, _) = client.work();
    client.connection.set_clock(90_000_000);
    client.carry_out_all(work);
    assert!(line(&stats, "cmdstat_blpop").starts_with("calls=1,usec=0,"));
    assert!(stats.borrow().slow_log.is_empty());
}

#[test]
fn errors_are_counted_for_the_command_that_failed() {
    let (mut client, stats) = client();
    client.ask("SET a x\r\nINCR a\r\nAPPEND a y\r\n");
    client.ask("GET a\r\nLLEN a\r\nGET a\r\n");
    client.ask("GET\r\n");
    assert!(line(&stats, "cmdstat_incr").ends_with("failed_calls=1"));
    assert!(line(&stats, "cmdstat_llen").ends_with("failed_calls=1"));
    assert!(line(&stats, "cmdstat_get").ends_with("rejected_calls=1,failed_calls=0"));
    assert!(line(&stats, "cmdstat_append").ends_with("failed_calls=0"));
    assert_eq!(stats.borrow().errors(), 3);
}

#[test]
fn a_client_may_do_without_replies() {
    let (mut client, _) = client();
    assert_eq!(client.ask("CLIENT REPLY OFF\r\nSET a 1\r\nGET a\r\nPING\r\nNOSUCH\r\n"), "");
    assert_eq!(client.ask("CLIENT REPLY ON\r\nGET a\r\n"), "+OK\r\n$1\r\n1\r\n");
    // The next one alone, also if its request comes later or joins no group with those behind it.
    assert_eq!(client.ask("SET b 1\r\nCLIENT REPLY SKIP\r\n"), "+OK\r\n");
    assert_eq!(client.ask("SET b 2\r\nSET b 3\r\n"), "+OK\r\n");
    assert_eq!(client.ask("CLIENT REPLY SKIP\r\nGET b\r\nGET b\r\n"), "$1\r\n3\r\n");
    assert_eq!(client.ask("CLIENT REPLY SKIP\r\nPING\r\nPING\r\n"), "+PONG\r\n");
}

#[test]
fn nothing_is_said_about_the_disks_of_a_write_whose_outcome_is_not_known() {
    let (mut client, _) = client();
    client.send("SET a 1\r\nWAIT 1 0\r\n");
    let (work, _) = client.work();
    let [Work::Write { slot, .. }] = &work[..] else { panic!("{work:?}") };
    client.connection.on_written(*slot, Written::Unknown);
    assert_eq!(client.ask("WAITAOF 1 1 0\r\n"), "-TIMEOUT outcome unknown\r\n:0\r\n*2\r\n:0\r\n:0\r\n");
    client.ask("SET a 2\r\n");
    client.send("WAIT 1 0\r\n");
    let (work, names) = client.work();
    assert_eq!(names, "2:read 1 Local");
    let Some(Work::Read { slot, batch, .. }) = work.into_iter().next() else { panic!("a read") };
    let server = ServerInfo { about: About { quorum: 3, ..About::default() }, ..ServerInfo::default() };
    client.connection.on_read(slot, Ok(batch.answer(&client.store, NOW, &server)));
    assert_eq!(client.received(), ":2\r\n");
}

#[test]
fn a_connection_tells_what_it_does() {
    let (mut client, _) = client();
    client.ask("CLIENT SETNAME me\r\nMULTI\r\nSET a 1\r\nGET a\r\n");
    client.send("GE");
    client.connection.next_work();
    let row = client.connection.row(4_500_000);
    assert_eq!((row.age_seconds, row.idle_seconds, row.queued), (3, 3, Some(2)));
    assert_eq!((&*row.flags, &*row.command, row.input_bytes.0), ("x", "get", 2));
    assert_eq!(row.name.as_deref(), Some(&b"me"[..]));
}
