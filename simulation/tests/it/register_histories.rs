//! Registers: good histories hold, bad ones are found, and the judge agrees with one that tries every order.

use std::fmt::Write;

use quorate_protocol::Random;
use quorate_simulation::history::{
    EventKind, Function, History, HistoryEvent, Key, Linearization, Model, Register, RegisterOperation, SearchBudget,
    Timed, Verdict, explain, linearize,
};
use serde_json::json;

use crate::history_generator::{Shape, pick, registers, some_order_fits};

fn judge(lines: &str) -> Verdict {
    let history = History::read(lines.as_bytes()).expect("a history");
    history.judge(SearchBudget::default()).verdict()
}

/// `1 w 5` is process 1 calling a write of 5; `1 ok`, `1 ok 5` (a read), `1 fail`, `1 info` are its ends.
fn history(script: &str) -> String {
    let mut lines = String::new();
    let mut calls = std::collections::BTreeMap::new();
    for (number, step) in script.split(',').enumerate() {
        let words: Vec<&str> = step.split_whitespace().collect();
        let value = |word: Option<&&str>| word.map_or("null".to_owned(), |word| (*word).to_owned());
        let (kind, function, value) = match words[1] {
            "w" => ("invoke", "write", value(words.get(2))),
            "r" => ("invoke", "read", "null".to_owned()),
            "cas" => ("invoke", "cas", format!("[{},{}]", words[2], words[3])),
            end => {
                let (function, called): (&str, String) = calls.remove(words[0]).expect("called before");
                (end, function, if function == "read" { value(words.get(2)) } else { called })
            }
        };
        if kind == "invoke" {
            calls.insert(words[0], (function, value.clone()));
        }
        let process = words[0];
        _ = writeln!(
            lines,
            r#"{{"process":{process},"type":"{kind}","f":"{function}","key":"x","value":{value},"time":{number}}}"#
        );
    }
    lines
}

#[test]
fn good_histories_hold() {
    for good in [
        "1 w 1, 1 ok, 2 r, 2 ok 1",
        "1 r, 1 ok",
        "1 w 1, 2 r, 2 ok, 1 ok",
        "1 w 1, 2 r, 2 ok 1, 1 ok",
        // A write of unknown outcome may take effect late, or never.
        "1 w 1, 1 info, 2 r, 2 ok, 2 r, 2 ok 1",
        "1 w 1, 1 info, 2 r, 2 ok",
        "1 w 1, 2 r, 2 ok, 3 r, 3 ok 1",
        // A failed call had no effect.
        "1 w 1, 1 fail, 2 r, 2 ok",
        "1 w 1, 1 ok, 2 cas 1 2, 2 ok, 3 r, 3 ok 2",
        "1 w 1, 1 ok, 2 cas 3 2, 2 fail, 3 r, 3 ok 1",
        "1 cas null 2, 1 ok, 3 r, 3 ok 2",
        "1 w 1, 1 ok, 1 w null, 1 ok, 2 r, 2 ok",
        // Two writes under way at once may come in either order.
        "1 w 1, 2 w 2, 1 ok, 2 ok, 3 r, 3 ok 1",
        "1 w 1, 2 w 2, 1 ok, 2 ok, 3 r, 3 ok 2",
        "1 w 1, 1 info, 1 w 2, 1 ok, 2 r, 2 ok 2, 2 r, 2 ok 1",
        "1 w 1, 1 info, 2 cas 1 2, 2 info, 3 r, 3 ok, 3 r, 3 ok 2",
    ] {
        assert_eq!(judge(&history(good)), Verdict::Holds, "{good}");
    }
}

