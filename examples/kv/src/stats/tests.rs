use bytes::Bytes;

use super::*;
use crate::resp::Reply;

fn place(name: &str) -> usize {
    Spec::place(name.as_bytes()).unwrap()
}

#[test]
fn calls_are_counted_by_command() {
    let mut calls = Calls::default();
    for name in ["get", "get", "set", "get"] {
        calls.add(place(name));
    }
    assert_eq!(calls.iter().collect::<Vec<_>>(), [(place("get"), 2), (place("set"), 1), (place("get"), 1)]);
    let at: Vec<_> = (0..5).map(|at| calls.at(at).map(|place| Spec::at(place).name)).collect();
    assert_eq!(at, [Some("get"), Some("get"), Some("set"), Some("get"), None]);
    let mut stats = Stats::default();
    stats.note_calls(&calls, 100);
    stats.note_failed(place("set"));
    stats.note_rejected(place("get"));
    stats.note_subcommand("client|list".to_owned());
    let lines: Vec<_> = stats.command_lines().into_iter().map(|(name, value)| format!("{name}:{value}")).collect();
    assert_eq!(
        lines,
        [
            "cmdstat_get:calls=3,usec=300,usec_per_call=100.00,rejected_calls=1,failed_calls=0",
            "cmdstat_set:calls=1,usec=100,usec_per_call=100.00,rejected_calls=0,failed_calls=1",
            "cmdstat_client|list:calls=1,usec=0,usec_per_call=0.00,rejected_calls=0,failed_calls=0",
        ]
    );
    stats.reset();
    assert!(stats.command_lines().is_empty());
}

#[test]
fn durations_fall_into_classes() {
    let mut stats = CommandStats::default();
    for micros in [0, 1, 2, 3, 4, 5, 1000, u64::MAX] {
        stats.note(1, micros);
    }
    assert_eq!(stats.cumulative(), [(1, 2), (2, 3), (4, 5), (8, 6), (1024, 7), (1 << 31, 8)]);
}

#[test]
fn errors_are_counted_by_code_and_codes_are_bounded() {
    let mut stats = Stats::default();
    stats.note_error(b"ERR syntax error");
    stats.note_error(b"ERR no such key");
    stats.note_error(b"WRONGTYPE Operation");
    let lines = stats.error_lines();
    assert_eq!(lines[0], ("errorstat_ERR".to_owned(), "count=2".to_owned()));
    assert_eq!((lines.len(), stats.errors()), (2, 3));
    (0..1000).for_each(|number| stats.note_error(format!("E{number} made up").as_bytes()));
    stats.note_error(&[b'x'; 1000]);
    assert_eq!(stats.error_lines().len(), CODES_MAX);
}

#[test]
fn the_slow_log_keeps_the_newest() {
    let mut log = SlowLog::default();
    assert!(log.takes(10_000) && !log.takes(9_999));
    log.slower_than = -1;
    assert!(!log.takes(u64::MAX));
    log.slower_than = 0;
    assert!(log.takes(0));
    assert!(log.set_length_max(2) && !log.set_length_max(1_000_000));
    for micros in 0..5 {
        let arguments = SlowCommand::shorten(&[b"get"]);
        log.add(SlowCommand { unix_seconds: 7, micros, arguments, address: "a:1".to_owned(), name: Bytes::new() });
    }
    let Reply::Array(entries) = log.reply(10) else { panic!("a list") };
    assert_eq!(entries.len(), 2);
    let Reply::Array(newest) = &entries[0] else { panic!("a list") };
    assert_eq!((&newest[0], &newest[2]), (&Reply::Integer(4), &Reply::Integer(4)));
    log.clear();
    assert!(log.is_empty());
}

#[test]
fn long_commands_are_shortened() {
    let long = [b'x'; 130];
    let kept = SlowCommand::shorten(&[b"set", &long]);
    assert_eq!(kept[0], "set");
    assert_eq!(kept[1], format!("{}... (2 more bytes)", "x".repeat(128)));
    let many = vec![&b"a"[..]; 40];
    let kept = SlowCommand::shorten(&many);
    assert_eq!((kept.len(), &kept[31][..]), (32, &b"... (9 more arguments)"[..]));
    assert_eq!(SlowCommand::shorten(&many[..32]).len(), 32);
}