#[test]
fn bad_histories_are_found() {
    for bad in [
        "1 w 1, 1 ok, 2 r, 2 ok",
        "1 w 1, 1 ok, 1 w 2, 1 ok, 2 r, 2 ok 1",
        "1 r, 1 ok 7",
        // Once seen, a value stays until it is overwritten.
        "1 w 1, 2 r, 2 ok 1, 3 r, 3 ok, 1 ok",
        "1 w 1, 1 info, 2 r, 2 ok 1, 2 r, 2 ok",
        "1 w 1, 1 fail, 2 r, 2 ok 1",
        "1 w 1, 1 ok, 2 cas 2 3, 2 ok",
        "1 w 1, 1 ok, 2 cas 1 2, 2 ok, 3 cas 1 3, 3 ok",
        // It cannot take effect before it is called.
        "1 r, 1 ok 1, 2 w 1, 2 ok",
        "1 w 1, 2 w 2, 1 ok, 2 ok, 3 r, 3 ok 1, 3 r, 3 ok 2",
        // It takes effect at most once.
        "1 w 1, 1 info, 2 r, 2 ok 1, 3 w 2, 3 ok, 2 r, 2 ok 2, 2 r, 2 ok 1",
    ] {
        assert_eq!(judge(&history(bad)), Verdict::Violated, "{bad}");
    }
}

#[test]
fn the_explanation_is_the_core_of_the_matter() {
    let noise = "1 w 1, 1 ok, 4 r, 4 ok 1, 1 w 2, 3 r, 1 ok, 3 ok 2, 5 w 9, 2 r, 2 ok 1, 5 ok, 4 r, 4 ok 9";
    let history = History::read(history(noise).as_bytes()).expect("a history");
    let told = history.judge(SearchBudget::default()).to_string();
    let expected = "\
7 calls, 1 registers, 0 transactions: VIOLATED

register \"x\" is not linearizable
  3 of its 7 calls admit no order by themselves:
    line 1: process 1: write 1, called at 0, answered at 1
    line 5: process 1: write 2, called at 4, answered at 6
    line 10: process 2: read 1, called at 9, answered at 10
  The order that gets furthest: process 1: write 1; process 1: write 2.
  Then process 2: read 1 must come, but the register holds 2, not 1.";
    assert_eq!(told, expected);
}

#[test]
fn lines_that_are_no_history_are_refused_by_number() {
    let write = r#"{"process":1,"type":"invoke","f":"write","key":"x","value":1,"time":1}"#;
    for (lines, expected) in [
        ("{", "line 1: EOF"),
        ("\n{\"process\":1}", "line 2: missing field"),
        (r#"{"process":1,"type":"ok","f":"read","key":"x","value":1,"time":1}"#, "line 1: process 1 has no call"),
        (&format!("{write}\n{write}"), "line 2: process 1 still waits for the answer to line 1"),
        (r#"{"process":1,"type":"invoke","f":"read","value":null,"time":1}"#, "line 1: read without a key"),
        (r#"{"process":1,"type":"invoke","f":"cas","key":"x","value":1,"time":1}"#, "line 1: the value of a cas is"),
        (
            r#"{"process":1,"type":"invoke","f":"txn","value":[["w","x",1]],"time":1}"#,
            "line 1: [\"w\",\"x\",1] is neither",
        ),
        (&write.replace("invoke", "begin"), "line 1: unknown variant `begin`"),
    ] {
        let error = History::read(lines.as_bytes()).expect_err("no history").to_string();
        assert!(error.starts_with(expected), "{error} for {lines}");
    }
}

#[test]
fn the_order_of_the_lines_counts_and_not_their_times() {
    let lines = [
        r#"{"process":1,"type":"invoke","f":"write","key":"x","value":1,"time":20}"#,
        r#"{"process":1,"type":"ok","f":"write","key":"x","value":1,"time":30}"#,
        r#"{"process":2,"type":"invoke","f":"read","key":"x","value":null,"time":10}"#,
        r#"{"process":2,"type":"ok","f":"read","key":"x","value":1,"time":15}"#,
    ];
    let judged = History::read(lines.join("\n").as_bytes()).expect("a history").judge(SearchBudget::default());
    assert_eq!(judged.verdict(), Verdict::Holds, "{judged}");
    assert_eq!(judged.times_back, 1);
    assert!(judged.to_string().ends_with("times go back at 1 events: the order of the lines counts"), "{judged}");
    let other_way = [lines[2], lines[3], lines[0], lines[1]].join("\n");
    assert_eq!(judge(&other_way), Verdict::Violated);
}

#[test]
fn a_number_and_its_digits_are_two_keys() {
    let line = |kind: &str, f: &str, key: &str, value: &str| {
        format!(r#"{{"process":1,"type":"{kind}","f":"{f}","key":{key},"value":{value},"time":1}}"#)
    };
    let history = |read: &str, found: &str| {
        let (write, ok) = (line("invoke", "write", "1", "7"), line("ok", "write", "1", "7"));
        [write, ok, line("invoke", "read", read, "null"), line("ok", "read", read, found)].join("\n")
    };
    assert_eq!(judge(&history("1", "7")), Verdict::Holds);
    assert_eq!(judge(&history("\"1\"", "null")), Verdict::Holds);
    assert_eq!(judge(&history("\"1\"", "7")), Verdict::Violated);
    // A key may be longer than any number of the machine.
    let long = "123456789012345678901234567890";
    assert_eq!(judge(&history("1", "7").replace("\"key\":1", &format!("\"key\":{long}"))), Verdict::Holds);
    for key in [Key::from("1"), Key::from(1), Key::from("a \"b\"")] {
        let event = HistoryEvent {
            process: 1,
            kind: EventKind::Invoke,
            function: Function::Read,
            key: Some(key),
            value: json!(null),
            time: 1,
        };
        let text = serde_json::to_string(&event).expect("written");
        assert_eq!(serde_json::from_str::<HistoryEvent>(&text).expect("read"), event, "{text}");
    }
    let told =
        History::read(history("\"1\"", "7").as_bytes()).expect("a history").judge(SearchBudget::default()).to_string();
    assert!(told.contains("register \"1\" is not linearizable"), "{told}");
    for key in ["1.5", "[1]", "true"] {
        let error = History::read(line("invoke", "read", key, "null").as_bytes()).expect_err("no key").to_string();
        assert!(error.contains("a key is a string or a whole number"), "{error}");
    }
}

#[test]
fn numbers_are_compared_by_their_digits() {
    let history = |written: &str, read: &str| {
        format!(
            r#"{{"process":1,"type":"invoke","f":"write","key":"x","value":{written},"time":1}}
{{"process":1,"type":"ok","f":"write","key":"x","value":{written},"time":2}}
{{"process":2,"type":"invoke","f":"read","key":"x","value":null,"time":3}}
{{"process":2,"type":"ok","f":"read","key":"x","value":{read},"time":4}}"#
        )
    };
    for (written, read, verdict) in [
        ("18446744073709551617", "18446744073709551619", Verdict::Violated),
        ("18446744073709551617", "18446744073709551617", Verdict::Holds),
        ("0.1234567890123456789012", "0.1234567890123456789013", Verdict::Violated),
        ("1.50", "15e-1", Verdict::Holds),
        ("[1,{\"a\":18446744073709551617}]", "[1,{\"a\":18446744073709551619}]", Verdict::Violated),
        ("1", "\"1\"", Verdict::Violated),
        ("{\"a\":1,\"b\":2}", "{\"b\":2,\"a\":1}", Verdict::Holds),
    ] {
        assert_eq!(judge(&history(written, read)), verdict, "{written} and {read}");
    }
}

#[test]
fn where_nothing_succeeded_nothing_is_judged() {
    for script in ["1 w 1, 1 fail", "1 w 1, 1 info, 2 r, 2 info", "1 w 1"] {
        assert_eq!(judge(&history(script)), Verdict::NothingJudged, "{script}");
    }
    let judged = History::read(&b"\n\n"[..]).expect("an empty history").judge(SearchBudget::default());
    assert_eq!(judged.verdict(), Verdict::NothingJudged);
    let expected = "0 calls, 0 registers, 0 transactions: nothing was judged, since no call succeeded";
    assert_eq!(judged.to_string(), expected);
    assert!(judged.check().is_ok());
}

/// Open writes of one value, each of which one read needs, and one read too many: only their number counts.
#[test]
fn open_calls_of_equal_effect_are_tried_once() {
    let mut calls = Vec::new();
    let call = |operation, invoked, returned| Timed { operation, invoked, returned };
    for number in 0..19 {
        calls.push(call(RegisterOperation::Write(1), number, None));
    }
    for number in 0..20 {
        let at = 100 + number * 10;
        calls.push(call(RegisterOperation::Write(2), at, Some(at + 1)));
        calls.push(call(RegisterOperation::Read(1), at + 2, Some(at + 3)));
    }
    assert_eq!(linearize(&Register, &calls, &mut SearchBudget::of_steps(100_000)), Linearization::Impossible);
    calls.pop();
    let judged = linearize(&Register, &calls, &mut SearchBudget::of_steps(100_000));
    assert!(matches!(judged, Linearization::Possible { .. }), "{judged:?}");
}

/// Sixty calls whose orders are too many to try: the budget ends the search, whatever the search is busy with.
#[test]
fn a_hard_history_takes_its_budget_and_no_more() {
    let mut undecided = 0;
    for seed in 0..20 {
        let mut random = Random::new(seed);
        let mut value = || u32::try_from(random.between(1, 12)).expect("fits");
        let mut calls = Vec::new();
        for number in 0..42 {
            calls.push(Timed { operation: RegisterOperation::Cas(value(), value()), invoked: number, returned: None });
        }
        calls.push(Timed { operation: RegisterOperation::Write(value()), invoked: 50, returned: Some(51) });
        for number in 0..17 {
            let at = 100 + number * 10;
            calls.push(Timed { operation: RegisterOperation::Read(value()), invoked: at, returned: Some(at + 1) });
        }
        let mut budget = SearchBudget::of_steps(200_000);
        undecided += usize::from(linearize(&Register, &calls, &mut budget) == Linearization::Undecided);
    }
    assert!(undecided > 0, "none of the histories is hard");
}

#[test]
fn a_spent_budget_decides_nothing() {
    let history = History::read(history("1 w 1, 1 ok, 2 r, 2 ok").as_bytes()).expect("a history");
    assert_eq!(history.judge(SearchBudget::of_steps(1)).verdict(), Verdict::Undecided);
}

#[test]
fn what_a_correct_register_does_holds() {
    for seed in 0..300 {
        let mut random = Random::new(seed);
        let shape = Shape { calls: 200, processes: 1 + seed % 7, keys: 1 + seed % 3, unknown_percent: seed % 10 };
        let events = registers(&mut random, &shape, (seed % 2 == 0).then_some(4));
        let judged = History::from_events(events).expect("a history").judge(SearchBudget::default());
        assert_eq!(judged.verdict(), Verdict::Holds, "seed {seed}: {judged}");
    }
}

#[test]
fn a_value_from_nowhere_is_always_found() {
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let shape = Shape { calls: 100, processes: 4, keys: 2, unknown_percent: 5 };
        let mut events = registers(&mut random, &shape, None);
        let is_read = |event: &HistoryEvent| event.kind == EventKind::Ok && event.function == Function::Read;
        let reads: Vec<usize> = (0..events.len()).filter(|at| is_read(&events[*at])).collect();
        events[reads[pick(&mut random, reads.len())]].value = json!(1_000_000);
        let judged = History::from_events(events).expect("a history").judge(SearchBudget::default());
        assert_eq!(judged.verdict(), Verdict::Violated, "seed {seed}");
        let told = &judged.findings[0].explanation;
        assert!(told.contains("nobody ever wrote 1000000"), "seed {seed}: {told}");
    }
}

/// Small histories without any sense: the judge and the one that tries every order agree, and what an explanation
/// leaves has no order either.
#[test]
fn agrees_with_trying_every_order() {
    let (mut possible, mut impossible) = (0, 0);
    for seed in 0..40_000 {
        let mut random = Random::new(seed);
        let answered_of_five = if seed % 5 == 0 { 2 } else { 4 };
        let mut calls = senseless(&mut random, answered_of_five);
        if seed % 2 == 0 {
            write_each_value_once(&mut random, &mut calls);
        }
        let expected = fits(&calls);
        match linearize(&Register, &calls, &mut SearchBudget::default()) {
            Linearization::Possible { order } => {
                assert!(expected, "seed {seed}: {calls:?}");
                assert_is_order(&calls, &order);
                possible += 1;
            }
            Linearization::Impossible => {
                assert!(!expected, "seed {seed}: {calls:?}");
                let why = explain(&Register, &calls, &mut SearchBudget::default());
                let rest: Vec<_> = why.operations.iter().map(|position| calls[*position].clone()).collect();
                assert!(!fits(&rest), "seed {seed}: {rest:?} of {calls:?}");
                impossible += 1;
            }
            Linearization::Undecided => panic!("seed {seed} was not decided"),
        }
    }
    assert!(possible > 2_000 && impossible > 2_000, "{possible} possible, {impossible} not");
}

fn senseless(random: &mut Random, answered_of_five: u64) -> Vec<Timed<RegisterOperation>> {
    let count = random.between(2, 8);
    let calls = (0..count).map(|number| {
        let value = u32::try_from(random.between(0, 4)).expect("fits");
        let operation = match random.between(0, 5) {
            0..2 => RegisterOperation::Read(value),
            2..4 => RegisterOperation::Write(value),
            _ => RegisterOperation::Cas(value, (value + 1) % 4),
        };
        let invoked = random.between(0, 12) * 100 + number;
        let returned = invoked + random.between(1, 500);
        Timed { operation, invoked, returned: (random.between(0, 5) < answered_of_five).then_some(returned) }
    });
    calls.collect()
}

/// A register of which nothing is known but what it does, so that every verdict on it has to be searched for.
struct Opaque;

impl Model for Opaque {
    type State = u32;
    type Operation = RegisterOperation;

    fn initial(&self) -> u32 {
        Register.initial()
    }

    fn apply(&self, state: &u32, operation: &RegisterOperation) -> Option<u32> {
        Register.apply(state, operation)
    }
}

/// Good histories with one thing changed: comparing intervals and searching come to the same.
#[test]
fn mutants_are_judged_alike_by_intervals_and_by_search() {
    let (mut possible, mut impossible) = (0, 0);
    for seed in 0..1_500 {
        let mut random = Random::new(seed);
        let shape = Shape { calls: 60, processes: 1 + seed % 6, keys: 1, unknown_percent: seed % 20 };
        let mut calls = timed(&registers(&mut random, &shape, None));
        mutate(&mut random, &mut calls);
        let by_intervals = linearize(&Register, &calls, &mut SearchBudget::default());
        let by_search = linearize(&Opaque, &calls, &mut SearchBudget::default());
        assert_eq!(verdict(&by_intervals), verdict(&by_search), "seed {seed}: {calls:?}");
        match by_intervals {
            Linearization::Possible { order } => {
                assert_is_order(&calls, &order);
                possible += 1;
            }
            _ => impossible += 1,
        }
    }
    assert!(possible > 200 && impossible > 200, "{possible} possible, {impossible} not");
}

fn verdict(linearization: &Linearization) -> Option<bool> {
    match linearization {
        Linearization::Possible { .. } => Some(true),
        Linearization::Impossible => Some(false),
        Linearization::Undecided => None,
    }
}

/// A read finds the value of another, or a call moves in time, or one that was not answered was.
fn mutate(random: &mut Random, calls: &mut [Timed<RegisterOperation>]) {
    let (one, other) = (pick(random, calls.len()), pick(random, calls.len()));
    match random.between(0, 3) {
        0 => {
            if let (RegisterOperation::Read(_), RegisterOperation::Read(value)) =
                (calls[one].operation, calls[other].operation)
            {
                calls[one].operation = RegisterOperation::Read(value);
            }
        }
        1 => {
            let by = random.between(1, 300);
            calls[one].invoked += by;
            calls[one].returned = calls[one].returned.map(|returned| returned + by);
        }
        _ => {
            let answered = calls[one].invoked + random.between(1, 300);
            calls[one].returned.get_or_insert(answered);
        }
    }
}

/// The calls of a history of one register, as far as they can have had an effect.
fn timed(events: &[HistoryEvent]) -> Vec<Timed<RegisterOperation>> {
    let number = |value: &serde_json::Value| value.as_u64().map_or(0, |value| u32::try_from(value).expect("small"));
    let mut waiting = std::collections::BTreeMap::new();
    let mut calls: Vec<Timed<RegisterOperation>> = Vec::new();
    let mut failed = Vec::new();
    for event in events {
        let operation = match event.function {
            Function::Read => RegisterOperation::Read(number(&event.value)),
            Function::Write => RegisterOperation::Write(number(&event.value)),
            _ => RegisterOperation::Cas(number(&event.value[0]), number(&event.value[1])),
        };
        if event.kind == EventKind::Invoke {
            waiting.insert(event.process, calls.len());
            calls.push(Timed { operation, invoked: event.time, returned: None });
            continue;
        }
        let at = waiting.remove(&event.process).expect("called before");
        let is_read = event.function == Function::Read;
        match event.kind {
            EventKind::Ok => calls[at] = Timed { operation, returned: Some(event.time), ..calls[at] },
            EventKind::Info if !is_read => {}
            _ => failed.push(at),
        }
    }
    let mut at = 0..;
    calls.retain(|_| at.next().is_some_and(|at| !failed.contains(&at)));
    calls
}

/// Then nothing need be searched for.
fn write_each_value_once(random: &mut Random, calls: &mut [Timed<RegisterOperation>]) {
    let count = u32::try_from(calls.len()).expect("few");
    for (new, timed) in (1..).zip(calls) {
        let old = u32::try_from(random.between(0, u64::from(count))).expect("few");
        timed.operation = match timed.operation {
            RegisterOperation::Read(_) => RegisterOperation::Read(old),
            RegisterOperation::Write(_) => RegisterOperation::Write(new),
            RegisterOperation::Cas(..) => RegisterOperation::Cas(old, if new == old { count + 1 } else { new }),
        };
    }
}

fn fits(calls: &[Timed<RegisterOperation>]) -> bool {
    let times: Vec<_> = calls.iter().map(|timed| (timed.invoked, timed.returned)).collect();
    some_order_fits(&times, &0, &|held: &mut u32, number| match calls[number].operation {
        RegisterOperation::Read(value) => *held == value,
        RegisterOperation::Write(value) => {
            *held = value;
            true
        }
        RegisterOperation::Cas(old, new) => std::mem::replace(held, new) == old,
    })
}

fn assert_is_order(calls: &[Timed<RegisterOperation>], order: &[usize]) {
    let chosen: Vec<_> = order.iter().map(|position| calls[*position].clone()).collect();
    let missing = (0..calls.len()).filter(|position| !order.contains(position));
    assert!(missing.into_iter().all(|position| calls[position].returned.is_none()), "an answered call is missing");
    let mut held = 0;
    for (place, timed) in chosen.iter().enumerate() {
        let later = &chosen[place + 1..];
        assert!(later.iter().all(|later| later.returned.is_none_or(|returned| returned >= timed.invoked)));
        held = match timed.operation {
            RegisterOperation::Read(value) if value == held => held,
            RegisterOperation::Cas(old, new) if old == held => new,
            RegisterOperation::Write(value) => value,
            operation => panic!("{operation:?} while it holds {held}"),
        };
    }
}

/// Time is not judged here, but steps are: a hundred thousand calls, on one key and on many, good and bad.
#[test]
fn a_hundred_thousand_calls_take_few_steps() {
    for (keys, processes, unknown_percent, values) in
        [(1, 8, 0, None), (1, 30, 1, None), (100, 50, 3, None), (1, 8, 0, Some(5)), (20, 20, 2, Some(50))]
    {
        let mut random = Random::new(keys + processes);
        let shape = Shape { calls: 100_000, processes, keys, unknown_percent };
        let mut events = registers(&mut random, &shape, values);
        let history = History::from_events(events.clone()).expect("a history");
        let judged = history.judge(SearchBudget::of_steps(50_000_000));
        assert_eq!(judged.verdict(), Verdict::Holds, "{keys} keys, {processes} processes: {judged}");

        let is_read = |event: &HistoryEvent| event.kind == EventKind::Ok && event.function == Function::Read;
        let late = (0..events.len()).rev().filter(|at| is_read(&events[*at])).nth(1_000).expect("many reads");
        events[late].value = json!(123_456_789);
        let judged = History::from_events(events).expect("a history").judge(SearchBudget::of_steps(50_000_000));
        assert_eq!(judged.verdict(), Verdict::Violated, "{keys} keys, {processes} processes");
    }
}
